//! Programs that write logs, and rotate them.

use kinesis_agent::record::FlowIndex;
use kinesis_agent::tail::Hint;

use super::World;

/// The files of one flow.
#[derive(Default)]
pub struct Folder {
    /// Rotated files, the newest first.
    rotated: Vec<String>,
    n_rotations: usize,
    unfinished: Option<Unfinished>,
}

/// A line of which the writer has written a part.
struct Unfinished {
    path: String,
    rest: Vec<u8>,
}

impl World {
    pub(super) fn write(&mut self) -> bool {
        let flow = self.rng.usize(..self.folders.len());
        if self.finish_line(flow) {
            return true;
        }
        let path = format!("/f{flow}/app.log");
        for _ in 0..self.rng.u8(1..6) {
            let width = match self.rng.u8(..100) {
                0 => self.rng.usize(1000..40_000),
                1..20 => self.rng.usize(200..1000),
                _ => self.rng.usize(1..200),
            };
            let line = format!("{} {:x<width$}\n", self.ledger.next(), "");
            let is_bad = self.has_bad_lines && self.rng.u8(..40) == 0;
            let cut = match self.rng.u8(..20) {
                0 => self.rng.usize(1..line.len()),
                _ => line.len(),
            };
            let (now, rest) = line.as_bytes().split_at(cut);
            let mut disk = self.disk.borrow_mut();
            disk.append(&path, now);
            if let Some(node) = disk.node(&path) {
                let content = node.content.get();
                let end = (disk.bytes(content).len() + rest.len()) as u64;
                let start = end - line.len() as u64;
                self.ledger
                    .wrote(FlowIndex(flow), content, start..end, is_bad);
            }
            if !rest.is_empty() {
                self.folders[flow].unfinished = Some(Unfinished {
                    path: path.clone(),
                    rest: rest.to_vec(),
                });
                break;
            }
        }
        let n_lines = self.ledger.n_lines();
        self.tell(|| format!("lines up to {n_lines} are written to {path}"));
        self.hint(flow, Hint::Written(path.into()));
        true
    }

    pub(super) fn finish_line(&mut self, flow: usize) -> bool {
        let Some(Unfinished { path, rest }) = self.folders[flow].unfinished.take() else {
            return false;
        };
        self.disk.borrow_mut().append(&path, &rest);
        self.tell(|| format!("the last line of {path} is finished"));
        self.hint(flow, Hint::Written(path.into()));
        true
    }

    pub(super) fn rotate(&mut self) -> bool {
        let flow = self.rng.usize(..self.folders.len());
        let path = format!("/f{flow}/app.log");
        if self.disk.borrow().node(&path).is_none() {
            return false;
        }
        self.finish_line(flow);
        let folder = &mut self.folders[flow];
        folder.n_rotations += 1;
        let mut disk = self.disk.borrow_mut();
        if self.renames_chain {
            for n in (0..folder.rotated.len()).rev() {
                let to = format!("{path}.{}", n + 2);
                disk.rename(&folder.rotated[n], &to);
                folder.rotated[n] = to;
            }
            disk.rename(&path, &format!("{path}.1"));
            folder.rotated.insert(0, format!("{path}.1"));
        } else {
            let to = format!("{path}-{}", folder.n_rotations);
            disk.rename(&path, &to);
            folder.rotated.insert(0, to);
        }
        drop(disk);
        self.tell(|| format!("{path} is rotated"));
        self.hint(flow, Hint::Renamed);
        true
    }

    /// The oldest file goes, if all of it is accepted or kept: what nobody could read any more isn't owed.
    pub(super) fn clean_up(&mut self) -> bool {
        let flow = self.rng.usize(..self.folders.len());
        let mut disk = self.disk.borrow_mut();
        let oldest = self.folders[flow].rotated.last().cloned();
        let content = |path: &String| {
            disk.node(path)
                .map(|node| (path.clone(), node.content.get()))
        };
        let Some((path, content)) = oldest.as_ref().and_then(content) else {
            return false;
        };
        if !self.ledger.is_done(content) {
            return false;
        }
        disk.delete(&path);
        drop(disk);
        self.folders[flow].rotated.pop();
        self.tell(|| format!("{path} is deleted"));
        self.hint(flow, Hint::Renamed);
        true
    }

    /// Hints come, mostly.
    pub(super) fn hint(&mut self, flow: usize, hint: Hint) {
        if self.hints_work && self.rng.u8(..10) > 0 {
            self.process.hint(FlowIndex(flow), hint);
        }
    }
}
