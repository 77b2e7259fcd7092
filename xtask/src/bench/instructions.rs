//! `cargo xtask bench --instructions`: what the hot paths cost in instructions of user space, counted by valgrind. A
//! shared machine does not change the counts, and so a regression shows on one; the compiler's version does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace::Workspace;

/// The counts that a change is compared with, in the repository.
const BASELINE: &str = "docs/instructions.txt";
const HEAD: &str = "# Instructions a message, by `cargo xtask bench --instructions --update`.\n";

/// Runs of a path, and again as many more: the difference is what these cost, without start and setup.
const RUNS: u64 = 200;

/// How much more than the baseline is a regression.
const TOLERANCE: f64 = 0.05;

/// Runs the command; the answer is whether no path costs more than its baseline.
pub(super) fn run(workspace: &Workspace, update: bool) -> Result<bool> {
    ensure!(
        Command::new("valgrind").arg("--version").output().is_ok(),
        "instructions are counted by valgrind, which is not installed: install your system's package `valgrind`"
    );
    println!("building in release mode");
    let program = build(workspace)?;
    let listed = Command::new(&program).arg("--list-paths").output().context("cannot run the benchmark")?;
    let baseline_file = workspace.root.join(BASELINE);
    let baseline = read(&fs::read_to_string(&baseline_file).unwrap_or_default())?;
    let mut counts = BTreeMap::new();
    let mut regressions = Vec::new();
    for line in String::from_utf8(listed.stdout)?.lines() {
        let (messages, name) = line.split_once(' ').context("the benchmark's list is not understood")?;
        let once = count(&program, name, RUNS)?;
        let twice = count(&program, name, 2 * RUNS)?;
        let each = twice.saturating_sub(once) / RUNS / messages.parse::<u64>()?;
        let against = match baseline.get(name) {
            Some(before) if is_regression(*before, each) => {
                regressions.push(name.to_owned());
                format!("  {before} before: more than {:.0} % above", TOLERANCE * 100.0)
            }
            Some(before) => format!("  {before} before"),
            None => "  not in the baseline".to_owned(),
        };
        println!("{name:<48} {each:>8}{against}");
        counts.insert(name.to_owned(), each);
    }
    if update {
        fs::write(&baseline_file, write(&counts)).with_context(|| format!("cannot write {BASELINE}"))?;
        println!("written: {BASELINE}");
        return Ok(true);
    }
    if !regressions.is_empty() {
        println!("{} regressed: {}", regressions.len(), regressions.join(", "));
    }
    Ok(regressions.is_empty())
}

fn is_regression(before: u64, now: u64) -> bool {
    now as f64 > before as f64 * (1.0 + TOLERANCE)
}

/// Builds the benchmark and says where it is.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let args = ["bench", "--package", "examples", "--bench", "paths", "--no-run", "--message-format", "json"];
    let output = Command::new(env!("CARGO"))
        .args(args)
        .current_dir(&workspace.root)
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the build failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout)?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "paths")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo did not say where the benchmark is")
}

/// The instructions of the program's whole run.
fn count(program: &Path, name: &str, runs: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(program)
        .args(["--count", name, &runs.to_string()])
        .output()
        .context("cannot run valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed:\n{text}");
    let total = text.lines().find(|line| line.contains("refs:")).and_then(|line| line.split(':').nth(1));
    let digits: String = total.unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("valgrind counted nothing:\n{text}"))
}

fn read(baseline: &str) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for line in baseline.lines().filter(|line| !line.starts_with('#')) {
        match line.trim().split_once(' ').map(|(count, name)| (count.parse(), name)) {
            Some((Ok(count), name)) => counts.insert(name.trim().to_owned(), count),
            _ => bail!("{BASELINE}: `{line}` is not a count and a name"),
        };
    }
    Ok(counts)
}

fn write(counts: &BTreeMap<String, u64>) -> String {
    let mut text = HEAD.to_owned();
    for (name, count) in counts {
        let _ = writeln!(text, "{count:>8} {name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_read_as_it_is_written() {
        let counts = BTreeMap::from([("hub: echo".to_owned(), 7000), ("decode: x, 100 B".to_owned(), 12)]);
        assert_eq!(read(&write(&counts)).unwrap(), counts);
        assert!(read("many hub: echo").is_err());
    }

    #[test]
    fn noise_is_no_regression() {
        assert!(!is_regression(1000, 1050) && !is_regression(1000, 900));
        assert!(is_regression(1000, 1051));
    }
}
