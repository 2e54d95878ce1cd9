//! Times and devices that aren't what one expects: each line is read once all the same.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use kinesis_agent::local::{Endpoint, Options};
use serde_json::json;

use crate::support::aws::{received, start, texts};
use crate::support::following::{A_LOOK, Following};
use crate::support::host::Host;

fn set_time(path: &Path, time: SystemTime) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// Clocks that were set, hosts that wrote with another clock, and archives unpacked with their times: a file's time may
/// go back, jump ahead, or be that of all others.
#[test]
fn times_of_files_may_be_anything() {
    let (day, year) = (
        Duration::from_secs(86_400),
        Duration::from_secs(365 * 86_400),
    );
    let now = SystemTime::now();
    for times in [
        [now; 4],
        [now, now - day, now - 2 * day, now - year],
        [now + year, now, SystemTime::UNIX_EPOCH, now + day],
        [SystemTime::UNIX_EPOCH; 4],
    ] {
        let mut following = Following::start(
            r#", "initialPosition": "START_OF_FILE""#,
            &[("app.log", "1\n"), ("app.log.1", "0\n")],
        );
        let mut seen = Vec::new();
        for (n, time) in times.into_iter().enumerate() {
            for name in ["app.log", "app.log.1"] {
                set_time(&following.path(name), time);
            }
            seen.extend(following.after(A_LOOK));
            following.acknowledge_all();
            if n == 1 {
                following.restart();
            }
            following.append("app.log", &format!("a {n}\n"));
            set_time(&following.path("app.log"), time);
            seen.extend(following.after(A_LOOK));
            following.acknowledge_all();
            following.rename("app.log.1", &format!("app.log.{}", n + 2));
            following.rename("app.log", "app.log.1");
            following.append("app.log", &format!("b {n}\n"));
            for name in ["app.log", "app.log.1"] {
                set_time(&following.path(name), time);
            }
        }
        seen.extend(following.after(A_LOOK));
        seen.sort();
        let mut expected = vec!["0\n".to_owned(), "1\n".to_owned()];
        expected.extend((0..4).flat_map(|n| [format!("a {n}\n"), format!("b {n}\n")]));
        expected.sort();
        assert_eq!(seen, expected, "{times:?}");
    }
}

/// A file that is moved to another device while nobody looks, with its time, isn't sent again; nor is one that is copied
/// there and cut off.
#[tokio::test(flavor = "multi_thread")]
async fn files_may_go_to_another_device() {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: there is no second device here that anybody may write to (/dev/shm)");
        return;
    };
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    host.write("logs/app.log", "line 1\n");
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(&host.path("logs")) == device(other.path()) {
        println!("skipped: /dev/shm is on the device of the test's folder");
        return;
    }
    let patterns = json!([host.path("logs/*.log*"), other.path().join("*.log*")]);
    host.add_flow("logs/*.log*", json!({ "kinesisStream": "s" }));
    host.replace_flow(patterns, json!({ "kinesisStream": "s", "id": "app" }));
    let agent = host.start();
    received(&endpoint, 1).await;
    host.append("logs/app.log", "line 2\n");
    received(&endpoint, 2).await;
    agent.stop().await;

    let (here, there) = (host.path("logs/app.log"), other.path().join("app.log.1"));
    // As `mv` does it across devices.
    let time = fs::metadata(&here).unwrap().modified().unwrap();
    fs::copy(&here, &there).unwrap();
    set_time(&there, time);
    fs::remove_file(&here).unwrap();
    host.write("logs/app.log", "line 4\n");
    let agent = host.start();
    received(&endpoint, 3).await;
    host.append(&there, "line 3\n");
    received(&endpoint, 4).await;
    host.append("logs/app.log", "line 5\n");
    received(&endpoint, 5).await;
    agent.stop().await;

    host.append("logs/app.log", "line 6\n");
    fs::copy(&here, other.path().join("app.log.0")).unwrap();
    File::options()
        .write(true)
        .open(&here)
        .unwrap()
        .set_len(0)
        .unwrap();
    host.append("logs/app.log", "line 7\n");
    let agent = host.start();
    received(&endpoint, 7).await;
    agent.stop().await;
    assert_each_came_once(&endpoint, 7);
}

/// A network file system, or a host whose inotify instances are all taken: what is looked at is found all the same.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_system_tells_of_no_change_looking_finds_it_all() {
    let endpoint = start(Options::default()).await;
    let mut host = Host::sending_to(&endpoint.url());
    if !host.without_change_events() {
        println!(
            "skipped: nobody may limit inotify in a user namespace of one's own here (unshare --user)"
        );
        return;
    }
    host.write("logs/app.log", "line 1\n");
    host.add_flow("logs/**/app.log*", json!({ "kinesisStream": "s" }));
    let agent = host.start();
    received(&endpoint, 1).await;
    let told = agent.lines_with("no change events from the system");
    assert_eq!(told.len(), 1, "{told:?}");
    host.append("logs/app.log", "line 2\n");
    received(&endpoint, 2).await;
    // Renamed with a rest, and made anew.
    host.append("logs/app.log", "line 3\n");
    host.rename("logs/app.log", "logs/app.log.1");
    host.write("logs/app.log", "line 4\n");
    received(&endpoint, 4).await;
    // Copied and cut off, with a rest.
    host.append("logs/app.log", "line 5\n");
    received(&endpoint, 5).await;
    fs::copy(host.path("logs/app.log"), host.path("logs/app.log.2")).unwrap();
    let log = File::options().write(true).open(host.path("logs/app.log"));
    log.unwrap().set_len(0).unwrap();
    host.append("logs/app.log", "line 6\n");
    // A folder that wasn't there.
    fs::create_dir(host.path("logs/new")).unwrap();
    host.write("logs/new/app.log", "line 7\n");
    received(&endpoint, 7).await;
    agent.stop().await;
    assert_each_came_once(&endpoint, 7);
}

/// `line 1` to `line N`, in any order.
fn assert_each_came_once(endpoint: &Endpoint, n_lines: usize) {
    let mut seen = texts(endpoint, "s");
    seen.sort();
    let expected: Vec<String> = (1..=n_lines).map(|n| format!("line {n}\n")).collect();
    assert_eq!(seen, expected);
}
