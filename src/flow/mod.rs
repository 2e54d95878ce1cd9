//! One flow: a [`thread`] that reads its files, makes records of them, fills batches, and keeps its checkpoints.
//!
//! What it does is a synchronous [`machine`], fed by its [`inbox`]; records of a turn go through its [`intake`], batches
//! through its [`outbox`]. A defect that ends the machine costs the flow a moment: a new one goes on where it stood
//! ([`survivor`]), and in the end without the record at which it ends each time ([`culprits`]). A thread that hangs is
//! noticed by the agent's [`watchdog`].

pub mod culprits;
pub mod inbox;
mod intake;
pub mod machine;
mod outbox;
pub mod survivor;
mod tell;
#[cfg(test)]
mod testing;
mod thread;
pub mod watchdog;

pub use inbox::Inbox;
pub use intake::mend;
pub use thread::{FlowThread, Surroundings};
