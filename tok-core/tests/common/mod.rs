//! What the tests of the hub share. Time stands still while anything can run (tokio's paused clock).

// Each test file uses a part of this; std's mutex, because tok-core's own is not public.
#![allow(dead_code, unused_imports, clippy::disallowed_types, unreachable_pub)]

mod moody;
mod spied;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tok_core::{
    Actor, CloseReason, Device, Hub, HubBuilder, Message, Session, Transport, async_trait,
    queue::Caps,
    rt::{self, BoxFuture, Instant, Runtime},
    testkit::{MemoryPeer, Read, memory_pair, queue::ReferenceQueue},
};
use tokio::{sync::Semaphore, task::JoinHandle};

pub use self::{moody::Moody, spied::Spied};

/// A TTL that no test outlives.
pub const LONG: Duration = Duration::from_secs(3600);

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Tokio, with a wall clock that jumps by hours at every look, forward and back: nothing may depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Clock;

impl Runtime for Clock {
    fn now(&self) -> Instant {
        rt::Tokio.now()
    }

    fn unix_time(&self) -> u64 {
        static LOOKS: AtomicU64 = AtomicU64::new(0);
        let look = LOOKS.fetch_add(1, Ordering::Relaxed);
        2_000_000_000_000 + (look * 7 % 24) * 3_600_000
    }

    fn random(&self) -> u64 {
        rt::Tokio.random()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        rt::Tokio.sleep_until(deadline)
    }

    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        rt::Tokio.spawn(name, future);
    }
}

/// Runs everything else until it waits. Paused time moves only when nothing else can.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await; // sleep: the clock is paused
}

pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await; // sleep: the clock is paused
}

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|other| *other == line).count()
    }
}

/// An actor that is a closure.
pub struct Act<F>(pub F);

#[async_trait]
impl<F, Fut> Actor for Act<F>
where
    F: Fn(Session, Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    async fn on_receive(&self, session: &Session, message: Message) {
        self.0(session.clone(), message).await;
    }
}

/// Answers each message on its own connection.
pub struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

/// Notes each message as `UID/DEVICE TEXT`.
pub struct Noting(pub Journal);

#[async_trait]
impl Actor for Noting {
    async fn on_receive(&self, session: &Session, message: Message) {
        let device = session.device();
        self.0.note(format!("{}/{} {}", device.uid(), device.id(), message.as_text().unwrap_or("?")));
    }
}

/// Holds each message of users whose uid begins with `held` until a permit is there, and answers it afterwards.
#[derive(Clone)]
pub struct Holding {
    pub gate: Arc<Semaphore>,
    pub journal: Journal,
}

impl Holding {
    pub fn new() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), journal: Journal::default() }
    }

    pub fn release(&self, messages: usize) {
        self.gate.add_permits(messages);
    }
}

#[async_trait]
impl Actor for Holding {
    async fn on_receive(&self, session: &Session, message: Message) {
        let text = message.as_text().unwrap_or("?").to_owned();
        self.journal.note(format!("begin {text}"));
        if session.device().uid().as_str().starts_with("held") {
            self.gate.acquire().await.unwrap().forget();
        }
        self.journal.note(format!("end {text}"));
        let _ = session.send(message);
    }
}

pub fn builder() -> HubBuilder {
    builder_of(Echo)
}

pub fn builder_of(actor: impl Actor) -> HubBuilder {
    Hub::builder(actor).runtime(Clock)
}

/// With a queue in memory.
pub fn keeping() -> HubBuilder {
    builder().queue(tok_queue::MemoryQueue::default())
}

pub fn durable() -> ReferenceQueue {
    ReferenceQueue::with_caps(Caps {
        durable: true,
        shared: false,
        max_messages: 1000,
        max_bytes: 8 * 1024 * 1024,
        max_message: None,
    })
}

/// A client and the session that serves it.
#[derive(Debug)]
pub struct Client {
    pub peer: MemoryPeer,
    pub session: JoinHandle<CloseReason>,
}

/// A connection buffers so many bytes between the server and the client, unless a test says otherwise.
pub const BUFFER: usize = 64 * 1024;

/// Logs in, and waits until the login has taken effect.
pub async fn login(hub: &Hub, uid: &str) -> Client {
    login_with(hub, Device::new(uid), BUFFER).await
}

pub async fn login_as(hub: &Hub, uid: &str, device: &str) -> Client {
    login_with(hub, Device::new(uid).with_id(device), BUFFER).await
}

pub async fn login_with(hub: &Hub, device: Device, buffer: usize) -> Client {
    let (transport, peer) = memory_pair(buffer, true);
    login_over(hub, device, transport, peer).await
}

pub async fn login_over(hub: &Hub, device: Device, transport: impl Transport, peer: MemoryPeer) -> Client {
    let session = tokio::spawn(hub.serve(device, transport));
    settle().await;
    Client { peer, session }
}

impl Client {
    pub fn send(&self, text: &str) {
        self.peer.send(text);
    }

    /// The next message.
    pub async fn text(&mut self) -> String {
        text(self.peer.recv().await)
    }

    pub async fn expect(&mut self, texts: impl IntoIterator<Item = impl AsRef<str>>) {
        for text in texts {
            assert_eq!(self.text().await, text.as_ref());
        }
    }

    /// Everything that is there, once nothing else can come. The stack answers what it is asked meanwhile.
    pub async fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        // A barrier or a ping alone is no message, and what is behind it may come only when it is read.
        let mut nothing = 0;
        while nothing < 3 {
            settle().await;
            match self.peer.try_recv() {
                None => nothing += 1,
                Some(Read::Message(message)) => {
                    nothing = 0;
                    all.push(message.as_text().unwrap().to_owned());
                }
                Some(other) => {
                    all.push(format!("{other:?}"));
                    break;
                }
            }
        }
        all
    }

    /// Reads the close, which has to be next, and closes too; gives the session's reason, which has to be the same.
    pub async fn closed(mut self) -> CloseReason {
        let read = self.peer.recv().await;
        let Read::Close(reason) = read else { panic!("expected the close, got {read:?}") };
        self.peer.close();
        assert_eq!(self.session.await.unwrap(), reason);
        reason
    }

    pub async fn leave(self) {
        self.peer.close();
        assert_eq!(self.session.await.unwrap(), CloseReason::PeerClosed);
    }

    /// The connection breaks: what the client has not read is lost.
    pub async fn reset(self) {
        self.peer.reset();
        assert_eq!(self.session.await.unwrap(), CloseReason::Disconnected);
    }
}

pub fn text(read: Read) -> String {
    match read {
        Read::Message(message) => message.as_text().unwrap().to_owned(),
        other => panic!("expected a message, got {other:?}"),
    }
}

/// Keeps a message for a long time.
pub async fn keep(hub: &Hub, uid: &str, text: &str) -> tok_core::Receipt {
    hub.send(uid, text).ttl(LONG).await.unwrap()
}

/// Numbers as the texts of messages.
pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// The output of a future that is ready at once.
pub fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
