//! Defects planted on purpose, to see what they cost. In what is shipped there are none.

/// What a record holds that panics in its chain: it alone is to suffer.
pub const IN_CHAIN: &[u8] = b"a defect is planted here";

/// What a record holds that panics in its flow, outside all that contains a panic: the flow is to start anew.
pub const IN_FLOW: &[u8] = b"a death is planted here";

/// Panics over a record that holds `_mark`.
pub fn defect_in(_record: &[u8], _mark: &[u8]) {
    #[cfg(test)]
    if memchr::memmem::find(_record, _mark).is_some() {
        std::panic::resume_unwind(Box::new("planted"));
    }
}
