//! What a configuration's patterns find on this host, and whether the agent's user may read it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::account::{Access, Account, Mode, Obstacle};
use crate::config::{self, Finding, Flow, FlowPlace, Loaded, Severity};
use crate::tail::discover::{Listing, Patterns};
use crate::tail::disk::OsDisk;

/// Unreadable files of one flow that are named; the rest is counted.
const UNREADABLE_SHOWN_MAX: usize = 10;
/// Pairs of overlapping flows that are named; the rest is counted.
const OVERLAPS_SHOWN_MAX: usize = 20;

/// Who will read the files.
#[derive(Debug, Clone)]
pub struct Reader {
    pub account: Account,
    /// It is who runs this program: what it may is tried, not worked out from mode bits.
    pub is_this_process: bool,
}

/// What one flow's pattern finds.
#[derive(Debug, Serialize)]
pub struct FlowFiles {
    pub flow: String,
    pub destination: String,
    /// Files that match.
    pub files: usize,
    /// Their size together.
    pub bytes: u64,
}

/// Looks at the files of every flow; what is wrong with them goes to `findings`.
pub fn look(loaded: &Loaded, reader: &Reader, findings: &mut Vec<Finding>) -> Vec<FlowFiles> {
    let flows = &loaded.config.flows;
    let mut seen = Vec::new();
    for (flow, place) in flows.iter().zip(&loaded.places) {
        // The configuration has refused patterns that are none.
        let Ok(patterns) = Patterns::of(flow) else {
            continue;
        };
        let listing = patterns.walk(&mut OsDisk, |_| None);
        look_at_flow(flow, place, &listing, reader, findings);
        seen.push(FlowFiles {
            flow: flow.id.to_string(),
            destination: flow.destination.to_string(),
            files: listing.files.len(),
            bytes: listing.files.iter().map(|file| file.stat.size).sum(),
        });
    }
    find_overlaps(loaded, findings);
    seen
}

fn look_at_flow(
    flow: &Flow,
    place: &FlowPlace,
    listing: &Listing,
    reader: &Reader,
    findings: &mut Vec<Finding>,
) {
    let value = flow.patterns.join(", ");
    let mut add = |severity, problem: String, remedy: &str| {
        findings.push(about(place, severity, &value, problem, remedy));
    };
    let mut unreadable: Vec<(String, String)> = Vec::new();
    for (path, error) in &listing.problems {
        if error.kind() != io::ErrorKind::NotFound {
            let problem = format!("{} can't be looked into: {error}", path.display());
            unreadable.push((problem, reader.remedy(path, Access::Read)));
        }
    }
    unreadable.extend(
        listing
            .folders
            .iter()
            .filter_map(|path| reader.can_list(path)),
    );
    unreadable.extend(
        listing
            .files
            .iter()
            .filter_map(|file| reader.can_read(&file.path)),
    );
    let n_more = unreadable.len().saturating_sub(UNREADABLE_SHOWN_MAX);
    for (problem, remedy) in unreadable.iter().take(UNREADABLE_SHOWN_MAX) {
        add(Severity::Error, problem.clone(), remedy);
    }
    if n_more > 0 {
        let problem = format!("{n_more} more files or folders can't be read");
        add(Severity::Error, problem, "see those above");
    }
    if !listing.files.is_empty() || !unreadable.is_empty() {
        return;
    }
    if listing.n_excluded > 0 {
        add(
            Severity::Warning,
            "matches no file that isn't left out by exclude".to_owned(),
            "correct exclude or the pattern",
        );
        return;
    }
    let missing = listing.problems.first().map(|(folder, _)| folder);
    match missing.filter(|_| listing.is_missing_folder) {
        Some(folder) => add(
            Severity::Warning,
            format!(
                "matches no file: the folder {} does not exist",
                folder.display()
            ),
            "create the folder, or correct the pattern; files that appear later are read from their beginning",
        ),
        None => add(
            Severity::Warning,
            "matches no file".to_owned(),
            "if there should be one try the pattern with ls; names ending in .gz, .bz2 or .zip aren't followed",
        ),
    }
}

impl Reader {
    /// Why the file can't be read, and what to do; `None`: it can.
    fn can_read(&self, path: &Path) -> Option<(String, String)> {
        let cause = match self.is_this_process {
            true => File::open(path).err()?.to_string(),
            false => told(&self.obstacle(Access::Read, path)?),
        };
        Some((
            self.problem("read", path, &cause),
            self.remedy(path, Access::Read),
        ))
    }

    fn can_list(&self, path: &Path) -> Option<(String, String)> {
        let cause = match self.is_this_process {
            // The walk has listed it.
            true => return None,
            false => told(&self.obstacle(Access::Read, path)?),
        };
        Some((
            self.problem("list", path, &cause),
            self.remedy(path, Access::Read),
        ))
    }

    fn problem(&self, verb: &str, path: &Path, cause: &str) -> String {
        let name = &self.account.name;
        format!("user {name} can't {verb} {}: {cause}", path.display())
    }

    /// What makes way for the account.
    fn remedy(&self, path: &Path, access: Access) -> String {
        let name = &self.account.name;
        match self.obstacle(access, path) {
            Some(Obstacle { path, access, .. }) => {
                let right = match access {
                    Access::Read if path.is_dir() => "rx",
                    Access::Read => "r",
                    Access::Enter => "x",
                };
                let path = path.display();
                format!(
                    "run: setfacl -m u:{name}:{right} {path}; or give the file's group to {name}"
                )
            }
            None => format!("let user {name} read it and enter the folders above it"),
        }
    }

    fn obstacle(&self, access: Access, path: &Path) -> Option<Obstacle> {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.account.obstacle(access, &real, mode_of)
    }

    /// Whether the configuration itself can be read.
    pub fn look_at_configuration(&self, file: &Path, findings: &mut Vec<Finding>) {
        let Some((problem, remedy)) = self.can_read(file) else {
            return;
        };
        let place = FlowPlace {
            file: file.into(),
            line: 1,
            path: String::new(),
        };
        let finding = about(&place, Severity::Error, "", problem, &remedy);
        findings.push(Finding {
            key: "(top level)".to_owned(),
            ..finding
        });
    }
}

fn mode_of(path: &Path) -> Option<Mode> {
    let metadata = fs::metadata(path).ok()?;
    Some(Mode {
        owner: metadata.uid(),
        group: metadata.gid(),
        bits: metadata.mode() & 0o777,
    })
}

fn told(obstacle: &Obstacle) -> String {
    let Obstacle { path, access, mode } = obstacle;
    let verb = match access {
        Access::Read => "read",
        Access::Enter => "enter",
    };
    let path = path.display();
    format!(
        "it may not {verb} {path} (mode {:03o}, owner {}, group {})",
        mode.bits, mode.owner, mode.group
    )
}

/// Flows that send the same files to the same stream: each record arrives twice.
fn find_overlaps(loaded: &Loaded, findings: &mut Vec<Finding>) {
    let flows = &loaded.config.flows;
    let mut n_found = 0;
    for (n, later) in flows.iter().enumerate() {
        let earlier = flows[..n].iter().zip(&loaded.places);
        let same = earlier.filter(|(earlier, _)| {
            earlier.destination == later.destination && share_files(earlier, later)
        });
        for (earlier, earlier_place) in same {
            n_found += 1;
            if n_found > OVERLAPS_SHOWN_MAX {
                continue;
            }
            let problem = format!(
                "overlaps with {} of {}: files that match both are sent twice to {}",
                earlier.patterns.join(", "),
                earlier_place.path,
                later.destination
            );
            let remedy = "narrow one of the two patterns, or remove one of the flows";
            let value = later.patterns.join(", ");
            let place = &loaded.places[n];
            findings.push(about(place, Severity::Warning, &value, problem, remedy));
        }
    }
    if let (Some(place), true) = (loaded.places.last(), n_found > OVERLAPS_SHOWN_MAX) {
        let problem = format!("{} more overlaps", n_found - OVERLAPS_SHOWN_MAX);
        findings.push(about(
            place,
            Severity::Warning,
            "",
            problem,
            "see those above",
        ));
    }
}

fn share_files(one: &Flow, other: &Flow) -> bool {
    let pairs = one
        .patterns
        .iter()
        .flat_map(|one| other.patterns.iter().map(move |other| (one, other)));
    pairs.into_iter().any(|(of_one, of_other)| {
        config::overlap(of_one, of_other)
            && !config::leaves_out(&one.excluded, of_other)
            && !config::leaves_out(&other.excluded, of_one)
    })
}

fn about(
    place: &FlowPlace,
    severity: Severity,
    value: &str,
    problem: String,
    remedy: &str,
) -> Finding {
    Finding {
        severity,
        file: place.file.clone(),
        line: place.line,
        key: place.pattern_key(),
        value: match value {
            "" => String::new(),
            value => format!("\"{value}\""),
        },
        problem,
        legal: None,
        remedy: remedy.to_owned(),
    }
}

/// Where the folder of users is.
pub fn accounts() -> (String, String) {
    let read = |path: &str| fs::read_to_string(PathBuf::from(path)).unwrap_or_default();
    (read("/etc/passwd"), read("/etc/group"))
}
