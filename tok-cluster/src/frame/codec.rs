//! The primitives of frames. Nothing here panics, and nothing allocates for what a frame only announces.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tok_core::{AppCode, CloseReason, Message, MessageId, MessageKind, Uid};

use super::{Fault, VERSION};
use crate::NodeId;

/// What no version has a meaning for: the other node refuses the frame.
const UNKNOWN: u8 = 255;

pub(super) struct Writer(BytesMut);

impl Writer {
    pub(super) fn new(capacity: usize) -> Self {
        Self(BytesMut::with_capacity(capacity))
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.freeze()
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.put_u8(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.put_u32(value);
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.put_u64(value);
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Stands for a variant that tok-core has and this crate does not know yet.
    pub(super) fn unknown(&mut self) {
        self.u8(UNKNOWN);
    }

    pub(super) fn string(&mut self, text: &str) {
        // Over 4 GiB the length would lie, and the frame be refused as malformed; no bus takes that much.
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.put_slice(text.as_bytes());
    }

    pub(super) fn node(&mut self, node: &NodeId) {
        self.u64(node.incarnation());
        self.string(node.name());
    }

    /// The last of a frame: its data have no length of their own.
    pub(super) fn message(&mut self, message: &Message) {
        self.0.put_u128(message.id().as_u128());
        match message.kind() {
            MessageKind::Text => self.u8(0),
            MessageKind::Binary => self.u8(1),
            _ => self.unknown(),
        }
        self.0.put_slice(message.data());
    }

    pub(super) fn reason(&mut self, reason: CloseReason) {
        // By name: codes are for clients, and two reasons share one.
        self.string(reason.name());
        self.0.put_u16(if let CloseReason::Application(code) = reason { code.get() } else { 0 });
    }
}

pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(frame: Bytes) -> Self {
        Self(frame)
    }

    /// The first two bytes. The version comes before all that a version can change.
    pub(super) fn begin(&mut self, mark: u8) -> Result<(), Fault> {
        if self.u8()? != mark {
            return Err(Fault::Malformed);
        }
        if self.u8()? == VERSION { Ok(()) } else { Err(Fault::Version { understood: VERSION }) }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::Malformed) }
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, Fault> {
        if bytes > self.0.len() {
            return Err(Fault::Malformed);
        }
        Ok(self.0.split_to(bytes))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.0.try_get_u8().map_err(|_| Fault::Malformed)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.0.try_get_u32().map_err(|_| Fault::Malformed)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.0.try_get_u64().map_err(|_| Fault::Malformed)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Fault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::Malformed),
        }
    }

    pub(super) fn string(&mut self) -> Result<String, Fault> {
        let bytes = self.u32()? as usize;
        let text = self.take(bytes)?;
        std::str::from_utf8(&text).map(str::to_owned).map_err(|_| Fault::Malformed)
    }

    pub(super) fn uid(&mut self) -> Result<Uid, Fault> {
        let uid = Uid::from(self.string()?);
        uid.check().map_err(|_| Fault::Malformed)?;
        Ok(uid)
    }

    pub(super) fn node(&mut self) -> Result<NodeId, Fault> {
        let incarnation = self.u64()?;
        NodeId::new(&self.string()?, incarnation).ok_or(Fault::Malformed)
    }

    /// Takes all that is left.
    pub(super) fn message(&mut self) -> Result<Message, Fault> {
        let id = self.0.try_get_u128().map_err(|_| Fault::Malformed)?;
        let kind = match self.u8()? {
            0 => MessageKind::Text,
            1 => MessageKind::Binary,
            _ => return Err(Fault::Malformed),
        };
        let data = std::mem::take(&mut self.0);
        Ok(Message::new(kind, data).with_id(MessageId::from_u128(id)))
    }

    pub(super) fn reason(&mut self) -> Result<CloseReason, Fault> {
        let name = self.string()?;
        let code = self.0.try_get_u16().map_err(|_| Fault::Malformed)?;
        if let Some(code) = AppCode::new(code) {
            return Ok(CloseReason::Application(code));
        }
        // A newer node may have a reason that this one does not know. It still ends the session, and clients come back.
        let known = CloseReason::ALL.iter().find(|reason| reason.name() == name);
        Ok(known.copied().unwrap_or(CloseReason::Disconnected))
    }
}
