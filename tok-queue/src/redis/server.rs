//! What the server must be.

use crate::connect::{ConnectError, version};

/// Streams, and scripts with flags, which say that they free memory.
const OLDEST: ((u64, u64), &str) = ((7, 0), "7.0");

/// The sections of `INFO` that say it.
pub(super) const SECTIONS: [&str; 4] = ["server", "memory", "replication", "cluster"];

/// Refuses a server that could not keep a queue, by what it answers to `INFO` for each of the sections.
pub(super) fn check([server, memory, replication, cluster]: [&str; 4]) -> Result<(), ConnectError> {
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
        let rule = "must be noeviction, or messages are lost when memory is short";
        return Err(unsuitable("maxmemory-policy", policy, rule));
    }
    let role = field(replication, "role");
    if role == "slave" {
        let rule = "must be master: a replica takes no messages; give the address of its primary";
        return Err(unsuitable("role", role, rule));
    }
    if field(cluster, "cluster_enabled") == "1" {
        let rule =
            "must be no: a node of a Redis Cluster has only a part of the keys; give a server outside of one";
        return Err(unsuitable("cluster-enabled", "yes", rule));
    }
    Ok(())
}

/// A field of what `INFO` answers.
fn field<'a>(text: &'a str, field: &str) -> &'a str {
    let mut values = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| *name == field);
    values.next().map_or("", |(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n";

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        for (found, ok) in
            [("6.2.14", false), ("7.0.0", true), ("7.0.15", true), ("10.0.1", true), ("", false)]
        {
            let server = SERVER.replace("7.2.4", found);
            assert_eq!(check([&server, "", "", ""]).is_ok(), ok, "{found}");
        }
        let error = check([&SERVER.replace("7.2.4", "6.2.14"), "", "", ""]).unwrap_err().to_string();
        assert_eq!(error, "the server is version 6.2.14, but 7.0 or later is needed");
    }

    #[test]
    fn a_server_that_evicts_is_refused() {
        for (max_memory, policy, ok) in [
            ("0", "allkeys-lru", true),
            ("1000", "noeviction", true),
            ("1000", "volatile-lru", true),
            ("1000", "allkeys-lru", false),
            ("1000", "allkeys-random", false),
        ] {
            let memory = format!("# Memory\r\nmaxmemory:{max_memory}\r\nmaxmemory_policy:{policy}\r\n");
            assert_eq!(check([SERVER, &memory, "", ""]).is_ok(), ok, "{max_memory} {policy}");
        }
    }

    #[test]
    fn a_replica_and_a_node_of_a_cluster_are_refused() {
        let found =
            check([SERVER, "", "# Replication\r\nrole:master\r\n", "# Cluster\r\ncluster_enabled:0\r\n"]);
        assert!(found.is_ok());
        let error = check([SERVER, "", "# Replication\r\nrole:slave\r\n", ""]).unwrap_err();
        assert!(error.to_string().contains("role is slave"), "{error}");
        let error = check([SERVER, "", "", "# Cluster\r\ncluster_enabled:1\r\n"]).unwrap_err();
        assert!(error.to_string().contains("cluster-enabled is yes"), "{error}");
    }
}
