//! What happened to a flow's files, for the log and the metrics.

use crate::tail::Event;
use crate::telemetry::counters::FlowCounters;
use crate::telemetry::events;

/// Says and counts it.
pub(super) fn tell(counters: &FlowCounters, event: &Event) {
    match event {
        Event::Opened { path, offset, .. } => {
            let opened = match offset {
                0 => events::Opened::AtStart,
                offset => events::Opened::AtOffset { offset: *offset },
            };
            events::file_opened(counters, path, opened);
        }
        Event::Renamed { from, to } => events::file_renamed(counters, from, to),
        Event::Vanished { path, unread_bytes } => {
            events::file_vanished(counters, path, *unread_bytes)
        }
        Event::Unreadable { path, kind, error } => {
            events::file_unreadable(counters, path, *kind, error)
        }
        Event::Readable { path } => events::file_readable(counters, path),
        Event::Truncated { path, read, size } => {
            events::file_truncated(counters, path, *read, *size)
        }
        Event::Replaced { path, read } => events::file_replaced(counters, path, *read),
        Event::Continued { from, to, offset } => {
            events::file_continued(counters, from, to, *offset);
        }
        Event::Suspected { path, source } => events::file_suspected(counters, path, source),
        Event::Lost { path, start, end } => events::bytes_lost(counters, path, *start, *end),
        Event::GivenUp { path, start, end } => {
            events::deleted_file_given_up(counters, path, *start, *end);
        }
        Event::HandlesShort { n_files } => events::handles_short(counters, *n_files),
        Event::Finished { path, size } => events::file_finished(counters, path, *size),
        Event::NoFiles {
            missing_folder: Some(folder),
            n_excluded: 0,
            n_old: 0,
        } => events::directory_missing(counters, folder),
        Event::NoFiles {
            missing_folder: None,
            n_excluded: 0,
            n_old: 0,
        } => events::pattern_matches_nothing(counters),
        Event::NoFiles {
            n_excluded, n_old, ..
        } => events::everything_left_out(counters, *n_excluded, *n_old),
        Event::FilesFound { n_files } => events::files_found(counters, *n_files),
        Event::Unlisted { path, error } => events::directory_unreadable(counters, path, error),
        Event::Listed { path } => events::directory_readable(counters, path),
    }
}
