//! What the gateway does with messages.

use std::sync::Arc;

use tok_core::{Actor, CloseReason, Message, SendError, Session, async_trait};

use super::{metrics::Metrics, operation::Operation};

/// Performs the operation that each message asks for.
#[derive(Debug)]
pub(super) struct Operations {
    /// For those who want to know.
    pub(super) metrics: Option<Arc<Metrics>>,
}

#[async_trait]
impl Actor for Operations {
    async fn on_receive(&self, session: &Session, message: Message) {
        let answer = match self.perform(session, message).await {
            Ok(answer) => answer,
            Err(reason) => {
                tracing::debug!(target: "gateway", reason, "an operation was answered with an error");
                self.count(Metrics::refused);
                Some(format!("!error {reason}"))
            }
        };
        if let Some(answer) = answer {
            reply(session, answer.into());
        }
    }
}

/// Sends every message back to its own connection, no faster than the client reads.
#[derive(Debug)]
pub(super) struct Echo {
    /// For those who want to know.
    pub(super) metrics: Option<Arc<Metrics>>,
}

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        if let Some(metrics) = &self.metrics {
            metrics.reflected();
        }
        session.writable().await;
        reply(session, message);
    }
}

impl Operations {
    /// Performs one operation. Every send is awaited before the next message is looked at: that keeps one sender's
    /// messages to one user in order.
    async fn perform(&self, session: &Session, message: Message) -> Result<Option<String>, String> {
        let hub = session.hub();
        let operation = Operation::parse(message.data());
        self.count(|metrics| metrics.received(&operation));
        let handed = match operation? {
            Operation::Echo => hub.send(session.device().uid(), message).await.map_err(text)?.sessions(),
            Operation::Tell(uid) => {
                let receipt = hub.send(&uid, message).await.map_err(text)?;
                if receipt.is_offline() {
                    return Ok(Some(format!("!offline {uid}")));
                }
                receipt.sessions()
            }
            Operation::Queue(uid, ttl) => match hub.send(uid, message).ttl(ttl).await {
                Ok(receipt) => receipt.sessions(),
                // It was sent, and the session goes on: the contract has an error for what can be neither sent nor kept.
                // While the queue is away there is one all the same, because nothing else tells of that.
                Err(SendError::Unconfirmed { pending: true, cause })
                    if !matches!(*cause, SendError::Queue(_)) =>
                {
                    1
                }
                Err(error) => return Err(text(error)),
            },
            Operation::Broadcast => hub.broadcast(message).await.map_err(text)?,
            Operation::Room(room) => hub.publish(&room, message).await.map_err(text)?,
            Operation::Join(room) => {
                let rooms = session.join(&room).map_err(text)?;
                return Ok(Some(format!("+joined {room} {rooms}")));
            }
            Operation::Leave(room) => return Ok(Some(format!("+left {room} {}", session.leave(&room)))),
            Operation::Kick(uid) => {
                let ended = hub.kick(&uid).await.map_err(text)?;
                return Ok(Some(format!("+kicked {uid} {ended}")));
            }
            Operation::IsOnline(uid) => {
                let online = hub.is_online(&uid).await.map_err(text)?;
                return Ok(Some(format!("+online {uid} {}", u8::from(online))));
            }
            Operation::CountUsers => {
                let users = hub.users_online().await.map_err(text)?;
                return Ok(Some(format!("+users {users}")));
            }
        };
        self.count(|metrics| metrics.handed(handed));
        Ok(None)
    }

    fn count(&self, count: impl FnOnce(&Metrics)) {
        if let Some(metrics) = &self.metrics {
            count(metrics);
        }
    }
}

/// An answer that cannot be sent would leave a gap that the client cannot see, so the connection ends instead. A session
/// that has ended is left alone: what its client sent before it left is still handled.
fn reply(session: &Session, answer: Message) {
    match session.send(answer) {
        Ok(()) | Err(SendError::Ended) => {}
        Err(_) => session.close(CloseReason::Unavailable),
    }
}

#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn text(error: impl ToString) -> String {
    error.to_string()
}
