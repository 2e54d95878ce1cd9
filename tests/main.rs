//! Everything that is tested from outside the crate, in one binary: it links once.

mod borders;
mod papers;
mod support;
