//! Shutdowns and kicks against senders and logins.

use shuttle::future::spawn;

use super::support::{ALICE, LONG, connect, end, explore, hub, numbers, post};
use crate::{CloseReason, Queue, SendError};

#[test]
fn what_is_accepted_during_a_shutdown_is_confirmed_or_stored() {
    explore(|| async {
        let (hub, queue) = hub();
        let (session, client) = connect(&hub);
        let sender = spawn({
            let hub = hub.clone();
            async move {
                post(&hub, "1").await;
                // Not kept: it is refused once the shutdown has begun.
                let told = hub.send(ALICE, "!").await;
                assert!(matches!(told, Ok(_) | Err(SendError::Draining)), "{told:?}");
                post(&hub, "2").await;
            }
        });
        let report = hub.shutdown(LONG).await;
        assert_eq!(report.forced, 0);
        assert_eq!(session.await.unwrap(), CloseReason::Draining);
        sender.await.unwrap();
        end(&hub, &queue, queue.size(&ALICE.into()).await.unwrap().messages).await;

        let mut read = client.await.unwrap();
        read.retain(|text| text != "!");
        assert!(numbers(1..=2).starts_with(&read), "{read:?}");
        let page = queue.peek(&ALICE.into(), Default::default(), Default::default()).await.unwrap();
        let stored: Vec<&[u8]> = page.entries.iter().map(|(_, entry)| &*entry.data).collect();
        assert!([&b"1"[..], b"2"].ends_with(&stored), "{stored:?}");
        assert!(read.len() + stored.len() >= 2, "read {read:?}, stored {stored:?}");
    });
}

#[test]
fn a_login_during_a_shutdown_is_ended_or_refused() {
    explore(|| async {
        let (hub, queue) = hub();
        let (session, client) = connect(&hub);
        end(&hub, &queue, 0).await;
        assert_eq!(session.await.unwrap(), CloseReason::Draining);
        assert_eq!(client.await.unwrap(), numbers(1..=0));
        end(&hub, &queue, 0).await;
    });
}

#[test]
fn a_kick_against_a_login_ends_it_or_comes_before_it() {
    explore(|| async {
        let (hub, queue) = hub();
        let (session, client) = connect(&hub);
        let kicked = hub.kick(ALICE).await.unwrap();
        end(&hub, &queue, 0).await;
        let reason = session.await.unwrap();
        assert_eq!(reason, if kicked == 1 { CloseReason::Kicked } else { CloseReason::Draining });
        client.await.unwrap();
    });
}
