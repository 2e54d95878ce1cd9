//! What the tests share.

pub mod configuration;
pub mod following;
pub mod project;
pub mod sources;
