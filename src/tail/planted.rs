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

/// Whether a line asks for a panic.
#[inline]
pub fn is_defect_in_splitting(_rest: &[u8]) -> bool {
    #[cfg(test)]
    return _rest.starts_with(SPLITTING_DEFECT);
    #[cfg(not(test))]
    false
}

/// How a line begins that asks for a panic.
#[cfg(test)]
pub const SPLITTING_DEFECT: &[u8] = b"nobody can split this";

/// From now on in this thread.
#[cfg(test)]
pub fn leave_truncations_unseen(unseen: bool) {
    UNSEEN_TRUNCATIONS.set(unseen);
}
