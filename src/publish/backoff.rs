//! How long a flow waits after a failure.

use std::time::Duration;

use crate::config::Backoff;

/// Jitter either way, as a fraction of the delay.
const JITTER: f64 = 0.3;
/// What a success divides the count of failures by.
const SUCCESS_DIVISOR: u32 = 10;

/// The failures in a row of one flow, or of one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures(u32);

impl Failures {
    pub fn count(self) -> u32 {
        self.0
    }

    /// Counts a failure.
    pub fn failed(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    /// A success takes back nine tenths of the failures at once rather than all of them.
    pub fn succeeded(&mut self) {
        self.0 /= SUCCESS_DIVISOR;
    }

    /// The wait before the next try: initial × 2^(failures−1), at most the maximum, ±30 %.
    ///
    /// `chance` is drawn evenly from [0, 1). Zero failures: no wait.
    pub fn delay(self, backoff: Backoff, chance: f64) -> Duration {
        let Some(exponent) = self.0.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 2f64.powi(exponent.min(63) as i32);
        let plain = (backoff.initial.as_secs_f64() * factor).min(backoff.max.as_secs_f64());
        Duration::from_secs_f64(plain * (1.0 + JITTER * (2.0 * chance - 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(100),
        max: Duration::from_millis(10_000),
    };

    fn after(n: u32) -> Failures {
        let mut failures = Failures::default();
        (0..n).for_each(|_| failures.failed());
        failures
    }

    #[test]
    fn the_delay_doubles_up_to_the_maximum() {
        for (n, expected_ms) in [
            (0, 0),
            (1, 100),
            (2, 200),
            (3, 400),
            (7, 6_400),
            (8, 10_000),
            (4_000, 10_000),
        ] {
            assert_eq!(
                after(n).delay(BACKOFF, 0.5).as_millis(),
                expected_ms,
                "after {n} failures"
            );
        }
    }

    #[test]
    fn jitter_moves_the_delay_by_up_to_three_tenths_either_way() {
        assert_eq!(after(1).delay(BACKOFF, 0.0).as_millis(), 70);
        let most = after(1).delay(BACKOFF, 0.999_999).as_secs_f64();
        assert!((0.129..0.130_001).contains(&most), "{most}");
    }

    #[test]
    fn a_success_divides_the_failures_by_ten() {
        let mut failures = after(25);
        failures.succeeded();
        assert_eq!(failures.count(), 2);
        failures.succeeded();
        assert_eq!(failures.count(), 0);
    }

    #[test]
    fn a_maximum_below_the_initial_delay_wins() {
        let crossed = Backoff {
            initial: Duration::from_millis(1000),
            max: Duration::from_millis(10),
        };
        assert_eq!(after(1).delay(crossed, 0.5).as_millis(), 10);
    }
}
