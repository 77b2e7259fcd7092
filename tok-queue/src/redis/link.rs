//! The connection: made when it is needed, replaced when it fails, shared by all operations.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind, aio::MultiplexedConnection,
};
use tok_core::{error::BoxError, queue::QueueError};
use tokio::{sync::Semaphore, time::Instant};

use crate::connect::{ConnectError, version};

/// Streams, and scripts with flags, which say that they free memory.
const OLDEST: ((u64, u64), &str) = ((7, 0), "7.0");

/// A connection that operations at the same time share: the client sends them in one pipeline. The client's own
/// `ConnectionManager` is not used: it keeps a connection on which answers time out, waits for a server that is down
/// beyond any timeout, and tells those who ask next the error of an attempt that is over.
pub(super) struct Link {
    client: Client,
    timeout: Duration,
    max_in_flight: usize,
    in_flight: Semaphore,
    current: Mutex<Attempt>,
}

/// The connection or the way to it, which whoever needs it takes part in.
struct Attempt {
    number: u64,
    connecting: Shared<BoxFuture<'static, Result<Connection, Arc<ConnectError>>>>,
}

#[derive(Clone)]
struct Connection {
    redis: MultiplexedConnection,
    /// The server's clock, in microseconds since the Unix epoch, and when that was.
    clock: (u64, Instant),
}

/// What an operation runs with.
pub(super) struct Request {
    pub(super) redis: MultiplexedConnection,
    /// When the caller stops waiting, by the server's clock, in microseconds since the Unix epoch.
    pub(super) deadline: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("{max} operations, the most at a time, have waited for answers all through {} s", .timeout.as_secs_f64())]
    Busy { max: usize, timeout: Duration },
    #[error("the server's answer cannot be understood")]
    Answer(#[source] BoxError),
}

impl From<Failure> for QueueError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(Box::new(failure))
    }
}

impl Failure {
    /// Whether the server has no memory left.
    pub(super) fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Redis(error) if error.code() == Some("OOM"))
    }
}

impl Link {
    /// Connects, to know that it can.
    pub(super) async fn open(
        client: Client,
        timeout: Duration,
        max_in_flight: usize,
    ) -> Result<Self, ConnectError> {
        let connecting = connecting(client.clone(), timeout);
        let link = Self {
            client,
            timeout,
            max_in_flight,
            in_flight: Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)),
            current: Mutex::new(Attempt { number: 0, connecting: connecting.clone() }),
        };
        match connecting.await {
            Ok(_) => Ok(link),
            Err(error) => {
                // The attempt in the link is the other owner.
                drop(link);
                Err(Arc::try_unwrap(error)
                    .unwrap_or_else(|shared| ConnectError::Unreachable(Box::new(shared))))
            }
        }
    }

    /// Runs an operation within the timeout. One that is dropped or late may still take effect on the server.
    pub(super) async fn run<T, F>(&self, operation: impl FnOnce(Request) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let started = Instant::now();
        let mut used = None;
        let running = async {
            // It is never closed.
            let Ok(_permit) = self.in_flight.acquire().await else { return Err(self.busy()) };
            let (number, connecting) = {
                let current = self.current();
                (current.number, current.connecting.clone())
            };
            used = Some(number);
            let Connection { redis, clock: (server, at) } = connecting.await.map_err(Failure::Connect)?;
            // From when the server's clock was read, which is before the operation began unless it had to connect.
            let since = started.saturating_duration_since(at).saturating_add(self.timeout);
            let left = since.saturating_sub(at.saturating_duration_since(started));
            let deadline = server.saturating_add(u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
            Ok(operation(Request { redis, deadline }).await?)
        };
        let result = tokio::time::timeout(self.timeout, running).await;
        let result = match (result, used) {
            (Ok(result), _) => result,
            (Err(_), Some(_)) => Err(Failure::Silent(self.timeout)),
            (Err(_), None) => Err(self.busy()),
        };
        if let (Err(failure), Some(number)) = (&result, used)
            && ends_connection(failure)
        {
            self.replace(number);
        }
        result
    }

    fn busy(&self) -> Failure {
        Failure::Busy { max: self.max_in_flight, timeout: self.timeout }
    }

    fn current(&self) -> MutexGuard<'_, Attempt> {
        // Nothing panics while it is held.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a new attempt in the place of this one, unless another operation has done so already.
    fn replace(&self, number: u64) {
        let mut current = self.current();
        if current.number == number {
            *current =
                Attempt { number: number + 1, connecting: connecting(self.client.clone(), self.timeout) };
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own text would name the server with its user.
        f.debug_struct("Link").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Whether another connection could do better: this one is broken or silent, or the server is no longer the one to ask.
fn ends_connection(failure: &Failure) -> bool {
    match failure {
        Failure::Connect(_) | Failure::Silent(_) => true,
        Failure::Redis(error) => {
            let server = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown].map(ErrorKind::Server);
            // LATE: the clock is not the one that was asked at the start.
            error.is_io_error()
                || error.is_unrecoverable_error()
                || server.contains(&error.kind())
                || error.code() == Some("LATE")
        }
        Failure::Busy { .. } | Failure::Answer(_) => false,
    }
}

fn connecting(
    client: Client,
    timeout: Duration,
) -> Shared<BoxFuture<'static, Result<Connection, Arc<ConnectError>>>> {
    let attempt = async move {
        let unreachable = |error: BoxError| ConnectError::Unreachable(error);
        tokio::time::timeout(timeout, connect(&client))
            .await
            .unwrap_or_else(|_| Err(unreachable(Box::new(Failure::Silent(timeout)))))
    };
    attempt.map(|result| result.map_err(Arc::new)).boxed().shared()
}

async fn connect(client: &Client) -> Result<Connection, ConnectError> {
    let unreachable = |error: RedisError| ConnectError::Unreachable(Box::new(error));
    // Each operation has a timeout of its own, which covers both.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let redis = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut redis = redis.map_err(unreachable)?;
    let mut asked = redis::pipe();
    asked.cmd("INFO").arg("server").cmd("INFO").arg("memory").cmd("TIME");
    let (server, memory, time): (String, String, (u64, u64)) =
        asked.query_async(&mut redis).await.map_err(unreachable)?;
    let now = Instant::now();
    check_version(info(&server, "redis_version"))?;
    check_eviction(info(&memory, "maxmemory"), info(&memory, "maxmemory_policy"))?;
    Ok(Connection { redis, clock: (time.0.saturating_mul(1_000_000).saturating_add(time.1), now) })
}

/// A field of what `INFO` answers.
fn info<'a>(text: &'a str, field: &str) -> &'a str {
    let mut values = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| *name == field);
    values.next().map_or("", |(_, value)| value.trim())
}

fn check_version(found: &str) -> Result<(), ConnectError> {
    let (oldest, needed) = OLDEST;
    if version(found).is_some_and(|version| version >= oldest) {
        return Ok(());
    }
    let found = if found.is_empty() { "unknown".to_owned() } else { found.to_owned() };
    Err(ConnectError::TooOld { found, needed })
}

/// A server that throws away any key when memory is short would lose messages without a word.
fn check_eviction(max_memory: &str, policy: &str) -> Result<(), ConnectError> {
    if max_memory == "0" || !policy.starts_with("allkeys") {
        return Ok(());
    }
    Err(ConnectError::Unsuitable {
        setting: "maxmemory-policy".to_owned(),
        found: policy.to_owned(),
        rule: "must be noeviction, or messages are lost when memory is short".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        for (found, ok) in
            [("6.2.14", false), ("7.0.0", true), ("7.0.15", true), ("10.0.1", true), ("", false)]
        {
            assert_eq!(check_version(found).is_ok(), ok, "{found}");
        }
        let error = check_version("6.2.14").unwrap_err().to_string();
        assert_eq!(error, "the server is version 6.2.14, but 7.0 or later is needed");
    }

    #[test]
    fn info_is_read() {
        let text = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n";
        assert_eq!(info(text, "redis_version"), "7.2.4");
        assert_eq!(info(text, "version"), "");
    }

    #[test]
    fn a_server_that_evicts_is_refused() {
        for (max_memory, policy, ok) in [
            ("0", "allkeys-lru", true),
            ("1000", "noeviction", true),
            ("1000", "volatile-lru", true),
            ("1000", "allkeys-lru", false),
            ("1000", "allkeys-random", false),
        ] {
            assert_eq!(check_eviction(max_memory, policy).is_ok(), ok, "{max_memory} {policy}");
        }
    }
}
