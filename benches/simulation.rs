//! How fast the simulated agent lives: steps a second, one core.
//!
//! `cargo bench --bench simulation`

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::time::Instant;

use simulation::{Life, Planted, play};

/// Lives that are played, each another, unless `SIMULATION_LIVES` says how many.
const LIVES: u64 = 500;

fn main() {
    let n_lives = std::env::var("SIMULATION_LIVES").ok();
    let n_lives = n_lives.and_then(|n| n.parse().ok()).unwrap_or(LIVES);
    let started = Instant::now();
    let life = (0..n_lives)
        .map(|seed| play(seed, Planted::Nothing).unwrap_or_else(|failed| panic!("{failed}")))
        .fold(Life::default(), Life::and);
    let steps_per_s = life.n_steps as f64 / started.elapsed().as_secs_f64();
    println!(
        "{n_lives} lives, {} steps, {} kills, {} s simulated {:>9.0} steps/s",
        life.n_steps,
        life.n_kills,
        life.simulated_ms / 1000,
        steps_per_s
    );
}
