//! The command line of `gateway`.

mod args;
mod error;
mod help;
mod value;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use hyper::header::HeaderValue;
use tok_core::Sso;
use tok_ws::{Hosts, Origins, WsEngine};

use self::{
    args::Args,
    value::{
        addresses, at_least_one, cluster, engine, invalid, node, number, one_of, queue, seconds, secret,
        subprotocol,
    },
};
pub use self::{error::FlagError, help::HELP};
use super::{ClusterName, LogLevel, QueueName, TlsFiles, TokenSource};

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
    pub ws: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
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
    pub token: Option<TokenSource>,
    pub origins: Option<Origins>,
    pub hosts: Option<Hosts>,
    pub subprotocols: Vec<HeaderValue>,
    pub auth_timeout: Duration,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    pub ping_interval: Duration,
    pub drain_timeout: Duration,
    /// `None`: the hub's default, or what the queue and the cluster can carry if that is less.
    pub max_message: Option<usize>,
    pub max_connections: usize,
    pub max_per_user: usize,
    pub max_backlog: usize,
    pub max_queued: u64,
    pub tls: Option<TlsFiles>,
    pub metrics: Vec<SocketAddr>,
    pub log: LogLevel,
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
            ws: Vec::new(),
            tcp: Vec::new(),
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
            origins: None,
            hosts: None,
            subprotocols: Vec::new(),
            auth_timeout: Duration::from_secs(5),
            read_timeout: Duration::ZERO,
            write_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            max_message: None,
            max_connections: 0,
            max_per_user: 0,
            max_backlog: 1024 * 1024,
            max_queued: 1000,
            tls: None,
            metrics: Vec::new(),
            log: LogLevel::Info,
        }
    }
}

/// Every flag and whether it takes a value.
const FLAGS: [(&str, bool); 34] = [
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
    ("--token-file", true),
    ("--origin", true),
    ("--host", true),
    ("--subprotocol", true),
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
    ("--log", true),
    ("-h", false),
];

impl Flags {
    /// Reads a command line, without the program's name. Of a flag that comes twice the last counts, except `--origin`,
    /// `--host` and `--subprotocol`.
    ///
    /// # Errors
    /// [`FlagError`], for the first flag that cannot be served.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, FlagError> {
        let mut flags = Self::default();
        let (mut origins, mut hosts): (Vec<String>, Vec<String>) = Default::default();
        let (mut queue_given, mut tls_cert, mut tls_key) = (None, None, None);
        let (mut token, mut token_file) = (None, None);
        let mut args = Args::new(args);
        while let Some((flag, value)) = args.next(&FLAGS)? {
            match flag {
                "--help" | "-h" => return Ok(Command::Help),
                // These can be any bytes.
                "--unix" => flags.unix = Some(value.into()),
                "--tls-cert" => tls_cert = Some(PathBuf::from(value)),
                "--tls-key" => tls_key = Some(PathBuf::from(value)),
                "--token" => token = Some(TokenSource::Flag(secret(flag, value.as_encoded_bytes())?)),
                "--token-file" => token_file = Some(TokenSource::File(value.into())),
                _ => {
                    let value = value.to_str().ok_or_else(|| invalid(flag, "expected UTF-8"))?;
                    match flag {
                        "--origin" => origins.push(value.to_owned()),
                        "--host" => hosts.push(value.to_owned()),
                        "--queue" => queue_given = Some(queue(flag, value)?),
                        _ => flags.set(flag, value)?,
                    }
                }
            }
        }
        if !origins.is_empty() {
            let rule = "expected scheme://host or scheme://host:port, null or file://";
            flags.origins = Some(Origins::list(&origins).map_err(|_| invalid("--origin", rule))?);
        }
        if !hosts.is_empty() {
            let rule = "expected a name or an IP address";
            flags.hosts = Some(Hosts::list(&hosts).map_err(|_| invalid("--host", rule))?);
        }
        if flags.ws.is_empty() && flags.tcp.is_empty() && flags.unix.is_none() {
            flags.ws = vec![SocketAddr::from(([127, 0, 0, 1], 9001))];
        }
        flags.tls = match (tls_cert, tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            _ => return Err(FlagError::Conflict("--tls-cert and --tls-key go together: give both or none")),
        };
        flags.token = match (token, token_file) {
            (Some(_), Some(_)) => {
                return Err(FlagError::Conflict(
                    "--token and --token-file are two secrets: give one of them",
                ));
            }
            (token, file) => token.or(file),
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

    fn set(&mut self, flag: &'static str, value: &str) -> Result<(), FlagError> {
        match flag {
            "--ws" => self.ws = addresses(flag, value)?,
            "--tcp" => self.tcp = addresses(flag, value)?,
            "--engine" => self.engine = engine(flag, value)?,
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
            "--subprotocol" => self.subprotocols.push(subprotocol(flag, value)?),
            "--auth-timeout" => self.auth_timeout = seconds(flag, value)?,
            "--read-timeout" => self.read_timeout = seconds(flag, value)?,
            "--write-timeout" => self.write_timeout = seconds(flag, value)?,
            "--ping-interval" => self.ping_interval = seconds(flag, value)?,
            "--drain-timeout" => self.drain_timeout = seconds(flag, value)?,
            "--max-message" => self.max_message = Some(at_least_one(flag, value)?),
            "--max-connections" => self.max_connections = number(flag, value)?,
            "--max-per-user" => self.max_per_user = number(flag, value)?,
            "--max-backlog" => self.max_backlog = at_least_one(flag, value)?,
            "--max-queued" => self.max_queued = at_least_one(flag, value)?,
            "--metrics" => self.metrics = addresses(flag, value)?,
            "--log" => {
                let levels = [
                    ("error", LogLevel::Error),
                    ("warn", LogLevel::Warn),
                    ("info", LogLevel::Info),
                    ("debug", LogLevel::Debug),
                    ("trace", LogLevel::Trace),
                ];
                self.log = one_of(flag, value, levels)?;
            }
            // All others were dealt with before.
            _ => {}
        }
        Ok(())
    }

    /// Which web pages may connect. Where TLS ends here, the page has to come over TLS too.
    pub(super) fn origins(&self) -> Origins {
        let own = || if self.tls.is_some() { Origins::same_origin() } else { Origins::same_host() };
        self.origins.clone().unwrap_or_else(own)
    }

    /// Which hosts are served. A gateway for this machine alone, which takes everybody's word for who they are, must not
    /// be reached by web pages that give their own name its address.
    pub(super) fn hosts(&self) -> Hosts {
        let is_local = |addr: &SocketAddr| addr.ip().to_canonical().is_loopback();
        let trusts_this_machine = self.token.is_none() && self.ws.iter().chain(&self.tcp).all(is_local);
        let own = || if trusts_this_machine { Hosts::loopback() } else { Hosts::any() };
        self.hosts.clone().unwrap_or_else(own)
    }

    /// What no flag can say by itself.
    fn check(&self) -> Result<(), FlagError> {
        if !self.ws.is_empty() {
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
        if self.tls.is_some() && self.ws.is_empty() && self.tcp.is_empty() {
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
