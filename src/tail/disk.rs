//! The file system as the tailer sees it: a trait, so that a simulator can stand in for it, and the real one.

use std::ffi::OsString;
use std::fs::{DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::{DirEntryExt as _, FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::checkpoint::FileIdentity;

/// What a look at a file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    pub identity: FileIdentity,
    pub kind: FileKind,
    pub size: u64,
    /// Modification time in ms since 1970.
    pub modified_ms: i64,
    /// Names that the file has; 0 once it is deleted.
    pub n_links: u64,
}

/// What kind of thing a path names, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    File,
    Folder,
    /// A pipe, a socket, a device: never read.
    Other,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub text: OsString,
    /// The inode number, where the listing says that this is a regular file; `None` for links, folders, and where it
    /// doesn't say. It is a hint: a file that is mounted there has another.
    pub file_inode: Option<u64>,
}

/// The file system. All paths are absolute.
pub trait Disk {
    /// An open file.
    type File;

    /// The names in a folder, in no order.
    fn names(&mut self, folder: &Path) -> io::Result<Vec<Name>>;
    /// A look at what `path` names, links followed.
    fn look(&mut self, path: &Path) -> io::Result<FileStat>;
    /// Opens a file for reading.
    fn open(&mut self, path: &Path) -> io::Result<Self::File>;
    /// Another handle of an open file.
    fn share(&mut self, file: &Self::File) -> io::Result<Self::File>;
    /// A look at an open file.
    fn look_at(&mut self, file: &Self::File) -> io::Result<FileStat>;
    /// Whether `path` is a link to what it names.
    fn is_link(&mut self, path: &Path) -> bool;
    /// Whether the system tells of changes to files in the file system of what `path` names: not in a network one, and
    /// nowhere through a link.
    fn tells_of(&mut self, path: &Path) -> bool;
    /// Reads at `offset` into `into`; 0 bytes at or beyond the end.
    fn read_at(&mut self, file: &Self::File, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// The time that files are stamped with, in ms since 1970.
    fn clock_ms(&mut self) -> i64;
    /// How many open files are to be closed, as others have more need of them.
    fn n_handles_wanted(&mut self) -> usize {
        0
    }
}

/// Magic numbers of file systems whose files change without this host's knowing (statfs(2)): NFS, SMB, CIFS, SMB2, AFS,
/// Coda, 9P, Ceph, FUSE, Lustre, GFS2, OCFS2.
const REMOTE_MAGIC: [u32; 12] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x5346_414f,
    0x7375_7245,
    0x0102_1997,
    0x00c3_6400,
    0x6573_5546,
    0x0bd0_0bd0,
    0x0116_1970,
    0x7461_636f,
];

/// The system's own file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsDisk;

impl Disk for OsDisk {
    type File = File;

    fn names(&mut self, folder: &Path) -> io::Result<Vec<Name>> {
        let name_of = |entry: DirEntry| {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            Name {
                text: entry.file_name(),
                file_inode: is_file.then(|| entry.ino()),
            }
        };
        std::fs::read_dir(folder)?
            .map(|entry| entry.map(name_of))
            .collect()
    }

    fn look(&mut self, path: &Path) -> io::Result<FileStat> {
        std::fs::metadata(path).map(|metadata| stat_of(&metadata))
    }

    fn open(&mut self, path: &Path) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags};
        // Without O_NONBLOCK, opening a pipe that took the file's name would wait for a writer for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
    }

    fn share(&mut self, file: &File) -> io::Result<File> {
        file.try_clone()
    }

    fn look_at(&mut self, file: &File) -> io::Result<FileStat> {
        file.metadata().map(|metadata| stat_of(&metadata))
    }

    fn is_link(&mut self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
    }

    fn tells_of(&mut self, path: &Path) -> bool {
        rustix::fs::statfs(path).is_ok_and(|system| !REMOTE_MAGIC.contains(&(system.f_type as u32)))
    }

    fn read_at(&mut self, file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match file.read_at(into, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn clock_ms(&mut self) -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }
}

fn stat_of(metadata: &Metadata) -> FileStat {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Folder,
        _ => FileKind::Other,
    };
    FileStat {
        identity: FileIdentity {
            device: metadata.dev(),
            inode: metadata.ino(),
        },
        kind,
        size: metadata.size(),
        modified_ms: metadata
            .mtime()
            .saturating_mul(1000)
            .saturating_add(metadata.mtime_nsec() / 1_000_000),
        n_links: metadata.nlink(),
    }
}
