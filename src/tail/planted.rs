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

/// From now on in this thread.
#[cfg(test)]
pub fn leave_truncations_unseen(unseen: bool) {
    UNSEEN_TRUNCATIONS.set(unseen);
}
