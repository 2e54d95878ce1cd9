//! How far each followed file of a flow is, as its thread last said.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::growth::Growth;
use crate::checkpoint::FileIdentity;
use crate::record::CursorId;

/// A look at one followed file.
#[derive(Debug, Clone)]
pub struct FileLook {
    pub id: CursorId,
    pub path: Arc<Path>,
    pub identity: FileIdentity,
    /// First byte that wasn't handed on.
    pub read: u64,
    /// First byte that isn't acknowledged.
    pub acknowledged: u64,
    pub size: u64,
    /// Time of the last write, in ms since 1970.
    pub modified_ms: i64,
    /// Bytes at the end that are no whole record yet.
    pub unfinished_bytes: u64,
    /// A footer ended it: nothing more is read of it.
    pub is_over: bool,
    /// Why it can't be read, if it can't.
    pub problem: Option<std::io::ErrorKind>,
}

/// A followed file.
#[derive(Debug, Clone)]
pub struct FileStanding {
    pub look: FileLook,
    /// Bytes that wait to be read or accepted, but for those of an unfinished record.
    pub behind_bytes: u64,
    /// When the oldest of them was written, in ms since 1970; `None`: none waits.
    pub waiting_since_ms: Option<i64>,
}

impl FileStanding {
    /// The age of the oldest byte that waits.
    pub fn behind_seconds(&self, now_ms: i64) -> f64 {
        self.waiting_since_ms.map_or(0.0, |since_ms| {
            now_ms.saturating_sub(since_ms).max(0) as f64 / 1000.0
        })
    }
}

/// All followed files of a flow, and how those grew that are behind.
#[derive(Debug, Default)]
pub struct Followed {
    files: Vec<FileStanding>,
    growth: HashMap<CursorId, Growth>,
    /// The newest file at the last look: files beyond it are new.
    newest: Option<CursorId>,
    looked_at_ms: i64,
}

impl Followed {
    /// The files as they are now; those that aren't among them are followed no more.
    pub fn look(&mut self, now_ms: i64, looks: impl Iterator<Item = FileLook>) {
        self.files.clear();
        let mut newest = self.newest;
        let mut still_behind = HashMap::new();
        for look in looks {
            newest = newest.max(Some(look.id));
            let behind_bytes = match look.is_over {
                true => 0,
                false => look
                    .size
                    .saturating_sub(look.acknowledged)
                    .saturating_sub(look.unfinished_bytes),
            };
            let waiting_since_ms = (behind_bytes > 0).then(|| {
                let growth = self.growth_of(&look, now_ms);
                let since_ms = growth.written_at_ms(look.acknowledged);
                still_behind.insert(look.id, growth);
                since_ms
            });
            self.files.push(FileStanding {
                look,
                behind_bytes,
                waiting_since_ms,
            });
        }
        (self.growth, self.newest, self.looked_at_ms) = (still_behind, newest, now_ms);
    }

    fn growth_of(&mut self, look: &FileLook, now_ms: i64) -> Growth {
        let at_ms = look.modified_ms.min(now_ms);
        match self.growth.remove(&look.id) {
            Some(mut growth) => {
                growth.grew(self.looked_at_ms, look.size, at_ms);
                growth.forget_below(look.acknowledged);
                growth
            }
            // Nothing of it waited at the last look: what does is younger.
            None if self.newest.is_some_and(|newest| look.id <= newest) => {
                Growth::new(look.acknowledged, self.looked_at_ms, look.size, at_ms)
            }
            None => Growth::new(look.acknowledged, at_ms, look.size, at_ms),
        }
    }

    /// The followed files, in no order.
    pub fn files(&self) -> &[FileStanding] {
        &self.files
    }

    /// Bytes that wait, over all files.
    pub fn behind_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.behind_bytes).sum()
    }

    /// The age of the oldest byte that waits.
    pub fn behind_seconds(&self, now_ms: i64) -> f64 {
        let oldest_ms = self
            .files
            .iter()
            .filter_map(|file| file.waiting_since_ms)
            .min();
        oldest_ms.map_or(0.0, |since_ms| {
            now_ms.saturating_sub(since_ms).max(0) as f64 / 1000.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(id: u64, acknowledged: u64, size: u64, modified_ms: i64) -> FileLook {
        FileLook {
            id: CursorId(id),
            path: Path::new("/l/a").into(),
            identity: FileIdentity {
                device: 1,
                inode: id,
            },
            read: acknowledged,
            acknowledged,
            size,
            modified_ms,
            unfinished_bytes: 0,
            is_over: false,
            problem: None,
        }
    }

    /// A writer of changing speed, with pauses; knows when it wrote each byte.
    struct Writer {
        /// Bytes a second, by seconds.
        rates: Vec<u64>,
    }

    impl Writer {
        fn new(seed: u64, n_seconds: usize) -> Writer {
            let mut chance = fastrand::Rng::with_seed(seed);
            let mut rates = Vec::new();
            while rates.len() < n_seconds {
                let rate = match chance.u8(..4) {
                    0 => 0,
                    _ => chance.u64(1_000..4_000_000),
                };
                rates.extend(vec![rate; chance.usize(1..90)]);
            }
            rates.truncate(n_seconds);
            Writer { rates }
        }

        /// Bytes written by then, and when the last of them was.
        fn state_at(&self, now_ms: i64) -> (u64, i64) {
            let (mut size, mut modified_ms) = (0, 0);
            for (second, rate) in (0_i64..).zip(&self.rates) {
                let ms = (now_ms - second * 1000).clamp(0, 1000);
                if *rate > 0 && ms > 0 {
                    size += rate * ms as u64 / 1000;
                    modified_ms = second * 1000 + ms;
                }
            }
            (size, modified_ms)
        }

        fn written_at_ms(&self, offset: u64) -> i64 {
            let mut size = 0;
            for (second, rate) in (0_i64..).zip(&self.rates) {
                if size + rate > offset {
                    return second * 1000 + ((offset - size) * 1000 / rate) as i64;
                }
                size += rate;
            }
            self.rates.len() as i64 * 1000
        }
    }

    /// P-BEHIND: Seconds behind are the age of the oldest byte that isn't acknowledged, right to a second while the file's growth is watched.
    ///
    /// Nothing is sent for a quarter of an hour, then a gigabyte and what comes meanwhile is drained.
    #[test]
    fn seconds_behind_are_right_to_a_second_while_a_gigabyte_is_drained() {
        const OUTAGE_MS: i64 = 900_000;
        const DRAINED_PER_MS: u64 = 12_000;
        for seed in 1..=3 {
            let writer = Writer::new(seed, 2000);
            let backlog = writer.state_at(OUTAGE_MS).0;
            assert!(backlog > 900_000_000, "a backlog of {backlog} bytes");
            let mut followed = Followed::default();
            let mut is_drained = false;
            // Looks are not in step with the writer's seconds.
            for now_ms in (370..1_990_000).step_by(1013) {
                let (size, modified_ms) = writer.state_at(now_ms);
                let drained = DRAINED_PER_MS * (now_ms - OUTAGE_MS).max(0) as u64;
                let acknowledged = drained.min(size);
                followed.look(
                    now_ms,
                    [look(1, acknowledged, size, modified_ms)].into_iter(),
                );
                let truth = match acknowledged < size {
                    true => (now_ms - writer.written_at_ms(acknowledged)) as f64 / 1000.0,
                    false => 0.0,
                };
                let told = followed.behind_seconds(now_ms);
                assert!(
                    (told - truth).abs() <= 1.0,
                    "seed {seed} at {now_ms}: {told} and not {truth}"
                );
                assert_eq!(followed.behind_bytes(), size - acknowledged);
                is_drained |= now_ms > OUTAGE_MS && acknowledged == size;
            }
            assert!(is_drained, "the backlog never ends");
        }
    }

    #[test]
    fn what_was_there_at_the_start_is_as_old_as_its_files_last_write() {
        let mut followed = Followed::default();
        followed.look(
            100_000,
            [look(1, 0, 500, 40_000), look(2, 7, 7, 1000)].into_iter(),
        );
        assert_eq!(followed.behind_seconds(100_000), 60.0);
        assert_eq!(followed.behind_seconds(161_500), 121.5);
        assert_eq!(followed.behind_bytes(), 500);
    }

    #[test]
    fn a_file_that_was_caught_up_is_behind_since_it_grew() {
        let mut followed = Followed::default();
        followed.look(100_000, [look(1, 500, 500, 1000)].into_iter());
        followed.look(200_000, [look(1, 500, 600, 200_000)].into_iter());
        assert_eq!(followed.behind_seconds(230_000), 130.0);
        followed.look(231_000, [look(1, 600, 600, 200_000)].into_iter());
        assert_eq!(followed.behind_seconds(999_000), 0.0);
    }

    #[test]
    fn an_unfinished_line_is_not_behind_and_neither_is_what_follows_a_footer() {
        let mut followed = Followed::default();
        let unfinished = FileLook {
            unfinished_bytes: 10,
            ..look(1, 500, 510, 1000)
        };
        let over = FileLook {
            is_over: true,
            ..look(2, 5, 900, 1000)
        };
        followed.look(100_000, [unfinished, over].into_iter());
        assert_eq!(
            (followed.behind_bytes(), followed.behind_seconds(100_000)),
            (0, 0.0)
        );
    }

    #[test]
    fn a_file_that_is_gone_is_forgotten() {
        let mut followed = Followed::default();
        followed.look(1000, [look(1, 0, 500, 1000)].into_iter());
        followed.look(2000, [].into_iter());
        assert!(followed.files().is_empty() && followed.growth.is_empty());
    }
}
