//! How a session begins: from a device and a connection to a place in the hub, and in the cluster.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    driver::{ROUND, reason_of},
    effects::Effects,
    hooks::guard,
    inner::Inner,
    session::{Core, Session},
    user::User,
};
use crate::{
    CloseReason, Device, Epoch, Transport, Uid,
    relay::Claim,
    trace::event,
    transport::{ConnectionId, Incoming, TransportError},
};

pub(super) type Arrival = Result<Incoming, TransportError>;

/// Reads what is there before the login takes effect, within the inbound bound; `None` if the connection is broken.
pub(super) fn read_early<T: Transport>(
    transport: &mut T,
    max_bytes: usize,
    cx: &mut Context<'_>,
) -> Option<Vec<Arrival>> {
    let mut early = Vec::new();
    let mut bytes = 0;
    while early.len() < ROUND && bytes < max_bytes {
        let Poll::Ready(arrival) = transport.poll_recv(cx) else { break };
        match &arrival {
            Err(error) if reason_of(error) == CloseReason::Disconnected => return None,
            Ok(Incoming::Message(message)) => bytes += message.data().len(),
            _ => {}
        }
        let last = matches!(arrival, Err(_) | Ok(Incoming::Close));
        early.push(arrival);
        if last {
            break;
        }
    }
    Some(early)
}

/// Attaches a session, or says why it cannot be; it is made in either case, so that the peer can be told.
pub(super) async fn login(
    hub: &Arc<Inner>,
    device: Device,
    connection: Option<ConnectionId>,
) -> Result<Session, (Session, CloseReason)> {
    let class = guard(|| hub.settings.sso.class(&device));
    let mut unusable = match &class {
        _ if device.check().is_err() => Some(CloseReason::Unauthorized),
        Err(_) => Some(CloseReason::Panicked),
        Ok(_) => None,
    };
    let class = class.unwrap_or_default();

    let mut claim = None;
    let mut claimed = None;
    if let (Some(relay), None) = (&hub.relay, unusable) {
        let claiming = Claiming::begin(hub, device.uid());
        let asked = Claim {
            uid: device.uid().clone(),
            class: class.as_deref().map(str::to_owned),
            above: Epoch::default(),
        };
        match relay.claim(&asked).await {
            Ok(epoch) => claimed = Some(epoch),
            Err(error) => {
                event!(WARN, error = %error, "a login could not be claimed in the cluster");
                unusable = Some(CloseReason::Unavailable);
            }
        }
        claim = Some(claiming);
    }

    // Before the attach looks whether a shutdown has begun: from here on a shutdown waits for this session.
    hub.session_started();
    let (session, attached) = loop {
        let user = hub.registry.find_or_add(hub, device.uid());
        let mut fx = Effects::default();
        let Some(mut state) = user.lock() else {
            hub.registry.remove(&user);
            continue;
        };
        // On a single node the order of epochs is the order of these locks.
        let epoch = claimed.unwrap_or_else(|| hub.next_epoch());
        let core = Arc::new(Core::new(hub, Arc::clone(&user), device, class, connection, epoch));
        let attached = unusable.map_or_else(|| state.attach(hub, &core, &mut fx), Err);
        if let Err(reason) = attached {
            // Nothing of a refused login is handled, whatever came with it.
            core.slot.lock().end(reason, &mut fx);
        }
        drop(state);
        fx.run(hub);
        break (Session { core, hub: Arc::clone(hub) }, attached);
    };
    drop(claim);
    attached.map(|()| session.clone()).map_err(|reason| {
        hub.session_ended();
        if claimed.is_some() {
            release(hub, session.core.user.uid().clone(), session.core.epoch);
        }
        session.core.user.retire_if_idle(hub);
        (session, reason)
    })
}

/// Tells the cluster that a session has lost its place.
pub(super) fn release(hub: &Arc<Inner>, uid: Uid, epoch: Epoch) {
    if let Some(relay) = &hub.relay {
        let relay = Arc::clone(relay);
        let release = async move {
            if let Err(error) = relay.release(&uid, epoch).await {
                event!(WARN, error = %error, "the end of a session could not be told to the cluster");
            }
        };
        hub.runtime.spawn("release", Box::pin(release));
    }
}

/// A login that asks the cluster for its epoch: the user's entry stays meanwhile, so that a newer login elsewhere can
/// fence it.
struct Claiming {
    hub: Arc<Inner>,
    user: Arc<User>,
}

impl Claiming {
    fn begin(hub: &Arc<Inner>, uid: &Uid) -> Self {
        loop {
            let user = hub.registry.find_or_add(hub, uid);
            let begun = user.lock().map(|mut state| state.begin_claim()).is_some();
            if begun {
                return Self { hub: Arc::clone(hub), user };
            }
            hub.registry.remove(&user);
        }
    }
}

impl Drop for Claiming {
    fn drop(&mut self) {
        if let Some(mut state) = self.user.lock() {
            state.end_claim();
        }
        self.user.retire_if_idle(&self.hub);
    }
}
