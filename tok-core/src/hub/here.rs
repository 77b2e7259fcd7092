//! What this node does by itself: for its own handles, and for other nodes through [`relay::Node`](crate::relay::Node).

use std::sync::Arc;

use super::{
    effects::Effects,
    inner::Inner,
    log::After,
    session::Core,
    user::{Offer, State, User},
};
use crate::{
    CloseReason, Epoch, Message, SendError, Uid,
    relay::{Audience, Claim, Delivery, Target},
};

impl Inner {
    /// How many sessions take the message, `None` if nobody is here.
    pub(crate) fn deliver_here(
        self: &Arc<Self>,
        uid: &Uid,
        delivery: &Delivery,
    ) -> Result<Option<usize>, SendError> {
        let Some(user) = self.registry.find(uid) else { return Ok(None) };
        let mut fx = Effects::default();
        let sessions = match delivery {
            Delivery::Now { message, after } => {
                let packet = self.packet(message.clone(), None)?;
                user.lock()
                    .map_or(Offer::Offline, |mut state| {
                        if let Some(after) = *after {
                            state.stored_elsewhere(self, after, &mut fx);
                        }
                        let after = After::Elsewhere(after.unwrap_or_default());
                        state.offer(self, &packet, after, &mut fx)
                    })
                    .sessions()
            }
            Delivery::Stored(seq) => user.lock().and_then(|mut state| {
                state.stored_elsewhere(self, *seq, &mut fx);
                Some(state.live()).filter(|live| *live > 0)
            }),
        };
        fx.run(self);
        Ok(sessions)
    }

    /// Offers a message to an audience: how many sessions take it, and what is to happen then.
    pub(crate) fn publish_here(
        self: &Arc<Self>,
        audience: &Audience,
        message: Message,
    ) -> Result<(usize, Effects), SendError> {
        let mut fx = Effects::default();
        let sessions = match audience {
            Audience::Everyone => self.everyone.publish(self, &self.packet(message, None)?, &mut fx),
            Audience::Room(name) => match self.rooms.find(name) {
                Some(room) => room.publish(self, &self.packet(message, None)?, &mut fx),
                None => 0,
            },
        };
        Ok((sessions, fx))
    }

    pub(crate) fn evict_here(self: &Arc<Self>, uid: &Uid, class: &str, epoch: Epoch) -> usize {
        let Some(user) = self.registry.find(uid) else { return 0 };
        let older = |core: &Core| core.class().as_deref() == Some(class) && core.epoch < epoch;
        self.with_state(&user, |state, fx| {
            state.fence(class, epoch);
            let ended = self.end_sessions(state, CloseReason::Sso, fx, older).len();
            // The user is online on the other node.
            state.forget_left();
            ended
        })
    }

    /// The epochs of the sessions that it ended.
    pub(crate) fn kick_here(self: &Arc<Self>, uid: &Uid, target: &Target, reason: CloseReason) -> Vec<Epoch> {
        let Some(user) = self.registry.find(uid) else { return Vec::new() };
        self.with_state(&user, |state, fx| {
            self.end_sessions(state, reason, fx, |core| match target {
                Target::All => true,
                Target::Device(id) => core.device.id() == id,
            })
        })
    }

    pub(crate) fn is_online_here(&self, uid: &Uid) -> bool {
        let user = self.registry.find(uid);
        user.as_ref().and_then(|user| user.lock()).is_some_and(|state| state.live() > 0)
    }

    pub(crate) fn online_here(&self) -> Vec<Uid> {
        let online = self.registry.all().filter(|user| user.lock().is_some_and(|state| state.live() > 0));
        online.map(|user| user.uid().clone()).collect()
    }

    pub(crate) fn claims_here(&self) -> Vec<(Claim, Epoch)> {
        let mut claims = Vec::new();
        for user in self.registry.all() {
            let Some(state) = user.lock() else { continue };
            let live = state.sessions.iter().filter(|core| core.slot.lock().is_live());
            claims.extend(live.map(|core| {
                let class = core.class().as_deref().map(str::to_owned);
                (Claim { uid: user.uid().clone(), class, above: Epoch::default() }, core.epoch)
            }));
        }
        claims
    }

    pub(crate) fn end_here(self: &Arc<Self>, uid: &Uid, epoch: Epoch, reason: CloseReason) -> bool {
        let Some(user) = self.registry.find(uid) else { return false };
        let ended = self
            .with_state(&user, |state, fx| self.end_sessions(state, reason, fx, |core| core.epoch == epoch));
        !ended.is_empty()
    }

    pub(crate) fn recheck_here(self: &Arc<Self>, uid: &Uid) {
        let Some(user) = self.registry.find(uid) else { return };
        self.with_state(&user, |state, fx| {
            if state.live() > 0 {
                state.log.forget_stored_tail();
                state.feed_all(self, fx);
                state.want_lane(self, fx);
            }
        });
    }

    /// Whether the user is online, and none of the sessions has been given what the queue holds.
    #[cfg(feature = "testkit")]
    pub(crate) fn is_backlog_unread(&self, uid: &Uid) -> bool {
        let user = self.registry.find(uid);
        user.as_ref().and_then(|user| user.lock()).is_some_and(|state| {
            let live = state.sessions.iter().filter(|core| core.slot.lock().is_live());
            let unread: Vec<_> = live.map(|core| core.slot.lock().wants_page).collect();
            !unread.is_empty() && unread.into_iter().all(|unread| unread)
        })
    }

    fn with_state<T: Default>(
        self: &Arc<Self>,
        user: &Arc<User>,
        run: impl FnOnce(&mut State, &mut Effects) -> T,
    ) -> T {
        let mut fx = Effects::default();
        let result = user.lock().map_or_else(T::default, |mut state| run(&mut state, &mut fx));
        fx.run(self);
        result
    }

    pub(super) fn end_sessions(
        &self,
        state: &mut State,
        reason: CloseReason,
        fx: &mut Effects,
        which: impl Fn(&Core) -> bool,
    ) -> Vec<Epoch> {
        let chosen = state.sessions.iter().filter(|core| which(core)).cloned();
        let (chosen, left): (Vec<_>, Vec<_>) = chosen.partition(|core| core.slot.lock().is_live());
        for core in &left {
            // Its peer has left, and what that had sent is not handled any more either.
            core.slot.lock().end(reason, fx);
        }
        for core in &chosen {
            state.detach(self, core, reason, fx);
        }
        chosen.iter().map(|core| core.epoch).collect()
    }
}
