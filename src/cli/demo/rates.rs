//! Counts a minute, over a window that slides.

use std::collections::VecDeque;
use std::time::Duration;

use super::customers::Gender;

/// Counts by gender, in the order of [`Gender::ALL`].
pub type Counts = [u64; Gender::ALL.len()];

/// What a rate looks back on.
const WINDOW: Duration = Duration::from_secs(60);
/// How far apart the counts are that are remembered, and the least that a rate is made of.
const STEP: Duration = Duration::from_secs(1);

/// Remembers counts and makes rates of them. Times are those since the start, and never go back.
#[derive(Debug)]
pub struct Rates {
    /// Oldest first; never empty.
    samples: VecDeque<(Duration, Counts)>,
}

impl Rates {
    /// Nothing was counted at time zero.
    pub fn new() -> Rates {
        Rates {
            samples: VecDeque::from([(Duration::ZERO, Counts::default())]),
        }
    }

    /// What a minute brings at the rate of the last minute, or of the time since the start if that is shorter; `None`
    /// in the first second.
    pub fn a_minute(&mut self, now: Duration, counts: Counts) -> Option<Counts> {
        while self.samples.len() > 1 && self.samples[1].0 + WINDOW <= now {
            self.samples.pop_front();
        }
        if self.samples.back().is_some_and(|(at, _)| *at + STEP <= now) {
            self.samples.push_back((now, counts));
        }
        let (since, before) = *self.samples.front()?;
        let window = now.saturating_sub(since);
        (window >= STEP).then(|| {
            std::array::from_fn(|place| {
                let n = counts[place].saturating_sub(before[place]);
                (n as f64 * 60.0 / window.as_secs_f64()).round() as u64
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_minute_or_of_what_there_is() {
        let mut rates = Rates::new();
        assert_eq!(rates.a_minute(Duration::from_millis(900), [9, 0, 0]), None);
        let at = |rates: &mut Rates, seconds: u64, counts| {
            rates
                .a_minute(Duration::from_secs(seconds), counts)
                .unwrap()
        };
        assert_eq!(at(&mut rates, 2, [20, 2, 0]), [600, 60, 0]);
        for second in 3..=60 {
            assert_eq!(
                at(&mut rates, second, [10 * second, second, 0]),
                [600, 60, 0]
            );
        }
        // The first kind stops: after a minute its rate is none.
        for second in 61..=90 {
            at(&mut rates, second, [600, second, 1]);
        }
        assert_eq!(at(&mut rates, 90, [600, 90, 1]), [300, 60, 1]);
        for second in 91..=121 {
            at(&mut rates, second, [600, second, 1]);
        }
        assert_eq!(at(&mut rates, 121, [600, 121, 1]), [0, 60, 0]);
    }
}
