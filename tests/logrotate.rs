//! logrotate itself rotates, in its modes, while the program follows or is down: each line arrives exactly once.
//!
//! What logrotate loses by itself isn't in it: nothing is written between its copy and its truncation.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::agent::AgentProcess;
use crate::support::scene::Scene;
use crate::support::wait::until;

const STREAM: &str = "s";
/// Rotations while the program runs.
const N_ROTATIONS: usize = 4;
/// Lines from one rotation to the next.
const LINES_A_FILE: usize = 200;
/// Rows that are played at once.
const SIDE_BY_SIDE: usize = 3;

/// A way to rotate.
struct Mode {
    /// What the test is called by.
    name: &'static str,
    pattern: &'static str,
    /// Lines of the configuration, beyond `rotate` and what is always there.
    directives: &'static [&'static str],
    /// Where a program goes on writing that hasn't noticed the rotation.
    late: Late,
    /// Rotations while the program is down. A file that came meanwhile, and went out of the pattern or into a gzip, is
    /// unknown to it.
    n_while_down: usize,
}

/// Lines that are written through the handle that the writer had before the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// They come: the file is still there, under whatever name.
    Written,
    /// The writer notices at once.
    Nothing,
}

const MODES: &[Mode] = &[
    Mode {
        name: "create",
        pattern: "app.log*",
        directives: &["create 0644"],
        late: Late::Written,
        n_while_down: 2,
    },
    Mode {
        name: "create, out of the pattern",
        pattern: "app.log",
        directives: &["create 0644"],
        late: Late::Written,
        n_while_down: 1,
    },
    Mode {
        name: "nocreate",
        pattern: "app.log*",
        directives: &["nocreate"],
        late: Late::Written,
        n_while_down: 2,
    },
    Mode {
        name: "create, dateext",
        pattern: "app.log*",
        directives: &["create 0644", "dateext", "dateformat -%Y%m%d-%s"],
        late: Late::Written,
        n_while_down: 1,
    },
    Mode {
        name: "create, extension",
        pattern: "app*.log",
        directives: &["create 0644", "extension .log"],
        late: Late::Written,
        n_while_down: 2,
    },
    Mode {
        name: "create, olddir",
        pattern: "app.log",
        directives: &["create 0644", "olddir OLD"],
        late: Late::Written,
        n_while_down: 0,
    },
    Mode {
        name: "create, olddir within the pattern",
        pattern: "*/app.log*",
        directives: &["create 0644", "olddir OLD"],
        late: Late::Written,
        n_while_down: 2,
    },
    Mode {
        name: "compress",
        pattern: "app.log*",
        directives: &["create 0644", "compress"],
        late: Late::Nothing,
        n_while_down: 1,
    },
    Mode {
        name: "compress, out of the pattern",
        pattern: "app.log",
        directives: &["create 0644", "compress"],
        late: Late::Nothing,
        n_while_down: 1,
    },
    Mode {
        name: "compress, delaycompress",
        pattern: "app.log*",
        directives: &["create 0644", "compress", "delaycompress"],
        late: Late::Written,
        n_while_down: 1,
    },
    Mode {
        name: "compress, dateext",
        pattern: "app.log*",
        directives: &[
            "create 0644",
            "compress",
            "dateext",
            "dateformat -%Y%m%d-%s",
        ],
        late: Late::Nothing,
        n_while_down: 1,
    },
    Mode {
        name: "compress, olddir",
        pattern: "app.log",
        directives: &["create 0644", "compress", "olddir OLD"],
        late: Late::Nothing,
        n_while_down: 1,
    },
    Mode {
        name: "copytruncate",
        pattern: "app.log*",
        directives: &["copytruncate"],
        late: Late::Written,
        n_while_down: 2,
    },
    Mode {
        name: "copytruncate, out of the pattern",
        pattern: "app.log",
        directives: &["copytruncate"],
        late: Late::Written,
        n_while_down: 1,
    },
    Mode {
        name: "copytruncate, dateext",
        pattern: "app.log*",
        directives: &["copytruncate", "dateext", "dateformat -%Y%m%d-%s"],
        late: Late::Written,
        n_while_down: 1,
    },
    Mode {
        name: "copytruncate, olddir",
        pattern: "app.log",
        directives: &["copytruncate", "olddir OLD"],
        late: Late::Written,
        n_while_down: 1,
    },
    Mode {
        name: "copytruncate, compress",
        pattern: "app.log*",
        directives: &["copytruncate", "compress"],
        late: Late::Written,
        n_while_down: 1,
    },
    Mode {
        name: "copytruncate, compress, delaycompress",
        pattern: "app.log*",
        directives: &["copytruncate", "compress", "delaycompress"],
        late: Late::Written,
        n_while_down: 1,
    },
    Mode {
        name: "copytruncate, compress, olddir",
        pattern: "app.log",
        directives: &["copytruncate", "compress", "olddir OLD"],
        late: Late::Written,
        n_while_down: 1,
    },
];

/// Well within the 5 seconds that a copy waits for its source to be cut off. Only a machine that is very busy needs more.
const ROTATION_MAX: Duration = Duration::from_secs(3);

/// A log, the program that writes it, and logrotate.
struct Rotated {
    scene: Scene,
    mode: &'static Mode,
    folder: PathBuf,
    n_lines: usize,
    /// When the last rotation was over, since 1970.
    rotated_at: Duration,
    /// A rotation took so long that a copy may be read before its source is cut off: what was read of it comes again.
    was_slow: bool,
    /// What the agent has said in the runs that have ended.
    log: String,
}

fn logrotate() -> Option<&'static str> {
    ["/usr/sbin/logrotate", "/sbin/logrotate"]
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or(false))
}

fn now() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("it is later than 1970")
}

fn line(number: usize) -> String {
    format!("line {number:06}\n")
}

impl Rotated {
    async fn new(mode: &'static Mode) -> Rotated {
        let scene = Scene::new().await;
        scene.configure(json!({"flows": [{
            "filePattern": mode.pattern,
            "kinesisStream": STREAM,
            "initialPosition": "START_OF_FILE",
            "maxTimeBetweenFileTrackerRefreshMillis": 1000,
        }]}));
        let folder = match mode.pattern.starts_with("*/") {
            true => scene.path("live"),
            false => scene.path(""),
        };
        let old = scene.path("old");
        for made in [&folder, &old] {
            fs::create_dir_all(made).unwrap();
        }
        let directives: String = mode
            .directives
            .iter()
            .map(|line| format!("  {}\n", line.replace("OLD", old.to_str().unwrap())))
            .collect();
        let log = folder.join("app.log");
        let rules = format!("{} {{\n  rotate 50\n{directives}}}\n", log.display());
        fs::write(scene.folder().join("logrotate.conf"), rules).unwrap();
        let owner_alone = Permissions::from_mode(0o600);
        fs::set_permissions(scene.folder().join("logrotate.conf"), owner_alone).unwrap();
        Rotated {
            scene,
            mode,
            folder,
            n_lines: 0,
            rotated_at: Duration::ZERO,
            was_slow: false,
            log: String::new(),
        }
    }

    /// The writer's handle of the log as it is named now.
    fn open(&self) -> File {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        options.open(self.folder.join("app.log")).unwrap()
    }

    fn write(&mut self, file: &mut File, n_lines: usize) {
        let lines = self.n_lines..self.n_lines + n_lines;
        let text: String = lines.map(line).collect();
        file.write_all(text.as_bytes()).unwrap();
        self.n_lines += n_lines;
    }

    /// One rotation, whether it is due or not.
    async fn rotate(&mut self) {
        if self.mode.directives.contains(&"dateext") {
            // The names have the second in them, by a clock that lags a little behind ours.
            let next = self.rotated_at + Duration::from_secs(1);
            until("another second", || (now() > next).then_some(())).await;
        }
        let folder = self.scene.folder();
        let began_at = Instant::now();
        let output = Command::new(logrotate().expect("it was asked for"))
            .arg("--force")
            .arg("--state")
            .arg(folder.join("logrotate.state"))
            .arg(folder.join("logrotate.conf"))
            .output()
            .unwrap();
        self.was_slow |= began_at.elapsed() > ROTATION_MAX;
        self.rotated_at = now();
        assert!(output.status.success(), "{}: {output:?}", self.mode.name);
    }

    /// The writer writes, the log is rotated, and the writer notices.
    async fn write_and_rotate(&mut self, file: &mut File) {
        self.write(file, LINES_A_FILE);
        self.rotate().await;
        if self.mode.late == Late::Written {
            self.write(file, 3);
        }
        *file = self.open();
    }

    /// Waits until a line has come, and with it the program knows the file.
    async fn has_come(&self, number: usize) {
        let wanted = line(number);
        until(&format!("{wanted:?} in mode {}", self.mode.name), || {
            let texts = self.scene.texts(STREAM);
            texts.contains(&wanted).then_some(())
        })
        .await;
    }

    /// Waits until all that was written has come.
    async fn all_has_come(&self) {
        let count = || {
            let mut texts = self.scene.texts(STREAM);
            texts.sort_unstable();
            texts.dedup();
            texts.len()
        };
        let what = format!("{} lines in mode {}", self.n_lines, self.mode.name);
        until(&what, || (count() == self.n_lines).then_some(())).await;
    }

    async fn start(&self, n_starts: usize) -> AgentProcess {
        let mut agent = self.scene.start();
        agent
            .says_times(" to be sent to Kinesis stream s", n_starts)
            .await;
        agent
    }

    async fn play(mut self) {
        let mut file = self.open();
        let agent = self.start(1).await;
        for _ in 0..N_ROTATIONS {
            let first = self.n_lines;
            self.write(&mut file, 1);
            self.has_come(first).await;
            self.write_and_rotate(&mut file).await;
        }
        let first = self.n_lines;
        self.write(&mut file, 1);
        self.has_come(first).await;
        self.all_has_come().await;
        self.has_ended(agent).await;
        for _ in 0..self.mode.n_while_down {
            self.write_and_rotate(&mut file).await;
        }
        self.write(&mut file, 10);
        let agent = self.start(2).await;
        self.all_has_come().await;
        self.has_ended(agent).await;
        // Whatever a third run finds is there for the second time.
        let agent = self.start(3).await;
        self.write(&mut file, 1);
        self.all_has_come().await;
        self.has_ended(agent).await;
        self.assert_each_came_once();
    }

    /// Its log is kept: what comes twice comes from a run that has ended.
    async fn has_ended(&mut self, agent: AgentProcess) {
        let ended = agent.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        self.log = ended.log;
    }

    fn assert_each_came_once(&self) {
        let mut n_times: BTreeMap<String, usize> = BTreeMap::new();
        for text in self.scene.texts(STREAM) {
            *n_times.entry(text).or_default() += 1;
        }
        let wanted: Vec<String> = (0..self.n_lines).map(line).collect();
        assert!(n_times.keys().eq(&wanted), "{}: torn", self.mode.name);
        let repeated: Vec<_> = n_times.iter().filter(|(_, n)| **n > 1).collect();
        assert!(
            repeated.is_empty() || self.was_slow,
            "{}: {} of {} lines came more than once, {:?} first\n{}",
            self.mode.name,
            repeated.len(),
            self.n_lines,
            repeated[0],
            self.log
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_logrotate_does_each_line_comes_once() {
    if logrotate().is_none() {
        println!("SKIPPED: logrotate isn't installed; on Debian: apt-get install logrotate");
        return;
    }
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    for mode in MODES {
        if running.len() >= SIDE_BY_SIDE {
            failed.extend(running.join_next().await.and_then(Result::err));
        }
        running.spawn(async move { Rotated::new(mode).await.play().await });
    }
    while let Some(played) = running.join_next().await {
        failed.extend(played.err());
    }
    let n_failed = failed.len();
    assert!(
        failed.is_empty(),
        "{n_failed} of {} modes: {failed:#?}",
        MODES.len()
    );
}
