//! How fast it goes: the last minutes, a sample a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Over so long a rate is taken.
pub const RATE_WINDOW: Duration = Duration::from_secs(30);
/// So long is shown.
pub const SHOWN: Duration = Duration::from_secs(300);

/// Totals at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub at: Instant,
    pub records_sent: u64,
    pub bytes_sent: u64,
    pub behind_bytes: u64,
}

/// Rates over the last [`RATE_WINDOW`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    /// By how much less was behind each second; below 0 where it became more.
    pub caught_up_bytes_per_second: f64,
}

/// The samples of the last minutes, at most one for each interval.
#[derive(Debug)]
pub struct Rates {
    samples: VecDeque<Sample>,
    kept: Duration,
}

impl Rates {
    /// Keeps samples for so long.
    pub fn new(kept: Duration) -> Rates {
        Rates {
            samples: VecDeque::new(),
            kept,
        }
    }

    pub fn add(&mut self, sample: Sample) {
        self.samples.push_back(sample);
        let is_old = |first: &Sample| sample.at.saturating_duration_since(first.at) > self.kept;
        while self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    /// Over the last [`RATE_WINDOW`], or what there is of it.
    pub fn rate(&self) -> Rate {
        let Some(last) = self.samples.back() else {
            return Rate::default();
        };
        let is_within =
            |sample: &&Sample| last.at.saturating_duration_since(sample.at) <= RATE_WINDOW;
        let Some(first) = self.samples.iter().find(is_within) else {
            return Rate::default();
        };
        rate_between(first, last)
    }

    /// When what is behind will have been sent at the present rate; `None`: nothing is, or it becomes more.
    pub fn caught_up_in(&self) -> Option<Duration> {
        let behind = self.samples.back()?.behind_bytes;
        let rate = self.rate().caught_up_bytes_per_second;
        let is_catching_up = behind > 0 && rate >= 1.0;
        is_catching_up.then(|| Duration::from_secs((behind as f64 / rate).ceil() as u64))
    }

    /// Rates from sample to sample, oldest first, each with its age.
    pub fn steps(&self) -> impl Iterator<Item = (Duration, Rate, u64)> {
        let last = self.samples.back().map(|sample| sample.at);
        self.samples
            .iter()
            .zip(self.samples.iter().skip(1))
            .map(move |(before, after)| {
                let age = last.map_or(Duration::ZERO, |last| {
                    last.saturating_duration_since(after.at)
                });
                (age, rate_between(before, after), after.behind_bytes)
            })
    }
}

fn rate_between(first: &Sample, last: &Sample) -> Rate {
    let seconds = last.at.saturating_duration_since(first.at).as_secs_f64();
    if seconds <= 0.0 {
        return Rate::default();
    }
    let per_second = |first: u64, last: u64| (last as f64 - first as f64) / seconds;
    Rate {
        records_per_second: per_second(first.records_sent, last.records_sent),
        bytes_per_second: per_second(first.bytes_sent, last.bytes_sent),
        caught_up_bytes_per_second: per_second(last.behind_bytes, first.behind_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(samples: impl IntoIterator<Item = (u64, u64, u64)>) -> Rates {
        let start = Instant::now();
        let mut rates = Rates::new(SHOWN);
        for (second, bytes_sent, behind_bytes) in samples {
            rates.add(Sample {
                at: start + Duration::from_secs(second),
                records_sent: bytes_sent / 10,
                bytes_sent,
                behind_bytes,
            });
        }
        rates
    }

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        assert_eq!(rates([]).rate(), Rate::default());
        assert_eq!(rates([(0, 100, 0)]).rate(), Rate::default());
        let rate = rates([(0, 0, 900), (100, 0, 900), (110, 1000, 400)]).rate();
        assert_eq!(rate.bytes_per_second, 100.0);
        assert_eq!(rate.records_per_second, 10.0);
        assert_eq!(rate.caught_up_bytes_per_second, 50.0);
    }

    #[test]
    fn the_time_until_caught_up_is_known_only_while_catching_up() {
        for (samples, expected) in [
            (vec![(0, 0, 1000), (10, 0, 900)], Some(90)),
            (vec![(0, 0, 900), (10, 0, 1000)], None),
            (vec![(0, 0, 900), (10, 0, 900)], None),
            (vec![(0, 0, 900), (10, 0, 0)], None),
            (vec![(0, 0, 900)], None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(
                rates(samples.clone()).caught_up_in(),
                expected,
                "{samples:?}"
            );
        }
    }

    #[test]
    fn samples_are_kept_for_minutes_and_no_longer() {
        let rates = rates((0..1000).map(|second| (second, second * 5, 0)));
        assert_eq!(rates.samples.len(), 301);
        let steps: Vec<_> = rates.steps().collect();
        assert_eq!(steps.len(), 300);
        assert_eq!(steps[0].0, Duration::from_secs(299));
        assert!(
            steps
                .iter()
                .all(|(_, rate, _)| rate.bytes_per_second == 5.0)
        );
    }
}
