//! Three nodes in the simulator: hubs and clusters as shipped, over a broker in memory whose connections are cut, go deaf,
//! lose, repeat and delay; the broker stops and loses what it had, the shared queue is slow, fails and is away, nodes
//! restart and crash. The same promises as on one node are checked at every step (`tok_core::testkit::sim::Checker`).
//!
//! A seed stands for one run of one of the three simulations here. `TOK_SEED=N cargo test -p tok-cluster --test sim`
//! replays one; `TOK_SEEDS=N` runs so many; `cargo xtask sim --nodes 3` runs many, with optimisation.

#[allow(clippy::disallowed_types)] // std's mutex: the crates' own are not public.
mod sim {
    pub(crate) mod scenario;
    pub(crate) mod watched;
}

use sim::scenario::{Mode, run};
use tok_core::testkit::sim::Seeds;

fn promises_hold(mode: Mode) {
    let seeds = Seeds::from_env(60).share(mode as u64, 3).replay("cargo test -p tok-cluster --test sim");
    seeds.check(|seed| {
        let report = run(seed, mode)?;
        // A simulation in which nothing happens proves nothing.
        if report.delivered > 0 { Ok(()) } else { Err("nothing was delivered".to_owned()) }
    });
}

#[test]
fn promises_hold_on_three_nodes() {
    promises_hold(Mode::Available);
}

#[test]
fn promises_hold_on_three_nodes_that_are_strict() {
    promises_hold(Mode::Strict);
}

#[test]
fn promises_hold_on_three_nodes_with_several_devices() {
    promises_hold(Mode::Devices);
}

#[test]
fn the_same_seed_takes_the_same_steps() {
    for seed in 0..50 {
        let mode = [Mode::Available, Mode::Strict, Mode::Devices][seed as usize % 3];
        assert_eq!(run(seed, mode).unwrap(), run(seed, mode).unwrap(), "seed {seed}");
    }
}
