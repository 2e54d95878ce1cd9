//! The thread that plays the application: it writes lines at its pace and renames its file meanwhile.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::customers::Customer;

/// The file that is written; it is renamed to `customers.csv.1`, that to `customers.csv.2`, and so on.
pub const FILE_NAME: &str = "customers.csv";

/// How often the pace is met.
const TICK: Duration = Duration::from_millis(20);
/// Lines that are written before anything else is looked at.
const LINES_AT_ONCE: u64 = 1000;

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Script {
    pub folder: PathBuf,
    /// Customers 1 to this.
    pub n_lines: u64,
    /// How long that is to take.
    pub span: Duration,
    /// How often the file is renamed meanwhile.
    pub n_renames: u64,
}

/// How far it is, for those who watch.
#[derive(Debug, Default)]
pub struct Standing {
    /// Lines whose last byte is in a file.
    pub n_lines: AtomicU64,
    pub n_renames: AtomicU64,
    pub is_done: AtomicBool,
}

/// The running thread; its end is waited for when this is dropped.
pub struct Writer {
    standing: Arc<Standing>,
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Writer {
    /// Starts writing.
    pub fn start(mut pen: Pen) -> io::Result<Writer> {
        let standing = Arc::clone(&pen.standing);
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("demo-writer".into())
            .spawn(move || {
                let written = pen.run(&stopped);
                pen.standing.is_done.store(true, Ordering::Release);
                written
            })?;
        Ok(Writer {
            standing,
            stop,
            thread: Some(thread),
        })
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Ends the writing early; the line at hand is completed.
    pub fn stop(&self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
    }

    /// Waits for the end. Errors: a file couldn't be written or renamed.
    pub fn join(mut self) -> io::Result<()> {
        self.thread.take().map_or(Ok(()), |thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the writer ended by a defect")))
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // Whoever wants to know how it ended joins.
            let _ = thread.join();
        }
    }
}

/// Lines that must be there after that time.
fn lines_due(script: &Script, elapsed: Duration) -> u64 {
    let due = u128::from(script.n_lines) * elapsed.as_nanos() / script.span.as_nanos().max(1);
    due.min(u128::from(script.n_lines)) as u64
}

/// The line before which the file is renamed for the n-th time, n from 1; they are spread evenly.
fn rename_after(script: &Script, n: u64) -> u64 {
    (u128::from(script.n_lines) * u128::from(n) / u128::from(script.n_renames + 1)) as u64
}

/// The open file, and what is still to be written.
pub struct Pen {
    script: Script,
    standing: Arc<Standing>,
    file: File,
    /// Lines begun.
    n_lines: u64,
    n_renames: u64,
    /// Not yet written.
    buffer: Vec<u8>,
}

impl Pen {
    /// Creates the file, which has no line yet.
    pub fn create(script: Script) -> io::Result<Pen> {
        Ok(Pen {
            file: File::create_new(numbered(&script.folder, 0))?,
            script,
            standing: Arc::default(),
            n_lines: 0,
            n_renames: 0,
            buffer: Vec::new(),
        })
    }

    fn run(&mut self, stopped: &mpsc::Receiver<()>) -> io::Result<()> {
        let started_at = Instant::now();
        let mut tick_at = started_at;
        while self.n_lines < self.script.n_lines {
            let due = lines_due(&self.script, started_at.elapsed());
            if self.n_lines < due {
                self.write(due.min(self.n_lines + LINES_AT_ONCE))?;
            }
            if self.n_lines >= due {
                // Deadlines, not pauses: what one tick takes too long the next makes good.
                tick_at = (tick_at + TICK).max(Instant::now());
            }
            let wait = tick_at.saturating_duration_since(Instant::now());
            if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        self.flush()
    }

    /// Writes up to line `until`, of the last one only the first half: applications flush where their buffers end, and
    /// no reader may take half a line for a whole one.
    fn write(&mut self, until: u64) -> io::Result<()> {
        let mut last_begins_at = 0;
        while self.n_lines < until {
            if self.n_renames < self.script.n_renames
                && self.n_lines == rename_after(&self.script, self.n_renames + 1)
            {
                self.flush()?;
                self.rename()?;
            }
            self.n_lines += 1;
            last_begins_at = self.buffer.len();
            Customer::nth(self.n_lines).0.push_csv(&mut self.buffer);
        }
        let end = last_begins_at + (self.buffer.len() - last_begins_at) / 2;
        self.file.write_all(&self.buffer[..end])?;
        self.buffer.drain(..end);
        self.standing
            .n_lines
            .store(self.n_lines - 1, Ordering::Release);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        self.standing.n_lines.store(self.n_lines, Ordering::Release);
        Ok(())
    }

    /// As logrotate does it: every file moves up by one, and the application begins a new one.
    fn rename(&mut self) -> io::Result<()> {
        let folder = &self.script.folder;
        for n in (0..=self.n_renames).rev() {
            fs::rename(numbered(folder, n), numbered(folder, n + 1))?;
        }
        self.file = File::create_new(numbered(folder, 0))?;
        self.n_renames += 1;
        self.standing
            .n_renames
            .store(self.n_renames, Ordering::Release);
        Ok(())
    }
}

fn numbered(folder: &Path, n: u64) -> PathBuf {
    folder.join(match n {
        0 => FILE_NAME.to_owned(),
        n => format!("{FILE_NAME}.{n}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(n_lines: u64, n_renames: u64, span: Duration) -> (tempfile::TempDir, Script) {
        let folder = tempfile::tempdir().unwrap();
        let script = Script {
            folder: folder.path().to_owned(),
            n_lines,
            span,
            n_renames,
        };
        (folder, script)
    }

    /// The files' text, oldest first.
    fn texts(folder: &Path, n_renames: u64) -> Vec<String> {
        let texts = (0..=n_renames).rev();
        texts
            .map(|n| fs::read_to_string(numbered(folder, n)).unwrap())
            .collect()
    }

    fn expected(n_lines: u64) -> String {
        let mut lines = Vec::new();
        for id in 1..=n_lines {
            Customer::nth(id).0.push_csv(&mut lines);
        }
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn lines_become_due_evenly_and_never_too_many() {
        let (_folder, script) = script(20_000, 0, Duration::from_secs(10));
        for (elapsed_ms, due) in [
            (0, 0),
            (1, 2),
            (5000, 10_000),
            (9999, 19_998),
            (10_000, 20_000),
            (99_000, 20_000),
        ] {
            assert_eq!(lines_due(&script, Duration::from_millis(elapsed_ms)), due);
        }
    }

    #[test]
    fn all_lines_are_there_in_order_whatever_the_renames() {
        for (n_lines, n_renames) in [(1, 0), (2, 1), (5, 4), (1000, 0), (5003, 12)] {
            let (folder, script) = script(n_lines, n_renames, Duration::from_millis(1));
            let writer = Writer::start(Pen::create(script).unwrap()).unwrap();
            let standing = Arc::clone(&writer.standing);
            writer.join().unwrap();
            assert!(standing.is_done.load(Ordering::Acquire));
            assert_eq!(standing.n_lines.load(Ordering::Acquire), n_lines);
            assert_eq!(standing.n_renames.load(Ordering::Acquire), n_renames);
            let texts = texts(folder.path(), n_renames);
            assert!(texts.iter().all(|text| text.ends_with('\n')));
            assert_eq!(texts.concat(), expected(n_lines));
        }
    }

    #[test]
    fn stopped_early_it_completes_the_line_at_hand() {
        let (folder, script) = script(1_000_000, 0, Duration::from_secs(3600));
        let writer = Writer::start(Pen::create(script).unwrap()).unwrap();
        while writer.standing().n_lines.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        let standing = Arc::clone(&writer.standing);
        writer.stop();
        writer.join().unwrap();
        let n_lines = standing.n_lines.load(Ordering::Acquire);
        assert!((1..1_000_000).contains(&n_lines));
        assert_eq!(texts(folder.path(), 0).concat(), expected(n_lines));
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        let (folder, script) = script(10, 0, Duration::from_millis(1));
        folder.close().unwrap();
        let error = Pen::create(script).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_goes_wrong_on_the_way_is_told_in_the_end() {
        let (folder, script) = script(10, 3, Duration::from_millis(1));
        let pen = Pen::create(script).unwrap();
        folder.close().unwrap();
        let error = Writer::start(pen).unwrap().join().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
