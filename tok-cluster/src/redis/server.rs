//! What the server must be.

use std::collections::BTreeMap;

use tok_core::error::ConnectError;

use super::{link::Link, message};

/// Scripts with flags, which say that they free memory.
const OLDEST: ((u64, u64), &str) = ((7, 0), "7.0");

/// The sections of what `INFO` answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections<'a> {
    pub(super) server: &'a str,
    pub(super) memory: &'a str,
    pub(super) replication: &'a str,
    pub(super) cluster: &'a str,
}

pub(super) fn check(sections: Sections<'_>) -> Result<(), ConnectError> {
    let Sections { server, memory, replication, cluster } = sections;
    let (oldest, needed) = OLDEST;
    let found = field(server, "redis_version");
    if version(found).is_none_or(|version| version < oldest) {
        let found = if found.is_empty() { "unknown" } else { found };
        return Err(ConnectError::TooOld { found: found.to_owned(), needed });
    }
    let unsuitable = |setting: &str, found: &str, rule: &str| ConnectError::Unsuitable {
        setting: setting.to_owned(),
        found: found.to_owned(),
        rule: rule.to_owned(),
    };
    let policy = field(memory, "maxmemory_policy");
    if field(memory, "maxmemory") != "0" && policy.starts_with("allkeys") {
        let rule = "must be noeviction, or sessions are forgotten when memory is short";
        return Err(unsuitable("maxmemory-policy", policy, rule));
    }
    let role = field(replication, "role");
    if role == "slave" {
        return Err(unsuitable("role", role, "must be master: what a replica knows is out of date"));
    }
    if field(cluster, "cluster_enabled") == "1" {
        let rule = "must be no: a node of a Redis Cluster holds only a part of the keys, and Redis Cluster is not supported";
        return Err(unsuitable("cluster-enabled", "yes", rule));
    }
    Ok(())
}

/// Checks that the server takes messages with the largest frames of this node.
pub(super) async fn check_largest(link: &Link, max_frame: usize) -> Result<(), ConnectError> {
    const SETTING: &str = "proto-max-bulk-len";
    let mut asked = redis::cmd("CONFIG");
    asked.arg("GET").arg(SETTING);
    let answer = link.run(async move |mut request| asked.query_async(&mut request.redis).await).await;
    // Many providers do not let their customers ask.
    let Ok(answer): Result<BTreeMap<String, String>, _> = answer else { return Ok(()) };
    let found = answer.get(SETTING).and_then(|value| value.parse::<usize>().ok());
    let needed = max_frame.saturating_add(message::OVERHEAD);
    match found.filter(|found| *found < needed) {
        None => Ok(()),
        Some(found) => Err(ConnectError::Unsuitable {
            setting: SETTING.to_owned(),
            found: found.to_string(),
            rule: format!("must be at least {needed}, for frames of up to {max_frame} bytes (max_frame)"),
        }),
    }
}

fn field<'a>(text: &'a str, field: &str) -> &'a str {
    let mut values = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| *name == field);
    values.next().map_or("", |(_, value)| value.trim())
}

/// Major and minor.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Sections<'_> = Sections {
        server: "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n",
        memory: "# Memory\r\nmaxmemory:1000\r\nmaxmemory_policy:volatile-lru\r\n",
        replication: "# Replication\r\nrole:master\r\n",
        cluster: "# Cluster\r\ncluster_enabled:0\r\n",
    };

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        assert!(check(GOOD).is_ok());
        for (found, ok) in [
            ("6.2.14", false),
            ("7.0.0", true),
            ("7.0.15", true),
            ("10.0.1", true),
            ("", false),
            ("x", false),
        ] {
            let server = GOOD.server.replace("7.2.4", found);
            assert_eq!(check(Sections { server: &server, ..GOOD }).is_ok(), ok, "{found}");
        }
        let server = GOOD.server.replace("7.2.4", "6.2.14");
        let error = check(Sections { server: &server, ..GOOD }).unwrap_err().to_string();
        assert_eq!(error, "the server is version 6.2.14, but 7.0 or later is needed");
    }

    #[test]
    fn a_server_that_evicts_is_refused() {
        for (max, policy, ok) in [
            ("0", "allkeys-lru", true),
            ("1000", "noeviction", true),
            ("1000", "allkeys-lru", false),
            ("1000", "allkeys-random", false),
        ] {
            let memory = GOOD.memory.replace("1000", max).replace("volatile-lru", policy);
            assert_eq!(check(Sections { memory: &memory, ..GOOD }).is_ok(), ok, "{max} {policy}");
        }
    }

    #[test]
    fn a_replica_is_refused() {
        let error = check(Sections { replication: "role:slave\r\n", ..GOOD }).unwrap_err();
        assert!(error.to_string().contains("role is slave"), "{error}");
    }

    #[test]
    fn a_node_of_a_redis_cluster_is_refused() {
        let error = check(Sections { cluster: "cluster_enabled:1\r\n", ..GOOD }).unwrap_err();
        assert!(error.to_string().contains("cluster-enabled is yes"), "{error}");
        assert!(
            check(Sections { cluster: "", ..GOOD }).is_ok(),
            "a server without the section has no clusters"
        );
    }
}
