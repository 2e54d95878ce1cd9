//! The real program as a child process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::memory::own_kib_peak;
use rustix::process::{Pid, Signal, kill_process};

use super::wait::until;

/// How much of its log is shown when a test fails: so many of the last lines, and so much of each.
const SHOWN_LINES: usize = 40;
const SHOWN_CHARS: usize = 240;

/// A running program. It is killed when it goes out of scope, and its log is shown if the test has failed.
pub struct AgentProcess {
    child: Child,
    log: PathBuf,
    stderr: PathBuf,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its log in all runs.
    pub log: String,
    /// What it wrote to standard error in this run.
    pub stderr: String,
}

impl AgentProcess {
    /// Starts `kinesis-agent`, as `prepare` completes the command: without any of our environment, standard error and
    /// output going to files below `folder`.
    ///
    /// `log` is where the arguments make it write its log.
    pub fn start(folder: &Path, log: &Path, prepare: impl FnOnce(&mut Command)) -> AgentProcess {
        static N_STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = N_STARTED.fetch_add(1, Ordering::Relaxed);
        let stderr = folder.join(format!("stderr.{number}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"));
        command
            .env_clear()
            .env("HOME", folder)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(File::create(folder.join(format!("stdout.{number}"))).unwrap())
            .stderr(File::create(&stderr).unwrap());
        prepare(&mut command);
        let child = command.spawn().expect("the program starts");
        AgentProcess {
            child,
            log: log.to_owned(),
            stderr,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its log so far; empty while there is none.
    pub fn log(&self) -> String {
        read_or_empty(&self.log)
    }

    /// Waits until its log holds `text`, in this run or one before.
    pub async fn says(&mut self, text: &str) {
        self.says_times(text, 1).await;
    }

    /// Waits until its log holds `text` so many times.
    pub async fn says_times(&mut self, text: &str, n_times: usize) {
        until(&format!("the agent to say {text:?}"), || {
            let said = self.log().matches(text).count() >= n_times;
            assert!(
                said || self.child.try_wait().unwrap().is_none(),
                "the agent ended before it said {text:?}"
            );
            said.then_some(())
        })
        .await;
    }

    /// Sends SIGTERM, and waits until it has ended.
    pub async fn stop(self) -> Ended {
        self.terminate();
        self.ended().await
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGHUP: the configuration is to be read anew.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGKILL, and waits until it has ended.
    pub async fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> Ended {
        let status = until("the agent to end", || self.child.try_wait().unwrap()).await;
        Ended {
            code: status.code(),
            log: self.log(),
            stderr: read_or_empty(&self.stderr),
        }
    }

    /// The most memory of its own that it has had so far.
    pub fn memory_kib_peak(&self) -> u64 {
        own_kib_peak(self.id())
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id() as i32).expect("a child has an id");
        kill_process(id, signal).expect("a child that wasn't waited for can be sent signals");
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for (name, text) in [("log", self.log()), ("stderr", read_or_empty(&self.stderr))] {
                eprintln!("---- end of the agent's {name}");
                let n_lines = text.lines().count();
                for line in text.lines().skip(n_lines.saturating_sub(SHOWN_LINES)) {
                    eprintln!("{}", line.chars().take(SHOWN_CHARS).collect::<String>());
                }
            }
        }
    }
}

fn read_or_empty(path: &Path) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}
