//! Recovers when the shared queue of a cluster refuses acknowledgements of sessions that are still valid.
//!
//! The queue's fence is the epoch of the newest login, so that a node that lost a user cannot remove messages that the next
//! node has yet to deliver. Two things leave valid sessions below the fence:
//! - Users may have several sessions, and a newer login elsewhere displaced none of those here. It may have ended since.
//! - The cluster's registry lost its data, and now gives lower epochs than before.
//!
//! Messages that were confirmed here would then stay in the queue and fill it.

use std::{sync::Arc, time::Duration};

use super::{
    effects::Effects,
    inner::Inner,
    user::{Fenced, User},
};
use crate::{
    CloseReason,
    queue::{Limit, Seq},
    relay::Claim,
    trace::event,
};

/// Long enough for the newer login to have confirmed the same, as it mostly has.
const PATIENCE: Duration = Duration::from_secs(5);

/// The queue refused an acknowledgement for this user.
pub(crate) fn refused(hub: &Arc<Inner>, user: &Arc<User>) {
    if hub.relay.is_none() {
        return;
    }
    let (weak, user, runtime) = (Arc::downgrade(hub), Arc::clone(user), Arc::clone(&hub.runtime));
    let renew = async move {
        // While it waits it holds no hub.
        loop {
            runtime.sleep_until(runtime.now().saturating_add(PATIENCE)).await;
            let Some(hub) = weak.upgrade() else { return };
            if renew(&hub, &user).await {
                return;
            }
        }
    };
    hub.runtime.spawn("fence", Box::pin(renew));
}

/// Gets an epoch above the fence if confirmed messages are still in the queue. Returns true if nothing is left to do.
async fn renew(hub: &Arc<Inner>, user: &Arc<User>) -> bool {
    let Some((fenced, upto)) = still_refused(user) else { return true };
    let keeps_others = hub.settings.sso.keeps_others();
    if keeps_others {
        let Some(upto) = upto else {
            // The next confirmation tries again under the same epoch.
            if let Some(mut state) = user.lock() {
                state.fenced = None;
            }
            return true;
        };
        let first = Limit { messages: 1, bytes: 0 };
        let Ok(page) = hub.queue.peek(user.uid(), Seq::START, first).await else { return false };
        let is_there = page.entries.first().is_some_and(|(seq, _)| *seq <= upto);
        if !is_there {
            if let Some(mut state) = user.lock() {
                state.log.acked(upto);
            }
            return still_refused(user).is_none_or(|(_, upto)| upto.is_none());
        }
    }
    let Some(relay) = &hub.relay else { return true };
    // A login that displaces nobody and ends at once.
    let claim = Claim { uid: user.uid().clone(), class: None, above: fenced.current };
    let Ok(epoch) = relay.claim(&claim).await else { return false };
    if let Err(error) = relay.release(user.uid(), epoch).await {
        event!(WARN, error = %error, "releasing a claim that was made for its epoch failed");
    }
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock() {
        if keeps_others {
            state.epoch = state.epoch.max(epoch);
            state.want_lane(hub, &mut fx);
        } else {
            // Either a newer session has the place and its node could not say so here, or the registry fell behind. The
            // client's next login, whose epoch is above the fence, is right in both cases.
            hub.end_sessions(&mut state, CloseReason::Unavailable, &mut fx, |core| {
                core.epoch <= fenced.current
            });
        }
    }
    fx.run(hub);
    true
}

/// The fence that keeps live sessions of the user from acknowledging, and what they have to acknowledge.
fn still_refused(user: &User) -> Option<(Fenced, Option<Seq>)> {
    let state = user.lock()?;
    let fenced = state.fenced.filter(|_| state.live() > 0 && state.is_fenced_off())?;
    Some((fenced, state.log.ack_due()))
}
