//! The command line of `gateway`.

mod error;
mod help;
mod value;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use tok_core::Sso;
use tok_ws::{Origins, WsEngine};

use self::value::{address, at_least_one, cluster, invalid, node, number, one_of, queue, seconds};
pub use self::{error::FlagError, help::HELP};
use super::{ClusterName, QueueName, TlsFiles};

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
    pub cluster: Option<ClusterName>,
    pub node: Option<String>,
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
    pub tls: Option<TlsFiles>,
    pub metrics: Option<SocketAddr>,
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
            cluster: None,
            node: None,
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
            tls: None,
            metrics: None,
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
        let (mut queue_given, mut tls_cert, mut tls_key) = (None, None, None);
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
                "--queue" => queue_given = Some(queue(flag, value)?),
                "--tls-cert" => tls_cert = Some(PathBuf::from(value)),
                "--tls-key" => tls_key = Some(PathBuf::from(value)),
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
        flags.tls = match (tls_cert, tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            _ => return Err(FlagError::Conflict("--tls-cert and --tls-key go together: give both or none")),
        };
        // One node's memory is no queue for a cluster; what keeps messages there without being told is its own broker.
        flags.queue = match (queue_given, &flags.cluster) {
            (Some(queue), _) => queue,
            (None, Some(cluster)) => cluster.queue(),
            (None, None) => QueueName::Memory,
        };
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
            "--write-back" => self.write_back = true,
            "--cluster" => self.cluster = Some(cluster(flag, value)?),
            "--node" => self.node = Some(node(flag, value)?),
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
            "--metrics" => self.metrics = Some(address(flag, value)?),
            // All others were dealt with before.
            _ => {}
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
        if self.cluster.is_some() && !self.queue.is_shared() {
            return Err(FlagError::Conflict(
                "--cluster needs a queue that all nodes share, nats:URL or redis:URL, or --queue none",
            ));
        }
        if self.node.is_some() && self.cluster.is_none() {
            return Err(FlagError::Conflict("--node is a name in a cluster: give --cluster URL too"));
        }
        if self.tls.is_some() && self.ws.is_none() && self.tcp.is_none() {
            return Err(FlagError::Conflict("--tls-cert is for --ws and --tcp: give one of them too"));
        }
        if self.runtime == RuntimeName::Smol && self.cluster.is_some() {
            return Err(FlagError::Unserved("--cluster with --runtime smol".to_owned()));
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
mod tests;
