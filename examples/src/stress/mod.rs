//! The stress: real gateways in processes of their own, real clients that churn, and a checker of what these saw.
//!
//! A run is a row of rounds. The seed decides what each does: which gateway, or which cluster of gateways, who logs in how
//! and on which node, sends what and ends how, and when a gateway is paused, killed or drained, or its queue's server is.
//! When things meet is up to the machine, so that a failure's seed and round bring the same deeds again, and not always the
//! same moment: a round can be repeated.
//!
//! | file | what is there |
//! |---|---|
//! | `run.rs` | rounds until the time is up |
//! | `setup.rs` | the gateways that there are, alone and as nodes of a cluster |
//! | `plan.rs`, `round.rs` | what a round does, and its phases |
//! | `person.rs`, `session.rs`, `wire.rs`, `message.rs` | the clients |
//! | `world.rs`, `gateways.rs`, `counts.rs` | what those of a round know together |
//! | `nemesis.rs`, `process.rs` | what is done to processes |
//! | `ledger/` | the checker; `reach.rs` there has what a cluster's bounds excuse |
//! | `watch.rs`, `page.rs`, `memory.rs` | what a gateway holds |
//! | `report.rs` | what was done, and what was wrong |

mod counts;
mod gateways;
mod ledger;
mod memory;
mod message;
mod nemesis;
mod page;
mod person;
mod plan;
mod process;
mod random;
mod report;
mod round;
mod run;
mod session;
mod setup;
mod watch;
mod wire;
mod world;

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

pub use self::run::run;

/// What `stress --help` prints.
pub const HELP: &str = "\
stress: clients that churn on gateways that are killed, and a check of what they saw

  --gateway PATH   the gateway's program
  --folder PATH    for logs and queues; made when missing
  --seconds N      begins rounds for so long (60)
  --seed N         decides what is done (from the clock)
  --round N        only this round of the seed, at least once and for so long
  --alone          no clusters; rounds have other numbers then
  --trace          every event to stderr";

/// What to do, from the command line.
#[derive(Clone, Debug)]
#[allow(missing_docs, clippy::exhaustive_structs)] // HELP says what each is.
pub struct Config {
    pub gateway: PathBuf,
    pub folder: PathBuf,
    pub seconds: u64,
    pub seed: u64,
    pub round: Option<u64>,
    pub alone: bool,
    pub trace: bool,
}

impl Config {
    /// Reads the flags.
    ///
    /// # Errors
    /// What is wrong with them, for people.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let (mut gateway, mut folder, mut seconds, mut seed, mut round) = (None, None, 60, None, None);
        let (mut alone, mut trace) = (false, false);
        let mut args = args.into_iter();
        while let Some(flag) = args.next() {
            let switch = match flag.as_str() {
                "--alone" => Some(&mut alone),
                "--trace" => Some(&mut trace),
                _ => None,
            };
            if let Some(switch) = switch {
                *switch = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number =
                || value.parse().map_err(|_| format!("{flag} cannot be `{value}`: it is a whole number"));
            match flag.as_str() {
                "--gateway" => gateway = Some(PathBuf::from(&value)),
                "--folder" => folder = Some(PathBuf::from(&value)),
                "--seconds" => seconds = number()?,
                "--seed" => seed = Some(number()?),
                "--round" => round = Some(number()?),
                _ => return Err(format!("no flag `{flag}`")),
            }
        }
        Ok(Self {
            gateway: gateway.ok_or("--gateway is missing")?,
            folder: folder.ok_or("--folder is missing")?,
            seconds,
            seed: seed.unwrap_or_else(from_the_clock),
            round,
            alone,
            trace,
        })
    }
}

fn from_the_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed.
    now.as_secs() % 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Config, String> {
        Config::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read_and_what_is_wrong_is_said() {
        let config = parse("--gateway g --folder f --seed 7 --trace --round 3").unwrap();
        assert_eq!((config.seconds, config.seed, config.round, config.trace), (60, 7, Some(3), true));
        assert!(!config.alone && parse("--alone --gateway g --folder f").unwrap().alone);
        for (line, said) in [
            ("--folder f", "--gateway is missing"),
            ("--gateway g", "--folder is missing"),
            ("--gateway g --folder f --seed", "--seed needs a value"),
            ("--gateway g --folder f --seconds soon", "cannot be `soon`"),
            ("--gateway g --folder f --fast 1", "no flag `--fast`"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
