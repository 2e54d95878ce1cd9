//! `demo`: files are written, followed, signed, sent, received and held against what was written. Everything is real
//! but the account.
//!
//! ```text
//! writer ─▶ customers.csv, .1, .2 … ─▶ agent::Agent ─▶ HTTP, SigV4 ─▶ local::Endpoint ─▶ ledger ─▶ verdict
//!   └───────────── progress ─────────────────┴────── view ─▶ screen ◀─────────────────────┘
//! ```

mod configuration;
mod customers;
mod ending;
mod ledger;
mod rates;
mod screen;
mod view;
mod writer;

use std::fs;
use std::io::{self, Stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::configuration::{Configuration, STREAM};
use self::ending::Ending;
use self::ledger::{FIRST_SHOWN, Ledger};
use self::rates::Rates;
use self::screen::Screen;
use self::view::{Calls, Phase, Progress};
use self::writer::{Pen, Script, Writer};
use super::{exit, run::runtime};
use crate::agent::{Agent, Memory};
use crate::local::faults::{CallFacts, Effects, Faults};
use crate::local::{Endpoint, Keep, Keys, Options, Record, Service, Streams};
use crate::telemetry::notices::Notices;
use crate::telemetry::troubles::AgentTroubles;

/// The most lines of a demo: about 800 MB of files.
const LINES_MAX: u64 = 10_000_000;
/// The longest demo: an hour.
const SECONDS_MAX: u64 = 3600;
/// The file is renamed this often, and once in [`RENAME_EVERY`] where that is more.
const RENAMES_MIN: u64 = 4;
const RENAME_EVERY: Duration = Duration::from_secs(60);
/// How often the screen is drawn: less than ten times a second.
const FRAME: Duration = Duration::from_millis(110);
/// How often a line is written where nothing can be drawn.
const LINE: Duration = Duration::from_secs(1);
/// What is still missing is given up when nothing new came for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer may take where the faults keep some from ever coming.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Calls whose records wait to be looked at; then answers are delayed.
const CALLS_WAITING_MAX: usize = 16;
/// How often removing the folder is tried.
const REMOVE_TRIES: u32 = 5;
/// Nobody sees the demo any more.
const UNWRITABLE: &str = "can't write on standard output";
/// 128 + SIGINT's number, as a shell says it.
const EXIT_INTERRUPTED: u8 = 130;

/// Write customers as CSV to a temporary folder, rename the file meanwhile, ship every line as JSON to an endpoint
/// inside this process, and say whether all of them arrived. Needs no account and leaves no files behind.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How many lines are written.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=LINES_MAX))]
    pub lines: u64,
    /// How long the writing takes.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    pub seconds: u64,
    /// What goes wrong on purpose, e.g. "fail-record every=10; status=500 p=0.05"; as with `endpoint`.
    #[arg(long, value_name = "SCRIPT")]
    pub faults: Option<String>,
}

/// Plays the demo; success only if nothing was lost or wrong, nor twice without need.
pub fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let faults: Faults = args.faults.as_deref().unwrap_or_default().parse()?;
    let notices = Notices::install().context("starting the log")?;
    let folder = tempfile::Builder::new()
        .prefix("kinesis-agent-demo-")
        .tempdir()
        .context("can't create a temporary folder; set TMPDIR to one that can be written")?;
    let runtime = runtime()?;
    let played = runtime.block_on(Demo::play(&args, faults, notices, folder.path()));
    runtime.shutdown_background();
    remove(folder)?;
    played
}

/// Removes the folder with all that is in it. An agent that wasn't waited for may add a file meanwhile.
fn remove(folder: TempDir) -> anyhow::Result<()> {
    let path = folder.keep();
    let mut tries = 0;
    loop {
        tries += 1;
        match fs::remove_dir_all(&path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if tries < REMOVE_TRIES => {}
            Err(error) => {
                return Err(error).with_context(|| format!("can't remove {}", path.display()));
            }
        }
    }
}

/// A demo at work.
struct Demo<'a> {
    args: &'a DemoArgs,
    effects: Effects,
    notices: Notices,
    screen: Screen<Stdout>,
    ledger: Arc<Mutex<Ledger>>,
    agent: Agent,
    writer: Writer,
    started_at: Instant,
    rates: Rates,
    n_first_shown: usize,
    is_stopped_early: bool,
}

/// How watching ended.
enum Watched {
    /// All arrived.
    Complete,
    /// Nothing new came for so long.
    InVain(Duration),
}

impl<'a> Demo<'a> {
    async fn play(
        args: &'a DemoArgs,
        faults: Faults,
        notices: Notices,
        folder: &Path,
    ) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::watch()?;
        let mut screen = Screen::stdout();
        let effects = faults.effects_on(&CallFacts {
            service: Service::Kinesis,
            stream: Some(STREAM),
            is_cbor: true,
            n_records: 1,
        });
        let (sender, records) = mpsc::channel(CALLS_WAITING_MAX);
        let keys = keys_of_this_run();
        let endpoint = Endpoint::start(Options {
            credentials: vec![keys.clone()],
            streams: Streams::Only([STREAM.to_owned()].into()),
            keep: Keep::Send(sender),
            faults,
            ..Options::default()
        })
        .await
        .context("can't listen on 127.0.0.1")?;
        let timeout = effects.stalls.then(|| ANSWER_TIMEOUT + effects.delay_max);
        let configuration = Configuration::new(folder, &endpoint.url(), &keys, timeout)?;
        let span = Duration::from_secs(args.seconds);
        let look = screen.look();
        let mut opening = view::title(&look, args.lines, span, args.faults.as_deref());
        opening.extend(view::configuration(&look, &configuration));
        screen.say(&opening).context(UNWRITABLE)?;
        let ledger = Arc::new(Mutex::new(Ledger::new(args.lines)));
        let taken_in = Arc::clone(&ledger);
        let reader = tokio::task::spawn_blocking(move || take_in(records, &taken_in));
        let pen = Pen::create(Script {
            folder: folder.to_owned(),
            n_lines: args.lines,
            span,
            n_renames: n_renames(args.lines, span),
        })
        .context("can't create the file to follow")?;
        let agent = Agent::start(
            configuration.load()?,
            Memory::Kept,
            AgentTroubles::default(),
        )
        .await?;
        let writer = Writer::start(pen).context("can't start the thread that writes")?;
        let mut demo = Demo {
            args,
            effects,
            notices,
            screen,
            ledger,
            agent,
            writer,
            started_at: Instant::now(),
            rates: Rates::new(),
            n_first_shown: 0,
            is_stopped_early: false,
        };
        let watched = match demo.watch(&mut signals).await {
            Ok(Some(watched)) => watched,
            Ok(None) => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
            Err(error) => {
                demo.agent.stop().await;
                return Err(error).context(UNWRITABLE);
            }
        };
        tokio::select! {
            code = demo.end(watched, endpoint, reader) => code,
            () = signals.next() => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        }
    }

    /// Shows how it goes until everything written has arrived; `None` at a second signal.
    async fn watch(&mut self, signals: &mut Signals) -> io::Result<Option<Watched>> {
        let patience = PATIENCE + self.effects.delay_max;
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut line_at, mut news_at, mut n_arrived) = (LINE, self.started_at, 0);
        loop {
            tokio::select! {
                _ = frames.tick() => {}
                () = signals.next() => {
                    if self.is_stopped_early {
                        return Ok(None);
                    }
                    self.is_stopped_early = true;
                    self.writer.stop();
                }
            }
            self.show_first()?;
            let progress = self.progress();
            if self.screen.is_live() {
                let look = self.screen.look();
                self.screen.draw(&view::block(&look, &progress))?;
            } else if progress.elapsed >= line_at {
                // On a busy machine lines are left out, not caught up with.
                line_at = Duration::from_secs(progress.elapsed.as_secs()) + LINE;
                let look = self.screen.look();
                self.screen.say(&[view::one_line(&look, &progress)])?;
            }
            if progress.phase == Phase::Done {
                return Ok(Some(Watched::Complete));
            }
            if progress.phase == Phase::Writing || progress.n_arrived > n_arrived {
                news_at = Instant::now();
                n_arrived = progress.n_arrived;
            }
            if news_at.elapsed() >= patience {
                return Ok(Some(Watched::InVain(patience)));
            }
        }
    }

    /// Shows the first records once there are enough of them.
    fn show_first(&mut self) -> io::Result<()> {
        let is_done = self.writer.standing().is_done.load(Ordering::Acquire);
        let first = locked(&self.ledger).first().to_vec();
        let wanted = match is_done {
            true => 1,
            false => FIRST_SHOWN,
        };
        if self.n_first_shown == 0 && first.len() >= wanted {
            self.n_first_shown = first.len();
            let look = self.screen.look();
            self.screen.say(&view::records(&look, &first))?;
        }
        Ok(())
    }

    fn progress(&mut self) -> Progress {
        let standing = self.writer.standing();
        // In this order: what is written after the look at the ledger can't make it seem complete.
        let is_written = standing.is_done.load(Ordering::Acquire);
        let n_written = standing.n_lines.load(Ordering::Acquire);
        let n_renames = standing.n_renames.load(Ordering::Acquire);
        let (n_arrived, n_twice, by_gender) = {
            let ledger = locked(&self.ledger);
            (ledger.n_distinct(), ledger.n_twice(), ledger.by_gender())
        };
        let elapsed = self.started_at.elapsed();
        let total = self.agent.counters().snapshot().total();
        Progress {
            phase: match (is_written, n_arrived >= n_written) {
                (false, _) => Phase::Writing,
                (true, false) => Phase::Waiting,
                (true, true) => Phase::Done,
            },
            elapsed,
            n_planned: self.args.lines,
            n_written,
            n_arrived,
            n_twice,
            by_gender,
            a_minute: self.rates.a_minute(elapsed, by_gender),
            n_renames,
            calls: Calls {
                n_calls: total.calls,
                n_failed: total.service_errors,
                n_records_again: total.send_errors,
            },
            has_faults: self.args.faults.is_some(),
            notice: self.notices.newest(),
        }
    }

    /// Stops everything, so that nothing more can arrive, and gives the verdict.
    async fn end(
        mut self,
        watched: Watched,
        endpoint: Endpoint,
        reader: tokio::task::JoinHandle<()>,
    ) -> anyhow::Result<ExitCode> {
        self.agent.stop().await;
        endpoint.stop().await;
        reader
            .await
            .context("taking records in ended by a defect")?;
        let n_written = self.writer.standing().n_lines.load(Ordering::Acquire);
        let written = self.writer.join();
        let ledger = locked(&self.ledger);
        let ending = Ending {
            verdict: ledger.verdict(n_written),
            may_repeat: self.effects.hides_acceptance || self.effects.stalls,
            is_stopped_early: self.is_stopped_early,
            waited_in_vain: match watched {
                Watched::Complete => None,
                Watched::InVain(waited) => Some(waited),
            },
            first_wrong: ledger.first_wrong(),
        };
        let look = self.screen.look();
        let (notices, n_more) = self.notices.first();
        // The block stays where it is: it is part of what was shown now.
        self.screen.keep();
        let mut closing = view::notices(&look, &notices, n_more);
        closing.extend(ending::verdict(&look, &ending));
        let is_good = ending.verdict.is_good(ending.may_repeat) && written.is_ok();
        if is_good {
            closing.extend(ending::next_steps(self.args.faults.is_some()));
        }
        self.screen.say(&closing).context(UNWRITABLE)?;
        written.context("can't write customers")?;
        Ok(match is_good {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(exit::REFUSED),
        })
    }
}

fn take_in(mut records: mpsc::Receiver<Vec<Record>>, ledger: &Mutex<Ledger>) {
    while let Some(call) = records.blocking_recv() {
        let mut ledger = locked(ledger);
        call.iter().for_each(|record| ledger.take(&record.data));
    }
}

fn locked(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An agent of another process that has lost its endpoint may call the port that this one got: nobody else's
/// signatures hold here.
fn keys_of_this_run() -> Keys {
    Keys::new(
        "AKIDDEMO",
        format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
    )
}

/// Every file gets at least one line.
fn n_renames(n_lines: u64, span: Duration) -> u64 {
    RENAMES_MIN
        .max(span.as_secs() / RENAME_EVERY.as_secs())
        .min(n_lines - 1)
}

/// What ends the demo before its time.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn watch() -> anyhow::Result<Signals> {
        let watch = |kind| signal(kind).context("can't watch for signals");
        Ok(Signals {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
