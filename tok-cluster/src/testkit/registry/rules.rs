//! The rules, one function each. A rule panics, saying what is wrong, unless the registry, which must be empty, keeps it.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tok_core::{Epoch, Uid, relay::Claim};

use super::{LEASE, LONG, Registries, claim, claim_above, node};
use crate::{NodeId, SessionRow};

#[doc(hidden)]
#[macro_export]
macro_rules! __registry_rules {
    ($then:ident, ($($args:tt)*)) => {
        $crate::$then! { ($($args)*)
            epochs_rise
            epochs_rise_after_a_release
            epochs_rise_above_what_was_restored
            epochs_rise_above_what_a_claim_asks
            a_claim_is_seen_at_once
            a_claim_names_the_other_rows
            a_claim_takes_the_place_of_its_nodes_class
            a_claim_leaves_the_rows_of_other_nodes
            claims_without_a_class_take_no_place
            of_simultaneous_claims_the_later_sees_the_earlier
            a_release_removes_its_epoch_alone
            a_late_release_leaves_the_newer
            what_is_released_is_gone
            restore_puts_back_what_was_lost
            restore_leaves_what_is_there
            users_and_classes_are_byte_exact
            pages_hold_every_row_once
            users_are_counted_and_not_rows
            a_beat_gives_a_lease
            a_beat_says_whether_there_was_a_lease
            a_lease_ends
            who_leaves_has_no_lease_and_keeps_its_rows
            runs_of_a_node_are_apart
            reap_leaves_who_has_a_lease
            reap_takes_the_dead_nodes_rows_alone
            reap_works_in_parts
            a_node_that_was_reaped_is_forgotten
        }
    };
}

/// Each claim's epoch is above the one before, over whatever connection.
pub async fn epochs_rise(on: &Registries) {
    let mut last = Epoch::default();
    for n in 0..20 {
        let registry = if n % 2 == 0 { &on.first } else { &on.second };
        let epoch = claim(&**registry, "alice", None, &node(["a", "b"][n % 2])).await.epoch;
        assert!(epoch > last, "{epoch:?} follows {last:?}");
        last = epoch;
    }
}

/// A user who was gone altogether comes back with a higher epoch.
pub async fn epochs_rise_after_a_release(on: &Registries) {
    let mut last = Epoch::default();
    for _ in 0..5 {
        let epoch = on.claim("alice", Some(""), &node("a")).await.epoch;
        assert!(epoch > last, "{epoch:?} follows {last:?}, which was released");
        last = epoch;
        assert!(on.release("alice", epoch).await);
    }
}

/// A row from before the table was lost counts too.
pub async fn epochs_rise_above_what_was_restored(on: &Registries) {
    let first = on.claim("alice", Some(""), &node("a")).await.epoch;
    let epoch = Epoch::new(first.get() + 1000);
    let row = SessionRow { uid: "alice".into(), node: node("b"), class: None, epoch };
    on.first.restore(&row).await.expect("restore must succeed");
    let next = on.claim("alice", Some(""), &node("c")).await.epoch;
    assert!(next > epoch, "{next:?} follows {epoch:?}, which was restored");
}

/// A queue remembers epochs that this table never gave, or has lost: a claim can ask for one above them. It names its
/// row, and later claims are above it.
pub async fn epochs_rise_above_what_a_claim_asks(on: &Registries) {
    let first = on.claim("alice", Some(""), &node("a")).await.epoch;
    for class in [None, Some(""), Some("x")] {
        let above = Epoch::new(on.epochs("alice").await.last().map_or(0, |epoch| epoch.get()) + 1_000_000);
        let asked = claim_above(&*on.first, "alice", class, &node("b"), above).await.epoch;
        assert!(asked > above, "{asked:?} is to be above {above:?}");
        assert!(on.epochs("alice").await.contains(&asked));
        let next = claim(&*on.second, "alice", None, &node("c")).await.epoch;
        assert!(next > asked, "{next:?} follows {asked:?}");
        assert!(on.release("alice", asked).await, "{asked:?} is the row's epoch");
    }
    // What is above less than the registry gives anyway changes nothing.
    let low = claim_above(&*on.first, "bob", None, &node("a"), Epoch::new(1)).await.epoch;
    assert!(low > Epoch::new(1) && first > Epoch::default());
    // More than there are numbers for is refused, or given: never a lower one.
    let highest = Epoch::new(u64::MAX - 1);
    let most = Claim { uid: "carol".into(), class: None, above: highest };
    if let Ok(claimed) = on.first.claim(&most, &node("a")).await {
        assert!(claimed.epoch > highest);
    }
    let most = Claim { uid: "dave".into(), class: None, above: Epoch::new(u64::MAX) };
    assert!(on.first.claim(&most, &node("a")).await.is_err());
}

/// What one connection was told is done, the other sees: there is no stale answer, ever.
pub async fn a_claim_is_seen_at_once(on: &Registries) {
    for n in 0..100 {
        let uid = format!("user {}", n % 7);
        let epoch = on.claim(&uid, None, &node("a")).await.epoch;
        assert!(on.epochs(&uid).await.contains(&epoch), "round {n}");
        on.release(&uid, epoch).await;
        assert_eq!(on.epochs(&uid).await, [], "round {n}");
    }
}

/// A claim returns all rows of the user but its own.
pub async fn a_claim_names_the_other_rows(on: &Registries) {
    assert_eq!(on.claim("alice", Some(""), &node("a")).await.others, []);
    let before = on.rows("alice").await;
    assert_eq!(on.claim("alice", Some(""), &node("b")).await.others, before);
    let before = on.rows("alice").await;
    assert_eq!(before.len(), 2);
    let mut others = on.claim("alice", Some("x"), &node("c")).await.others;
    others.sort_by_key(|row| row.epoch);
    assert_eq!(others, before);
    assert_eq!(on.claim("bob", Some(""), &node("a")).await.others, []);
}

/// A node has at most one row of a class.
pub async fn a_claim_takes_the_place_of_its_nodes_class(on: &Registries) {
    let first = on.claim("alice", Some("x"), &node("a")).await;
    let other = on.claim("alice", Some("y"), &node("a")).await;
    let second = on.claim("alice", Some("x"), &node("a")).await;
    assert_eq!(on.epochs("alice").await, [other.epoch, second.epoch], "{first:?} has lost its place");
    assert_eq!(second.others.len(), 1, "what lost its place is not another row");
}

/// Who of several nodes is displaced is not the registry's to decide.
pub async fn a_claim_leaves_the_rows_of_other_nodes(on: &Registries) {
    let mut epochs = Vec::new();
    for name in ["a", "b", "c"] {
        epochs.push(on.claim("alice", Some(""), &node(name)).await.epoch);
    }
    // Another run of a node is another node.
    let again = NodeId::new("a", 2).expect("the name is valid");
    epochs.push(on.claim("alice", Some(""), &again).await.epoch);
    assert_eq!(on.epochs("alice").await, epochs);
}

/// Sessions without a class stand side by side.
pub async fn claims_without_a_class_take_no_place(on: &Registries) {
    let mut epochs = Vec::new();
    for class in [None, Some(""), None, None] {
        epochs.push(on.claim("alice", class, &node("a")).await.epoch);
    }
    assert_eq!(on.epochs("alice").await, epochs);
}

/// Of any two claims at the same time one comes first, and the other is told of it.
pub async fn of_simultaneous_claims_the_later_sees_the_earlier(on: &Registries) {
    for round in 0..5 {
        let uid = format!("user {round}");
        let claims = (0..16).map(|n| {
            let registry = if n % 2 == 0 { &on.first } else { &on.second };
            let (uid, node) = (&uid, node(&format!("n{n}")));
            async move { claim(&**registry, uid, Some(""), &node).await }
        });
        let mut claims = join_all(claims).await;
        claims.sort_by_key(|claimed| claimed.epoch);
        let mut earlier = BTreeSet::new();
        for claimed in claims {
            let seen: BTreeSet<Epoch> = claimed.others.iter().map(|row| row.epoch).collect();
            assert_eq!(seen, earlier, "{:?} must see those before it and no other", claimed.epoch);
            assert!(earlier.insert(claimed.epoch), "two claims have {:?}", claimed.epoch);
        }
    }
}

/// A release takes one row, once.
pub async fn a_release_removes_its_epoch_alone(on: &Registries) {
    let first = on.claim("alice", None, &node("a")).await.epoch;
    let second = on.claim("alice", None, &node("a")).await.epoch;
    let third = on.claim("alice", None, &node("b")).await.epoch;
    assert!(on.release("alice", second).await);
    assert_eq!(on.epochs("alice").await, [first, third]);
    assert!(!on.release("alice", second).await, "it is gone already");
    assert!(!on.release("bob", first).await, "it is another user's");
    assert_eq!(on.epochs("alice").await, [first, third]);
}

/// The release of a session that lost its place cannot touch the one that has it.
pub async fn a_late_release_leaves_the_newer(on: &Registries) {
    let old = on.claim("alice", Some(""), &node("a")).await.epoch;
    let new = on.claim("alice", Some(""), &node("a")).await.epoch;
    assert!(!on.release("alice", old).await);
    assert_eq!(on.epochs("alice").await, [new]);
}

/// A user without rows is nowhere: not looked up, not in pages, not counted.
pub async fn what_is_released_is_gone(on: &Registries) {
    let epoch = on.claim("alice", Some(""), &node("a")).await.epoch;
    on.release("alice", epoch).await;
    assert_eq!(on.rows("alice").await, []);
    assert_eq!(on.pages(10).await.0, []);
    on.users_become(0).await;
}

/// A row that is missing comes back as it was.
pub async fn restore_puts_back_what_was_lost(on: &Registries) {
    on.claim("alice", Some("x"), &node("a")).await;
    let row = on.rows("alice").await.remove(0);
    on.release("alice", row.epoch).await;
    on.claim("alice", Some("x"), &node("b")).await;
    let newer = on.rows("alice").await;
    let restored = on.first.restore(&row).await.expect("restore must succeed");
    assert!(restored.added);
    assert_eq!(restored.others, newer, "whoever came meanwhile is named");
    assert_eq!(on.rows("alice").await.len(), 2);
    assert!(on.rows("alice").await.contains(&row));
}

/// A row that is there is left as it is.
pub async fn restore_leaves_what_is_there(on: &Registries) {
    on.claim("alice", Some("x"), &node("a")).await;
    on.claim("alice", Some("x"), &node("b")).await;
    let rows = on.rows("alice").await;
    for row in &rows {
        let restored = on.first.restore(row).await.expect("restore must succeed");
        assert!(!restored.added);
        assert_eq!(restored.others.len(), 1);
        assert_eq!(on.rows("alice").await, rows);
    }
}

/// Whatever bytes a uid or class has, it is one and not another, and comes back as it went in.
pub async fn users_and_classes_are_byte_exact(on: &Registries) {
    let long = "x".repeat(Uid::MAX_BYTES);
    let odd =
        ["a", "A", "a.b", "a_b", "*", ">", " a", "a ", "{a}:b", "Zo\u{eb}", "\r\n", "\0", "\u{1f980}", &long];
    for (n, uid) in odd.iter().enumerate() {
        let class = odd[odd.len() - 1 - n];
        on.claim(uid, Some(class), &node("a")).await;
    }
    for (n, uid) in odd.iter().enumerate() {
        let rows = on.rows(uid).await;
        assert_eq!(rows.len(), 1, "{uid:?}");
        let class = odd[odd.len() - 1 - n];
        assert_eq!((rows[0].uid.as_str(), rows[0].class.as_deref()), (*uid, Some(class)));
    }
    let listed: BTreeSet<String> =
        on.pages(5).await.0.iter().map(|row| row.uid.as_str().to_owned()).collect();
    assert_eq!(listed, odd.iter().map(|uid| (*uid).to_owned()).collect());
}

/// Pages are of about the size that was asked for, and together the whole table.
pub async fn pages_hold_every_row_once(on: &Registries) {
    assert_eq!(on.pages(10).await, (Vec::new(), 1), "an empty table is one empty page");
    let mut expected = Vec::new();
    for n in 0..23 {
        let uid = format!("user {n}");
        on.claim(&uid, None, &node("a")).await;
        on.claim(&uid, None, &node("b")).await;
        expected.extend(on.rows(&uid).await);
    }
    for limit in [1, 5, 1000] {
        let (mut rows, pages) = on.pages(limit).await;
        rows.sort_by_key(|row| (row.uid.clone(), row.epoch));
        expected.sort_by_key(|row| (row.uid.clone(), row.epoch));
        assert_eq!(rows, expected, "in pages of {limit}");
        assert!(pages >= (23 / limit).min(3), "{pages} pages of {limit}");
    }
}

/// A user with many sessions is one.
pub async fn users_are_counted_and_not_rows(on: &Registries) {
    on.users_become(0).await;
    for uid in ["alice", "bob"] {
        for name in ["a", "b", "a"] {
            on.claim(uid, None, &node(name)).await;
        }
    }
    on.users_become(2).await;
    for row in on.rows("alice").await {
        on.users_become(2).await;
        on.release("alice", row.epoch).await;
    }
    on.users_become(1).await;
}

/// A node that beats is listed, with what is left of its lease.
pub async fn a_beat_gives_a_lease(on: &Registries) {
    assert_eq!(on.left(&node("a")).await, None);
    on.beat(&node("a"), LONG).await;
    let left = on.left(&node("a")).await.expect("it has beaten");
    assert!(!left.is_zero() && left <= LONG, "{left:?} of {LONG:?} are left");
    assert_eq!(on.left(&node("b")).await, None);
}

/// A node learns whether its lease was lost or over.
pub async fn a_beat_says_whether_there_was_a_lease(on: &Registries) {
    assert!(!on.beat(&node("a"), LEASE).await, "the first");
    assert!(on.beat(&node("a"), LEASE).await, "the second");
    on.lapse().await;
    assert!(!on.beat(&node("a"), LONG).await, "after it was over");
    on.first.leave(&node("a")).await.expect("leave must succeed");
    assert!(!on.beat(&node("a"), LONG).await, "after it was given back");
}

/// A node that does not beat has no lease when the time is up; one that does has.
pub async fn a_lease_ends(on: &Registries) {
    on.beat(&node("a"), LEASE).await;
    on.beat(&node("b"), LEASE).await;
    on.beat(&node("b"), LONG).await;
    on.lapse().await;
    let left = on.left(&node("a")).await.unwrap_or_default();
    assert!(left.is_zero(), "{left:?} are left");
    assert!(on.left(&node("b")).await.is_some_and(|left| !left.is_zero()));
}

/// Leaving ends the lease and nothing else.
pub async fn who_leaves_has_no_lease_and_keeps_its_rows(on: &Registries) {
    on.beat(&node("a"), LONG).await;
    on.claim("alice", Some(""), &node("a")).await;
    on.first.leave(&node("a")).await.expect("leave must succeed");
    assert!(on.left(&node("a")).await.unwrap_or_default().is_zero());
    assert_eq!(on.rows("alice").await.len(), 1);
    // One that never was there is no reason to fail.
    on.first.leave(&node("nobody")).await.expect("leave must succeed");
}

/// Two runs of one node have a lease each.
pub async fn runs_of_a_node_are_apart(on: &Registries) {
    let [first, second] = [1, 2].map(|run| NodeId::new("a", run).expect("the name is valid"));
    on.beat(&first, LONG).await;
    on.beat(&second, LONG).await;
    on.first.leave(&first).await.expect("leave must succeed");
    assert!(on.left(&first).await.unwrap_or_default().is_zero());
    assert!(on.left(&second).await.is_some_and(|left| !left.is_zero()));
}

/// A node that came back in time is not cleared away.
pub async fn reap_leaves_who_has_a_lease(on: &Registries) {
    on.beat(&node("a"), LONG).await;
    on.claim("alice", Some(""), &node("a")).await;
    let more = on.second.reap(&node("a"), 100).await.expect("reap must succeed");
    assert!(!more);
    assert_eq!(on.rows("alice").await.len(), 1);
    assert!(on.left(&node("a")).await.is_some());
}

/// Rows of other nodes, and of other runs of the dead one, stay.
pub async fn reap_takes_the_dead_nodes_rows_alone(on: &Registries) {
    let again = NodeId::new("a", 2).expect("the name is valid");
    on.beat(&node("a"), LONG).await;
    on.beat(&again, LONG).await;
    on.claim("alice", None, &node("a")).await;
    on.claim("bob", None, &node("a")).await;
    let kept = [on.claim("alice", None, &again).await.epoch, on.claim("alice", None, &node("b")).await.epoch];
    on.first.leave(&node("a")).await.expect("leave must succeed");
    while on.second.reap(&node("a"), 100).await.expect("reap must succeed") {}
    assert_eq!(on.epochs("alice").await, kept);
    assert_eq!(on.rows("bob").await, []);
    on.users_become(1).await;
    assert!(on.left(&again).await.is_some());
}

/// A dead node with many users is cleared away a part at a time.
pub async fn reap_works_in_parts(on: &Registries) {
    on.beat(&node("a"), LONG).await;
    for n in 0..40 {
        on.claim(&format!("user {n}"), None, &node("a")).await;
    }
    on.first.leave(&node("a")).await.expect("leave must succeed");
    assert!(on.second.reap(&node("a"), 10).await.expect("reap must succeed"), "30 are left");
    let left = on.pages(100).await.0.len();
    assert!((20..=35).contains(&left), "of 40 rows about 10 must be removed, but {left} are left");
    for _ in 0..100 {
        if !on.second.reap(&node("a"), 10).await.expect("reap must succeed") {
            assert_eq!(on.pages(100).await.0, []);
            return;
        }
    }
    panic!("reap must come to an end");
}

/// A node of which nothing is left is not listed any more: runs of nodes do not pile up.
pub async fn a_node_that_was_reaped_is_forgotten(on: &Registries) {
    on.beat(&node("a"), LONG).await;
    on.claim("alice", None, &node("a")).await;
    on.first.leave(&node("a")).await.expect("leave must succeed");
    assert!(on.left(&node("a")).await.is_some(), "it has rows that somebody has to reap");
    while on.second.reap(&node("a"), 10).await.expect("reap must succeed") {}
    assert_eq!(on.left(&node("a")).await, None);
}
