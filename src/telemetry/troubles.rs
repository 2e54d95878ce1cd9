//! What is wrong now with a flow, or with the agent as a whole, and what to do about it.
//!
//! The log says that something happened; this is what still holds. An event begins a trouble or renews it, another one
//! ends it. What can't be mended any more (lost bytes, refused records) stays until the agent ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Troubles of one flow, or of the agent as a whole, that are kept; further ones aren't, until one of these ends.
pub const TROUBLES_MAX: usize = 50;

/// What a trouble keeps from working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Concern {
    /// Records aren't accepted.
    Sending,
    /// Records are accepted, but fewer than are sent.
    Slowness,
    /// Files aren't read.
    Reading,
    /// It may be as it should.
    Oddity,
    /// Data is gone, and stays so.
    Loss,
    /// What the agent keeps beside the data can't be written: checkpoints, dead letters, its log.
    Keeping,
    /// Somebody who watches the agent isn't told: metrics, the status page.
    Telling,
}

impl Concern {
    /// Whether somebody must act, or data waits or is lost.
    pub fn is_error(self) -> bool {
        !matches!(self, Concern::Oddity | Concern::Slowness | Concern::Telling)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub concern: Concern,
    /// What, where and why.
    pub problem: String,
    /// What to do.
    pub remedy: String,
    /// When it began.
    pub since: Timestamp,
    /// When it was last noticed.
    pub last: Timestamp,
    /// How often it was noticed.
    pub times: u64,
}

/// What distinguishes troubles: a word, and the path it is about, if it is about one.
type Key = (&'static str, String);

/// All that is wrong with one flow, or with the agent as a whole.
#[derive(Debug, Default)]
pub struct Troubles(BTreeMap<Key, Trouble>);

impl Troubles {
    /// It holds, as of `now`. `about` is the path that it is about, or nothing.
    pub fn note(
        &mut self,
        kind: &'static str,
        about: &str,
        concern: Concern,
        (problem, remedy): (&str, &str),
        now: Timestamp,
    ) {
        let key = (kind, about.to_owned());
        if let Some(trouble) = self.0.get_mut(&key) {
            trouble.problem = problem.to_owned();
            trouble.remedy = remedy.to_owned();
            (trouble.last, trouble.times) = (now, trouble.times + 1);
        } else if self.0.len() < TROUBLES_MAX {
            let trouble = Trouble {
                concern,
                problem: problem.to_owned(),
                remedy: remedy.to_owned(),
                since: now,
                last: now,
                times: 1,
            };
            self.0.insert(key, trouble);
        }
    }

    /// It is over.
    pub fn end(&mut self, kind: &'static str, about: &str) {
        self.0.remove(&(kind, about.to_owned()));
    }

    /// All of this concern are over.
    pub fn end_all(&mut self, concern: Concern) {
        self.0.retain(|_, trouble| trouble.concern != concern);
    }

    /// All of this concern but those of this kind are over.
    pub fn end_others(&mut self, concern: Concern, kind: &'static str) {
        self.0
            .retain(|(other, _), trouble| trouble.concern != concern || *other == kind);
    }

    /// What is wrong now, the worst first.
    pub fn now(&self) -> Vec<Trouble> {
        let mut troubles: Vec<Trouble> = self.0.values().cloned().collect();
        troubles.sort_by_key(|trouble| (!trouble.concern.is_error(), trouble.since));
        troubles
    }

    /// Whether anything but this is wrong that somebody must act on, or that keeps data waiting.
    pub fn has_other_error(&self, kind: &'static str) -> bool {
        let others = self.0.iter().filter(|((other, _), _)| *other != kind);
        let concerns = others.map(|(_, trouble)| trouble.concern);
        concerns
            .filter(|concern| *concern != Concern::Loss)
            .any(Concern::is_error)
    }

    /// Whether anything of this concern is wrong.
    pub fn has(&self, concern: Concern) -> bool {
        self.0.values().any(|trouble| trouble.concern == concern)
    }
}

/// What is wrong with the agent as a whole. A handle: its clones show the same.
#[derive(Debug, Clone, Default)]
pub struct AgentTroubles(Arc<Mutex<Troubles>>);

impl AgentTroubles {
    /// It holds from now on.
    pub fn begin(&self, kind: &'static str, concern: Concern, told: (&str, &str)) {
        self.lock().note(kind, "", concern, told, Timestamp::now());
    }

    /// It is over.
    pub fn end(&self, kind: &'static str) {
        self.lock().end(kind, "");
    }

    /// What is wrong now, the worst first.
    pub fn now(&self) -> Vec<Trouble> {
        self.lock().now()
    }

    fn lock(&self) -> MutexGuard<'_, Troubles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_trouble_begins_is_renewed_and_ends() {
        let mut troubles = Troubles::default();
        troubles.note("gone", "", Concern::Oddity, ("no file", "make one"), at(1));
        troubles.note("refused", "", Concern::Sending, ("no", "do"), at(2));
        troubles.note("refused", "", Concern::Sending, ("no again", "do"), at(5));
        let now = troubles.now();
        assert_eq!(now.len(), 2);
        let first = &now[0];
        assert_eq!((first.problem.as_str(), first.times), ("no again", 2));
        assert_eq!((first.since, first.last), (at(2), at(5)));
        assert!(troubles.has(Concern::Sending));
        troubles.end_all(Concern::Sending);
        assert!(!troubles.has(Concern::Sending));
        troubles.end("gone", "");
        assert_eq!(troubles.now(), []);
    }

    #[test]
    fn files_are_told_apart_and_their_number_is_bounded() {
        let mut troubles = Troubles::default();
        for n in 0..2 * TROUBLES_MAX {
            let path = format!("/l/{n}");
            troubles.note(
                "file",
                &path,
                Concern::Reading,
                (&path, "look"),
                at(n as i64),
            );
        }
        assert_eq!(troubles.now().len(), TROUBLES_MAX);
        troubles.end("file", "/l/3");
        assert_eq!(troubles.now().len(), TROUBLES_MAX - 1);
        troubles.end("file", "/l/99");
        assert_eq!(troubles.now().len(), TROUBLES_MAX - 1);
    }
}
