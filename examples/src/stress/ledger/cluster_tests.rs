//! Each promise in a cluster: kept, broken, and as far as the cluster's bounds excuse it.

use super::{
    reach::SETTLE,
    tests::{ALICE, BOB, broken, hear, keep, tag},
    *,
};

const ONE: Process = Process { node: 1, generation: 0 };
const TWO: Process = Process { node: 2, generation: 0 };

fn ledger() -> Ledger {
    Ledger::new(2, true).in_cluster(true)
}

/// Alice's session on one node, and a later one on another.
fn moved(ledger: &mut Ledger) -> (Session, Session) {
    let ((old, _), (new, _)) = (ledger.begin(ALICE, ONE, 0), ledger.begin(ALICE, TWO, 10));
    ledger.is_live(new, 20);
    (old, new)
}

#[test]
fn what_is_lost_or_comes_twice_or_in_disorder_is_found_whatever_befell_the_nodes() {
    let mut ledger = ledger();
    ledger.reach.falls_silent(None, 0);
    ledger.reach.dies(0);
    let (alice, _) = ledger.begin(ALICE, ONE, 0);
    keep(&mut ledger, alice, 0..6);
    let (_, mut bob) = ledger.begin(BOB, TWO, 0);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0, 1, 1]), Some(Broken::Twice));
    let (_, mut bob) = ledger.begin(BOB, TWO, 0);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[3, 2]), Some(Broken::Disorder));
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[5]), None);
    ledger.killed(TWO);
    let (_, mut bob) = ledger.begin(BOB, ONE, 0);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[4]), None);
    let mut found = broken(&ledger);
    found.sort_by_key(|broken| *broken as u8);
    assert_eq!(found, [Broken::Overtaken, Broken::Overtaken]);
    keep(&mut ledger, alice, [7]);
    assert!(broken(&ledger).contains(&Broken::Lost));
}

#[test]
fn kept_messages_of_a_sender_who_moved_are_in_order_and_others_are_not() {
    for (kept, expected) in [(true, Some(Broken::Stale)), (false, None)] {
        let mut ledger = ledger();
        let (old, new) = moved(&mut ledger);
        let (_, mut bob) = ledger.begin(BOB, ONE, 0);
        keep(&mut ledger, old, 0..3);
        keep(&mut ledger, new, 0..1);
        let mut hears = |session, number| {
            ledger.received(&mut bob, tag(session, number), &Way::Direct, kept).err().map(|it| it.broken)
        };
        assert_eq!(hears(new, 0), None);
        // One may have been on its way to the queue.
        assert_eq!(hears(old, 0), None);
        assert_eq!(hears(old, 1), expected);
    }
}

#[test]
fn what_is_not_kept_is_in_order_where_both_sessions_are_on_one_node() {
    let mut ledger = ledger();
    let ((old, _), (new, _)) = (ledger.begin(ALICE, ONE, 0), ledger.begin(ALICE, ONE, 10));
    let (_, mut bob) = ledger.begin(BOB, TWO, 0);
    let mut hears = |session, number| {
        ledger.received(&mut bob, tag(session, number), &Way::Broadcast, false).err().map(|it| it.broken)
    };
    assert_eq!((hears(new, 0), hears(old, 0), hears(old, 1)), (None, None, Some(Broken::Stale)));
}

#[test]
fn a_session_that_lost_its_place_is_silent_unless_nobody_could_tell_its_node() {
    for (silent, expected) in [
        (None, Some(Broken::Stale)),
        // The old one's node, the new one's, the broker, and one that has nothing to do with it.
        (Some(Some(1)), None),
        (Some(Some(2)), None),
        (Some(None), None),
        (Some(Some(0)), Some(Broken::Stale)),
    ] {
        let mut ledger = ledger();
        if let Some(node) = silent {
            ledger.reach.falls_silent(node, 15);
        }
        let (old, mut ear) = ledger.begin(ALICE, ONE, 0);
        let (new, _) = ledger.begin(ALICE, TWO, 10);
        ledger.is_live(new, 20);
        keep(&mut ledger, old, 0..4);
        ledger.displaced(&mut ear, 2, new, 20);
        let (_, mut bob) = ledger.begin(BOB, ONE, 0);
        assert_eq!(hear(&mut ledger, &mut bob, old, &[0, 1]), None);
        assert_eq!(hear(&mut ledger, &mut bob, old, &[2]), expected, "{silent:?}");
        // And it hears nothing that was sent later.
        let (bob, _) = ledger.begin(BOB, ONE, 0);
        let late = Tag { session: bob, number: 0, sent: 21 };
        let heard = ledger.received(&mut ear, late, &Way::Direct, false);
        assert_eq!(heard.err().map(|it| it.broken), expected, "{silent:?}");
    }
}

#[test]
fn a_silence_before_or_after_a_login_does_not_excuse_the_session_that_it_replaced() {
    for (from, until) in [(0, 1), (2 * SETTLE + 21, 3 * SETTLE)] {
        let mut ledger = ledger();
        ledger.reach.falls_silent(Some(1), from);
        ledger.reach.is_back(until);
        let (old, mut ear) = ledger.begin(ALICE, ONE, 0);
        let (new, _) = ledger.begin(ALICE, TWO, 2 * SETTLE);
        ledger.is_live(new, 2 * SETTLE + 20);
        keep(&mut ledger, old, 0..1);
        ledger.displaced(&mut ear, 0, new, 2 * SETTLE + 20);
        let (_, mut bob) = ledger.begin(BOB, ONE, 0);
        assert_eq!(hear(&mut ledger, &mut bob, old, &[0]), Some(Broken::Stale), "{from}");
    }
}

/// Bob confirms a message on one node at 0, and logs in again: what he hears when it comes again.
fn confirmed(ledger: &mut Ledger, logins: &[(Process, u64)]) -> Option<Broken> {
    let (alice, _) = ledger.begin(ALICE, ONE, 0);
    let (_, mut bob) = ledger.begin(BOB, ONE, 0);
    keep(ledger, alice, [0]);
    assert_eq!(hear(ledger, &mut bob, alice, &[0]), None);
    bob.answer();
    ledger.confirmed(&mut bob, 1, 0);
    let mut again = None;
    for (process, at) in logins {
        let (_, mut bob) = ledger.begin(BOB, *process, *at);
        again = hear(ledger, &mut bob, alice, &[0]);
    }
    again
}

#[test]
fn what_was_confirmed_comes_again_on_another_node_only_while_the_queue_is_told() {
    let again = Some(Broken::Again);
    assert_eq!(confirmed(&mut ledger(), &[(ONE, 1)]), again, "the node that was told knows at once");
    assert_eq!(confirmed(&mut ledger(), &[(TWO, 1)]), None);
    assert_eq!(confirmed(&mut ledger(), &[(TWO, SETTLE)]), again);
    assert_eq!(confirmed(&mut ledger(), &[(TWO, SETTLE), (ONE, SETTLE), (TWO, SETTLE)]), again);
    // Read by a newer login before the queue was told: whose acknowledgement counts then nobody knows.
    assert_eq!(confirmed(&mut ledger(), &[(TWO, 1), (TWO, 2 * SETTLE)]), None);
}

#[test]
fn what_was_confirmed_when_the_queue_could_not_be_told_may_come_again() {
    let mut silent = ledger();
    silent.reach.falls_silent(None, 0);
    silent.reach.is_back(1);
    assert_eq!(confirmed(&mut silent, &[(TWO, 2 * SETTLE)]), None);
    let mut later = ledger();
    later.reach.falls_silent(None, SETTLE + 1);
    assert_eq!(confirmed(&mut later, &[(TWO, 2 * SETTLE)]), Some(Broken::Again));
}

#[test]
fn what_an_older_session_confirms_while_a_newer_one_reads_elsewhere_counts_for_nothing() {
    for (newer, expected) in [(ONE, Some(Broken::Again)), (TWO, None)] {
        let mut ledger = ledger();
        let (alice, _) = ledger.begin(ALICE, ONE, 0);
        let (_, mut old) = ledger.begin(BOB, ONE, 0);
        keep(&mut ledger, alice, [0]);
        assert_eq!(hear(&mut ledger, &mut old, alice, &[0]), None);
        old.answer();
        ledger.begin(BOB, newer, 0);
        ledger.confirmed(&mut old, 1, 0);
        let (_, mut bob) = ledger.begin(BOB, ONE, 2 * SETTLE);
        assert_eq!(hear(&mut ledger, &mut bob, alice, &[0]), expected, "{newer:?}");
    }
}

#[test]
fn where_a_user_has_several_sessions_confirmations_bind_when_all_but_one_have_left() {
    for (is_over, expected) in [(false, None), (true, Some(Broken::Again))] {
        let mut ledger = Ledger::new(2, false).in_cluster(true);
        if is_over {
            ledger.is_over();
        }
        assert_eq!(confirmed(&mut ledger, &[(ONE, 1)]), expected);
    }
}

#[test]
fn what_was_confirmed_to_a_process_that_was_killed_may_come_again_and_what_the_queue_knows_may_not() {
    let again_after = |at| {
        let mut ledger = ledger();
        let (alice, _) = ledger.begin(ALICE, ONE, 0);
        let (_, mut bob) = ledger.begin(BOB, TWO, 0);
        keep(&mut ledger, alice, [0]);
        assert_eq!(hear(&mut ledger, &mut bob, alice, &[0]), None);
        bob.answer();
        ledger.confirmed(&mut bob, 1, 0);
        ledger.begin(BOB, ONE, at);
        ledger.killed(TWO);
        let next = Process { node: 2, generation: 1 };
        let (_, mut bob) = ledger.begin(BOB, next, 3 * SETTLE);
        hear(&mut ledger, &mut bob, alice, &[0])
    };
    assert_eq!((again_after(1), again_after(SETTLE)), (None, Some(Broken::Again)));
}

#[test]
fn what_failed_may_come_late_and_once_and_nothing_else_may() {
    for (in_cluster, expected) in [(true, None), (false, Some(Broken::Disorder))] {
        let mut ledger = Ledger::new(2, true).in_cluster(in_cluster);
        let (alice, _) = ledger.begin(ALICE, ONE, 0);
        let (_, mut bob) = ledger.begin(BOB, ONE, 0);
        ledger.in_doubt(alice, 2..4);
        let mut hears = |number| {
            ledger.received(&mut bob, tag(alice, number), &Way::Direct, false).err().map(|it| it.broken)
        };
        assert_eq!((hears(0), hears(6), hears(3)), (None, None, expected));
        if in_cluster {
            assert_eq!((hears(2), hears(7)), (None, None));
            // In disorder, as not kept; a kept one that comes twice is told apart.
            assert_eq!((hears(2), hears(1)), (Some(Broken::Disorder), Some(Broken::Disorder)));
        }
    }
}
