//! A defect planted on purpose, to see what becomes of its flow. In what is shipped there is none.

/// Panics over a record that asks for it.
pub(super) fn defect_in(_record: &[u8]) {
    #[cfg(test)]
    if memchr::memmem::find(_record, DEFECT).is_some() {
        std::panic::resume_unwind(Box::new("planted"));
    }
}

/// What a record holds that asks for a panic.
#[cfg(test)]
pub const DEFECT: &[u8] = b"a death is planted here";
