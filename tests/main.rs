//! Everything that is tested from outside the crate, in one binary: it links once.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml's exception knows test functions, not their helpers"
)]

mod bad_input;
mod borders;
mod change_data;
mod check;
mod clocks;
mod cloudwatch;
mod complaints;
mod crash;
mod credentials;
mod dead_letters;
mod demo;
mod exceptions;
mod faults;
mod files;
mod golden;
mod https;
mod log;
mod logrotate;
mod manuals;
mod metrics;
mod oddities;
mod outside;
mod page;
mod papers;
mod records;
mod reload;
mod restart;
mod rotation;
mod secrets;
mod service;
mod simulated_lives;
mod simulation;
mod status;
mod store;
mod supervision;
mod support;
mod take_over;
mod troubles;
mod try_sample;
mod volume;
