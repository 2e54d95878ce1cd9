//! One byte budget for the agent: open batches, batches waiting and in flight.
//!
//! ```text
//!  |<------------------------------ total ------------------------------>|
//!  | flow 3 |     flow 1      | flow 7 |               free              |
//! ```
//!
//! A flow alone may hold all of it. Beside others it gets more only while it holds no more than what is left free then
//! (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998): one dead stream ends up
//! with half, two with a third each, and there is always as much again for whoever comes next. A flow that has little
//! to send is never refused.
//!
//! A flow that is refused waits in line until there is room for several batches: a thread that is woken for each single
//! one costs more than the batch does. The line stands still if those who hold the bytes don't let go of them; then a flow
//! gives up on whole batches for a while: it makes do with small ones, and whoever holds nothing is sure of one. The flow
//! whose open batch is the oldest is asked to let it go early; one that looks and has nothing to add to its own lets it go by
//! itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::record::FlowIndex;

/// Bytes that all flows together may hold, and with that the bound on the agent's memory: 64 MB, of which the program
/// itself, a hundred flows' threads and what the allocator can't use again take the larger part.
pub const BUDGET_BYTES: usize = 16 * 1024 * 1024;
/// What each flow may hold whatever the others do, however many there are: a call with a few records.
const SURE_BYTES: usize = 96 * 1024;
/// Who waits in line is woken when there is room for this part of all, several batches as they commonly are.
const RUN_DIVISOR: usize = 16;
/// After so long in a line that doesn't move a flow makes do with little.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Bodies that are kept for the next batches.
const SPARE_BODIES_MAX: usize = 16;
/// The largest of them: more than 500 records of common length take.
const SPARE_BODY_BYTES_MAX: usize = 256 * 1024;
/// Read buffers that are kept for the next turns: few flows are at work at once, and the one that was used last is in
/// the processor's caches still.
const SPARE_BUFFERS_MAX: usize = 4;
/// The largest of them: a read's length, and as much again.
const SPARE_BUFFER_BYTES_MAX: usize = 128 * 1024;

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
    /// Read buffers of turns that are over.
    spare_buffers: Vec<Vec<u8>>,
    flows: Vec<Holder>,
    /// Flows that were refused something, in the order in which they asked.
    waiting: VecDeque<FlowIndex>,
    /// Bytes that all flows hold.
    held_bytes: usize,
    /// Bytes for which flows were woken that haven't come for them yet.
    promised_bytes: usize,
}

#[derive(Default)]
struct Holder {
    /// It was retired, and asks for nothing any more.
    is_gone: bool,
    held_bytes: usize,
    /// When the flow's open batch got its first record.
    open_since: Option<Instant>,
    /// What it was refused last, until it is woken for it.
    wanted: Option<Wanted>,
    /// What is left of that for which it was woken.
    promised_bytes: usize,
    /// The line before it has moved since it came, or since it was last asked about.
    is_nearer: bool,
    wake: Option<Arc<dyn Wake>>,
}

/// What a flow asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Room for what it will need, or for more of what it has. It waits until several times as much can be had.
    Usual(usize),
    /// Room for the next record, without which it can't go on: who holds nothing gets it in any case.
    Least(usize),
}

impl Wanted {
    fn bytes(self) -> usize {
        match self {
            Wanted::Usual(bytes) | Wanted::Least(bytes) => bytes,
        }
    }
}

/// How the bytes are shared out.
#[derive(Clone, Copy)]
struct Shares {
    total_bytes: usize,
    /// There is one flow.
    is_alone: bool,
}

impl Shares {
    /// Whether a flow that holds `held` may have `bytes` more while all hold `held_by_all`.
    fn fit(self, held: usize, bytes: usize, held_by_all: usize) -> bool {
        let left_for_others = if self.is_alone { 0 } else { held + bytes };
        held_by_all == 0
            || held + bytes <= SURE_BYTES
            || held_by_all + bytes + left_for_others <= self.total_bytes
    }

    /// Whether there are `bytes` for a flow that wants this.
    fn grant(self, held: usize, wanted: Wanted, bytes: usize, held_by_all: usize) -> bool {
        let is_sure = matches!(wanted, Wanted::Least(_)) && held == 0;
        is_sure || self.fit(held, bytes, held_by_all)
    }

    /// Whether a run is left for whoever comes next, and as much again.
    fn are_plenty(self, held_by_all: usize) -> bool {
        let run_bytes = self.run_bytes(Wanted::Usual(0));
        self.fit(run_bytes, run_bytes, held_by_all)
    }

    /// How much there has to be for a flow that waits.
    fn run_bytes(self, wanted: Wanted) -> usize {
        match wanted {
            Wanted::Usual(bytes) => bytes.max(self.total_bytes / RUN_DIVISOR),
            Wanted::Least(bytes) => bytes,
        }
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
                spare_buffers: Vec::new(),
                flows,
                waiting: VecDeque::new(),
                held_bytes: 0,
                promised_bytes: 0,
            }),
        }))
    }

    /// One more flow, the next by index.
    pub fn admit(&self) {
        self.lock().flows.push(Holder::default());
    }

    /// The flow takes nothing any more; what it still holds goes back when it is released.
    pub fn retire(&self, flow: FlowIndex) {
        let mut state = self.lock();
        state.no_longer_waits(flow);
        state.keep_promise(flow, usize::MAX);
        let holder = &mut state.flows[flow.0];
        (holder.is_gone, holder.open_since, holder.wake) = (true, None, None);
        let shares = self.shares(&state);
        let woken = state.take_servable(shares);
        drop(state);
        woken.iter().for_each(|wake| wake.released());
    }

    /// Says how `flow` is woken.
    pub fn register(&self, flow: FlowIndex, wake: Arc<dyn Wake>) {
        self.lock().flows[flow.0].wake = Some(wake);
    }

    /// Takes what `flow` wants, or nothing: then the flow waits in line, and is woken once there is room.
    pub fn take(&self, flow: FlowIndex, wanted: Wanted) -> bool {
        let mut state = self.lock();
        let shares = self.shares(&state);
        let held = state.flows[flow.0].held_bytes;
        if shares.grant(held, wanted, wanted.bytes(), state.held_bytes) {
            state.hold(flow, wanted.bytes());
            state.keep_promise(flow, wanted.bytes());
            state.no_longer_waits(flow);
            return true;
        }
        let was_promised = state.keep_promise(flow, usize::MAX);
        if state.flows[flow.0].wanted.replace(wanted).is_none() {
            state.flows[flow.0].is_nearer = false;
            // Others were quicker: its place in line is the first still.
            match was_promised {
                true => state.waiting.push_front(flow),
                false => state.waiting.push_back(flow),
            }
        }
        let woken = match was_promised {
            true => state.take_servable(shares),
            false => Vec::new(),
        };
        let oldest = state
            .flows
            .iter()
            .enumerate()
            .filter(|(index, holder)| *index != flow.0 && holder.is_asked())
            .filter_map(|(_, holder)| holder.open_since.map(|since| (since, holder)))
            .min_by_key(|(since, _)| *since)
            .and_then(|(_, holder)| holder.wake.clone());
        drop(state);
        woken.iter().for_each(|wake| wake.released());
        if let Some(wake) = oldest {
            wake.flush();
        }
        false
    }

    /// A turn of `flow` is over: what it was woken for and didn't take is for others. It waits on if it `is_short`.
    pub fn settle(&self, flow: FlowIndex, is_short: bool) {
        let mut state = self.lock();
        if !is_short {
            state.no_longer_waits(flow);
        }
        if state.keep_promise(flow, usize::MAX) {
            let shares = self.shares(&state);
            let woken = state.take_servable(shares);
            drop(state);
            woken.iter().for_each(|wake| wake.released());
        }
    }

    /// Whether others could go on if `flow` let go of its open batch, which holds `open_bytes`: they wait, there is little
    /// left, and the batch holds more than the flow is sure of. Not where calls of the flow are unanswered: another one would
    /// only hold more.
    pub fn needs_batch_of(&self, flow: FlowIndex, open_bytes: usize) -> bool {
        let state = self.lock();
        let holder = &state.flows[flow.0];
        let do_others_wait = || state.waiting.iter().any(|waiting| *waiting != flow);
        holder.is_asked()
            && holder.held_bytes == open_bytes
            && do_others_wait()
            && !self.shares(&state).are_plenty(state.held_bytes)
    }

    /// Whether the line that `flow` waits in hasn't moved since this was last asked: those before it don't let go of what
    /// they hold, or it wants more than there will be.
    pub fn waits_in_vain(&self, flow: FlowIndex) -> bool {
        let holder = &mut self.lock().flows[flow.0];
        let is_nearer = std::mem::replace(&mut holder.is_nearer, false);
        holder.wanted.is_some() && !is_nearer
    }

    /// Whether so much is free that lines are short.
    pub fn has_plenty(&self) -> bool {
        let state = self.lock();
        self.shares(&state).are_plenty(state.held_bytes)
    }

    /// Takes `bytes` whether or not they are to be had: for what can't be put back, such as the end of a record.
    pub fn take_anyway(&self, flow: FlowIndex, bytes: usize) {
        self.lock().hold(flow, bytes);
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

    /// Gives back `bytes` of `flow` and wakes those in line for whom there is room now.
    pub fn release(&self, flow: FlowIndex, bytes: usize) {
        let mut state = self.lock();
        let held = state.flows[flow.0].held_bytes;
        debug_assert!(held >= bytes, "released {bytes} of {held}");
        let released = held.min(bytes);
        state.flows[flow.0].held_bytes -= released;
        state.held_bytes -= released;
        let shares = self.shares(&state);
        let woken = state.take_servable(shares);
        drop(state);
        woken.iter().for_each(|wake| wake.released());
    }

    /// Takes back the body of a batch that is done with.
    ///
    /// Kept are at most [`SPARE_BODIES_MAX`] while flows hold something, and none once the agent is at rest.
    pub fn give_back_body(&self, body: Vec<u8>) {
        let mut state = self.lock();
        if state.is_at_rest() {
            (state.spare, state.spare_buffers) = (Vec::new(), Vec::new());
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

    /// Takes back a turn's read buffer. As with bodies, none is kept once the agent is at rest.
    pub fn give_back_buffer(&self, buffer: Vec<u8>) {
        let mut state = self.lock();
        if !state.is_at_rest()
            && state.spare_buffers.len() < SPARE_BUFFERS_MAX
            && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX
        {
            state.spare_buffers.push(buffer);
        }
    }

    /// A read buffer with whatever it was filled with, or an empty one.
    pub fn spare_buffer(&self) -> Vec<u8> {
        self.lock().spare_buffers.pop().unwrap_or_default()
    }

    /// Notes since when `flow` has an open batch, if it has one.
    pub fn note_open(&self, flow: FlowIndex, since: Option<Instant>) {
        self.lock().flows[flow.0].open_since = since;
    }

    /// Bytes held by all flows.
    pub fn held_bytes(&self) -> usize {
        self.lock().held_bytes
    }

    /// The budget's size.
    pub fn total_bytes(&self) -> usize {
        self.0.total_bytes
    }

    fn shares(&self, state: &State) -> Shares {
        let present = state.flows.iter().filter(|holder| !holder.is_gone);
        Shares {
            total_bytes: self.0.total_bytes,
            is_alone: present.take(2).count() == 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section panics half-way, so a poisoned lock still guards sound numbers.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    /// It holds more than each flow may in any case: others who are short ask for it.
    fn is_asked(&self) -> bool {
        self.held_bytes > SURE_BYTES
    }
}

impl State {
    /// No flow holds anything.
    fn is_at_rest(&self) -> bool {
        self.held_bytes == 0
    }

    fn hold(&mut self, flow: FlowIndex, bytes: usize) {
        self.flows[flow.0].held_bytes += bytes;
        self.held_bytes += bytes;
    }

    /// So many of the bytes for which a flow was woken are for others again; whether there were any.
    fn keep_promise(&mut self, flow: FlowIndex, bytes: usize) -> bool {
        let promised_bytes = &mut self.flows[flow.0].promised_bytes;
        let kept = bytes.min(*promised_bytes);
        *promised_bytes -= kept;
        self.promised_bytes -= kept;
        kept > 0
    }

    fn no_longer_waits(&mut self, flow: FlowIndex) {
        if self.flows[flow.0].wanted.take().is_some() {
            self.waiting.retain(|waiting| *waiting != flow);
        }
    }

    /// Those in line for whom there is room, if those before them take as much as they were woken for: to wake the others
    /// too would only make them read and be refused again.
    fn take_servable(&mut self, shares: Shares) -> Vec<Arc<dyn Wake>> {
        let (flows, held_bytes) = (&mut self.flows, self.held_bytes);
        let promised_bytes = &mut self.promised_bytes;
        let mut woken = Vec::new();
        let mut has_moved = false;
        self.waiting.retain(|flow| {
            let holder = &mut flows[flow.0];
            let Some(wanted) = holder.wanted else {
                return false;
            };
            let run_bytes = shares.run_bytes(wanted);
            let spoken_for = held_bytes + *promised_bytes;
            if !shares.grant(holder.held_bytes, wanted, run_bytes, spoken_for) {
                holder.is_nearer |= has_moved;
                return true;
            }
            has_moved = true;
            holder.promised_bytes = run_bytes;
            *promised_bytes += run_bytes;
            holder.wanted = None;
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

    use super::Wanted::{Least, Usual};
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

    /// What the first `n_flows` flows are woken by.
    fn bells_of(budget: &Budget, n_flows: usize) -> Vec<Arc<Bell>> {
        let bells: Vec<_> = (0..n_flows).map(|_| Arc::new(Bell::default())).collect();
        for (index, bell) in bells.iter().enumerate() {
            budget.register(FlowIndex(index), bell.clone());
        }
        bells
    }

    #[test]
    fn one_flow_alone_may_hold_all_of_it() {
        let budget = Budget::new(8 * MIB, 1);
        assert!((0..8).all(|_| budget.take(FlowIndex(0), Usual(MIB))));
        assert!(!budget.take(FlowIndex(0), Usual(1)));
    }

    #[test]
    fn an_open_batch_is_needed_where_others_wait_little_is_left_and_nothing_is_unanswered() {
        let budget = Budget::new(4 * MIB, 3);
        let needs = |flow, open_bytes| budget.needs_batch_of(FlowIndex(flow), open_bytes);
        assert!(budget.take(FlowIndex(0), Usual(MIB)));
        assert!(budget.take(FlowIndex(2), Usual(SURE_BYTES)));
        budget.take_anyway(FlowIndex(1), 5 * MIB / 2);
        assert!(!needs(0, MIB), "nobody waits");
        assert!(!budget.take(FlowIndex(1), Usual(MIB)));
        assert!(needs(0, MIB));
        assert!(!needs(0, MIB / 2), "a call is unanswered");
        assert!(!needs(2, SURE_BYTES), "it is sure of that");
        assert!(!needs(1, 5 * MIB / 2), "it waits itself");
        budget.release(FlowIndex(1), MIB);
        assert!(!budget.take(FlowIndex(1), Usual(2 * MIB)));
        assert!(!needs(0, MIB), "another would get as much again");
        budget.take_anyway(FlowIndex(1), MIB);
        assert!(needs(0, MIB));
        budget.settle(FlowIndex(1), false);
        assert!(!needs(0, MIB), "nobody waits any more");
    }

    #[test]
    fn beside_others_a_flow_holds_no_more_than_it_leaves() {
        const STEP: usize = MIB / 8;
        let budget = Budget::new(12 * MIB, 4);
        for (flow, expected) in [(0, 6 * MIB), (1, 3 * MIB), (2, 3 * MIB / 2)] {
            let n_taken = (0..96)
                .filter(|_| budget.take(FlowIndex(flow), Usual(STEP)))
                .count();
            assert_eq!(n_taken * STEP, expected, "flow {flow}");
        }
    }

    #[test]
    fn little_is_never_refused() {
        let budget = Budget::new(MIB, 100);
        budget.take_anyway(FlowIndex(0), MIB);
        for flow in 1..100 {
            assert!(budget.take(FlowIndex(flow), Usual(SURE_BYTES)));
            assert!(!budget.take(FlowIndex(flow), Usual(1)));
        }
    }

    #[test]
    fn a_record_of_any_length_passes_when_the_flow_holds_nothing() {
        let budget = Budget::new(MIB, 100);
        assert!(budget.take(FlowIndex(0), Usual(10 * MIB)), "nobody has any");
        assert!(!budget.take(FlowIndex(1), Usual(10 * MIB)));
        assert!(budget.take(FlowIndex(1), Least(10 * MIB)));
        assert!(!budget.take(FlowIndex(1), Least(1)));
    }

    #[test]
    fn a_release_wakes_those_who_were_refused_once() {
        let budget = Budget::new(4 * MIB, 1);
        let bell = Arc::new(Bell::default());
        budget.register(FlowIndex(0), bell.clone());
        assert!(budget.take(FlowIndex(0), Usual(4 * MIB)));
        assert!(!budget.take(FlowIndex(0), Usual(1)));
        budget.release(FlowIndex(0), 2 * MIB);
        budget.release(FlowIndex(0), 2 * MIB);
        assert_eq!(bell.released.load(Ordering::Relaxed), 1);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn a_release_wakes_in_order_and_only_those_for_whom_there_is_room_for_several_batches() {
        const BATCH: usize = MIB / 8;
        let budget = Budget::new(16 * MIB, 4);
        let bells = bells_of(&budget, 4);
        assert!(budget.take(FlowIndex(0), Usual(8 * MIB)));
        assert!(budget.take(FlowIndex(1), Usual(4 * MIB)));
        budget.take_anyway(FlowIndex(1), 4 * MIB);
        for flow in [2, 3] {
            assert!(!budget.take(FlowIndex(flow), Usual(BATCH)));
        }
        let woken = || -> Vec<usize> {
            bells
                .iter()
                .map(|bell| bell.released.load(Ordering::Relaxed))
                .collect()
        };
        budget.release(FlowIndex(0), MIB);
        assert_eq!(woken(), [0, 0, 0, 0], "as much has to be left");
        budget.release(FlowIndex(0), MIB);
        assert_eq!(woken(), [0, 0, 1, 0], "there is room for the first alone");
        assert!((0..8).all(|_| budget.take(FlowIndex(2), Usual(BATCH))));
        assert!(!budget.take(FlowIndex(2), Usual(BATCH)));
        budget.release(FlowIndex(0), MIB);
        assert_eq!(woken(), [0, 0, 1, 1]);
    }

    #[test]
    fn who_waits_in_a_line_that_moves_is_nearer_and_who_is_passed_is_not() {
        let budget = Budget::new(16 * MIB, 5);
        let bells = bells_of(&budget, 5);
        budget.take_anyway(FlowIndex(0), 16 * MIB);
        assert!(!budget.take(FlowIndex(1), Usual(9 * MIB)));
        for flow in [2, 3] {
            assert!(!budget.take(FlowIndex(flow), Usual(MIB / 8)));
        }
        assert!(
            (1..=3).all(|flow| budget.waits_in_vain(FlowIndex(flow))),
            "nobody lets go of anything"
        );
        budget.release(FlowIndex(0), 2 * MIB);
        assert_eq!(bells[2].released.load(Ordering::Relaxed), 1);
        assert!(budget.waits_in_vain(FlowIndex(1)), "it was passed");
        assert!(!budget.waits_in_vain(FlowIndex(2)), "it was served");
        assert!(!budget.waits_in_vain(FlowIndex(3)), "it is nearer");
        assert!(
            budget.waits_in_vain(FlowIndex(3)),
            "since then nothing moved"
        );
    }

    #[test]
    fn who_was_woken_and_found_others_quicker_is_the_first_in_line_still() {
        let budget = Budget::new(16 * MIB, 4);
        let bells = bells_of(&budget, 4);
        budget.take_anyway(FlowIndex(0), 15 * MIB);
        for flow in [1, 2] {
            assert!(!budget.take(FlowIndex(flow), Usual(MIB)));
        }
        let n_woken = |flow: usize| bells[flow].released.load(Ordering::Relaxed);
        budget.release(FlowIndex(0), MIB);
        assert_eq!((n_woken(1), n_woken(2)), (1, 0));
        assert!(budget.take(FlowIndex(3), Usual(MIB)));
        assert!(!budget.take(FlowIndex(1), Usual(MIB)));
        budget.release(FlowIndex(0), MIB);
        assert_eq!((n_woken(1), n_woken(2)), (2, 0));
    }

    #[test]
    fn who_makes_do_with_little_is_woken_once_it_holds_nothing() {
        let budget = Budget::new(MIB, 2);
        let bells = bells_of(&budget, 2);
        budget.take_anyway(FlowIndex(0), MIB);
        assert!(budget.take(FlowIndex(1), Least(MIB)));
        assert!(!budget.take(FlowIndex(1), Least(MIB)));
        budget.release(FlowIndex(1), MIB / 2);
        assert_eq!(bells[1].released.load(Ordering::Relaxed), 0);
        budget.release(FlowIndex(1), MIB / 2);
        assert_eq!(bells[1].released.load(Ordering::Relaxed), 1);
    }

    /// What may happen to a budget.
    #[derive(Debug, Clone)]
    enum Step {
        Take { flow: usize, bytes: usize },
        ReleaseOldest { flow: usize },
        LosePatience { flow: usize },
        Retire { flow: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        let flow = 0..5usize;
        prop_oneof![
            8 => (flow.clone(), 1..3 * MIB / 2).prop_map(|(flow, bytes)| Step::Take { flow, bytes }),
            6 => flow.clone().prop_map(|flow| Step::ReleaseOldest { flow }),
            3 => flow.clone().prop_map(|flow| Step::LosePatience { flow }),
            1 => flow.prop_map(|flow| Step::Retire { flow }),
        ]
    }

    proptest! {
        /// Whatever others do: who waits is woken, or told that it waits in vain, and gets what it can't do without
        /// then; all stay within the bound but for that; and once all is released all of it is there again.
        #[test]
        fn nobody_is_forgotten_and_the_bound_holds(steps in proptest::collection::vec(step(), 1..60)) {
            const N_FLOWS: usize = 5;
            const TOTAL: usize = 8 * MIB;
            let budget = Budget::new(TOTAL, N_FLOWS);
            let bells = bells_of(&budget, N_FLOWS);
            let n_woken = |flow: usize| bells[flow].released.load(Ordering::Relaxed);
            let mut taken: [VecDeque<usize>; N_FLOWS] = Default::default();
            // How often each had been woken when it was refused last, and what it wanted.
            let mut refused: [Option<(usize, usize)>; N_FLOWS] = Default::default();
            let mut is_gone = [false; N_FLOWS];
            let mut at_least = [0; N_FLOWS];
            for step in steps {
                match step {
                    Step::Take { flow, .. } if is_gone[flow] => {}
                    Step::Take { flow, bytes } => match budget.take(FlowIndex(flow), Usual(bytes)) {
                        true => {
                            taken[flow].push_back(bytes);
                            refused[flow] = None;
                        }
                        false => {
                            let held: usize = taken[flow].iter().sum();
                            prop_assert!(held + bytes > SURE_BYTES, "little is never refused");
                            refused[flow] = Some((n_woken(flow), bytes));
                        }
                    },
                    Step::ReleaseOldest { flow } => {
                        if let Some(bytes) = taken[flow].pop_front() {
                            budget.release(FlowIndex(flow), bytes);
                        }
                    }
                    Step::LosePatience { flow } => {
                        let Some((before, bytes)) = refused[flow] else { continue };
                        if n_woken(flow) == before && budget.waits_in_vain(FlowIndex(flow)) {
                            let is_sure = taken[flow].is_empty();
                            if budget.take(FlowIndex(flow), Least(bytes)) {
                                at_least[flow] = if is_sure { bytes } else { at_least[flow] };
                                refused[flow] = None;
                                taken[flow].push_back(bytes);
                            } else {
                                prop_assert!(!is_sure, "who holds nothing gets what it can't do without");
                            }
                        }
                    }
                    Step::Retire { flow } => {
                        budget.retire(FlowIndex(flow));
                        (is_gone[flow], refused[flow]) = (true, None);
                    }
                }
                let beyond: usize = at_least.iter().map(|bytes| bytes.max(&SURE_BYTES)).sum();
                prop_assert!(budget.held_bytes() <= TOTAL + beyond);
            }
            for (flow, left) in taken.iter().enumerate() {
                left.iter().for_each(|bytes| budget.release(FlowIndex(flow), *bytes));
            }
            prop_assert_eq!(budget.held_bytes(), 0);
            // Those who were woken find that they want nothing any more.
            for _ in 0..N_FLOWS {
                for flow in (0..N_FLOWS).filter(|flow| refused[*flow].is_none_or(|(before, _)| n_woken(*flow) > before)) {
                    budget.settle(FlowIndex(flow), false);
                }
            }
            for (flow, refused) in refused.into_iter().enumerate() {
                let is_woken = refused.is_none_or(|(before, _)| n_woken(flow) > before);
                prop_assert!(is_woken, "flow {} waits for ever", flow);
            }
            let state = budget.lock();
            prop_assert!(state.waiting.is_empty());
            prop_assert_eq!(state.promised_bytes, 0);
        }
    }

    #[test]
    fn what_a_guard_holds_is_given_back_with_it() {
        let budget = Budget::new(4 * MIB, 1);
        let held = budget.hold(FlowIndex(0), 4 * MIB);
        assert!(!budget.take(FlowIndex(0), Usual(1)));
        drop(held);
        assert!(budget.take(FlowIndex(0), Usual(4 * MIB)));
    }

    #[test]
    fn when_short_the_oldest_open_batch_of_another_flow_is_asked_to_go() {
        let budget = Budget::new(8 * MIB, 4);
        let bells = bells_of(&budget, 4);
        let now = Instant::now();
        for (flow, bytes) in [(1, 4 * MIB), (2, 2 * MIB)] {
            assert!(budget.take(FlowIndex(flow), Usual(bytes)));
        }
        budget.note_open(FlowIndex(1), Some(now + Duration::from_secs(1)));
        budget.note_open(FlowIndex(2), Some(now));
        assert!(budget.take(FlowIndex(0), Usual(MIB)));
        assert!(!budget.take(FlowIndex(0), Usual(MIB)));
        let asked: Vec<_> = bells
            .iter()
            .map(|bell| bell.flushed.load(Ordering::Relaxed))
            .collect();
        assert_eq!(asked, [0, 0, 1, 0]);
    }
}
