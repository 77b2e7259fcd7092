//! What the values of flags may be.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
    time::Duration,
};

use hyper::header::HeaderValue;
use tok_cluster::NodeId;
use tok_ws::WsEngine;

use super::{
    super::{ClusterName, QueueName, secret::Secret},
    FlagError,
};

pub(super) fn invalid(flag: &'static str, rule: impl Into<String>) -> FlagError {
    FlagError::Invalid { flag, rule: rule.into() }
}

/// All addresses that a name stands for, each once; the first is the one to show.
pub(super) fn addresses(flag: &'static str, value: &str) -> Result<Vec<SocketAddr>, FlagError> {
    let mut found = Vec::new();
    for addr in value.to_socket_addrs().into_iter().flatten() {
        if !found.contains(&addr) {
            found.push(addr);
        }
    }
    if found.is_empty() { Err(invalid(flag, "expected HOST:PORT")) } else { Ok(found) }
}

pub(super) fn one_of<T, const N: usize>(
    flag: &'static str,
    value: &str,
    choices: [(&str, T); N],
) -> Result<T, FlagError> {
    let names = choices.each_ref().map(|(name, _)| *name).join(", ");
    let chosen = choices.into_iter().find(|(name, _)| *name == value);
    chosen.map(|(_, choice)| choice).ok_or_else(|| invalid(flag, format!("expected one of {names}")))
}

pub(super) fn engine(flag: &'static str, value: &str) -> Result<WsEngine, FlagError> {
    let names = "expected one of tokio-tungstenite, async-tungstenite, tokio-websockets";
    value.parse().map_err(|_| invalid(flag, names))
}

pub(super) fn queue(flag: &'static str, value: &str) -> Result<QueueName, FlagError> {
    const RULE: &str = "expected memory, none, redb:FILE, nats:URL or redis:URL";

    let (engine, target) = value.split_once(':').unwrap_or((value, ""));
    let named = match engine {
        "memory" if value == engine => return Ok(QueueName::Memory),
        "none" if value == engine => return Ok(QueueName::None),
        _ if target.is_empty() => return Err(invalid(flag, RULE)),
        "redb" => cfg!(feature = "redb").then(|| QueueName::Redb(target.into())),
        "nats" => cfg!(feature = "nats").then(|| QueueName::Nats(target.to_owned())),
        "redis" => cfg!(feature = "redis").then(|| QueueName::Redis(target.to_owned())),
        _ => return Err(invalid(flag, RULE)),
    };
    named.ok_or_else(|| FlagError::Unserved(format!("--queue {engine}:TARGET")))
}

pub(super) fn cluster(flag: &'static str, value: &str) -> Result<ClusterName, FlagError> {
    let url = || value.to_owned();
    let named = match value.split_once("://") {
        // The second of each pair is the same over TLS.
        Some(("nats" | "tls", _)) => cfg!(feature = "nats").then(|| ClusterName::Nats(url())),
        Some(("redis" | "rediss", _)) => cfg!(feature = "redis").then(|| ClusterName::Redis(url())),
        _ => return Err(invalid(flag, "expected nats://HOST:PORT or redis://HOST:PORT")),
    };
    named.ok_or_else(|| FlagError::Unserved("--cluster with this broker".to_owned()))
}

pub(super) fn node(flag: &'static str, value: &str) -> Result<String, FlagError> {
    match NodeId::new(value, 0) {
        Some(_) => Ok(value.to_owned()),
        None => Err(invalid(flag, "expected 1 to 64 of A-Z a-z 0-9 - _")),
    }
}

pub(super) fn subprotocol(flag: &'static str, value: &str) -> Result<HeaderValue, FlagError> {
    // tok-ws has the rule; this is what it needs to apply it.
    value.parse().map_err(|_| invalid(flag, "expected a name of A-Z a-z 0-9 and !#$%&'*+-.^_`|~"))
}

pub(super) fn secret(flag: &'static str, value: &[u8]) -> Result<Secret, FlagError> {
    Secret::new(value).ok_or_else(|| invalid(flag, "an empty secret lets everybody in"))
}

pub(super) fn seconds(flag: &'static str, value: &str) -> Result<Duration, FlagError> {
    let parsed = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.ok_or_else(|| invalid(flag, "expected a number of seconds, fractions allowed"))
}

pub(super) fn number<T: FromStr>(flag: &'static str, value: &str) -> Result<T, FlagError> {
    value.parse().map_err(|_| invalid(flag, "expected a whole number"))
}

pub(super) fn at_least_one<T: FromStr + Default + PartialEq>(
    flag: &'static str,
    value: &str,
) -> Result<T, FlagError> {
    match value.parse() {
        Ok(number) if number != T::default() => Ok(number),
        _ => Err(invalid(flag, "expected a whole number, at least 1")),
    }
}
