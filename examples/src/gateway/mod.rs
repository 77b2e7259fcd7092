//! The gateway: every crate of tok behind flags, for load tools, conformance suites and clients in other languages.
//!
//! `gateway --help` lists the flags. A client logs in over WebSocket (`GET /ws?uid=NAME`) or with a first frame
//! `uid=NAME` over TCP or a Unix socket; then the first byte of each message says what to do with it:
//!
//! | message | effect |
//! |---|---|
//! | `E…` | back to every session of the sender's own user |
//! | `TUID\|…` | to every session of UID, or `!offline UID` |
//! | `QTTL\|UID\|…` | to UID now or within TTL seconds |
//! | `B…` | to everybody who is online |
//! | `JROOM`, `LROOM` | joins, leaves a room; `+joined ROOM N`, `+left ROOM N` with the connection's number of rooms |
//! | `RROOM\|…` | to every connection in the room |
//! | `KUID` | ends all sessions of UID; `+kicked UID N` |
//! | `OUID` | `+online UID 1` or `+online UID 0` |
//! | `N` | `+users N`, the users online |
//!
//! Messages are delivered whole, as sent. What cannot be done is answered with `!error REASON`.

mod actor;
mod cluster;
mod flags;
mod goodbye;
// Without a queue that can fail there is none to watch.
#[cfg_attr(not(any(feature = "nats", feature = "redb", feature = "redis")), allow(dead_code))]
mod health;
mod listeners;
mod log;
mod login;
mod metrics;
mod operation;
mod queue;
mod reload;
mod runtime;
mod secret;
mod serve;
mod signals;
mod sockets;
mod tls;

use std::io;

use tok_core::{ConfigError, ShutdownReport};
use tok_ws::WsConfigError;

use self::reload::Replaceable;
pub use self::{
    cluster::ClusterName,
    flags::{Command, FlagError, Flags, Frames, HELP, RuntimeName},
    log::{LogLevel, log_to_stderr},
    queue::QueueName,
    secret::{Secret, TokenSource},
    signals::Signals,
    sockets::Addresses,
    tls::TlsFiles,
};

/// Serves on the calling thread, and on the worker threads that the flags ask for, until the signals stop it; then drains
/// within the drain timeout. `signals` is called on the runtime before anything is served, `ready` once, when all
/// listeners accept.
///
/// # Errors
/// The gateway could not start; nothing has been served.
pub fn run(
    flags: &Flags,
    ready: impl FnOnce(&Addresses),
    signals: impl FnOnce() -> io::Result<Signals>,
) -> Result<ShutdownReport, Error> {
    let files = Replaceable::load(flags)?;
    let (sockets, addresses, _file) = sockets::bind(flags)?;
    let ready = || ready(&addresses);
    match flags.runtime {
        #[cfg(feature = "smol")]
        RuntimeName::Smol => runtime::on_smol(flags, files, sockets, ready, signals),
        // Flags are checked: another runtime that is not compiled in does not come here.
        _ => runtime::on_tokio(flags, files, sockets, ready, signals),
    }
}

/// The gateway could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not listen.
    #[error("cannot listen on {target}: {cause}")]
    Listen {
        /// Where.
        target: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The runtime could not start.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    /// The signals that stop it cannot be heard.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
    /// The certificate or its key cannot be used.
    #[error("cannot serve TLS with what {flag} names: {cause}")]
    Tls {
        /// The flag that names the file.
        flag: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// A secret cannot be used.
    #[error("cannot use the secret that {flag} names: {cause}")]
    Secret {
        /// The flag that names the file.
        flag: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The cluster cannot be joined.
    #[error("cannot join the cluster: {cause}")]
    Cluster {
        /// Why not.
        cause: String,
    },
    /// The queue's server cannot be used.
    #[error("cannot use the queue {engine}: {cause}")]
    Queue {
        /// Its engine.
        engine: &'static str,
        /// Why not.
        cause: String,
    },
    /// Flags that cannot work.
    #[error("cannot serve that: {0}")]
    Hub(#[from] ConfigError),
    /// Flags that cannot work.
    #[error("cannot serve that: {0}")]
    WebSocket(#[from] WsConfigError),
}

impl Error {
    /// Whether it is for the flags to change: exit status 2, and 1 otherwise.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Hub(_) | Self::WebSocket(_) | Self::Tls { .. } | Self::Secret { .. } | Self::Cluster { .. }
        )
    }
}

/// An error and what lies behind it, for those who get no more than a line.
fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line = format!("{line}: {error}");
        source = error.source();
    }
    line.replace('\n', " ")
}
