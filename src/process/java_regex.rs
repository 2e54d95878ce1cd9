//! Java's regular expressions.

use std::sync::Arc;

/// A pattern with the meaning that `java.util.regex.Pattern` gives it. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct JavaRegex {
    pattern: Arc<str>,
}

impl JavaRegex {
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}
