//! One connection: requests and their answers over one subscription, and whether the server is there.
//!
//! The client's own `request` is not used: it keeps an entry for each request that is never answered
//! (<https://github.com/nats-io/nats.rs/issues/1617>), and lets requests wait for their timeout when the connection is
//! already lost.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use async_nats::{Client, Event, HeaderMap, Message, ServerAddr, Subject, Subscriber, connection::State};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{Either, select},
};
use tok_core::error::BoxError;
use tokio::{
    sync::{oneshot, watch},
    task::AbortHandle,
};

use super::{failure::Failure, url};
use crate::{
    collections::{HashMap, hash_map},
    sync::Mutex,
};

/// A server that answers two of these no more is gone.
const PING: Duration = Duration::from_secs(5);

/// What waits for the client to write it. The client sends it also when it had lost the connection meanwhile, so it
/// should not be much.
const COMMANDS: usize = 256;

/// Messages that may wait for a subscription's task. It only hands them on; beyond, the client drops them.
const BACKLOG: usize = 16_384;

/// Answered by a server for a subject that nobody listens to.
const NO_RESPONDERS: u16 = 503;

pub(super) struct Link {
    client: Client,
    inbox: Mutex<Inbox>,
    waiting: Arc<Waiting>,
    connection: watch::Receiver<Connection>,
}

/// Whether the server is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) up: bool,
    /// How often it was connected to.
    pub(super) number: u64,
}

/// Where answers go. Its subscription ends with it.
struct Inbox {
    subject: Arc<str>,
    reader: AbortHandle,
}

/// Requests without an answer.
struct Waiting(Mutex<Table>);

struct Table {
    last: u64,
    calls: HashMap<u64, oneshot::Sender<Message>>,
}

/// Takes a request out of the table, however its caller ends.
struct Registered<'a> {
    number: u64,
    waiting: &'a Waiting,
}

impl Link {
    pub(super) async fn connect(servers: Vec<ServerAddr>, timeout: Duration) -> Result<Self, BoxError> {
        let waiting = Arc::new(Waiting(Mutex::new(Table { last: 0, calls: hash_map(0) })));
        let lost = Arc::clone(&waiting);
        let (tell, mut connection) = watch::channel(Connection::default());
        let client = url::options(&servers)
            .name("tok-cluster")
            .connection_timeout(timeout)
            .ping_interval(PING)
            .client_capacity(COMMANDS)
            .subscription_capacity(BACKLOG)
            .reconnect_delay_callback(|attempts| Duration::from_millis(50 << attempts.min(5)))
            .event_callback(move |event| {
                match event {
                    Event::Connected => tell.send_modify(|now| {
                        *now = Connection { up: true, number: now.number + 1 };
                    }),
                    Event::Disconnected | Event::Closed => {
                        tell.send_modify(|now| now.up = false);
                        lost.give_up();
                    }
                    _ => {}
                }
                async {}
            })
            .connect(servers)
            .await?;
        let inbox = Inbox::subscribe(&client, &waiting).await?;
        // It is told a moment after the fact; later ones are new connections.
        tokio::time::timeout(timeout, connection.wait_for(|now| now.number > 0)).await??;
        Ok(Self { client, inbox: Mutex::new(inbox), waiting, connection })
    }

    pub(super) fn version(&self) -> String {
        self.client.server_info().version
    }

    /// Bytes of a message that the server takes, headers included.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Tells of changes from now on.
    pub(super) fn connection(&self) -> watch::Receiver<Connection> {
        let mut connection = self.connection.clone();
        connection.mark_unchanged();
        connection
    }

    /// Which connection it is: another number is another one.
    pub(super) fn number(&self) -> u64 {
        self.connection.borrow().number
    }

    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber, Failure> {
        self.client.subscribe(subject).await.map_err(|error| Failure::Client(error.into()))
    }

    /// Listens for answers anew. Whoever waits for one that was sent to the old place waits in vain.
    pub(super) async fn renew_inbox(&self) -> Result<(), Failure> {
        let inbox = Inbox::subscribe(&self.client, &self.waiting).await.map_err(Failure::Client)?;
        *self.inbox.lock() = inbox;
        Ok(())
    }

    /// A request and its answer, if there ever is one: its time is the caller's to limit.
    pub(super) async fn ask(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, Failure> {
        let (done, mut answered) = oneshot::channel();
        let registered = self.waiting.register(done);
        // The client would keep it until it is connected again.
        if !self.is_up() {
            return Err(Failure::Disconnected);
        }
        let inbox = Arc::clone(&self.inbox.lock().subject);
        let (to, reply) = (subject.clone(), format!("{inbox}.{}", registered.number));
        let send = pin!(async {
            match headers {
                Some(headers) => {
                    self.client.publish_with_reply_and_headers(to, reply, headers, payload).await
                }
                None => self.client.publish_with_reply(to, reply, payload).await,
            }
        });
        // What the client has no room for fails with the connection, and is not sent over the next.
        match select(send, &mut answered).await {
            Either::Left((sent, _)) => sent.map_err(|error| Failure::Client(error.into()))?,
            Either::Right(_) => return Err(Failure::Disconnected),
        }
        let answer = answered.await.map_err(|_| Failure::Disconnected)?;
        if answer.status.is_some_and(|status| u16::from(status) == NO_RESPONDERS) {
            return Err(Failure::NoResponders(subject));
        }
        Ok(answer)
    }

    /// Hands a message to the client, and waits if it has much to write.
    pub(super) async fn tell(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), Failure> {
        if !self.is_up() {
            return Err(Failure::Disconnected);
        }
        let sent = match headers {
            Some(headers) => self.client.publish_with_headers(subject, headers, payload).await,
            None => self.client.publish(subject, payload).await,
        };
        sent.map_err(|error| Failure::Client(error.into()))
    }

    /// Hands an answer to the client, and waits if it has much to write. One that does not fit is lost.
    pub(super) async fn answer(&self, to: Subject, payload: Bytes) {
        let _ = self.client.publish(to, payload).await;
    }

    #[cfg(test)]
    pub(super) fn unanswered(&self) -> usize {
        self.waiting.0.lock().calls.len()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("connection", &*self.connection.borrow()).finish_non_exhaustive()
    }
}

impl Inbox {
    async fn subscribe(client: &Client, waiting: &Arc<Waiting>) -> Result<Self, BoxError> {
        let subject = client.new_inbox();
        let mut answers = client.subscribe(format!("{subject}.*")).await?;
        let waiting = Arc::clone(waiting);
        let reader = tokio::spawn(async move {
            while let Some(message) = answers.next().await {
                waiting.answer(message);
            }
        });
        Ok(Self { subject: subject.into(), reader: reader.abort_handle() })
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Waiting {
    fn register(&self, done: oneshot::Sender<Message>) -> Registered<'_> {
        let mut table = self.0.lock();
        table.last = table.last.wrapping_add(1);
        let number = table.last;
        table.calls.insert(number, done);
        Registered { number, waiting: self }
    }

    fn answer(&self, message: Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        // An answer that comes too late has nobody.
        let done = number.and_then(|number: u64| self.0.lock().calls.remove(&number));
        if let Some(done) = done {
            let _ = done.send(message);
        }
    }

    /// Tells all who wait that no answer will come.
    fn give_up(&self) {
        let calls = std::mem::replace(&mut self.0.lock().calls, hash_map(0));
        drop(calls);
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.waiting.0.lock().calls.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use brokers::NatsServer;
    use futures_util::{FutureExt, future::join_all};

    use super::*;

    async fn connect(server: &NatsServer) -> Link {
        Link::connect(vec![server.url().parse().unwrap()], Duration::from_secs(60)).await.unwrap()
    }

    #[tokio::test]
    async fn ten_thousand_requests_without_an_answer_leave_nothing() {
        let server = NatsServer::start().unwrap();
        let link = connect(&server).await;
        // Somebody listens and says nothing.
        let _listening = link.subscribe("void".to_owned()).await.unwrap();
        let ask = || link.ask("void".to_owned(), None, Bytes::new());
        let limit = Duration::from_millis(200);
        let unanswered = (0..10_000).map(|_| tokio::time::timeout(limit, ask()));
        assert!(join_all(unanswered).await.iter().all(Result::is_err));
        assert_eq!(link.unanswered(), 0);

        // Dropped before their answer.
        for _ in 0..10 {
            let mut call = Box::pin(ask());
            assert!((&mut call).now_or_never().is_none());
        }
        assert_eq!(link.unanswered(), 0);
    }

    #[tokio::test]
    async fn nobody_to_answer_and_a_lost_connection_are_told_at_once() {
        let mut server = NatsServer::start().unwrap();
        let link = connect(&server).await;
        let nobody = link.ask("nobody".to_owned(), None, Bytes::new()).await;
        assert!(matches!(nobody, Err(Failure::NoResponders(subject)) if subject == "nobody"));

        let _listening = link.subscribe("void".to_owned()).await.unwrap();
        let mut waiting = Box::pin(link.ask("void".to_owned(), None, Bytes::new()));
        assert!((&mut waiting).now_or_never().is_none());
        server.kill().unwrap();
        assert!(matches!(waiting.await, Err(Failure::Disconnected)));
        assert!(matches!(link.ask("void".to_owned(), None, Bytes::new()).await, Err(Failure::Disconnected)));
        assert_eq!(link.unanswered(), 0);
    }

    #[tokio::test]
    async fn a_renewed_inbox_takes_the_place_of_the_one_before() {
        let server = NatsServer::start().unwrap();
        let link = connect(&server).await;
        let before = Arc::clone(&link.inbox.lock().subject);
        link.renew_inbox().await.unwrap();
        assert_ne!(before, link.inbox.lock().subject);
        let nobody = link.ask("nobody".to_owned(), None, Bytes::new()).await;
        assert!(matches!(nobody, Err(Failure::NoResponders(_))));
        let old = link.ask(format!("{before}.1"), None, Bytes::new()).await;
        assert!(matches!(old, Err(Failure::NoResponders(_))), "the old one is gone");
    }
}
