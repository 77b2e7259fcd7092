//! Nodes that share a queue, what expires on the server, and what is left there.

use std::time::Duration;

use futures_util::future::join_all;
use tok_core::{
    Epoch, Queue, Uid,
    queue::{Admit, Entry, Limit, QueueError, Seq},
};
use tok_queue::NatsQueue;

use super::{
    SERVER,
    support::{EPOCH, HOUR, add, entry, ids, is_unavailable, prefix, soon},
};

async fn node(name: &str) -> NatsQueue {
    NatsQueue::builder(SERVER.url()).prefix(name).connect().await.unwrap()
}

/// A stream's messages by subject.
async fn subjects(name: &str, stream: &str) -> serde_json::Value {
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    let api = format!("$JS.API.STREAM.INFO.{name}_{stream}");
    let info = client.request(api, r#"{"subjects_filter": ">"}"#.into()).await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    assert!(info["error"].is_null(), "{info}");
    info["state"]["subjects"].clone()
}

#[tokio::test]
async fn nodes_share_entries_and_prefixes_part_them() {
    let name = prefix();
    let (first, second, other) = (node(&name).await, node(&name).await, node(&prefix()).await);
    let uid = Uid::from("alice");
    let seqs = add(&first, &uid, 0..3).await.unwrap();
    assert_eq!(ids(&second, &uid).await, [0, 1, 2]);
    assert_eq!(ids(&other, &uid).await, [0; 0]);
    add(&second, &uid, 3..4).await.unwrap();
    // What the first remembers is old now.
    add(&first, &uid, 4..5).await.unwrap();
    second.ack(&uid, seqs[0], Epoch::new(2)).await.unwrap();
    assert!(matches!(first.ack(&uid, seqs[2], Epoch::new(1)).await, Err(QueueError::Fenced { .. })));
    assert_eq!(ids(&first, &uid).await, [1, 2, 3, 4]);
    first.ack(&uid, Seq::new(u64::MAX), Epoch::new(3)).await.unwrap();
    assert_eq!(ids(&second, &uid).await, [0; 0]);
    add(&second, &uid, 5..6).await.unwrap();
    assert_eq!(ids(&first, &uid).await, [5]);
    assert!(first.caps().shared && first.caps().durable);
}

#[tokio::test]
async fn nodes_together_do_not_pass_a_limit() {
    let name = prefix();
    let node = || NatsQueue::builder(SERVER.url()).prefix(&name).max_messages(50).connect();
    let nodes = [node().await.unwrap(), node().await.unwrap(), node().await.unwrap()];
    let uid = Uid::from("alice");
    let adding = nodes.iter().zip(0..).map(async |(node, index)| {
        let mut kept = Vec::new();
        for id in 0..30 {
            let id = index * 1000 + id;
            match add(node, &uid, [id]).await {
                Ok(_) => kept.push(id),
                Err(QueueError::Full) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        kept
    });
    let mut kept = soon("90 entries", join_all(adding)).await.concat();
    kept.sort_unstable();
    assert_eq!(kept.len(), 50);
    let mut there = ids(&nodes[0], &uid).await;
    there.sort_unstable();
    assert_eq!(there, kept);
    assert_eq!(nodes[1].size(&uid).await.unwrap().messages, 50);
}

#[tokio::test]
async fn what_has_expired_goes_and_leaves_its_room() {
    let queue = NatsQueue::builder(SERVER.url()).prefix(prefix()).max_messages(16).connect().await.unwrap();
    let uid = Uid::from("alice");
    let now = Duration::ZERO;
    let expiring = |id, ttl| Entry { ttl: Some(ttl), ..entry(id) };
    let first = add(&queue, &uid, 0..4).await.unwrap();
    for id in 4..8 {
        queue.enqueue(&uid, &[expiring(id, now)], Admit::WithinLimits).await.unwrap();
    }
    // Those that expire with others that do not stay with them.
    let mixed = [expiring(8, now), expiring(9, HOUR), entry(10), entry(11)];
    queue.enqueue(&uid, &mixed, Admit::WithinLimits).await.unwrap();
    add(&queue, &uid, 12..16).await.unwrap();
    soon("four have expired", async {
        while queue.size(&uid).await.unwrap().messages > 12 {
            tokio::time::sleep(Duration::from_millis(50)).await; // sleep: the server's clock is the subject
        }
    })
    .await;
    assert_eq!(ids(&queue, &uid).await, [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]);
    assert_eq!(queue.size(&uid).await.unwrap().messages, 12);
    // The room is there, exactly.
    add(&queue, &uid, 16..20).await.unwrap();
    assert!(matches!(add(&queue, &uid, [20]).await, Err(QueueError::Full)));
    queue.ack(&uid, first[3], EPOCH).await.unwrap();
    add(&queue, &uid, 20..24).await.unwrap();
    assert!(matches!(add(&queue, &uid, [24]).await, Err(QueueError::Full)));
    assert_eq!(queue.sweep(100).await.unwrap().expired, []);
}

#[tokio::test]
async fn acknowledged_entries_leave_the_server() {
    let name = prefix();
    let queue = node(&name).await;
    let uid = Uid::from("al.ice *>");
    let user = "al_2eice_20_2a_3e";
    let mut seqs = add(&queue, &uid, 0..3).await.unwrap();
    seqs.extend(add(&queue, &uid, 3..4).await.unwrap());
    let (entries, meta) = (format!("{name}.q.{user}"), format!("{name}.m.{user}"));
    assert_eq!(subjects(&name, "queue").await[&entries], 2);
    queue.ack(&uid, seqs[1], EPOCH).await.unwrap();
    assert_eq!(subjects(&name, "queue").await[&entries], 2, "a part of the first batch is left");
    queue.ack(&uid, seqs[2], EPOCH).await.unwrap();
    assert_eq!(subjects(&name, "queue").await[&entries], 1);
    queue.ack(&uid, seqs[3], EPOCH).await.unwrap();
    assert!(subjects(&name, "queue").await[&entries].is_null());
    // One message, which ends by itself.
    assert_eq!(subjects(&name, "meta").await[&meta], 1);
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    let asked = format!(r#"{{"last_by_subj": "{meta}"}}"#);
    let api = format!("$JS.API.STREAM.MSG.GET.{name}_meta");
    let found = client.request(api, asked.into()).await.unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found.payload).unwrap();
    use base64::{Engine, engine::general_purpose::STANDARD};
    let headers = STANDARD.decode(found["message"]["hdrs"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8(headers).unwrap().contains("Nats-TTL: 86400"));
}

#[tokio::test]
async fn what_fits_in_no_message_is_refused_and_a_wrong_uid_is_an_error() {
    let queue = node(&prefix()).await;
    let uid = Uid::from("alice");
    let many: Vec<_> = (0..4097).map(entry).collect();
    // Each for itself fits in one message.
    let big = [0, 1].map(|id| Entry { data: vec![0; 9 << 20].into(), ..entry(id) });
    for batch in [&many[..], &big] {
        let stored = queue.enqueue(&uid, batch, Admit::AlreadyAccepted).await;
        assert!(matches!(stored, Err(QueueError::Full)), "{stored:?}");
    }
    queue.enqueue(&Uid::from("bob"), &big[..1], Admit::AlreadyAccepted).await.unwrap();
    queue.enqueue(&uid, &many[1..], Admit::AlreadyAccepted).await.unwrap();
    assert_eq!(ids(&queue, &uid).await.len(), 4096);
    for uid in [Uid::from(""), Uid::from("x".repeat(256))] {
        assert!(is_unavailable(&add(&queue, &uid, [1]).await));
        assert!(is_unavailable(&queue.peek(&uid, Seq::START, Limit::default()).await));
    }
}

#[tokio::test]
async fn where_the_stream_is_full_new_entries_are_refused() {
    let name = prefix();
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    let queue = node(&name).await;
    let api = format!("$JS.API.STREAM.UPDATE.{name}_queue");
    let config = format!(
        r#"{{"name": "{name}_queue", "subjects": ["{name}.q.*"], "retention": "limits", "storage": "file",
            "discard": "new", "allow_direct": true, "allow_msg_ttl": true, "max_bytes": 1000}}"#
    );
    let updated = client.request(api, config.into()).await.unwrap();
    assert!(!String::from_utf8_lossy(&updated.payload).contains("error"), "{updated:?}");
    let uid = Uid::from("alice");
    let seqs = add(&queue, &uid, 0..2).await.unwrap();
    let big = Entry { data: vec![0; 2000].into(), ..entry(7) };
    let stored = queue.enqueue(&uid, std::slice::from_ref(&big), Admit::WithinLimits).await;
    assert!(matches!(stored, Err(QueueError::Full)), "{stored:?}");
    assert!(is_unavailable(&queue.enqueue(&uid, &[big], Admit::AlreadyAccepted).await));
    assert_eq!(ids(&queue, &uid).await, [0, 1]);
    queue.ack(&uid, seqs[1], EPOCH).await.unwrap();
    // The limits that it knew are compared at the next start, and fit.
    assert_eq!(ids(&node(&name).await, &uid).await, [0; 0]);
}
