//! What the values of flags may be.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
    time::Duration,
};

use tok_cluster::NodeId;

use super::{
    super::{ClusterName, QueueName},
    FlagError,
};

pub(super) fn invalid(flag: &'static str, value: String, rule: &dyn fmt::Display) -> FlagError {
    FlagError::Invalid { flag, value, rule: rule.to_string() }
}

pub(super) fn address(flag: &'static str, value: String) -> Result<SocketAddr, FlagError> {
    let found = value.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| invalid(flag, value, &"expected HOST:PORT"))
}

pub(super) fn one_of<T, const N: usize>(
    flag: &'static str,
    value: String,
    choices: [(&str, T); N],
) -> Result<T, FlagError> {
    let names = choices.each_ref().map(|(name, _)| *name).join(", ");
    let chosen = choices.into_iter().find(|(name, _)| *name == value);
    chosen.map(|(_, choice)| choice).ok_or_else(|| invalid(flag, value, &format!("expected one of {names}")))
}

pub(super) fn queue(flag: &'static str, value: String) -> Result<QueueName, FlagError> {
    let (engine, target) = value.split_once(':').unwrap_or((&value, ""));
    let named = match engine {
        "redb" => cfg!(feature = "redb").then(|| QueueName::Redb(target.into())),
        "nats" => cfg!(feature = "nats").then(|| QueueName::Nats(target.to_owned())),
        "redis" => cfg!(feature = "redis").then(|| QueueName::Redis(target.to_owned())),
        _ => {
            return one_of(flag, value, [("memory", QueueName::Memory), ("none", QueueName::None)]);
        }
    };
    if target.is_empty() {
        return Err(invalid(flag, value.clone(), &format!("expected {engine}:TARGET")));
    }
    named.ok_or_else(|| FlagError::Unserved(format!("--queue {engine}:TARGET")))
}

pub(super) fn cluster(flag: &'static str, value: String) -> Result<ClusterName, FlagError> {
    let named = match value.split_once("://") {
        Some(("nats", _)) => cfg!(feature = "nats").then(|| ClusterName::Nats(value)),
        Some(("redis", _)) => cfg!(feature = "redis").then(|| ClusterName::Redis(value)),
        // It may hold a password, so it is not repeated.
        _ => return Err(invalid(flag, "that".to_owned(), &"expected nats://HOST:PORT or redis://HOST:PORT")),
    };
    named.ok_or_else(|| FlagError::Unserved("--cluster with this broker".to_owned()))
}

pub(super) fn node(flag: &'static str, value: String) -> Result<String, FlagError> {
    match NodeId::new(&value, 0) {
        Some(_) => Ok(value),
        None => Err(invalid(flag, value, &"expected 1 to 64 of A-Z a-z 0-9 - _")),
    }
}

pub(super) fn seconds(flag: &'static str, value: String) -> Result<Duration, FlagError> {
    let parsed = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.ok_or_else(|| invalid(flag, value, &"expected a number of seconds, fractions allowed"))
}

pub(super) fn number<T: FromStr>(flag: &'static str, value: String) -> Result<T, FlagError> {
    value.parse().map_err(|_| invalid(flag, value, &"expected a whole number"))
}

pub(super) fn at_least_one<T: FromStr + Default + PartialEq>(
    flag: &'static str,
    value: String,
) -> Result<T, FlagError> {
    match value.parse() {
        Ok(number) if number != T::default() => Ok(number),
        _ => Err(invalid(flag, value, &"expected a whole number, at least 1")),
    }
}
