//! One byte budget for the agent: read buffers, open batches, batches waiting and in flight.
//!
//! Half of it is shared out in advance, so that each flow is sure of its part whatever the others hold; the other half
//! is for whoever comes first, but while there are several flows none gets more than half of that. So one dead stream
//! never starves the others. A flow that is refused waits until something is released; the flow whose open batch is the
//! oldest is asked to let it go early.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::record::FlowIndex;

/// Bytes that all flows together may hold, and with that the bound on the agent's memory: 64 MB, of which the program
/// itself, a hundred flows' threads and what the allocator can't use again take the larger part.
pub const BUDGET_BYTES: usize = 12 * 1024 * 1024;
/// The least that each flow is sure of, however many there are: a call with a few records.
const SHARE_BYTES_MIN: usize = 96 * 1024;

/// Bodies that are kept for the next batches.
const SPARE_BODIES_MAX: usize = 16;
/// The largest of them: more than 500 records of common length take.
const SPARE_BODY_BYTES_MAX: usize = 256 * 1024;

/// How a flow's thread is woken. Called with the budget unlocked; must not block.
pub trait Wake: Send + Sync {
    /// Bytes were released: a refused flow may try again.
    fn released(&self);
    /// Others are short: send the open batch soon.
    fn flush(&self);
}

/// The budget, shared by all flows. Cloning shares it.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    total_bytes: usize,
    state: Mutex<State>,
}

struct State {
    /// Bodies of batches that are done with, to be filled again: no page is asked of the system twice.
    spare: Vec<Vec<u8>>,
    flows: Vec<Holder>,
    /// Flows that were refused something, in the order in which they asked.
    waiting: VecDeque<FlowIndex>,
    /// Bytes held beyond the flows' own shares.
    common_bytes: usize,
}

#[derive(Default)]
struct Holder {
    /// It was retired: it has no share any more.
    is_gone: bool,
    held_bytes: usize,
    /// When the flow's open batch got its first record.
    open_since: Option<Instant>,
    /// What it was refused last, until it is woken for it.
    wanted_bytes: Option<usize>,
    wake: Option<Arc<dyn Wake>>,
}

/// How the bytes are shared out.
struct Shares {
    /// What each flow is sure of.
    own_bytes: usize,
    /// What all hold beyond that at most.
    common_bytes_max: usize,
    /// What one of them does.
    common_bytes_max_of_one: usize,
}

impl Shares {
    /// What a flow that holds `held` bytes would hold beyond its share by `bytes` more.
    fn beyond(&self, held: usize, bytes: usize) -> usize {
        (held + bytes).saturating_sub(self.own_bytes) - held.saturating_sub(self.own_bytes)
    }

    /// Whether a flow that holds `held` may have `bytes` more while all hold `common` beyond their shares.
    ///
    /// A flow that holds nothing is never refused, so that one record longer than its share still passes.
    fn fit(&self, held: usize, bytes: usize, common: usize) -> bool {
        let beyond = self.beyond(held, bytes);
        held == 0
            || beyond == 0
            || ((held + bytes).saturating_sub(self.own_bytes) <= self.common_bytes_max_of_one
                && common + beyond <= self.common_bytes_max)
    }
}

impl Budget {
    /// A budget of `total_bytes` for `n_flows` flows.
    pub fn new(total_bytes: usize, n_flows: usize) -> Budget {
        let flows = (0..n_flows).map(|_| Holder::default()).collect();
        Budget(Arc::new(Shared {
            total_bytes,
            state: Mutex::new(State {
                spare: Vec::new(),
                flows,
                waiting: VecDeque::new(),
                common_bytes: 0,
            }),
        }))
    }

    /// One more flow, the next by index, shares in the budget: the others' shares become smaller.
    pub fn admit(&self) {
        let mut state = self.lock();
        state.flows.push(Holder::default());
        self.recount(&mut state);
    }

    /// The flow has no share any more; what it still holds goes back when it is released.
    pub fn retire(&self, flow: FlowIndex) {
        let mut state = self.lock();
        state.no_longer_waits(flow);
        let holder = &mut state.flows[flow.0];
        (holder.is_gone, holder.open_since, holder.wake) = (true, None, None);
        self.recount(&mut state);
        let shares = self.shares(&state);
        let woken = state.take_servable(&shares);
        drop(state);
        woken.iter().for_each(|wake| wake.released());
    }

    /// What is held beyond the shares, after these became others.
    fn recount(&self, state: &mut State) {
        let shares = self.shares(state);
        let beyond = |holder: &Holder| shares.beyond(0, holder.held_bytes);
        state.common_bytes = state.flows.iter().map(beyond).sum();
    }

    /// Says how `flow` is woken.
    pub fn register(&self, flow: FlowIndex, wake: Arc<dyn Wake>) {
        self.lock().flows[flow.0].wake = Some(wake);
    }

    /// Takes `bytes` for `flow`, or nothing: then the flow is woken once it may have them.
    pub fn take(&self, flow: FlowIndex, bytes: usize) -> bool {
        let mut state = self.lock();
        let shares = self.shares(&state);
        let held = state.flows[flow.0].held_bytes;
        if shares.fit(held, bytes, state.common_bytes) {
            state.hold(&shares, flow, bytes);
            state.no_longer_waits(flow);
            return true;
        }
        if state.flows[flow.0].wanted_bytes.replace(bytes).is_none() {
            state.waiting.push_back(flow);
        }
        let oldest = state
            .flows
            .iter()
            .enumerate()
            .filter(|(index, holder)| *index != flow.0 && holder.held_bytes > shares.own_bytes)
            .filter_map(|(_, holder)| holder.open_since.map(|since| (since, holder)))
            .min_by_key(|(since, _)| *since)
            .and_then(|(_, holder)| holder.wake.clone());
        drop(state);
        if let Some(wake) = oldest {
            wake.flush();
        }
        false
    }

    /// Takes `bytes` whether or not they are to be had: for what can't be put back, such as the end of a record.
    pub fn take_anyway(&self, flow: FlowIndex, bytes: usize) {
        let mut state = self.lock();
        let shares = self.shares(&state);
        state.hold(&shares, flow, bytes);
    }

    /// Takes `bytes` as [`Budget::take_anyway`] does, and gives them back when the guard goes.
    pub fn hold(&self, flow: FlowIndex, bytes: usize) -> Held {
        self.take_anyway(flow, bytes);
        Held {
            budget: self.clone(),
            flow,
            bytes,
        }
    }

    /// Gives back `bytes` of `flow` and wakes the flows that may have now what they were refused, the one that waits
    /// longest first.
    pub fn release(&self, flow: FlowIndex, bytes: usize) {
        let mut state = self.lock();
        let shares = self.shares(&state);
        let held = state.flows[flow.0].held_bytes;
        debug_assert!(held >= bytes, "released {bytes} of {held}");
        let left = held.saturating_sub(bytes);
        let common_bytes = state.common_bytes;
        state.common_bytes = common_bytes.saturating_sub(shares.beyond(left, held - left));
        state.flows[flow.0].held_bytes = left;
        let woken = state.take_servable(&shares);
        drop(state);
        woken.iter().for_each(|wake| wake.released());
    }

    /// Takes back the body of a batch that is done with.
    ///
    /// Kept are at most [`SPARE_BODIES_MAX`] while flows hold something, and none once the agent is at rest.
    pub fn give_back_body(&self, body: Vec<u8>) {
        let mut state = self.lock();
        if state.flows.iter().all(|holder| holder.held_bytes == 0) {
            state.spare = Vec::new();
        } else if state.spare.len() < SPARE_BODIES_MAX && body.capacity() <= SPARE_BODY_BYTES_MAX {
            state.spare.push(body);
        }
    }

    /// An empty body with room for about `bytes`, used before if there is one.
    pub fn spare_body(&self, bytes: usize) -> Vec<u8> {
        let fits = |body: &Vec<u8>| (bytes..=bytes.saturating_mul(2)).contains(&body.capacity());
        let mut state = self.lock();
        match state.spare.iter().rposition(fits) {
            Some(place) => {
                let mut body = state.spare.swap_remove(place);
                body.clear();
                body
            }
            None => Vec::new(),
        }
    }

    /// Notes since when `flow` has an open batch, if it has one.
    pub fn note_open(&self, flow: FlowIndex, since: Option<Instant>) {
        self.lock().flows[flow.0].open_since = since;
    }

    /// Bytes held by all flows.
    pub fn held_bytes(&self) -> usize {
        self.lock()
            .flows
            .iter()
            .map(|holder| holder.held_bytes)
            .sum()
    }

    /// The budget's size.
    pub fn total_bytes(&self) -> usize {
        self.0.total_bytes
    }

    fn shares(&self, state: &State) -> Shares {
        let n_flows = state
            .flows
            .iter()
            .filter(|holder| !holder.is_gone)
            .count()
            .max(1);
        let own_bytes = (self.0.total_bytes / 2 / n_flows).max(SHARE_BYTES_MIN);
        let common_bytes_max = self.0.total_bytes.saturating_sub(own_bytes * n_flows);
        Shares {
            own_bytes,
            common_bytes_max,
            common_bytes_max_of_one: match n_flows {
                1 => common_bytes_max,
                _ => common_bytes_max / 2,
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section panics half-way, so a poisoned lock still guards sound numbers.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, shares: &Shares, flow: FlowIndex, bytes: usize) {
        let holder = &mut self.flows[flow.0];
        self.common_bytes += shares.beyond(holder.held_bytes, bytes);
        holder.held_bytes += bytes;
    }

    fn no_longer_waits(&mut self, flow: FlowIndex) {
        if self.flows[flow.0].wanted_bytes.take().is_some() {
            self.waiting.retain(|waiting| *waiting != flow);
        }
    }

    /// Those who may have now what they wait for, if those before them take it: to wake the others too would only make
    /// them read and be refused again. A waiting flow holds something, so that it is looked at again whatever these do.
    fn take_servable(&mut self, shares: &Shares) -> Vec<Arc<dyn Wake>> {
        let (flows, mut common) = (&mut self.flows, self.common_bytes);
        let mut woken = Vec::new();
        self.waiting.retain(|flow| {
            let holder = &mut flows[flow.0];
            let wanted = holder.wanted_bytes.unwrap_or_default();
            if !shares.fit(holder.held_bytes, wanted, common) {
                return true;
            }
            common += shares.beyond(holder.held_bytes, wanted);
            holder.wanted_bytes = None;
            woken.extend(holder.wake.clone());
            false
        });
        woken
    }
}

/// Bytes of the budget, held until this goes.
pub struct Held {
    budget: Budget,
    flow: FlowIndex,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.release(self.flow, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[derive(Default)]
    struct Bell {
        released: AtomicUsize,
        flushed: AtomicUsize,
    }

    impl Wake for Bell {
        fn released(&self) {
            self.released.fetch_add(1, Ordering::Relaxed);
        }
        fn flush(&self) {
            self.flushed.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_flow_alone_may_hold_all_of_it() {
        let budget = Budget::new(8 * MIB, 1);
        assert!((0..8).all(|_| budget.take(FlowIndex(0), MIB)));
        assert!(!budget.take(FlowIndex(0), 1));
    }

    #[test]
    fn beside_others_a_flow_holds_at_most_half_and_each_is_sure_of_its_share() {
        let budget = Budget::new(8 * MIB, 4);
        for (flow, expected) in [(0, 3 * MIB), (1, 3 * MIB)] {
            let taken = (0..64)
                .filter(|_| budget.take(FlowIndex(flow), MIB / 4))
                .count()
                * (MIB / 4);
            assert_eq!(
                taken, expected,
                "its share of 1 MiB and half of the 4 MiB that are common"
            );
        }
        for flow in [2, 3] {
            assert!(
                budget.take(FlowIndex(flow), MIB),
                "the share of flow {flow}"
            );
        }
        assert_eq!(budget.held_bytes(), 8 * MIB);
    }

    #[test]
    fn a_record_longer_than_a_share_passes_when_the_flow_holds_nothing() {
        let budget = Budget::new(MIB, 100);
        assert!(budget.take(FlowIndex(0), 10 * MIB));
        assert!(!budget.take(FlowIndex(0), 1));
        assert!(
            budget.take(FlowIndex(1), SHARE_BYTES_MIN),
            "others keep their share"
        );
    }

    #[test]
    fn a_release_wakes_those_who_were_refused_once() {
        let budget = Budget::new(4 * MIB, 2);
        let bell = Arc::new(Bell::default());
        budget.register(FlowIndex(0), bell.clone());
        assert!(budget.take(FlowIndex(0), 2 * MIB));
        assert!(!budget.take(FlowIndex(0), 1));
        budget.release(FlowIndex(0), MIB);
        budget.release(FlowIndex(0), MIB);
        assert_eq!(bell.released.load(Ordering::Relaxed), 1);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn a_release_wakes_in_order_and_only_those_who_can_be_served() {
        let budget = Budget::new(16 * MIB, 4);
        let bells: Vec<_> = (0..4).map(|_| Arc::new(Bell::default())).collect();
        for (index, bell) in bells.iter().enumerate() {
            budget.register(FlowIndex(index), bell.clone());
        }
        // Shares of 2 MiB, 8 in common, of which one flow may have 4.
        for flow in [0, 1] {
            assert!(budget.take(FlowIndex(flow), 6 * MIB));
        }
        for flow in [2, 3] {
            assert!(budget.take(FlowIndex(flow), 2 * MIB));
            assert!(!budget.take(FlowIndex(flow), MIB));
        }
        let woken = || -> Vec<usize> {
            bells
                .iter()
                .map(|bell| bell.released.load(Ordering::Relaxed))
                .collect()
        };
        budget.release(FlowIndex(0), MIB / 2);
        assert_eq!(woken(), [0, 0, 0, 0], "half of what each wants");
        budget.release(FlowIndex(0), MIB / 2);
        assert_eq!(woken(), [0, 0, 1, 0], "there is room for the first alone");
        assert!(budget.take(FlowIndex(2), MIB));
        budget.release(FlowIndex(0), MIB);
        assert_eq!(woken(), [0, 0, 1, 1]);
    }

    /// What may happen to a budget.
    #[derive(Debug, Clone)]
    enum Step {
        Take { flow: usize, bytes: usize },
        ReleaseOldest { flow: usize },
        Retire { flow: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        let flow = 0..5usize;
        prop_oneof![
            4 => (flow.clone(), 1..3 * MIB / 2).prop_map(|(flow, bytes)| Step::Take { flow, bytes }),
            3 => flow.clone().prop_map(|flow| Step::ReleaseOldest { flow }),
            1 => flow.prop_map(|flow| Step::Retire { flow }),
        ]
    }

    proptest! {
        /// Whatever others do: once all that was taken is released, nobody waits, and all of it is there again.
        #[test]
        fn who_waits_is_woken_and_the_bound_holds(steps in proptest::collection::vec(step(), 1..60)) {
            const N_FLOWS: usize = 5;
            let budget = Budget::new(8 * MIB, N_FLOWS);
            let bells: Vec<_> = (0..N_FLOWS).map(|_| Arc::new(Bell::default())).collect();
            for (index, bell) in bells.iter().enumerate() {
                budget.register(FlowIndex(index), bell.clone());
            }
            let n_woken = |flow: usize| bells[flow].released.load(Ordering::Relaxed);
            let mut taken: [VecDeque<usize>; N_FLOWS] = Default::default();
            // How often each had been woken when it was refused last.
            let mut refused: [Option<usize>; N_FLOWS] = Default::default();
            let mut is_gone = [false; N_FLOWS];
            for step in steps {
                match step {
                    Step::Take { flow, .. } if is_gone[flow] => {}
                    Step::Take { flow, bytes } => match budget.take(FlowIndex(flow), bytes) {
                        true => {
                            taken[flow].push_back(bytes);
                            refused[flow] = None;
                        }
                        false => {
                            prop_assert!(!taken[flow].is_empty(), "who holds nothing is never refused");
                            refused[flow] = Some(n_woken(flow));
                        }
                    },
                    Step::ReleaseOldest { flow } => {
                        if let Some(bytes) = taken[flow].pop_front() {
                            budget.release(FlowIndex(flow), bytes);
                        }
                    }
                    Step::Retire { flow } => {
                        budget.retire(FlowIndex(flow));
                        (is_gone[flow], refused[flow]) = (true, None);
                    }
                }
                // Who holds nothing may have one record, however long.
                let longest = taken.iter().flatten().max().copied().unwrap_or(0);
                prop_assert!(budget.held_bytes() <= 8 * MIB + N_FLOWS * longest);
            }
            for (flow, left) in taken.iter().enumerate() {
                left.iter().for_each(|bytes| budget.release(FlowIndex(flow), *bytes));
            }
            for (flow, refused) in refused.into_iter().enumerate() {
                let is_woken = refused.is_none_or(|before| n_woken(flow) > before);
                prop_assert!(is_woken, "flow {} waits for ever", flow);
            }
            prop_assert_eq!(budget.held_bytes(), 0);
            prop_assert!(budget.lock().waiting.is_empty());
        }
    }

    #[test]
    fn what_a_guard_holds_is_given_back_with_it() {
        let budget = Budget::new(4 * MIB, 1);
        let held = budget.hold(FlowIndex(0), 4 * MIB);
        assert!(!budget.take(FlowIndex(0), 1));
        drop(held);
        assert!(budget.take(FlowIndex(0), 4 * MIB));
    }

    #[test]
    fn when_short_the_oldest_open_batch_of_another_flow_is_asked_to_go() {
        let budget = Budget::new(8 * MIB, 4);
        let bells: Vec<_> = (0..4).map(|_| Arc::new(Bell::default())).collect();
        let now = Instant::now();
        for (index, bell) in bells.iter().enumerate() {
            budget.register(FlowIndex(index), bell.clone());
        }
        assert!(budget.take(FlowIndex(1), 3 * MIB) && budget.take(FlowIndex(2), 3 * MIB));
        budget.note_open(FlowIndex(1), Some(now + Duration::from_secs(1)));
        budget.note_open(FlowIndex(2), Some(now));
        assert!(budget.take(FlowIndex(0), MIB));
        assert!(!budget.take(FlowIndex(0), MIB));
        let asked: Vec<_> = bells
            .iter()
            .map(|bell| bell.flushed.load(Ordering::Relaxed))
            .collect();
        assert_eq!(asked, [0, 0, 1, 0]);
    }
}
