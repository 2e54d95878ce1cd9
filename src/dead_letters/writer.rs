//! The thread that keeps refused records, so that nobody who sends waits for a disk.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;

use super::file::DeadLetterFile;
use super::letter::Letter;
use crate::config::FlowId;
use crate::publish::publisher::{Refused, RefusedId};
use crate::publish::wire::key_of;
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::events;
use crate::telemetry::troubles::AgentTroubles;

/// The wait after a first failure to write; it doubles up to the longest.
const RETRY_WAIT_MIN: Duration = Duration::from_millis(250);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
/// Letters that are written and synced together at most.
const LETTERS_AT_ONCE_MAX: usize = 500;

/// A record that is to be kept.
struct Order {
    id: RefusedId,
    counters: Arc<FlowCounters>,
    letter: Letter,
}

/// The way to the thread. It ends when this is dropped.
#[derive(Debug)]
pub struct DeadLetterWriter {
    orders: Sender<Order>,
}

impl DeadLetterWriter {
    /// Starts the thread, which calls `kept` with each record that is safe. While it can't write, `troubles` has it.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn start(
        file: DeadLetterFile,
        troubles: AgentTroubles,
        kept: impl Fn(RefusedId) + Send + 'static,
    ) -> std::io::Result<DeadLetterWriter> {
        let (orders, inbox) = mpsc::channel();
        thread::Builder::new()
            .name("dead letters".to_owned())
            .spawn(move || run(&file, &inbox, &troubles, &kept))?;
        Ok(DeadLetterWriter { orders })
    }

    /// Keeps a record; tried until it works.
    pub fn keep(
        &self,
        id: RefusedId,
        refused: &Refused,
        counters: &Arc<FlowCounters>,
        now: Timestamp,
    ) {
        let letter = letter_of(refused, counters.flow(), now);
        let counters = Arc::clone(counters);
        // The thread ends after whoever sends here.
        let _ = self.orders.send(Order {
            id,
            counters,
            letter,
        });
    }
}

/// The letter of a refused record.
pub fn letter_of(refused: &Refused, flow: &FlowId, now: Timestamp) -> Letter {
    let batch = &refused.batch;
    let (file, offset) = batch.origin_of(refused.place);
    let record = batch.records.get(usize::from(refused.place));
    let key = record.map(|record| key_of(batch, record)).unwrap_or(&[]);
    Letter {
        time: now,
        flow: flow.0.to_string(),
        file: file.map(Into::into),
        offset,
        error: refused.error.clone(),
        partition_key: (!key.is_empty()).then(|| String::from_utf8_lossy(key).into_owned()),
        data: record
            .map(|record| crate::publish::wire::data_of(batch, record).to_vec())
            .unwrap_or_default(),
    }
}

fn run(
    file: &DeadLetterFile,
    inbox: &Receiver<Order>,
    troubles: &AgentTroubles,
    kept: &dyn Fn(RefusedId),
) {
    while let Ok(first) = inbox.recv() {
        let mut orders = vec![first];
        orders.extend(inbox.try_iter().take(LETTERS_AT_ONCE_MAX - 1));
        if !keep_all(file, inbox, &mut orders, troubles, kept) {
            return;
        }
    }
}

/// Tries until all are kept; `false` if nobody waits for them any more.
fn keep_all(
    file: &DeadLetterFile,
    inbox: &Receiver<Order>,
    orders: &mut Vec<Order>,
    troubles: &AgentTroubles,
    kept: &dyn Fn(RefusedId),
) -> bool {
    let mut wait = RETRY_WAIT_MIN;
    let (mut has_failed, mut is_said) = (false, false);
    while !orders.is_empty() {
        // Where not all have room, as many are kept as have.
        let n = if has_failed { 1 } else { orders.len() };
        let letters: Vec<Letter> = orders[..n]
            .iter()
            .map(|order| order.letter.clone())
            .collect();
        match file.append(&letters) {
            Ok(()) => {
                if std::mem::take(&mut is_said) {
                    events::dead_letters_writable_again(troubles, file.path());
                }
                for order in orders.drain(..n) {
                    tell(file, &order);
                    kept(order.id);
                }
            }
            Err(_) if n > 1 => has_failed = true,
            Err(error) => {
                events::dead_letters_unwritable(troubles, &error);
                (has_failed, is_said) = (true, true);
                match inbox.recv_timeout(wait) {
                    Ok(order) => orders.push(order),
                    Err(RecvTimeoutError::Timeout) => wait = (wait * 2).min(RETRY_WAIT_MAX),
                    Err(RecvTimeoutError::Disconnected) => return false,
                }
            }
        }
    }
    true
}

fn tell(file: &DeadLetterFile, order: &Order) {
    let letter = &order.letter;
    events::record_dead_lettered(
        &order.counters,
        letter.file.as_deref(),
        letter.offset,
        &format!("{}: {}", letter.error.code, letter.error.message),
        file.path(),
    );
}
