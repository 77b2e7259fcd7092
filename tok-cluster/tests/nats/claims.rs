//! Claims of one user on top of each other, and counts that follow at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tok_cluster::Registry;
use tok_core::Uid;

use super::{
    builder,
    support::{claim, rows, soon},
};

#[tokio::test]
async fn who_has_logged_out_does_not_count_any_more() {
    let registry = builder().connect().await.unwrap().registry();
    let mut epochs = Vec::new();
    for uid in ["alice", "bob", "carol"] {
        epochs.push((Uid::from(uid), claim(&registry, uid, "a").await.unwrap().epoch));
    }
    for (left, (uid, epoch)) in (0..3).rev().zip(&epochs) {
        assert!(registry.release(uid, *epoch).await.unwrap());
        assert_eq!(registry.users().await.unwrap(), left, "{uid} has logged out");
    }
    // What says that there are no rows is gone, and nothing else.
    let again = claim(&registry, "alice", "a").await.unwrap();
    assert!(again.epoch > epochs[0].1 && again.others.is_empty(), "{again:?}");
    assert_eq!(registry.users().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claims_of_one_user_at_once_all_succeed() {
    const CLAIMS: usize = 200;

    let builder = builder();
    let mut registries = Vec::new();
    for _ in 0..3 {
        registries.push(builder.clone().connect().await.unwrap().registry());
    }
    let nodes = ["a", "b", "c"];
    let claims = (0..CLAIMS).map(|number| claim(&registries[number % 3], "alice", nodes[number % 3]));
    let claimed = soon("all claims", join_all(claims)).await;
    let epochs: BTreeSet<_> = claimed.into_iter().map(|claimed| claimed.unwrap().epoch).collect();
    assert_eq!(epochs.len(), CLAIMS, "each has an epoch of its own");
    // Each node's newest.
    assert_eq!(rows(&registries[0], "alice").await.len(), 3);
}
