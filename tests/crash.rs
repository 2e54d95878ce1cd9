//! The real program is killed again and again, while files are rotated at speed in every way and the service fails some
//! of what it is sent: nothing is lost, no line is torn, and what a checkpoint covers isn't sent again.
//!
//! Whoever writes, kills and answers goes by what has arrived: nothing here waits for a time.

mod arrivals;
mod writer;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use fastrand::Rng;
use jiff::Timestamp;
use kinesis_agent::checkpoint::{Change, Place, Reader, Store};
use kinesis_agent::config::Config;
use kinesis_agent::local::{Keep, Options, Record};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::checkpoints::Rows;
use crate::support::configuration::load;
use crate::support::scene::Scene;
use crate::support::wait::until;
use arrivals::{Arrivals, State, line};
use writer::{Contents, LINES_A_FILE, Places, Rotation, Writer};

/// How often the program is killed.
const N_KILLS: usize = 100;
/// Between two kills so many records are accepted, at most.
const RECORDS_A_RUN: usize = 500;
/// One record in ten, one call in twenty, and the connection before or after one call in fifty each.
const FAULTS: &str =
    "fail-record p=0.1; status=500 p=0.05; reset-before p=0.02; reset-after p=0.02";

/// A scene with so many logs, each with a flow of its own, that sends fast; what arrives, and a way to add to it.
async fn scene(n_logs: usize, faults: &str) -> (Scene, Arc<Arrivals>, mpsc::Sender<Vec<Record>>) {
    let (sender, records) = mpsc::channel(64);
    let arrivals = Arrivals::watch(records, n_logs);
    let scene = Scene::with(Options {
        keep: Keep::Send(sender.clone()),
        faults: faults.parse().unwrap(),
        ..Options::default()
    })
    .await;
    let flow = |log| {
        json!({
            "filePattern": format!("app{log}.log*"),
            "kinesisStream": "s",
            "initialPosition": "START_OF_FILE",
            "maxBufferAgeMillis": 20,
            "maxBufferSizeRecords": 50,
            "retryInitialBackoffMillis": 10,
            "retryMaxBackoffMillis": 100,
        })
    };
    let flows: Vec<_> = (0..n_logs).map(flow).collect();
    scene.configure(json!({ "flows": flows, "log.honourKeys": true, "log.level": "DEBUG" }));
    (scene, arrivals, sender)
}

/// What the checkpoints say of the flows, in their order.
fn places(config: &Config) -> Places {
    let (options, flows) = (config.checkpoints.clone(), config.flows.clone());
    Arc::new(move |log| {
        let read = || Reader::open(&options).ok()?.places(&flows[log].id).ok();
        read().map(|places| places.ours).unwrap_or_default()
    })
}

/// Whether more has arrived of the file than was known before.
fn is_beyond(place: &Place, before: &[Place]) -> bool {
    let known = before.iter().find(|known| known.identity == place.identity);
    place.offset > known.map_or(0, |known| known.offset)
}

/// Between two runs: all lines that checkpoints cover have arrived, and are noted.
async fn note_covered(
    n_logs: usize,
    arrivals: &Arrivals,
    sender: &mpsc::Sender<Vec<Record>>,
    contents: &Contents,
    places: &Places,
) {
    // Whatever was answered is noted behind this one.
    let n_marks = arrivals.ask(State::n_marks);
    sender.send(Vec::new()).await.unwrap();
    let is_noted = || {
        arrivals
            .ask(|state| state.n_marks() > n_marks)
            .then_some(())
    };
    until("the last records of a run", is_noted).await;
    for log in 0..n_logs {
        for place in places(log) {
            if let Some(lines) = contents.covered_by(log, &place) {
                arrivals.change(|state| {
                    let missing = state.cover(log, lines);
                    assert_eq!(missing, [] as [usize; 0], "covered by {place:?}");
                });
            }
        }
    }
}

/// P-WATERMARK: A checkpoint never passes a byte whose record isn't acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_lose_nothing_tear_nothing_and_repeat_nothing_that_was_saved() {
    let started_at = Instant::now();
    let rotations = [
        Rotation::Chain,
        Rotation::Dated,
        Rotation::CopyTruncate,
        Rotation::Gzip,
    ];
    let n_logs = rotations.len();
    let (scene, arrivals, sender) = scene(n_logs, FAULTS).await;
    let contents = Contents::new(n_logs);
    let places = places(&configuration(&scene));
    let writers: Vec<_> = (0..n_logs)
        .map(|log| {
            let path = scene.path(&format!("app{log}.log"));
            let writer = Writer::new(log, path, rotations[log], &arrivals, &contents, &places);
            thread::spawn(move || writer.run())
        })
        .collect();
    let mut rng = Rng::with_seed(1);
    for n_killed in 0..N_KILLS {
        let log = n_killed % n_logs;
        let before = places(log);
        let agent = scene.start();
        if n_killed % 5 == 0 {
            // Most runs end before their first checkpoint; these have some to go on from, and later ones too.
            let has_moved = || {
                places(log)
                    .iter()
                    .any(|place| is_beyond(place, &before))
                    .then_some(())
            };
            until("a checkpoint", has_moved).await;
        }
        let goal = arrivals.ask(|state| state.n_records) + rng.usize(1..RECORDS_A_RUN);
        let has_come_so_far = || arrivals.ask(|state| state.n_records >= goal).then_some(());
        until("more records", has_come_so_far).await;
        agent.kill().await;
        note_covered(n_logs, &arrivals, &sender, &contents, &places).await;
    }
    arrivals.change(|state| state.is_over = true);
    let (n_lines, n_gzips): (Vec<usize>, Vec<usize>) = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .unzip();
    let agent = scene.start();
    until("all lines", || {
        let has_all = |state: &State| (0..).zip(&n_lines).all(|(log, n)| state.has(log, 0..*n));
        arrivals.ask(has_all).then_some(())
    })
    .await;
    assert_eq!(agent.stop().await.code, Some(0));
    let n_gzips: usize = n_gzips.iter().sum();
    arrivals.ask(|state| {
        let n_written: usize = n_lines.iter().sum();
        let n_repeated = state.n_records - state.torn.len() - n_written;
        println!(
            "{N_KILLS} kills in {:.1?}: {n_lines:?} lines, none lost, {} torn, {n_repeated} records more than once, {} of \
             {} lines that a checkpoint covered; {n_gzips} files compressed",
            started_at.elapsed(),
            state.torn.len(),
            state.again().len(),
            state.n_covered(),
        );
        if !(state.torn.is_empty() && state.again().is_empty()) {
            // What became of which file.
            println!("{}", fs::read_to_string(scene.log()).unwrap());
        }
        assert_eq!(state.torn, [] as [&str; 0]);
        assert_eq!(state.again(), []);
        // Runs that arrive where the one before did would prove little.
        assert!(n_repeated > 0 && n_written > 10 * N_KILLS && state.n_covered() > N_KILLS);
        assert!(n_gzips > 0, "nothing was compressed");
    });
}

fn configuration(scene: &Scene) -> Config {
    load(&fs::read_to_string(scene.configuration()).unwrap())
        .unwrap()
        .config
}

/// The test above is worth nothing if it can't fail: here a checkpoint is ahead of what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_ahead_of_acknowledgements_would_be_seen() {
    let (scene, arrivals, _sender) = scene(1, "status=500").await;
    let text: String = (0..LINES_A_FILE).map(|number| line(0, number)).collect();
    scene.append("app0.log", text);
    let agent = scene.start();
    let path = scene.path("app0.log");
    Rows::until(&scene, |rows| rows.offset_of(&path).is_some()).await;
    agent.kill().await;
    move_checkpoints_ahead(&scene);
    scene.endpoint.set_faults("".parse().unwrap());
    scene.append("app0.log", line(0, LINES_A_FILE));
    let agent = scene.start();
    let last = || arrivals.ask(|state| state.has(0, LINES_A_FILE..LINES_A_FILE + 1));
    until("the line behind the checkpoint", || last().then_some(())).await;
    assert_eq!(agent.stop().await.code, Some(0));
    let n_lost = arrivals.ask(|state| state.missing(0, 0..LINES_A_FILE).count());
    assert_eq!(n_lost, LINES_A_FILE);
}

/// Every checkpoint says that all of its file is sent.
fn move_checkpoints_ahead(scene: &Scene) {
    let config = configuration(scene);
    let now = Timestamp::now();
    let mut store = Store::open(&config.checkpoints, now).unwrap().store;
    let flow = &config.flows[0].id;
    let ahead = |place: Place| Change::Upsert {
        flow: flow.clone(),
        place: Place {
            offset: fs::metadata(&place.path).unwrap().len(),
            ..place
        },
    };
    let places = store.places(flow).unwrap().ours;
    let changes: Vec<_> = places.into_iter().map(ahead).collect();
    store.save(&changes, now).unwrap();
}
