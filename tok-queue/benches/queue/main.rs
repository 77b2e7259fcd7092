//! `cargo bench -p tok-queue --all-features`: what the queues of this crate do, side by side, in about two minutes.
//!
//! Names as arguments choose engines: `cargo bench -p tok-queue --features redb -- redb`. `TMPDIR` says on which disk
//! files are.

mod engines;
mod measure;
#[cfg(feature = "redb")]
mod opening;

use std::env;

use tokio::runtime;

fn main() {
    // Cargo passes `--bench`.
    let names: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_chosen = |name: &str| names.is_empty() || names.iter().any(|chosen| chosen == name);

    measure::disk();
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for engine in engines::ALL {
        if is_chosen(engine.name) {
            runtime.block_on(measure::engine(engine));
        }
    }
    #[cfg(feature = "redb")]
    if is_chosen("redb") {
        runtime.block_on(opening::a_million_messages());
    }
}
