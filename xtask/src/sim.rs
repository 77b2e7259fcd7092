//! `cargo xtask sim`: the simulations of one node and of three under very many seeds, with optimisation.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cmd::{Outcome, run_cargo_in};
use crate::workspace::Workspace;

/// Where the simulations are: tests that `TOK_SEEDS` and `TOK_SEED` tell which seeds to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Simulation {
    pub(crate) nodes: usize,
    package: &'static str,
    /// How many seeds run by default: in less than two minutes on one core.
    seeds: u64,
    /// And in CI.
    ci_seeds: u64,
}

pub(crate) const SIMULATIONS: [Simulation; 2] = [
    Simulation { nodes: 1, package: "tok-core", seeds: 10_000, ci_seeds: 2000 },
    Simulation { nodes: 3, package: "tok-cluster", seeds: 2000, ci_seeds: 300 },
];

/// What the tests begin with that run seeds.
const TESTS: &str = "promises_hold";

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Args {
    nodes: Option<usize>,
    seeds: Option<u64>,
    seed: Option<u64>,
}

/// How a simulation ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Building is not counted.
    pub(crate) elapsed: Duration,
    pub(crate) violation: Option<Violation>,
}

/// A promise that was broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) seed: u64,
    pub(crate) what: String,
}

/// Runs the command; the answer is whether every promise held.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let args = parse(args)?;
    let chosen =
        SIMULATIONS.iter().filter(|simulation| args.nodes.is_none_or(|nodes| nodes == simulation.nodes));
    let mut passed = true;
    for simulation in chosen {
        let seeds = args.seeds.unwrap_or(simulation.seeds);
        passed &= run_one(workspace, *simulation, Seeds::of(args.seed, seeds))?;
    }
    Ok(passed)
}

/// The step of `cargo xtask ci`.
pub(crate) fn run_for_ci(workspace: &Workspace) -> Result<bool> {
    let mut passed = true;
    for simulation in SIMULATIONS {
        passed &= run_one(workspace, simulation, Seeds::Count(simulation.ci_seeds))?;
    }
    Ok(passed)
}

fn run_one(workspace: &Workspace, simulation: Simulation, seeds: Seeds) -> Result<bool> {
    let run = simulation.run(workspace, "sim", seeds)?;
    let nodes = simulation.nodes;
    match (&run.violation, seeds) {
        (Some(violation), _) => {
            println!("sim: {nodes} node(s), seed {}: {}", violation.seed, violation.what);
            println!("replay: cargo xtask sim --nodes {nodes} --seed {}", violation.seed);
        }
        (None, Seeds::One(seed)) => println!("sim: {nodes} node(s), seed {seed}: every promise held"),
        (None, Seeds::Count(seeds)) => {
            let seconds = run.elapsed.as_secs_f64();
            let rate = seeds as f64 / seconds.max(1e-9);
            println!(
                "sim: {nodes} node(s), {seeds} seeds in {seconds:.1} s, {rate:.0} seeds/s: every promise held"
            );
        }
    }
    Ok(run.violation.is_none())
}

/// Which seeds to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seeds {
    Count(u64),
    One(u64),
}

impl Seeds {
    fn of(one: Option<u64>, count: u64) -> Self {
        one.map_or(Self::Count(count), Self::One)
    }

    fn env(self) -> (&'static str, String) {
        match self {
            Self::Count(count) => ("TOK_SEEDS", count.to_string()),
            Self::One(seed) => ("TOK_SEED", seed.to_string()),
        }
    }
}

impl Simulation {
    /// Builds it with this profile and runs it. A build that fails is an error.
    pub(crate) fn run(self, workspace: &Workspace, profile: &str, seeds: Seeds) -> Result<Run> {
        let name = format!("sim {}", self.package);
        let build = ["test", "--profile", profile, "--package", self.package, "--test", "sim", "--no-run"];
        let built = run_cargo_in(&workspace.root, &workspace.target, &format!("{name} build"), &build, &[])?;
        if !built.success {
            bail!("the simulation of {} node(s) does not build:\n{}", self.nodes, built.output);
        }
        let args = [&build[..build.len() - 1], &["--", TESTS]].concat();
        let (variable, value) = seeds.env();
        let outcome = run_cargo_in(&workspace.root, &workspace.target, &name, &args, &[(variable, &value)])?;
        Ok(Run { elapsed: outcome.elapsed, violation: violation(&outcome)? })
    }
}

/// The first promise that was broken, by its line `seed 17: invariant 6, …`.
fn violation(outcome: &Outcome) -> Result<Option<Violation>> {
    let found = outcome.output.lines().find_map(|line| {
        let (seed, what) = line.strip_prefix("seed ")?.split_once(": ")?;
        Some(Violation { seed: seed.parse().ok()?, what: what.to_owned() })
    });
    // A panic within the hub: the line that replays it is all that is said of the seed.
    let panicked = || {
        outcome.output.lines().find_map(|line| {
            let seed = line.strip_prefix("replay: TOK_SEED=")?.split(' ').next()?;
            Some(Violation { seed: seed.parse().ok()?, what: "it panicked".to_owned() })
        })
    };
    match (outcome.success, found.or_else(panicked)) {
        (true, _) => Ok(None),
        (false, Some(violation)) => Ok(Some(violation)),
        (false, None) => bail!("the simulation failed and named no seed:\n{}", outcome.output),
    }
}

fn parse(args: &[String]) -> Result<Args> {
    let mut parsed = Args::default();
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a number"))?;
        let number: u64 = value.parse().with_context(|| format!("{flag} {value}: not a number"))?;
        match flag.as_str() {
            "--seeds" => parsed.seeds = Some(number),
            "--seed" => parsed.seed = Some(number),
            "--nodes" if SIMULATIONS.iter().any(|simulation| simulation.nodes as u64 == number) => {
                parsed.nodes = usize::try_from(number).ok();
            }
            "--nodes" => bail!("--nodes is 1 or 3"),
            unknown => bail!("sim takes no argument `{unknown}`"),
        }
    }
    if parsed.seed.is_some() && parsed.nodes.is_none() {
        bail!("--seed needs --nodes: a seed stands for another run on one node than on three");
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(success: bool, output: &str) -> Outcome {
        Outcome { success, output: output.to_owned(), elapsed: Duration::from_secs(1) }
    }

    #[test]
    fn a_broken_promise_is_found_in_what_the_tests_say() {
        let said = "thread 'x' panicked at a.rs:1:2:\nseed 17: invariant 6, acks: gone\nreplay: TOK_SEED=17 cargo test";
        let expected = Violation { seed: 17, what: "invariant 6, acks: gone".to_owned() };
        assert_eq!(violation(&outcome(false, said)).unwrap(), Some(expected));
        assert_eq!(violation(&outcome(true, "test result: ok")).unwrap(), None);
        assert!(violation(&outcome(false, "killed")).is_err());
        let panicked =
            violation(&outcome(false, "index out of bounds\nreplay: TOK_SEED=3 cargo test")).unwrap();
        assert_eq!(panicked.unwrap().seed, 3);
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        let parse = |line: &str| parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("").unwrap(), Args::default());
        let expected = Args { nodes: Some(3), seeds: None, seed: Some(7) };
        assert_eq!(parse("--nodes 3 --seed 7").unwrap(), expected);
        for wrong in ["--seed 7", "--nodes 2", "--seeds", "--seeds x", "--fast 1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
