//! What the tests share.
//!
//! [`scene`] is a language for whole runs: a folder, an endpoint, a configuration, and the real program among them.

pub mod agent;
pub mod asking;
pub mod aws;
pub mod checkpoints;
pub mod configuration;
pub mod following;
pub mod host;
pub mod memory;
pub mod project;
pub mod scene;
pub mod sources;
pub mod supervisor;
pub mod users;
pub mod wait;
