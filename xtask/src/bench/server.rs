//! Starts one server and the load tool, each on a core of its own, and reads what the tool found.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::case::Case;

/// Ten thousand connections are more than the usual soft limit of open files.
const RAISE_FILES: &str = r#"ulimit -S -n "$(ulimit -H -n)"; exec "$@""#;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Floor,
    AxumHub,
    /// With this engine.
    Gateway(&'static str),
    /// Started by somebody else; without a process id its CPU time and memory are not known.
    Elsewhere {
        addr: String,
        pid: Option<String>,
    },
}

impl Server {
    /// Whether the case has anything to measure there: memory only with a process to look at, rooms only where there
    /// are some.
    pub(super) fn can_tell(&self, case: &Case) -> bool {
        match self {
            Self::Floor | Self::AxumHub => !case.name.starts_with("rooms"),
            Self::Elsewhere { pid: None, .. } => case.name != "idle",
            Self::Gateway(_) | Self::Elsewhere { .. } => true,
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floor => f.write_str("floor"),
            Self::AxumHub => f.write_str("axum hub"),
            Self::Gateway(engine) => write!(f, "gateway, {engine}"),
            Self::Elsewhere { addr, .. } => f.write_str(addr),
        }
    }
}

/// Whether processes can be kept on a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pinning {
    Cores,
    NoTaskset,
    OneCore,
}

impl Pinning {
    pub(super) fn find() -> Self {
        if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
            return Self::OneCore;
        }
        let mut taskset = Command::new("taskset");
        taskset.args(["-c", "0,1", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        if taskset.status().is_ok_and(|status| status.success()) { Self::Cores } else { Self::NoTaskset }
    }
}

impl fmt::Display for Pinning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cores => "servers on core 0, the load tool on core 1, one worker thread",
            Self::NoTaskset => {
                "one worker thread; nothing is pinned, because there is no `taskset`: expect noise"
            }
            Self::OneCore => "one worker thread; servers and the load tool share one core: expect noise",
        })
    }
}

/// Where the programs are, and how they are run.
#[derive(Debug)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) pinning: Pinning,
}

/// A process that ends with its owner.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Binaries {
    /// Starts the server, unless it runs elsewhere, puts the load on it and stops it.
    pub(super) fn measure(&self, server: &Server, case: &Case, quick: bool) -> Result<Value> {
        let (name, args): (&str, &[&str]) = match server {
            Server::Floor => ("peer-floor", &[]),
            Server::AxumHub => ("peer-axum-hub", &[]),
            Server::Gateway(engine) => ("gateway", &["--engine", engine]),
            Server::Elsewhere { addr, pid } => return self.load(addr, pid.as_deref(), case, quick),
        };
        let mut command = self.command(0, name);
        command.args(args).args(["--ws", "127.0.0.1:0", "--workers", "1"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running(command.spawn().with_context(|| format!("cannot start {name}"))?);
        let stdout = running.0.stdout.take().context("no pipe to read the ready line from")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("cannot read the ready line")?;
        let addr = line.split_whitespace().find_map(|word| word.strip_prefix("ws="));
        let addr = addr.with_context(|| format!("{name} said `{}` instead of being ready", line.trim()))?;
        self.load(addr, Some(&running.0.id().to_string()), case, quick)
    }

    fn load(&self, addr: &str, pid: Option<&str>, case: &Case, quick: bool) -> Result<Value> {
        let mut command = self.command(1, "load");
        command.args(if quick { case.quick } else { case.args }).args(["--addr", addr]);
        command.args(pid.into_iter().flat_map(|pid| ["--pid", pid]));
        let output = command.stdin(Stdio::null()).output().context("cannot start the load tool")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        serde_json::from_slice(&output.stdout).context("the load tool's report is not JSON")
    }

    /// A program of ours on this core. Each step replaces the one before, so that the child's id is the program's.
    fn command(&self, core: u8, name: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", RAISE_FILES, "sh"]);
        if self.pinning == Pinning::Cores {
            command.args(["taskset", "-c", &core.to_string()]);
        }
        command.arg(self.dir.join(name));
        command
    }
}
