//! TTLs on the server's clock, and what an acknowledgement knows without asking.

use std::time::Duration;

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};
use base64::{Engine, engine::general_purpose::STANDARD};
use tok_core::{
    Queue, Uid,
    queue::{Admit, Entry, Limit, QueueSize, Seq},
};
use tok_queue::NatsQueue;

use super::{
    SERVER,
    support::{EPOCH, HOUR, add, entry, ids, prefix, soon},
};

async fn node(name: &str) -> NatsQueue {
    NatsQueue::builder(SERVER.url()).prefix(name).connect().await.unwrap()
}

async fn left(queue: &NatsQueue, uid: &Uid) -> Vec<Option<Duration>> {
    let page = queue.peek(uid, Seq::START, Limit::default()).await.unwrap();
    page.entries.into_iter().map(|(_, entry)| entry.ttl).collect()
}

async fn size(queue: &NatsQueue, uid: &Uid) -> QueueSize {
    queue.size(uid).await.unwrap()
}

/// A node gives the server durations and no times.
#[tokio::test]
async fn what_is_stored_of_a_ttl_is_its_length() {
    let name = prefix();
    let queue = node(&name).await;
    let uid = Uid::from("alice");
    let batch = [Entry { ttl: Some(HOUR), ..entry(1) }, Entry { ttl: Some(HOUR / 2), ..entry(2) }];
    queue.enqueue(&uid, &batch, Admit::WithinLimits).await.unwrap();
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    let asked = format!(r#"{{"last_by_subj": "{name}.q.alice"}}"#);
    let found = client.request(format!("$JS.API.STREAM.MSG.GET.{name}_queue"), asked.into()).await.unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found.payload).unwrap();
    let part = |name: &str| STANDARD.decode(found["message"][name].as_str().unwrap()).unwrap();
    assert!(String::from_utf8(part("hdrs")).unwrap().contains("Nats-TTL: 3600\r\n"));
    // A header of 25 bytes, the length of the record, 19 bytes of that before its time.
    let time = part("data")[48..56].try_into().unwrap();
    assert_eq!(u64::from_be_bytes(time), 3_600_000);
}

/// As programs before wrote them: a node had the deadline from its own clock, in milliseconds since the Unix epoch.
#[tokio::test]
async fn entries_that_older_programs_stored_expire_by_the_servers_clock() {
    let name = prefix();
    let queue = node(&name).await;
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    let info = client.request(format!("$JS.API.STREAM.INFO.{name}_queue"), "".into()).await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    let now =
        OffsetDateTime::parse(info["ts"].as_str().unwrap(), &Rfc3339).unwrap().unix_timestamp() as u64 * 1000;
    let mut block = vec![1];
    block.extend([0; 24]);
    for deadline in [now - 1, now + HOUR.as_millis() as u64, u64::MAX] {
        block.extend(32_u32.to_be_bytes());
        block.extend([1, 0, 1]);
        block.extend([0; 16]);
        block.extend(deadline.to_be_bytes());
        block.extend(b"hello");
    }
    let stored = client.request(format!("{name}.q.alice"), block.into()).await.unwrap();
    assert!(!String::from_utf8_lossy(&stored.payload).contains("error"), "{stored:?}");
    let left = left(&queue, &Uid::from("alice")).await;
    assert_eq!(left[0], Some(Duration::ZERO));
    assert!(left[1] <= Some(HOUR) && left[1] > Some(HOUR / 2), "{left:?}");
    assert!(left[2] > Some(HOUR * 24 * 365 * 100), "{left:?}");
}

/// All nodes see the same time left of an entry, whichever node stored it. Entries in the middle of a batch expire too.
#[tokio::test]
async fn nodes_see_the_time_that_is_left_on_the_server() {
    let name = prefix();
    let (first, second) = (node(&name).await, node(&name).await);
    let uid = Uid::from("alice");
    let ttls = [Some(HOUR), Some(Duration::from_millis(500)), None];
    let batch: Vec<_> = ttls.into_iter().zip(0..).map(|(ttl, id)| Entry { ttl, ..entry(id) }).collect();
    first.enqueue(&uid, &batch, Admit::WithinLimits).await.unwrap();
    let seen = left(&second, &uid).await;
    assert!(seen[0] > Some(HOUR - HOUR / 60) && seen[0] <= Some(HOUR), "{seen:?}");
    assert!(seen[1] <= ttls[1] && seen[2].is_none(), "{seen:?}");
    soon("half a second is over", async { while left(&second, &uid).await[1] > Some(Duration::ZERO) {} })
        .await;
    assert_eq!(ids(&second, &uid).await, [0, 1, 2], "the batch is there as long as its last entry");
}

#[tokio::test]
async fn an_acknowledgement_returns_what_remains_of_what_others_stored() {
    let name = prefix();
    let (first, second) = (node(&name).await, node(&name).await);
    let uid = Uid::from("alice");
    for id in 0..20 {
        add(&first, &uid, [id]).await.unwrap();
    }
    // Nothing is known here: what there is is read, as for every first operation on a user.
    let page = second.peek(&uid, Seq::START, Limit::default()).await.unwrap();
    let seqs: Vec<_> = page.entries.iter().map(|(seq, _)| *seq).collect();
    second.ack(&uid, seqs[0], EPOCH).await.unwrap();
    let page = second.peek(&uid, seqs[0], Limit::default()).await.unwrap();
    for (index, (seq, _)) in page.entries.iter().enumerate() {
        let remains = second.ack(&uid, *seq, EPOCH).await.unwrap();
        assert_eq!(remains, size(&second, &uid).await, "after {index}");
        assert_eq!(remains.messages as usize, page.entries.len() - 1 - index);
    }

    // What others have stored since is left out; what they have confirmed is counted.
    add(&first, &uid, 20..25).await.unwrap();
    let of_second = add(&second, &uid, 25..27).await.unwrap();
    add(&first, &uid, 27..30).await.unwrap();
    let remains = second.ack(&uid, of_second[0], EPOCH).await.unwrap();
    assert_eq!((remains.messages, size(&second, &uid).await.messages), (1, 4));
}
