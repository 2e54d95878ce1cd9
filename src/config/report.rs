//! What is wrong with a configuration, all of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Warning,
    Error,
}
#[derive(Debug, Clone)]
pub struct Finding;
#[derive(Debug, Clone)]
pub struct Report;
