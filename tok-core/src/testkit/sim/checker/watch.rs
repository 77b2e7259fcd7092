//! Hooks and an actor that tell the checker, around those of the application.

use std::sync::Arc;

use async_trait::async_trait;

use super::Checker;
use crate::{Actor, HubBuilder, Message, Session, rt::Runtime};

/// The note on a device that says which of the simulation's connections it is.
pub(super) const CONNECTION: &str = "tok sim connection";

/// The builder with the checker before each of its hooks.
pub(super) fn watched(checker: &Checker, hub: usize, mut builder: HubBuilder) -> HubBuilder {
    // What a transport may hold: what the driver gives it beyond what is written, and one message more.
    let settings = builder.settings();
    let max_unwritten = settings.backlog.max_bytes.min(64 * 1024) + settings.max_outgoing.min(64 * 1024);
    let in_order = builder.hooks_mut().before_receive.is_none();

    let actor = Arc::clone(builder.actor_mut());
    *builder.actor_mut() = Arc::new(Watched { checker: checker.clone(), actor, in_order });

    let hooks = builder.hooks_mut();
    let (this, inner) = (checker.clone(), hooks.open.take());
    hooks.open = Some(Arc::new(move |session| {
        if let Some(number) = number(session) {
            let epoch = session.core.epoch;
            this.tell(format_args!("hub {hub} opens {session:?}, {epoch:?}, connection {number}"));
            this.with(|state| state.roll.opened(hub, number, session));
        }
        if let Some(inner) = &inner {
            inner(session);
        }
    }));
    let (this, inner) = (checker.clone(), hooks.close.take());
    hooks.close = Some(Arc::new(move |session, reason| {
        if let Some(number) = number(session) {
            this.tell(format_args!("hub {hub} closes {session:?}, connection {number}: {reason:?}"));
            this.with(|state| state.roll.closed(number, session, reason, max_unwritten as u64));
        }
        if let Some(inner) = &inner {
            inner(session, reason);
        }
    }));
    let (this, inner) = (checker.clone(), hooks.after_send.take());
    hooks.after_send = Some(Arc::new(move |session, message| {
        if let Some(number) = number(session) {
            let now = this.shared.rt.now();
            this.with(|state| {
                state.roll.active(number, session, "was given a message")?;
                state.ledger.given(session.device().uid(), message.data(), now)
            });
        }
        if let Some(inner) = &inner {
            inner(session, message);
        }
    }));
    let (this, inner) = (checker.clone(), hooks.undelivered.take());
    hooks.undelivered = Some(Arc::new(move |uid, message, why| {
        let now = this.shared.rt.now();
        this.tell(format_args!("hub {hub} reports {why:?} to {uid}"));
        this.with(|state| {
            let is_online = state.roll.is_online(hub, uid);
            state.ledger.undelivered(hub, uid, message.data(), why, is_online, now)
        });
        if let Some(inner) = &inner {
            inner(uid, message, why);
        }
    }));
    builder
}

/// The connection of a session, if it is one of the simulation's.
fn number(session: &Session) -> Option<usize> {
    session.device().meta(CONNECTION)?.parse().ok()
}

struct Watched {
    checker: Checker,
    actor: Arc<dyn Actor>,
    in_order: bool,
}

#[async_trait]
impl Actor for Watched {
    async fn on_receive(&self, session: &Session, message: Message) {
        let Some(number) = number(session) else { return self.actor.on_receive(session, message).await };
        self.checker.with(|state| state.roll.handles(number, session, message.data(), self.in_order));
        // Also where the handler panics, or is dropped.
        let _handling = Handling { checker: &self.checker, number };
        self.actor.on_receive(session, message).await;
    }
}

struct Handling<'a> {
    checker: &'a Checker,
    number: usize,
}

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        self.checker.shared.state.lock().roll.handled(self.number);
    }
}
