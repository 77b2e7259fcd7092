//! Messages that alice sends to bob, numbered, and what each of them can say of it.

use std::{collections::BTreeSet, net::SocketAddr};

use crate::support::{Tcp, number, within};

/// Numbers from here on are other senders', whose messages have no order among alice's.
pub(crate) const OTHERS: usize = 1_000_000;

/// Alice's view.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    next: usize,
    /// Neither refused nor unanswered: these have to arrive.
    pub(crate) accepted: BTreeSet<usize>,
    pub(crate) refused: usize,
}

impl Sent {
    /// Sends one message to be kept, and waits for what becomes of it. Whether it was accepted.
    pub(crate) async fn send(&mut self, alice: &mut Tcp) -> bool {
        let number = self.next;
        self.next += 1;
        // An operation that needs no other node is answered whatever the rest of the cluster does.
        let fence = format!("+left {number} 0");
        alice.send_all([format!("Q600|bob|{number}"), format!("L{number}")]).await;
        let mut answer = alice.recv().await;
        let refused = answer.starts_with("!error ");
        if refused {
            self.refused += 1;
            answer = alice.recv().await;
        } else {
            self.accepted.insert(number);
        }
        assert_eq!(answer, fence);
        !refused
    }

    /// Sends until a number of messages was accepted.
    pub(crate) async fn send_accepted(&mut self, alice: &mut Tcp, count: usize) {
        let enough = self.accepted.len() + count;
        let sending = async {
            while self.accepted.len() < enough {
                self.send(alice).await;
            }
        };
        within("messages to be accepted", sending).await;
    }
}

/// Bob's view, over all his sessions.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) all: BTreeSet<usize>,
}

impl Seen {
    /// Reads what comes, as a session in which nothing may come twice or out of order, until `enough` or the end.
    pub(crate) async fn read(&mut self, bob: &mut Tcp, enough: impl Fn(&Self) -> bool) {
        let mut last = None;
        while !enough(self) {
            let Some(message) = bob.next().await else { return };
            let message = String::from_utf8(message).unwrap();
            // A goodbye, or a login that was refused.
            if message.starts_with('!') {
                continue;
            }
            let number = number(&message);
            if number < OTHERS {
                assert!(last.is_none_or(|last| last < number), "{message} after {last:?}");
                last = Some(number);
            }
            self.all.insert(number);
        }
    }

    /// Logs in and reads until bob has everything that was accepted; again if the session ends.
    pub(crate) async fn read_all(&mut self, addr: SocketAddr, sent: &Sent) -> Tcp {
        let reading = async {
            loop {
                let mut bob = Tcp::login(addr, "uid=bob&confirm=1").await;
                self.read(&mut bob, |seen| seen.has_all_of(sent)).await;
                if self.has_all_of(sent) {
                    return bob;
                }
            }
        };
        within("everything that was accepted", reading).await
    }

    pub(crate) fn has_all_of(&self, sent: &Sent) -> bool {
        sent.accepted.is_subset(&self.all)
    }
}
