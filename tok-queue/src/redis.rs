mod builder;
mod keys;
mod link;
mod scripts;
mod server;

use std::{
    collections::BTreeMap,
    fmt, iter,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::future::join_all;
use redis::{Client, ConnectionInfo, FromRedisValue, IntoConnectionInfo, ProtocolVersion, Script};
use tok_core::{
    ConfigError, Epoch, Queue, Uid, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
};

pub use self::builder::RedisQueueBuilder;
use self::{
    keys::{Keys, SHARDS},
    link::{Failure, Link},
    scripts::{SEQ_BYTES, Scripts},
};
use crate::{connect::ConnectError, record};

/// How long the fence and the last position of a user with no entries are remembered. A node that has lost a user can
/// only harm what was stored since if it reads after that, and nodes that lost the cluster notice in seconds.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// Positions are numbers of Lua's, which are exact up to here.
const MAX_SEQ: u64 = (1 << 53) - 1;

/// TTLs are cut to this (142,000 years), so that Lua's numbers hold deadlines.
const LONGEST_TTL: u64 = 1 << 52;

/// The largest message: an argument of a command has 512 MiB at most, unless `proto-max-bulk-len` is set.
const MAX_MESSAGE: usize = (512 << 20) - record::HEADER - SEQ_BYTES;

/// Entries of one page, and of one round of a sweep for each hash tag: what the server does in one step is bounded.
const MAX_PAGE: usize = 10_000;
const MAX_DUE: usize = 64;

/// Keeps messages in Redis (7.0 or later) or Valkey, where every node sees them.
///
/// Each operation is one script, which the server runs as one step, and one round trip; operations at the same time share
/// a connection and its pipeline. It runs on tokio, with its time and network drivers on, and on no other runtime.
///
/// # What survives
/// What the server's own settings promise. With `appendonly yes` and `appendfsync always` an entry is on the server's disk
/// when `enqueue` returns; with `appendfsync everysec`, Redis's default for its append-only file, a crash of the machine
/// loses up to about one second; without `appendonly` everything since the last snapshot. Replication does not wait: a
/// failover can lose what the old primary had just answered. A position is at least the server's time in milliseconds, so
/// that those of lost entries are not given again, also after `FLUSHALL`: unless the clock steps back, or a user had got
/// more than a message a millisecond.
///
/// A server whose `maxmemory-policy` evicts any key is refused; so are a replica and a node of a Redis Cluster. When its memory is used up, `enqueue` fails with
/// [`Full`](QueueError::Full), or [`Unavailable`](QueueError::Unavailable) for what was accepted before.
///
/// A message has at most 512 MiB less 35 bytes ([`Caps::max_message`]). A server whose `proto-max-bulk-len` is set to less
/// ends the connection over a larger one.
///
/// # Time
/// TTLs are measured on the server's clock. The clocks of nodes have no effect. If the server's clock is set forward,
/// entries expire early by as much; if it is set back, late.
///
/// # When the server is away
/// Operations fail with [`Unavailable`](QueueError::Unavailable), at once where the server refuses, else after
/// [`timeout`](RedisQueueBuilder::timeout); the next one connects again. Whether an operation that failed has taken effect
/// is unknown; an `enqueue` that the server has not begun by its deadline never will, so that a message that was sent again
/// is not overtaken by its first try.
///
/// # What it leaves
/// Keys `PREFIX:{N}:list:USER`, `…:meta:USER` and `PREFIX:{N}:due`. A user whose queue is empty keeps a hash of about 150
/// bytes (last position, fence) for 24 hours. [`sweep`](Queue::sweep) removes what expired; nodes may all call it, each
/// entry is returned to one of them. If its answer is lost, so is the report on these entries.
///
/// # Access
/// The URL is `redis://USER:PASSWORD@HOST:PORT/DB`, or `rediss://` with the crate's feature `redis-tls`, which trusts the
/// system's certificates. The server's ACL must allow the keys above and the commands `HELLO`, `INFO`, `TIME`, `EVALSHA`, `SCRIPT
/// LOAD`, `EXISTS`, `PERSIST`, `PEXPIRE`, and those of lists, hashes and sorted sets.
pub struct RedisQueue {
    settings: RedisQueueBuilder,
    scripts: Scripts,
    link: Link,
    /// Where the next sweep starts, so that small budgets reach every hash tag.
    sweep_from: AtomicU64,
}

impl RedisQueue {
    /// A queue on the server of this URL, with the default limits: 1000 messages and 8 MiB a user.
    ///
    /// # Errors
    /// [`ConnectError`]: the URL is wrong, nobody answers there, or the server is too old or would lose messages.
    pub async fn connect(url: impl Into<String>) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// Sets limits and more.
    pub fn builder(url: impl Into<String>) -> RedisQueueBuilder {
        RedisQueueBuilder::new(url.into())
    }

    async fn connect_with(settings: RedisQueueBuilder) -> Result<Self, ConnectError> {
        let client = client(&settings.url)?;
        let link = Link::open(client, settings.timeout, settings.max_in_flight).await?;
        Ok(Self { settings, scripts: Scripts::new(), link, sweep_from: AtomicU64::new(0) })
    }

    fn keys(&self, uid: &Uid) -> Keys {
        Keys::of(&self.settings.prefix, uid)
    }

    /// Runs a script that may be late: it does no harm then.
    async fn invoke<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[Vec<u8>],
    ) -> Result<T, Failure> {
        let mut invocation = script.prepare_invoke();
        invocation.key(keys).arg(args);
        self.link.run(async move |mut request| invocation.invoke_async(&mut request.redis).await).await
    }

    /// Members of the indexes that are due by the server's clock, some of each.
    async fn due(&self) -> Result<Vec<Vec<Vec<u8>>>, Failure> {
        self.link
            .run(async move |mut request| {
                let (seconds, micros): (u64, u64) =
                    redis::cmd("TIME").query_async(&mut request.redis).await?;
                let now = seconds.saturating_mul(1000).saturating_add(micros / 1000);
                let after = [b"(".as_slice(), &now.saturating_add(1).to_be_bytes()].concat();
                let mut asked = redis::pipe();
                for shard in 0..SHARDS {
                    let key = keys::due(&self.settings.prefix, shard);
                    asked.cmd("ZRANGE").arg(key).arg("-").arg(&after).arg("BYLEX");
                    asked.arg("LIMIT").arg(0).arg(MAX_DUE);
                }
                asked.query_async(&mut request.redis).await
            })
            .await
    }

    /// Removes a user's entries that are in the index as these members.
    async fn expire(&self, keys: Keys, members: Vec<Vec<u8>>) -> Result<Vec<(Uid, Entry)>, Failure> {
        let args: Vec<_> = iter::once(memory()).chain(members).collect();
        let items: Vec<Vec<u8>> =
            self.invoke(&self.scripts.expire, &[&keys.list, &keys.meta, &keys.due], &args).await?;
        let Some(uid) = Uid::from_token(&keys.user) else { return Ok(Vec::new()) };
        items.into_iter().map(|item| Ok((uid.clone(), read(item, |_| Duration::ZERO)?.1))).collect()
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        if batch.is_empty() {
            return Ok(Stored { seqs: Vec::new() });
        }
        let largest = batch.iter().map(|entry| entry.data.len()).max().unwrap_or(0);
        if largest > MAX_MESSAGE {
            return Err(QueueError::TooBig { bytes: largest, limit: MAX_MESSAGE });
        }
        let keys = self.keys(uid);
        let within = admit == Admit::WithinLimits;
        let limit = |limit: u64| if within { limit.to_string() } else { "inf".to_owned() };
        let bytes: u64 = batch.iter().map(|entry| entry.cost() as u64).sum();
        let mut invocation = self.scripts.append.prepare_invoke();
        invocation.key(&keys.list).key(&keys.meta).key(&keys.due);
        let mut args = vec![
            limit(self.settings.max_messages),
            limit(self.settings.max_bytes),
            bytes.to_string(),
            keys.user,
        ];
        // The script puts the deadline in the place of the TTL.
        let ttl = |entry: &Entry| entry.ttl.map(|ttl| record::millis_up(ttl).min(LONGEST_TTL));
        let records: Vec<_> = batch.iter().map(|entry| record::encode(entry, ttl(entry))).collect();
        let appended = self.link.run(async move |mut request| {
            args.insert(0, request.deadline.to_string());
            invocation.arg(args).arg(records);
            invocation.invoke_async::<u64>(&mut request.redis).await
        });
        match appended.await {
            Ok(0) => Err(QueueError::Full),
            Ok(first) => Ok(Stored { seqs: (first..).take(batch.len()).map(Seq::new).collect() }),
            Err(failure) if within && failure.is_out_of_memory() => Err(QueueError::Full),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Pages have at most 10,000 entries, whatever the limit.
    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        let args = [
            position(after),
            limit.messages.min(MAX_PAGE).to_string().into_bytes(),
            limit.bytes.to_string().into_bytes(),
        ];
        let (more, now, items): (u8, u64, Vec<Vec<u8>>) =
            self.invoke(&self.scripts.page, &[&self.keys(uid).list], &args).await?;
        let left = |deadline: u64| Duration::from_millis(deadline.saturating_sub(now));
        let entries: Result<_, Failure> = items.into_iter().map(|item| read(item, left)).collect();
        Ok(Page { entries: entries?, more: more != 0 })
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        let keys = self.keys(uid);
        let fence = format!("{:020}", fence.get()).into_bytes();
        let args = [position(upto), fence, keys.user.into_bytes(), memory()];
        let answer: Vec<u64> =
            self.invoke(&self.scripts.ack, &[&keys.list, &keys.meta, &keys.due], &args).await?;
        match *answer.as_slice() {
            [messages, bytes] => Ok(QueueSize { messages, bytes }),
            [current] => Err(QueueError::Fenced { current: Epoch::new(current) }),
            _ => {
                Err(Failure::Answer(format!("{} numbers for an acknowledgement", answer.len()).into()).into())
            }
        }
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        let keys = self.keys(uid);
        let mut asked = redis::pipe();
        asked.cmd("LLEN").arg(keys.list).cmd("HGET").arg(keys.meta).arg("bytes");
        let asked = self.link.run(async move |mut request| asked.query_async(&mut request.redis).await);
        let (messages, bytes): (u64, Option<u64>) = asked.await?;
        Ok(QueueSize { messages, bytes: bytes.unwrap_or(0) })
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        let mut swept = Swept::default();
        let mut left = budget;
        let from = self.sweep_from.fetch_add(1, Ordering::Relaxed);
        loop {
            let due = match self.due().await {
                // What was removed must be told.
                Err(_) if !swept.expired.is_empty() => return Ok(Swept { more: true, ..swept }),
                due => due?,
            };
            let full = due.iter().any(|members| members.len() == MAX_DUE);
            let mut users: BTreeMap<(u64, String), Vec<Vec<u8>>> = BTreeMap::new();
            for place in 0..SHARDS {
                let shard = from.wrapping_add(place) % SHARDS;
                // Other members than the time, the position and a user are not of this queue's making.
                for member in
                    due.get(shard as usize).into_iter().flatten().filter(|member| member.len() >= 16)
                {
                    if left == 0 {
                        swept.more = true;
                        break;
                    }
                    left -= 1;
                    let user = String::from_utf8_lossy(&member[16..]).into_owned();
                    users.entry((shard, user)).or_default().push(member.clone());
                }
            }
            let some = !users.is_empty();
            let expiring = users.into_iter().map(|((shard, user), members)| {
                self.expire(Keys::in_shard(&self.settings.prefix, shard, user), members)
            });
            let mut failed = None;
            for expired in join_all(expiring).await {
                match expired {
                    Ok(expired) => swept.expired.extend(expired),
                    Err(failure) => failed = Some(failure),
                }
            }
            match failed {
                Some(_) if !swept.expired.is_empty() => return Ok(Swept { more: true, ..swept }),
                Some(failure) => return Err(failure.into()),
                None if swept.more || !full || !some => return Ok(swept),
                None => {}
            }
        }
    }

    fn caps(&self) -> Caps {
        Caps {
            durable: true,
            shared: true,
            max_messages: self.settings.max_messages,
            max_bytes: self.settings.max_bytes,
            max_message: Some(MAX_MESSAGE),
        }
    }
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisQueue").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn client(url: &str) -> Result<Client, ConnectError> {
    #[cfg(feature = "redis-tls")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been first, which is as good. Without any, rustls panics where two are compiled in.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let invalid = |_| ConfigError::Invalid {
        setting: "url",
        // Not the URL itself, which can hold a password.
        value: "no URL of a Redis server".to_owned(),
        rule: "must be redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// with the feature redis-tls",
    };
    let info: ConnectionInfo = url.into_connection_info().map_err(invalid)?;
    // The link sees the end of a connection by what the client keeps for pushed messages, which are of version 3.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(Client::open(info.set_redis_settings(settings)).map_err(invalid)?)
}

fn position(seq: Seq) -> Vec<u8> {
    seq.get().min(MAX_SEQ).to_string().into_bytes()
}

fn memory() -> Vec<u8> {
    MEMORY.as_millis().to_string().into_bytes()
}

/// An item of a list: a position and a record.
fn read(item: Vec<u8>, left: impl FnOnce(u64) -> Duration) -> Result<(Seq, Entry), Failure> {
    let mut item = Bytes::from(item);
    let Some(seq) = item.first_chunk::<SEQ_BYTES>().copied() else {
        return Err(Failure::Answer("an entry without a position".into()));
    };
    item.advance(SEQ_BYTES);
    let entry = record::decode(&item, left).map_err(|error| Failure::Answer(error.into()))?;
    Ok((Seq::new(u64::from_be_bytes(seq)), entry))
}
