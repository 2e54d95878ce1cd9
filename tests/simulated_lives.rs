//! Simulated lives of the agent (see [`simulation`](crate::simulation)), enough of them for every change; more by
//! `SIMULATION_LIVES`, one alone by `SIMULATION_SEED`.

use std::env;

use crate::simulation::{Life, Planted, play};

/// Lives in `cargo test`.
const LIVES: u64 = 60;
/// Lives within which each planted defect must be found.
const LIVES_TO_FIND: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().expect("a whole number"))
}

/// A life in which nothing goes wrong.
#[track_caller]
fn good_life(seed: u64) -> Life {
    play(seed, Planted::Nothing).unwrap_or_else(|failed| panic!("{failed}"))
}

/// P-WATERMARK: A checkpoint never passes a byte whose record isn't acknowledged.
#[test]
fn nothing_is_lost_torn_invented_or_stuck_whatever_follows_what() {
    if let Some(seed) = number("SIMULATION_SEED") {
        println!("seed {seed}: all is well: {:?}", good_life(seed));
        return;
    }
    let n_lives = number("SIMULATION_LIVES").unwrap_or(LIVES);
    let life = (0..n_lives).map(good_life).fold(Life::default(), Life::and);
    println!("{n_lives} lives: {life:?}");
    // What never happens proves nothing.
    assert!(
        life.n_kills > n_lives / 2 && life.n_stops > n_lives,
        "{life:?}"
    );
    assert!(life.n_repeated > n_lives, "{life:?}");
    assert!(
        life.n_defects > n_lives / 2 && life.n_letters > n_lives,
        "{life:?}"
    );
}

#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 0..6 {
        let lives = [seed; 2].map(good_life);
        assert!(lives.windows(2).all(|two| two[0] == two[1]), "{lives:#?}");
    }
}

/// The simulation is worth nothing if it can't fail.
#[test]
fn planted_defects_are_found() {
    for planted in [
        Planted::WatermarkIgnored,
        Planted::CheckpointEarly,
        Planted::RetryDropped,
        Planted::BudgetLeaks,
        Planted::LetterUnwritten,
        Planted::RestartAtRead,
    ] {
        let found = (0..LIVES_TO_FIND).find(|seed| play(*seed, planted).is_err());
        assert!(found.is_some(), "{planted:?} goes unseen");
        println!("{planted:?}: life {found:?}");
    }
}
