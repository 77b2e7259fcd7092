//! The stream's making: where it is missing, where its settings would not keep the contract, and where it has to be
//! raised so that epochs rise.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    failure::Failure,
    stream::{Info, LOWEST, Stream, code},
};

/// Messages with a TTL of their own.
const OLDEST: ((u64, u64), &str) = ((2, 11), "2.11");

/// A leader that was just elected may need a moment to get as far as the one before.
const LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// What is needed, if this version of the server is too old.
pub(super) fn too_old(version: &str) -> Option<&'static str> {
    let mut numbers = version.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u64>().ok();
    let found = number().zip(number());
    let (oldest, needed) = OLDEST;
    found.is_none_or(|found| found < oldest).then_some(needed)
}

pub(super) async fn open(stream: &Stream) -> Result<(), Failure> {
    let seen = stream.seen();
    let wanted = settings(stream);
    let info = find_or_make(stream, &wanted).await.map_err(is_jetstream_off)?;
    check(&stream.name(), &wanted, &info.config)?;
    if !still_behind(stream, seen, info).await? {
        return Ok(());
    }
    // What is there came without what is lost, and nobody could tell which is newer: nodes put their rows back.
    let info = stream.look(&stream.all_leases()).await?;
    let raised = if info.last < info.lowest() - 1 { info.lowest() } else { info.now / 1000 };
    let raised = raised.max(seen.saturating_add(1)).max(LOWEST);
    stream.api("STREAM.PURGE", &json!({ "seq": raised })).await?;
    let found = stream.look(&stream.all_leases()).await?.last;
    if found < raised - 1 {
        return Err(Failure::Unsuitable {
            setting: format!("last sequence of stream {}", stream.name()),
            found: found.to_string(),
            rule: format!("must be {raised} or more, and cannot be raised"),
        });
    }
    Ok(())
}

async fn still_behind(stream: &Stream, seen: u64, mut info: Info) -> Result<bool, Failure> {
    for _ in 1..LOOKS {
        // A new one is empty for sure.
        if !info.is_behind(seen) || info.last == 0 {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        info = stream.look(&stream.all_leases()).await?;
    }
    Ok(info.is_behind(seen))
}

fn settings(stream: &Stream) -> Value {
    json!({
        "name": stream.name(),
        "subjects": [stream.all_users(), stream.all_leases()],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs_per_subject": 1,
        "allow_msg_ttl": true,
        // Nobody is to read from a replica, which may not have got as far.
        "allow_direct": false,
        "sealed": false,
        "deny_delete": false,
        "deny_purge": false,
        "num_replicas": stream.replicas,
    })
}

async fn find_or_make(stream: &Stream, wanted: &Value) -> Result<Info, Failure> {
    let look = || stream.look("");
    match look().await {
        Err(Failure::Lost) => {}
        found => return found,
    }
    match stream.api("STREAM.CREATE", wanted).await {
        // Made, or another node was first.
        Ok(_) | Err(Failure::Refused { code: code::NAME_IN_USE, .. }) => look().await,
        Err(failure) => Err(failure),
    }
}

/// What the stream is beside what it must be. An older server leaves out what it does not know.
fn check(name: &str, wanted: &Value, found: &Value) -> Result<(), Failure> {
    for (setting, wanted) in wanted.as_object().into_iter().flatten() {
        let found = &found[setting];
        let fits = match setting.as_str() {
            "num_replicas" => found.as_u64() >= wanted.as_u64(),
            // What is off or 0 can be left out.
            _ => found == wanted || found.is_null() && (*wanted == json!(false) || *wanted == json!(0)),
        };
        if !fits {
            return Err(Failure::Unsuitable {
                setting: format!("{setting} of stream {name}"),
                found: found.to_string(),
                rule: format!("must be {wanted}; change it, or choose another prefix"),
            });
        }
    }
    Ok(())
}

fn is_jetstream_off(failure: Failure) -> Failure {
    let off = match &failure {
        Failure::NoResponders(_) => true,
        Failure::Refused { code, .. } => code::OFF.contains(code),
        _ => false,
    };
    if !off {
        return failure;
    }
    Failure::Unsuitable {
        setting: "JetStream".to_owned(),
        found: "off".to_owned(),
        rule: "must be on, for this account too".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_known_by_its_version() {
        for (found, old) in [
            ("2.9.10", true),
            ("2.10.29", true),
            ("2.11.0", false),
            ("v2.12.0-RC.1", false),
            ("3.0.0", false),
            ("2", true),
            ("", true),
            ("99999999999999999999.1", true),
        ] {
            assert_eq!(too_old(found).is_some(), old, "{found}");
        }
    }

    #[test]
    fn what_a_stream_must_be_is_compared() {
        let wanted = json!({ "storage": "file", "max_age": 0, "allow_direct": false, "allow_msg_ttl": true, "num_replicas": 1 });
        let good = json!({ "storage": "file", "allow_msg_ttl": true, "num_replicas": 3, "more": 1 });
        check("s", &wanted, &good).unwrap();
        for (setting, value) in [
            ("storage", json!("memory")),
            ("max_age", json!(1)),
            ("allow_direct", json!(true)),
            // As an old server answers.
            ("allow_msg_ttl", Value::Null),
            ("num_replicas", json!(0)),
        ] {
            let mut bad = good.clone();
            bad[setting] = value;
            let error = check("s", &wanted, &bad).unwrap_err().to_string();
            assert!(error.contains(setting), "{error}");
        }
    }
}
