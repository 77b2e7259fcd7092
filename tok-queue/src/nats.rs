mod block;
mod builder;
mod rpc;
mod state;
mod store;
mod streams;
mod time;

use std::{fmt, time::Duration};

use async_nats::ServerAddr;
use futures_util::future::try_join3;
use tok_core::{
    ConfigError, Epoch, Queue, Uid, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
};

pub use self::builder::NatsQueueBuilder;
use self::{
    block::{Block, MAX_ENTRIES, block_after, end_of, positions},
    rpc::{Failure, Rpc},
    state::{Remembered, State},
    store::{Meta, Row, Store, User},
};
use crate::connect::ConnectError;

/// How long the fence and mark of a user are kept, in seconds: with no entries, and with some. Each acknowledgement
/// begins it anew.
const EMPTY: u64 = 24 * 60 * 60;
const WAITING: u64 = 30 * EMPTY;

/// Expiry farther away than this is none: the server counts nanoseconds in 63 bits.
const LONGEST_TTL: u64 = 100 * 365 * 24 * 60 * 60;

/// How often an operation begins again when other nodes change the user's queue under it: each time one of them has got
/// on. The timeout usually comes first.
const ATTEMPTS: usize = 256;

/// What is read at once.
const MAX_BLOCKS: usize = 256;
const MAX_READ: usize = 8 * 1024 * 1024;

/// Keeps messages in NATS JetStream (server 2.11 or later; 2.15.1 or later recommended), where every node sees them.
///
/// A batch is one message of the stream, on a subject of the user's. There is no consumer and no subscription per user.
/// Every write names what it expects to find (`Nats-Expected-Last-Subject-Sequence`), so that nodes at the same time do not
/// pass a limit together, and so that a write which arrives after its sender had given up changes nothing that was stored
/// since. It runs on tokio, with its time and network drivers on, and on no other runtime.
///
/// # What survives
/// `enqueue` returns when the stream's leader has the batch, with [`replicas`](NatsQueueBuilder::replicas) also a majority
/// of them. By default the server syncs its files every two minutes: the end of its process loses nothing, that of its
/// machine up to as much, unless the others of a majority still have it. With `jetstream { sync_interval: always }` it is
/// on the disk before the answer.
///
/// # Limits
/// A message must fit in one of the server's: the server's `max_payload`, 1 MiB by default, less 568 bytes is
/// [`Caps::max_message`], and a larger one is refused with [`TooBig`](QueueError::TooBig). If a server that announces another
/// `max_payload` is reached later, that one applies. A batch that does not fit in one message though its entries do, or has
/// over 4096 entries, is refused with [`Full`](QueueError::Full). So is what the
/// stream's `max_bytes` or the account's storage has no room for; what was accepted before is
/// [`Unavailable`](QueueError::Unavailable) then. A uid the hub would refuse is an error.
///
/// # Expiry
/// TTLs begin when the server takes the entry, and are measured on its clock. The clocks of nodes have no effect.
/// The server removes a batch when the last of its entries has expired, to the second;
/// [`sweep`](Queue::sweep) returns none, and the undelivered hook does not hear of entries that expire here. If the server's
/// clock is set forward, entries expire early by as much; if it is set back, late.
///
/// # When the server is away
/// Operations fail with [`Unavailable`](QueueError::Unavailable): at once while the connection is lost, and after
/// [`timeout`](NatsQueueBuilder::timeout) when the server is silent. The client connects again by itself.
///
/// # What it leaves
/// Streams `PREFIX_queue` (subjects `PREFIX.q.USER`) and `PREFIX_meta` (`PREFIX.m.USER`), which it makes if they are
/// missing, also when a server has lost them later, and otherwise compares: a setting that would lose messages is refused.
/// Positions in a new stream begin at the server's time when it is made, so that they rise from one to the next. Of a user whose queue is empty one
/// message of 17 bytes stays for 24 hours (the fence). One whose entries nobody acknowledges for 30 days loses it too: a
/// batch that was acknowledged in part is then handed out whole. Servers before 2.15.1 keep a timer for each removed entry
/// until it would have expired (<https://github.com/nats-io/nats-server/issues/8594>).
///
/// # Consistency
/// The newest entry and the mark are read from the streams' leaders; entries come from any replica that has got as far.
/// What [`ack`](Queue::ack) returns is what this node remembers. It leaves out what other nodes have stored since this node
/// last read or wrote the user's queue. It counts entries that have expired between others, and some that are confirmed
/// where more than 32 were not.
///
/// # Access
/// The URL is `nats://USER:PASSWORD@HOST:PORT`, `nats://TOKEN@HOST:PORT` or `tls://…`, several with commas between, of which
/// one needs the credentials. The user must be allowed to
/// publish to the subjects above, `$JS.API.STREAM.{INFO,CREATE,MSG.GET,PURGE}.*` and `$JS.API.DIRECT.GET.*` of the two
/// streams, and to subscribe to `_INBOX.>`.
pub struct NatsQueue {
    settings: NatsQueueBuilder,
    store: Store,
    remembered: Remembered,
}

impl NatsQueue {
    /// A queue on the servers of this URL, with the default limits: 1000 messages and 8 MiB a user.
    ///
    /// # Errors
    /// [`ConnectError`]: the URL is wrong, nobody answers there, or the server or a stream would lose messages.
    pub async fn connect(url: impl Into<String>) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// Sets limits and more.
    pub fn builder(url: impl Into<String>) -> NatsQueueBuilder {
        NatsQueueBuilder::new(url.into())
    }

    async fn connect_with(settings: NatsQueueBuilder) -> Result<Self, ConnectError> {
        let servers: Result<Vec<ServerAddr>, ()> = settings.url.split(',').map(server).collect();
        let servers = servers.map_err(|()| ConfigError::Invalid {
            setting: "url",
            // Not the URL itself, which can hold a password.
            value: "no URL of a NATS server".to_owned(),
            rule: "must be nats://USER:PASSWORD@HOST:PORT or tls://.., or several with commas between",
        })?;
        let rpc = Rpc::connect(servers, settings.timeout, settings.max_in_flight).await;
        let store = Store::new(rpc.map_err(ConnectError::Unreachable)?, settings.prefix.clone());
        let opening = store.rpc.run(async { Ok(streams::open(&store, settings.replicas).await) });
        opening.await.map_err(|failure| ConnectError::Unreachable(Box::new(failure)))??;
        Ok(Self { settings, store, remembered: Remembered::default() })
    }

    /// What is remembered of the user, or what there is.
    async fn state(&self, user: &User) -> Result<State, Failure> {
        match self.remembered.get(user) {
            Some(state) => Ok(state),
            None => State::read(&self.store, user).await,
        }
    }

    async fn fits(&self, user: &User, state: &State, batch: &[Entry]) -> Result<bool, Failure> {
        let (messages, bytes) = (batch.len() as u64, cost(batch));
        let within = |kept: QueueSize| {
            kept.messages.saturating_add(messages) <= self.settings.max_messages
                && kept.bytes.saturating_add(bytes) <= self.settings.max_bytes
        };
        Ok(within(state.kept()) || state.fresh && within(state.count(&self.store, user).await?))
    }

    async fn append(&self, user: &User, batch: &[Entry], admit: Admit) -> Result<Vec<Seq>, QueueError> {
        let mut state = self.state(user).await?;
        for _ in 0..ATTEMPTS {
            if admit == Admit::WithinLimits && !self.fits(user, &state, batch).await? {
                if state.fresh {
                    return Err(QueueError::Full);
                }
                state = State::read(&self.store, user).await?;
                continue;
            }
            let block = Block::encode(state.total, batch)?;
            if let Some(seq) = self.store.append(user, state.last, block, ttl(batch)).await? {
                self.remembered.set(user, state.appended(seq, batch));
                return Ok(positions(seq, batch.len()).collect());
            }
            state = State::read(&self.store, user).await?;
        }
        Err(Failure::Contended.into())
    }

    async fn page(&self, user: &User, after: Seq, limit: Limit) -> Result<Page, Failure> {
        let mut mark = self.remembered.mark(user).map_or(after, |mark| mark.max(after));
        for attempt in 0..ATTEMPTS {
            let from = block_after(mark);
            let bytes = limit.bytes.min(MAX_READ);
            let row = async {
                // Replicas that have not got as far will in a moment, but not for sure.
                if attempt < 3 {
                    self.store.row(user, from, limit.messages.min(MAX_BLOCKS), bytes).await
                } else {
                    let first = self.store.first(user, from).await?;
                    Ok(Row { cut: first.is_some(), blocks: first.into_iter().collect() })
                }
            };
            let (last, meta, row) = try_join3(self.store.last(user), self.store.meta(user), row).await?;
            let Some(last) = last else { return Ok(Page::default()) };
            if meta.mark > mark {
                mark = meta.mark;
            }
            if end_of(last.seq) <= mark {
                return Ok(Page::default());
            }
            if row.is_enough(mark, last.seq) {
                self.remembered.learn(user, &row.blocks);
                let expires = row.blocks.iter().any(Block::expires);
                let now = if expires { self.store.now().await? } else { Duration::ZERO };
                return Ok(fill(&row, mark, limit, row.end() < last.seq, now));
            }
        }
        Err(Failure::Contended)
    }

    async fn confirm(&self, user: &User, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        let mut state = self.state(user).await?;
        for _ in 0..ATTEMPTS {
            if fence < state.meta.fence {
                return Err(QueueError::Fenced { current: state.meta.fence });
            }
            if upto > state.end() && !state.fresh {
                // Others may have stored more.
                state = State::read(&self.store, user).await?;
                continue;
            }
            let mark = state.meta.mark.max(upto.min(state.end()));
            let empty = mark >= state.end();
            let meta = Meta { seq: state.meta.seq, fence, mark };
            let ttl = if empty { EMPTY } else { WAITING };
            if let Some(seq) = self.store.set_meta(user, meta, ttl).await? {
                let before = block_after(state.meta.mark);
                state = state.confirmed(Meta { seq, ..meta });
                let (meta, remains) = (state.meta, state.kept());
                self.remembered.set(user, state);
                if block_after(mark) > before {
                    self.remove(user, meta, empty).await;
                }
                return Ok(remains);
            }
            state = State::read(&self.store, user).await?;
        }
        Err(Failure::Contended.into())
    }

    /// Removes confirmed blocks. Where that fails they take up space until the next try and do no harm.
    async fn remove(&self, user: &User, meta: Meta, empty: bool) {
        let removed = self.store.purge(user, block_after(meta.mark)).await;
        if removed.is_ok() && empty {
            self.remembered.set(user, State { meta, ..State::default() });
        }
    }

    /// Runs one of the operations above, once more if the server has lost the streams and they could be made again. What
    /// is remembered is not trusted after a failure.
    async fn run<T, F>(&self, user: &User, operation: impl Fn() -> F) -> Result<T, QueueError>
    where
        F: Future<Output = Result<T, QueueError>>,
    {
        let running = async {
            let result = operation().await;
            if result.as_ref().is_err_and(is_stream_lost)
                && streams::open(&self.store, self.settings.replicas).await.is_ok()
            {
                self.remembered.forget(user);
                return Ok(operation().await);
            }
            Ok(result)
        };
        let result = match self.store.rpc.run(running).await {
            Ok(result) => result,
            Err(failure) => Err(failure.into()),
        };
        if matches!(result, Err(QueueError::Unavailable(_))) {
            self.remembered.forget(user);
        }
        result
    }
}

#[async_trait]
impl Queue for NatsQueue {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        if batch.is_empty() {
            return Ok(Stored { seqs: Vec::new() });
        }
        let largest = batch.iter().map(|entry| entry.data.len()).max().unwrap_or(0);
        let limit = self.store.max_message();
        if largest > limit {
            return Err(QueueError::TooBig { bytes: largest, limit });
        }
        if batch.len() as u64 > MAX_ENTRIES {
            return Err(QueueError::Full);
        }
        let user = User::of(uid)?;
        let stored = self.run(&user, || self.append(&user, batch, admit)).await;
        let no_room = |source: &tok_core::error::BoxError| match source.downcast_ref() {
            Some(Failure::BatchTooBig) => true,
            Some(failure) => admit == Admit::WithinLimits && failure.is_out_of_space(),
            None => false,
        };
        match stored {
            Ok(seqs) => Ok(Stored { seqs }),
            Err(QueueError::Unavailable(source)) if no_room(&source) => Err(QueueError::Full),
            Err(error) => Err(error),
        }
    }

    /// Pages have at most 8 MiB and 256 batches, whatever the limit.
    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        let user = User::of(uid)?;
        self.run(&user, || async { Ok(self.page(&user, after, limit).await?) }).await
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        let user = User::of(uid)?;
        self.run(&user, || self.confirm(&user, upto, fence)).await
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        let user = User::of(uid)?;
        let count = || async {
            let state = State::read(&self.store, &user).await?;
            Ok(state.count(&self.store, &user).await?)
        };
        self.run(&user, count).await
    }

    /// None: the server removes what expired.
    async fn sweep(&self, _: usize) -> Result<Swept, QueueError> {
        Ok(Swept::default())
    }

    fn caps(&self) -> Caps {
        Caps {
            durable: true,
            shared: true,
            max_messages: self.settings.max_messages,
            max_bytes: self.settings.max_bytes,
            max_message: Some(self.store.max_message()),
        }
    }
}

impl fmt::Debug for NatsQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsQueue").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Whether the server says that a stream is not there: what was asked of it has not been done.
fn is_stream_lost(error: &QueueError) -> bool {
    let QueueError::Unavailable(source) = error else { return false };
    source.downcast_ref().is_some_and(Failure::is_no_stream)
}

/// The entries of a row after `mark`, as many as the limit lets pass, when it is `now` on the server. `follows` says whether
/// there are blocks behind it.
fn fill(row: &Row, mark: Seq, limit: Limit, follows: bool, now: Duration) -> Page {
    let mut page = Page { entries: Vec::new(), more: follows };
    let mut bytes = 0_usize;
    let entries = row.blocks.iter().flat_map(|block| block.positions().map(move |entry| (block, entry)));
    for (block, (seq, entry)) in entries.skip_while(|(_, (seq, _))| *seq <= mark) {
        bytes = bytes.saturating_add(entry.cost());
        // The first always fits.
        if !page.entries.is_empty() && (page.entries.len() >= limit.messages || bytes > limit.bytes) {
            page.more = true;
            break;
        }
        page.entries.push((seq, block.at(entry, now)));
    }
    page
}

fn server(url: &str) -> Result<ServerAddr, ()> {
    let server: ServerAddr = url.parse().map_err(|_| ())?;
    if server.host().is_empty() { Err(()) } else { Ok(server) }
}

fn cost(batch: &[Entry]) -> u64 {
    batch.iter().map(|entry| entry.cost() as u64).sum()
}

/// Seconds until the last of a batch has expired, at least one, which is the server's least; `None` if one never does.
fn ttl(batch: &[Entry]) -> Option<u64> {
    let longest = batch
        .iter()
        .map(|entry| entry.ttl)
        .try_fold(Duration::ZERO, |longest, ttl| Some(ttl?.max(longest)))?;
    let seconds = longest.as_secs().saturating_add(u64::from(longest.subsec_nanos() > 0)).max(1);
    (seconds <= LONGEST_TTL).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tok_core::{MessageId, MessageKind};

    use super::*;

    #[test]
    fn a_batch_lives_as_long_as_its_last_entry() {
        let entry = |millis: Option<u64>| Entry {
            id: MessageId::from_u128(1),
            kind: MessageKind::Text,
            data: Bytes::new(),
            ttl: millis.map(Duration::from_millis),
        };
        assert_eq!(ttl(&[entry(None)]), None);
        assert_eq!(ttl(&[entry(Some(1)), entry(None)]), None);
        assert_eq!(ttl(&[entry(Some(1)), entry(Some(0))]), Some(1));
        assert_eq!(ttl(&[entry(Some(1000))]), Some(1));
        assert_eq!(ttl(&[entry(Some(3_600_001)), entry(Some(1))]), Some(3601));
        assert_eq!(ttl(&[Entry { ttl: Some(Duration::MAX), ..entry(None) }]), None);
    }
}
