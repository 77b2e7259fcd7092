//! `cargo xtask brokers`: a NATS and a Redis server for the tests, installed into `target/brokers` where there is none.

use anyhow::{Result, bail};

/// The features that bring tests against these servers.
pub(crate) const FEATURES: [&str; 3] = ["nats", "redis", "redis-tls"];

/// Runs the command: says where the servers' programs are.
pub(crate) fn run(args: &[String]) -> Result<bool> {
    if let Some(unknown) = args.first() {
        bail!("brokers takes no argument `{unknown}`");
    }
    for program in brokers::install()? {
        println!("{}", program.display());
    }
    Ok(true)
}

/// Makes sure that they are there; an error where they are not and cannot be installed.
pub(crate) fn install() -> Result<()> {
    brokers::install().map(drop)
}
