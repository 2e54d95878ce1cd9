//! Files whose device has another number than it had: after the host was started anew, or a network file system mounted
//! anew. The inode number and what was read of them are as they were.

use crate::checkpoint::FileIdentity;
use crate::tail::discover::Found;
use crate::tail::disk::Disk;
use crate::tail::gzip::WithGzip;

use super::Tailer;

impl<D: Disk> Tailer<D> {
    /// Looks among what a walk found for files that are known under another device, and makes theirs what is known.
    pub(super) fn follow_devices(
        &mut self,
        found: &[Found],
        is_first: bool,
        disk: &mut WithGzip<'_, D>,
    ) {
        if is_first {
            let former = self.memory.follow_devices(found, disk);
            self.removed.extend(former);
        }
        for found in found {
            if !self.by_identity.contains_key(&found.stat.identity) {
                self.follow_device(found, disk);
            }
        }
    }

    /// Makes a file the one that is followed under its name, if only the device is another and it holds what was read.
    fn follow_device(&mut self, found: &Found, disk: &mut WithGzip<'_, D>) {
        let Some(&id) = self.by_path.get(&found.path) else {
            return;
        };
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return;
        };
        let (former, now) = (cursor.identity, found.stat.identity);
        // Of what wasn't looked into yet, nothing would show that it is the same.
        if !is_other_device(former, now) || cursor.tail.is_none() || cursor.read == 0 {
            return;
        }
        let Ok(file) = disk.open(&found.path) else {
            return;
        };
        let former_file = cursor.file.replace(file);
        if cursor.is_same(disk).unwrap_or(false) {
            cursor.identity = now;
            cursor.is_parked = false;
            cursor.is_dirty = true;
            self.by_identity.remove(&former);
            self.by_identity.insert(now, id);
            self.removed.push(former);
        } else {
            cursor.file = former_file;
        }
    }
}

/// Whether two identities differ in the device alone.
pub(in crate::tail) fn is_other_device(one: FileIdentity, other: FileIdentity) -> bool {
    one.inode == other.inode && one.device != other.device
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::checkpoint::{FlowPlaces, Place};
    use crate::tail::Tailer;
    use crate::tail::testing::{Lines, MemoryDisk, acknowledge_read, rules_of};

    struct Scene {
        tailer: Tailer<MemoryDisk>,
        disk: MemoryDisk,
        now: Instant,
    }

    fn tailer(places: FlowPlaces, now: Instant) -> Tailer<MemoryDisk> {
        let text = r#"{"flows": [{"filePattern": "/l/*.log*", "kinesisStream": "s", "initialPosition": "START_OF_FILE"}]}"#;
        let rules = rules_of(text);
        Tailer::new(rules, places, now)
    }

    impl Scene {
        fn new() -> Scene {
            let now = Instant::now();
            let mut disk = MemoryDisk::default();
            disk.append("/l/a.log", b"a1\na2\n");
            disk.append("/l/b.log", b"b1\n");
            Scene {
                tailer: tailer(FlowPlaces::default(), now),
                disk,
                now,
            }
        }

        fn read(&mut self) -> Vec<String> {
            let mut lines = Lines::default();
            for _ in 0..2 {
                self.now += Duration::from_secs(15);
                while self
                    .tailer
                    .turn(self.now, &mut self.disk, &mut lines)
                    .has_more
                {}
            }
            acknowledge_read(&mut self.tailer);
            lines.0.sort();
            lines.0
        }

        fn restart(&mut self) {
            let ours: Vec<Place> = self.tailer.take_changes().0;
            let places = FlowPlaces {
                ours,
                saved_before: true,
                ..FlowPlaces::default()
            };
            self.tailer = tailer(places, self.now);
        }
    }

    /// P-DEVICE: A file whose device has another number than it had is the same file, if its inode and what was read of it are
    /// the same.
    #[test]
    fn a_device_with_another_number_has_the_same_files() {
        for restarts in [true, false] {
            let mut scene = Scene::new();
            assert_eq!(scene.read(), ["a1", "a2", "b1"]);
            if restarts {
                scene.restart();
                scene.disk.rename("/l/b.log", "/l/b.log.1");
                scene.disk.append("/l/b.log.1", b"b2\n");
            }
            scene.disk.device_shift += 7;
            scene.disk.append("/l/a.log", b"a3\n");
            let expected: &[&str] = if restarts { &["a3", "b2"] } else { &["a3"] };
            assert_eq!(scene.read(), expected, "restarts: {restarts}");
            let (places, removed) = scene.tailer.take_changes();
            assert!(places.iter().all(|place| place.identity.device == 8));
            assert_eq!(removed.len(), 2);
            assert!(removed.iter().all(|former| former.device == 1));
        }
    }

    #[test]
    fn another_file_that_has_the_number_by_chance_is_read_whole() {
        for restarts in [true, false] {
            let mut scene = Scene::new();
            assert_eq!(scene.read(), ["a1", "a2", "b1"]);
            if restarts {
                scene.restart();
            }
            scene.disk.device_shift += 7;
            scene.disk.truncate("/l/a.log", b"other 1\nother 2\n");
            assert_eq!(scene.read(), ["other 1", "other 2"], "restarts: {restarts}");
        }
    }
}
