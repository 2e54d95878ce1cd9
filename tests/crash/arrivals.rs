//! What has arrived, and what mustn't arrive again.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use kinesis_agent::local::Record;
use tokio::sync::mpsc;

/// The line with this number.
pub fn line(log: usize, number: usize) -> String {
    let width = number * 7 % 61;
    format!("{log} {number:06} {:x<width$} end\n", "")
}

/// What has arrived: of each log, how often each line.
#[derive(Default)]
pub struct Arrivals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub struct State {
    pub n_times: Vec<Vec<u32>>,
    pub n_records: usize,
    /// Records that are no line.
    pub torn: Vec<String>,
    pub is_over: bool,
    /// Calls without a record: all before them is noted.
    n_marks: usize,
    /// Lines that a checkpoint covers, and how often they had arrived by then.
    covered: HashMap<(usize, usize), u32>,
}

impl Arrivals {
    pub fn watch(mut records: mpsc::Receiver<Vec<Record>>, n_logs: usize) -> Arc<Arrivals> {
        let arrivals = Arc::new(Arrivals::default());
        arrivals.change(|state| state.n_times = vec![Vec::new(); n_logs]);
        let noted = Arc::clone(&arrivals);
        tokio::spawn(async move {
            while let Some(call) = records.recv().await {
                noted.change(|state| {
                    state.n_marks += usize::from(call.is_empty());
                    state.note(&call);
                });
            }
        });
        arrivals
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    pub fn ask<T>(&self, question: impl FnOnce(&State) -> T) -> T {
        question(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until it is so; `false` if all is over before.
    pub fn wait_until(&self, is_so: impl Fn(&State) -> bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.is_over && !is_so(&state) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_over
    }
}

impl State {
    /// Empty calls so far: what was sent before them is noted.
    pub fn n_marks(&self) -> usize {
        self.n_marks
    }

    /// A checkpoint says that these lines have arrived; those that haven't.
    pub fn cover(&mut self, log: usize, lines: Range<usize>) -> Vec<usize> {
        let missing = self.missing(log, lines.clone()).collect();
        for number in lines {
            let n_times = self.n_times[log].get(number).copied().unwrap_or_default();
            self.covered.entry((log, number)).or_insert(n_times);
        }
        missing
    }

    /// Lines that arrived again though a checkpoint covered them.
    pub fn again(&self) -> Vec<(usize, usize)> {
        let covered = self.covered.iter();
        let again = covered.filter(|((log, number), n_times)| {
            self.n_times[*log]
                .get(*number)
                .is_some_and(|now| now > *n_times)
        });
        let mut again: Vec<_> = again.map(|(line, _)| *line).collect();
        again.sort_unstable();
        again
    }

    pub fn n_covered(&self) -> usize {
        self.covered.len()
    }

    fn note(&mut self, call: &[Record]) {
        self.n_records += call.len();
        let text_of = |record: &Record| String::from_utf8_lossy(&record.data).into_owned();
        for (place, record) in call.iter().enumerate() {
            let text = text_of(record);
            let mut words = text.split(' ').map(str::parse::<usize>);
            match (words.next(), words.next()) {
                (Some(Ok(log)), Some(Ok(number)))
                    if log < self.n_times.len() && line(log, number) == text =>
                {
                    let lines = &mut self.n_times[log];
                    lines.resize(lines.len().max(number + 1), 0);
                    lines[number] += 1;
                }
                _ => {
                    let before = place.checked_sub(1).map(|before| text_of(&call[before]));
                    let after = call.get(place + 1).map(text_of);
                    let torn = format!("{text:?} after {before:?}, before {after:?}");
                    self.torn.push(torn);
                }
            }
        }
    }

    /// Those of these lines that haven't arrived.
    pub fn missing(&self, log: usize, lines: Range<usize>) -> impl Iterator<Item = usize> {
        let arrived = move |number: &usize| self.n_times[log].get(*number).is_some_and(|n| *n > 0);
        lines.filter(move |number| !arrived(number))
    }

    /// Whether all of these lines have arrived.
    pub fn has(&self, log: usize, lines: Range<usize>) -> bool {
        self.missing(log, lines).next().is_none()
    }
}
