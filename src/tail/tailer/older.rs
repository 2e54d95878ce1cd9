//! Files that weren't changed for long are left alone until they change (`ignoreOlder`).
//!
//! Such a file has no cursor and isn't open; its place is remembered. One of which a rest is still to be read that was
//! begun, or that was there to be read when the flow was followed last, is never left alone.

use std::time::Duration;

use super::Tailer;
use crate::checkpoint::PlaceState;
use crate::record::CursorId;
use crate::tail::discover::Found;
use crate::tail::disk::Disk;
use crate::tail::gzip::WithGzip;

impl<D: Disk> Tailer<D> {
    /// Takes those that are left alone out of what a walk found; how many they are.
    pub(super) fn leave_old(
        &self,
        found: &mut Vec<Found>,
        is_first: bool,
        disk: &mut WithGzip<'_, D>,
    ) -> usize {
        let Some(age_max) = self.rules.ignore_older else {
            return 0;
        };
        let now_ms = disk.clock_ms();
        let n_before = found.len();
        // Where files that are new to us aren't read from their beginning, what is old is placed once, and remembered.
        let may_be_new = !is_first || self.memory.begins_at_start(&self.rules);
        found.retain(|found| {
            let identity = found.stat.identity;
            let is_left = is_older(found.stat.modified_ms, now_ms, age_max)
                && !self.by_identity.contains_key(&identity)
                && match self.memory.place_of(identity) {
                    Some(place) => {
                        place.offset >= found.stat.size || place.state == PlaceState::FooterReached
                    }
                    None => may_be_new,
                };
            !is_left
        });
        n_before - found.len()
    }

    /// Stops following a file that is too old now, once all of it is acknowledged and its place is saved.
    pub(super) fn leave_if_old(&mut self, id: CursorId, disk: &mut WithGzip<'_, D>) {
        let (Some(age_max), Some(cursor)) = (self.rules.ignore_older, self.cursors.get(&id)) else {
            return;
        };
        let owes_nothing = cursor.resume_at() >= cursor.size || cursor.split.is_over;
        let is_settled = owes_nothing && cursor.acknowledged >= cursor.read && !cursor.is_dirty;
        // What was never looked into can't be told from another file later.
        let is_known = cursor.tail.is_some();
        if is_settled
            && is_known
            && cursor.is_named
            && is_older(cursor.modified_ms, disk.clock_ms(), age_max)
        {
            self.let_go(id, false);
        }
    }
}

fn is_older(modified_ms: i64, now_ms: i64, age_max: Duration) -> bool {
    let age_ms = now_ms.saturating_sub(modified_ms);
    u64::try_from(age_ms).is_ok_and(|age_ms| u128::from(age_ms) > age_max.as_millis())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::checkpoint::FlowPlaces;
    use crate::tail::testing::{Lines, MemoryDisk, acknowledge_read, rules_of};
    use crate::tail::{Event, Rules};

    struct Scene {
        tailer: Tailer<MemoryDisk>,
        disk: MemoryDisk,
        now: Instant,
        position: &'static str,
    }

    fn rules(position: &str) -> Rules {
        let text = format!(
            r#"{{"flows": [{{"filePattern": "/l/*.log", "kinesisStream": "s", "ignoreOlder": "1h", "initialPosition": "{position}"}}]}}"#
        );
        rules_of(&text)
    }

    impl Scene {
        fn new(position: &'static str) -> Scene {
            let now = Instant::now();
            Scene {
                tailer: Tailer::new(rules(position), FlowPlaces::default(), now),
                disk: MemoryDisk::default(),
                now,
                position,
            }
        }

        /// Lets time pass and reads; everything is accepted and saved. The lines that came.
        fn after(&mut self, hours: u64) -> Vec<String> {
            self.now += Duration::from_secs(hours * 3600);
            self.disk.pass(hours as i64 * 3_600_000);
            let mut lines = Lines::default();
            for _ in 0..4 {
                self.now += Duration::from_secs(15);
                self.tailer.turn(self.now, &mut self.disk, &mut lines);
                acknowledge_read(&mut self.tailer);
                self.tailer.take_changes();
            }
            lines.0.sort();
            lines.0
        }

        fn restart(&mut self) {
            let ours = self.tailer.cursors().map(|cursor| cursor.place());
            let remembered = self.tailer.memory.all().cloned();
            let places = FlowPlaces {
                ours: ours.chain(remembered).collect(),
                saved_before: true,
                ..FlowPlaces::default()
            };
            self.tailer = Tailer::new(rules(self.position), places, self.now);
        }

        fn followed(&self) -> Vec<String> {
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            let mut names: Vec<_> = self
                .tailer
                .cursors()
                .map(|cursor| name(&cursor.path))
                .collect();
            names.sort();
            names
        }
    }

    const NONE: [String; 0] = [];

    /// P-OLD: With `ignoreOlder` a file that wasn't changed for so long is not open until it changes, and is then read where
    /// it was left, or from its beginning.
    #[test]
    fn old_files_are_left_alone_until_they_change() {
        for restarts in [false, true] {
            let mut scene = Scene::new("START_OF_FILE");
            scene.disk.append("/l/old.log", b"old 1\n");
            scene.disk.pass(2 * 3_600_000);
            scene.disk.append("/l/new.log", b"new 1\n");
            assert_eq!(scene.after(0), ["new 1"]);
            assert_eq!(scene.followed(), ["new.log"]);
            scene.disk.append("/l/old.log", b"old 2\n");
            assert_eq!(scene.after(0), ["old 1", "old 2"]);
            assert_eq!(scene.after(2), NONE);
            assert_eq!(scene.followed(), NONE);
            if restarts {
                scene.restart();
                assert_eq!(scene.after(0), NONE);
                assert_eq!(scene.followed(), NONE);
            }
            scene.disk.append("/l/new.log", b"new 2\n");
            assert_eq!(scene.after(0), ["new 2"]);
            // An old file that comes later, and one that takes the name and number of another.
            scene.disk.append("/l/moved.txt", b"moved 1\n");
            scene.disk.delete("/l/old.log");
            scene
                .disk
                .append("/l/old.log", b"other 1\nother 2\nother 3\n");
            assert_eq!(scene.after(2), ["other 1", "other 2", "other 3"]);
            scene.disk.rename("/l/moved.txt", "/l/moved.log");
            assert_eq!(scene.after(0), NONE);
            scene.disk.append("/l/moved.log", b"moved 2\n");
            assert_eq!(scene.after(0), ["moved 1", "moved 2"]);
        }
    }

    #[test]
    fn what_was_there_at_the_first_start_is_not_sent_when_it_changes() {
        let mut scene = Scene::new("END_OF_FILE");
        scene.disk.append("/l/a.log", b"before\n");
        assert_eq!(scene.after(2), NONE);
        assert_eq!(scene.followed(), NONE);
        scene.restart();
        assert_eq!(scene.after(0), NONE);
        scene.disk.append("/l/a.log", b"after\n");
        assert_eq!(scene.after(0), ["after"]);
    }

    #[test]
    fn an_unread_rest_keeps_a_file_from_being_left_alone() {
        let mut scene = Scene::new("START_OF_FILE");
        scene.disk.append("/l/a.log", b"1\n2");
        assert_eq!(scene.after(0), ["1"]);
        assert_eq!(scene.after(5), NONE);
        assert_eq!(scene.followed(), ["a.log"]);
        scene.restart();
        assert_eq!(scene.after(0), NONE);
        assert_eq!(scene.followed(), ["a.log"]);
        scene.disk.append("/l/a.log", b"\n");
        assert_eq!(scene.after(0), ["2"]);
    }

    #[test]
    fn that_all_files_are_old_is_said() {
        let mut scene = Scene::new("START_OF_FILE");
        scene.disk.append("/l/a.log", b"1\n");
        scene.disk.pass(2 * 3_600_000);
        scene.after(0);
        let events = scene.tailer.take_events();
        let is_said = |event: &Event| matches!(event, Event::NoFiles { n_old: 1, .. });
        assert!(events.iter().any(is_said), "{events:?}");
        scene.disk.append("/l/a.log", b"2\n");
        scene.after(0);
        let events = scene.tailer.take_events();
        let is_said = |event: &Event| matches!(event, Event::FilesFound { n_files: 1 });
        assert!(events.iter().any(is_said), "{events:?}");
    }

    /// A clock that is set makes files seem old, or of the future: what is written is read all the same, and once.
    #[test]
    fn clocks_that_jump_cost_nothing() {
        const HOUR_MS: i64 = 3_600_000;
        for by_ms in [2, -2, 365 * 24, -365 * 24].map(|hours| hours * HOUR_MS) {
            let mut scene = Scene::new("START_OF_FILE");
            scene.disk.append("/l/a.log", b"1\n");
            assert_eq!(scene.after(0), ["1"]);
            scene.disk.pass(by_ms);
            scene.disk.append("/l/a.log", b"2\n");
            assert_eq!(scene.after(0), ["2"]);
            scene.disk.pass(by_ms);
            assert_eq!(scene.after(0), NONE);
            scene.disk.append("/l/a.log", b"3\n");
            assert_eq!(scene.after(0), ["3"]);
            // Set right again.
            scene.disk.pass(-2 * by_ms);
            scene.disk.append("/l/b.log", b"b1\n");
            assert_eq!(scene.after(0), ["b1"]);
            scene.restart();
            assert_eq!(scene.after(0), NONE);
            scene.disk.rename("/l/a.log", "/l/c.log");
            scene.disk.append("/l/c.log", b"4\n");
            scene.disk.append("/l/b.log", b"b2\n");
            assert_eq!(scene.after(0), ["4", "b2"]);
        }
    }
}
