use std::fmt;

use bytes::Bytes;

/// Whether a message is text or binary. Transports that know the difference keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// Names one message in hooks, receipts and acknowledgements, across devices, redeliveries and nodes.
///
/// The hub gives each message that it sends an id of its own, unless the sender chose one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

impl MessageId {
    /// The id of a message that has not been sent: what clients' messages carry.
    pub const NONE: Self = Self(0);

    /// An id from a number of the application's choice; 0 is [`MessageId::NONE`].
    #[must_use]
    pub const fn from_u128(id: u128) -> Self {
        Self(id)
    }

    /// The id as a number, for storage and wire formats.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A message: its kind, its bytes, its id. Cloning is cheap (reference counts).
///
/// ```
/// use tok_core::Message;
///
/// let message = Message::from("hello");
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(Message::from(vec![0xff_u8]).as_text(), None);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    kind: MessageKind,
    data: Bytes,
    id: MessageId,
}

impl Message {
    /// A message of `kind`. Bytes that are called text but are not valid UTF-8 go out as binary where the transport
    /// has to tell the two apart.
    #[must_use]
    pub fn new(kind: MessageKind, data: impl Into<Bytes>) -> Self {
        Self { kind, data: data.into(), id: MessageId::NONE }
    }

    /// A text message.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(MessageKind::Text, text.into())
    }

    /// A binary message.
    #[must_use]
    pub fn binary(data: impl Into<Bytes>) -> Self {
        Self::new(MessageKind::Binary, data)
    }

    /// The same message under an id of the application's choice.
    #[must_use]
    pub fn with_id(mut self, id: MessageId) -> Self {
        self.id = id;
        self
    }

    /// Text or binary.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The bytes.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The bytes, without a copy.
    #[must_use]
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// The id; [`MessageId::NONE`] on messages that came from a client.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// The bytes as text, if they are valid UTF-8, whatever the kind.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.data).ok()
    }
}

impl fmt::Debug for Message {
    // Contents are the users' own and stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("bytes", &self.data.len())
            .field("id", &self.id)
            .finish()
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::new(MessageKind::Text, Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Message {
    fn from(data: Bytes) -> Self {
        Self::binary(data)
    }
}

impl From<Vec<u8>> for Message {
    fn from(data: Vec<u8>) -> Self {
        Self::binary(data)
    }
}

impl From<&[u8]> for Message {
    fn from(data: &[u8]) -> Self {
        Self::binary(Bytes::copy_from_slice(data))
    }
}
