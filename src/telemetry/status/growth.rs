//! When a file had grown to an offset: a bounded history of its size.
//!
//! The age of a byte is the time since the file first had it. A file tells its size and the time of its last write;
//! between two looks it is taken to have grown steadily. Knots of that line are kept where it bends by more than
//! [`TOLERANCE_MS`], so a steady writer needs two however far behind its reader is.

use std::collections::VecDeque;

/// How far the line may be from what was seen, in ms.
pub const TOLERANCE_MS: i64 = 250;
/// Knots kept a file, 16 bytes each. Beyond it the one that matters least goes, and times there become less exact.
pub const KNOTS_MAX: usize = 256;

/// The file had grown to `size` at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Knot {
    size: u64,
    at_ms: i64,
}

/// Slopes, in ms a byte, of lines through the last knot but one that stay near everything seen since.
#[derive(Debug, Clone, Copy)]
struct Door {
    least: f64,
    most: f64,
}

impl Door {
    fn between(from: Knot, to: Knot) -> Door {
        let bytes = (to.size - from.size) as f64;
        let ms = (to.at_ms - from.at_ms) as f64;
        let tolerance = TOLERANCE_MS as f64;
        Door {
            least: (ms - tolerance) / bytes,
            most: (ms + tolerance) / bytes,
        }
    }

    fn lets_through(self, from: Knot, to: Knot) -> bool {
        let slope = (to.at_ms - from.at_ms) as f64 / (to.size - from.size) as f64;
        (self.least..=self.most).contains(&slope)
    }

    fn narrowed_by(self, other: Door) -> Door {
        Door {
            least: self.least.max(other.least),
            most: self.most.min(other.most),
        }
    }
}

/// How one file grew, from the first byte that isn't acknowledged on. Times are in ms since 1970.
#[derive(Debug)]
pub struct Growth {
    /// By size and time, neither ever decreasing; never empty.
    knots: VecDeque<Knot>,
    /// Of the line to the last knot, which moves while the line stays straight; `None`: the last knot stays.
    door: Option<Door>,
}

impl Growth {
    /// A file that had `offset` bytes at `from_ms` and has `size` since `at_ms`.
    pub fn new(offset: u64, from_ms: i64, size: u64, at_ms: i64) -> Growth {
        let first = Knot {
            size: offset,
            at_ms: from_ms.min(at_ms),
        };
        let mut growth = Growth {
            knots: VecDeque::from([first]),
            door: None,
        };
        growth.grew(from_ms, size, at_ms);
        growth
    }

    /// Its size at the last look.
    pub fn size(&self) -> u64 {
        self.last().size
    }

    /// The file has `size` since `at_ms`; at `seen_ms` it still had the size of before.
    pub fn grew(&mut self, seen_ms: i64, size: u64, at_ms: i64) {
        let last = self.last();
        if size <= last.size {
            return;
        }
        let at_ms = at_ms.max(last.at_ms);
        let from_ms = seen_ms.clamp(last.at_ms, at_ms);
        if from_ms - last.at_ms > TOLERANCE_MS {
            // It was quiet in between: what is new is no older than that.
            self.push(Knot {
                size: last.size,
                at_ms: from_ms,
            });
        }
        let next = Knot { size, at_ms };
        let start = self.door.and_then(|door| {
            let start = *self.knots.get(self.knots.len().checked_sub(2)?)?;
            door.lets_through(start, next).then_some((start, door))
        });
        match start {
            Some((start, door)) => {
                self.knots.pop_back();
                self.knots.push_back(next);
                self.door = Some(door.narrowed_by(Door::between(start, next)));
            }
            None => {
                let start = self.last();
                self.push(next);
                self.door = Some(Door::between(start, next));
            }
        }
    }

    /// Everything below `offset` is of no interest any more.
    pub fn forget_below(&mut self, offset: u64) {
        while self.knots.len() > 2 && self.knots[1].size <= offset {
            self.knots.pop_front();
        }
    }

    /// When the file had the byte at `offset`; for one beyond its end the time of the last growth.
    pub fn written_at_ms(&self, offset: u64) -> i64 {
        let after = self.knots.partition_point(|knot| knot.size <= offset);
        let Some(to) = self.knots.get(after) else {
            return self.last().at_ms;
        };
        match after
            .checked_sub(1)
            .and_then(|before| self.knots.get(before))
        {
            Some(from) => between(*from, *to, offset),
            None => to.at_ms,
        }
    }

    fn last(&self) -> Knot {
        let nothing = Knot { size: 0, at_ms: 0 };
        self.knots.back().copied().unwrap_or(nothing)
    }

    fn push(&mut self, knot: Knot) {
        self.knots.push_back(knot);
        self.door = None;
        if self.knots.len() > KNOTS_MAX {
            self.thin();
        }
    }

    /// Takes the inner knot away that is nearest to the line between its neighbours.
    fn thin(&mut self) {
        let error_ms = |at: usize| {
            let [before, knot, after] = [at - 1, at, at + 1].map(|at| self.knots[at]);
            between(before, after, knot.size).abs_diff(knot.at_ms)
        };
        let least = (1..self.knots.len() - 1).min_by_key(|at| error_ms(*at));
        if let Some(at) = least {
            self.knots.remove(at);
        }
    }
}

/// The time at `size` on the line between two knots.
fn between(from: Knot, to: Knot, size: u64) -> i64 {
    let bytes = to.size.saturating_sub(from.size);
    if bytes == 0 {
        return to.at_ms;
    }
    let share = size.saturating_sub(from.size) as f64 / bytes as f64;
    from.at_ms + ((to.at_ms - from.at_ms) as f64 * share.min(1.0)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_writer_needs_two_knots() {
        let mut growth = Growth::new(0, 0, 1000, 1000);
        for second in 2..100_000 {
            growth.grew((second - 1) * 1000, second as u64 * 1000, second * 1000);
        }
        assert_eq!(growth.knots.len(), 2);
        assert_eq!(growth.written_at_ms(50_000_000), 50_000_000);
    }

    #[test]
    fn a_pause_is_none_of_the_growth() {
        let mut growth = Growth::new(0, 0, 1000, 1000);
        growth.grew(3_600_000, 2000, 3_600_500);
        for (offset, at_ms) in [
            (0, 0),
            (500, 500),
            (1000, 3_600_000),
            (1500, 3_600_250),
            (2000, 3_600_500),
            (9999, 3_600_500),
        ] {
            assert_eq!(growth.written_at_ms(offset), at_ms, "{offset}");
        }
    }

    #[test]
    fn what_was_there_at_first_is_as_old_as_the_last_write() {
        let growth = Growth::new(100, 5000, 900, 5000);
        assert_eq!(growth.written_at_ms(100), 5000);
        assert_eq!(growth.written_at_ms(899), 5000);
    }

    #[test]
    fn what_is_acknowledged_is_forgotten_and_the_rest_stays() {
        let mut growth = Growth::new(0, 0, 100, 1000);
        growth.grew(60_000, 200, 61_000);
        growth.grew(120_000, 300, 121_000);
        let before = growth.written_at_ms(250);
        growth.forget_below(220);
        assert!(growth.knots.len() < 5);
        assert_eq!(growth.written_at_ms(250), before);
        growth.forget_below(300);
        assert_eq!(growth.size(), 300);
    }

    #[test]
    fn the_history_is_bounded_and_keeps_its_long_pauses() {
        let mut growth = Growth::new(0, 0, 1, 0);
        let mut at_ms = 0;
        for n in 1..10_000_u64 {
            let pause = if n == 5000 {
                7_200_000
            } else {
                2000 + (n % 7) as i64 * 1000
            };
            growth.grew(at_ms + pause, n * 1000, at_ms + pause + 500);
            at_ms += pause + 500;
            assert!(growth.knots.len() <= KNOTS_MAX);
        }
        let pause = growth.written_at_ms(5_000_000) - growth.written_at_ms(4_900_000);
        assert!(pause > 7_000_000, "{pause}");
    }

    #[test]
    fn clocks_that_run_backwards_do_no_harm() {
        let mut growth = Growth::new(0, 10_000, 100, 10_000);
        growth.grew(5000, 200, 3000);
        growth.grew(i64::MIN, 300, i64::MAX);
        assert_eq!(growth.written_at_ms(150), 10_000);
    }
}
