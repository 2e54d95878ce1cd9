//! The agent as a service of its host: what init scripts and systemd want of a program, whatever it does.
//!
//! ```text
//!  --daemon, --user ─▶ launch: a second process, or this one anew, in its user's environment
//!                        └─▶ --launched: folders, pid file, the user's rights ─▶ the agent ─▶ "ready" ─▶ launch ends with 0
//! ```
//!
//! - [`launch`]: how the program starts itself in the background, and learns whether that went well
//! - [`user`]: from root to the user that the agent runs as, for good
//! - [`pid_file`]: which process it is, and that there is one alone
//! - [`supervisor`]: what systemd is told (`sd_notify`)
//! - [`secrets`]: nothing of the process is written to a core file

pub mod launch;
pub mod pid_file;
pub mod secrets;
pub mod supervisor;
pub mod user;
