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
    sync::atomic::Ordering,
    trace::event,
    transport::{ConnectionId, Incoming, TransportError},
};

pub(super) type Arrival = Result<Incoming, TransportError>;

/// Reads what is there before the login takes effect, within the inbound bound.
///
/// Fails if the connection is broken, or if the peer has left and sent no message: such a login would handle nothing, and
/// might end the session of the peer's next connection.
pub(super) fn read_early<T: Transport>(
    transport: &mut T,
    max_bytes: usize,
    cx: &mut Context<'_>,
) -> Result<Vec<Arrival>, CloseReason> {
    let mut early = Vec::new();
    let mut bytes = 0;
    let mut has_message = false;
    while early.len() < ROUND && bytes < max_bytes {
        let Poll::Ready(arrival) = transport.poll_recv(cx) else { break };
        match &arrival {
            Err(error) if reason_of(error) == CloseReason::Disconnected => {
                return Err(CloseReason::Disconnected);
            }
            Ok(Incoming::Close) if !has_message => return Err(CloseReason::PeerClosed),
            Ok(Incoming::Message(message)) => {
                has_message = true;
                bytes += message.data().len();
            }
            _ => {}
        }
        let last = matches!(arrival, Err(_) | Ok(Incoming::Close));
        early.push(arrival);
        if last {
            break;
        }
    }
    Ok(early)
}

/// Attaches a session, or says why it cannot be; it is made in either case, so that the peer can be told.
pub(super) async fn login(
    hub: &Arc<Inner>,
    device: Device,
    connection: Option<ConnectionId>,
) -> Result<Session, (Session, CloseReason)> {
    let class = guard("Sso::by_class", || hub.settings.sso.class(&device));
    let mut unusable = match &class {
        _ if device.check().is_err() => Some(CloseReason::Unauthorized),
        Err(_) => Some(CloseReason::Panicked),
        Ok(_) => None,
    };
    let class = class.unwrap_or_default();

    let mut claim = None;
    let mut claimed = None;
    if let (Some(relay), None) = (&hub.relay, unusable) {
        // The claim ends sessions on other nodes: this login has its place before that.
        match Claiming::begin(hub, device.uid(), |other| other.is_displaced_by(&class, connection)) {
            Err(reason) => unusable = Some(reason),
            Ok(claiming) => {
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
        }
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
        let reserved = claim.as_mut().and_then(|claim| claim.reserved.as_mut());
        let attached = unusable.map_or_else(|| state.attach(hub, &core, reserved, &mut fx), Err);
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
    reserved: Option<Reserved>,
}

impl Claiming {
    fn begin(hub: &Arc<Inner>, uid: &Uid, displaces: impl Fn(&Core) -> bool) -> Result<Self, CloseReason> {
        loop {
            let user = hub.registry.find_or_add(hub, uid);
            let reserved = user.lock().map(|mut state| {
                let reserved = state.reserve(hub, &displaces);
                if reserved.is_ok() {
                    state.begin_claim();
                }
                reserved
            });
            match reserved {
                Some(Ok(reserved)) => return Ok(Self { hub: Arc::clone(hub), user, reserved }),
                Some(Err(reason)) => {
                    user.retire_if_idle(hub);
                    return Err(reason);
                }
                None => hub.registry.remove(&user),
            }
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

/// A place among the hub's sessions that a login has before its session does. Dropped untaken, it is free again.
#[derive(Debug)]
pub(crate) struct Reserved {
    hub: Arc<Inner>,
    taken: bool,
}

impl Reserved {
    /// `None` when the hub is full.
    pub(super) fn new(hub: &Arc<Inner>) -> Option<Self> {
        hub.count_session().then(|| {
            hub.places_reserved.fetch_add(1, Ordering::AcqRel);
            Self { hub: Arc::clone(hub), taken: false }
        })
    }

    /// Gives the place to the session. Returns false if it was given before.
    pub(super) fn take(&mut self) -> bool {
        !std::mem::replace(&mut self.taken, true)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.taken {
            self.hub.uncount_sessions(1);
        }
        self.hub.places_reserved.fetch_sub(1, Ordering::AcqRel);
    }
}
