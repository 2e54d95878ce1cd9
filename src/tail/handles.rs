//! How many files may be open at once, over all flows.
//!
//! A flow takes handles while any are left. When none are, it closes some of its own; a flow that has fewer than its even
//! share asks for them, and those with more than theirs give back what is too much.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::disk::{Disk, FileStat, Name, OsDisk};

/// Handles that the rest of the agent needs beside its calls: log, checkpoints and their journal, change events, the
/// runtime's own, a folder being listed by each of a few flows.
const RESERVE: usize = 40;
/// How long the system's refusal counts before one more eighth of the handles is tried: others may have closed theirs.
const REFUSAL_TIME: Duration = Duration::from_secs(60);
/// The fewest handles that make sense: one file is read while another is looked into.
const HANDLES_MIN: usize = 4;

/// The bound, shared by all flows.
pub struct Handles {
    limit: AtomicUsize,
    /// What it was before the system refused any.
    limit_max: usize,
    /// When the system refused one last, or when the bound was raised since.
    refused_at: Mutex<Option<Instant>>,
    n_open: AtomicUsize,
    shares: Mutex<Vec<Arc<Share>>>,
    /// A flow with less than its share found none left.
    is_wanted: AtomicBool,
}

/// What one flow has of them.
pub struct Share {
    n_open: AtomicUsize,
    /// Called when others want handles; must not block.
    wake: Box<dyn Fn() + Send + Sync>,
}

/// How many files may be open where the system allows `n_files_max` and up to `n_calls_max` calls are in flight: never
/// less than a quarter, so that a low limit costs connections as well as files.
pub fn limit(n_files_max: u64, n_calls_max: usize) -> usize {
    let all = usize::try_from(n_files_max).unwrap_or(usize::MAX);
    all.saturating_sub(RESERVE.saturating_add(n_calls_max))
        .max(all / 4)
        .max(HANDLES_MIN)
}

/// Whether an error says that no more files can be open, in this process or on this host.
pub fn is_out_of_handles(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether an error says that a handle leads nowhere any more, as on network file systems whose server went away.
pub fn is_stale(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::STALE.raw_os_error())
}

impl Handles {
    /// So many for all flows together.
    pub fn new(limit: usize) -> Arc<Handles> {
        Arc::new(Handles {
            limit: AtomicUsize::new(limit.max(HANDLES_MIN)),
            limit_max: limit.max(HANDLES_MIN),
            refused_at: Mutex::new(None),
            n_open: AtomicUsize::new(0),
            shares: Mutex::default(),
            is_wanted: AtomicBool::new(false),
        })
    }

    /// A flow's part in them; `wake` is called when others want some of it.
    pub fn share(self: &Arc<Handles>, wake: impl Fn() + Send + Sync + 'static) -> BoundedDisk {
        let share = Arc::new(Share {
            n_open: AtomicUsize::new(0),
            wake: Box::new(wake),
        });
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.push(Arc::clone(&share));
        BoundedDisk {
            all: Arc::clone(self),
            share,
        }
    }

    /// An even part of all, at least one.
    fn even_share(&self) -> usize {
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        (self.limit.load(Ordering::Relaxed) / shares.len().max(1)).max(1)
    }

    /// The system has none left, although we thought so: what is open now is all there is, and a little less.
    fn shrink(&self, now: Instant) {
        let n_open = self.n_open.load(Ordering::Relaxed);
        let less = (n_open - n_open / 8).max(HANDLES_MIN);
        self.limit.fetch_min(less, Ordering::Relaxed);
        *self.lock_refused_at() = Some(now);
    }

    /// Raises the bound that the system's refusal lowered, once that is long ago; whether it did.
    fn grow(&self, now: Instant) -> bool {
        let mut refused_at = self.lock_refused_at();
        let is_due = refused_at.is_some_and(|at| now.saturating_duration_since(at) >= REFUSAL_TIME);
        if !is_due {
            return false;
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let more = (limit + (limit / 8).max(1)).min(self.limit_max);
        self.limit.store(more, Ordering::Relaxed);
        *refused_at = (more < self.limit_max).then_some(now);
        more > limit
    }

    fn lock_refused_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.refused_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the flows that have more than their share.
    fn want(&self) {
        if self.is_wanted.swap(true, Ordering::AcqRel) {
            return;
        }
        let even = self.even_share();
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let rich = shares
            .iter()
            .filter(|share| share.n_open.load(Ordering::Relaxed) > even);
        rich.for_each(|share| (share.wake)());
    }
}

impl Drop for BoundedDisk {
    fn drop(&mut self) {
        let mut shares = self
            .all
            .shares
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shares.retain(|share| !Arc::ptr_eq(share, &self.share));
    }
}

/// The system's file system, as far as handles last.
pub struct BoundedDisk {
    all: Arc<Handles>,
    share: Arc<Share>,
}

/// An open file that counts.
pub struct Handle<F> {
    file: F,
    _permit: Permit,
}

/// The right to have one file open.
struct Permit {
    all: Arc<Handles>,
    share: Arc<Share>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.n_open.fetch_sub(1, Ordering::AcqRel);
        self.share.n_open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl BoundedDisk {
    /// Counts one more open file, if it may be opened.
    fn take(&self) -> bool {
        let limit = self.all.limit.load(Ordering::Relaxed);
        let is_first = self.share.n_open.load(Ordering::Relaxed) == 0;
        let take = |n_open| (is_first || n_open < limit).then_some(n_open + 1);
        let taken = self
            .all
            .n_open
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, take);
        taken.is_ok()
    }

    /// A permit, or the error that the system would give. A flow without any open file always gets one.
    fn permit(&self) -> io::Result<Permit> {
        let is_taken = self.take() || (self.all.grow(Instant::now()) && self.take());
        if !is_taken {
            if self.share.n_open.load(Ordering::Relaxed) < self.all.even_share() {
                self.all.want();
            }
            return Err(Errno::MFILE.into());
        }
        self.share.n_open.fetch_add(1, Ordering::AcqRel);
        Ok(Permit {
            all: Arc::clone(&self.all),
            share: Arc::clone(&self.share),
        })
    }
}

impl Disk for BoundedDisk {
    type File = Handle<<OsDisk as Disk>::File>;

    fn names(&mut self, folder: &Path) -> io::Result<Vec<Name>> {
        OsDisk
            .names(folder)
            .inspect_err(|error| self.learn_from(error))
    }

    fn look(&mut self, path: &Path) -> io::Result<FileStat> {
        OsDisk.look(path)
    }

    fn open(&mut self, path: &Path) -> io::Result<Self::File> {
        let _permit = self.permit()?;
        let file = OsDisk
            .open(path)
            .inspect_err(|error| self.learn_from(error))?;
        Ok(Handle { file, _permit })
    }

    fn share(&mut self, file: &Self::File) -> io::Result<Self::File> {
        let _permit = self.permit()?;
        let file = OsDisk
            .share(&file.file)
            .inspect_err(|error| self.learn_from(error))?;
        Ok(Handle { file, _permit })
    }

    fn look_at(&mut self, file: &Self::File) -> io::Result<FileStat> {
        OsDisk.look_at(&file.file)
    }

    fn is_link(&mut self, path: &Path) -> bool {
        OsDisk.is_link(path)
    }

    fn tells_of(&mut self, path: &Path) -> bool {
        OsDisk.tells_of(path)
    }

    fn read_at(&mut self, file: &Self::File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        OsDisk.read_at(&file.file, offset, into)
    }

    fn clock_ms(&mut self) -> i64 {
        OsDisk.clock_ms()
    }

    fn n_handles_wanted(&mut self) -> usize {
        if !self.all.is_wanted.load(Ordering::Acquire) {
            return 0;
        }
        let n_open = self.share.n_open.load(Ordering::Relaxed);
        let too_many = n_open.saturating_sub(self.all.even_share());
        if too_many > 0 {
            self.all.is_wanted.store(false, Ordering::Release);
        }
        too_many
    }
}

impl BoundedDisk {
    fn learn_from(&self, error: &io::Error) {
        if is_out_of_handles(error) {
            self.all.shrink(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_what_the_rest_of_the_agent_leaves_but_never_next_to_nothing() {
        for (n_files_max, n_calls_max, expected) in [
            (1024, 24, 960),
            (1024, 256, 728),
            (256, 24, 192),
            (64, 24, 16),
            (64, 256, 16),
            (8, 256, 4),
            (0, 0, 4),
            (u64::MAX, 24, usize::MAX - 64),
        ] {
            assert_eq!(limit(n_files_max, n_calls_max), expected, "{n_files_max}");
        }
    }

    #[test]
    fn flows_share_what_there_is_and_each_is_sure_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "").unwrap();
        let n_woken = Arc::new(AtomicUsize::new(0));
        let handles = Handles::new(4);
        let mut disks: Vec<BoundedDisk> = (0..2)
            .map(|_| {
                let n_woken = Arc::clone(&n_woken);
                handles.share(move || _ = n_woken.fetch_add(1, Ordering::Relaxed))
            })
            .collect();
        let mut open = |flow: usize| disks[flow].open(&path);
        let mut of_first: Vec<_> = (0..4).map(|_| open(0).unwrap()).collect();
        assert!(is_out_of_handles(&open(0).err().unwrap()));
        // It has more than its share: nobody is asked.
        assert_eq!(n_woken.load(Ordering::Relaxed), 0);
        let of_second = open(1).unwrap();
        assert!(is_out_of_handles(&open(1).err().unwrap()));
        assert_eq!(n_woken.load(Ordering::Relaxed), 1);
        assert_eq!(disks[1].n_handles_wanted(), 0);
        assert_eq!(disks[0].n_handles_wanted(), 2);
        of_first.truncate(2);
        assert_eq!(disks[0].n_handles_wanted(), 0);
        let more = disks[1].open(&path).unwrap();
        assert!(disks[1].open(&path).is_err());
        drop((of_first, of_second, more));
        assert_eq!(handles.n_open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_flow_that_ended_has_no_share_any_more() {
        let handles = Handles::new(8);
        let first = handles.share(|| {});
        let second = handles.share(|| {});
        assert_eq!(handles.even_share(), 4);
        drop(second);
        assert_eq!(handles.even_share(), 8);
        drop(first);
    }

    #[test]
    fn what_the_system_refuses_lowers_the_bound() {
        let handles = Handles::new(100);
        handles.n_open.store(40, Ordering::Relaxed);
        let now = Instant::now();
        handles.shrink(now);
        assert_eq!(handles.limit.load(Ordering::Relaxed), 35);
        handles.n_open.store(0, Ordering::Relaxed);
        handles.shrink(now);
        assert_eq!(handles.limit.load(Ordering::Relaxed), HANDLES_MIN);
    }

    #[test]
    fn what_the_system_refused_long_ago_is_tried_again() {
        let handles = Handles::new(100);
        let start = Instant::now();
        assert!(!handles.grow(start + REFUSAL_TIME), "it was never lowered");
        handles.n_open.store(40, Ordering::Relaxed);
        handles.shrink(start);
        let limit = || handles.limit.load(Ordering::Relaxed);
        assert!(!handles.grow(start + REFUSAL_TIME / 2));
        assert_eq!(limit(), 35);
        let mut now = start;
        for expected in [39, 43, 48, 54] {
            now += REFUSAL_TIME;
            assert!(handles.grow(now));
            assert!(!handles.grow(now), "once for a while");
            assert_eq!(limit(), expected);
        }
        for _ in 0..20 {
            now += REFUSAL_TIME;
            handles.grow(now);
        }
        assert_eq!(limit(), 100);
        assert!(!handles.grow(now + REFUSAL_TIME), "there is no more");
    }
}
