//! `ordering`: which records of a flow's batches may be sent now, so that those of one lane are accepted in the order in
//! which they were read.
//!
//! A lane is a partition key (`PER_KEY`) or a file (`PER_FILE`). PutRecords keeps no order around a record that fails,
//! so of each lane one record at most is in a call or waits for its back-off; the next one goes once it is accepted. A
//! batch is sent in parts: each call takes those of its records that are first in their lane.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::backoff::Failures;
use crate::config::Backoff;
use crate::record::{Batch, Lane};

/// A flow's batches, and where each lane stands in them.
#[derive(Debug, Default)]
pub struct Lanes {
    batches: BTreeMap<u64, Waiting>,
    lanes: HashMap<Lane, LaneState>,
    /// Records that may be sent now, by batch, oldest batch first.
    ready: BTreeMap<u64, Vec<u16>>,
    /// Records that wait for their lane's back-off, by when it ends.
    backing_off: BTreeMap<Instant, Vec<(u64, u16)>>,
}

#[derive(Debug)]
struct Waiting {
    batch: Arc<Batch>,
    n_left: usize,
}

#[derive(Debug, Default)]
struct LaneState {
    /// Records that aren't accepted, as (batch, place in it), in the order in which they were read. The first is ready,
    /// in a call, or backing off.
    records: VecDeque<(u64, u16)>,
    failures: Failures,
}

/// The records of one call.
#[derive(Debug)]
pub struct Picked {
    /// The batch's number.
    pub number: u64,
    pub batch: Arc<Batch>,
    /// Places in [`Batch::records`], rising.
    pub records: Vec<u16>,
}

impl Lanes {
    /// A batch joins, which has a lane for each of its records, and one record at least.
    pub fn add(&mut self, number: u64, batch: Arc<Batch>) {
        debug_assert_eq!(batch.lanes.len(), batch.records.len());
        for (place, lane) in (0..).zip(&batch.lanes) {
            let state = self.lanes.entry(*lane).or_default();
            state.records.push_back((number, place));
            if state.records.len() == 1 {
                self.ready.entry(number).or_default().push(place);
            }
        }
        let n_left = batch.records.len();
        self.batches.insert(number, Waiting { batch, n_left });
    }

    /// The records of the next call, which are in it from now on; `None` if none may be sent now.
    pub fn pick(&mut self, now: Instant) -> Option<Picked> {
        while let Some(first) = self.backing_off.first_entry()
            && *first.key() <= now
        {
            for (number, place) in first.remove() {
                self.ready.entry(number).or_default().push(place);
            }
        }
        let (number, mut records) = self.ready.pop_first()?;
        records.sort_unstable();
        Some(Picked {
            number,
            batch: Arc::clone(&self.batches.get(&number)?.batch),
            records,
        })
    }

    /// These were accepted: the next of their lanes may go. Returns whether the batch is done with, as all of it is.
    pub fn accepted(&mut self, number: u64, records: &[u16]) -> bool {
        let Some(waiting) = self.batches.get_mut(&number) else {
            return false;
        };
        waiting.n_left -= records.len();
        let (batch, is_done) = (Arc::clone(&waiting.batch), waiting.n_left == 0);
        if is_done {
            self.batches.remove(&number);
        }
        for place in records {
            let lane = batch.lanes[usize::from(*place)];
            let Some(state) = self.lanes.get_mut(&lane) else {
                continue;
            };
            state.records.pop_front();
            state.failures = Failures::default();
            match state.records.front() {
                Some((number, place)) => self.ready.entry(*number).or_default().push(*place),
                None => drop(self.lanes.remove(&lane)),
            }
        }
        is_done
    }

    /// These failed, each by itself: their lanes wait for their own back-offs.
    pub fn failed(
        &mut self,
        number: u64,
        records: &[u16],
        backoff: Backoff,
        now: Instant,
        chance: f64,
    ) {
        let Some(waiting) = self.batches.get(&number) else {
            return;
        };
        for place in records {
            let lane = waiting.batch.lanes[usize::from(*place)];
            let Some(state) = self.lanes.get_mut(&lane) else {
                continue;
            };
            state.failures.failed();
            let until = now + state.failures.delay(backoff, chance);
            let due = self.backing_off.entry(until).or_default();
            due.push((number, *place));
        }
    }

    /// The call as a whole came to nothing: its records may go again.
    pub fn put_back(&mut self, number: u64, records: Vec<u16>) {
        self.ready.entry(number).or_default().extend(records);
    }

    /// The batches of which something isn't accepted, in order: nothing of them is sent any more.
    pub fn into_batches(self) -> impl Iterator<Item = Arc<Batch>> {
        self.batches.into_values().map(|waiting| waiting.batch)
    }

    /// Batches of which something isn't accepted.
    pub fn n_batches(&self) -> usize {
        self.batches.len()
    }

    /// Whether something may be sent now.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When the next back-off ends.
    pub fn next_due(&self) -> Option<Instant> {
        self.backing_off.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Destination;
    use crate::publish::batch::tests::batch_of;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(10),
    };

    fn batch(lanes: &[u64]) -> Arc<Batch> {
        let data = vec![&b"x"[..]; lanes.len()];
        let mut batch = batch_of(&Destination::Kinesis("s".into()), &data);
        batch.lanes = lanes.iter().copied().map(Lane).collect();
        Arc::new(batch)
    }

    /// The next call, as its batch and records.
    fn pick(lanes: &mut Lanes, now: Instant) -> Option<(u64, Vec<u16>)> {
        lanes
            .pick(now)
            .map(|picked| (picked.number, picked.records))
    }

    #[test]
    fn of_each_lane_one_record_is_on_its_way() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        lanes.add(0, batch(&[1, 2, 1, 3]));
        lanes.add(1, batch(&[2, 4]));
        assert_eq!(pick(&mut lanes, now), Some((0, vec![0, 1, 3])));
        assert_eq!(pick(&mut lanes, now), Some((1, vec![1])));
        assert_eq!(pick(&mut lanes, now), None);
        assert!(!lanes.accepted(0, &[0, 1, 3]));
        assert_eq!(pick(&mut lanes, now), Some((0, vec![2])));
        assert_eq!(pick(&mut lanes, now), Some((1, vec![0])));
        assert!(lanes.accepted(0, &[2]), "all of the batch is accepted");
        assert!(!lanes.accepted(1, &[0]));
        assert!(lanes.accepted(1, &[1]));
        assert_eq!((lanes.n_batches(), lanes.lanes.len()), (0, 0));
    }

    #[test]
    fn a_lane_that_fails_holds_up_itself_alone() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        lanes.add(0, batch(&[1, 2, 1, 2]));
        assert_eq!(pick(&mut lanes, now), Some((0, vec![0, 1])));
        lanes.failed(0, &[0], BACKOFF, now, 0.5);
        assert!(!lanes.accepted(0, &[1]));
        assert_eq!(pick(&mut lanes, now), Some((0, vec![3])));
        assert_eq!(pick(&mut lanes, now), None);
        let due = lanes.next_due().unwrap();
        assert!(due > now);
        assert_eq!(pick(&mut lanes, due), Some((0, vec![0])));
        lanes.failed(0, &[0], BACKOFF, due, 0.5);
        assert!(
            lanes.next_due().unwrap() - due > due - now,
            "back-offs grow"
        );
    }

    #[test]
    fn records_of_a_call_that_came_to_nothing_go_again_before_those_behind_them() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        lanes.add(0, batch(&[1, 1, 2]));
        let (number, records) = pick(&mut lanes, now).unwrap();
        lanes.put_back(number, records);
        assert!(lanes.is_ready());
        assert_eq!(pick(&mut lanes, now), Some((0, vec![0, 2])));
    }
}
