//! `cargo xtask bench`: the gateway against a floor and a hub written by hand, on the same machine in the same minutes.
//!
//! The servers run on one core and the load tool on another. Absolute figures are those of the machine; what can be
//! compared is each round's ratio to the floor, because rounds of all servers take turns.

mod case;
mod instructions;
mod plot;
mod server;
mod table;

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use self::{
    case::{CASES, Case},
    server::{Binaries, Pinning, Server},
    table::Samples,
};
use crate::cmd::run_cargo;
use crate::workspace::Workspace;

/// The gateway's engines, its default first.
const ENGINES: [&str; 3] = ["tokio-tungstenite", "async-tungstenite", "tokio-websockets"];

/// The command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    quick: bool,
    curves: bool,
    engines: Vec<String>,
    scenarios: Vec<String>,
    server: Option<String>,
    pid: Option<String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().cloned().with_context(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--quick" => options.quick = true,
                "--curves" => options.curves = true,
                "--engine" => options.engines.push(value()?),
                "--scenario" => options.scenarios.push(value()?),
                "--server" => options.server = Some(value()?),
                "--pid" => options.pid = Some(value()?),
                _ => bail!("bench does not know `{flag}`"),
            }
        }
        for engine in &options.engines {
            ensure!(ENGINES.contains(&engine.as_str()), "no engine `{engine}`; there are {ENGINES:?}");
        }
        for name in &options.scenarios {
            let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            ensure!(names.contains(&name.as_str()), "no scenario `{name}`; there are {names:?}");
        }
        ensure!(options.pid.is_none() || options.server.is_some(), "--pid belongs to --server");
        Ok(options)
    }

    fn cases(&self) -> Vec<&'static Case> {
        let wanted = |case: &&Case| match self.scenarios.as_slice() {
            [] => self.curves || !case.curve,
            names => names.iter().any(|name| name == case.name),
        };
        CASES.iter().filter(wanted).collect()
    }

    fn servers(&self) -> Vec<Server> {
        let mut servers = vec![Server::Floor, Server::AxumHub];
        let chosen =
            |engine: &&str| self.engines.is_empty() || self.engines.iter().any(|name| name == engine);
        servers.extend(ENGINES.into_iter().filter(|engine| chosen(engine)).map(Server::Gateway));
        if let Some(addr) = &self.server {
            servers.push(Server::Elsewhere { addr: addr.clone(), pid: self.pid.clone() });
        }
        servers
    }
}

/// Runs the command. It fails when a server failed, not when it is slow: a shared machine would fail it at random.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--instructions"] => return instructions::run(workspace, false),
        ["--instructions", "--update"] => return instructions::run(workspace, true),
        _ => {}
    }
    let options = Options::parse(args)?;
    println!("building in release mode");
    let build = [
        "build",
        "--release",
        "--package",
        "examples",
        "--bin",
        "gateway",
        "--bin",
        "load",
        "--bin",
        "peer-axum-hub",
        "--bin",
        "peer-floor",
    ];
    let outcome = run_cargo(workspace, "bench build", &build, &[])?;
    ensure!(outcome.success, "the build failed:\n{}", outcome.output);
    let binaries = Binaries { dir: workspace.target.join("release"), pinning: Pinning::find() };
    println!("{}", binaries.pinning);

    let (cases, servers) = (options.cases(), options.servers());
    let mut samples = Samples::default();
    let mut failures = Vec::new();
    let rounds = |case: &Case| case.rounds(options.quick);
    for round in 0..cases.iter().map(|case| rounds(case)).max().unwrap_or(0) {
        for case in cases.iter().filter(|case| round < rounds(case)) {
            // None of them always comes behind the same other.
            let turn = servers.iter().cycle().skip(round % servers.len()).take(servers.len());
            for server in turn.filter(|server| server.can_tell(case)) {
                match binaries.measure(server, case, options.quick) {
                    Ok(report) => {
                        println!("{}", case.progress(round, server, &report));
                        samples.add(case, server, round, report);
                    }
                    Err(error) => {
                        println!("round {} {} {server}: {error:#}", round + 1, case.name);
                        failures.push(format!("{} {server}: {error:#}", case.name));
                    }
                }
            }
        }
    }

    let report = samples.report(&cases, &servers, &binaries.pinning.to_string(), &failures);
    println!("\n{report}");
    let dir = workspace.target.join("bench");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let write = |name: &str, text: &str| {
        fs::write(dir.join(name), text).with_context(|| format!("cannot write {name} in {}", dir.display()))
    };
    write("report.md", &report)?;
    for (name, svg) in samples.plots(&cases, &servers) {
        write(&name, &svg)?;
    }
    println!("report and plots: {}", dir.display());
    Ok(failures.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn chooses_what_is_named_and_all_else_but_the_curves() {
        let all = parse("").unwrap();
        assert!(all.cases().iter().all(|case| !case.curve) && all.servers().len() == 5);
        assert_eq!(parse("--curves").unwrap().cases().len(), CASES.len());
        let some = parse("--scenario echo --scenario relay --engine tokio-websockets --server a:1").unwrap();
        assert_eq!(some.cases().iter().map(|case| case.name).collect::<Vec<_>>(), ["echo", "relay"]);
        let names: Vec<String> = some.servers().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["floor", "axum hub", "gateway, tokio-websockets", "a:1"]);
    }

    #[test]
    fn what_it_does_not_know_is_an_error() {
        for line in ["--fast", "--engine", "--engine none", "--scenario none", "--pid 1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
