//! The file of dead letters: a line a letter, readable by its owner alone.
//!
//! Whoever writes to it or takes from it locks it (`flock`) for that long, so that an agent may go on while letters are
//! listed, and waits while they are replayed. A letter counts once it is on disk: each append is synced before it
//! returns, and an end without a newline, left by a crash in the middle of one, is cut off by the next.

use std::fs::{File, OpenOptions};
use std::io::{
    self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _,
};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::letter::{Letter, LetterError};

/// Records are nobody else's business.
const FILE_MODE: u32 = 0o600;
/// What is looked at of the file's end at a time, to find its last newline.
const END_BYTES: u64 = 64 * 1024;

/// Where dead letters are.
#[derive(Debug, Clone)]
pub struct DeadLetterFile {
    path: PathBuf,
    bytes_max: u64,
}

/// Why letters couldn't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {doing} dead letters in {path}: {source}; {}", remedy(source))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "dead letters in {path} have reached {bytes_max} bytes; send them with kinesis-agent dead-letters replay, move the \
         file away, or raise deadLetters.maxSizeBytes"
    )]
    Full { path: PathBuf, bytes_max: u64 },
    #[error("dead letters in {path} are in use by another process, such as a replay")]
    InUse { path: PathBuf },
    #[error("line {line} of {path} is no dead letter: {source}; correct it or remove it")]
    NoLetter {
        path: PathBuf,
        line: usize,
        source: LetterError,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its volume",
        io::ErrorKind::NotFound => "make its folder",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "the agent's user must be able to write there"
        }
        _ => "see the system's log for trouble with its volume",
    }
}

/// Whether to wait for whoever has the file locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Yes,
    No,
}

/// The file, locked until this is dropped.
#[derive(Debug)]
pub struct Locked<'f> {
    place: &'f DeadLetterFile,
    file: File,
}

impl DeadLetterFile {
    /// The file at `path`, which never gets larger than `bytes_max`. It needn't be there.
    pub fn new(path: PathBuf, bytes_max: u64) -> DeadLetterFile {
        DeadLetterFile { path, bytes_max }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds letters at the end, all of them or none, and returns once they are on disk.
    ///
    /// # Errors
    ///
    /// They have no room, or the system refuses; the file is as it was.
    pub fn append(&self, letters: &[Letter]) -> Result<(), FileError> {
        self.lock(Wait::No)?.append(letters)
    }

    /// Every letter, one after the other; none where there is no file.
    pub fn letters(&self) -> Result<Letters<'_>, FileError> {
        match File::open(&self.path) {
            Ok(file) => Ok(self.letters_of(Some(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.letters_of(None)),
            Err(error) => Err(self.io("read")(error)),
        }
    }

    /// Locks the file, which is made if it isn't there.
    pub fn lock(&self, wait: Wait) -> Result<Locked<'_>, FileError> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(FILE_MODE)
                .open(&self.path)
                .map_err(self.io("keep"))?;
            match wait {
                Wait::Yes => file.lock().map_err(self.io("lock"))?,
                Wait::No => match file.try_lock() {
                    Ok(()) => {}
                    Err(std::fs::TryLockError::WouldBlock) => {
                        let path = self.path.clone();
                        return Err(FileError::InUse { path });
                    }
                    Err(std::fs::TryLockError::Error(error)) => {
                        return Err(self.io("lock")(error));
                    }
                },
            }
            // Whoever had it may have put another file in its place.
            let ours = file.metadata().map_err(self.io("keep"))?;
            let is_in_place = std::fs::metadata(&self.path)
                .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
            if is_in_place {
                return Ok(Locked { place: self, file });
            }
        }
    }

    fn letters_of(&self, file: Option<File>) -> Letters<'_> {
        Letters {
            place: self,
            reader: file.map(BufReader::new),
            line: Vec::new(),
            number: 0,
        }
    }

    fn io(&self, doing: &'static str) -> impl FnOnce(io::Error) -> FileError {
        let path = self.path.clone();
        move |source| FileError::Io {
            doing,
            path,
            source,
        }
    }
}

/// The letters of a file, one after the other; the file may be larger than the memory.
#[derive(Debug)]
pub struct Letters<'f> {
    place: &'f DeadLetterFile,
    /// `None` once there is nothing more.
    reader: Option<BufReader<File>>,
    line: Vec<u8>,
    /// Of the last line, from 1.
    number: usize,
}

impl Letters<'_> {
    /// The next line, with its number and its newline.
    fn next_line(&mut self) -> Result<Option<(usize, &[u8])>, FileError> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        self.line.clear();
        let read = reader.read_until(b'\n', &mut self.line);
        // An end without a newline was never told to be kept.
        if !matches!(read, Ok(n) if n > 0) || self.line.last() != Some(&b'\n') {
            self.reader = None;
            return read.map(|_| None).map_err(self.place.io("read"));
        }
        self.number += 1;
        Ok(Some((self.number, &self.line)))
    }
}

impl Iterator for Letters<'_> {
    type Item = Result<Letter, FileError>;

    fn next(&mut self) -> Option<Result<Letter, FileError>> {
        let place = self.place;
        let (number, line) = match self.next_line() {
            Ok(line) => line?,
            Err(error) => return Some(Err(error)),
        };
        Some(
            Letter::from_line(line).map_err(|source| FileError::NoLetter {
                path: place.path.clone(),
                line: number,
                source,
            }),
        )
    }
}

impl<'f> Locked<'f> {
    /// Every letter, one after the other, from the first.
    pub fn letters(&mut self) -> Result<Letters<'f>, FileError> {
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.try_clone())
            .map_err(self.place.io("read"))
            .map(|file| self.place.letters_of(Some(file)))
    }

    fn append(mut self, letters: &[Letter]) -> Result<(), FileError> {
        let end = self.end_of_last_line().map_err(self.place.io("read"))?;
        let lines: Vec<u8> = letters.iter().flat_map(Letter::to_line).collect();
        if end + lines.len() as u64 > self.place.bytes_max {
            return Err(FileError::Full {
                path: self.place.path.clone(),
                bytes_max: self.place.bytes_max,
            });
        }
        let written = self
            .file
            .set_len(end)
            .and_then(|()| self.file.seek(SeekFrom::Start(end)))
            .and_then(|_| self.file.write_all(&lines))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| {
                if end == 0 {
                    sync_folder(&self.place.path)
                } else {
                    Ok(())
                }
            });
        if written.is_err() {
            // What stands behind the end, if anything, is cut off by the next append; it counts for nobody.
            let _ = self.file.set_len(end);
        }
        written.map_err(self.place.io("keep"))
    }

    /// Leaves the letters of these numbers, which count from 1, and takes out all others; removes the file where none is
    /// left.
    ///
    /// A crash leaves either the old ones or the new ones.
    pub fn retain(mut self, is_left: impl Fn(usize) -> bool) -> Result<(), FileError> {
        let path = &self.place.path;
        let mut lines = self.letters()?;
        let mut are_any_left = false;
        while !are_any_left && let Some((number, _)) = lines.next_line()? {
            are_any_left = is_left(number);
        }
        if !are_any_left {
            return std::fs::remove_file(path)
                .and_then(|()| sync_folder(path))
                .map_err(self.place.io("remove"));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let written = self.write_left(&new, is_left);
        if written.is_err() {
            // Half a file helps nobody; the old one is still in its place.
            let _ = std::fs::remove_file(&new);
        }
        written
    }

    /// Puts a new file with the letters of these numbers in the place of the old one.
    fn write_left(&mut self, new: &Path, is_left: impl Fn(usize) -> bool) -> Result<(), FileError> {
        let place = self.place;
        let owner = self.file.metadata().map_err(place.io("read"))?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(new)
            .map_err(place.io("keep"))?;
        let mut file = BufWriter::new(file);
        let mut lines = self.letters()?;
        while let Some((number, line)) = lines.next_line()? {
            if is_left(number) {
                file.write_all(line).map_err(place.io("keep"))?;
            }
        }
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| {
                // Whoever replays may be another user than the agent, which has to be able to go on.
                let now = file.metadata()?;
                if (now.uid(), now.gid()) != (owner.uid(), owner.gid()) {
                    fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
                }
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(new, &place.path))
            .and_then(|()| sync_folder(&place.path))
            .map_err(place.io("keep"))
    }

    /// Where the last whole line ends.
    fn end_of_last_line(&mut self) -> io::Result<u64> {
        let mut end = self.file.metadata()?.len();
        let mut piece = Vec::new();
        while end > 0 {
            let start = end.saturating_sub(END_BYTES);
            piece.clear();
            self.file.seek(SeekFrom::Start(start))?;
            (&self.file).take(end - start).read_to_end(&mut piece)?;
            if let Some(newline) = memchr::memrchr(b'\n', &piece) {
                return Ok(start + newline as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }
}

/// A name that was made or taken away is there, or isn't, after a power cut too.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::letter::tests::letter;
    use super::*;

    fn place(folder: &tempfile::TempDir, bytes_max: u64) -> DeadLetterFile {
        DeadLetterFile::new(folder.path().join("dead-letters"), bytes_max)
    }

    fn all(file: &DeadLetterFile) -> Vec<Letter> {
        file.letters().unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn what_is_added_is_there_in_order_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = place(&folder, 10_000);
        assert_eq!(all(&file), []);
        let letters = [letter("a", b"1"), letter("b", b"\xff\n"), letter("a", b"")];
        file.append(&letters[..2]).unwrap();
        file.append(&letters[2..]).unwrap();
        assert_eq!(all(&file), letters);
        let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn half_a_letter_of_a_crash_is_cut_off_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = place(&folder, 10_000_000);
        let long = letter("a", &vec![b'x'; 200_000]);
        file.append(std::slice::from_ref(&long)).unwrap();
        let mut text = std::fs::read(file.path()).unwrap();
        text.extend_from_slice(&long.to_line()[..150_000]);
        std::fs::write(file.path(), &text).unwrap();
        assert_eq!(all(&file), std::slice::from_ref(&long));
        file.append(&[letter("b", b"2")]).unwrap();
        assert_eq!(all(&file), [long, letter("b", b"2")]);
    }

    #[test]
    fn a_full_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let one = letter("a", b"1");
        let file = place(&folder, one.to_line().len() as u64 * 2);
        file.append(&[one.clone(), one.clone()]).unwrap();
        assert!(matches!(
            file.append(std::slice::from_ref(&one)),
            Err(FileError::Full { .. })
        ));
        assert_eq!(all(&file), [one.clone(), one]);
    }

    #[test]
    fn taking_letters_out_keeps_others_out_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let file = place(&folder, 10_000);
        let letters = [letter("a", b"1"), letter("b", b"2"), letter("c", b"3")];
        file.append(&letters).unwrap();
        let mut locked = file.lock(Wait::No).unwrap();
        assert_eq!(
            locked
                .letters()
                .unwrap()
                .collect::<Result<Vec<_>, _>>()
                .unwrap(),
            letters
        );
        assert!(matches!(
            file.append(&letters),
            Err(FileError::InUse { .. })
        ));
        locked.retain(|number| number == 2).unwrap();
        assert_eq!(all(&file), letters[1..2]);
        file.lock(Wait::No).unwrap().retain(|_| false).unwrap();
        assert!(!file.path().exists());
        file.append(&letters[..1]).unwrap();
        assert_eq!(all(&file), letters[..1]);
    }

    #[test]
    fn what_is_no_letter_is_named_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = place(&folder, 10_000);
        file.append(&[letter("a", b"1")]).unwrap();
        let mut text = std::fs::read(file.path()).unwrap();
        text.extend_from_slice(b"oops\n");
        std::fs::write(file.path(), &text).unwrap();
        let error = file.letters().unwrap().nth(1).unwrap().unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("line 2 of "), "{error}");
    }
}
