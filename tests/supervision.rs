//! A flow that ends by a defect, or hangs: it starts anew by itself, and no other flow notices.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::panic;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kinesis_agent::checkpoint::{CheckpointWriter, FileIdentity, FlowPlaces, Reader, Store};
use kinesis_agent::config::{Config, Destination, Flow};
use kinesis_agent::flow::watchdog::{self, AT_WORK_MAX, Moving, Verdict, Watched};
use kinesis_agent::flow::{FlowThread, Inbox, Surroundings};
use kinesis_agent::publish::budget::Budget;
use kinesis_agent::publish::publisher::{Publisher, Queue, Refused, RefusedId, Reported};
use kinesis_agent::publish::run::{self, Inbound, Listener};
use kinesis_agent::publish::sink::{Call, CallResult, Sink};
use kinesis_agent::publish::wire::{Answer, data_of};
use kinesis_agent::record::{CursorId, FlowIndex};
use kinesis_agent::telemetry::counters::FlowCounters;
use kinesis_agent::telemetry::events;
use kinesis_agent::telemetry::status::FileLook;
use kinesis_agent::telemetry::troubles::Trouble;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::configuration::load;
use crate::support::wait::until;

/// What a flow asks for in each turn, and where a defect can be planted: its EC2 metadata.
type Turn = Arc<dyn Fn() + Send + Sync>;

/// A sink that accepts everything and remembers it.
#[derive(Clone, Default)]
struct Accepting(Arc<Mutex<Vec<String>>>);

impl Accepting {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// How often each line arrived.
    fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for line in self.lines() {
            *times.entry(line).or_insert(0) += 1;
        }
        times
    }
}

impl Sink for Accepting {
    fn put(&self, call: Call) -> Pin<Box<dyn Future<Output = CallResult> + Send + '_>> {
        let records = call.chosen.iter().map(|place| {
            let record = &call.batch.records[usize::from(*place)];
            String::from_utf8(data_of(&call.batch, record).to_vec()).unwrap()
        });
        self.0.lock().unwrap().extend(records);
        Box::pin(async { Ok(Answer::AllAccepted) })
    }
}

struct Relay(Vec<Arc<Inbox>>);

impl Listener for Relay {
    fn advanced(&self, flow: FlowIndex, cursor: CursorId, offset: u64) {
        self.0[flow.0].advanced(cursor, offset);
    }
    fn queued(&self, flow: FlowIndex, queue: Queue, n_arrived: usize) {
        self.0[flow.0].queued(queue, n_arrived);
    }
    fn refused(&self, _id: RefusedId, _flow: FlowIndex, _refused: Refused) {}
    fn reported(&self, _flow: FlowIndex, _event: &Reported) {}
}

/// Flows with everything around them but the agent, so that a test can plant a defect in one.
struct Rig {
    folder: tempfile::TempDir,
    config: Config,
    flows: Vec<FlowThread>,
    counters: Vec<Arc<FlowCounters>>,
    sinks: Vec<Accepting>,
    budget: Budget,
    checkpoints: CheckpointWriter,
    publisher: JoinHandle<()>,
}

impl Rig {
    /// A flow a file, `0.log` and so on, each holding so many lines; `turns` are called in each of their turns.
    fn start(turns: Vec<Turn>, n_lines: usize, keys: &str) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let mut flows = Vec::new();
        for n in 0..turns.len() {
            let path = folder.path().join(format!("{n}.log"));
            std::fs::write(&path, lines(n_lines).concat()).unwrap();
            flows.push(format!(
                r#"{{"filePattern": "{}", "kinesisStream": "s{n}", "maxBufferAgeMillis": 20, {keys}
                    "dataProcessingOptions": [{{"optionName": "SINGLELINE"}}]}}"#,
                path.display()
            ));
        }
        let text = format!(
            r#"{{"checkpointFile": "{}", "flows": [{}]}}"#,
            folder.path().join("checkpoints").display(),
            flows.join(", ")
        );
        let config = load(&text).unwrap().config;
        Rig::with(folder, config, turns)
    }

    fn with(folder: tempfile::TempDir, config: Config, turns: Vec<Turn>) -> Rig {
        let n_flows = turns.len();
        let budget = Budget::new(8 << 20, n_flows);
        let store = Store::open(&config.checkpoints, jiff::Timestamp::now()).unwrap();
        let checkpoints = CheckpointWriter::start(store.store, Default::default()).unwrap();
        let (batches, inbox) = mpsc::unbounded_channel();
        let counters: Vec<_> = config.flows.iter().map(|flow| counters_of(flow)).collect();
        let around = |(place, turn): (usize, Turn)| Surroundings {
            index: FlowIndex(place),
            flow: Arc::clone(&config.flows[place]),
            places: FlowPlaces::default(),
            budget: budget.clone(),
            publisher: batches.clone(),
            checkpoints: Some(checkpoints.handle()),
            handles: kinesis_agent::tail::handles::Handles::new(64),
            watch: None,
            counters: Arc::clone(&counters[place]),
            ec2: Arc::new(move || {
                turn();
                None
            }),
        };
        let flows = turns.into_iter().enumerate().map(around);
        let flows: Vec<_> = flows
            .map(|flow| FlowThread::start(flow, |_| {}).unwrap())
            .collect();
        let sinks: Vec<_> = (0..n_flows).map(|_| Accepting::default()).collect();
        let machine = Publisher::new(config.flows.iter().map(|flow| flow.backoff), 4, 1);
        let relay = Arc::new(Relay(flows.iter().map(FlowThread::inbox).collect()));
        let as_sink = |sink: &Accepting| Arc::new(sink.clone()) as Arc<dyn Sink>;
        let publisher = tokio::spawn(run::run(
            machine,
            sinks.iter().map(as_sink).collect(),
            inbox,
            budget.clone(),
            relay,
        ));
        drop::<mpsc::UnboundedSender<Inbound>>(batches);
        Rig {
            folder,
            config,
            flows,
            counters,
            sinks,
            budget,
            checkpoints,
            publisher,
        }
    }

    fn restarts(&self, place: usize) -> u64 {
        self.counters[place].snapshot().restarts
    }

    /// Waits until each of so many lines has arrived at this flow's stream.
    async fn receives(&self, place: usize, n_lines: usize) {
        until("all lines", || {
            (self.sinks[place].times().len() >= n_lines).then_some(())
        })
        .await;
    }

    /// Waits until the checkpoint of this flow's file stands there.
    async fn has_saved(&self, place: usize, offset: u64) {
        let flow = &self.config.flows[place].id;
        until("the checkpoint", || {
            let reader = Reader::open(&self.config.checkpoints).ok()?;
            let places = reader.places(flow).ok()?;
            (places.ours.first()?.offset == offset).then_some(())
        })
        .await;
    }

    /// Stops everything as the agent does; the offset saved of each flow's file.
    async fn stop(self) -> Vec<u64> {
        self.flows.iter().for_each(FlowThread::stop);
        self.publisher.await.unwrap();
        self.flows.iter().for_each(FlowThread::end);
        let deadline = std::time::Instant::now() + crate::support::wait::DEADLINE;
        let flows = self.flows.into_iter();
        let hand_back = flows.filter_map(|flow| flow.ended(deadline)).collect();
        self.checkpoints.stop(hand_back).unwrap();
        assert_eq!(
            self.budget.held_bytes(),
            0,
            "all that was taken was given back"
        );
        let store = Store::open(&self.config.checkpoints, jiff::Timestamp::now()).unwrap();
        let offset = |flow: &Arc<Flow>| store.store.places(&flow.id).unwrap().ours[0].offset;
        self.config.flows.iter().map(offset).collect()
    }

    fn append(&self, place: usize, text: &str) {
        use std::io::Write as _;
        let path = self.folder.path().join(format!("{place}.log"));
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

fn counters_of(flow: &Flow) -> Arc<FlowCounters> {
    let destination = Destination::clone(&flow.destination);
    Arc::new(FlowCounters::new(flow.id.clone(), destination, None))
}

fn lines(n_lines: usize) -> Vec<String> {
    (0..n_lines)
        .map(|n| format!("line {n:08} {}\n", "x".repeat(80)))
        .collect()
}

fn sound() -> Turn {
    Arc::new(|| {})
}

/// Panics in these turns, counted from 1 over all lives.
fn panics_in(turns: &'static [usize]) -> Turn {
    let n_turns = AtomicUsize::new(0);
    Arc::new(move || {
        let n = n_turns.fetch_add(1, Ordering::Relaxed) + 1;
        if turns.contains(&n) {
            panic::resume_unwind(Box::new(format!("planted in turn {n}")));
        }
    })
}

const FROM_START: &str = r#""initialPosition": "START_OF_FILE","#;
/// Several turns' worth.
const N_LINES: usize = 40_000;

/// P-SUPERVISED: A flow that ends by a defect of the agent starts again by itself where its files were acknowledged, and
/// touches no other flow.
#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_panics_goes_on_by_itself_and_the_others_do_not_notice() {
    for turns in [&[1][..], &[3], &[2, 5]] {
        let rig = Rig::start(vec![panics_in(turns), sound()], N_LINES, FROM_START);
        rig.receives(1, N_LINES).await;
        rig.receives(0, N_LINES).await;
        assert_eq!((rig.restarts(0), rig.restarts(1)), (turns.len() as u64, 0));
        rig.append(0, "another\n");
        rig.receives(0, N_LINES + 1).await;
        let (failed, sound) = (rig.sinks[0].clone(), rig.sinks[1].clone());
        let size = (lines(N_LINES).concat().len()) as u64;
        assert_eq!(rig.stop().await, [size + 8, size]);
        let times = failed.times();
        assert!(lines(N_LINES).iter().all(|line| times.contains_key(line)));
        assert_eq!(times.len(), N_LINES + 1, "nothing is invented");
        assert!(times.values().all(|n| *n <= 1 + turns.len()));
        assert!(sound.times().values().all(|n| *n == 1));
    }
}

/// P-SUPERVISED: A flow that ends by a defect of the agent starts again by itself where its files were acknowledged, and
/// touches no other flow.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_panic_does_not_come_again() {
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&is_armed);
    let turn: Turn = Arc::new(move || {
        if armed.swap(false, Ordering::Relaxed) {
            panic::resume_unwind(Box::new("planted"));
        }
    });
    const N_LINES: usize = 1_000;
    let rig = Rig::start(vec![turn, sound()], N_LINES, FROM_START);
    let mut size = lines(N_LINES).concat().len() as u64;
    for n in 1..4 {
        rig.receives(0, N_LINES + n - 1).await;
        rig.has_saved(0, size).await;
        is_armed.store(true, Ordering::Relaxed);
        let another = format!("another {n}\n");
        rig.append(0, &another);
        size += another.len() as u64;
        until("a restart", || (rig.restarts(0) == n as u64).then_some(())).await;
    }
    rig.receives(0, N_LINES + 3).await;
    rig.receives(1, N_LINES).await;
    let sinks = [0, 1].map(|place| rig.sinks[place].clone());
    assert_eq!(rig.stop().await[0], size);
    for sink in sinks {
        let times = sink.times();
        assert!(lines(N_LINES).iter().all(|line| times[line] == 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_panicked_at_its_first_look_still_starts_where_it_was_to_start() {
    // Once before it has looked at its files, and once right behind its first look.
    let rig = Rig::start(vec![panics_in(&[1, 3])], 100, "");
    until("two restarts", || (rig.restarts(0) == 2).then_some(())).await;
    until("a look", || {
        (rig.counters[0].snapshot().files_followed == 1).then_some(())
    })
    .await;
    rig.append(0, "new\n");
    rig.receives(0, 1).await;
    assert_eq!(rig.sinks[0].lines(), ["new\n"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_hangs_shows_it_and_keeps_nothing_from_ending() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let hangs: Turn = Arc::new(move || {
        // Until the test is over.
        let _ = held.lock().unwrap().recv();
    });
    let rig = Rig::start(vec![hangs, sound()], 100, FROM_START);
    rig.receives(1, 100).await;
    let inbox = rig.flows[0].inbox();
    let piece = until("it to be at work", || inbox.piece_of_work()).await;
    let sound = rig.flows[1].inbox();
    until("the other to rest", || {
        sound.piece_of_work().is_none().then_some(())
    })
    .await;
    let mut watched = Watched::default();
    let now = std::time::Instant::now();
    assert_eq!(watched.look(Some(piece), now), Verdict::Sound);
    assert_eq!(
        inbox.piece_of_work(),
        Some(piece),
        "it is still at the same"
    );
    assert_eq!(
        watched.look(inbox.piece_of_work(), now + AT_WORK_MAX),
        Verdict::StandsStill(AT_WORK_MAX)
    );
    assert_eq!(AT_WORK_MAX, Duration::from_secs(30), "as SEMANTICS.md says");
    let mut flows = rig.flows.into_iter();
    let hanging = flows.next().unwrap();
    hanging.stop();
    hanging.end();
    assert_eq!(hanging.ended(now), None, "it isn't waited for");
    drop(release);
}

#[test]
fn bytes_that_wait_while_nothing_moves_are_told_of_unless_it_is_known_why() {
    let config = load(
        r#"{"flows": [{"filePattern": "/l/a.log", "kinesisStream": "s", "maxBufferAgeMillis": 60000}]}"#,
    );
    let flow = Arc::clone(&config.unwrap().config.flows[0]);
    let patience = watchdog::patience(&flow);
    assert!(patience > flow.batch.age_max + 2 * flow.backoff.max);
    let looks = |problem| {
        [FileLook {
            id: CursorId(1),
            path: Path::new("/l/a.log").into(),
            identity: FileIdentity {
                device: 1,
                inode: 2,
            },
            read: 10,
            acknowledged: 10,
            size: 30,
            modified_ms: 0,
            unfinished_bytes: 0,
            is_over: false,
            problem,
        }]
        .into_iter()
    };
    let start = Instant::now();
    for (problem, is_refused, is_told) in [
        (None, false, true),
        (Some(ErrorKind::PermissionDenied), false, false),
        (None, true, false),
    ] {
        let counters = counters_of(&flow);
        counters.followed().look(0, looks(problem));
        if is_refused {
            events::turn_failed(&counters, &"planted");
        }
        let n_known = counters.troubles().now().len();
        let mut moving = Moving::default();
        for now in [start, start + patience] {
            watchdog::look_at_moves(&mut moving, &counters, patience, now);
        }
        let troubles = counters.troubles().now();
        assert_eq!(troubles.len(), n_known + usize::from(is_told));
        let is_said = |trouble: &Trouble| trouble.problem.starts_with("20 bytes wait to be sent");
        assert_eq!(troubles.iter().any(is_said), is_told);
        counters.records_sent.add(1);
        watchdog::look_at_moves(&mut moving, &counters, patience, start + 2 * patience);
        assert_eq!(counters.troubles().now().len(), n_known, "it is over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_always_panics_keeps_nothing_from_stopping() {
    let always: Turn = Arc::new(|| panic::resume_unwind(Box::new("planted")));
    let rig = Rig::start(vec![always, sound()], 100, FROM_START);
    rig.receives(1, 100).await;
    until("a restart", || (rig.restarts(0) > 0).then_some(())).await;
    rig.flows.iter().for_each(FlowThread::stop);
    rig.publisher.await.unwrap();
}
