//! One flow: a [`thread`] that reads its files, makes records of them, fills batches, and keeps its checkpoints.
//!
//! What it does is a synchronous [`machine`], fed by its [`inbox`]; records of a turn go through its [`intake`].

pub mod inbox;
mod intake;
pub mod machine;
mod tell;
mod thread;

pub use inbox::Inbox;
pub use intake::mend;
pub use thread::{FlowThread, Surroundings};
