//! Logins among themselves, and against senders and late answers.

use std::sync::Arc;

use futures_util::future::{Either, select};
use shuttle::future::spawn;

use super::support::{
    ALICE, Echo, builder, connect, connect_as, end, explore, hub, keep, numbers, post, read,
};
use crate::{
    CloseReason, Device,
    testkit::{memory_pair, queue::ReferenceQueue},
};

#[test]
fn of_two_logins_at_once_one_stays_and_gets_everything() {
    explore(|| async {
        let (hub, queue) = hub();
        let (one, first) = connect(&hub);
        let (other, second) = connect(&hub);
        let sender = spawn({
            let hub = hub.clone();
            async move { keep(&hub, "1").await }
        });
        let (reason, stays) = match select(one, other).await {
            Either::Left((reason, stays)) | Either::Right((reason, stays)) => (reason.unwrap(), stays),
        };
        assert_eq!(reason, CloseReason::Sso);
        assert_eq!((hub.stats().sessions, hub.stats().users_online), (1, 1));
        sender.await.unwrap();
        keep(&hub, "2").await;
        end(&hub, &queue, 0).await;
        assert_eq!(stays.await.unwrap(), CloseReason::Draining);

        let read = [first.await.unwrap(), second.await.unwrap()];
        let stayed = usize::from(read[1].contains(&"2".to_owned()));
        // The one that lost its place may have got the first message, and have confirmed it or not.
        let [winner, loser] = [&read[stayed], &read[1 - stayed]];
        assert!(*winner == numbers(1..=2) || *winner == ["2"] && *loser == ["1"], "{winner:?} {loser:?}");
        assert!(loser.is_empty() || *loser == ["1"], "{loser:?}");
    });
}

#[test]
fn takeover_at_max_sessions_keeps_the_place_against_another_login() {
    explore(|| async {
        let queue = Arc::new(ReferenceQueue::new());
        let hub = builder(Echo).queue(Arc::clone(&queue)).max_sessions(1).build().unwrap();
        let (old, _) = connect(&hub);
        keep(&hub, "hello").await;
        let (new, _) = connect(&hub);
        let (bob, _) = connect_as(&hub, "bob");
        assert_eq!(old.await.unwrap(), CloseReason::Sso);
        let new = match select(new, bob).await {
            Either::Left((reason, _)) => panic!("the takeover was refused: {}", reason.unwrap()),
            Either::Right((reason, new)) => {
                assert_eq!(reason.unwrap(), CloseReason::Full);
                new
            }
        };
        assert_eq!(hub.stats().sessions, 1);
        end(&hub, &queue, 0).await;
        assert_eq!(new.await.unwrap(), CloseReason::Draining);
    });
}

#[test]
fn a_login_gets_what_is_sent_meanwhile_in_order_and_once() {
    explore(|| async {
        let (hub, queue) = hub();
        let sender = spawn({
            let hub = hub.clone();
            async move {
                for number in numbers(1..=3) {
                    post(&hub, number).await;
                }
            }
        });
        let (session, client) = connect(&hub);
        sender.await.unwrap();
        keep(&hub, "4").await;
        end(&hub, &queue, 0).await;
        assert_eq!(session.await.unwrap(), CloseReason::Draining);
        assert_eq!(client.await.unwrap(), numbers(1..=4));
    });
}

#[test]
fn an_answer_that_comes_during_a_takeover_counts_or_does_not() {
    explore(|| async {
        let (hub, queue) = hub();
        let (old, client) = connect(&hub);
        let sender = spawn({
            let hub = hub.clone();
            async move {
                // Read and answered while the other logs in.
                post(&hub, "1").await;
                post(&hub, "2").await;
            }
        });
        let (new, newer) = connect(&hub);
        sender.await.unwrap();
        let (reason, stays) = match select(old, new).await {
            Either::Left((reason, stays)) | Either::Right((reason, stays)) => (reason.unwrap(), stays),
        };
        assert_eq!(reason, CloseReason::Sso);
        keep(&hub, "3").await;
        end(&hub, &queue, 0).await;
        stays.await.unwrap();

        let read = [client.await.unwrap(), newer.await.unwrap()];
        let stayed = usize::from(read[1].contains(&"3".to_owned()));
        let [winner, loser] = [&read[stayed], &read[1 - stayed]];
        // What one confirmed the other does not get; nothing is missing between the two.
        assert!(numbers(1..=3).ends_with(winner), "{winner:?}");
        assert!(numbers(1..=2).starts_with(loser), "{loser:?}");
        assert!(winner.len() + loser.len() >= 3, "{winner:?} {loser:?}");
    });
}

#[test]
fn a_user_who_leaves_gets_at_the_next_login_what_was_not_confirmed() {
    explore(|| async {
        let (hub, queue) = hub();
        let (transport, peer) = memory_pair(1 << 16, true);
        let session = spawn(hub.serve(Device::new(ALICE), transport));
        let client = spawn(read(peer, Some("2")));
        let sender = spawn({
            let hub = hub.clone();
            async move {
                for number in numbers(1..=4) {
                    post(&hub, number).await;
                }
            }
        });
        let first = client.await.unwrap();
        assert_eq!(first, numbers(1..=2));
        let (next, client) = connect(&hub);
        sender.await.unwrap();
        keep(&hub, "5").await;
        // Its client closed, or the next login was faster.
        let reason = session.await.unwrap();
        assert!([CloseReason::PeerClosed, CloseReason::Sso].contains(&reason), "{reason}");
        end(&hub, &queue, 0).await;
        assert_eq!(next.await.unwrap(), CloseReason::Draining);
        let second = client.await.unwrap();
        assert!(numbers(1..=5).ends_with(&second) && second.len() >= 3, "{second:?}");
    });
}
