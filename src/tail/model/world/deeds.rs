//! What writers do to files, and what the account says of it.

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;

use super::{Awaited, Excuse, World, excuse, is_matched};
use crate::checkpoint::{FileIdentity, PlaceState};
use crate::tail::model::stage::{Stage, gzip};
use crate::tail::model::{HEALED, Kind, Step};
use crate::tail::testing::{ContentId, Node, Refusals};

impl<S: Stage> World<S> {
    /// A deed of a writer: now, or in the midst of the next turn.
    pub fn befall_soon(&mut self, deed: Step) {
        match (deed, self.amid.take()) {
            (Step::Amid(n_operations), _) => self.amid = Some(n_operations),
            (Step::Pass(_) | Step::Refuse(_), _) | (_, None) => self.befall(deed),
            (_, Some(n_operations)) => self.to_come.push((n_operations, deed)),
        }
    }

    pub(super) fn befall(&mut self, deed: Step) {
        match deed {
            Step::Append(file, n, part) => {
                let text = self.lines(n, part);
                self.append(&self.path(file), &text);
            }
            Step::Footer(file) => {
                self.n_lines += 1;
                let text = format!("footer {}.\n", self.n_lines);
                self.append(&self.path(file), text.as_bytes());
            }
            Step::Truncate(file, n) => {
                let text = self.lines(n, false);
                self.cut_off(&self.path(file), &text);
            }
            Step::Rename(from, to) => self.rename(&self.path(from), &self.path(to)),
            Step::Link(from, to) => {
                let (from, to) = (self.path(from), self.path(to));
                self.stage.link(&from, &to);
            }
            Step::Delete(file) => self.delete(&self.path(file)),
            Step::Copy(from, to) => self.copy(&self.path(from), &self.path(to)),
            Step::CopyTruncate(from, to) => self.copy_truncate(&self.path(from), &self.path(to)),
            Step::Gzip(file) => self.compress(&self.path(file)),
            Step::Pass(ms) => self.pass(u64::from(ms)),
            // Where the first look fails, nobody can say what was there before.
            Step::Refuse(_) if self.kind == Kind::EndOfFile => {}
            Step::Refuse(what) => self.refuse(what),
            _ => {}
        }
    }

    /// An operation on the disk begins.
    pub(super) fn begin_operation(&mut self) {
        let n_operations = self.n_operations;
        self.n_operations += 1;
        let is_due = |(before, _): &mut (u8, Step)| u32::from(*before) <= n_operations;
        let due: Vec<_> = self.to_come.extract_if(.., is_due).collect();
        self.has_befallen |= !due.is_empty();
        due.into_iter().for_each(|(_, deed)| self.befall(deed));
    }

    pub(super) fn refuse(&mut self, what: Refusals) {
        self.stage.memory().refusals = what;
        self.healed_ms = self.now_ms;
        if what != HEALED {
            self.is_troubled = true;
            // What can't be read now can't be recognised.
            let copied = self.cut_off.iter().map(|(_, text)| text.clone());
            let copied: Vec<_> = copied.collect();
            self.excuse_copies(&copied, Excuse::Unreadable);
            self.give_up_awaited(|_| true);
        }
    }

    pub(super) fn append(&mut self, path: &str, text: &[u8]) {
        self.stage.append(path, text);
        self.give_up_awaited(|awaited| awaited.copy == path);
        if !text.is_empty() {
            self.note_change(path);
        }
    }

    pub(super) fn note_change(&mut self, path: &str) {
        let now_ms = self.now_ms;
        if let Some(node) = self.node(path) {
            let content = node.content.get();
            self.account(content).changed_ms = now_ms;
            self.note_reach(&node, false);
            if self.undecided.contains(&content) {
                let text = self.bytes(content);
                excuse(&mut self.may_repeat, &text, Excuse::GrewOn);
            }
        }
    }

    /// What the file held is gone; it holds `text` now.
    pub(super) fn cut_off(&mut self, path: &str, text: &[u8]) {
        if let Some(node) = self.node(path) {
            self.give_up_awaited(|awaited| awaited.copy == path);
            let account = self.account(node.content.get());
            account.is_excused = true;
            let rotated = account.rotated;
            self.stage.truncate(path, text);
            self.account(node.content.get()).rotated = rotated;
        }
        self.note_change(path);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let nodes = [from, to].map(|path| self.node(path));
        self.give_up_awaited(|awaited| awaited.copy == from || awaited.copy == to);
        self.stage.rename(from, to);
        for node in nodes.into_iter().flatten() {
            self.note_reach(&node, true);
        }
    }

    pub(super) fn delete(&mut self, path: &str) {
        let node = self.node(path);
        self.give_up_awaited(|awaited| awaited.copy == path);
        self.stage.delete(path);
        node.iter().for_each(|node| self.note_reach(node, true));
    }

    /// A copy that stays one: nobody can tell it from a file of its own.
    pub(super) fn copy(&mut self, from: &str, to: &str) {
        let nodes = [from, to].map(|path| self.node(path));
        let [Some(source), copy] = nodes else { return };
        if copy.is_some_and(|copy| Rc::ptr_eq(&source, &copy)) {
            return;
        }
        let text = self.bytes(source.content.get());
        excuse(&mut self.may_repeat, &text, Excuse::Copied);
        self.write_copy(source.content.get(), &text, to);
        let copy = self.node(to).map(|copy| copy.content.get());
        self.undecided.extend(copy);
        self.undecided.insert(source.content.get());
    }

    pub(super) fn write_copy(&mut self, source: ContentId, text: &[u8], to: &str) {
        let before = self.node(to).map(|node| node.content.get());
        match self.node(to) {
            Some(_) => self.cut_off(to, text),
            None => self.append(to, text),
        }
        let now_ms = self.now_ms;
        let account = self.account(source).clone();
        if let Some(copy) = self.node(to) {
            if self.undecided.contains(&source) {
                self.undecided.insert(copy.content.get());
            }
            let copied = self.account(copy.content.get());
            (copied.cuts, copied.skip) = (account.cuts, account.skip);
            (copied.rotated, copied.changed_ms) = (true, now_ms);
            // What is written over with itself is as it was.
            if let Some(before) = before {
                let skip = self.account(before).skip;
                if text.get(..skip) == self.bytes(before).get(..skip) {
                    let copied = self.account(copy.content.get());
                    copied.skip = copied.skip.max(skip);
                }
            }
        }
    }

    pub(super) fn copy_truncate(&mut self, from: &str, to: &str) {
        let nodes = [from, to].map(|path| self.node(path));
        let [Some(source), copy] = nodes else { return };
        if copy.as_ref().is_some_and(|copy| Rc::ptr_eq(&source, copy)) {
            return;
        }
        let content = source.content.get();
        let identity = self.stage.identity(&source);
        let root = self.stage.root().to_owned();
        let is_known = self.is_known(identity, content) && is_matched(&root, Path::new(from));
        let text = self.bytes(content);
        let is_over_old = copy.is_some() && self.kind == Kind::EndOfFile;
        let was_rotated = self.account(content).rotated;
        let is_unreadable = self.is_troubled;
        for (is, why) in [
            (is_unreadable, Excuse::Unreadable),
            (was_rotated, Excuse::RotatedBefore),
            (is_over_old, Excuse::OverOld),
        ] {
            if is {
                excuse(&mut self.may_repeat, &text, why);
            }
        }
        self.write_copy(content, &text, to);
        self.cut_off(from, b"");
        self.cut_off.push((identity, text));
        let is_outside = !is_matched(&root, Path::new(to));
        let Some(node) = self.node(to).filter(|_| is_outside) else {
            return;
        };
        // Where there are other copies, any of them may be the one that is read on.
        let is_only = !self.undecided.contains(&content);
        let is_awaited = is_known && is_only && copy.is_none() && !self.is_troubled;
        self.account(node.content.get()).is_excused = !is_awaited;
        if is_awaited {
            let awaited = Awaited {
                source: identity,
                content,
                copy: to.to_owned(),
            };
            self.awaited.insert(node.content.get(), awaited);
        }
    }

    /// Whether the agent, as it runs or by its database, has read something of this content.
    pub(super) fn is_known(&self, identity: FileIdentity, content: ContentId) -> bool {
        let is_saved = self.is_saved(identity, content);
        let is_read = self.views.iter().any(|view| {
            let read = self.reading.get(&view.id);
            view.identity == identity
                && read.is_some_and(|(read, end)| *read == content && *end > 0)
        });
        is_read || (!self.has_looked && is_saved)
    }

    pub(super) fn is_saved(&self, identity: FileIdentity, content: ContentId) -> bool {
        let owed = self.owed.get(&identity).into_iter().flatten();
        let mut saved = self.saved.get(&identity).into_iter().chain(owed);
        saved.any(|(place, saved)| {
            *saved == Some(content) && place.offset > 0 && place.state == PlaceState::Live
        })
    }

    /// The copies can't be asked for any more, unless they are held by now.
    pub(super) fn give_up_awaited(&mut self, which: impl Fn(&Awaited) -> bool) {
        let given_up: Vec<ContentId> = self
            .awaited
            .iter()
            .filter(|(_, awaited)| which(awaited))
            .map(|(copy, _)| *copy)
            .collect();
        for copy in given_up {
            self.awaited.remove(&copy);
            self.account(copy).is_excused = true;
        }
    }

    /// As gzip(1) does it, which leaves files with several names alone.
    pub(super) fn compress(&mut self, path: &str) {
        let to = format!("{path}.gz");
        let Some(node) = self.node(path).filter(|node| node.n_links.get() == 1) else {
            return;
        };
        if self.node(&to).is_some() {
            return;
        }
        let text = self.bytes(node.content.get());
        let modified_ms = node.modified_ms.get();
        self.give_up_awaited(|awaited| awaited.copy == path);
        self.stage.append(&to, &gzip(&text));
        self.stage.set_modified_ms(&to, modified_ms);
        if let Some(gzip) = self.node(&to) {
            self.account(gzip.content.get()).is_excused = true;
        }
        self.packed.insert(to.into(), node.content.get());
        self.stage.delete(path);
        self.note_reach(&node, true);
    }

    /// Once no name leads to a file that matches, only a handle does.
    pub(super) fn note_reach(&mut self, node: &Rc<Node>, lost_name: bool) {
        let root = self.stage.root().to_owned();
        let is_matched = self
            .stage
            .memory()
            .files()
            .any(|(path, other)| Rc::ptr_eq(node, other) && is_matched(&root, path));
        let identity = self.stage.identity(node);
        let is_held = self
            .views
            .iter()
            .any(|view| view.identity == identity && view.is_open);
        let account = self.account(node.content.get());
        account.rotated |= lost_name;
        account.is_excused = !is_matched && (account.is_excused || !is_held);
        if !is_held {
            self.forget_gone_sources();
        }
    }

    /// A source that isn't followed any more and holds enough for what was read of it isn't known to have been cut off.
    pub(super) fn forget_moved_sources(&mut self) {
        let root = self.stage.root().to_owned();
        let files: Vec<(bool, FileIdentity, u64)> = self
            .files()
            .into_iter()
            .map(|(path, node)| {
                let size = self.bytes(node.content.get()).len() as u64;
                (is_matched(&root, &path), self.stage.identity(&node), size)
            })
            .collect();
        for (source, text) in &self.cut_off {
            let read = self.saved.get(source).map(|(place, _)| place.offset);
            let mut names = files.iter().filter(|(_, identity, _)| identity == source);
            let is_moved = names
                .all(|(is_matched, _, size)| !is_matched && read.is_some_and(|read| *size >= read));
            if is_moved {
                excuse(&mut self.may_repeat, text, Excuse::SourceMoved);
            }
        }
    }

    /// Once a source is gone unseen, nothing tells its copies from files of their own.
    pub(super) fn forget_gone_sources(&mut self) {
        let files = self.files();
        let named: HashSet<FileIdentity> = files
            .iter()
            .map(|(_, node)| self.stage.identity(node))
            .collect();
        let gone = self.cut_off.iter();
        let gone = gone.filter(|(source, _)| !named.contains(source));
        let copied: Vec<Vec<u8>> = gone.map(|(_, text)| text.clone()).collect();
        for text in &copied {
            excuse(&mut self.may_repeat, text, Excuse::SourceGone);
        }
        self.excuse_copies(&copied, Excuse::SourceGone);
    }

    /// What is in the copies of these texts may repeat, and what is written behind it.
    pub(super) fn excuse_copies(&mut self, copied: &[Vec<u8>], why: Excuse) {
        let memory = self.stage.memory();
        for content in memory.contents() {
            let text = memory.bytes(content);
            let begins_so = |copied: &Vec<u8>| !copied.is_empty() && text.starts_with(copied);
            if copied.iter().any(begins_so) {
                excuse(&mut self.may_repeat, text, why);
                self.undecided.insert(content);
            }
        }
    }
}
