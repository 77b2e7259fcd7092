//! The connection for commands: made when it is needed, replaced when it fails, shared by all operations.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, Weak,
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
use tok_core::error::{BoxError, ConnectError};
use tokio::time::Instant;

use super::server::{self, Sections};
use crate::{BusError, RegistryError, sync::Mutex};

/// A connection that operations at the same time share: the client sends them in one pipeline. The client's own
/// `ConnectionManager` is not used: it keeps a connection on which answers time out, waits for a server that is down
/// beyond any timeout, and tells those who ask next the error of an attempt that is over.
pub(super) struct Link {
    client: Client,
    timeout: Duration,
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
    /// When the driver stops waiting, by the server's clock, in microseconds since the Unix epoch.
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
    #[error("the server's answer cannot be understood")]
    Answer(#[source] BoxError),
    #[error("the connection on which messages come was closed")]
    Lost,
    #[error("what is published on this connection is not heard on that of the subscription")]
    Apart,
}

impl From<Failure> for RegistryError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(Box::new(failure))
    }
}

impl From<Arc<Failure>> for BusError {
    fn from(failure: Arc<Failure>) -> Self {
        match &*failure {
            Failure::Silent(_) => Self::Timeout,
            Failure::Lost => Self::Disconnected,
            Failure::Connect(error) if matches!(**error, ConnectError::Unreachable(_)) => Self::Disconnected,
            Failure::Redis(error) if error.is_io_error() || error.is_unrecoverable_error() => {
                Self::Disconnected
            }
            _ => Self::Other(Box::new(failure)),
        }
    }
}

impl Failure {
    /// The server found the time up, by its clock, and did nothing.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Redis(error) if error.code() == Some("LATE"))
    }
}

impl Link {
    /// Connects, to know that it can.
    pub(super) async fn open(client: Client, timeout: Duration) -> Result<Self, ConnectError> {
        let connecting = connecting(client.clone(), timeout);
        let current = Mutex::new(Attempt { number: 0, connecting: connecting.clone() });
        let link = Self { client, timeout, current };
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

    /// Where it connects to, for a connection of another kind.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs an operation within the timeout. One that is dropped or late may still take effect on the server.
    pub(super) async fn run<T, F>(&self, operation: impl FnOnce(Request) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let run = tokio::time::timeout(self.timeout, self.start(operation));
        run.await.unwrap_or(Err(Failure::Silent(self.timeout)))
    }

    /// As [`run`](Self::run), but it is the caller who sets a limit, by dropping the future.
    pub(super) async fn start<T, F>(&self, operation: impl FnOnce(Request) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let (number, connecting) = self.current();
        let mut waiting = Waiting { link: self, number, since: Instant::now(), answered: None, ended: false };
        let result = match connecting.await {
            Err(error) => Err(Failure::Connect(error)),
            Ok(Connection { redis, clock: (server, at), answered, .. }) => {
                waiting.answered = Some((answered.load(Ordering::Relaxed), Arc::clone(&answered)));
                let since = waiting.since;
                let left = self.timeout.saturating_sub(at.saturating_duration_since(since));
                let left = left.saturating_add(since.saturating_duration_since(at));
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

    /// Publishes a message. Gives how many subscriptions the server has passed it on to.
    pub(super) async fn publish(&self, channel: String, message: Vec<u8>) -> Result<u64, Failure> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(message);
        self.start(async move |mut request| command.query_async(&mut request.redis).await).await
    }

    /// The next operation connects anew, for which there is a reason that operations do not see.
    pub(super) fn reset(&self) {
        let number = self.current.lock().number;
        self.replace(number);
    }

    fn current(&self) -> (u64, Connecting) {
        let mut current = self.current.lock();
        let made = current.connecting.peek().and_then(|made| made.as_ref().ok());
        // What would be sent on it could only fail.
        if made.is_some_and(|connection| connection.open.strong_count() == 0) {
            self.renew(&mut current);
        }
        (current.number, current.connecting.clone())
    }

    /// Puts a new attempt in the place of this one, unless somebody has done so already.
    fn replace(&self, number: u64) {
        let mut current = self.current.lock();
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

/// An operation under way. Whoever gives up on it does so by dropping it: a connection on which nothing was answered for
/// long is not to be trusted any more then.
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
        if self.ended
            || self.answered.as_ref().is_some_and(progress)
            || self.since.elapsed() < self.link.timeout / 2
        {
            return;
        }
        self.link.replace(self.number);
    }
}

/// Whether another connection could do better: this one is broken or silent, or the server is no longer the one to ask.
fn ends_connection(failure: &Failure) -> bool {
    match failure {
        Failure::Connect(_) | Failure::Silent(_) | Failure::Lost | Failure::Apart => true,
        Failure::Redis(error) => {
            let server = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown].map(ErrorKind::Server);
            // Late: the clock is not the one that was asked at the start.
            error.is_io_error()
                || error.is_unrecoverable_error()
                || server.contains(&error.kind())
                || failure.is_late()
        }
        Failure::Answer(_) => false,
    }
}

fn connecting(client: Client, timeout: Duration) -> Connecting {
    let attempt = async move {
        let silent = |_| Err(ConnectError::Unreachable(Box::new(Failure::Silent(timeout))));
        tokio::time::timeout(timeout, connect(&client)).await.unwrap_or_else(silent)
    };
    attempt.map(|result| result.map_err(Arc::new)).boxed().shared()
}

async fn connect(client: &Client) -> Result<Connection, ConnectError> {
    let unreachable = |error: RedisError| ConnectError::Unreachable(Box::new(error));
    let token = Arc::new(());
    let open = Arc::downgrade(&token);
    // The client holds this for as long as the connection lasts; nothing is pushed on it.
    let config = config().set_push_sender(move |_: PushInfo| {
        let _token = &token;
        Ok::<_, Infallible>(())
    });
    let redis = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut redis = redis.map_err(unreachable)?;
    let mut asked = redis::pipe();
    for section in ["server", "memory", "replication", "cluster"] {
        asked.cmd("INFO").arg(section);
    }
    asked.cmd("TIME");
    let (server, memory, replication, cluster, time): (String, String, String, String, (u64, u64)) =
        asked.query_async(&mut redis).await.map_err(unreachable)?;
    let now = Instant::now();
    let sections =
        Sections { server: &server, memory: &memory, replication: &replication, cluster: &cluster };
    server::check(sections)?;
    let clock = (time.0.saturating_mul(1_000_000).saturating_add(time.1), now);
    Ok(Connection { redis, open, clock, answered: Arc::default() })
}

/// Without timeouts of the client's own: each operation has one that covers all of it.
pub(super) fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}
