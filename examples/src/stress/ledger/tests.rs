//! Each promise, kept and broken.

use super::*;

pub(super) const ALICE: User = 0;
pub(super) const BOB: User = 1;
/// Where sessions are that are all on one gateway.
const HERE: Process = Process { node: 0, generation: 0 };

/// A session of alice's, and one of bob's that listens.
fn ledger() -> (Ledger, u32, Hearing) {
    let mut ledger = Ledger::new(2, true);
    let (alice, _) = ledger.begin(ALICE, HERE, 0);
    let (_, bob) = ledger.begin(BOB, HERE, 0);
    (ledger, alice, bob)
}

pub(super) fn tag(session: u32, number: u32) -> Tag {
    Tag { session, number, sent: u64::from(number) }
}

pub(super) fn keep(ledger: &mut Ledger, session: u32, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        ledger.sent(session, number, BOB);
        ledger.answered(session, number, BOB);
    }
}

pub(super) fn hear(ledger: &mut Ledger, ear: &mut Hearing, session: u32, numbers: &[u32]) -> Option<Broken> {
    numbers
        .iter()
        .find_map(|number| ledger.received(ear, tag(session, *number), &Way::Direct, true).err())
        .map(|violation| violation.broken)
}

pub(super) fn broken(ledger: &Ledger) -> Vec<Broken> {
    ledger.finish().into_iter().map(|violation| violation.broken).collect()
}

#[test]
fn what_arrives_once_and_in_order_is_well() {
    let (mut ledger, alice, mut bob) = ledger();
    keep(&mut ledger, alice, 0..5);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0, 1, 2, 3, 4]), None);
    assert_eq!((broken(&ledger), ledger.total_answered()), (vec![], 5));
}

#[test]
fn what_was_not_answered_for_may_be_missing() {
    let (mut ledger, alice, mut bob) = ledger();
    ledger.sent(alice, 0, BOB);
    keep(&mut ledger, alice, [1]);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[1]), None);
    assert_eq!(broken(&ledger), []);
}

#[test]
fn a_lost_message_is_found_at_the_end() {
    let (mut ledger, alice, mut bob) = ledger();
    keep(&mut ledger, alice, 0..3);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0, 2]), None);
    assert!(ledger.misses(BOB) && !ledger.misses(ALICE));
    assert_eq!(broken(&ledger), [Broken::Lost]);
}

#[test]
fn a_message_twice_in_a_session_is_found() {
    let (mut ledger, alice, mut bob) = ledger();
    keep(&mut ledger, alice, 0..3);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0, 1, 1]), Some(Broken::Twice));
    let (_, mut bob) = ledger.begin(BOB, HERE, 0);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0, 1, 2, 0]), Some(Broken::Twice));
}

#[test]
fn disorder_within_a_session_is_found() {
    let (mut ledger, alice, mut bob) = ledger();
    keep(&mut ledger, alice, 0..3);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0, 2, 1]), Some(Broken::Disorder));
}

#[test]
fn a_message_overtaken_across_sessions_is_found_also_by_one_that_is_not_kept() {
    let (mut ledger, alice, mut bob) = ledger();
    keep(&mut ledger, alice, 0..1);
    assert!(ledger.received(&mut bob, tag(alice, 1), &Way::Direct, false).is_ok());
    let (_, mut bob) = ledger.begin(BOB, HERE, 0);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0]), None);
    assert_eq!(broken(&ledger), [Broken::Overtaken]);
}

#[test]
fn what_was_not_confirmed_may_come_again_in_a_later_session_and_what_was_may_not() {
    let (mut ledger, alice, mut bob) = ledger();
    keep(&mut ledger, alice, 0..3);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0, 1]), None);
    bob.answer();
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[2]), None);
    assert_eq!(bob.answered(), 2);
    ledger.confirmed(&mut bob, 2, 0);
    let (_, mut again) = ledger.begin(BOB, HERE, 0);
    assert_eq!(hear(&mut ledger, &mut again, alice, &[2]), None);
    let (_, mut again) = ledger.begin(BOB, HERE, 0);
    assert_eq!(hear(&mut ledger, &mut again, alice, &[1]), Some(Broken::Again));

    ledger.killed(HERE);
    let (_, mut after) = ledger.begin(BOB, HERE, 0);
    assert_eq!(hear(&mut ledger, &mut after, alice, &[0, 1, 2]), None);
    // What the gateway that was killed confirmed counts for nothing afterwards.
    ledger.confirmed(&mut bob, 2, 0);
    let (_, mut after) = ledger.begin(BOB, HERE, 0);
    assert_eq!(hear(&mut ledger, &mut after, alice, &[0, 1, 2]), None);
}

#[test]
fn a_session_that_lost_its_place_is_not_heard() {
    let mut ledger = Ledger::new(2, true);
    let ((alice, mut ear), (_, mut bob)) = (ledger.begin(ALICE, HERE, 0), ledger.begin(BOB, HERE, 0));
    keep(&mut ledger, alice, 0..3);
    let (new, _) = ledger.begin(ALICE, HERE, 0);
    ledger.displaced(&mut ear, 2, new, 0);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0, 1]), None);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[2]), Some(Broken::Stale));
}

#[test]
fn an_older_session_is_not_heard_after_a_newer_one_but_for_one_message_in_flight() {
    for (one_session, expected) in [(true, Some(Broken::Stale)), (false, None)] {
        let mut ledger = Ledger::new(2, one_session);
        let ((old, _), (new, _)) = (ledger.begin(ALICE, HERE, 0), ledger.begin(ALICE, HERE, 0));
        let (_, mut bob) = ledger.begin(BOB, HERE, 0);
        keep(&mut ledger, old, 0..3);
        keep(&mut ledger, new, 0..1);
        assert_eq!(hear(&mut ledger, &mut bob, old, &[0]), None);
        assert_eq!(hear(&mut ledger, &mut bob, new, &[0]), None);
        assert_eq!(hear(&mut ledger, &mut bob, old, &[1]), None);
        assert_eq!(hear(&mut ledger, &mut bob, old, &[2]), expected);
    }
}

#[test]
fn a_displaced_session_receives_nothing_newer_than_its_successor() {
    let (mut ledger, alice, mut bob) = ledger();
    keep(&mut ledger, alice, 0..3);
    let (new, _) = ledger.begin(BOB, HERE, 0);
    ledger.displaced(&mut bob, 0, new, 1);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0, 1]), None);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[2]), Some(Broken::Stale));
}

#[test]
fn what_nobody_sent_to_this_user_is_found() {
    let (mut ledger, alice, mut bob) = ledger();
    ledger.sent(alice, 0, ALICE);
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0]), Some(Broken::Stale));
    assert_eq!(hear(&mut ledger, &mut bob, 99, &[0]), Some(Broken::Stale));
}

#[test]
fn each_way_is_in_order_by_itself() {
    let (mut ledger, alice, mut bob) = ledger();
    keep(&mut ledger, alice, [0]);
    let ways = [Way::Broadcast, Way::Room("a".to_owned()), Way::Room("b".to_owned())];
    for (way, number) in ways.iter().zip([5, 4, 3]) {
        assert!(ledger.received(&mut bob, tag(alice, number), way, false).is_ok());
    }
    assert_eq!(hear(&mut ledger, &mut bob, alice, &[0]), None);
    assert_eq!(broken(&ledger), []);
    for (way, number) in ways.iter().zip([2, 2, 2]) {
        let violation = ledger.received(&mut bob, tag(alice, number), way, false).unwrap_err();
        assert_eq!(violation.broken, Broken::Disorder);
    }
}
