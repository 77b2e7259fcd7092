use tok_core::ConfigError;

use super::MemoryQueue;

/// Limits of a [`MemoryQueue`]. What passes one is refused with [`Full`](tok_core::queue::QueueError::Full); nothing
/// that is kept is ever dropped for it, and messages accepted before are taken whatever the limits.
///
/// ```
/// use tok_queue::MemoryQueue;
///
/// let queue = MemoryQueue::builder().max_messages(100).max_bytes(1024 * 1024).build()?;
/// # let _ = queue;
/// # Ok::<(), tok_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct MemoryQueueBuilder {
    pub(super) max_messages: u64,
    pub(super) max_bytes: u64,
    pub(super) max_total_bytes: u64,
}

impl Default for MemoryQueueBuilder {
    fn default() -> Self {
        Self { max_messages: 1000, max_bytes: 8 * 1024 * 1024, max_total_bytes: 256 * 1024 * 1024 }
    }
}

impl MemoryQueueBuilder {
    /// Messages kept for one user, waiting or sent and not yet confirmed; default 1000. More let a user be away
    /// longer and make the first page of a login one of many.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages;
        self
    }

    /// Bytes kept for one user, by [`Entry::cost`](tok_core::queue::Entry::cost); default 8 MiB. It is what one user
    /// can take of `max_total_bytes`, and a message that costs more is never kept.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Bytes kept for all users together; default 256 MiB. Once they are used up nothing new is kept for anybody
    /// until clients confirm or messages expire: with the defaults 32 users with full queues are enough for that.
    /// A value below `max_bytes` limits one user, too.
    pub fn max_total_bytes(mut self, bytes: u64) -> Self {
        self.max_total_bytes = bytes;
        self
    }

    /// The queue.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if a limit is 0, which would keep nothing. A hub that shall keep nothing has
    /// [`NoQueue`](tok_core::queue::NoQueue).
    pub fn build(mut self) -> Result<MemoryQueue, ConfigError> {
        for (setting, value) in [
            ("max_messages", self.max_messages),
            ("max_bytes", self.max_bytes),
            ("max_total_bytes", self.max_total_bytes),
        ] {
            if value == 0 {
                return Err(ConfigError::Invalid {
                    setting,
                    value: "0".to_owned(),
                    rule: "must be at least 1",
                });
            }
        }
        self.max_bytes = self.max_bytes.min(self.max_total_bytes);
        Ok(MemoryQueue::with_limits(self))
    }
}
