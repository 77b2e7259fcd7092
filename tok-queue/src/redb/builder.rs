use std::path::Path;

use tok_core::ConfigError;

use super::{
    OpenError, RedbQueue,
    change::Limits,
    store::{Opener, Options, open_file},
    time,
};

/// Limits of a [`RedbQueue`], and how it treats its file. What passes a limit is refused with
/// [`Full`](tok_core::queue::QueueError::Full); nothing that is kept is ever dropped for it, and messages accepted
/// before are taken whatever the limits.
///
/// ```
/// use tok_queue::RedbQueue;
///
/// # let folder = std::env::temp_dir().join(format!("tok-queue-doc-builder-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("queue.redb");
/// let queue = RedbQueue::builder().max_messages(100).max_total_bytes(64 << 30).open(&path)?;
/// # drop(queue);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open`"]
pub struct RedbQueueBuilder {
    max_messages: u64,
    max_bytes: u64,
    max_total_bytes: u64,
    options: Options,
}

impl Default for RedbQueueBuilder {
    fn default() -> Self {
        Self {
            max_messages: 1000,
            max_bytes: 8 << 20,
            max_total_bytes: 4 << 30,
            options: Options { cache_bytes: 64 << 20, fast_recovery: false, verify: false, compact: false },
        }
    }
}

impl RedbQueueBuilder {
    /// Messages kept for one user, waiting or sent and not yet confirmed; default 1000. More let a user be away
    /// longer and make the first page of a login one of many.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages;
        self
    }

    /// Bytes kept for one user, by [`Entry::cost`](tok_core::queue::Entry::cost); default 8 MiB. A message that costs
    /// more is never kept.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Bytes kept for all users together, by [`Entry::cost`](tok_core::queue::Entry::cost); default 4 GiB. Once they
    /// are used up nothing new is kept for anybody until clients confirm or messages expire. A value below `max_bytes`
    /// limits one user, too.
    ///
    /// The file takes up to about three times that on disk: pages are partly filled, and what is rewritten lies beside
    /// its old form for a moment. Should the disk be full before, storing fails with
    /// [`Unavailable`](tok_core::queue::QueueError::Unavailable).
    pub fn max_total_bytes(mut self, bytes: u64) -> Self {
        self.max_total_bytes = bytes;
        self
    }

    /// Memory for parts of the file that are used often; default 64 MiB. The operating system caches the file, too: more
    /// saves copies, not disk reads.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.options.cache_bytes = bytes;
        self
    }

    /// Opens at once after a crash. Off by default: after a crash, not after an orderly end, opening then reads the whole
    /// file, 1.6 seconds for each gigabyte where that was measured. Turned on, each commit writes what spares that, and
    /// takes up to twice as long.
    pub fn fast_recovery(mut self, on: bool) -> Self {
        self.options.fast_recovery = on;
        self
    }

    /// Reads the whole file when it is opened, whatever its last end, and refuses one in which anything was altered by
    /// something else than a queue; off by default. Without it such an alteration shows when the altered part is read:
    /// that operation is [`Unavailable`](tok_core::queue::QueueError::Unavailable).
    pub fn verify(mut self, on: bool) -> Self {
        self.options.verify = on;
        self
    }

    /// Moves everything to the beginning of the file when it is opened, and cuts off the rest; off by default. It takes
    /// time by what is stored. What removed messages leave is used again in any case: compacting pays after a rush
    /// that will not come again.
    pub fn compact(mut self, on: bool) -> Self {
        self.options.compact = on;
        self
    }

    /// Opens the queue in the file at `path`, which is made if there is none (readable by its owner alone), in a directory
    /// that exists. The file is locked against other queues while this one lives.
    ///
    /// Blocks while it reads and writes: after a crash for as long as [`fast_recovery`](Self::fast_recovery) says, and with
    /// [`verify`](Self::verify) or [`compact`](Self::compact) for as long as these take. Call it before the runtime starts
    /// or where blocking is allowed, as in `spawn_blocking`.
    ///
    /// # Errors
    /// [`OpenError::Config`] if a limit is 0, which would keep nothing; the others are about the file.
    pub fn open(self, path: impl AsRef<Path>) -> Result<RedbQueue, OpenError> {
        let path = path.as_ref().to_owned();
        let opener: Opener = Box::new({
            let path = path.clone();
            move |builder, create| open_file(&path, builder, create)
        });
        let (limits, options) = self.check()?;
        RedbQueue::start(opener, limits, options, time::clocks()).map_err(|cause| cause.at(path))
    }

    pub(super) fn check(self) -> Result<(Limits, Options), ConfigError> {
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
        let limits = Limits {
            max_messages: self.max_messages,
            max_bytes: self.max_bytes.min(self.max_total_bytes),
            max_total_bytes: self.max_total_bytes,
        };
        Ok((limits, self.options))
    }
}
