//! The exceptions to losing nothing, as SEMANTICS.md names them: what is lost is reported with its file and its offsets,
//! and nothing else is lost.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde_json::json;

use crate::support::agent::AgentProcess;
use crate::support::checkpoints::Rows;
use crate::support::scene::Scene;
use crate::support::wait::until;

const STREAM: &str = "s";
/// Three times as many as batches may wait. Each is a call of its own, so more would only take longer.
const N_LINES: usize = 300;

fn line(number: usize) -> String {
    format!("line {number:06}\n")
}

fn lines(numbers: Range<usize>) -> Vec<String> {
    numbers.map(line).collect()
}

/// A scene with a file of [`N_LINES`] lines, of which a flow can't read all ahead of the service: each is a batch of its
/// own, of which `publishQueueCapacity` may wait.
async fn scene(faults: &str) -> Scene {
    let scene = Scene::new().await;
    scene.configure(json!({"maxSendingThreads": 1, "flows": [{
        "filePattern": "app.log",
        "kinesisStream": STREAM,
        "initialPosition": "START_OF_FILE",
        "maxBufferSizeRecords": 1,
        "retryInitialBackoffMillis": 10,
        "retryMaxBackoffMillis": 50,
    }]}));
    scene.endpoint.set_faults(faults.parse().unwrap());
    scene.write("app.log", lines(0..N_LINES).concat());
    scene
}

/// Waits until the agent says that bytes of the file are lost; their range. There is one such line.
async fn lost(agent: &AgentProcess, path: &Path) -> Range<usize> {
    let end = format!(" of {} are lost", path.display());
    let said = || {
        let log = agent.log();
        let mut said = log.lines().filter(|line| line.contains(&end));
        let first = said.next().map(str::to_owned);
        assert!(said.next().is_none(), "it is said twice:\n{log}");
        first
    };
    let said = until("the loss to be reported", said).await;
    assert!(said.contains("[ERROR]"), "{said}");
    let (before, _) = said.split_once(&end).unwrap();
    let words: Vec<&str> = before.rsplitn(5, ' ').collect();
    let [to, _, from, _, rest] = words[..] else {
        panic!("{said}");
    };
    let range = from.parse().unwrap()..to.parse::<usize>().unwrap();
    let n_bytes = format!("{} bytes", range.len());
    assert!(rest.contains(&n_bytes), "{said}");
    range
}

/// Lines that begin at these offsets.
fn lines_at(range: &Range<usize>) -> Range<usize> {
    let len = line(0).len();
    assert_eq!(
        (range.start % len, range.end % len),
        (0, 0),
        "no whole lines"
    );
    range.start / len..range.end / len
}

/// P-LOST: Bytes that were seen in a file and are gone before they were read are reported as lost, with the file and
/// their offsets.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_overwritten_unread_is_reported() {
    // Shorter than before, and longer: the second shows by what stands there.
    for n_new in [5, 2 * N_LINES] {
        let scene = scene("status=500").await;
        let agent = scene.start();
        until("calls", || {
            (scene.endpoint.received().calls().len() > 5).then_some(())
        })
        .await;
        let new = N_LINES..N_LINES + n_new;
        fs::write(scene.path("app.log"), lines(new.clone()).concat()).unwrap();
        // A file that only grew, as it seems, is looked into when it is read.
        scene.endpoint.set_faults("".parse().unwrap());
        let lost = lost(&agent, &scene.path("app.log")).await;
        // Of new content that is longer the agent may not know where the old one ended: at its size at most.
        let ends = [N_LINES, N_LINES.max(n_new)].map(|n| n * line(0).len());
        assert!(
            (ends[0]..=ends[1]).contains(&lost.end),
            "{lost:?} of {n_new} new lines"
        );
        let n_kept = lines_at(&lost).start;
        scene.receives((n_kept + n_new) as u64).await;
        assert_eq!(agent.stop().await.code, Some(0));
        let wanted = [lines(0..n_kept), lines(new)].concat();
        assert_eq!(scene.sorted_texts(STREAM), wanted, "of {n_new} new lines");
    }
}

/// P-LOST: Bytes that were seen in a file and are gone before they were read are reported as lost, with the file and
/// their offsets.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_while_nobody_ran_is_reported_from_its_checkpoint_on() {
    // Some of it is accepted before; then nothing more is.
    let scene = scene("status=500 calls=11..").await;
    let agent = scene.start();
    let path = scene.path("app.log");
    let rows = Rows::until(&scene, |rows| {
        rows.offset_of(&path).is_some_and(|offset| offset > 0)
    });
    rows.await;
    agent.kill().await;
    let saved = Rows::read(&scene).unwrap().offset_of(&path).unwrap() as usize;
    fs::remove_file(&path).unwrap();
    scene.endpoint.set_faults("".parse().unwrap());
    let agent = scene.start();
    let lost = lost(&agent, &path).await;
    assert_eq!(lost, saved..N_LINES * line(0).len());
    // The next file of the name is another one.
    let n_before = scene.texts(STREAM).len();
    scene.write("app.log", line(N_LINES));
    scene.receives(n_before as u64 + 1).await;
    assert_eq!(agent.stop().await.code, Some(0));
    let texts = scene.texts(STREAM);
    assert_eq!(texts.last(), Some(&line(N_LINES)));
    let kept = lines(0..saved / line(0).len());
    assert!(
        kept.iter().all(|line| texts.contains(line)),
        "what is acknowledged was accepted"
    );
}
