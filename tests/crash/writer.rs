//! Programs that log and rotate their logs at speed, by themselves.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fastrand::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;
use kinesis_agent::checkpoint::{Place, PlaceState};
use kinesis_agent::tail::cursor::short_hash;

use super::arrivals::{Arrivals, line};

/// Lines of a file, from one rotation to the next.
pub const LINES_A_FILE: usize = 60;
/// Rotated files of one log that are there at once. The oldest is deleted once all of it has arrived.
const ROTATED_MAX: usize = 6;
/// Contents of a log among which one is looked for by how it begins.
const CONTENTS_KNOWN: usize = 3 * ROTATED_MAX;

/// How a log is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// `app.log` → `app.log.1` → `app.log.2` …
    Chain,
    /// `app.log` → `app.log-17`
    Dated,
    /// Likewise by copying, the copy inside the pattern; then `app.log` is cut off.
    CopyTruncate,
    /// As in a chain; what was rotated before is compressed, if a checkpoint knows it.
    Gzip,
}

/// The first lines of what was written to files, of each log.
#[derive(Debug, Default)]
pub struct Contents(Mutex<Vec<Vec<usize>>>);

impl Contents {
    pub fn new(n_logs: usize) -> Arc<Contents> {
        Arc::new(Contents(Mutex::new(vec![Vec::new(); n_logs])))
    }

    fn begin(&self, log: usize, first: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[log].push(first);
    }

    /// The lines that a place says have arrived. `None`: it speaks of none that is known.
    pub fn covered_by(&self, log: usize, place: &Place) -> Option<Range<usize>> {
        let len = place.fingerprint.len as usize;
        if len == 0 || place.offset == 0 {
            return None;
        }
        let firsts = self.0.lock().unwrap_or_else(PoisonError::into_inner)[log].clone();
        let begins_so = |first: &usize| {
            let mut text = String::new();
            for number in *first.. {
                if text.len() >= len {
                    break;
                }
                text.push_str(&line(log, number));
            }
            short_hash(&text.as_bytes()[..len]) == place.fingerprint.hash
        };
        let first = firsts
            .into_iter()
            .rev()
            .take(CONTENTS_KNOWN)
            .find(begins_so)?;
        let (mut end, mut offset) = (first, 0);
        loop {
            offset += line(log, end).len() as u64;
            if offset > place.offset {
                return Some(first..end);
            }
            end += 1;
        }
    }
}

/// A rotated file, and which lines it has.
struct Rotated {
    path: PathBuf,
    lines: Range<usize>,
}

/// What the checkpoints say of a log now; nothing while somebody writes them.
pub type Places = Arc<dyn Fn(usize) -> Vec<Place> + Send + Sync>;

/// A program that logs, and rotates its log by itself.
pub struct Writer {
    pub log: usize,
    path: PathBuf,
    rotation: Rotation,
    /// The newest first.
    rotated: Vec<Rotated>,
    n_lines: usize,
    n_gzips: usize,
    arrivals: Arc<Arrivals>,
    contents: Arc<Contents>,
    places: Places,
    rng: Rng,
}

impl Writer {
    pub fn new(
        log: usize,
        path: PathBuf,
        rotation: Rotation,
        arrivals: &Arc<Arrivals>,
        contents: &Arc<Contents>,
        places: &Places,
    ) -> Writer {
        Writer {
            log,
            path,
            rotation,
            rotated: Vec::new(),
            n_lines: 0,
            n_gzips: 0,
            arrivals: Arc::clone(arrivals),
            contents: Arc::clone(contents),
            places: Arc::clone(places),
            rng: Rng::with_seed(log as u64),
        }
    }

    /// Writes and rotates until all is over; how many lines it wrote, and how many files it compressed.
    pub fn run(mut self) -> (usize, usize) {
        loop {
            let first = self.n_lines;
            self.contents.begin(self.log, first);
            let mut file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.path)
                .unwrap();
            while self.n_lines < first + LINES_A_FILE {
                self.write_some(&mut file);
            }
            if !self.make_room() {
                return (self.n_lines, self.n_gzips);
            }
            self.rotate(first, &mut file);
        }
    }

    /// A few lines, now and then in two pieces.
    fn write_some(&mut self, file: &mut File) {
        let next = self.n_lines + self.rng.usize(1..12);
        let text: String = (self.n_lines..next).map(|n| line(self.log, n)).collect();
        let cut = self.rng.usize(..text.len());
        for piece in [&text[..cut], &text[cut..]] {
            file.write_all(piece.as_bytes()).unwrap();
            thread::yield_now();
        }
        self.n_lines = next;
    }

    /// The oldest file goes, but no line that hasn't arrived.
    fn make_room(&mut self) -> bool {
        let (log, is_full) = (self.log, self.rotated.len() == ROTATED_MAX);
        let Some(oldest) = self.rotated.last().filter(|_| is_full) else {
            return self.arrivals.ask(|state| !state.is_over);
        };
        let goes_on = self
            .arrivals
            .wait_until(|state| state.has(log, oldest.lines.clone()));
        if goes_on {
            fs::remove_file(&oldest.path).unwrap();
            self.rotated.pop();
        }
        goes_on
    }

    fn rotate(&mut self, first: usize, file: &mut File) {
        let to = match self.rotation {
            Rotation::Dated => self.name(&format!("-{:06}", self.n_lines)),
            Rotation::Chain | Rotation::CopyTruncate | Rotation::Gzip => {
                self.shift();
                self.name(".1")
            }
        };
        if self.rotation == Rotation::CopyTruncate {
            fs::copy(&self.path, &to).unwrap();
            file.set_len(0).unwrap();
        } else {
            fs::rename(&self.path, &to).unwrap();
            // The program writes on until it notices.
            self.write_some(file);
        }
        let lines = first..self.n_lines;
        self.rotated.insert(0, Rotated { path: to, lines });
        if self.rotation == Rotation::Gzip {
            self.compress();
        }
    }

    /// `.1` becomes `.2`, and so on.
    fn shift(&mut self) {
        let names: Vec<_> = (2..self.rotated.len() + 2)
            .map(|n| self.name(&format!(".{n}")))
            .collect();
        for (rotated, mut to) in self.rotated.iter_mut().zip(names).rev() {
            if is_gzip(&rotated.path) {
                to = gzip_of(&to);
            }
            fs::rename(&rotated.path, &to).unwrap();
            rotated.path = to;
        }
    }

    /// Compresses what was rotated before, as gzip(1) does it, if a checkpoint knows it: what no checkpoint speaks of and
    /// is deleted while nobody runs can't be found again by anybody.
    fn compress(&mut self) {
        let places = (self.places)(self.log);
        let live = places
            .iter()
            .filter(|place| place.state == PlaceState::Live);
        let covered = live.filter_map(|place| self.contents.covered_by(self.log, place));
        let known: HashSet<usize> = covered
            .filter(|lines| !lines.is_empty())
            .map(|lines| lines.start)
            .collect();
        let before = self.rotated.iter_mut().skip(1);
        for rotated in before.filter(|rotated| known.contains(&rotated.lines.start)) {
            if !is_gzip(&rotated.path) {
                compress(rotated);
                self.n_gzips += 1;
            }
        }
    }

    fn name(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    }
}

/// Puts the file's gzip in its place, with its time.
fn compress(rotated: &mut Rotated) {
    let to = gzip_of(&rotated.path);
    let text = fs::read(&rotated.path).unwrap();
    let modified = fs::metadata(&rotated.path).unwrap().modified().unwrap();
    let mut gzip = GzEncoder::new(File::create_new(&to).unwrap(), Compression::fast());
    gzip.write_all(&text).unwrap();
    gzip.finish().unwrap().set_modified(modified).unwrap();
    fs::remove_file(&rotated.path).unwrap();
    rotated.path = to;
}

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "gz")
}

fn gzip_of(path: &Path) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(".gz");
    PathBuf::from(path)
}
