//! Whether a loop still turns: it says so each time round, and whoever asks compares with the clock.

use std::time::{Duration, Instant};

use super::counters::Gauge;

/// A loop that was silent for so long beyond its longest pause doesn't turn.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// When one loop last turned.
#[derive(Debug)]
pub struct Turning {
    made_at: Instant,
    /// In ms since `made_at`.
    turned_at_ms: Gauge,
    /// How long the loop may pause while nothing happens.
    longest_pause: Duration,
}

impl Default for Turning {
    /// A loop that needs no pause of its own.
    fn default() -> Turning {
        Turning::new(Duration::ZERO)
    }
}

impl Turning {
    /// A loop that begins now and pauses for so long at most.
    pub fn new(longest_pause: Duration) -> Turning {
        Turning {
            made_at: Instant::now(),
            turned_at_ms: Gauge::default(),
            longest_pause,
        }
    }

    /// The loop turns.
    pub fn turns(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.made_at).as_millis();
        self.turned_at_ms.set(u64::try_from(ms).unwrap_or(u64::MAX));
    }

    /// How long ago the loop last turned.
    pub fn silent_for(&self, now: Instant) -> Duration {
        let turned_at = Duration::from_millis(self.turned_at_ms.get());
        now.saturating_duration_since(self.made_at)
            .saturating_sub(turned_at)
    }

    /// Whether it has turned lately.
    pub fn is_turning(&self, now: Instant) -> bool {
        self.silent_for(now) <= self.longest_pause.saturating_add(SILENCE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_turns_if_it_did_within_its_pause_and_a_minute() {
        for (silent_s, pause_s, expected) in [
            (0, 0, true),
            (60, 0, true),
            (61, 0, false),
            (3660, 3600, true),
            (3661, 3600, false),
            (1_000_000, u64::MAX, true),
        ] {
            let turning = Turning::new(Duration::from_secs(pause_s));
            let turned_at = turning.made_at + Duration::from_secs(5);
            turning.turns(turned_at);
            let now = turned_at + Duration::from_secs(silent_s);
            assert_eq!(turning.is_turning(now), expected, "{silent_s} {pause_s}");
        }
    }
}
