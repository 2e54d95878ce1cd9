//! Log files rotated in every way, while the agent runs and while it doesn't: each line arrives once.

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::scene::Scene;

const STREAM: &str = "s";

/// A way to rotate `logs/app.log`.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Under this pattern.
    pattern: &'static str,
    rotate: fn(&Scene),
}

const KINDS: [Kind; 13] = [
    Kind {
        name: "renamed within the pattern",
        pattern: "app.log*",
        rotate: |scene| scene.rename("app.log", "app.log.1"),
    },
    Kind {
        name: "renamed out of the pattern",
        pattern: "app.log",
        rotate: |scene| scene.rename("app.log", "old.log"),
    },
    Kind {
        name: "renamed and created anew",
        pattern: "app.log*",
        rotate: |scene| {
            scene.rename("app.log", "app.log.1");
            scene.write("app.log", "");
        },
    },
    Kind {
        name: "moved to another folder of the pattern",
        pattern: "*/app.log*",
        rotate: |scene| {
            fs::create_dir_all(scene.path("b")).unwrap();
            scene.rename("a/app.log", "b/app.log.1");
        },
    },
    Kind {
        name: "copied and cut off, the copy in the pattern",
        pattern: "app.log*",
        rotate: |scene| copytruncate(scene, "app.log.1"),
    },
    Kind {
        name: "copied and cut off, the copy outside it",
        pattern: "app.log",
        rotate: |scene| copytruncate(scene, "app.log-20261121"),
    },
    Kind {
        name: "copied and cut off, the copy in a folder below",
        pattern: "app.log",
        rotate: |scene| copytruncate(scene, "archive/app.log.1"),
    },
    Kind {
        name: "copied and cut off, the copy in a folder beside",
        pattern: "app.log",
        rotate: |scene| copytruncate(scene, "../archive/app.log.1"),
    },
    Kind {
        name: "copied, cut off, and the copy compressed",
        pattern: "app.log*",
        rotate: |scene| {
            copytruncate(scene, "app.log.1");
            gzip(&scene.path("app.log.1"));
        },
    },
    Kind {
        name: "copied over the last copy",
        pattern: "app.log*",
        rotate: |scene| {
            scene.write("app.log.1", "");
            copytruncate(scene, "app.log.1");
        },
    },
    Kind {
        name: "renamed and compressed",
        pattern: "app.log",
        rotate: |scene| {
            scene.rename("app.log", "app.log.1");
            gzip(&scene.path("app.log.1"));
        },
    },
    Kind {
        name: "renamed to a date and compressed",
        pattern: "app*.log",
        rotate: |scene| {
            scene.rename("app.log", "app-2026-11-21.log");
            gzip(&scene.path("app-2026-11-21.log"));
        },
    },
    Kind {
        name: "another file under the link",
        pattern: "current.log",
        rotate: |scene| {
            fs::remove_file(scene.path("current.log")).unwrap();
            scene.rename("app.log", "app-1.log");
            scene.write("app.log", "");
            symlink(scene.path("app.log"), scene.path("current.log")).unwrap();
        },
    },
];

/// As logrotate's `copytruncate` does it.
fn copytruncate(scene: &Scene, to: &str) {
    let (from, to) = (scene.path("app.log"), scene.path(to));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(to, fs::read(&from).unwrap()).unwrap();
    File::options()
        .write(true)
        .truncate(true)
        .open(from)
        .unwrap();
}

/// As gzip(1) does it: under the same name with `.gz`, with the times of the file, which goes.
fn gzip(path: &Path) {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let mut encoder = GzEncoder::new(File::create(&name).unwrap(), Compression::default());
    encoder.write_all(&fs::read(path).unwrap()).unwrap();
    let packed = encoder.finish().unwrap();
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    packed.set_modified(modified).unwrap();
    fs::remove_file(path).unwrap();
}

impl Kind {
    async fn scene(&self) -> Scene {
        let scene = Scene::new().await;
        scene.configure(json!({"flows": [{
            "filePattern": self.pattern,
            "kinesisStream": STREAM,
            "initialPosition": "START_OF_FILE",
        }]}));
        scene.append_to(self, "");
        if self.pattern == "current.log" {
            symlink(scene.path("app.log"), scene.path("current.log")).unwrap();
        }
        scene
    }

    fn file(&self) -> &'static str {
        match self.pattern.starts_with("*/") {
            true => "a/app.log",
            false => "app.log",
        }
    }
}

impl Scene {
    fn append_to(&self, kind: &Kind, text: &str) {
        let path = self.path(kind.file());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        self.append(kind.file(), text);
    }
}

/// Lines with these numbers.
fn lines(numbers: Range<usize>) -> String {
    numbers
        .map(|number| format!("line {number:06}\n"))
        .collect()
}

fn log(scene: &Scene) -> String {
    fs::read_to_string(scene.log()).unwrap_or_default()
}

/// When the file is rotated.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    Running,
    Down,
}

/// Sends some lines, adds more, rotates, and adds more again: whether the agent has read what came just before the
/// rotation or not, each line arrives once.
async fn rotate(kind: &Kind, when: When, n_unread: usize) {
    let story = format!("{}, {when:?}", kind.name);
    let scene = kind.scene().await;
    scene.append_to(kind, &lines(0..40));
    let mut agent = Some(scene.start());
    scene.receives(40).await;
    if let Some(agent) = agent.take_if(|_| when == When::Down) {
        agent.stop().await;
    }
    let n = 40 + n_unread;
    scene.append_to(kind, &lines(40..n));
    (kind.rotate)(&scene);
    scene.append_to(kind, &lines(n..n + 40));
    let agent = agent.unwrap_or_else(|| scene.start());
    scene.receives(n as u64 + 40).await;
    scene.append_to(kind, &lines(n + 40..n + 80));
    scene.receives(n as u64 + 80).await;
    let ended = agent.stop().await;
    assert_eq!(ended.code, Some(0), "{story}: {}", ended.stderr);
    // Nor does the next run send anything again.
    let agent = scene.start();
    scene.append_to(kind, &lines(n + 80..n + 81));
    scene.receives(n as u64 + 81).await;
    agent.stop().await;
    let arrived = scene.sorted_texts(STREAM).concat();
    assert!(
        arrived == lines(0..n + 81),
        "{story}: {arrived}\n{}",
        log(&scene)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_while_it_runs() {
    for kind in &KINDS {
        rotate(kind, When::Running, 40).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_while_it_is_down() {
    for kind in &KINDS {
        rotate(kind, When::Down, 40).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_when_all_was_sent() {
    for kind in &KINDS {
        rotate(kind, When::Running, 0).await;
        rotate(kind, When::Down, 0).await;
    }
}

/// The real gzip, where there is one: its format is what [`gzip`] of this test writes.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_by_gzip_itself() {
    let kind = Kind {
        name: "gzip",
        pattern: "app.log",
        rotate: |scene| {
            scene.rename("app.log", "app.log.1");
            let status = Command::new("gzip").arg(scene.path("app.log.1")).status();
            if !status.is_ok_and(|status| status.success()) {
                gzip(&scene.path("app.log.1"));
            }
        },
    };
    rotate(&kind, When::Down, 4000).await;
}
