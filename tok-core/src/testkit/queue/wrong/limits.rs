//! Batches that are refused for a wrong reason.

use super::{Fault, User, WrongQueue, cost};
use crate::{
    Queue, Uid,
    queue::{Entry, QueueError},
};

impl WrongQueue {
    /// A message that is refused for its size.
    pub(super) fn too_big(&self, batch: &[Entry]) -> Option<QueueError> {
        let bytes = batch.iter().map(|entry| entry.data.len()).max()?;
        let limit = self.caps().max_message?;
        match self.fault {
            Fault::CallsTheTooBigFull if bytes > limit => Some(QueueError::Full),
            Fault::RefusesLargeBatches if batch.len() > 1 && cost(batch.iter()) > limit as u64 / 2 => {
                Some(QueueError::Full)
            }
            Fault::RefusesTheLargest if bytes >= limit => Some(QueueError::TooBig { bytes, limit }),
            _ => None,
        }
    }

    /// Whether a wrong count of what is there refuses a batch (`Some(true)`), admits it, or is not its fault.
    pub(super) fn is_full(&self, uid: &Uid, batch: &[Entry]) -> Option<bool> {
        let caps = self.caps();
        let state = self.state.lock();
        let users = self.inner.users.lock();
        let empty = User::default();
        let user = users.get(uid).unwrap_or(&empty);
        let (mut messages, mut bytes) = (user.entries.len() as u64, user.bytes());
        let mut added = cost(batch.iter());
        match self.fault {
            Fault::CountsMessagesFromZero => messages = messages.saturating_sub(1),
            Fault::CountsBytesWithoutOverhead => {
                bytes -= user.entries.len() as u64 * Entry::OVERHEAD as u64;
                added -= batch.len() as u64 * Entry::OVERHEAD as u64;
            }
            Fault::KeepsRoomOfTheAcked => messages += state.acked.len() as u64,
            Fault::KeepsRoomOfTheSwept => messages += state.swept,
            Fault::SharesTheLimits => messages = users.values().map(|user| user.entries.len() as u64).sum(),
            Fault::RefusesTheAccepted | Fault::StoresWhatFits => {}
            _ => return None,
        }
        Some(messages + batch.len() as u64 > caps.max_messages || bytes + added > caps.max_bytes)
    }
}
