//! Runs cargo and keeps what it says in a file, so that a long or hanging step can be watched from outside.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::workspace::{Workspace, cargo};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    /// Both output streams in the order written.
    pub(crate) output: String,
    pub(crate) elapsed: Duration,
}

/// Runs `cargo ARGS` in the root folder, with its output in `target/xtask/NAME.log`.
pub(crate) fn run_cargo(
    workspace: &Workspace,
    name: &str,
    args: &[&str],
    envs: &[(&str, &str)],
) -> Result<Outcome> {
    run_cargo_in(&workspace.root, &workspace.target, name, args, envs)
}

/// As [`run_cargo`], in another copy of the workspace, with its own target folder.
pub(crate) fn run_cargo_in(
    root: &Path,
    target: &Path,
    name: &str,
    args: &[&str],
    envs: &[(&str, &str)],
) -> Result<Outcome> {
    let mut command = Command::new(cargo());
    command.args(args).envs(envs.iter().copied()).current_dir(root).env("CARGO_TARGET_DIR", target);
    // Colour codes would sit between the words that the counts are read from.
    command.env("CARGO_TERM_COLOR", "never");
    // A machine that builds once has nothing to gain from what a second build would use, and pays for it on its disk.
    if std::env::var_os("CI").is_some() {
        command.env("CARGO_INCREMENTAL", "0");
    }
    let file = format!("{}.log", name.replace(['/', ' '], "-"));
    run_logged(command, &target.join("xtask").join(file))
}

/// Runs a command with its output in a file.
pub(crate) fn run_logged(mut command: Command, log: &Path) -> Result<Outcome> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let begin = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot share the log between the two output streams")?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let elapsed = begin.elapsed();
    let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(Outcome { success: status.success(), output: String::from_utf8_lossy(&bytes).into_owned(), elapsed })
}
