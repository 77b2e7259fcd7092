use std::{fmt, ptr};

use bytes::Bytes;

use crate::{Message, MessageKind};

/// How messages become the frames of a transport. One static for each wire format, told apart by address.
///
/// ```
/// use tok_core::{MessageKind, transport::Framing};
/// use bytes::{BufMut, Bytes, BytesMut};
///
/// /// A line of text a message.
/// static LINES: Framing = Framing::new("lines", |_kind, data| {
///     let mut frame = BytesMut::with_capacity(data.len() + 1);
///     frame.put_slice(data);
///     frame.put_u8(b'\n');
///     frame.freeze()
/// });
/// ```
pub struct Framing {
    name: &'static str,
    encode: fn(MessageKind, &Bytes) -> Bytes,
}

/// The framing of transports that carry whole messages: a frame's bytes are the message's.
pub static IDENTITY: Framing = Framing::new("identity", |_, data| data.clone());

impl Framing {
    /// A framing under a name for diagnosis. `encode` must be pure: its result is shared by all receivers.
    #[must_use]
    pub const fn new(name: &'static str, encode: fn(MessageKind, &Bytes) -> Bytes) -> Self {
        Self { name, encode }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Encodes one message.
    #[must_use]
    pub fn encode(&self, message: &Message) -> Frame {
        Frame { kind: message.kind(), bytes: (self.encode)(message.kind(), message.data()) }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }
}

impl fmt::Debug for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// An encoded message. Cloning is a reference count.
#[derive(Clone)]
pub struct Frame {
    kind: MessageKind,
    bytes: Bytes,
}

impl Frame {
    /// The kind of the message within.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// What goes on the wire.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What goes on the wire, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("kind", &self.kind).field("bytes", &self.bytes.len()).finish()
    }
}
