//! How a session gets its place, and who has to give theirs up.

use std::sync::Arc;

use super::{State, end};
use crate::{
    CloseReason, Epoch,
    hub::{effects::Effects, inner::Inner, session::Core},
};

impl State {
    /// Whether one more session is within the user's limit, and, where it displaces none, the hub's.
    pub(crate) fn has_place(&self, hub: &Inner, displaces: impl Fn(&Core) -> bool) -> bool {
        let live = self.sessions.iter().filter(|other| other.slot.lock().is_live());
        let (displaced, others): (Vec<_>, Vec<_>) = live.partition(|other| displaces(other));
        let max = hub.settings.max_sessions_per_user;
        (max == 0 || others.len() < max) && (!displaced.is_empty() || hub.has_place())
    }

    /// The takeover, the fence and the attach are one step: from here on the sessions that `core` displaces are
    /// given nothing and their answers count for nothing.
    pub(crate) fn attach(
        &mut self,
        hub: &Inner,
        core: &Arc<Core>,
        fx: &mut Effects,
    ) -> Result<(), CloseReason> {
        if hub.is_draining() {
            return Err(CloseReason::Draining);
        }
        if self.is_fenced(core) {
            return Err(CloseReason::Sso);
        }
        if !self.has_place(hub, |other| core.displaces(other)) {
            return Err(CloseReason::Full);
        }
        for other in &self.sessions {
            if core.displaces(other) {
                let reason =
                    if core.shares_connection(other) { CloseReason::Replaced } else { CloseReason::Sso };
                end(hub, other, reason, fx);
            }
        }
        if !hub.count_session() {
            return Err(CloseReason::Full);
        }
        core.slot.lock().open(self.log.confirmed(), core.acknowledges());
        self.epoch = self.epoch.max(core.epoch);
        self.fence_due = hub.relay.is_some();
        self.sessions.push(Arc::clone(core));
        self.refresh_online(hub);
        self.sessions_gone(fx);
        self.left = None;
        self.feed(hub, core, fx);
        if let Some(class) = core.class() {
            // Older logins under way here have lost the place, also should this session end before they take effect.
            self.fence(class, core.epoch);
        }
        Ok(())
    }

    /// A login asks the cluster for its epoch: from here to [`end_claim`](Self::end_claim) this entry stays, so that a
    /// newer login elsewhere finds it.
    pub(crate) fn begin_claim(&mut self) {
        self.claims += 1;
    }

    pub(crate) fn end_claim(&mut self) {
        self.claims -= 1;
        if self.claims == 0 {
            self.fences = Vec::new();
        }
    }

    /// A newer login of `class` took effect elsewhere.
    pub(crate) fn fence(&mut self, class: &str, epoch: Epoch) {
        if self.claims == 0 {
            return;
        }
        match self.fences.iter_mut().find(|(fenced, _)| **fenced == *class) {
            Some((_, fence)) => *fence = (*fence).max(epoch),
            None => self.fences.push((class.into(), epoch)),
        }
    }

    /// Whether a newer login has the place, here or elsewhere.
    fn is_fenced(&self, core: &Core) -> bool {
        let elsewhere =
            |(class, epoch): &(Box<str>, Epoch)| core.class().as_ref() == Some(class) && *epoch > core.epoch;
        let here = |other: &Arc<Core>| {
            other.epoch > core.epoch && core.displaces(other) && other.slot.lock().is_live()
        };
        self.fences.iter().any(elsewhere) || self.sessions.iter().any(here)
    }
}
