//! The seam to a WebSocket library: [`Engine`] and the ones that come with this crate.

#[cfg(feature = "async-tungstenite")]
mod async_tungstenite;
#[cfg(any(feature = "tokio-tungstenite", feature = "async-tungstenite", feature = "tokio-websockets"))]
mod pipe;
mod select;
#[cfg(feature = "tokio-tungstenite")]
mod tokio_tungstenite;
#[cfg(feature = "tokio-websockets")]
mod tokio_websockets;
#[cfg(any(feature = "tokio-tungstenite", feature = "async-tungstenite"))]
mod tungstenite;

use std::fmt;

use bytes::Bytes;

pub use self::select::{EngineUnavailable, UnknownEngine, WsEngine};

/// Turns a client's bytes into events. A WebSocket library behind tok's own types.
///
/// An engine does no I/O: [`WsTransport`](crate::WsTransport) reads the socket, checks frame headers with its
/// [`Guard`](crate::Guard), and hands the bytes that passed to a [`Decoder`]. So every engine runs on every runtime,
/// and an idle connection holds none: it gets a decoder when bytes arrive and gives it up when all of them are decoded.
///
/// ```
/// use bytes::{Buf, Bytes, BytesMut};
/// use tok_ws::engine::{Decoder, DecoderConfig, Engine, EngineError, Event};
///
/// /// Understands frames of at most 125 bytes and no fragments; everything else waits for ever.
/// struct Tiny;
///
/// impl Engine for Tiny {
///     fn name(&self) -> &str {
///         "tiny"
///     }
///     fn decoder(&self, _config: &DecoderConfig) -> Box<dyn Decoder> {
///         Box::new(TinyDecoder(BytesMut::new(), Vec::new()))
///     }
/// }
///
/// struct TinyDecoder(BytesMut, Vec<u8>);
///
/// impl Decoder for TinyDecoder {
///     fn feed(&mut self, bytes: &[u8]) {
///         self.0.extend_from_slice(bytes);
///     }
///     fn next(&mut self) -> Option<Result<Event, EngineError>> {
///         // The transport's guard has seen to it that frames are masked and control frames are short.
///         let len = usize::from(*self.0.get(1)? & 0x7f);
///         if self.0.len() < 6 + len {
///             return None;
///         }
///         let head = self.0.split_to(6);
///         let mut payload = self.0.split_to(len);
///         payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= head[2 + at % 4]);
///         let payload = payload.freeze();
///         Some(match head[0] & 0x0f {
///             1 if std::str::from_utf8(&payload).is_err() => Err(EngineError::BadText),
///             1 => Ok(Event::Text(payload)),
///             2 => Ok(Event::Binary(payload)),
///             8 => Ok(Event::Close),
///             9 => {
///                 self.1.extend([0x8a, len as u8].iter().chain(&payload));
///                 Ok(Event::Ping)
///             }
///             10 => Ok(Event::Pong(payload)),
///             _ => Err(EngineError::Protocol),
///         })
///     }
///     fn take_output(&mut self) -> Bytes {
///         std::mem::take(&mut self.1).into()
///     }
/// }
///
/// let mut decoder = Tiny.decoder(&DecoderConfig::new(1024));
/// decoder.feed(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
/// assert!(matches!(decoder.next(), Some(Ok(Event::Text(text))) if text == "hi"));
/// assert!(decoder.next().is_none());
/// ```
pub trait Engine: Send + Sync + 'static {
    /// The engine's name, for diagnosis.
    fn name(&self) -> &str;

    /// A decoder at the start of a frame, with no message open. Cheap: it happens each time that an idle connection
    /// comes to life.
    fn decoder(&self, config: &DecoderConfig) -> Box<dyn Decoder>;
}

impl fmt::Debug for dyn Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Engine").field(&self.name()).finish()
    }
}

/// The decoding side of one connection; see [`Engine`].
///
/// # Contract
/// * `next` gives whole messages and control frames in the order of the stream, and `None` when it has given all
///   that the bytes fed so far hold. After an error or a close, nothing more is fed.
/// * Text is valid UTF-8 or an [`EngineError::BadText`].
/// * For each Ping the output holds a Pong with its payload, at the latest when `next` has given `None`. Close frames
///   are the transport's to write.
/// * Once it has given all that it was fed and the stream stands between two messages, it holds nothing of the
///   connection: it can be dropped without loss, or be fed another connection's bytes.
pub trait Decoder: Send {
    /// Takes the next bytes of the stream, whose frame headers have been checked. May be called again before `next`
    /// has given all.
    fn feed(&mut self, bytes: &[u8]);

    /// The next event, or `None` until more bytes come.
    fn next(&mut self) -> Option<Result<Event, EngineError>>;

    /// Takes the encoded frames that answer what was decoded: Pongs, whole. The transport may send only the newest of
    /// several (RFC 6455 section 5.5.3).
    fn take_output(&mut self) -> Bytes;
}

/// What a decoder has to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DecoderConfig {
    /// The most bytes that one message may have. The guard enforces it; an engine that has a limit of its own sets it
    /// to this.
    pub max_message: usize,
    /// How many bytes to make room for at the start, where the engine can choose: 1 KiB. Reading from memory costs
    /// next to nothing, so more gains nothing, and some engines clear the room before each read.
    pub read_buffer: usize,
}

impl DecoderConfig {
    /// The default for messages of at most `max_message` bytes.
    #[must_use]
    pub const fn new(max_message: usize) -> Self {
        Self { max_message, read_buffer: 1024 }
    }
}

/// What a [`Decoder`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // RFC 6455 is closed: these are its frames.
pub enum Event {
    /// A whole text message, valid UTF-8.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A Ping, whose answer is in the output.
    Ping,
    /// A Pong with its payload.
    Pong(Bytes),
    /// A close frame. Nothing follows it.
    Close,
}

/// Why a [`Decoder`] cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The client broke the protocol.
    #[error("protocol error")]
    Protocol,
    /// Text, or the reason of a close, is not UTF-8.
    #[error("text is not valid UTF-8")]
    BadText,
    /// A message is over the limit.
    #[error("a message is over the limit")]
    TooBig,
}
