//! What the tests share.

pub mod aws;
pub mod host;
pub mod project;
pub mod sources;
