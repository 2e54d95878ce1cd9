//! What was written, and what became of each line.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

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
    /// The service refuses it for what it holds.
    is_bad: bool,
    n_accepted: u32,
    n_letters: u32,
    /// In which life of its flow a good answer told of it; 0: in none.
    acknowledged_in: u32,
    /// A checkpoint from which a run began covers it.
    is_settled: bool,
    /// So far its files were acknowledged when this life of its flow began; 0: none did.
    passed_in: u32,
}

impl Line {
    fn is_done(&self) -> bool {
        self.n_accepted + self.n_letters > 0
    }
}

#[derive(Debug, Default)]
struct Content {
    lines: Vec<LineId>,
    /// So many of its first lines are accepted or kept.
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
    /// Lines that are accepted or kept.
    n_done: usize,
    pub n_repeated: u64,
    /// Dead letters.
    pub n_letters: u64,
}

impl Ledger {
    pub fn n_lines(&self) -> usize {
        self.lines.len()
    }

    /// The number of the next line.
    pub fn next(&self) -> LineId {
        self.lines.len()
    }

    /// A line was written whole, at these bytes of its file.
    pub fn wrote(&mut self, flow: FlowIndex, content: ContentId, at: Range<u64>, is_bad: bool) {
        let id = self.next();
        let of = self.contents.entry(content).or_default();
        self.lines.push(Line {
            flow,
            content,
            place: of.lines.len(),
            start: at.start,
            end: at.end,
            is_bad,
            n_accepted: 0,
            n_letters: 0,
            acknowledged_in: 0,
            is_settled: false,
            passed_in: 0,
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

    /// Whether the service refuses the line.
    pub fn is_bad(&self, id: LineId) -> bool {
        self.lines[id].is_bad
    }

    /// A flow sends a line, in this life.
    pub fn sends(&self, id: LineId, life: u32, keeps_order: bool) -> Verdict {
        let line = &self.lines[id];
        if line.passed_in == life {
            return Err(format!(
                "line {id} is sent again though its flow had it acknowledged before it began anew"
            ));
        }
        if line.is_settled {
            return Err(format!(
                "line {id} is sent again though a checkpoint covered it"
            ));
        }
        if line.acknowledged_in == life {
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
        match line.n_accepted {
            1 => self.done(id),
            _ => self.n_repeated += 1,
        }
    }

    /// It is in the dead-letter file.
    pub fn kept(&mut self, id: LineId) -> Verdict {
        let line = &mut self.lines[id];
        if !line.is_bad {
            return Err(format!(
                "line {id} is a dead letter, and nothing is wrong with it"
            ));
        }
        line.n_letters += 1;
        self.n_letters += 1;
        if line.n_letters == 1 {
            self.done(id);
        }
        Ok(())
    }

    /// It is accepted or kept, for the first time.
    fn done(&mut self, id: LineId) {
        self.n_done += 1;
        let line = &self.lines[id];
        let content = self.contents.entry(line.content).or_default();
        while content
            .lines
            .get(content.n_reached)
            .is_some_and(|id| self.lines[*id].is_done())
        {
            content.n_reached += 1;
        }
    }

    /// The agent was told so.
    pub fn acknowledged(&mut self, id: LineId, life: u32) {
        self.lines[id].acknowledged_in = life;
    }

    /// Whether every line is accepted or kept.
    pub fn is_all_done(&self) -> bool {
        self.n_done == self.lines.len()
    }

    /// Whether every line of it is accepted or kept.
    pub fn is_done(&self, content: ContentId) -> bool {
        let content = self.contents.get(&content);
        content.is_none_or(|content| content.n_reached == content.lines.len())
    }

    /// The first line that is neither accepted nor kept.
    pub fn first_missing(&self) -> Option<(LineId, &Line)> {
        self.lines
            .iter()
            .enumerate()
            .find(|(_, line)| !line.is_done())
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
                "a checkpoint of {} at {} though {reach} bytes are accepted or kept of {content:?}",
                place.path.display(),
                place.offset
            )),
        }
    }

    /// What the checkpoint is about, if the file holds it `now`.
    fn known_content(
        &self,
        flow: FlowIndex,
        place: &Place,
        now: Option<ContentId>,
    ) -> Option<ContentId> {
        let key = (flow, place.identity, place.fingerprint);
        let content = self.known.get(&key).copied();
        content.filter(|content| Some(*content) == now)
    }

    /// A life of a flow begins in the middle of a run where its files were acknowledged.
    pub fn goes_on_at(
        &mut self,
        flow: FlowIndex,
        place: &Place,
        now: Option<ContentId>,
        life: u32,
    ) {
        let Some(of) = self
            .known_content(flow, place, now)
            .and_then(|content| self.contents.get(&content))
        else {
            return;
        };
        for id in &of.lines {
            let line = &mut self.lines[*id];
            if line.end > place.offset {
                break;
            }
            line.passed_in = life;
        }
    }

    /// A run begins with this checkpoint, of a file that holds `now`.
    pub fn begins_at(&mut self, flow: FlowIndex, place: &Place, now: Option<ContentId>) {
        let content = self.known_content(flow, place, now);
        let Some(of) = content.and_then(|content| self.contents.get_mut(&content)) else {
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
