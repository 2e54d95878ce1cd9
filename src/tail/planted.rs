//! Defects planted on purpose, to see that the tests find them. In what is shipped there are none.

#[cfg(test)]
thread_local! {
    static UNSEEN_TRUNCATIONS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether what stands in a file counts as what was read of it, whatever it is.
pub fn truncations_are_unseen() -> bool {
    #[cfg(test)]
    return UNSEEN_TRUNCATIONS.get();
    #[cfg(not(test))]
    false
}

/// Panics over a line that asks for it.
#[inline]
pub fn defect_in_splitting(_rest: &[u8]) {
    #[cfg(test)]
    if _rest.starts_with(SPLITTING_DEFECT) {
        std::panic::resume_unwind(Box::new("planted"));
    }
}

/// How a line begins that asks for a panic.
#[cfg(test)]
pub const SPLITTING_DEFECT: &[u8] = b"nobody can split this";

/// From now on in this thread.
#[cfg(test)]
pub fn leave_truncations_unseen(unseen: bool) {
    UNSEEN_TRUNCATIONS.set(unseen);
}
