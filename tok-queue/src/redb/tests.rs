//! What only happens to a file when the power fails or the disk does: on a disk in memory that does both, by a seed.
//!
//! `TOK_SEEDS=N` runs so many seeds, `TOK_SEED=N` replays one. No thread takes part: the steps are the seed's alone.

mod disk;
mod driver;
mod failing_disk;
#[cfg(shuttle)]
mod interleavings;
mod model;
mod power_cut;
mod time;
mod user;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a test for each seed, and says how to run one again. The test returns how much it did.
fn seeds(test: &str, run: impl Fn(u64) -> u64) {
    let number = |name| std::env::var(name).ok().and_then(|number: String| number.parse::<u64>().ok());
    let seeds = match (number("TOK_SEED"), number("TOK_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(300),
    };
    let (mut done, count) = (0, seeds.end - seeds.start);
    for seed in seeds {
        done += catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
            eprintln!(
                "seed {seed}; replay: TOK_SEED={seed} cargo test -p tok-queue --features redb --lib {test}"
            );
            resume_unwind(panic);
        });
    }
    assert!(count < 50 || done > 20 * count, "the steps are not varied enough: {done} operations");
}
