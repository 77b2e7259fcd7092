//! The runner of the cases: a Python package, in a virtual environment under `target/`. (`autobahntestsuite` itself needs
//! Python 2 to this day; `kosoku` runs the same case files.)

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;

const PACKAGE: &str = "kosoku";
const VERSION: &str = "0.1.0";

/// Cases that run at once. Most time goes into waits that the cases prescribe: 6.4.3 and 6.4.4 take 2 s each.
const PARALLEL: &str = "8";

/// Many times what the cases take.
const PATIENCE: Duration = Duration::from_secs(300);

/// An installed runner.
#[derive(Debug)]
pub(super) struct Kosoku {
    python: PathBuf,
    /// Where reports and logs go.
    dir: PathBuf,
}

impl Kosoku {
    /// Installs it, unless it is there.
    ///
    /// # Errors
    /// Python, its `venv` module or the package is not to be had; the message says which, and what to do.
    pub(super) fn install(workspace: &Workspace) -> Result<Self> {
        let dir = workspace.target.join("xtask").join("autobahn");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let lock = File::create(dir.join("lock")).context("cannot create the lock of the environment")?;
        lock.lock().context("cannot lock the environment")?;
        let venv = dir.join("venv");
        let kosoku = Self { python: venv.join("bin").join("python"), dir };
        if !kosoku.is_installed() {
            println!("installing {PACKAGE} {VERSION}");
            let args = [OsStr::new("-m"), "venv".as_ref(), "--clear".as_ref(), venv.as_ref()];
            finish("python3".as_ref(), &args).context(
                "cannot make a Python environment for the runner of the cases; \
                 it takes python3, 3.10 or later, with its venv module (Debian: apt install python3-venv)",
            )?;
            let package = format!("{PACKAGE}=={VERSION}");
            let args = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &package];
            finish(kosoku.python.as_ref(), &args.map(OsStr::new)).with_context(|| {
                format!(
                    "pip cannot install {package}, the runner of the cases; is the package index reachable?"
                )
            })?;
            ensure!(kosoku.is_installed(), "pip installed {PACKAGE} {VERSION}, and it is not there");
        }
        Ok(kosoku)
    }

    /// Asks the environment itself: it may be of another version, half made, or moved.
    fn is_installed(&self) -> bool {
        let print = format!("from importlib.metadata import version; print(version('{PACKAGE}'))");
        let output = Command::new(&self.python).args(["-c", &print]).stdin(Stdio::null()).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == VERSION)
    }

    /// Runs the core and limits cases against the server at this address; the suite's `index.json`.
    pub(super) fn run(&self, name: &str, address: &str) -> Result<Vec<u8>> {
        let reports = self.dir.join(name);
        // Not to take an old report for this run's.
        match fs::remove_dir_all(&reports) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", reports.display()));
            }
            _ => {}
        }
        let log = self.dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = Command::new(self.python.with_file_name(PACKAGE))
            .args(["--mode", "fuzzingclient", "--exclude", "12.*", "--exclude", "13.*"])
            .args(["--parallelism", PARALLEL, "--outdir"])
            .args([reports.as_os_str(), address.as_ref()])
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot share the log between the two output streams")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot run {PACKAGE}"))?;
        // Its exit status is not asked for: the report says more, and what it lacks fails.
        wait(&mut child).with_context(|| format!("see {}", log.display()))?;
        let index = reports.join("index.json");
        fs::read(&index).with_context(|| format!("no {}; see {}", index.display(), log.display()))
    }
}

/// Waits for the end, and ends what takes too long.
fn wait(child: &mut Child) -> Result<()> {
    let begin = Instant::now();
    while child.try_wait().context("cannot wait for the cases")?.is_none() {
        if begin.elapsed() > PATIENCE {
            // It may have ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            bail!("the cases did not end within {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Runs a command to its end; what it wrote is the error if it fails.
fn finish(program: &OsStr, args: &[&OsStr]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&said).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failing_command_says_is_the_error() {
        let fails = ["-c", "echo no ensurepip; exit 1"].map(OsStr::new);
        assert_eq!(finish("sh".as_ref(), &fails).unwrap_err().to_string(), "no ensurepip");
        let error = finish("no-such-python".as_ref(), &[]).unwrap_err().to_string();
        assert!(error.contains("no-such-python"), "{error}");
        assert!(finish("sh".as_ref(), &["-c", "true"].map(OsStr::new)).is_ok());
    }

    #[test]
    fn an_environment_that_is_not_there_is_not_installed() {
        let kosoku = Kosoku { python: "/nowhere/bin/python".into(), dir: "/nowhere".into() };
        assert!(!kosoku.is_installed());
        // A Python that has no such package.
        let kosoku = Kosoku { python: "false".into(), dir: "/nowhere".into() };
        assert!(!kosoku.is_installed());
    }
}
