//! Writers that rotate in the midst of a turn: whatever they do between any two of its operations on the disk, each line
//! is handed on once, and nothing is said to be lost.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::model::stage::gzip;
use super::testing::{Lines, MemoryDisk, acknowledge_read, rules_of};
use super::{Event, Tailer};
use crate::checkpoint::FlowPlaces;

/// What a writer does. Paths are those of files.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// So many lines, at the end of a file or in a new one.
    Write(&'static str, usize),
    Rename(&'static str, &'static str),
    Copy(&'static str, &'static str),
    CutOff(&'static str),
    /// The gzip takes the file's place, as gzip(1) does it.
    Gzip(&'static str),
}

use Deed::*;

/// The live file, and what it is rotated to: within the pattern, and outside.
const LIVE: &str = "/l/app.log";
const FIRST: &str = "/l/app.log.1";
const SECOND: &str = "/l/app.log.2";
const THIRD: &str = "/l/app.log.3";
const FOURTH: &str = "/l/app.log.4";
const OTHER: &str = "/l/app.log-b";
const OTHER_FIRST: &str = "/l/app.log-b.1";
const OUTSIDE: &str = "/old/app.log";

/// So many lines are more than a fingerprint covers.
const MANY: usize = 40;

/// All names shift, and a new file takes the live one's.
const RENAMED_ON: &[Deed] = &[
    Rename(SECOND, THIRD),
    Rename(FIRST, SECOND),
    Rename(LIVE, FIRST),
    Write(LIVE, 5),
];

struct Story {
    name: &'static str,
    /// What is there, and is read, before anything happens.
    before: &'static [Deed],
    /// What is there to be found by the turns in whose midst it goes on.
    meanwhile: &'static [Deed],
    amid: &'static [Deed],
    /// A few turns later.
    later: &'static [Deed],
    /// A file that may be gone before it was open for the first time. Nothing is known of it but its size, and that is
    /// said to be lost, though it may be a copy of what was sent.
    unopened: Option<&'static str>,
}

/// Turns in whose midst things happen.
const TURNS_AMID: usize = 8;

const STORIES: &[Story] = &[
    Story {
        name: "the names shift and the file is copied and cut off, while the copy before is looked for",
        before: &[Write(SECOND, 5), Write(FIRST, 5), Write(LIVE, MANY)],
        meanwhile: &[
            Write(LIVE, 3),
            Rename(SECOND, THIRD),
            Rename(FIRST, SECOND),
            Copy(LIVE, FIRST),
            CutOff(LIVE),
            Write(LIVE, MANY),
        ],
        amid: &[
            Rename(THIRD, FOURTH),
            Rename(SECOND, THIRD),
            Rename(FIRST, SECOND),
            Copy(LIVE, FIRST),
            CutOff(LIVE),
            Write(LIVE, 2),
        ],
        later: &[
            Rename(SECOND, THIRD),
            Rename(FIRST, SECOND),
            Copy(LIVE, FIRST),
            CutOff(LIVE),
            Write(LIVE, 1),
        ],
        unopened: None,
    },
    Story {
        name: "a file is copied, cut off and grows to more than it was",
        before: &[Write(LIVE, 5)],
        meanwhile: &[Write(LIVE, 2)],
        amid: &[Copy(LIVE, FIRST), CutOff(LIVE), Write(LIVE, 20)],
        later: &[
            Rename(FIRST, SECOND),
            Copy(LIVE, FIRST),
            CutOff(LIVE),
            Write(LIVE, 30),
        ],
        unopened: None,
    },
    Story {
        name: "the same, and the copy is outside",
        before: &[Write(LIVE, MANY)],
        meanwhile: &[Write(LIVE, 2)],
        amid: &[Copy(LIVE, OUTSIDE), CutOff(LIVE), Write(LIVE, 2 * MANY)],
        later: &[Write(LIVE, 2)],
        unopened: None,
    },
    Story {
        name: "a file is copied and cut off",
        before: &[Write(LIVE, MANY)],
        meanwhile: &[Write(LIVE, 2)],
        amid: &[Copy(LIVE, FIRST), CutOff(LIVE)],
        later: &[
            Write(LIVE, 2),
            Rename(FIRST, SECOND),
            Copy(LIVE, FIRST),
            CutOff(LIVE),
        ],
        unopened: None,
    },
    Story {
        name: "a file is renamed, and a new one takes its name",
        before: &[Write(FIRST, 3), Write(LIVE, MANY)],
        meanwhile: &[Write(LIVE, 2)],
        amid: &[
            Rename(FIRST, SECOND),
            Rename(LIVE, FIRST),
            Write(LIVE, 5),
            Write(FIRST, 1),
        ],
        later: RENAMED_ON,
        unopened: None,
    },
    Story {
        name: "a file that nothing is known of yet is renamed",
        before: &[],
        meanwhile: &[Write(FIRST, 3), Write(LIVE, 5)],
        amid: &[Rename(FIRST, SECOND), Rename(LIVE, FIRST), Write(LIVE, 5)],
        later: RENAMED_ON,
        unopened: None,
    },
    Story {
        name: "the copy is compressed while it is looked for",
        before: &[Write(LIVE, MANY)],
        meanwhile: &[
            Write(LIVE, 3),
            Copy(LIVE, FIRST),
            CutOff(LIVE),
            Write(LIVE, 1),
        ],
        amid: &[Gzip(FIRST)],
        later: &[Copy(LIVE, FIRST), CutOff(LIVE), Write(LIVE, 2)],
        unopened: Some(FIRST),
    },
    Story {
        name: "a file is copied and cut off, and the copy is compressed",
        before: &[Write(LIVE, MANY)],
        meanwhile: &[Write(LIVE, 3)],
        amid: &[Copy(LIVE, FIRST), CutOff(LIVE), Write(LIVE, 2), Gzip(FIRST)],
        later: &[Copy(LIVE, FIRST), CutOff(LIVE), Write(LIVE, 2)],
        unopened: Some(FIRST),
    },
    Story {
        name: "the copy is written over the one before",
        before: &[Write(FIRST, 3), Write(LIVE, MANY)],
        meanwhile: &[Write(LIVE, 3)],
        amid: &[Copy(LIVE, FIRST), CutOff(LIVE), Write(LIVE, 2)],
        later: &[Copy(LIVE, SECOND), CutOff(LIVE), Write(LIVE, 2)],
        unopened: None,
    },
    Story {
        name: "two files are rotated by copying one behind the other",
        before: &[Write(OTHER, 5), Write(LIVE, 5)],
        meanwhile: &[Write(LIVE, 3), Write(OTHER, 3)],
        amid: &[
            Copy(LIVE, FIRST),
            CutOff(LIVE),
            Copy(OTHER, OTHER_FIRST),
            CutOff(OTHER),
            Write(LIVE, 2),
            Write(OTHER, 2),
        ],
        later: &[
            Rename(FIRST, SECOND),
            Copy(LIVE, FIRST),
            CutOff(LIVE),
            Write(LIVE, 2),
        ],
        unopened: None,
    },
    Story {
        name: "a rotated file is compressed",
        before: &[Write(FIRST, MANY), Write(LIVE, 5)],
        meanwhile: &[Write(LIVE, 1)],
        amid: &[Gzip(FIRST), Rename(LIVE, FIRST), Write(LIVE, 2)],
        later: &[Gzip(FIRST), Rename(LIVE, FIRST), Write(LIVE, 2)],
        unopened: None,
    },
];

/// A writer on a disk. Its lines are numbered.
#[derive(Clone, Default)]
struct Writer(Rc<Cell<usize>>);

impl Writer {
    fn act(&self, deed: Deed, disk: &mut MemoryDisk) {
        match deed {
            Write(path, n) => {
                let first = self.0.replace(self.0.get() + n);
                let text: String = (first..first + n).map(line).collect();
                disk.append(path, text.as_bytes());
            }
            Rename(from, to) => disk.rename(from, to),
            Copy(from, to) => {
                let Some(text) = text_of(from, disk) else {
                    return;
                };
                match disk.node(to) {
                    Some(_) => disk.truncate(to, &text),
                    None => disk.append(to, &text),
                }
            }
            CutOff(path) => disk.truncate(path, b""),
            Gzip(path) => {
                let (Some(text), Some(node)) = (text_of(path, disk), disk.node(path).cloned())
                else {
                    return;
                };
                let to = format!("{path}.gz");
                disk.append(&to, &gzip(&text));
                if let Some(gzip) = disk.node(&to) {
                    gzip.modified_ms.set(node.modified_ms.get());
                }
                disk.delete(path);
            }
        }
    }
}

fn line(number: usize) -> String {
    let width = number * 7 % 61;
    format!("line {number:06} {:x<width$}\n", "")
}

fn text_of(path: &str, disk: &MemoryDisk) -> Option<Vec<u8>> {
    let content = disk.node(path)?.content.get();
    Some(disk.bytes(content).to_vec())
}

/// An agent, and the disk that it works on.
struct Scene {
    disk: MemoryDisk,
    tailer: Tailer<MemoryDisk>,
    now: Instant,
    wake_at: Instant,
    heard: Lines,
    events: Vec<Event>,
}

fn tailer(places: FlowPlaces, now: Instant) -> Tailer<MemoryDisk> {
    let text = r#"{"flows": [{"filePattern": "/l/app.log*", "kinesisStream": "s", "initialPosition": "START_OF_FILE"}]}"#;
    let rules = rules_of(text);
    Tailer::new(rules, places, now)
}

impl Scene {
    fn new() -> Scene {
        let now = Instant::now();
        Scene {
            disk: MemoryDisk::default(),
            tailer: tailer(FlowPlaces::default(), now),
            now,
            wake_at: now,
            heard: Lines::default(),
            events: Vec::new(),
        }
    }

    /// A turn when the next one is due; all that it read is acknowledged.
    fn turn(&mut self) {
        self.now = self.wake_at.max(self.now + Duration::from_millis(1));
        self.disk.pass(10);
        let turn = self.tailer.turn(self.now, &mut self.disk, &mut self.heard);
        self.wake_at = turn.wake_at;
        self.events.extend(self.tailer.take_events());
        acknowledge_read(&mut self.tailer);
    }

    fn pass(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        for n_turns in 0.. {
            if self.now >= until {
                break;
            }
            self.turn();
            if n_turns > 20 {
                // As on a busy host, which costs less.
                self.now += Duration::from_secs(1);
            }
        }
    }

    fn restart(&mut self) {
        let places = FlowPlaces {
            ours: self.tailer.places(),
            saved_before: true,
            ..FlowPlaces::default()
        };
        self.tailer = tailer(places, self.now);
        self.wake_at = self.now;
    }
}

/// Plays a story whose deeds come before the operation `n_before` and each `apart` operations after the one before;
/// what is wrong, if anything is. `None`: there are no so many operations.
fn play(story: &Story, restarts: bool, n_before: u32, apart: u32) -> Option<Result<(), String>> {
    let (mut scene, writer) = (Scene::new(), Writer::default());
    for deed in story.before {
        writer.act(*deed, &mut scene.disk);
    }
    scene.pass(3);
    for deed in story.meanwhile {
        writer.act(*deed, &mut scene.disk);
    }
    if restarts {
        scene.restart();
    }
    for (place, deed) in (0..).zip(story.amid) {
        let (writer, deed) = (writer.clone(), *deed);
        let at = n_before + place * apart;
        scene
            .disk
            .befall_after(at, move |disk| writer.act(deed, disk));
    }
    (0..TURNS_AMID).for_each(|_| scene.turn());
    if scene.disk.n_to_come() == story.amid.len() {
        return None;
    }
    while scene.disk.n_to_come() > 0 {
        scene.turn();
    }
    (0..3).for_each(|_| scene.turn());
    for deed in story.later {
        writer.act(*deed, &mut scene.disk);
    }
    scene.pass(150);
    Some(judge(&scene, &writer, story.unopened))
}

fn judge(scene: &Scene, writer: &Writer, unopened: Option<&str>) -> Result<(), String> {
    let mut n_times: HashMap<&str, usize> = HashMap::new();
    for line in &scene.heard.0 {
        *n_times.entry(line).or_default() += 1;
    }
    let mut wrong = String::new();
    for number in 0..writer.0.get() {
        let text = line(number);
        match n_times.remove(text.trim_end_matches('\n')) {
            Some(1) => {}
            n => wrong += &format!("line {number} {} times; ", n.unwrap_or(0)),
        }
    }
    for torn in n_times.keys() {
        wrong += &format!("{torn:?} isn't a line; ");
    }
    let is_loss = |event: &&Event| match event {
        Event::Lost { path, start, .. } => *start > 0 || path.to_str() != unopened,
        _ => false,
    };
    for event in scene.events.iter().filter(is_loss) {
        wrong += &format!("{event:?}; ");
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("{wrong}\n{:#?}", scene.events)),
    }
}

#[test]
fn whatever_happens_between_two_operations_each_line_comes_once() {
    let mut found = Vec::new();
    for story in STORIES {
        for (restarts, apart) in [false, true]
            .into_iter()
            .flat_map(|restarts| [0, 1, 5].map(|apart| (restarts, apart)))
        {
            let (mut n_played, mut n_wrong, mut first) = (0, 0, None);

            while let Some(verdict) = play(story, restarts, n_played, apart) {
                if let Err(wrong) = verdict {
                    n_wrong += 1;
                    first.get_or_insert((n_played, wrong));
                }
                n_played += 1;
            }
            assert!(n_played > 5, "{}", story.name);
            println!(
                "{}, restarts: {restarts}, {apart} apart: {n_wrong} of {n_played}",
                story.name
            );
            found.extend(first.map(|first| (story.name, restarts, apart, first)));
        }
    }
    for (name, restarts, apart, (n_before, wrong)) in &found {
        println!(
            "{name}, restarts: {restarts}, {apart} apart, before operation {n_before}: {wrong}"
        );
    }
    assert!(found.is_empty());
}
