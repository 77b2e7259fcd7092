use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tok_core::{Actor, Hub, Message, MessageId, Outcome, Receipt, SendError, Session, Uid, async_trait};
use tokio::{
    sync::{Notify, watch},
    time,
};

use super::{
    MAX_NAME, MAX_TEXT, TTL, is_name,
    protocol::{ClientMessage, ServerMessage},
    receipts::Receipts,
    recent::Recent,
    room::{Member, NodeNumber, Rooms},
};

/// The receipts awaited at once, and those of them for one sender. Past it the oldest gives way: its message gets no
/// second tick, and is delivered all the same.
const MAX_RECEIPTS: usize = 1000;
const MAX_RECEIPTS_PER_SENDER: usize = 100;

/// The users whose last messages are remembered, and how many messages of each.
const RECENT_USERS: usize = 1000;
const RECENT_MESSAGES: usize = 128;

const MAX_CID: usize = 64;

/// How long a receipt is awaited in a cluster, where it does not learn of a confirmation on another node.
#[cfg(feature = "nats")]
const PATIENCE_IN_CLUSTER: Duration = Duration::from_secs(60);

/// The chat's logic. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct Chat {
    state: Arc<State>,
    node: NodeNumber,
    patience: Duration,
}

#[derive(Debug)]
struct State {
    rooms: Rooms,
    /// Somebody came, left, or changed rooms.
    changed: Notify,
    /// Sessions that have not been told yet who is online.
    newcomers: Mutex<Vec<Session>>,
    /// The last messages of users who sent something lately.
    senders: Mutex<Recent<Uid, Recent<String, ()>>>,
    receipts: Receipts,
    stopped: watch::Receiver<bool>,
}

impl Chat {
    pub(super) fn new(stopped: watch::Receiver<bool>) -> Self {
        Self {
            state: Arc::new(State {
                rooms: Rooms::default(),
                changed: Notify::new(),
                newcomers: Mutex::default(),
                senders: Mutex::new(Recent::new(RECENT_USERS)),
                receipts: Receipts::new(MAX_RECEIPTS, MAX_RECEIPTS_PER_SENDER),
                stopped,
            }),
            node: 0,
            patience: TTL,
        }
    }

    /// The same chat on another node of this process: what is remembered of rooms and senders is shared. Nodes on machines
    /// of their own would keep that in a database.
    #[cfg(feature = "nats")]
    pub(super) fn on_node(&self, node: NodeNumber) -> Self {
        Self { state: Arc::clone(&self.state), node, patience: PATIENCE_IN_CLUSTER }
    }

    fn member(&self, session: &Session) -> Member {
        (self.node, session.id())
    }

    pub(super) fn rooms(&self) -> &Rooms {
        &self.state.rooms
    }

    /// Waits until who is online or in a room has changed since the last call.
    pub(super) async fn changed(&self) {
        self.state.changed.notified().await;
    }

    /// The sessions that have opened since the last call.
    pub(super) fn newcomers(&self) -> Vec<Session> {
        std::mem::take(&mut *lock(&self.state.newcomers))
    }

    pub(super) fn open(&self, session: &Session) {
        reply(session, ServerMessage::Welcome { name: session.device().uid().to_string() });
        lock(&self.state.newcomers).push(session.clone());
        self.state.changed.notify_one();
    }

    pub(super) fn close(&self, session: &Session) {
        self.state.rooms.leave_all(self.member(session));
        self.state.changed.notify_one();
    }

    async fn direct(&self, session: &Session, to: &str, text: String, cid: String) {
        let from = session.device().uid();
        if !is_name(to) || to == from.as_str() {
            return reply(session, failed(cid, "no such receiver"));
        }
        let Some(cid) = self.claim(session, &text, cid) else { return };
        let hub = session.hub();
        let id = message_id(&hub);
        let at = hub.runtime().unix_time();
        let message = ServerMessage::Direct { id: id.to_string(), from: from.to_string(), text, at };
        // Awaited here, so that the next message of this sender comes behind it.
        match hub.send(to, message).id(id).ttl(TTL).await {
            Ok(receipt) => {
                reply(session, ServerMessage::Sent { cid: cid.clone() });
                // Not awaited here: the receiver may be away for days.
                self.watch(&hub, receipt, from.clone(), cid);
            }
            Err(error) => self.disclaim(session, cid, &error).await,
        }
    }

    async fn room(&self, session: &Session, room: String, text: String, cid: String) {
        if !self.state.rooms.contains(self.member(session), &room) {
            return reply(session, failed(cid, "you are not in this room"));
        }
        let Some(cid) = self.claim(session, &text, cid) else { return };
        let hub = session.hub();
        let (from, at) = (session.device().uid().to_string(), hub.runtime().unix_time());
        let message = ServerMessage::Room { room: room.clone(), from, cid: cid.clone(), text, at };
        match hub.publish(&room, message).await {
            Ok(_) => reply(session, ServerMessage::Sent { cid }),
            Err(error) => self.disclaim(session, cid, &error).await,
        }
    }

    fn join(&self, session: &Session, room: &str) {
        if !is_name(room) {
            let reason = format!(
                "a room's name has 1 to {MAX_NAME} characters, no control characters and no space at its ends"
            );
            return reply(session, ServerMessage::error(reason));
        }
        match session.join(room) {
            Ok(_) => {
                self.state.rooms.join(self.member(session), session.device().uid(), room);
                self.state.changed.notify_one();
            }
            Err(error) => reply(session, ServerMessage::error(error.to_string())),
        }
    }

    fn leave(&self, session: &Session, room: &str) {
        session.leave(room);
        self.state.rooms.leave(self.member(session), room);
        self.state.changed.notify_one();
    }

    /// Checks a message and takes it on, once: `None` when it has been answered already. A `cid` that is known is
    /// that of a message whose answer was lost with a connection; the first copy did its work.
    fn claim(&self, session: &Session, text: &str, cid: String) -> Option<String> {
        let reason = if cid.is_empty() || cid.len() > MAX_CID {
            format!("a cid has 1 to {MAX_CID} bytes")
        } else if text.trim().is_empty() {
            "the message is empty".to_owned()
        } else if text.chars().nth(MAX_TEXT).is_some() {
            format!("a message has at most {MAX_TEXT} characters")
        } else {
            let is_new = {
                let mut senders = lock(&self.state.senders);
                let (cids, _) = senders.find_or_insert(session.device().uid().clone(), new_cids);
                cids.find_or_insert(cid.clone(), || ()).1
            };
            if is_new {
                return Some(cid);
            }
            reply(session, ServerMessage::Sent { cid });
            return None;
        };
        reply(session, failed(cid, reason));
        None
    }

    /// Gives a claimed message up: the client may try again.
    async fn disclaim(&self, session: &Session, cid: String, error: &SendError) {
        let uid = session.device().uid();
        lock(&self.state.senders).find_or_insert(uid.clone(), new_cids).0.remove(&cid);
        // To the user rather than to this connection: a newer one may have sent the message again, and been told that
        // it was taken.
        let _ = session.hub().send(uid, failed(cid, error.to_string())).await;
    }

    /// Sends the second tick when a client of the receiver has the message.
    fn watch(&self, hub: &Hub, receipt: Receipt, sender: Uid, cid: String) {
        let mut place = self.state.receipts.enter(&sender);
        let (to, mut stopped, patience) = (hub.clone(), self.state.stopped.clone(), self.patience);
        let delivered = async move {
            if time::timeout(patience, receipt.outcome()).await == Ok(Outcome::Confirmed) {
                // Kept like a message, for a sender who is away now. A full queue costs the tick.
                let _ = to.send(sender, ServerMessage::Delivered { cid }).ttl(TTL).await;
            }
        };
        let task = async move {
            tokio::select! {
                () = delivered => {}
                () = place.is_taken() => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        };
        hub.runtime().spawn("receipt", Box::pin(task));
    }
}

fn new_cids() -> Recent<String, ()> {
    Recent::new(RECENT_MESSAGES)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under the locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Actor for Chat {
    async fn on_receive(&self, session: &Session, message: Message) {
        match serde_json::from_slice(message.data()) {
            Ok(ClientMessage::Direct { to, text, cid }) => self.direct(session, &to, text, cid).await,
            Ok(ClientMessage::Room { room, text, cid }) => self.room(session, room, text, cid).await,
            Ok(ClientMessage::Join { room }) => self.join(session, &room),
            Ok(ClientMessage::Leave { room }) => self.leave(session, &room),
            Err(error) => reply(session, ServerMessage::error(error.to_string())),
        }
        // A client that asks without reading the answers waits here, and with it its socket.
        session.writable().await;
    }
}

fn reply(session: &Session, message: ServerMessage) {
    // It fails if the hub is out of memory, and the client asks again under the same cid; or if the session has ended.
    let _ = session.send(message);
}

fn failed(cid: String, reason: impl Into<String>) -> ServerMessage {
    ServerMessage::Failed { cid, reason: reason.into() }
}

/// An id that goes both into the message and beside it.
fn message_id(hub: &Hub) -> MessageId {
    let random = || u128::from(hub.runtime().random());
    MessageId::from_u128(random() << 64 | random())
}
