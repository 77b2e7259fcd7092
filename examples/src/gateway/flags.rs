//! The command line of `gateway`.

mod value;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use tok_core::Sso;
use tok_ws::{Origins, WsEngine};

use self::value::{address, at_least_one, invalid, number, one_of, queue, seconds};
use super::QueueName;

/// What `gateway --help` prints.
pub const HELP: &str = "\
gateway: every crate of tok behind flags

  --ws ADDR  --tcp ADDR  --unix PATH   listeners, all on one hub; --ws 127.0.0.1:9001 when none is given
  --engine NAME          tokio-tungstenite, async-tungstenite, tokio-websockets
  --frames KIND          WebSocket frames sent: auto, text, binary (auto)
  --echo                 every message goes back to its own connection; any path, the uid may be missing
  --runtime NAME         tokio, smol (tokio)
  --workers N            runtime worker threads (one a core)
  --sso WHICH            sessions that a login ends: user, device, off (user)
  --queue WHICH          where messages wait for users who are away: memory, none, redb:FILE, nats:URL,
                         redis:URL (memory)
  --write-back           durable queue: keep what is live and unconfirmed in memory only; a crash loses it
  --token SECRET         every login must carry it
  --origin ORIGIN        allowed Origin, may be given again (same host)
  --auth-timeout S       from accept to the end of the login; 0: no limit (5)
  --read-timeout S       closes a connection that sends nothing for so long; 0: off (0)
  --write-timeout S      closes a connection that takes nothing for so long; 0: no limit (60)
  --ping-interval S      keep-alive; 0: off (30)
  --drain-timeout S      how long SIGTERM and SIGINT may take (10)
  --max-message BYTES    largest incoming message (1048576)
  --max-connections N    logged-in sessions; 0: no limit (0)
  --max-per-user N       logged-in sessions of one user; 0: no limit (0)
  --max-backlog BYTES    outbound bytes that wait for one connection (1048576)
  --max-queued N         messages kept for one user, and 8 KiB for each of them, at least 8 MiB (1000)

A flag and its value may also be one argument: --tcp=127.0.0.1:9002.";

/// What the command line asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// `--help`.
    Help,
    /// Serve.
    Serve(Box<Flags>),
}

/// A checked command line; the fields are the flags.
#[derive(Clone, Debug)]
#[allow(missing_docs, clippy::exhaustive_structs)] // HELP says what each is.
pub struct Flags {
    pub ws: Option<SocketAddr>,
    pub tcp: Option<SocketAddr>,
    pub unix: Option<PathBuf>,
    pub engine: WsEngine,
    pub frames: Frames,
    pub echo: bool,
    pub runtime: RuntimeName,
    pub workers: usize,
    pub sso: Sso,
    pub queue: QueueName,
    pub write_back: bool,
    pub token: Option<String>,
    pub origins: Origins,
    pub auth_timeout: Duration,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    pub ping_interval: Duration,
    pub drain_timeout: Duration,
    pub max_message: usize,
    pub max_connections: usize,
    pub max_per_user: usize,
    pub max_backlog: usize,
    pub max_queued: u64,
}

/// `--frames`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_enums)]
pub enum Frames {
    Auto,
    Text,
    Binary,
}

/// `--runtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_enums)]
pub enum RuntimeName {
    Tokio,
    Smol,
}

/// The command line asks for something that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// No such flag.
    #[error("there is no flag {0:?}; --help lists all")]
    Unknown(String),
    /// A flag that takes a value has none.
    #[error("{0} needs a value")]
    Missing(&'static str),
    /// A flag that takes no value has one.
    #[error("{0} takes no value")]
    Surplus(&'static str),
    /// The value is none that the flag can have.
    #[error("{flag} cannot be {value:?}: {rule}")]
    Invalid {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        rule: String,
    },
    /// Flags that do not go together.
    #[error("{0}")]
    Conflict(&'static str),
    /// A flag or value of which this build lacks the implementation.
    #[error("this build cannot serve {0}")]
    Unserved(String),
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            ws: None,
            tcp: None,
            unix: None,
            engine: WsEngine::default(),
            frames: Frames::Auto,
            echo: false,
            runtime: RuntimeName::Tokio,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            sso: Sso::PerUser,
            queue: QueueName::Memory,
            write_back: false,
            token: None,
            origins: Origins::same_host(),
            auth_timeout: Duration::from_secs(5),
            read_timeout: Duration::ZERO,
            write_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            max_message: 1024 * 1024,
            max_connections: 0,
            max_per_user: 0,
            max_backlog: 1024 * 1024,
            max_queued: 1000,
        }
    }
}

/// Every flag and whether it takes a value.
const FLAGS: [(&str, bool); 30] = [
    ("--help", false),
    ("--ws", true),
    ("--tcp", true),
    ("--unix", true),
    ("--engine", true),
    ("--frames", true),
    ("--echo", false),
    ("--runtime", true),
    ("--workers", true),
    ("--sso", true),
    ("--queue", true),
    ("--write-back", false),
    ("--cluster", true),
    ("--node", true),
    ("--token", true),
    ("--origin", true),
    ("--auth-timeout", true),
    ("--read-timeout", true),
    ("--write-timeout", true),
    ("--ping-interval", true),
    ("--drain-timeout", true),
    ("--max-message", true),
    ("--max-connections", true),
    ("--max-per-user", true),
    ("--max-backlog", true),
    ("--max-queued", true),
    ("--tls-cert", true),
    ("--tls-key", true),
    ("--metrics", true),
    ("-h", false),
];

impl Flags {
    /// Reads a command line, without the program's name. Of a flag that comes twice the last counts, except
    /// `--origin`.
    ///
    /// # Errors
    /// [`FlagError`], for the first flag that cannot be served.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, FlagError> {
        let mut flags = Self::default();
        let mut origins: Vec<String> = Vec::new();
        let mut args = args.into_iter().map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let Some(&(flag, takes_value)) = FLAGS.iter().find(|(flag, _)| *flag == name) else {
                return Err(FlagError::Unknown(arg));
            };
            let value = match (takes_value, inline) {
                (false, None) => String::new(),
                (false, Some(_)) => return Err(FlagError::Surplus(flag)),
                (true, inline) => inline.or_else(|| args.next()).ok_or(FlagError::Missing(flag))?,
            };
            match flag {
                "--help" | "-h" => return Ok(Command::Help),
                "--origin" => origins.push(value),
                _ => flags.set(flag, value)?,
            }
        }
        if !origins.is_empty() {
            flags.origins =
                Origins::list(&origins).map_err(|error| invalid("--origin", origins.join(" "), &error))?;
        }
        if flags.ws.is_none() && flags.tcp.is_none() && flags.unix.is_none() {
            flags.ws = Some(SocketAddr::from(([127, 0, 0, 1], 9001)));
        }
        flags.check()?;
        Ok(Command::Serve(Box::new(flags)))
    }

    fn set(&mut self, flag: &'static str, value: String) -> Result<(), FlagError> {
        match flag {
            "--ws" => self.ws = Some(address(flag, value)?),
            "--tcp" => self.tcp = Some(address(flag, value)?),
            "--unix" => self.unix = Some(value.into()),
            "--engine" => self.engine = value.parse().map_err(|error| invalid(flag, value, &error))?,
            "--frames" => {
                let kinds = [("auto", Frames::Auto), ("text", Frames::Text), ("binary", Frames::Binary)];
                self.frames = one_of(flag, value, kinds)?;
            }
            "--echo" => self.echo = true,
            "--runtime" => {
                let names = [("tokio", RuntimeName::Tokio), ("smol", RuntimeName::Smol)];
                self.runtime = one_of(flag, value, names)?;
            }
            "--workers" => self.workers = at_least_one(flag, value)?,
            "--sso" => {
                let policies = [("user", Sso::PerUser), ("device", Sso::PerDevice), ("off", Sso::Off)];
                self.sso = one_of(flag, value, policies)?;
            }
            "--queue" => self.queue = queue(flag, value)?,
            "--write-back" => self.write_back = true,
            "--token" => self.token = Some(value),
            "--auth-timeout" => self.auth_timeout = seconds(flag, value)?,
            "--read-timeout" => self.read_timeout = seconds(flag, value)?,
            "--write-timeout" => self.write_timeout = seconds(flag, value)?,
            "--ping-interval" => self.ping_interval = seconds(flag, value)?,
            "--drain-timeout" => self.drain_timeout = seconds(flag, value)?,
            "--max-message" => self.max_message = at_least_one(flag, value)?,
            "--max-connections" => self.max_connections = number(flag, value)?,
            "--max-per-user" => self.max_per_user = number(flag, value)?,
            "--max-backlog" => self.max_backlog = at_least_one(flag, value)?,
            "--max-queued" => self.max_queued = at_least_one(flag, value)?,
            _ => return Err(FlagError::Unserved(flag.to_owned())),
        }
        Ok(())
    }

    /// What no flag can say by itself.
    fn check(&self) -> Result<(), FlagError> {
        if self.ws.is_some() {
            self.engine.engine().map_err(|error| FlagError::Unserved(format!("--ws: {error}")))?;
        }
        if self.runtime == RuntimeName::Smol && !cfg!(feature = "smol") {
            return Err(FlagError::Unserved("--runtime smol".to_owned()));
        }
        if self.write_back && !self.queue.is_durable() {
            return Err(FlagError::Conflict(
                "--write-back is for a durable queue: give --queue ENGINE:TARGET too",
            ));
        }
        let on_tokio = matches!(self.queue, QueueName::Nats(_) | QueueName::Redis(_));
        if self.runtime == RuntimeName::Smol && on_tokio {
            return Err(FlagError::Unserved("--queue nats and redis with --runtime smol".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, FlagError> {
        match Flags::parse(line.split_whitespace().map(OsString::from))? {
            Command::Serve(flags) => Ok(*flags),
            Command::Help => panic!("help for {line:?}"),
        }
    }

    #[test]
    fn without_a_listener_there_is_a_websocket_one() {
        let unix = parse("--unix gateway.sock").unwrap();
        assert_eq!((unix.ws, unix.tcp), (None, None));
        match parse("") {
            // port: the documented default; nothing is bound
            Ok(flags) => assert_eq!(flags.ws, Some(SocketAddr::from(([127, 0, 0, 1], 9001)))),
            Err(error) => assert!(WsEngine::compiled().is_empty(), "{error}"),
        }
    }

    #[test]
    fn values_come_behind_the_flag_or_an_equals_sign() {
        let flags = parse("--tcp=127.0.0.1:0 --auth-timeout 0.25 --read-timeout=1.5 --sso device").unwrap();
        assert_eq!(flags.tcp, Some(SocketAddr::from(([127, 0, 0, 1], 0))));
        assert_eq!(flags.auth_timeout, Duration::from_millis(250));
        assert_eq!(flags.read_timeout, Duration::from_millis(1500));
        assert!(matches!(flags.sso, Sso::PerDevice));
    }

    #[test]
    fn what_cannot_be_served_is_named() {
        for flag in [
            "--cluster nats://a:1",
            "--node a",
            "--metrics 127.0.0.1:0",
            "--tls-cert a",
            "--tls-key a",
            #[cfg(not(feature = "redb"))]
            "--queue redb:/tmp/q",
            #[cfg(not(feature = "nats"))]
            "--queue nats:nats://a:1",
            #[cfg(not(feature = "redis"))]
            "--queue redis:redis://a:1",
            "--runtime smol --engine async-tungstenite --queue nats:nats://a:1",
            "--runtime smol --engine async-tungstenite --queue redis:redis://a:1",
        ] {
            let error = parse(&format!("--unix /tmp/x {flag}")).unwrap_err();
            assert!(matches!(error, FlagError::Unserved(_)), "{flag}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for line in [
            "--ws nowhere",
            "--tcp 127.0.0.1",
            "--engine gorilla",
            "--frames json",
            "--runtime async-std",
            "--workers 0",
            "--workers -1",
            "--sso all",
            "--queue disk",
            "--queue mysql:x",
            "--queue redb:",
            "--queue nats:",
            "--queue redis:",
            "--origin chat.example",
            "--auth-timeout -1",
            "--auth-timeout NaN",
            "--ping-interval inf",
            "--read-timeout 5s",
            "--max-message 0",
            "--max-message 1e6",
            "--max-connections -1",
            "--max-queued 0",
        ] {
            assert!(matches!(parse(line), Err(FlagError::Invalid { .. })), "{line}");
        }
        assert_eq!(parse("--workers").unwrap_err(), FlagError::Missing("--workers"));
        assert_eq!(parse("--echo=yes").unwrap_err(), FlagError::Surplus("--echo"));
        assert_eq!(parse("--frobnicate").unwrap_err(), FlagError::Unknown("--frobnicate".to_owned()));
        assert_eq!(parse("serve").unwrap_err(), FlagError::Unknown("serve".to_owned()));
    }

    #[test]
    fn write_back_is_for_durable_queues() {
        for line in ["--write-back", "--write-back --queue none", "--queue memory --write-back"] {
            assert!(matches!(parse(line), Err(FlagError::Conflict(_))), "{line}");
        }
    }

    #[test]
    fn help_names_every_flag_that_can_be_served() {
        assert!(matches!(Flags::parse(["--help".into()]), Ok(Command::Help)));
        for (flag, takes_value) in FLAGS {
            let value = if takes_value { " 1" } else { "" };
            let unserved = matches!(parse_any(&format!("{flag}{value}")), Err(FlagError::Unserved(_)));
            let listed = HELP.contains(&format!("{flag} "));
            assert!(unserved || listed || flag.starts_with("-h") || flag == "--help", "{flag}");
        }
    }

    fn parse_any(line: &str) -> Result<Command, FlagError> {
        Flags::parse(line.split_whitespace().map(OsString::from))
    }
}
