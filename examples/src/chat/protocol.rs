//! What clients and server say to each other: one JSON object a message, in WebSocket text or a TCP frame.
//!
//! A message that a user writes carries a `cid`, an id that the client makes up. The server answers it with the same
//! `cid`: [`Sent`](ServerMessage::Sent) when it has the message, [`Delivered`](ServerMessage::Delivered) when a client
//! of the receiver has it, or [`Failed`](ServerMessage::Failed). A client that got no answer before it lost its
//! connection sends the message again under the same `cid`, and the server delivers it once.

use serde::{Deserialize, Serialize};
use tok_core::{CloseReason, Message, Reconnect};

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[allow(clippy::exhaustive_enums, reason = "this is the protocol, and tests write it")]
pub enum ClientMessage {
    /// A message to one user, now or when the user is back.
    Direct {
        /// The user.
        to: String,
        /// The text.
        text: String,
        /// The client's id for it, 1 to 64 bytes.
        cid: String,
    },
    /// A message to all who are in a room now. The sender has to be in it.
    Room {
        /// The room.
        room: String,
        /// The text.
        text: String,
        /// The client's id for it, 1 to 64 bytes.
        cid: String,
    },
    /// Enters a room, which exists while somebody is in it. The end of the connection leaves it.
    Join {
        /// The room.
        room: String,
    },
    /// Leaves a room.
    Leave {
        /// The room.
        room: String,
    },
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "this is the protocol, and tests read it")]
pub enum ServerMessage {
    /// The login has taken effect.
    Welcome {
        /// The user's own name.
        name: String,
    },
    /// Everybody who is online and the largest rooms, in alphabetical order. Sent once, behind the welcome, and again
    /// if changes may have been lost.
    Presence {
        /// The users online.
        users: Vec<String>,
        /// The rooms that somebody is in; of many the 200 largest.
        rooms: Vec<RoomInfo>,
    },
    /// What has changed of [`Presence`](Self::Presence) since it was sent. Several changes that come together share a
    /// message.
    Changes {
        /// The users who have come.
        online: Vec<String>,
        /// The users who have gone.
        offline: Vec<String>,
        /// The rooms whose number of members has changed. One with 0 members leaves the list.
        rooms: Vec<RoomInfo>,
    },
    /// Who is in a room. Sent to those who are in it, after each change.
    Members {
        /// The room.
        room: String,
        /// Some of its members, in alphabetical order; of many the 20 who came first.
        names: Vec<String>,
        /// How many members it has.
        count: usize,
    },
    /// A message of another user to this one.
    Direct {
        /// The same in every copy, should it come again in a later session.
        id: String,
        /// Who wrote it.
        from: String,
        /// The text.
        text: String,
        /// When the server took it, in milliseconds since the Unix epoch.
        at: u64,
    },
    /// A message in a room. Its writer gets it as well: the order is that of all others in the room.
    Room {
        /// The room.
        room: String,
        /// Who wrote it.
        from: String,
        /// The writer's `cid`.
        cid: String,
        /// The text.
        text: String,
        /// When the server took it, in milliseconds since the Unix epoch.
        at: u64,
    },
    /// The first tick: the server has the message, and keeps it if it is direct.
    Sent {
        /// The message.
        cid: String,
    },
    /// The second tick: a client of the receiver has the message. It waits for a sender who is away, as messages do.
    Delivered {
        /// The message.
        cid: String,
    },
    /// The server does not take the message, and nobody got it.
    Failed {
        /// The message.
        cid: String,
        /// Why.
        reason: String,
    },
    /// What the client sent was not understood or not possible. The connection lives on.
    Error {
        /// Why.
        reason: String,
    },
    /// The server ends the connection.
    Bye {
        /// [`CloseReason::name`].
        reason: String,
        /// Whether the client should come back: `now`, `later` or `never`.
        reconnect: String,
    },
}

/// A room, as those see it who are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "this is the protocol, and tests read it")]
pub struct RoomInfo {
    /// The room.
    pub name: String,
    /// How many members it has.
    pub members: usize,
}

impl ServerMessage {
    pub(super) fn bye(reason: CloseReason) -> Self {
        let reconnect = match reason.reconnect() {
            Reconnect::Now => "now",
            Reconnect::Later => "later",
            _ => "never",
        };
        Self::Bye { reason: reason.name().into(), reconnect: reconnect.into() }
    }

    pub(super) fn error(reason: impl Into<String>) -> Self {
        Self::Error { reason: reason.into() }
    }
}

impl From<ServerMessage> for Message {
    fn from(message: ServerMessage) -> Self {
        // Strings, numbers and lists of them always have a JSON form.
        Self::text(serde_json::to_string(&message).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_format_is_what_the_page_reads() {
        let message = ServerMessage::Direct { id: "1".into(), from: "a".into(), text: "\"".into(), at: 2 };
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(json, r#"{"type":"direct","id":"1","from":"a","text":"\"","at":2}"#);
        let read: ClientMessage = serde_json::from_str(r#"{"type":"join","room":"tea"}"#).unwrap();
        assert_eq!(read, ClientMessage::Join { room: "tea".into() });
    }

    #[test]
    fn the_goodbye_says_whether_to_come_back() {
        let bye = |reason| serde_json::to_string(&ServerMessage::bye(reason)).unwrap();
        assert_eq!(bye(CloseReason::Sso), r#"{"type":"bye","reason":"sso","reconnect":"never"}"#);
        assert_eq!(bye(CloseReason::Draining), r#"{"type":"bye","reason":"drain","reconnect":"now"}"#);
    }
}
