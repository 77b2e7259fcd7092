//! How a session ends, and whether it may.

use super::{
    super::{ledger::LOGIN_FAILED, wire::Transport, world::guarded},
    Session,
};

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::stress) struct End {
    /// The reason of the goodbye.
    pub(in crate::stress) goodbye: Option<String>,
    /// The code of the close frame.
    pub(in crate::stress) code: Option<u16>,
    /// It did not end, but nothing came for too long.
    pub(in crate::stress) stuck: bool,
    /// Why the connection failed, if it did.
    pub(in crate::stress) error: Option<String>,
}

impl Session {
    /// It ends in this way.
    pub(in crate::stress) fn ends(&self, how: &'static str) {
        self.world.trace(|| format!("{self} {how}"));
        self.world.ledger.borrow_mut().ended(self.id, how);
    }

    /// Another session is live in this one's place: whatever this one sends from now on is for nobody.
    pub(in crate::stress) fn displace(&mut self, new: &Self) {
        self.ends("was replaced");
        self.may_be_displaced = true;
        if self.process.node != new.process.node {
            self.world.count(|stats| &mut stats.moves);
        }
        self.world.ledger.borrow_mut().displaced(&mut self.ear, self.next, new.id, self.world.now());
    }

    /// A goodbye that was not asked for has to have its reason.
    pub(in crate::stress) fn judge(&self, end: &End) {
        if end.stuck {
            return;
        }
        if self.was_disturbed() {
            // Who reads slowly may be cut off before the goodbye comes to it.
            if self.is_live && end.goodbye.is_none() && !self.is_slow {
                self.world.ends_unannounced(self.process, self.to_string());
            }
            return;
        }
        if !self.is_live && self.was_turned_away(end) {
            self.world.count(|stats| &mut stats.turned_away);
            return;
        }
        self.ends(match end.goodbye.as_deref() {
            Some("sso") => "was replaced",
            Some("kicked") => "was kicked",
            Some("slow") => "was too slow",
            _ => "broke",
        });
        let (code, is_well) = match end.goodbye.as_deref() {
            Some("sso") => (4000, self.may_be_displaced),
            Some("kicked") => {
                self.world.count(|stats| &mut stats.kicked);
                (4001, self.world.plan.kicks)
            }
            // Who reads is slow, too, while the machine has no time for the reader.
            Some("slow") => {
                self.world.count(|stats| &mut stats.slow);
                (4002, true)
            }
            _ => (0, false),
        };
        let code_is_well = self.transport == Transport::Tcp || end.code == Some(code);
        if !is_well || !code_is_well {
            self.world.fail(format!("{self} ended without a reason: {end:?}"));
        }
    }

    /// Its login could not be claimed, for want of the broker, or because the node was paused in the middle of it. Over TCP
    /// a line has said so.
    fn was_turned_away(&self, end: &End) -> bool {
        let code_is_well = self.transport == Transport::Tcp || end.code == Some(1013);
        end.goodbye.is_none() && code_is_well && self.world.may_fail(LOGIN_FAILED, self.process.node)
    }

    /// Leaves in good order.
    pub(in crate::stress) async fn leave(mut self) {
        self.ends("left");
        self.link.close();
        match guarded(self.link.finish()).await {
            Some(Ok(())) => {
                let end = self.ended().await;
                if end.goodbye.is_some() {
                    self.judge(&end);
                }
            }
            // It is gone.
            Some(Err(_)) => {}
            None => self.world.fail(format!("{self} cannot even say goodbye")),
        }
    }
}
