//! Defects of the agent in its work on one record, kept to that record.
//!
//! Patterns and options meet whatever bytes a file holds. Should one of them panic there, the record is treated as one
//! that it can't make sense of, and its flow goes on.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Does the work; `None` if it panicked. What it changed may be half made then.
pub fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    let was = IS_CONTAINED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(was);
    done.ok()
}

/// From now on panics that are contained are told to `say`, with their place in the source, rather than on standard error:
/// there may be one a record. Only the first call of a process counts.
pub fn tell_contained(say: impl Fn(&str) + Send + Sync + 'static) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match IS_CONTAINED.get() {
            true => say(&panic.to_string()),
            false => usual(panic),
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_work_alone() {
        assert_eq!(contained(|| 7), Some(7));
        assert_eq!(
            contained(|| panic::resume_unwind(Box::new("planted"))),
            None::<()>
        );
        assert!(!IS_CONTAINED.get());
        let within = contained(|| (contained(|| panic::resume_unwind(Box::new(1))), 8));
        assert_eq!(within, Some((None::<()>, 8)));
    }
}
