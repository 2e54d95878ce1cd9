//! Everything that is tested from outside the crate, in one binary: it links once.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml's exception knows test functions, not their helpers"
)]

mod bad_input;
mod borders;
mod check;
mod complaints;
mod crash;
mod credentials;
mod dead_letters;
mod demo;
mod faults;
mod files;
mod golden;
mod https;
mod outside;
mod papers;
mod restart;
mod rotation;
mod simulated_lives;
mod simulation;
mod store;
mod supervision;
mod support;
mod take_over;
mod try_sample;
mod volume;
