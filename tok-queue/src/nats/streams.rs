//! The streams' settings: made where they are missing, and refused where they would lose messages.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    rpc::Failure,
    store::{Store, time_of},
};
use crate::connect::{ConnectError, version};

/// Messages with a TTL of their own, and batched reads.
const OLDEST: ((u64, u64), &str) = ((2, 11), "2.11");

pub(super) const NO_STREAM: u64 = 10059;
const NAME_IN_USE: u64 = 10058;

pub(super) async fn open(store: &Store, replicas: usize) -> Result<(), ConnectError> {
    check_version(&store.rpc.version())?;
    let common = |name: String, subject: String| {
        json!({
            "name": name,
            "subjects": [subject],
            "retention": "limits",
            "storage": "file",
            "max_age": 0,
            "max_msg_size": -1,
            "allow_msg_ttl": true,
            "sealed": false,
            "deny_delete": false,
            "deny_purge": false,
            "num_replicas": replicas,
        })
    };
    let mut queue = common(store.queue_stream(), store.queue_subject('*'));
    queue["discard"] = json!("new");
    queue["max_msgs_per_subject"] = json!(-1);
    queue["allow_direct"] = json!(true);
    let mut meta = common(store.meta_stream(), store.meta_subject('*'));
    meta["discard"] = json!("old");
    meta["max_msgs"] = json!(-1);
    meta["max_bytes"] = json!(-1);
    meta["max_msgs_per_subject"] = json!(1);
    meta["allow_direct"] = json!(false);
    let unreachable = |failure| ConnectError::Unreachable(Box::new(failure));
    // No order is asked of its sequences, but those of a new stream must not be taken for those of a lost one.
    let any = RandomState::new().hash_one(()) >> 12;
    let found = find_or_create(store, &meta, any).await.map_err(unreachable)?;
    check(&meta, &found)?;
    // Positions rise also where the server has forgotten which it gave last.
    let first = micros_since_2026(time_of(&found).map_err(unreachable)?);
    check(&queue, &find_or_create(store, &queue, first).await.map_err(unreachable)?)
}

fn name(wanted: &Value) -> &str {
    wanted["name"].as_str().unwrap_or_default()
}

/// What the server says of a stream, which is made with this first sequence if it is not there.
async fn find_or_create(store: &Store, wanted: &Value, first: u64) -> Result<Value, Failure> {
    let refused = |result: &Result<Value, Failure>, wanted: u64| matches!(result, Err(Failure::Refused { code, .. }) if *code == wanted);
    let info = async || store.info(name(wanted), &json!({})).await;
    let mut found = info().await;
    if refused(&found, NO_STREAM) {
        let mut new = wanted.clone();
        new["first_seq"] = json!(first.max(1));
        found = store.api(&format!("STREAM.CREATE.{}", name(wanted)), &new).await;
    }
    if refused(&found, NAME_IN_USE) {
        // Another node was first.
        found = info().await;
    }
    found
}

/// The server's clock, of which the first position is made: not this node's, which may be wrong. A position is some
/// thousand times as much, which leaves room for a century.
fn micros_since_2026(now: Duration) -> u64 {
    u64::try_from(now.saturating_sub(Duration::from_secs(1_767_225_600)).as_micros()).unwrap_or(0)
}

/// What the stream is beside what it must be. An older server leaves out what it does not know.
fn check(wanted: &Value, found: &Value) -> Result<(), ConnectError> {
    let name = name(wanted);
    for (setting, wanted) in wanted.as_object().into_iter().flatten() {
        let found = &found["config"][setting];
        let fits = match setting.as_str() {
            "num_replicas" => found.as_u64() >= wanted.as_u64(),
            // What is off or 0 can be left out.
            _ => found == wanted || found.is_null() && (*wanted == json!(false) || *wanted == json!(0)),
        };
        if !fits {
            return Err(ConnectError::Unsuitable {
                setting: format!("{setting} of stream {name}"),
                found: found.to_string(),
                rule: format!("must be {wanted}; change it, or choose another prefix"),
            });
        }
    }
    Ok(())
}

fn check_version(found: &str) -> Result<(), ConnectError> {
    let (oldest, needed) = OLDEST;
    if version(found).is_some_and(|version| version >= oldest) {
        return Ok(());
    }
    Err(ConnectError::TooOld { found: found.to_owned(), needed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        for (found, ok) in [
            ("2.9.10", false),
            ("2.10.29", false),
            ("2.11.0", true),
            ("2.12.0-RC.1", true),
            ("3.0.0", true),
            ("", false),
        ] {
            assert_eq!(check_version(found).is_ok(), ok, "{found}");
        }
    }

    #[test]
    fn first_positions_are_of_the_servers_clock() {
        for (seconds, expected) in [(0, 0), (1_767_225_600, 0), (1_767_225_601, 1_000_000)] {
            assert_eq!(micros_since_2026(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn what_a_stream_must_be_is_compared() {
        let wanted = json!({ "storage": "file", "max_age": 0, "sealed": false, "allow_msg_ttl": true, "num_replicas": 1 });
        let good = json!({ "storage": "file", "allow_msg_ttl": true, "num_replicas": 3, "more": 1 });
        check(&wanted, &json!({ "config": good })).unwrap();
        for (setting, value) in [
            ("storage", json!("memory")),
            ("max_age", json!(1)),
            ("sealed", json!(true)),
            // As an old server answers.
            ("allow_msg_ttl", Value::Null),
            ("num_replicas", json!(0)),
        ] {
            let mut bad = good.clone();
            bad[setting] = value;
            let error = check(&wanted, &json!({ "config": bad })).unwrap_err().to_string();
            assert!(error.contains(setting), "{error}");
        }
    }
}
