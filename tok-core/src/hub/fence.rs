//! Acknowledgements that the shared queue refuses, where that is not meant.
//!
//! The fence is the newest login's, so that a node which lost a user cannot remove what the next one has yet to deliver.
//! Where users keep several sessions a newer login elsewhere displaces none here, and may be gone again: then what the
//! sessions here confirm would never leave the queue, and in the end fill it.

use std::{sync::Arc, time::Duration};

use super::{effects::Effects, inner::Inner, user::User};
use crate::{
    Epoch,
    queue::{Limit, Seq},
    relay::Claim,
    trace::event,
};

/// Long enough for the newer login to have confirmed the same, as it mostly has.
const PATIENCE: Duration = Duration::from_secs(5);

/// The queue has refused an acknowledgement of this user's.
pub(crate) fn refused(hub: &Arc<Inner>, user: &Arc<User>) {
    if hub.relay.is_some() && hub.settings.sso.keeps_others() {
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
}

/// Has what is confirmed leave the queue, under a newer epoch if need be. Says whether that is done, or in vain.
async fn renew(hub: &Arc<Inner>, user: &Arc<User>) -> bool {
    let due = |user: &User| {
        let state = user.lock()?;
        (state.live() > 0 && state.is_fenced_off()).then(|| state.log.ack_due()).flatten()
    };
    let Some(upto) = due(user) else { return true };
    let first = Limit { messages: 1, bytes: 0 };
    let Ok(page) = hub.queue.peek(user.uid(), Seq::START, first).await else { return false };
    let is_there = page.entries.first().is_some_and(|(seq, _)| *seq <= upto);
    if !is_there {
        if let Some(mut state) = user.lock() {
            state.log.acked(upto);
        }
        return due(user).is_none();
    }
    let Some(relay) = &hub.relay else { return true };
    // As a login that displaces nobody, and is gone at once: it gives an epoch above all others.
    let claim = Claim { uid: user.uid().clone(), class: None, above: Epoch::default() };
    let Ok(epoch) = relay.claim(&claim).await else { return false };
    if let Err(error) = relay.release(user.uid(), epoch).await {
        event!(WARN, error = %error, "a claim that was made for its epoch could not be given back");
    }
    let mut fx = Effects::default();
    if let Some(mut state) = user.lock() {
        state.epoch = state.epoch.max(epoch);
        state.want_lane(hub, &mut fx);
    }
    fx.run(hub);
    true
}
