//! A flow's files followed in a folder of the test's own, at times that the test sets.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use kinesis_agent::checkpoint::{FlowPlaces, Place};
use kinesis_agent::record::Span;
use kinesis_agent::tail::disk::OsDisk;
use kinesis_agent::tail::split::RecordKind;
use kinesis_agent::tail::{Event, Intake, Rules, Tailer};

use super::configuration::flow;

/// Long enough that every file and folder is looked at again, and no file counts as quiet.
pub const A_LOOK: Duration = Duration::from_secs(15);
/// Long enough that a file without news counts as quiet.
pub const A_WHILE: Duration = Duration::from_secs(61);

/// The folder of the files.
const LOGS: &str = "logs";

/// A tailer of `app.log*` in its folder.
pub struct Following {
    /// With a folder in it for the files: copies are also looked for beside that one, where other tests are not to be.
    home: tempfile::TempDir,
    keys: String,
    tailer: Tailer<OsDisk>,
    now: Instant,
    pub records: Records,
}

/// What was read, in order.
#[derive(Default)]
pub struct Records(Vec<(Vec<u8>, RecordKind)>);

impl Intake for Records {
    fn has_room(&mut self, _: usize) -> bool {
        true
    }

    fn record(&mut self, _: Span, data: &[u8], kind: RecordKind, _: &Path) {
        self.0.push((data.to_vec(), kind));
    }

    fn nothing(&mut self, _: Span) {}
}

impl Records {
    /// Those that came since this was last asked.
    pub fn take(&mut self) -> Vec<(Vec<u8>, RecordKind)> {
        std::mem::take(&mut self.0)
    }
}

impl Following {
    /// A flow with these further keys, and a folder with these files. Nothing is read yet.
    pub fn start(keys: &str, files: &[(&str, &str)]) -> Following {
        let home = tempfile::tempdir().expect("a folder for the test");
        let folder = home.path().join(LOGS);
        fs::create_dir(&folder).expect("the folder is new");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("the folder is ours");
        }
        let now = Instant::now();
        let tailer = Tailer::new(rules(&folder, keys), FlowPlaces::default(), now);
        Following {
            home,
            keys: keys.to_owned(),
            tailer,
            now,
            records: Records::default(),
        }
    }

    /// Lets time pass, then reads all there is to read.
    pub fn read(&mut self, time: Duration) {
        self.now += time;
        while self
            .tailer
            .turn(self.now, &mut OsDisk, &mut self.records)
            .has_more
        {}
    }

    /// Likewise; the texts of the records.
    pub fn after(&mut self, time: Duration) -> Vec<String> {
        self.read(time);
        let records = self.records.take();
        records
            .into_iter()
            .map(|(data, _)| String::from_utf8_lossy(&data).into_owned())
            .collect()
    }

    /// Everything that was read is accepted.
    pub fn acknowledge_all(&mut self) {
        let read: Vec<_> = self
            .tailer
            .cursors()
            .map(|cursor| (cursor.id, cursor.read))
            .collect();
        read.into_iter()
            .for_each(|(id, offset)| self.tailer.acknowledge(id, offset));
    }

    /// What happened since this was last asked.
    pub fn events(&mut self) -> Vec<Event> {
        self.tailer.take_events()
    }

    /// What the checkpoints say.
    pub fn places(&mut self) -> Vec<Place> {
        self.tailer.take_changes().0
    }

    /// Ends the tailer and starts another one where the checkpoints say.
    pub fn restart(&mut self) {
        let places = FlowPlaces {
            ours: self.places(),
            saved_before: true,
            ..FlowPlaces::default()
        };
        self.tailer = Tailer::new(
            rules(&self.home.path().join(LOGS), &self.keys),
            places,
            self.now,
        );
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(LOGS).join(name)
    }

    /// Writes at the end of a file, which is made if it isn't there.
    pub fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))
            .expect("the folder is ours");
        file.write_all(text.as_bytes())
            .expect("there is room on the disk");
    }

    /// Gives a file another content; it stays the same file.
    pub fn overwrite(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the folder is ours");
    }

    /// Copies a file.
    pub fn copy(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).expect("the folder is ours");
    }

    /// Copies a file, then cuts it off, as `copytruncate` does.
    pub fn copy_and_cut_off(&self, from: &str, to: &str) {
        self.copy(from, to);
        self.overwrite(from, "");
    }

    /// Compresses a file as gzip(1) does: under the name with `.gz`, with the file's times, and the file goes.
    pub fn compress(&self, name: &str) {
        let text = fs::read(self.path(name)).expect("the file is there");
        let modified = fs::metadata(self.path(name)).and_then(|file| file.modified());
        let packed =
            fs::File::create(self.path(&format!("{name}.gz"))).expect("the folder is ours");
        let mut encoder = GzEncoder::new(packed, Compression::default());
        encoder.write_all(&text).expect("there is room on the disk");
        let packed = encoder.finish().expect("there is room on the disk");
        let modified = modified.expect("the file was there");
        packed.set_modified(modified).expect("the file is ours");
        fs::remove_file(self.path(name)).expect("the folder is ours");
    }

    /// Renames a file.
    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("the folder is ours");
    }
}

fn rules(folder: &Path, keys: &str) -> Rules {
    let pattern = folder.join("app.log*");
    let pattern = pattern.to_str().expect("names of test folders are text");
    Rules::new(&flow(pattern, keys)).expect("the pattern is a glob")
}
