//! What nodes say to each other, byte for byte. All numbers are big-endian; a string is a `u32` length and that many
//! bytes of UTF-8; a flag is one byte, 0 or 1; what is optional has a flag before it.
//!
//! ```text
//! request   'T'  version=1  kind  id u64  sender: incarnation u64, name string  body
//! reply     't'  version=1  status  body
//!
//! kind  1 Deliver  uid  0: after optional u64, id u128, message kind, rest data (not kept; follows what is stored there)
//!                       1: seq u64 (kept messages are in the shared queue, up to here)
//!       2 Publish  0: everyone  |  1: room string   then id u128, message kind, rest data
//!       3 Claimed  uid  class optional string  epoch u64
//!       4 Kick     uid  0: all  |  1: device string   then reason string, application code u16
//!       5 Online   uid
//!       6 Probe
//!       7 Hello    (to all)
//!       8 Bye      (to all)
//! status 0 Taken   sessions u32  count u32, other nodes of the user: (incarnation u64, name string)*
//!        1 NotHere
//!        2 Busy
//!        3 Ended   count u32, epochs of the sessions u64*
//!        4 Online  flag
//!        5 Done
//!        6 Refused 0: malformed  |  1: another version, and the version that would be understood
//! ```
//!
//! A node of another version gets `Refused` and not silence, so that a mixed cluster shows at once and not as timeouts.

mod codec;
#[cfg(feature = "testkit")]
mod fuzzing;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use tok_core::{
    CloseReason, Epoch, Message, Uid,
    queue::Seq,
    relay::{Audience, Delivery, Target},
};

use self::codec::{Reader, Writer};
#[cfg(feature = "testkit")]
pub use self::fuzzing::fuzz_frame;
use crate::NodeId;

/// The version that this crate speaks.
pub(crate) const VERSION: u8 = 1;

const REQUEST: u8 = b'T';
const REPLY: u8 = b't';

/// A frame from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) from: NodeId,
    /// Rises from frame to frame of a sender: what a bus delivers twice is known by it.
    pub(crate) id: u64,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Deliver {
        uid: Uid,
        delivery: Delivery,
    },
    Publish {
        audience: Audience,
        message: Message,
    },
    /// The sender has a session of the user now: older ones of its class have lost their place, and nodes with others
    /// know where to find it.
    Claimed {
        uid: Uid,
        class: Option<String>,
        epoch: Epoch,
    },
    Kick {
        uid: Uid,
        target: Target,
        reason: CloseReason,
    },
    Online {
        uid: Uid,
    },
    Probe,
    Hello,
    Bye,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// So many sessions took it, and these other nodes have sessions of the user, as far as this one knows.
    Taken {
        sessions: u32,
        others: Vec<NodeId>,
    },
    NotHere,
    Busy,
    /// The claims of the sessions that were ended.
    Ended(Vec<Epoch>),
    Online(bool),
    Done,
    Refused(Fault),
}

/// Why a frame is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the frame is malformed")]
    Malformed,
    #[error("the frame is of another version; version {understood} is understood")]
    Version { understood: u8 },
}

impl Request {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::new(64 + self.body.payload());
        out.u8(REQUEST);
        out.u8(VERSION);
        out.u8(self.body.kind());
        out.u64(self.id);
        out.node(&self.from);
        self.body.write(&mut out);
        out.finish()
    }

    pub(crate) fn decode(frame: &Bytes) -> Result<Self, Fault> {
        let mut input = Reader::new(frame.clone());
        input.begin(REQUEST)?;
        let kind = input.u8()?;
        let id = input.u64()?;
        let from = input.node()?;
        let body = Body::read(kind, &mut input)?;
        input.end()?;
        Ok(Self { from, id, body })
    }
}

/// The most bytes of a frame from this node that are not data of the message that it carries, for a user or a room whose
/// name is as long as allowed.
pub(crate) fn overhead(from: &NodeId) -> usize {
    let uid = Uid::from("x".repeat(Uid::MAX_BYTES));
    let delivery = Delivery::Now { message: Message::binary(""), after: Some(Seq::START) };
    let body = Body::Deliver { uid, delivery };
    Request { from: from.clone(), id: 0, body }.encode().len()
}

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Self::Deliver { .. } => 1,
            Self::Publish { .. } => 2,
            Self::Claimed { .. } => 3,
            Self::Kick { .. } => 4,
            Self::Online { .. } => 5,
            Self::Probe => 6,
            Self::Hello => 7,
            Self::Bye => 8,
        }
    }

    /// About how much the body adds to a frame.
    fn payload(&self) -> usize {
        match self {
            Self::Deliver { delivery: Delivery::Now { message, .. }, .. } | Self::Publish { message, .. } => {
                message.data().len() + Uid::MAX_BYTES
            }
            _ => Uid::MAX_BYTES,
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Deliver { uid, delivery } => {
                out.string(uid.as_str());
                match delivery {
                    Delivery::Now { message, after } => {
                        out.u8(0);
                        out.flag(after.is_some());
                        if let Some(after) = after {
                            out.u64(after.get());
                        }
                        out.message(message);
                    }
                    Delivery::Stored(seq) => {
                        out.u8(1);
                        out.u64(seq.get());
                    }
                    _ => out.unknown(),
                }
            }
            Self::Publish { audience, message } => {
                match audience {
                    Audience::Everyone => out.u8(0),
                    Audience::Room(room) => {
                        out.u8(1);
                        out.string(room);
                    }
                    _ => out.unknown(),
                }
                out.message(message);
            }
            Self::Claimed { uid, class, epoch } => {
                out.string(uid.as_str());
                out.flag(class.is_some());
                if let Some(class) = class {
                    out.string(class);
                }
                out.u64(epoch.get());
            }
            Self::Kick { uid, target, reason } => {
                out.string(uid.as_str());
                match target {
                    Target::All => out.u8(0),
                    Target::Device(device) => {
                        out.u8(1);
                        out.string(device);
                    }
                    _ => out.unknown(),
                }
                out.reason(*reason);
            }
            Self::Online { uid } => out.string(uid.as_str()),
            Self::Probe | Self::Hello | Self::Bye => {}
        }
    }

    fn read(kind: u8, input: &mut Reader) -> Result<Self, Fault> {
        Ok(match kind {
            1 => {
                let uid = input.uid()?;
                let delivery = match input.u8()? {
                    0 => {
                        let after = if input.flag()? { Some(Seq::new(input.u64()?)) } else { None };
                        Delivery::Now { message: input.message()?, after }
                    }
                    1 => Delivery::Stored(Seq::new(input.u64()?)),
                    _ => return Err(Fault::Malformed),
                };
                Self::Deliver { uid, delivery }
            }
            2 => {
                let audience = match input.u8()? {
                    0 => Audience::Everyone,
                    1 => Audience::Room(input.string()?),
                    _ => return Err(Fault::Malformed),
                };
                Self::Publish { audience, message: input.message()? }
            }
            3 => {
                let uid = input.uid()?;
                let class = if input.flag()? { Some(input.string()?) } else { None };
                Self::Claimed { uid, class, epoch: Epoch::new(input.u64()?) }
            }
            4 => {
                let uid = input.uid()?;
                let target = match input.u8()? {
                    0 => Target::All,
                    1 => Target::Device(input.string()?),
                    _ => return Err(Fault::Malformed),
                };
                Self::Kick { uid, target, reason: input.reason()? }
            }
            5 => Self::Online { uid: input.uid()? },
            6 => Self::Probe,
            7 => Self::Hello,
            8 => Self::Bye,
            _ => return Err(Fault::Malformed),
        })
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::new(32);
        out.u8(REPLY);
        out.u8(VERSION);
        match self {
            Self::Taken { sessions, others } => {
                out.u8(0);
                out.u32(*sessions);
                out.u32(u32::try_from(others.len()).unwrap_or(u32::MAX));
                others.iter().for_each(|node| out.node(node));
            }
            Self::NotHere => out.u8(1),
            Self::Busy => out.u8(2),
            Self::Ended(epochs) => {
                out.u8(3);
                out.u32(u32::try_from(epochs.len()).unwrap_or(u32::MAX));
                epochs.iter().for_each(|epoch| out.u64(epoch.get()));
            }
            Self::Online(online) => {
                out.u8(4);
                out.flag(*online);
            }
            Self::Done => out.u8(5),
            Self::Refused(Fault::Malformed) => {
                out.u8(6);
                out.u8(0);
            }
            Self::Refused(Fault::Version { understood }) => {
                out.u8(6);
                out.u8(1);
                out.u8(*understood);
            }
        }
        out.finish()
    }

    pub(crate) fn decode(frame: &Bytes) -> Result<Self, Fault> {
        let mut input = Reader::new(frame.clone());
        input.begin(REPLY)?;
        let reply = match input.u8()? {
            0 => {
                let sessions = input.u32()?;
                // Grows with what is there, not with what the count announces.
                let others = (0..input.u32()?).map(|_| input.node()).collect::<Result<_, _>>()?;
                Self::Taken { sessions, others }
            }
            1 => Self::NotHere,
            2 => Self::Busy,
            3 => {
                let epochs = (0..input.u32()?).map(|_| input.u64().map(Epoch::new));
                Self::Ended(epochs.collect::<Result<_, _>>()?)
            }
            4 => Self::Online(input.flag()?),
            5 => Self::Done,
            6 => Self::Refused(match input.u8()? {
                0 => Fault::Malformed,
                1 => Fault::Version { understood: input.u8()? },
                _ => return Err(Fault::Malformed),
            }),
            _ => return Err(Fault::Malformed),
        };
        input.end()?;
        Ok(reply)
    }
}
