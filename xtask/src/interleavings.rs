//! `cargo xtask interleavings`: the tests on shuttle's scheduler, of the crates that have some.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::cmd::run_cargo;
use crate::test_matrix::Counts;
use crate::workspace::Workspace;

/// Packages, with what of them is built and fewer tests than which cannot be all.
const PACKAGES: &[(&str, &[&str], u64)] = &[("tok-core", &[], 15), ("tok-queue", &["--features", "redb"], 5)];

/// Schedules are many, and the least optimisation makes them five times as fast.
const ENVS: &[(&str, &str)] = &[("RUSTFLAGS", "--cfg shuttle"), ("CARGO_PROFILE_DEV_OPT_LEVEL", "1")];

/// Runs the command; the answer is whether every test ran and passed.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    if let Some(unknown) = args.first() {
        bail!("interleavings takes no argument `{unknown}`; TOK_SCHEDULES=N runs so many schedules a test");
    }
    // Beside what is built without the flag, which would be built again otherwise.
    let target = workspace.target.join("shuttle");
    let target = target.to_string_lossy();
    let begin = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    for (package, features, least) in PACKAGES {
        let mut args = vec!["test", "--package", package, "--lib", "--target-dir", &target];
        args.extend(*features);
        args.push("interleavings::");
        let outcome = run_cargo(workspace, &format!("interleavings {package}"), &args, ENVS)?;
        let counts = Counts::read(&outcome.output);
        if let Some(why) = judge(outcome.success, counts.passed, *least) {
            println!("$ cargo {}\n{}\n{package}: {why}", args.join(" "), outcome.output);
            failed += counts.failed.max(1);
        }
        passed += counts.passed;
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("interleavings: {passed} passed, {failed} failed, {seconds:.1} s");
    Ok(failed == 0)
}

/// Why a package's tests have failed, if they have.
fn judge(success: bool, passed: u64, least: u64) -> Option<String> {
    match (success, passed) {
        (false, _) => Some("it failed".to_owned()),
        // Built without the flag, there are none.
        (true, passed) if passed < least => {
            Some(format!("{passed} tests ran, and there are at least {least}"))
        }
        (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_do_not_run_fail() {
        assert_eq!(judge(true, 9, 9), None);
        assert!(judge(false, 9, 9).is_some());
        assert!(judge(true, 0, 9).is_some());
    }
}
