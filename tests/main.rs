//! Everything that is tested from outside the crate, in one binary: it links once.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml's exception knows test functions, not their helpers"
)]

mod borders;
mod papers;
mod support;
mod try_sample;
