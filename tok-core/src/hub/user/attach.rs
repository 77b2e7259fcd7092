//! How a session gets its place, and who has to give theirs up.

use std::sync::Arc;

use super::{State, end};
use crate::{
    CloseReason, Epoch,
    hub::{effects::Effects, inner::Inner, login::Reserved, session::Core},
};

impl State {
    /// Whether one more session is within the user's limit, and, where it displaces none, the hub's.
    pub(crate) fn has_place(&self, hub: &Inner, displaces: impl Fn(&Core) -> bool) -> bool {
        self.is_within_limit(hub, &displaces) && (self.inherits(&displaces) || hub.has_place())
    }

    /// Returns true if the user may have one session more beside those that it does not displace.
    fn is_within_limit(&self, hub: &Inner, displaces: impl Fn(&Core) -> bool) -> bool {
        let max = hub.settings.max_sessions_per_user;
        let stays = |other: &&Arc<Core>| !displaces(other) && other.slot.lock().is_live();
        max == 0 || self.sessions.iter().filter(stays).count() < max
    }

    /// Returns true if a session that is displaced has a place to pass on.
    fn inherits(&self, displaces: impl Fn(&Core) -> bool) -> bool {
        self.sessions.iter().any(|other| displaces(other) && other.slot.lock().is_counted())
    }

    /// Takes a place for a login that asks the cluster for its epoch. `None` if the login displaces a session here, whose
    /// place it gets.
    pub(crate) fn reserve(
        &self,
        hub: &Arc<Inner>,
        displaces: impl Fn(&Core) -> bool,
    ) -> Result<Option<Reserved>, CloseReason> {
        if hub.is_draining() {
            return Err(CloseReason::Draining);
        }
        if !self.is_within_limit(hub, &displaces) {
            return Err(CloseReason::Full);
        }
        if self.inherits(displaces) {
            return Ok(None);
        }
        Reserved::new(hub).map(Some).ok_or(CloseReason::Full)
    }

    /// The takeover, the fence and the attach are one step: from here on the sessions that `core` displaces are
    /// given nothing and their answers count for nothing. A displaced session's place among the hub's passes to `core`
    /// in the same step, so that no other login can take it in between.
    pub(crate) fn attach(
        &mut self,
        hub: &Inner,
        core: &Arc<Core>,
        reserved: Option<&mut Reserved>,
        fx: &mut Effects,
    ) -> Result<(), CloseReason> {
        if hub.is_draining() {
            return Err(CloseReason::Draining);
        }
        if self.is_fenced(core) {
            return Err(CloseReason::Sso);
        }
        if !self.is_within_limit(hub, |other| core.displaces(other)) {
            return Err(CloseReason::Full);
        }
        let inherits = self.inherits(|other| core.displaces(other));
        // Before anybody is ended: a login that is refused leaves the user's sessions alone.
        if !inherits && !reserved.map_or_else(|| hub.count_session(), Reserved::take) {
            return Err(CloseReason::Full);
        }
        let mut places = 0;
        for other in &self.sessions {
            if core.displaces(other) {
                let reason =
                    if core.shares_connection(other) { CloseReason::Replaced } else { CloseReason::Sso };
                places += usize::from(end(hub, other, reason, fx));
            }
        }
        hub.uncount_sessions(places - usize::from(inherits));
        core.slot.lock().open(self.log.confirmed(), core.acknowledges());
        self.epoch = self.epoch.max(core.epoch);
        self.fence_due = hub.relay.is_some();
        self.sessions.push(Arc::clone(core));
        self.refresh_online(hub);
        self.hand_over(core);
        self.sessions_gone(fx);
        self.goes_on();
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
