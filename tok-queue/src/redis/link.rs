//! The connection: made when it is needed, replaced when it fails, shared by all operations.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, PushInfo, RedisError, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tok_core::{error::BoxError, queue::QueueError};
use tokio::{sync::Semaphore, time::Instant};

use super::server;
use crate::connect::ConnectError;

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
    connecting: Connecting,
}

type Connecting = Shared<BoxFuture<'static, Result<Connection, Arc<ConnectError>>>>;

#[derive(Clone)]
struct Connection {
    redis: MultiplexedConnection,
    /// Gone when the connection has ended.
    open: Weak<()>,
    /// The server's clock, in microseconds since the Unix epoch, and when that was.
    clock: (u64, Instant),
    /// Operations that were answered.
    answered: Arc<AtomicU64>,
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
        let since = Instant::now();
        let mut begun = false;
        let running = async {
            // It is never closed.
            let Ok(_permit) = self.in_flight.acquire().await else { return Err(self.busy()) };
            begun = true;
            self.perform(since, operation).await
        };
        let result = tokio::time::timeout(self.timeout, running).await;
        match result {
            Ok(result) => result,
            Err(_) if begun => Err(Failure::Silent(self.timeout)),
            Err(_) => Err(self.busy()),
        }
    }

    /// Runs an operation that its caller may drop.
    async fn perform<T, F>(&self, since: Instant, operation: impl FnOnce(Request) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let (number, connecting) = self.usable();
        let mut waiting = Waiting { link: self, number, since, answered: None, ended: false };
        let result = match connecting.await {
            Err(error) => Err(Failure::Connect(error)),
            Ok(Connection { redis, clock: (server, at), answered, .. }) => {
                waiting.answered = Some((answered.load(Ordering::Relaxed), Arc::clone(&answered)));
                // From when the server's clock was read, which is before the operation began unless it had to connect.
                let left = since.saturating_duration_since(at).saturating_add(self.timeout);
                let left = left.saturating_sub(at.saturating_duration_since(since));
                let deadline = server.saturating_add(u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
                let result = operation(Request { redis, deadline }).await;
                answered.fetch_add(1, Ordering::Relaxed);
                result.map_err(Failure::Redis)
            }
        };
        waiting.ended = true;
        if result.as_ref().is_err_and(ends_connection) {
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

    /// The connection, or a new one if it has ended: what would be sent on it could only fail.
    fn usable(&self) -> (u64, Connecting) {
        let mut current = self.current();
        let made = current.connecting.peek().and_then(|made| made.as_ref().ok());
        if made.is_some_and(|connection| connection.open.strong_count() == 0) {
            self.renew(&mut current);
        }
        (current.number, current.connecting.clone())
    }

    /// Puts a new attempt in the place of this one, unless another operation has done so already.
    fn replace(&self, number: u64) {
        let mut current = self.current();
        if current.number == number {
            self.renew(&mut current);
        }
    }

    fn renew(&self, current: &mut Attempt) {
        let connecting = connecting(self.client.clone(), self.timeout);
        *current = Attempt { number: current.number + 1, connecting };
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own text would name the server with its user.
        f.debug_struct("Link").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// An operation under way. Whoever gives up on it drops it: a connection on which nothing was answered for half of the
/// timeout is replaced then.
struct Waiting<'a> {
    link: &'a Link,
    number: u64,
    since: Instant,
    /// How many operations had been answered when this one was sent.
    answered: Option<(u64, Arc<AtomicU64>)>,
    ended: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let progress = |(before, now): &(u64, Arc<AtomicU64>)| now.load(Ordering::Relaxed) != *before;
        let is_alive = self.answered.as_ref().is_some_and(progress);
        if !self.ended && !is_alive && self.since.elapsed() >= self.link.timeout / 2 {
            self.link.replace(self.number);
        }
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

fn connecting(client: Client, timeout: Duration) -> Connecting {
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
    let token = Arc::new(());
    let open = Arc::downgrade(&token);
    // Each operation has a timeout of its own, which covers both. The client holds the function for as long as the
    // connection lasts; nothing is pushed on it.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let config = config.set_push_sender(move |_: PushInfo| {
        let _token = &token;
        Ok::<_, Infallible>(())
    });
    let redis = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut redis = redis.map_err(unreachable)?;
    let mut asked = redis::pipe();
    for section in server::SECTIONS {
        asked.cmd("INFO").arg(section);
    }
    asked.cmd("TIME");
    let (server, memory, replication, cluster, time): (String, String, String, String, (u64, u64)) =
        asked.query_async(&mut redis).await.map_err(unreachable)?;
    let now = Instant::now();
    server::check([&server, &memory, &replication, &cluster])?;
    let clock = (time.0.saturating_mul(1_000_000).saturating_add(time.1), now);
    Ok(Connection { redis, open, clock, answered: Arc::default() })
}

#[cfg(test)]
mod tests {
    use brokers::{Proxy, RedisServer};

    use super::*;

    /// A server that was restarted while nothing was asked of it costs no operation.
    #[tokio::test]
    async fn a_connection_that_has_ended_is_not_used() {
        let server = RedisServer::start().unwrap();
        let proxy = Proxy::start(server.addr()).unwrap();
        let client = crate::redis::client(&format!("redis://{}", proxy.addr())).unwrap();
        let link = Link::open(client, Duration::from_secs(60), 10).await.unwrap();
        let ping =
            || link.run(async move |mut request| redis::cmd("PING").query_async(&mut request.redis).await);
        let pong: String = ping().await.unwrap();
        assert_eq!(pong, "PONG");
        let connecting = link.current().connecting.clone();
        proxy.cut();
        proxy.heal();
        let open = connecting.await.map(|connection| connection.open).unwrap();
        let ended = async {
            while open.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await; // sleep: between two looks
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the client sees the end");
        let pong: Result<String, _> = ping().await;
        assert!(pong.is_ok(), "{pong:?}");
    }
}
