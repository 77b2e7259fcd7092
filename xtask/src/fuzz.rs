//! `cargo xtask fuzz`: every target of the package `fuzz` under libFuzzer, for some seconds each.

mod report;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::report::{Report, Run};
use crate::cmd::{Outcome, run_cargo, run_logged};
use crate::workspace::{Workspace, cargo};

/// What has the compiler put counters into every branch, and tell libFuzzer what is compared. All of them are stable.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Longer inputs say nothing new, and cost time.
const MAX_INPUT: usize = 4096;

/// The command line.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    seconds: u64,
    targets: Vec<String>,
    /// One input to run, in place of a search.
    input: Option<PathBuf>,
}

impl Options {
    fn parse(args: &[String], known: &[String]) -> Result<Self> {
        let mut options = Self { seconds: 60, targets: Vec::new(), input: None };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().with_context(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--seconds" => options.seconds = value()?.parse().context("--seconds needs a number")?,
                "--target" => options.targets.push(value()?.clone()),
                "--input" => options.input = Some(value()?.into()),
                _ => bail!("fuzz does not know `{flag}`"),
            }
        }
        for name in &options.targets {
            ensure!(known.contains(name), "no target `{name}`; there are {}", known.join(", "));
        }
        // 0 is libFuzzer's way to say that it shall go on for ever.
        ensure!(options.seconds > 0, "--seconds is 0");
        ensure!(options.input.is_none() || options.targets.len() == 1, "--input needs one --target");
        if options.targets.is_empty() {
            options.targets = known.to_vec();
        }
        Ok(options)
    }
}

/// Runs the command; the answer is whether no target crashed.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let corpus = workspace.root.join("fuzz/corpus");
    let options = Options::parse(args, &folders(&corpus)?)?;
    let folder = workspace.target.join("fuzz");
    let fuzzer = Fuzzer { program: build(workspace, &folder)?, corpus, folder };
    if let (Some(input), [target]) = (&options.input, options.targets.as_slice()) {
        let input = fs::canonicalize(input).with_context(|| format!("no file {}", input.display()))?;
        let outcome = run_logged(fuzzer.command(target, &[input.into()]), &fuzzer.log(target))?;
        println!("{}", outcome.output);
        return Ok(outcome.success);
    }
    println!("{}", Report::HEADER);
    let mut report = Report::default();
    for target in &options.targets {
        let run = fuzzer.search(target, options.seconds)?;
        println!("{}", run.line());
        report.add(run);
    }
    println!("{}", report.closing_line());
    Ok(report.passed())
}

/// The names of the targets are those of the corpus's folders: a test of the package holds that.
fn folders(corpus: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(corpus).with_context(|| format!("cannot list {}", corpus.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", corpus.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The step of `cargo xtask ci`: whether libFuzzer's side of the targets, which no row builds, is still right.
pub(crate) fn lint(workspace: &Workspace) -> Result<Outcome> {
    let manifest = manifest(workspace)?;
    let args = ["clippy", "--manifest-path", &manifest.to_string_lossy(), "--", "-D", "warnings"];
    // Nothing is linked, so that libFuzzer itself need not be there.
    run_cargo(
        workspace,
        "clippy fuzz coverage",
        &args,
        &[("CUSTOM_LIBFUZZER_PATH", "/not-linked/libfuzzer.a")],
    )
}

/// The manifest of the crate that is built with coverage.
fn manifest(workspace: &Workspace) -> Result<PathBuf> {
    // The versions that everything else is tested with, and no second list of them to look after.
    let coverage = workspace.root.join("fuzz/coverage");
    fs::copy(workspace.root.join("Cargo.lock"), coverage.join("Cargo.lock"))
        .context("cannot copy Cargo.lock")?;
    Ok(coverage.join("Cargo.toml"))
}

fn build(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    if let Some(missing) = missing() {
        bail!("cannot build libFuzzer: {missing}");
    }
    let (manifest, build) = (manifest(workspace)?, folder.join("build"));
    let (manifest, target) = (manifest.to_string_lossy(), build.to_string_lossy());
    let host = host()?;
    // With a target that is named, build scripts and macros are built without the flags.
    let args =
        ["build", "--release", "--manifest-path", &manifest, "--target-dir", &target, "--target", &host];
    println!("building with coverage");
    let outcome = run_cargo(workspace, "fuzz build", &args, &[("RUSTFLAGS", COUNTERS)])?;
    ensure!(outcome.success, "the build failed:\n{}", outcome.output);
    Ok(build.join(host).join("release/coverage"))
}

/// What is not there to build libFuzzer with, which is C++.
fn missing() -> Option<String> {
    if !cfg!(unix) {
        return Some("it runs on Linux and macOS".to_owned());
    }
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let found = Command::new(&compiler).arg("--version").output().is_ok_and(|output| output.status.success());
    (!found)
        .then(|| format!("there is no C++ compiler `{compiler}` (Debian's package g++; CXX names another)"))
}

fn host() -> Result<String> {
    let output = Command::new(cargo()).arg("-vV").output().context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host =
        text.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo does not name its host")?;
    Ok(host.to_owned())
}

struct Fuzzer {
    program: PathBuf,
    /// The committed inputs, a folder for each target.
    corpus: PathBuf,
    /// Where inputs that were found are, crashes and logs.
    folder: PathBuf,
}

impl Fuzzer {
    fn command(&self, target: &str, args: &[OsString]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("TOK_FUZZ_TARGET", target).args(args);
        command
    }

    fn log(&self, target: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{target}.log"))
    }

    fn search(&self, target: &str, seconds: u64) -> Result<Run> {
        let [found, crashes] = ["corpus", "crashes"].map(|name| self.folder.join(name).join(target));
        for folder in [&found, &crashes] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let before = folders(&crashes)?;
        let args = [
            format!("-max_total_time={seconds}"),
            format!("-max_len={MAX_INPUT}"),
            "-timeout=20".to_owned(),
            "-print_final_stats=1".to_owned(),
            format!("-artifact_prefix={}/", crashes.display()),
        ];
        let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        // New inputs go to the first.
        args.extend([found.into(), self.corpus.join(target).into()]);
        let log = self.log(target);
        let outcome = run_logged(self.command(target, &args), &log)?;
        let new: Vec<PathBuf> = folders(&crashes)?
            .into_iter()
            .filter(|name| !before.contains(name))
            .map(|name| crashes.join(name))
            .collect();
        Ok(Run::read(target, outcome.success, &outcome.output, new, &log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&args, &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn all_targets_run_unless_some_are_named() {
        let all = parse("").unwrap();
        assert_eq!((all.seconds, all.targets.len(), all.input), (60, 2, None));
        let one = parse("--target b --seconds 5 --input file").unwrap();
        assert_eq!((one.seconds, one.targets, one.input), (5, vec!["b".to_owned()], Some("file".into())));
    }

    #[test]
    fn what_it_does_not_know_is_an_error() {
        for line in
            ["--fast", "--seconds", "--seconds x", "--seconds 0", "--target c", "--target", "--input x"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--target c").unwrap_err().to_string().contains("a, b"));
    }
}
