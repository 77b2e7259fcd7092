//! Gateways and the servers of their queues, as processes.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use brokers::{NatsServer, RedisServer};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    gateways::Addresses,
    plan::{DRAIN_SECONDS, Queue},
    world::{GUARD, guarded},
};

/// On a loaded machine a process that has ended in time may be seen to end later. How long drains took is in the report.
const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// A gateway. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Gateway {
    program: PathBuf,
    flags: Vec<String>,
    /// What it wrote to stderr, all its processes one behind the other.
    log: PathBuf,
    child: Child,
    _stdout: BufReader<ChildStdout>,
    pub(super) addresses: Addresses,
}

impl Gateway {
    /// Starts one with these flags and waits until it listens.
    pub(super) async fn start(program: &Path, flags: Vec<String>, log: PathBuf) -> Result<Self, String> {
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        let errors = File::options().create(true).append(true).open(&log);
        let errors = errors.map_err(|error| failed("the gateway's log", error))?;
        let before = fs::metadata(&log).map_or(0, |log| log.len());
        let mut child = Command::new(program)
            .args([
                "--ws",
                "127.0.0.1:0",
                "--tcp",
                "127.0.0.1:0",
                "--drain-timeout",
                &DRAIN_SECONDS.to_string(),
            ])
            .args(&flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed("the gateway does not start", error))?;
        let stdout = child.stdout.take().ok_or("no pipe")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let read = guarded(stdout.read_line(&mut line)).await;
        if let Some(addresses) = ready(&line) {
            let program = program.to_owned();
            return Ok(Self { program, flags, log, child, _stdout: stdout, addresses });
        }
        if read.is_none() {
            return Err(format!("no ready line in {} s: {flags:?}", GUARD.as_secs()));
        }
        let status = child.wait().await.map_err(|error| failed("the gateway's end", error))?;
        let said = fs::read(&log).unwrap_or_default();
        let said = String::from_utf8_lossy(said.get(before as usize..).unwrap_or_default()).trim().to_owned();
        Err(format!("the gateway ended with {status}: {said} ({flags:?})"))
    }

    /// A new process with the same flags, in place of one that has ended.
    pub(super) async fn again(&mut self) -> Result<(), String> {
        *self = Self::start(&self.program.clone(), self.flags.clone(), self.log.clone()).await?;
        Ok(())
    }

    /// The process, unless it was seen to end: its id may be another's then.
    fn pid(&self) -> io::Result<u32> {
        self.child.id().ok_or_else(|| io::Error::other("the gateway has ended"))
    }

    pub(super) async fn signal(&self, name: &str) -> io::Result<()> {
        let pid = self.pid()?.to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().await?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill -s {name}: {status}"))) }
    }

    /// `SIGKILL`, and waits for the end.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// `SIGTERM`, and waits for the end, which has to come in time and with status 0; how long it took.
    pub(super) async fn drain(&mut self) -> Result<Duration, String> {
        self.signal("TERM").await.map_err(|error| error.to_string())?;
        let begin = Instant::now();
        let limit = Duration::from_secs(DRAIN_SECONDS) + DRAIN_GRACE;
        match timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) if status.code() == Some(0) => Ok(begin.elapsed()),
            Ok(Ok(status)) => Err(format!("drained, the gateway ended with {status}: {}", self.last_words())),
            Ok(Err(error)) => Err(format!("cannot wait for the gateway: {error}")),
            Err(_) => {
                let _ = self.kill().await;
                Err(format!("the gateway did not drain in {} s", limit.as_secs()))
            }
        }
    }

    /// How it has ended, if it has.
    pub(super) fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the gateway ended by itself with {status}: {}", self.last_words()))
    }

    /// What it wrote about panics.
    pub(super) fn panics(&self) -> Vec<String> {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        said.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
    }

    /// After a drain: how many sessions it had to cut off.
    pub(super) fn cut_off(&self) -> Option<usize> {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let drained = said.lines().rev().find(|line| line.contains(" drained "))?;
        drained.split(' ').find_map(|word| word.strip_prefix("cut_off=")?.parse().ok())
    }

    fn last_words(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// Resident bytes and open files.
    pub(super) fn held(&self) -> io::Result<(u64, usize)> {
        let pid = self.pid()?;
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok((crate::load::process::Process(pid).resident()?, files))
    }
}

fn ready(line: &str) -> Option<Addresses> {
    let find = |name| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok());
    line.starts_with("ready ").then_some(())?;
    Some(Addresses { ws: find("ws=")?, tcp: find("tcp=")?, metrics: find("metrics=") })
}

/// The server that a queue is on, and where the nodes of a cluster meet.
#[derive(Debug)]
pub(super) enum Broker {
    Nats(NatsServer),
    Redis(RedisServer),
}

impl Broker {
    /// Starts one for this queue, if it needs one; what it acknowledges is on disk.
    pub(super) fn start(queue: Queue) -> Option<Result<Self, String>> {
        let server = match queue {
            Queue::Memory | Queue::Redb => return None,
            Queue::Nats => NatsServer::synced().map(Self::Nats),
            Queue::Redis => RedisServer::synced().map(Self::Redis),
        };
        Some(server.map_err(|error| format!("{queue}: {error:#}")))
    }

    /// What `--queue` is given.
    pub(super) fn flag(&self) -> String {
        match self {
            Self::Nats(_) => format!("nats:{}", self.url()),
            Self::Redis(_) => format!("redis:{}", self.url()),
        }
    }

    /// What `--cluster` is given.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Nats(server) => server.url(),
            Self::Redis(server) => server.url(),
        }
    }

    pub(super) fn kill(&mut self) -> Result<(), String> {
        text(match self {
            Self::Nats(server) => server.kill(),
            Self::Redis(server) => server.kill(),
        })
    }

    pub(super) fn restart(&mut self) -> Result<(), String> {
        text(match self {
            Self::Nats(server) => server.restart(),
            Self::Redis(server) => server.restart(),
        })
    }

    pub(super) fn suspend(&self) -> Result<(), String> {
        text(match self {
            Self::Nats(server) => server.suspend(),
            Self::Redis(server) => server.suspend(),
        })
    }

    pub(super) fn resume(&self) -> Result<(), String> {
        text(match self {
            Self::Nats(server) => server.resume(),
            Self::Redis(server) => server.resume(),
        })
    }
}

#[allow(clippy::needless_pass_by_value)] // What the calls above return.
fn text<E: std::fmt::Debug>(result: Result<(), E>) -> Result<(), String> {
    result.map_err(|error| format!("{error:?}"))
}
