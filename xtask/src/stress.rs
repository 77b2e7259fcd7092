//! `cargo xtask stress`: gateways that are killed and paused under clients that churn and check what they see; in release
//! mode, and for CI as the tests have built most of it.
//!
//! `examples/src/stress` does it; this builds it and the gateway, and says where they find what they need.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::brokers;
use crate::cmd::run_cargo;
use crate::workspace::Workspace;

/// Runs the command. All arguments are the program's: `--seconds N`, `--seed N`, `--round N`, `--alone`,
/// `--trace`.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    run_in(workspace, "release", args)
}

/// The step of `cargo xtask ci`: a minute, of gateways alone. What is excused in a cluster counts in seconds, which a machine
/// that has others to serve may not keep.
pub(crate) fn run_for_ci(workspace: &Workspace) -> Result<bool> {
    run_in(workspace, "dev", &["--seconds", "60", "--alone"].map(str::to_owned))
}

fn run_in(workspace: &Workspace, profile: &str, args: &[String]) -> Result<bool> {
    brokers::install()?;
    let build =
        ["build", "--profile", profile, "--package", "examples", "--bin", "gateway", "--bin", "stress"];
    let outcome = run_cargo(workspace, "stress build", &build, &[])?;
    ensure!(outcome.success, "the build failed:\n{}", outcome.output);

    let folder = workspace.target.join("stress");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove what the last run has left")?;
    }
    let log = workspace.target.join("xtask").join("stress.log");
    let progress = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let programs = workspace.target.join(if profile == "dev" { "debug" } else { profile });
    let status = Command::new(programs.join("stress"))
        .arg("--gateway")
        .arg(programs.join("gateway"))
        .arg("--folder")
        .arg(&folder)
        .args(args)
        .stdin(Stdio::null())
        .stderr(progress)
        .status()
        .context("cannot start the stress")?;
    if !status.success() {
        println!(
            "stress: {status}; every round is in {}, what is left of them in {}",
            log.display(),
            folder.display()
        );
    }
    // Two is for what could not be begun.
    ensure!(
        matches!(status.code(), Some(0 | 1)),
        "the stress did not run; its last words are in {}",
        log.display()
    );
    Ok(status.success())
}
