//! `cargo xtask ci`: everything that a change must pass. All steps run, so that one run tells all that is wrong.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cmd::run_cargo;
use crate::matrix::ROWS;
use crate::workspace::Workspace;
use crate::{autobahn, brokers, browser, fuzz, interleavings, sim, stress, test_matrix, tidy};

/// What rows of the matrix need beside Rust.
const NEEDS: &[(&str, Install)] =
    &[("browser installed", browser::install), ("brokers installed", brokers::install)];

type Install = fn() -> Result<()>;

/// One command of cargo with a name for the summary.
struct Step {
    name: String,
    args: Vec<String>,
    envs: &'static [(&'static str, &'static str)],
}

/// How a step ended, for the summary.
struct Ended {
    name: String,
    passed: bool,
    elapsed: Duration,
}

/// Runs the command; the answer is whether every step passed.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let skip_matrix = match args {
        [] => false,
        [only] if only == "--skip-matrix" => true,
        _ => bail!("ci takes no arguments but --skip-matrix"),
    };
    let packages: Vec<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    let mut ended = Vec::new();
    for step in steps(&packages) {
        let args: Vec<&str> = step.args.iter().map(String::as_str).collect();
        let outcome = run_cargo(workspace, &step.name, &args, step.envs)?;
        if !outcome.success {
            println!("$ cargo {}\n{}", step.args.join(" "), outcome.output);
        }
        report(&mut ended, Ended { name: step.name, passed: outcome.success, elapsed: outcome.elapsed });
    }

    let name = "clippy fuzz/coverage".to_owned();
    let outcome = fuzz::lint(workspace)?;
    if !outcome.success {
        println!("{}", outcome.output);
    }
    report(&mut ended, Ended { name, passed: outcome.success, elapsed: outcome.elapsed });

    let begin = Instant::now();
    let passed = tidy::run(workspace, &[])?;
    report(&mut ended, Ended { name: "tidy".to_owned(), passed, elapsed: begin.elapsed() });

    let begin = Instant::now();
    let passed = sim::run_for_ci(workspace).unwrap_or_else(|error| {
        println!("error: {error:#}");
        false
    });
    report(&mut ended, Ended { name: "sim".to_owned(), passed, elapsed: begin.elapsed() });

    // The examples are rows of the matrix and need no step of their own.
    let mut closing_line = None;
    if !skip_matrix {
        // Before the long part: rows of the matrix need them.
        for (name, install) in NEEDS {
            let begin = Instant::now();
            let passed = install().inspect_err(|error| println!("error: {error:#}")).is_ok();
            report(&mut ended, Ended { name: (*name).to_owned(), passed, elapsed: begin.elapsed() });
        }

        let begin = Instant::now();
        let matrix = test_matrix::run_rows(workspace, ROWS, false)?;
        let passed = matrix.passed();
        report(&mut ended, Ended { name: "test-matrix".to_owned(), passed, elapsed: begin.elapsed() });
        closing_line = Some(matrix.closing_line());
    }

    let begin = Instant::now();
    let passed = interleavings::run(workspace, &[])?;
    report(&mut ended, Ended { name: "interleavings".to_owned(), passed, elapsed: begin.elapsed() });

    let begin = Instant::now();
    let passed = autobahn::run(workspace, &[]).unwrap_or_else(|error| {
        println!("error: {error:#}");
        false
    });
    report(&mut ended, Ended { name: "autobahn".to_owned(), passed, elapsed: begin.elapsed() });

    let begin = Instant::now();
    let passed = stress::run_for_ci(workspace).unwrap_or_else(|error| {
        println!("error: {error:#}");
        false
    });
    report(&mut ended, Ended { name: "stress".to_owned(), passed, elapsed: begin.elapsed() });

    println!("{}", summary(&ended));
    if let Some(line) = closing_line {
        println!("{line}");
    }
    Ok(ended.iter().all(|step| step.passed))
}

fn steps(packages: &[&str]) -> Vec<Step> {
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    let step = |name: String, args: &[&str], envs| Step {
        name,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        envs,
    };
    let mut steps = vec![step("fmt".to_owned(), &["fmt", "--all", "--check"], &[])];
    for package in packages {
        for features in ["--all-features", "--no-default-features"] {
            let mut args = vec!["clippy", "--package", package, "--all-targets", features];
            args.extend(DENY);
            steps.push(step(format!("clippy {package} {}", &features[2..]), &args, &[]));
        }
    }
    // Once more per row and without tests: dev-dependencies turn on features of other crates, and so hide from the
    // steps above and from the matrix that a package alone would not build for its users.
    for row in ROWS {
        let select = row.cargo_args();
        let mut args = vec!["clippy"];
        args.extend(select.iter().map(String::as_str));
        args.extend(DENY);
        steps.push(step(format!("clippy {}", row.name()), &args, &[]));
    }
    for package in packages {
        let args = ["doc", "--no-deps", "--package", package, "--all-features"];
        steps.push(step(format!("doc {package}"), &args, &[("RUSTDOCFLAGS", "-D warnings")]));
    }
    steps
}

fn report(ended: &mut Vec<Ended>, step: Ended) {
    println!("{}", step.line());
    ended.push(step);
}

fn summary(ended: &[Ended]) -> String {
    let total: Duration = ended.iter().map(|step| step.elapsed).sum();
    let failing: Vec<String> = ended.iter().filter(|step| !step.passed).map(Ended::line).collect();
    let verdict = match failing.len() {
        0 => "all passed".to_owned(),
        count => format!("{count} FAILED:\n{}", failing.join("\n")),
    };
    format!("\nci: {} steps, {:.1} s, {verdict}", ended.len(), total.as_secs_f64())
}

impl Ended {
    fn line(&self) -> String {
        let verdict = if self.passed { "ok" } else { "FAILED" };
        format!("{:<56} {:>7.1} s  {verdict}", self.name, self.elapsed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_linted_and_documented_alone() {
        let steps = steps(&["a", "b"]);
        let lines: Vec<String> = steps.iter().map(|step| step.args.join(" ")).collect();
        for package in ["a", "b"] {
            for wanted in [
                format!("clippy --package {package} --all-targets --all-features -- -D warnings"),
                format!("clippy --package {package} --all-targets --no-default-features -- -D warnings"),
                format!("doc --no-deps --package {package} --all-features"),
            ] {
                assert!(lines.contains(&wanted), "no step {wanted}");
            }
        }
        assert!(lines.contains(&"fmt --all --check".to_owned()));
        assert!(lines.iter().all(|line| !line.contains("--workspace")));
    }

    #[test]
    fn the_summary_names_every_failing_step() {
        let step =
            |name: &str, passed| Ended { name: name.to_owned(), passed, elapsed: Duration::from_secs(1) };
        let text = summary(&[step("fmt", false), step("doc a", true), step("tidy", false)]);
        assert!(text.contains("2 FAILED") && text.contains("fmt") && text.contains("tidy"), "{text}");
        assert!(!text.contains("doc a"), "{text}");
        assert!(summary(&[step("fmt", true)]).contains("all passed"));
    }
}
