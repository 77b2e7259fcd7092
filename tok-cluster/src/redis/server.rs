//! What the server must be.

use tok_core::error::ConnectError;

/// Scripts with flags, which say that they free memory.
const OLDEST: ((u64, u64), &str) = ((7, 0), "7.0");

/// Reads three sections of what `INFO` answers.
pub(super) fn check(server: &str, memory: &str, replication: &str) -> Result<(), ConnectError> {
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
    Ok(())
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

    const SERVER: &str = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n";
    const MEMORY: &str = "# Memory\r\nmaxmemory:1000\r\nmaxmemory_policy:volatile-lru\r\n";

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        assert!(check(SERVER, MEMORY, "role:master\r\n").is_ok());
        for (found, ok) in [
            ("6.2.14", false),
            ("7.0.0", true),
            ("7.0.15", true),
            ("10.0.1", true),
            ("", false),
            ("x", false),
        ] {
            let server = SERVER.replace("7.2.4", found);
            assert_eq!(check(&server, MEMORY, "").is_ok(), ok, "{found}");
        }
        let error = check(&SERVER.replace("7.2.4", "6.2.14"), MEMORY, "").unwrap_err().to_string();
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
            let memory = MEMORY.replace("1000", max).replace("volatile-lru", policy);
            assert_eq!(check(SERVER, &memory, "").is_ok(), ok, "{max} {policy}");
        }
    }

    #[test]
    fn a_replica_is_refused() {
        let error = check(SERVER, MEMORY, "# Replication\r\nrole:slave\r\n").unwrap_err();
        assert!(error.to_string().contains("role is slave"), "{error}");
    }
}
