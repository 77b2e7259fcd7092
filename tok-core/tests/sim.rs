//! The shipped hub in the simulator: connections that are cut, stall, vanish and lose Pongs, a queue that is slow and
//! fails, and the promises checked at every step. `TOK_SEED=N cargo test -p tok-core --test sim` replays one seed;
//! `TOK_SEEDS=N` runs so many.

#[allow(clippy::disallowed_types)] // std's mutex: tok-core's own is not public.
mod sim {
    pub(crate) mod model;
    pub(crate) mod scenario;
}

use sim::scenario::{Mode, run};

fn seeds(mode: Mode) {
    let one = std::env::var("TOK_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let count = std::env::var("TOK_SEEDS").ok().and_then(|count| count.parse::<u64>().ok()).unwrap_or(500);
    let seeds = one.map_or(0..count, |seed| seed..seed + 1);
    let mut delivered = 0;
    for seed in seeds {
        match run(seed, mode) {
            Ok(report) => delivered += report.delivered,
            Err(broken) => panic!(
                "seed {seed}, {mode:?}: {broken}\nreplay: TOK_SEED={seed} cargo test -p tok-core --test sim"
            ),
        }
    }
    // A simulation in which nothing happens proves nothing.
    assert!(delivered > 0);
}

#[test]
fn promises_hold_with_a_queue_in_memory() {
    seeds(Mode::Memory);
}

#[test]
fn promises_hold_with_a_durable_queue_written_ahead() {
    seeds(Mode::WriteAhead);
}

#[test]
fn promises_hold_with_a_durable_queue_written_back() {
    seeds(Mode::WriteBack);
}

#[test]
fn promises_hold_with_several_devices() {
    seeds(Mode::Devices);
}

#[test]
fn the_same_seed_takes_the_same_steps() {
    for seed in 0..20 {
        let first = run(seed, Mode::Memory).unwrap();
        let second = run(seed, Mode::Memory).unwrap();
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}
