//! The one entry for people and CI: `cargo xtask COMMAND`. One file per command.

mod autobahn;
mod bench;
mod brokers;
mod browser;
mod ci;
mod cmd;
mod fuzz;
mod interleavings;
mod matrix;
mod mutants;
mod sim;
mod stress;
mod test_matrix;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// Every command and what its help line says. `ARCHITECTURE.md` may name only these as enforcers.
const COMMANDS: &[(&str, &str)] = &[
    ("test-matrix", "[--list] [--only SUBSTRING]... [--quiet]  test every package under every feature set"),
    ("autobahn", "[--engine NAME]...  run the Autobahn cases against every WebSocket engine"),
    ("brokers", "say where the NATS and Redis servers for tests are, which are installed if missing"),
    ("browser", "run the chat's page in Chromium, which is installed if it is missing and may be"),
    (
        "fuzz",
        "[--target NAME]... [--seconds N] [--input FILE]  search for inputs that break a parser, with libFuzzer",
    ),
    (
        "sim",
        "[--nodes 1|3] [--seeds N | --seed N --nodes 1|3]  simulate one node and three, with faults, and check every promise",
    ),
    ("mutants", "[--only SUBSTRING]...  show that the simulations catch each planted bug of xtask/mutants"),
    ("interleavings", "run the tests in which a scheduler decides at every lock who goes on"),
    ("tidy", "check the repository's own rules"),
    (
        "ci",
        "[--skip-matrix]  everything a change must pass: fmt, clippy, docs, tidy, sim, test-matrix, interleavings, autobahn",
    ),
    (
        "bench",
        "[--quick] [--curves] [--engine NAME]... [--scenario NAME]... [--server ADDR [--pid PID]], or \
         --instructions [--update]  measure the gateway, or count what its hot paths take",
    ),
    (
        "stress",
        "[--seconds N] [--seed N] [--round N] [--alone] [--trace]  clients that churn on gateways that are killed, and a check of \
         what they saw",
    ),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(true) => ExitCode::SUCCESS,
        // The command has said what failed; one more line would hide its closing line.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(args: &[String]) -> Result<bool> {
    let Some((command, args)) = args.split_first() else { bail!("no command given\n{}", help()) };
    match command.as_str() {
        "test-matrix" => test_matrix::run(&Workspace::load()?, args),
        "autobahn" => autobahn::run(&Workspace::load()?, args),
        "brokers" => brokers::run(args),
        "browser" => browser::run(&Workspace::load()?, args),
        "fuzz" => fuzz::run(&Workspace::load()?, args),
        "interleavings" => interleavings::run(&Workspace::load()?, args),
        "sim" => sim::run(&Workspace::load()?, args),
        "mutants" => mutants::run(&Workspace::load()?, args),
        "tidy" => tidy::run(&Workspace::load()?, args),
        "ci" => ci::run(&Workspace::load()?, args),
        "bench" => bench::run(&Workspace::load()?, args),
        "stress" => stress::run(&Workspace::load()?, args),
        "help" | "--help" | "-h" => {
            println!("{}", help());
            Ok(true)
        }
        unknown => bail!("no command `{unknown}`\n{}", help()),
    }
}

fn help() -> String {
    let lines: Vec<String> = COMMANDS.iter().map(|(name, what)| format!("  {name:<12} {what}")).collect();
    format!("usage: cargo xtask COMMAND\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_an_error_that_lists_the_known_ones() {
        let error = dispatch(&["no-such".to_owned()]).unwrap_err().to_string();
        assert!(COMMANDS.iter().all(|(name, _)| error.contains(name)), "{error}");
        assert!(dispatch(&[]).is_err());
    }
}
