//! JSON as the reference prints it: what is escaped, how objects are laid out, what numbers look like.
//!
//! - `escape`: strings
//! - `layout`: an object whose keys are known beforehand
//! - `number`: Java's doubles
//! - `read`: the tokens of a JSON text
//! - `rewrite`: a JSON text read and printed again

mod escape;
mod layout;
mod number;
mod read;
mod rewrite;

pub use escape::{Places, append_bytes, append_escaped, append_string, is_plain_but_for};
pub use layout::Layout;
pub use rewrite::{PrintedMembers, Rewriter};
