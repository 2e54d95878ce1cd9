//! What was written, and what became of each line.

use std::collections::{BTreeMap, HashMap};

use kinesis_agent::checkpoint::{FileIdentity, Fingerprint, Place};
use kinesis_agent::record::FlowIndex;
use kinesis_agent::tail::testing::{ContentId, MemoryDisk};

/// What is wrong.
pub type Verdict = Result<(), String>;

/// A line's number; the line begins with it.
pub type LineId = usize;

/// A whole line of a file.
#[derive(Debug, Clone)]
pub struct Line {
    pub flow: FlowIndex,
    pub content: ContentId,
    /// Its place among the lines of its file.
    place: usize,
    start: u64,
    end: u64,
    n_accepted: u32,
    /// In which run a good answer told of it; 0: in none.
    acknowledged_in: u32,
    /// A checkpoint from which a run began covers it.
    is_settled: bool,
}

#[derive(Debug, Default)]
struct Content {
    lines: Vec<LineId>,
    /// So many of its first lines are accepted.
    n_reached: usize,
    /// From which line on this run reads it.
    n_settled: usize,
}

/// The account of all lines.
#[derive(Debug, Default)]
pub struct Ledger {
    lines: Vec<Line>,
    contents: BTreeMap<ContentId, Content>,
    /// Which content a checkpoint is about: a file's number may be another's before the checkpoint is.
    known: HashMap<(FlowIndex, FileIdentity, Fingerprint), ContentId>,
    n_accepted: usize,
    pub n_repeated: u64,
}

impl Ledger {
    pub fn n_lines(&self) -> usize {
        self.lines.len()
    }

    /// The number of the next line.
    pub fn next(&self) -> LineId {
        self.lines.len()
    }

    /// A line was written whole.
    pub fn wrote(&mut self, flow: FlowIndex, content: ContentId, start: u64, end: u64) {
        let id = self.next();
        let of = self.contents.entry(content).or_default();
        self.lines.push(Line {
            flow,
            content,
            place: of.lines.len(),
            start,
            end,
            n_accepted: 0,
            acknowledged_in: 0,
            is_settled: false,
        });
        of.lines.push(id);
    }

    /// The line that a record is, byte for byte.
    pub fn line_of(
        &self,
        flow: FlowIndex,
        data: &[u8],
        disk: &MemoryDisk,
    ) -> Result<LineId, String> {
        let shown = || String::from_utf8_lossy(&data[..data.len().min(60)]).into_owned();
        let digits = data.split(|byte| *byte == b' ').next().unwrap_or_default();
        let id = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<LineId>().ok());
        let Some((id, line)) = id.and_then(|id| Some((id, self.lines.get(id)?))) else {
            return Err(format!("invented or torn: {:?}", shown()));
        };
        let written = disk.bytes(line.content);
        if written.get(line.start as usize..line.end as usize) != Some(data) {
            return Err(format!("torn: {:?} of line {id}", shown()));
        }
        if line.flow != flow {
            return Err(format!("line {id} of {:?} came by {flow:?}", line.flow));
        }
        Ok(id)
    }

    /// A run sends a line.
    pub fn sends(&self, id: LineId, run: u32, keeps_order: bool) -> Verdict {
        let line = &self.lines[id];
        if line.is_settled {
            return Err(format!(
                "line {id} is sent again though a checkpoint covered it"
            ));
        }
        if line.acknowledged_in == run {
            return Err(format!("line {id} is sent again though it was answered"));
        }
        let reached = self.contents[&line.content].n_reached;
        if keeps_order && line.place > reached {
            return Err(format!("line {id} overtakes those before it"));
        }
        Ok(())
    }

    /// The service has it.
    pub fn accepted(&mut self, id: LineId) {
        let line = &mut self.lines[id];
        line.n_accepted += 1;
        if line.n_accepted > 1 {
            self.n_repeated += 1;
            return;
        }
        self.n_accepted += 1;
        let content = self.contents.entry(line.content).or_default();
        while content
            .lines
            .get(content.n_reached)
            .is_some_and(|id| self.lines[*id].n_accepted > 0)
        {
            content.n_reached += 1;
        }
    }

    /// The agent was told so.
    pub fn acknowledged(&mut self, id: LineId, run: u32) {
        self.lines[id].acknowledged_in = run;
    }

    pub fn is_all_accepted(&self) -> bool {
        self.n_accepted == self.lines.len()
    }

    /// Whether the service has every line of it.
    pub fn is_accepted(&self, content: ContentId) -> bool {
        let content = self.contents.get(&content);
        content.is_none_or(|content| content.n_reached == content.lines.len())
    }

    /// The first line that the service hasn't.
    pub fn first_missing(&self) -> Option<(LineId, &Line)> {
        self.lines
            .iter()
            .enumerate()
            .find(|(_, line)| line.n_accepted == 0)
    }

    /// The first line of these files that no checkpoint covers from which the run began.
    pub fn first_unsettled(&self, files: &[ContentId]) -> Option<&Line> {
        let unsettled = |content: &ContentId| {
            let of = self.contents.get(content);
            let content = of?;
            content.lines.get(content.n_settled)
        };
        files
            .iter()
            .find_map(unsettled)
            .map(|line| &self.lines[*line])
    }

    /// A checkpoint is submitted.
    pub fn submitted(&mut self, flow: FlowIndex, place: &Place, content: ContentId) -> Verdict {
        let key = (flow, place.identity, place.fingerprint);
        self.known.insert(key, content);
        let Some(of) = self.contents.get(&content) else {
            return match place.offset {
                0 => Ok(()),
                offset => Err(format!("a checkpoint at {offset} of a file without lines")),
            };
        };
        let last = of.n_reached.checked_sub(1).map(|last| of.lines[last]);
        let reach = last.map_or(0, |last| self.lines[last].end);
        match place.offset <= reach {
            true => Ok(()),
            false => Err(format!(
                "a checkpoint of {} at {} though {reach} bytes are accepted of {content:?}",
                place.path.display(),
                place.offset
            )),
        }
    }

    /// A run begins with this checkpoint, of a file that holds `now`.
    pub fn begins_at(&mut self, flow: FlowIndex, place: &Place, now: Option<ContentId>) {
        let key = (flow, place.identity, place.fingerprint);
        let content = self.known.get(&key).copied();
        let Some(content) = content.filter(|content| Some(*content) == now) else {
            return;
        };
        let Some(of) = self.contents.get_mut(&content) else {
            return;
        };
        while let Some(id) = of.lines.get(of.n_settled)
            && self.lines[*id].end <= place.offset
        {
            self.lines[*id].is_settled = true;
            of.n_settled += 1;
        }
    }
}
