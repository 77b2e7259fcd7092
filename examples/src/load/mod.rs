//! The load tool: puts one kind of load on any WebSocket server that speaks the gateway's contract, and measures it.
//!
//! It runs on one thread and spends little per message, so that on a core of its own it is not what is measured: its
//! frames are built once, and those that arrive are counted by their headers. The server's CPU time and memory come
//! from the operating system, by process id.

mod client;
pub(crate) mod frame;
mod histogram;
mod idle;
pub(crate) mod process;
mod traffic;

use std::{error::Error, fmt, io, net::SocketAddr, str::FromStr, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

pub use self::histogram::Histogram;
use self::{client::Client, process::Process};

/// What `load --help` prints.
pub const HELP: &str = "\
load: one kind of load on a server that speaks the gateway's contract; prints one line of JSON

  --addr ADDR        the server's WebSocket listener
  --scenario NAME    fan-out, rooms, echo, relay, pipelined, idle, connect
  --pid PID          the server's process, for its CPU time and memory
  --connections N    2000 for fan-out and rooms, 256 for echo and relay, 16 for pipelined, 10000 for idle,
                     4000 for connect
  --size BYTES       payload of a message (100; 20480 for idle)
  --messages N       messages sent at once on each connection of pipelined (2000)
  --warmup S         traffic before the measurement (0.5)
  --seconds S        the measurement (3)";

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scenario {
    /// One `B` at a time to everybody.
    FanOut,
    /// One `R` at a time in each room of ten connections.
    Rooms,
    /// One `E` at a time on each connection.
    Echo,
    /// One `T` at a time from each connection to its partner.
    Relay,
    /// Many `E` at once on each connection; the answers have to be in order.
    Pipelined,
    /// Connections that do nothing, before and after each echoed one long message: the server's memory.
    Idle,
    /// Logins, and nothing else.
    Connect,
}

impl Scenario {
    /// Every scenario with its name.
    pub const ALL: [(Self, &str); 7] = [
        (Self::FanOut, "fan-out"),
        (Self::Rooms, "rooms"),
        (Self::Echo, "echo"),
        (Self::Relay, "relay"),
        (Self::Pipelined, "pipelined"),
        (Self::Idle, "idle"),
        (Self::Connect, "connect"),
    ];

    fn connections(self) -> usize {
        match self {
            Self::FanOut | Self::Rooms => 2000,
            Self::Echo | Self::Relay => 256,
            Self::Pipelined => 16,
            Self::Idle => 10_000,
            Self::Connect => 4000,
        }
    }
}

/// What to do, from the command line.
#[derive(Clone, Debug)]
#[allow(missing_docs, clippy::exhaustive_structs)] // HELP says what each is.
pub struct Config {
    pub addr: SocketAddr,
    pub scenario: Scenario,
    pub pid: Option<u32>,
    pub connections: usize,
    pub size: usize,
    pub messages: usize,
    pub warmup: Duration,
    pub window: Duration,
}

/// A command line that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}

impl Config {
    /// Reads the flags, of which `--addr` and `--scenario` must be there.
    ///
    /// # Errors
    /// The flag that is unknown, misses its value or has one that cannot be used.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, UsageError> {
        let (mut addr, mut scenario, mut pid) = (None, None, None);
        let (mut connections, mut size, mut messages) = (None, None, 2000);
        let (mut warmup, mut window) = (0.5, 3.0);
        let mut args = args.into_iter();
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| UsageError(format!("{flag} needs a value")))?;
            match flag.as_str() {
                "--addr" => addr = Some(value_of(&flag, &value)?),
                "--scenario" => {
                    let known = Scenario::ALL.iter().find(|(_, name)| *name == value);
                    scenario = Some(known.ok_or_else(|| UsageError(format!("no scenario `{value}`")))?.0);
                }
                "--pid" => pid = Some(value_of(&flag, &value)?),
                "--connections" => connections = Some(value_of(&flag, &value)?),
                "--size" => size = Some(value_of(&flag, &value)?),
                "--messages" => messages = value_of(&flag, &value)?,
                "--warmup" => warmup = value_of(&flag, &value)?,
                "--seconds" => window = value_of(&flag, &value)?,
                _ => return Err(UsageError(format!("no flag `{flag}`"))),
            }
        }
        let scenario: Scenario = scenario.ok_or_else(|| UsageError("--scenario is missing".to_owned()))?;
        let config = Self {
            addr: addr.ok_or_else(|| UsageError("--addr is missing".to_owned()))?,
            scenario,
            pid,
            connections: connections.unwrap_or_else(|| scenario.connections()),
            size: size.unwrap_or(if scenario == Scenario::Idle { 20 * 1024 } else { 100 }),
            messages,
            warmup: seconds("--warmup", warmup)?,
            window: seconds("--seconds", window)?,
        };
        let least = if scenario == Scenario::Relay { 2 } else { 1 };
        if config.connections < least || config.messages == 0 || config.size < MIN_SIZE {
            return Err(UsageError(format!(
                "at least {least} connections, 1 message and {MIN_SIZE} bytes are needed"
            )));
        }
        Ok(config)
    }
}

/// Room for an operation, a uid and a number.
const MIN_SIZE: usize = 16;

fn value_of<T: FromStr>(flag: &str, value: &str) -> Result<T, UsageError> {
    value.parse().map_err(|_| UsageError(format!("{flag} cannot be `{value}`")))
}

fn seconds(flag: &str, value: f64) -> Result<Duration, UsageError> {
    Duration::try_from_secs_f64(value).map_err(|_| UsageError(format!("{flag} cannot be `{value}`")))
}

/// What was measured; `None` where the scenario does not measure it, or no process id was given.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(clippy::exhaustive_structs)] // Plain data.
pub struct Report {
    /// Messages that arrived at clients in the window, or logins.
    pub delivered: u64,
    /// `delivered` per second.
    pub per_second: f64,
    /// Messages that arrived in another order than sent.
    pub out_of_order: u64,
    /// The server's CPU time per delivered message or login, in microseconds.
    pub cpu_us: Option<f64>,
    /// The share of its own core that the tool used: near 1, it was the tool that could do no more.
    pub tool_load: f64,
    /// From a message to its answer; in fan-out to the last receiver, in pipelined to the last answer. Milliseconds.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// See `p50_ms`.
    pub max_ms: f64,
    /// The server's resident memory per connection that never sent anything, in KiB.
    pub idle_kib: Option<f64>,
    /// The same after each connection had one long message echoed and went idle again.
    pub idle_after_kib: Option<f64>,
}

/// Puts the load on the server and measures. Runs on the calling task's thread, which should be tokio's
/// current-thread runtime; dropping it closes every connection.
///
/// # Errors
/// A connection that is refused, fails or gets what it did not ask for ends the run.
pub async fn run(config: &Config) -> io::Result<Report> {
    match config.scenario {
        Scenario::FanOut | Scenario::Rooms | Scenario::Echo | Scenario::Relay | Scenario::Pipelined => {
            traffic::run(config).await
        }
        Scenario::Idle => idle::run(config).await,
        Scenario::Connect => idle::connect(config).await,
    }
}

impl Config {
    fn server(&self) -> Option<Process> {
        self.pid.map(Process)
    }
}

/// Logins under way at once.
const LOGINS: usize = 64;

/// Logs everybody in. A login has taken effect when its first answer is there: `settle` waits for it.
async fn log_in(config: &Config, settle: bool) -> io::Result<Vec<Client>> {
    let mut hello = Vec::new();
    frame::push_masked(&mut hello, frame::TEXT, b"E");
    let hello = &hello;
    stream::iter(0..config.connections)
        .map(|index| async move {
            let mut client = Client::connect(config.addr, &uid(index)).await?;
            if settle {
                client.send(hello)?;
                client.expect(b'E', 1).await?;
            }
            Ok(client)
        })
        .buffered(LOGINS)
        .try_collect()
        .await
}

fn uid(index: usize) -> String {
    format!("u{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Config, UsageError> {
        Config::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn each_scenario_has_its_number_of_connections_unless_told() {
        for (scenario, name) in Scenario::ALL {
            let line = format!("--addr 127.0.0.1:1 --scenario {name}"); // port: parsed only
            assert_eq!(parse(&line).unwrap().connections, scenario.connections());
            assert_eq!(parse(&format!("{line} --connections 7")).unwrap().connections, 7);
        }
    }

    #[test]
    fn a_bad_command_line_is_an_error() {
        for line in [
            "",
            "--addr nowhere --scenario echo",
            "--addr 127.0.0.1:1",                                  // port: parsed only
            "--addr 127.0.0.1:1 --scenario none",                  // port: parsed only
            "--addr 127.0.0.1:1 --scenario echo --size",           // port: parsed only
            "--addr 127.0.0.1:1 --scenario echo --size 1",         // port: parsed only
            "--addr 127.0.0.1:1 --scenario echo --seconds -1",     // port: parsed only
            "--addr 127.0.0.1:1 --scenario relay --connections 1", // port: parsed only
            "--addr 127.0.0.1:1 --scenario echo --loudness 11",    // port: parsed only
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
