//! Where scripts are played: in memory, or in a real folder with the same played in memory beside it, which knows what
//! every file ever held.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::checkpoint::FileIdentity;
use crate::tail::disk::{Disk, OsDisk};
use crate::tail::testing::{MemoryDisk, Node};

/// What befalls files. Paths are absolute.
pub trait Stage {
    type Disk: Disk;

    /// What the tailer sees.
    fn disk(&mut self) -> &mut Self::Disk;
    /// What every file ever held.
    fn memory(&mut self) -> &mut MemoryDisk;
    /// The folder that stands for `/`.
    fn root(&self) -> &str;
    /// What the tailer takes a file for.
    fn identity(&self, node: &Rc<Node>) -> FileIdentity;
    fn append(&mut self, path: &str, bytes: &[u8]);
    /// Empties a file, if it is there, and writes anew.
    fn truncate(&mut self, path: &str, bytes: &[u8]);
    fn rename(&mut self, from: &str, to: &str);
    fn link(&mut self, from: &str, to: &str);
    fn delete(&mut self, path: &str);
    /// Stamps a file with a time.
    fn set_modified_ms(&mut self, path: &str, modified_ms: i64);
}

/// As gzip(1) packs.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Stage for MemoryDisk {
    type Disk = MemoryDisk;

    fn disk(&mut self) -> &mut MemoryDisk {
        self
    }

    fn memory(&mut self) -> &mut MemoryDisk {
        self
    }

    fn root(&self) -> &'static str {
        ""
    }

    fn identity(&self, node: &Rc<Node>) -> FileIdentity {
        FileIdentity {
            device: 1,
            inode: if self.one_identity { 1 } else { node.inode },
        }
    }

    fn append(&mut self, path: &str, bytes: &[u8]) {
        MemoryDisk::append(self, path, bytes);
    }

    fn truncate(&mut self, path: &str, bytes: &[u8]) {
        MemoryDisk::truncate(self, path, bytes);
    }

    fn rename(&mut self, from: &str, to: &str) {
        MemoryDisk::rename(self, from, to);
    }

    fn link(&mut self, from: &str, to: &str) {
        MemoryDisk::link(self, from, to);
    }

    fn delete(&mut self, path: &str) {
        MemoryDisk::delete(self, path);
    }

    fn set_modified_ms(&mut self, path: &str, modified_ms: i64) {
        if let Some(node) = self.node(path) {
            node.modified_ms.set(modified_ms);
        }
    }
}

/// A folder of the system's.
pub struct RealFolder {
    folder: tempfile::TempDir,
    disk: OsDisk,
    memory: MemoryDisk,
    identities: HashMap<*const Node, FileIdentity>,
}

impl RealFolder {
    pub fn new() -> RealFolder {
        let folder = tempfile::tempdir().unwrap();
        for name in ["logs", "archive"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        RealFolder {
            folder,
            disk: OsDisk,
            memory: MemoryDisk::default(),
            identities: HashMap::new(),
        }
    }

    /// What was just written has the time that it has in memory, and its identity is known.
    fn note(&mut self, path: &str) {
        let Some(node) = self.memory.node(path).cloned() else {
            return;
        };
        let modified =
            SystemTime::UNIX_EPOCH + Duration::from_millis(node.modified_ms.get() as u64);
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
        let stat = OsDisk.look(Path::new(path)).unwrap();
        self.identities.insert(Rc::as_ptr(&node), stat.identity);
    }
}

impl Stage for RealFolder {
    type Disk = OsDisk;

    fn disk(&mut self) -> &mut OsDisk {
        &mut self.disk
    }

    fn memory(&mut self) -> &mut MemoryDisk {
        &mut self.memory
    }

    fn root(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn identity(&self, node: &Rc<Node>) -> FileIdentity {
        self.identities[&Rc::as_ptr(node)]
    }

    fn append(&mut self, path: &str, bytes: &[u8]) {
        self.memory.append(path, bytes);
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(bytes).unwrap();
        self.note(path);
    }

    fn truncate(&mut self, path: &str, bytes: &[u8]) {
        self.memory.truncate(path, bytes);
        if self.memory.node(path).is_some() {
            fs::write(path, bytes).unwrap();
            self.note(path);
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let is_there = self.memory.node(from).is_some();
        self.memory.rename(from, to);
        if is_there {
            fs::rename(from, to).unwrap();
        }
    }

    fn link(&mut self, from: &str, to: &str) {
        let is_done = self.memory.node(from).is_some() && self.memory.node(to).is_none();
        self.memory.link(from, to);
        if is_done {
            fs::hard_link(from, to).unwrap();
        }
    }

    fn delete(&mut self, path: &str) {
        let is_there = self.memory.node(path).is_some();
        self.memory.delete(path);
        if is_there {
            fs::remove_file(path).unwrap();
        }
    }

    fn set_modified_ms(&mut self, path: &str, modified_ms: i64) {
        if let Some(node) = self.memory.node(path) {
            node.modified_ms.set(modified_ms);
            self.note(path);
        }
    }
}
