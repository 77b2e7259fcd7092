//! Requests and their answers over one subscription.
//!
//! The client's own `request` is not used: it keeps an entry for each request that is never answered
//! (<https://github.com/nats-io/nats.rs/issues/1617>), takes one answer where a batch has many, and lets requests wait
//! for their timeout when the connection is already lost.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, ServerAddr, connection::State};
use bytes::Bytes;
use futures_util::StreamExt;
use tok_core::{InvalidUid, error::BoxError, queue::QueueError};
use tokio::{
    sync::{Semaphore, oneshot},
    task::AbortHandle,
};

/// Answered by a server for a subject that nobody serves.
const NO_RESPONDERS: u16 = 503;

pub(super) struct Rpc {
    client: Client,
    /// Answers come below it.
    inbox: String,
    waiting: Arc<Waiting>,
    timeout: Duration,
    max_in_flight: usize,
    in_flight: Semaphore,
    reader: AbortHandle,
}

/// Requests without an answer.
#[derive(Default)]
struct Waiting(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: u64,
    calls: HashMap<u64, Call>,
}

struct Call {
    answers: Vec<Message>,
    /// Whether the answer is a row of messages that a status ends.
    many: bool,
    done: oneshot::Sender<Vec<Message>>,
}

/// Takes a request out of the table, however its caller ends.
struct Registered<'a> {
    number: u64,
    waiting: &'a Waiting,
}

/// Why there is no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the connection to the server is lost")]
    Disconnected,
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("{max} operations, the most at a time, have waited for answers all through {} s", .timeout.as_secs_f64())]
    Busy { max: usize, timeout: Duration },
    #[error("nobody serves {0}: JetStream is off, or its stream is gone")]
    NoResponders(String),
    #[error("the server refuses it: {description} ({code})")]
    Refused { code: u64, description: String },
    #[error("other nodes have kept changing this user's queue")]
    Contended,
    #[error("the batch does not fit in one message of the server's")]
    BatchTooBig,
    #[error(transparent)]
    Uid(#[from] InvalidUid),
    #[error("the server's answer cannot be understood")]
    Answer(#[source] BoxError),
    #[error("the request cannot be sent")]
    Client(#[source] BoxError),
}

impl From<Failure> for QueueError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(Box::new(failure))
    }
}

impl Rpc {
    pub(super) async fn connect(
        servers: Vec<ServerAddr>,
        timeout: Duration,
        max_in_flight: usize,
    ) -> Result<Self, BoxError> {
        let waiting = Arc::new(Waiting::default());
        let lost = Arc::clone(&waiting);
        let client = options(&servers)
            .name("tok-queue")
            .connection_timeout(timeout)
            // A peer that answers two of these no more is gone.
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|attempts| Duration::from_millis(50 << attempts.min(5)))
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    lost.give_up();
                }
                async {}
            })
            .connect(servers)
            .await?;
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.*")).await?;
        let table = Arc::clone(&waiting);
        let reader = tokio::spawn(async move {
            while let Some(message) = answers.next().await {
                table.answer(message);
            }
        });
        Ok(Self {
            client,
            inbox,
            waiting,
            timeout,
            max_in_flight,
            in_flight: Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)),
            reader: reader.abort_handle(),
        })
    }

    pub(super) fn version(&self) -> String {
        self.client.server_info().version
    }

    /// Bytes of a message that the server takes, headers included.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Runs an operation of any number of requests within the timeout.
    pub(super) async fn run<T>(
        &self,
        operation: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut begun = false;
        let running = async {
            // It is never closed.
            let _permit = self.in_flight.acquire().await.map_err(|_| Failure::Disconnected)?;
            begun = true;
            operation.await
        };
        match tokio::time::timeout(self.timeout, running).await {
            Ok(result) => result,
            Err(_) if begun => Err(Failure::Silent(self.timeout)),
            Err(_) => Err(Failure::Busy { max: self.max_in_flight, timeout: self.timeout }),
        }
    }

    /// A request with one answer.
    pub(super) async fn one(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: impl Into<Bytes>,
    ) -> Result<Message, Failure> {
        let mut answers = self.call(subject.clone(), headers, payload.into(), false).await?;
        match answers.pop() {
            Some(message) if message.status.is_none_or(|status| u16::from(status) != NO_RESPONDERS) => {
                Ok(message)
            }
            _ => Err(Failure::NoResponders(subject)),
        }
    }

    /// A request with any number of answers, of which the last has a status.
    pub(super) async fn many(
        &self,
        subject: String,
        payload: impl Into<Bytes>,
    ) -> Result<Vec<Message>, Failure> {
        let answers = self.call(subject.clone(), HeaderMap::new(), payload.into(), true).await?;
        let status = answers.last().and_then(|last| last.status).map(u16::from);
        if status == Some(NO_RESPONDERS) { Err(Failure::NoResponders(subject)) } else { Ok(answers) }
    }

    async fn call(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        many: bool,
    ) -> Result<Vec<Message>, Failure> {
        let (done, answered) = oneshot::channel();
        let registered = self.waiting.register(Call { answers: Vec::new(), many, done });
        // The client would keep it until it is connected again.
        if self.client.connection_state() != State::Connected {
            return Err(Failure::Disconnected);
        }
        let reply = format!("{}.{}", self.inbox, registered.number);
        let sent = self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await;
        sent.map_err(|error| Failure::Client(error.into()))?;
        answered.await.map_err(|_| Failure::Disconnected)
    }
}

/// The client itself ignores the credentials of a URL.
fn options(servers: &[ServerAddr]) -> ConnectOptions {
    let options = ConnectOptions::new();
    let with = servers.iter().find_map(|server| Some((server.username()?, server.password())));
    match with {
        Some((user, Some(password))) => options.user_and_password(decode(user), decode(password)),
        Some((token, None)) => options.token(decode(token)),
        None => options,
    }
}

/// A part of a URL, in which any byte may be spelled `%` and two hexadecimal digits.
fn decode(part: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = part.as_bytes();
    while let [byte, after @ ..] = rest {
        let spelled = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match spelled.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *byte == b'%') {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

impl Drop for Rpc {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, call: Call) -> Registered<'_> {
        let mut table = self.lock();
        table.last = table.last.wrapping_add(1);
        let number = table.last;
        table.calls.insert(number, call);
        Registered { number, waiting: self }
    }

    fn answer(&self, message: Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let Some(number) = number else { return };
        let mut table = self.lock();
        // An answer that comes too late has nobody.
        let Some(call) = table.calls.get_mut(&number) else { return };
        let goes_on = call.many && message.status.is_none();
        call.answers.push(message);
        if goes_on {
            return;
        }
        if let Some(call) = table.calls.remove(&number) {
            // Whoever asked may have gone.
            let _ = call.done.send(call.answers);
        }
    }

    /// Tells all who wait that no answer will come.
    fn give_up(&self) {
        self.lock().calls.clear();
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.waiting.lock().calls.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use brokers::NatsServer;
    use futures_util::{FutureExt, future::join_all};

    use super::*;

    async fn connect(server: &NatsServer, timeout: Duration) -> Rpc {
        Rpc::connect(vec![server.url().parse().unwrap()], timeout, 10_000).await.unwrap()
    }

    #[test]
    fn parts_of_urls_are_decoded() {
        for (part, expected) in [
            ("plain", "plain"),
            ("a%40b%3a", "a@b:"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%c3%abx", "\u{eb}x"),
        ] {
            assert_eq!(decode(part), expected);
        }
    }

    #[tokio::test]
    async fn requests_without_an_answer_leave_nothing() {
        let server = NatsServer::start().unwrap();
        let rpc = connect(&server, Duration::from_millis(300)).await;
        // Somebody listens and says nothing.
        let _listening = rpc.client.subscribe("void").await.unwrap();
        let unanswered = |_| rpc.run(rpc.one("void".to_owned(), HeaderMap::new(), ""));
        let results = join_all((0..1000).map(unanswered)).await;
        assert!(results.iter().all(|result| matches!(result, Err(Failure::Silent(_)))));
        assert_eq!(rpc.waiting.lock().calls.len(), 0);

        // Dropped before their answer.
        for _ in 0..10 {
            let mut call = Box::pin(rpc.one("void".to_owned(), HeaderMap::new(), ""));
            assert!((&mut call).now_or_never().is_none());
        }
        assert_eq!(rpc.waiting.lock().calls.len(), 0);
    }

    #[tokio::test]
    async fn nobody_to_answer_and_a_lost_connection_are_told_at_once() {
        let mut server = NatsServer::start().unwrap();
        let rpc = connect(&server, Duration::from_secs(3600)).await;
        let nobody = rpc.one("nobody".to_owned(), HeaderMap::new(), "").await;
        assert!(matches!(nobody, Err(Failure::NoResponders(subject)) if subject == "nobody"));

        let _listening = rpc.client.subscribe("void").await.unwrap();
        let mut waiting = Box::pin(rpc.run(rpc.one("void".to_owned(), HeaderMap::new(), "")));
        assert!((&mut waiting).now_or_never().is_none());
        server.kill().unwrap();
        assert!(matches!(waiting.await, Err(Failure::Disconnected)));
        assert!(matches!(
            rpc.run(rpc.one("void".to_owned(), HeaderMap::new(), "")).await,
            Err(Failure::Disconnected)
        ));
        assert_eq!(rpc.waiting.lock().calls.len(), 0);
    }
}
