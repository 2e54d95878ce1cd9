use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use flate2::read::GzDecoder;
use tempfile::TempDir;

use super::*;

/// A log in a folder of its own, with a clock that stands still until it is set.
struct Bench {
    folder: TempDir,
    now: Arc<Mutex<Timestamp>>,
    stderr: Captured,
}

/// A standard error stream that a test can read.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic elsewhere").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic elsewhere").clone()).expect("UTF-8")
    }
}

impl Bench {
    fn new() -> Bench {
        Bench {
            folder: tempfile::tempdir().expect("a folder"),
            now: Arc::new(Mutex::new(
                "2026-11-21T05:41:36.150Z".parse().expect("a time"),
            )),
            stderr: Captured::default(),
        }
    }

    fn set(&self, time: &str) {
        *self.now.lock().expect("no panic elsewhere") = time.parse().expect("a time");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn options(&self) -> LogOptions {
        let now = Arc::clone(&self.now);
        LogOptions {
            destination: Destination::File(self.path("aws-kinesis-agent.log")),
            fallback: self.path("fallback.log"),
            clock: Arc::new(move || *now.lock().expect("no panic elsewhere")),
            ..LogOptions::default()
        }
    }

    /// The layer, with the archive's work done on the spot.
    fn layer(&self, options: LogOptions) -> LogLayer {
        let clock = Arc::clone(&options.clock);
        let archive = match &options.destination {
            Destination::File(path) => Archive {
                names: Names::of(path),
                limits: options.archive,
            },
            Destination::Terminal => unreachable!("a terminal has no finished files"),
        };
        LogLayer::with(
            options,
            Box::new(self.stderr.clone()),
            Box::new(move || {
                let failures = archive.sweep(clock());
                assert!(failures.is_empty(), "{failures:?}");
            }),
        )
    }

    /// Runs `act` with a log of these options.
    fn logging(&self, options: LogOptions, act: impl FnOnce()) {
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(self.layer(options)),
            act,
        );
    }

    fn listing(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("the folder");
        let mut names: Vec<String> = entries
            .map(|e| {
                e.expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

fn gunzipped(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).expect("a compressed file"))
        .read_to_string(&mut text)
        .expect("gzip");
    text
}

fn say(message: &str) {
    tracing::info!(thread = "t", logger = "l", "{message}");
}

#[test]
fn events_become_lines_with_their_thread_logger_and_fields() {
    let bench = Bench::new();
    bench.logging(bench.options(), || {
        tracing::info!(thread = "Agent STARTING", logger = names::AGENT, "Agent: Starting up...");
        tracing::warn!(target: "kinesis_agent::tail::reader", thread = %"x y", size_bytes = 7, path = "/a\nb", "odd");
        tracing::error!(target: "kinesis_agent::publish", thread = "t", cause = ?"why", "a file named {}", "new\nline");
        std::thread::Builder::new()
            .name("tail-3".into())
            .spawn({
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                move || tracing::dispatcher::with_default(&dispatch, || tracing::info!("from a thread"))
            })
            .expect("a thread")
            .join()
            .expect("no panic");
    });
    let start = "2026-11-21 05:41:36.150+0000  ";
    let space = "com.amazon.kinesis.streaming.agent";
    assert_eq!(
        bench.read("aws-kinesis-agent.log"),
        [
            format!("{start}(Agent STARTING) {space}.Agent [INFO] Agent: Starting up...\n"),
            format!("{start}(x y) {space}.tailing.FileTailer [WARN] odd size_bytes=7 path=\"/a\\nb\"\n"),
            format!("{start}(t) {space}.tailing.Publisher [ERROR] a file named new\\nline cause=\"\\\"why\\\"\"\n"),
            format!("{start}(tail-3) {space}.Log [INFO] from a thread\n"),
        ]
        .concat()
    );
}

#[test]
fn the_level_chooses_and_other_crates_say_warnings_at_debug() {
    for (level, expected) in [
        (Level::ERROR, vec!["[ERROR] e"]),
        (Level::WARN, vec!["[ERROR] e", "[WARN] w"]),
        (Level::INFO, vec!["[ERROR] e", "[WARN] w", "[INFO] i"]),
        (
            Level::DEBUG,
            vec![
                "[ERROR] e",
                "[WARN] w",
                "[INFO] i",
                "[DEBUG] d",
                "[DEBUG] sdk e",
                "[DEBUG] sdk w",
            ],
        ),
        (
            Level::TRACE,
            vec![
                "[ERROR] e",
                "[WARN] w",
                "[INFO] i",
                "[DEBUG] d",
                "[TRACE] t",
                "[DEBUG] sdk e",
                "[DEBUG] sdk w",
            ],
        ),
    ] {
        let bench = Bench::new();
        bench.logging(
            LogOptions {
                level,
                ..bench.options()
            },
            || {
                tracing::error!("e");
                tracing::warn!("w");
                tracing::info!("i");
                tracing::debug!("d");
                tracing::trace!("t");
                tracing::error!(target: "aws_smithy_runtime", "sdk e");
                tracing::warn!(target: "hyper::client", "sdk w");
                tracing::info!(target: "aws_config", "sdk i");
                tracing::debug!(target: "kinesis_agent_extra", "sdk d");
            },
        );
        let text = bench.read("aws-kinesis-agent.log");
        let said: Vec<&str> = text
            .lines()
            .map(|line| &line[line.find('[').expect("a level")..])
            .collect();
        assert_eq!(said, expected, "{level}");
    }
}

#[test]
fn levels_have_names_in_any_case() {
    for (name, level) in [
        ("TRACE", Some(Level::TRACE)),
        ("debug", Some(Level::DEBUG)),
        ("Info", Some(Level::INFO)),
        (" WARN ", Some(Level::WARN)),
        ("eRROR", Some(Level::ERROR)),
        ("WARNING", None),
        ("", None),
        ("3", None),
    ] {
        assert_eq!(level_named(name).ok(), level, "{name}");
    }
    assert_eq!(
        level_named("loud").map_err(|error| error.to_string()),
        Err("\"loud\" is no log level; write one of TRACE, DEBUG, INFO, WARN, ERROR".to_owned())
    );
}

#[test]
fn the_environment_chooses_the_level_before_the_configuration() {
    for (environment, level, is_unknown) in [
        (None, Level::WARN, false),
        (Some(""), Level::WARN, false),
        (Some("debug"), Level::DEBUG, false),
        (Some("loud"), Level::WARN, true),
    ] {
        let (chosen, unknown) = choose_level(Level::WARN, environment);
        assert_eq!(
            (chosen, unknown.is_some()),
            (level, is_unknown),
            "{environment:?}"
        );
    }
}

#[test]
fn every_hour_has_a_file_of_its_own() {
    let bench = Bench::new();
    bench.logging(bench.options(), || {
        say("five");
        bench.set("2026-11-21T05:59:59.999Z");
        say("five still");
        bench.set("2026-11-21T06:00:00Z");
        say("six");
        bench.set("2026-11-21T07:30:00Z");
        say("seven");
        bench.set("2026-11-22T00:00:01Z");
        say("midnight");
    });
    assert_eq!(
        bench.listing(),
        [
            "aws-kinesis-agent-2026-11-21-05.log.gz",
            "aws-kinesis-agent-2026-11-21-06.log.gz",
            "aws-kinesis-agent-2026-11-21-07.log.gz",
            "aws-kinesis-agent.log",
        ]
    );
    assert_eq!(
        gunzipped(&bench.path("aws-kinesis-agent-2026-11-21-05.log.gz")),
        "2026-11-21 05:41:36.150+0000  (t) l [INFO] five\n2026-11-21 05:59:59.999+0000  (t) l [INFO] five still\n"
    );
    assert_eq!(
        gunzipped(&bench.path("aws-kinesis-agent-2026-11-21-07.log.gz")),
        "2026-11-21 07:30:00.000+0000  (t) l [INFO] seven\n"
    );
    assert_eq!(
        bench.read("aws-kinesis-agent.log"),
        "2026-11-22 00:00:01.000+0000  (t) l [INFO] midnight\n"
    );
    assert_eq!(bench.stderr.text(), "");
}

#[test]
fn finished_files_are_deleted_after_seven_days() {
    let bench = Bench::new();
    bench.logging(bench.options(), || {
        say("old");
        bench.set("2026-11-24T12:00:00Z");
        say("newer");
        // The hour from 05:00 ended at 06:00 on the 21st.
        bench.set("2026-11-28T06:00:00Z");
        say("seven days later");
        assert!(
            bench
                .listing()
                .contains(&"aws-kinesis-agent-2026-11-21-05.log.gz".to_owned())
        );
        bench.set("2026-11-28T07:00:00Z");
        say("an hour more");
    });
    assert_eq!(
        bench.listing(),
        [
            "aws-kinesis-agent-2026-11-24-12.log.gz",
            "aws-kinesis-agent-2026-11-28-06.log.gz",
            "aws-kinesis-agent.log"
        ]
    );
}

#[test]
fn a_file_of_an_earlier_hour_is_finished_by_the_next_start() {
    let bench = Bench::new();
    let log = bench.path("aws-kinesis-agent.log");
    fs::write(&log, "before\n").expect("a file");
    let written: std::time::SystemTime = bench
        .now
        .lock()
        .expect("no panic elsewhere")
        .to_owned()
        .into();
    fs::File::options()
        .append(true)
        .open(&log)
        .and_then(|f| f.set_modified(written))
        .expect("a time for the file");
    bench.set("2026-11-21T05:50:00Z");
    bench.logging(bench.options(), || say("same hour"));
    assert!(
        bench
            .read("aws-kinesis-agent.log")
            .starts_with("before\n2026"),
        "an hour's file goes on"
    );

    fs::File::options()
        .append(true)
        .open(&log)
        .and_then(|f| f.set_modified(written))
        .expect("a time for the file");
    bench.set("2026-11-21T09:00:00Z");
    bench.logging(bench.options(), || say("later"));
    assert!(gunzipped(&bench.path("aws-kinesis-agent-2026-11-21-05.log.gz")).contains("same hour"));
    assert_eq!(
        bench.read("aws-kinesis-agent.log"),
        "2026-11-21 09:00:00.000+0000  (t) l [INFO] later\n"
    );
}

#[test]
fn a_full_file_is_finished_before_its_hour_is_over() {
    let bench = Bench::new();
    let line_bytes = "2026-11-21 05:41:36.150+0000  (t) l [INFO] n1\n".len() as u64;
    bench.logging(
        LogOptions {
            file_bytes_max: 2 * line_bytes,
            ..bench.options()
        },
        || {
            for n in 1..=5 {
                say(&format!("n{n}"));
            }
            bench.set("2026-11-21T06:00:00Z");
            say("n6");
        },
    );
    let lines = |name: &str| {
        gunzipped(&bench.path(name))
            .lines()
            .map(|l| l.rsplit(' ').next().expect("a word").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        lines("aws-kinesis-agent-2026-11-21-05.log.gz"),
        ["n1", "n2"]
    );
    assert_eq!(
        lines("aws-kinesis-agent-2026-11-21-05.1.log.gz"),
        ["n3", "n4"]
    );
    assert_eq!(lines("aws-kinesis-agent-2026-11-21-05.2.log.gz"), ["n5"]);
    assert_eq!(bench.listing().len(), 4);
}

#[test]
fn a_log_that_was_moved_or_deleted_is_begun_anew() {
    let bench = Bench::new();
    let log = bench.path("aws-kinesis-agent.log");
    bench.logging(bench.options(), || {
        say("one");
        fs::rename(&log, bench.path("taken-away")).expect("a rename");
        bench.set("2026-11-21T05:41:37Z");
        say("two");
        fs::remove_file(&log).expect("a file");
        bench.set("2026-11-21T06:41:38Z");
        say("three");
    });
    assert!(bench.read("taken-away").ends_with("one\n"));
    assert!(bench.read("aws-kinesis-agent.log").ends_with("three\n"));
    assert_eq!(bench.listing(), ["aws-kinesis-agent.log", "taken-away"]);
}

#[test]
fn a_folder_that_cannot_be_had_sends_the_log_to_the_fallback_and_back() {
    let bench = Bench::new();
    let folder = bench.path("folder");
    fs::write(&folder, "a file where the folder should be").expect("a file");
    let options = LogOptions {
        destination: Destination::File(folder.join("a.log")),
        ..bench.options()
    };
    let troubles = options.troubles.clone();
    bench.logging(options, || {
        say("one");
        bench.set("2026-11-21T05:42:30Z");
        say("two");
        let now = troubles.now();
        assert_eq!(now.len(), 1);
        let problem = format!("can't write the log {}", folder.join("a.log").display());
        assert!(now[0].problem.starts_with(&problem), "{now:?}");
        assert!(
            now[0]
                .remedy
                .starts_with("let the agent's user write there")
        );
        assert!(now[0].concern.is_error());
        fs::remove_file(&folder).expect("a file");
        bench.set("2026-11-21T05:43:00Z");
        say("three");
        assert_eq!(troubles.now(), []);
    });
    let fallback = bench.read("fallback.log");
    let first = fallback.lines().next().expect("a first line");
    assert_eq!(
        first,
        format!(
            "2026-11-21 05:41:36.150+0000  (main) com.amazon.kinesis.streaming.agent.Log [ERROR] can't write the log \
             {}: File exists (os error 17); until it can be written lines go to {}, at most 67108864 bytes",
            folder.join("a.log").display(),
            bench.path("fallback.log").display()
        )
    );
    assert_eq!(bench.stderr.text(), format!("{first}\n"));
    assert_eq!(
        fallback
            .lines()
            .skip(1)
            .map(|l| &l[l.len() - 3..])
            .collect::<Vec<_>>(),
        ["one", "two"]
    );
    let mode = fs::metadata(bench.path("fallback.log"))
        .expect("the file")
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(
        mode & 0o137,
        0,
        "nobody but the owner and the group reads it: {mode:o}"
    );
    let log = fs::read_to_string(folder.join("a.log")).expect("the log");
    assert!(
        log.lines().next().expect("a line").ends_with(&format!(
            "[WARN] the log can be written again; lines before this one went to {}",
            bench.path("fallback.log").display()
        )),
        "{log}"
    );
    assert!(log.ends_with("three\n"));
}

#[test]
fn a_fallback_that_somebody_put_there_is_refused() {
    type Put = fn(&Path);
    let put_there: [(&str, Put, &str); 4] = [
        (
            "link",
            |path| symlink("/etc/passwd", path).expect("a link"),
            "Too many levels of symbolic links",
        ),
        (
            "hard link",
            |path| {
                fs::write(path.with_extension("other"), "").expect("a file");
                fs::hard_link(path.with_extension("other"), path).expect("a link");
            },
            "it is not a plain file of its own",
        ),
        (
            "file for all",
            |path| {
                fs::write(path, "").expect("a file");
                fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("a mode");
            },
            "others may write to it (mode 666)",
        ),
        ("pipe", |path| mkfifo(path), "No such device or address"),
    ];
    for (what, put, why) in put_there {
        let bench = Bench::new();
        let no_folder = bench.path("file");
        fs::write(&no_folder, "").expect("a file");
        put(&bench.path("fallback.log"));
        let options = LogOptions {
            destination: Destination::File(no_folder.join("a.log")),
            ..bench.options()
        };
        bench.logging(options, || say("seen"));
        let said = bench.stderr.text();
        assert!(said.contains(why), "{what}: {said}");
        assert!(said.ends_with("(t) l [INFO] seen\n"), "{what}: {said}");
        assert_eq!(said.lines().count(), 2, "{what}: {said}");
    }
}

fn mkfifo(path: &Path) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a pipe");
}

#[test]
fn a_pipe_that_nobody_reads_does_not_hold_the_start() {
    let bench = Bench::new();
    mkfifo(&bench.path("aws-kinesis-agent.log"));
    bench.logging(bench.options(), || say("one"));
    assert!(bench.read("fallback.log").ends_with("one\n"));
}

#[test]
fn a_log_that_fails_for_another_reason_than_room_goes_to_the_fallback() {
    let bench = Bench::new();
    let pipe = bench.path("aws-kinesis-agent.log");
    mkfifo(&pipe);
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
    let reader =
        rustix::fs::open(&pipe, flags, rustix::fs::Mode::empty()).expect("the pipe's other end");
    bench.logging(bench.options(), || {
        say("read");
        drop(reader);
        say("one");
        say("two");
    });
    let fallback = bench.read("fallback.log");
    let lines: Vec<&str> = fallback.lines().collect();
    assert!(lines[0].contains("Broken pipe"), "{fallback}");
    assert_eq!(
        lines[1..]
            .iter()
            .map(|l| &l[l.len() - 3..])
            .collect::<Vec<_>>(),
        ["one", "two"]
    );
}

#[test]
fn lines_lost_to_a_full_disk_are_counted_and_said_when_it_has_room() {
    let bench = Bench::new();
    let log = bench.path("aws-kinesis-agent.log");
    symlink("/dev/full", &log).expect("a link");
    bench.logging(bench.options(), || {
        say("lost 1");
        say("lost 2");
        bench.set("2026-11-21T09:00:00Z");
        say("lost 3");
        fs::remove_file(&log).expect("a link");
        bench.set("2026-11-21T09:00:01Z");
        say("kept");
        say("kept too");
    });
    assert_eq!(
        bench.read("aws-kinesis-agent.log"),
        "2026-11-21 09:00:01.000+0000  (main) com.amazon.kinesis.streaming.agent.Log [WARN] 3 log lines are lost, they \
         could not be written: No space left on device (os error 28)\n\
         2026-11-21 09:00:01.000+0000  (t) l [INFO] kept\n\
         2026-11-21 09:00:01.000+0000  (t) l [INFO] kept too\n"
    );
}

/// A stream that takes a few bytes of every line while it is full.
#[derive(Clone, Default)]
struct Narrow {
    taken: Captured,
    room: Arc<Mutex<Option<usize>>>,
}

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room.lock().expect("no panic elsewhere");
        let n_bytes = room.unwrap_or(bytes.len()).min(bytes.len());
        if n_bytes == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *room = room.map(|left| left - n_bytes);
        self.taken.write(&bytes[..n_bytes])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_that_was_torn_is_ended_before_the_next_one() {
    let bench = Bench::new();
    let stream = Narrow::default();
    let layer = LogLayer::with(
        LogOptions {
            destination: Destination::Terminal,
            ..bench.options()
        },
        Box::new(stream.clone()),
        Box::new(|| unreachable!("a terminal has no finished files")),
    );
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        *stream.room.lock().expect("no panic elsewhere") = Some(10);
        say("torn");
        say("lost");
        *stream.room.lock().expect("no panic elsewhere") = None;
        say("kept");
    });
    let text = stream.taken.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0], "2026-11-21");
    assert!(lines[1].contains("[WARN] 2 log lines are lost"), "{text}");
    assert!(lines[2].ends_with("[INFO] kept"), "{text}");
}

#[test]
fn a_link_is_written_through_and_never_rolled() {
    let bench = Bench::new();
    symlink(bench.path("elsewhere"), bench.path("aws-kinesis-agent.log")).expect("a link");
    bench.logging(bench.options(), || {
        say("one");
        bench.set("2026-11-21T06:00:00Z");
        say("two");
    });
    assert_eq!(bench.read("elsewhere").lines().count(), 2);
    assert_eq!(bench.listing(), ["aws-kinesis-agent.log", "elsewhere"]);
}

#[test]
fn the_archive_thread_finishes_what_it_finds_at_the_start() {
    let bench = Bench::new();
    fs::write(bench.path("aws-kinesis-agent-2026-11-21-03.log"), "three").expect("a file");
    let archive = Archive {
        names: Names::of(&bench.path("aws-kinesis-agent.log")),
        limits: LogOptions::default().archive,
    };
    let (swept, done) = std::sync::mpsc::channel();
    // The clock is asked once a sweep, after which the thread waits: dropping the archivist then ends it.
    let clock: Clock = Arc::new(move || {
        let _ = swept.send(());
        "2026-11-21T05:00:00Z".parse().expect("a time")
    });
    let archivist = Archivist::start(archive, clock).expect("a thread");
    done.recv().expect("a sweep");
    drop(archivist);
    // The thread holds the other end until it has finished the sweep and ended.
    while done.recv().is_ok() {}
    assert_eq!(
        gunzipped(&bench.path("aws-kinesis-agent-2026-11-21-03.log.gz")),
        "three"
    );
}
