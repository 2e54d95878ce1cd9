//! Warnings and errors kept instead of written: for a program whose screen a log line would garble, such as the demo.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::log::AlreadyInstalled;
use super::names;

/// Notices that are kept; of further ones only the number and the newest.
const KEPT_MAX: usize = 10;

/// One warning or error, without its time, thread and logger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub is_error: bool,
    pub text: String,
}

/// A handle on what the agent had to say; its clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Notices(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    first: Vec<Notice>,
    newest: Option<Notice>,
    n_total: usize,
}

impl Notices {
    /// Takes the place of the program's log.
    pub fn install() -> Result<Notices, AlreadyInstalled> {
        let notices = Notices::default();
        let subscriber = tracing_subscriber::registry().with(notices.clone());
        tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyInstalled)?;
        Ok(notices)
    }

    /// The first ones, and how many there were beside them.
    pub fn first(&self) -> (Vec<Notice>, usize) {
        let kept = self.kept();
        (kept.first.clone(), kept.n_total - kept.first.len())
    }

    pub fn newest(&self) -> Option<Notice> {
        self.kept().newest.clone()
    }

    fn note(&self, notice: Notice) {
        let mut kept = self.kept();
        kept.n_total += 1;
        if kept.first.len() < KEPT_MAX {
            kept.first.push(notice.clone());
        }
        kept.newest = Some(notice);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Notices {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || !names::is_ours(metadata.target()) {
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        self.note(Notice {
            is_error: *metadata.level() == Level::ERROR,
            text: shortened(&message.0),
        });
    }
}

/// One line, without what speaks: `Publisher[FLOW]: `.
fn shortened(message: &str) -> String {
    let told = match message.split_once("]: ") {
        Some((before, told)) if before.contains('[') => told,
        _ => message,
    };
    told.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_errors_are_kept_and_the_rest_is_not() {
        let notices = Notices::default();
        let subscriber = tracing_subscriber::registry().with(notices.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("started");
            tracing::warn!(
                thread = "t",
                "Publisher[kinesis:s:/a/b*]: a call failed:\n503"
            );
            tracing::error!("records [two] lost");
            tracing::warn!(target: "hyper", "theirs");
        });
        let notice = |is_error, text: &str| Notice {
            is_error,
            text: text.to_owned(),
        };
        let expected = vec![
            notice(false, "a call failed: 503"),
            notice(true, "records [two] lost"),
        ];
        assert_eq!(notices.newest(), expected.last().cloned());
        assert_eq!(notices.first(), (expected, 0));
    }

    #[test]
    fn beyond_the_bound_they_are_counted() {
        let notices = Notices::default();
        for n in 0..KEPT_MAX + 5 {
            notices.note(Notice {
                is_error: false,
                text: n.to_string(),
            });
        }
        let (first, n_more) = notices.first();
        assert_eq!((first.len(), n_more), (KEPT_MAX, 5));
        assert_eq!(notices.newest().unwrap().text, (KEPT_MAX + 4).to_string());
    }
}
