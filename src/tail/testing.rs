//! A file system in memory, for tests: it does what it is told, remembers every byte that ever stood in a file, and can
//! be made to misbehave.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::panic;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Instant;

#[cfg(test)]
use super::Rules;
use super::disk::{Disk, FileKind, FileStat, Name};
use super::split::RecordKind;
use super::{Intake, Tailer};
use crate::checkpoint::FileIdentity;
use crate::record::Span;

/// An intake that has room for everything: its records, without their newlines.
#[derive(Debug, Default)]
pub struct Lines(pub Vec<String>);

impl Intake for Lines {
    fn has_room(&mut self, _: usize) -> bool {
        true
    }

    fn record(&mut self, _: Span, data: &[u8], _: RecordKind, _: &Path) {
        let line = data.strip_suffix(b"\n").unwrap_or(data);
        self.0.push(String::from_utf8_lossy(line).into_owned());
    }

    fn nothing(&mut self, _: Span) {}
}

/// The rules of a configuration's first flow.
#[cfg(test)]
pub fn rules_of(configuration: &str) -> Rules {
    use crate::config::test_support::accepted;
    Rules::new(&accepted(configuration).config.flows[0]).unwrap()
}

/// Reads all that there is; how many records it was.
pub fn read_all<D: Disk>(tailer: &mut Tailer<D>, now: Instant, disk: &mut D) -> usize {
    let mut lines = Lines::default();
    while tailer.turn(now, disk, &mut lines).has_more {}
    lines.0.len()
}

/// All that was read is accepted.
pub fn acknowledge_read<D: Disk>(tailer: &mut Tailer<D>) {
    let cursors = tailer.cursors();
    let read: Vec<_> = cursors.map(|cursor| (cursor.id, cursor.read)).collect();
    for (id, offset) in read {
        tailer.acknowledge(id, offset);
    }
}

/// What stood in a file from one truncation to the next; its place in [`MemoryDisk::contents`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId(pub usize);

/// A file, with or without names. Holding it keeps its inode number from being used again, as an open handle does.
#[derive(Debug)]
pub struct Node {
    pub inode: u64,
    pub content: Cell<ContentId>,
    pub modified_ms: Cell<i64>,
    pub n_links: Cell<u64>,
}

/// What the disk refuses, until told otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    pub names: bool,
    pub opens: bool,
    pub reads: bool,
}

/// The file system. A number of an inode that nothing holds any more is given to the next new file.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    names: BTreeMap<PathBuf, Rc<Node>>,
    inodes: Vec<Weak<Node>>,
    contents: Vec<Vec<u8>>,
    clock_ms: i64,
    /// What the number of its device has moved by.
    pub device_shift: u64,
    /// What the last read came from.
    pub read_from: Option<ContentId>,
    pub refusals: Refusals,
    /// A planted fault: every file looks like one and the same.
    pub one_identity: bool,
    /// A planted fault: so many operations from now on one of them panics, without a word.
    pub panics_in: Option<u32>,
    to_come: Vec<ToCome>,
    /// Names being listed, looks, files being opened, reads.
    pub n_operations: usize,
}

/// What befalls files in the midst of what somebody does with the disk.
struct ToCome {
    /// Operations until then.
    n_left: u32,
    deed: Box<dyn FnOnce(&mut MemoryDisk)>,
}

impl fmt::Debug for ToCome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} operations", self.n_left)
    }
}

impl MemoryDisk {
    /// Everything that was ever written from the beginning of a file on.
    pub fn bytes(&self, content: ContentId) -> &[u8] {
        &self.contents[content.0]
    }

    pub fn contents(&self) -> impl Iterator<Item = ContentId> + use<> {
        (0..self.contents.len()).map(ContentId)
    }

    pub fn node(&self, path: &str) -> Option<&Rc<Node>> {
        self.names.get(Path::new(path))
    }

    pub fn files(&self) -> impl Iterator<Item = (&Path, &Rc<Node>)> {
        self.names.iter().map(|(path, node)| (path.as_path(), node))
    }

    /// Appends, to a new file if there is none.
    pub fn append(&mut self, path: &str, bytes: &[u8]) {
        let node = match self.names.get(Path::new(path)) {
            Some(node) => Rc::clone(node),
            None => self.create(path),
        };
        self.contents[node.content.get().0].extend_from_slice(bytes);
        node.modified_ms.set(self.tick());
    }

    fn create(&mut self, path: &str) -> Rc<Node> {
        let free = self.inodes.iter().position(|node| node.strong_count() == 0);
        let place = free.unwrap_or(self.inodes.len());
        let content = self.new_content();
        let node = Rc::new(Node {
            inode: place as u64 + 1,
            content: Cell::new(content),
            modified_ms: Cell::new(self.tick()),
            n_links: Cell::new(1),
        });
        match free {
            Some(place) => self.inodes[place] = Rc::downgrade(&node),
            None => self.inodes.push(Rc::downgrade(&node)),
        }
        self.names.insert(path.into(), Rc::clone(&node));
        node
    }

    /// Empties a file, if it is there, and writes anew.
    pub fn truncate(&mut self, path: &str, bytes: &[u8]) {
        if let Some(node) = self.names.get(Path::new(path)).cloned() {
            let content = self.new_content();
            node.content.set(content);
            self.append(path, bytes);
        }
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        let [old, new] = [from, to].map(|path| self.names.get(Path::new(path)));
        // As rename(2) has it, nothing is done to two names of one file.
        if let (Some(old), Some(new)) = (old, new)
            && Rc::ptr_eq(old, new)
        {
            return;
        }
        if let Some(node) = self.names.remove(Path::new(from)) {
            self.delete(to);
            self.names.insert(to.into(), node);
        }
    }

    pub fn link(&mut self, from: &str, to: &str) {
        if let Some(node) = self.names.get(Path::new(from)).cloned()
            && !self.names.contains_key(Path::new(to))
        {
            node.n_links.set(node.n_links.get() + 1);
            self.names.insert(to.into(), node);
        }
    }

    pub fn delete(&mut self, path: &str) {
        if let Some(node) = self.names.remove(Path::new(path)) {
            node.n_links.set(node.n_links.get() - 1);
        }
    }

    /// The time that files are stamped with moves on; no two changes have the same.
    pub fn tick(&mut self) -> i64 {
        self.clock_ms += 1;
        self.clock_ms
    }

    /// The clock moves on, or is set: it may go back.
    pub fn pass(&mut self, ms: i64) {
        self.clock_ms += ms;
    }

    /// So many operations from now on, right before the next one, this is done to files: names being listed, a look, a
    /// file being opened, a read each count as one. Of several for the same time the first that was asked for comes first.
    pub fn befall_after(
        &mut self,
        n_operations: u32,
        deed: impl FnOnce(&mut MemoryDisk) + 'static,
    ) {
        self.to_come.push(ToCome {
            n_left: n_operations,
            deed: Box::new(deed),
        });
    }

    /// How much is still to befall files.
    pub fn n_to_come(&self) -> usize {
        self.to_come.len()
    }

    /// An operation begins.
    fn begin(&mut self) {
        self.panic_if_planted();
        self.n_operations += 1;
        if self.to_come.is_empty() {
            return;
        }
        let is_due = |to_come: &mut ToCome| to_come.n_left == 0;
        let due: Vec<ToCome> = self.to_come.extract_if(.., is_due).collect();
        self.to_come
            .iter_mut()
            .for_each(|to_come| to_come.n_left -= 1);
        due.into_iter().for_each(|to_come| (to_come.deed)(self));
    }

    fn panic_if_planted(&mut self) {
        self.panics_in = match self.panics_in {
            Some(0) => {
                self.panics_in = None;
                panic::resume_unwind(Box::new("planted"));
            }
            n_left => n_left.map(|n_left| n_left - 1),
        };
    }

    fn new_content(&mut self) -> ContentId {
        self.contents.push(Vec::new());
        ContentId(self.contents.len() - 1)
    }

    fn stat(&self, node: &Node) -> FileStat {
        FileStat {
            identity: FileIdentity {
                device: 1 + self.device_shift,
                inode: if self.one_identity { 1 } else { node.inode },
            },
            kind: FileKind::File,
            size: self.bytes(node.content.get()).len() as u64,
            modified_ms: node.modified_ms.get(),
            n_links: node.n_links.get(),
        }
    }
}

impl Disk for MemoryDisk {
    type File = Rc<Node>;

    fn names(&mut self, folder: &Path) -> io::Result<Vec<Name>> {
        self.begin();
        if self.refusals.names {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let inside = self
            .names
            .iter()
            .filter(|(path, _)| path.parent() == Some(folder));
        let name = |(path, node): (&PathBuf, &Rc<Node>)| {
            Some(Name {
                text: path.file_name()?.to_owned(),
                file_inode: Some(self.stat(node).identity.inode),
            })
        };
        let folders: BTreeSet<&Path> = self
            .names
            .keys()
            .filter_map(|path| {
                path.ancestors()
                    .skip(1)
                    .find(|above| above.parent() == Some(folder))
            })
            .collect();
        let folder_name = |path: &Path| {
            Some(Name {
                text: path.file_name()?.to_owned(),
                file_inode: None,
            })
        };
        let folders = folders.into_iter().filter_map(folder_name);
        Ok(inside.filter_map(name).chain(folders).collect())
    }

    fn look(&mut self, path: &Path) -> io::Result<FileStat> {
        self.begin();
        if let Some(node) = self.names.get(path) {
            return Ok(self.stat(node));
        }
        let is_folder = self.names.keys().any(|file| file.starts_with(path));
        let nothing = FileStat {
            identity: FileIdentity {
                device: 1 + self.device_shift,
                inode: 0,
            },
            kind: FileKind::Folder,
            size: 0,
            modified_ms: 0,
            n_links: 1,
        };
        is_folder
            .then_some(nothing)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&mut self, path: &Path) -> io::Result<Rc<Node>> {
        self.begin();
        if self.refusals.opens {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.names
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn share(&mut self, file: &Rc<Node>) -> io::Result<Rc<Node>> {
        Ok(Rc::clone(file))
    }

    fn look_at(&mut self, file: &Rc<Node>) -> io::Result<FileStat> {
        self.begin();
        Ok(self.stat(file))
    }

    fn is_link(&mut self, _: &Path) -> bool {
        false
    }

    fn tells_of(&mut self, _: &Path) -> bool {
        true
    }

    fn clock_ms(&mut self) -> i64 {
        self.clock_ms
    }

    fn read_at(&mut self, file: &Rc<Node>, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.begin();
        if self.refusals.reads {
            return Err(io::Error::other("input/output error"));
        }
        self.read_from = Some(file.content.get());
        let bytes = self.bytes(file.content.get());
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

/// A disk that outlives whoever works with it.
impl<D: Disk> Disk for Rc<RefCell<D>> {
    type File = D::File;

    fn names(&mut self, folder: &Path) -> io::Result<Vec<Name>> {
        self.borrow_mut().names(folder)
    }

    fn look(&mut self, path: &Path) -> io::Result<FileStat> {
        self.borrow_mut().look(path)
    }

    fn open(&mut self, path: &Path) -> io::Result<D::File> {
        self.borrow_mut().open(path)
    }

    fn share(&mut self, file: &D::File) -> io::Result<D::File> {
        self.borrow_mut().share(file)
    }

    fn look_at(&mut self, file: &D::File) -> io::Result<FileStat> {
        self.borrow_mut().look_at(file)
    }

    fn is_link(&mut self, path: &Path) -> bool {
        self.borrow_mut().is_link(path)
    }

    fn tells_of(&mut self, path: &Path) -> bool {
        self.borrow_mut().tells_of(path)
    }

    fn read_at(&mut self, file: &D::File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.borrow_mut().read_at(file, offset, into)
    }

    fn clock_ms(&mut self) -> i64 {
        self.borrow_mut().clock_ms()
    }

    fn n_handles_wanted(&mut self) -> usize {
        self.borrow_mut().n_handles_wanted()
    }
}
