//! What arrived, held against what was written.

use serde::Deserialize;

use super::customers::{Customer, Gender};

/// How many of the first records are kept to be shown.
pub const FIRST_SHOWN: usize = 3;

/// Takes in records and compares each with the customer that it claims to be.
#[derive(Debug)]
pub struct Ledger {
    /// A bit a customer, from number 0.
    seen: Vec<u64>,
    n_received: u64,
    n_distinct: u64,
    n_twice: u64,
    n_wrong: u64,
    by_gender: [u64; Gender::ALL.len()],
    first: Vec<String>,
    first_wrong: Option<String>,
}

/// The demo's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Lines that the files hold.
    pub n_written: u64,
    /// Records that the endpoint accepted.
    pub n_received: u64,
    /// Lines without a record.
    pub n_lost: u64,
    /// Records beyond the first of a line.
    pub n_twice: u64,
    /// Records that are no line's.
    pub n_wrong: u64,
}

/// The part of a record that says whose it is.
#[derive(Deserialize)]
struct Claim {
    id: String,
}

impl Ledger {
    /// Room for customers 1 to `n_lines`.
    pub fn new(n_lines: u64) -> Ledger {
        Ledger {
            seen: vec![0; (n_lines / 64 + 1) as usize],
            n_received: 0,
            n_distinct: 0,
            n_twice: 0,
            n_wrong: 0,
            by_gender: [0; Gender::ALL.len()],
            first: Vec::new(),
            first_wrong: None,
        }
    }

    /// Takes in one record, as it arrived.
    pub fn take(&mut self, data: &[u8]) {
        self.n_received += 1;
        let text = || String::from_utf8_lossy(data).trim_end().to_owned();
        if self.first.len() < FIRST_SHOWN {
            self.first.push(text());
        }
        let Some((id, gender)) =
            recognised(data).filter(|(id, _)| id / 64 < self.seen.len() as u64)
        else {
            self.n_wrong += 1;
            self.first_wrong.get_or_insert_with(text);
            return;
        };
        let (word, bit) = (&mut self.seen[(id / 64) as usize], 1 << (id % 64));
        if *word & bit != 0 {
            self.n_twice += 1;
            return;
        }
        *word |= bit;
        self.n_distinct += 1;
        self.by_gender[gender as usize] += 1;
    }

    /// Lines whose record is there.
    pub fn n_distinct(&self) -> u64 {
        self.n_distinct
    }

    /// Records beyond the first of a line.
    pub fn n_twice(&self) -> u64 {
        self.n_twice
    }

    /// The same as [`Ledger::n_distinct`] by gender, in the order of [`Gender::ALL`].
    pub fn by_gender(&self) -> [u64; Gender::ALL.len()] {
        self.by_gender
    }

    /// The first records, in the order of arrival.
    pub fn first(&self) -> &[String] {
        &self.first
    }

    /// The first record that is no line's.
    pub fn first_wrong(&self) -> Option<&str> {
        self.first_wrong.as_deref()
    }

    /// The result if customers 1 to `n_written` were written.
    pub fn verdict(&self, n_written: u64) -> Verdict {
        let is_seen = |id: u64| self.seen[(id / 64) as usize] >> (id % 64) & 1 == 1;
        let n_ids = self.seen.len() as u64 * 64;
        let n_never_written = (n_written + 1..n_ids).filter(|id| is_seen(*id)).count() as u64;
        Verdict {
            n_written,
            n_received: self.n_received,
            n_lost: n_written - (self.n_distinct - n_never_written),
            n_twice: self.n_twice,
            n_wrong: self.n_wrong + n_never_written,
        }
    }
}

/// Whose record it is, if it is that customer's to the last byte.
fn recognised(data: &[u8]) -> Option<(u64, Gender)> {
    let claim: Claim = serde_json::from_slice(data).ok()?;
    let id = claim.id.parse().ok().filter(|id| *id > 0)?;
    let (customer, gender) = Customer::nth(id);
    (customer.to_json() == data).then_some((id, gender))
}

impl Verdict {
    /// Whether the demo succeeded; `may_repeat`: calls went without an answer, so that sending again was right.
    pub fn is_good(&self, may_repeat: bool) -> bool {
        self.n_lost == 0 && self.n_wrong == 0 && (self.n_twice == 0 || may_repeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64) -> Vec<u8> {
        Customer::nth(id).0.to_json()
    }

    #[test]
    fn each_line_is_received_lost_twice_or_wrong() {
        let mut without_newline = record(2);
        without_newline.pop();
        let mut altered = record(2);
        altered.insert(altered.len() - 2, b' ');
        /// Records; received, lost, twice and wrong; whether that is good, and whether it is where calls went
        /// unanswered.
        type Case<'a> = (&'a [Vec<u8>], [u64; 4], bool, bool);
        let cases: &[Case<'_>] = &[
            (&[record(1), record(2), record(3)], [3, 0, 0, 0], true, true),
            (&[record(3), record(1), record(2)], [3, 0, 0, 0], true, true),
            (&[record(1), record(3)], [2, 1, 0, 0], false, false),
            (
                &[record(1), record(2), record(1), record(3), record(1)],
                [5, 0, 2, 0],
                false,
                true,
            ),
            (
                &[record(1), record(3), without_newline],
                [3, 1, 0, 1],
                false,
                false,
            ),
            (&[record(1), record(3), altered], [3, 1, 0, 1], false, false),
            (
                &[record(1), record(2), record(3), record(4)],
                [4, 0, 0, 1],
                false,
                false,
            ),
            (
                &[record(1), record(2), record(3), record(64_000)],
                [4, 0, 0, 1],
                false,
                false,
            ),
            (
                &[record(1), record(2), record(3), record(0)],
                [4, 0, 0, 1],
                false,
                false,
            ),
            (
                &[record(1), record(2), record(3), b"\xff".to_vec()],
                [4, 0, 0, 1],
                false,
                false,
            ),
            (&[], [0, 3, 0, 0], false, false),
        ];
        for (records, [n_received, n_lost, n_twice, n_wrong], good, good_unanswered) in cases {
            let mut ledger = Ledger::new(3);
            records.iter().for_each(|record| ledger.take(record));
            let verdict = ledger.verdict(3);
            let expected = Verdict {
                n_written: 3,
                n_received: *n_received,
                n_lost: *n_lost,
                n_twice: *n_twice,
                n_wrong: *n_wrong,
            };
            assert_eq!(verdict, expected, "{records:?}");
            assert_eq!(verdict.is_good(false), *good);
            assert_eq!(verdict.is_good(true), *good_unanswered);
            assert_eq!(ledger.by_gender().iter().sum::<u64>(), ledger.n_distinct());
        }
    }

    #[test]
    fn the_first_records_are_kept_as_they_came() {
        let mut ledger = Ledger::new(9);
        for id in [4, 4, 9, 1] {
            ledger.take(&record(id));
        }
        ledger.take(b"not a customer\n");
        assert_eq!(ledger.first().len(), FIRST_SHOWN);
        assert!(ledger.first()[2].starts_with("{\"id\":\"9\","));
        assert_eq!(ledger.first_wrong(), Some("not a customer"));
    }
}
