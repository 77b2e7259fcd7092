use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{SimRuntime, wait::within};
use crate::{
    CloseReason, Message,
    rt::{BoxFuture, Instant, Runtime},
    sync::Mutex,
    testkit::{
        MemoryPeer, MemoryTransport, Read,
        memory::{self, Client, Link, Sent},
        memory_pair,
    },
    transport::Incoming,
};

/// What lies between a server and a simulated client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Network {
    /// Bytes that the server has "written" and the client not read: the kernels' buffers. What is there when a client
    /// vanishes is lost.
    pub buffer: usize,
    /// How long everything is on its way, in either direction.
    pub latency: Duration,
    /// Whether the transport can ask for confirmation.
    pub confirms: bool,
}

impl Default for Network {
    /// 4 KiB, 20 ms, and it can.
    fn default() -> Self {
        Self { buffer: 4096, latency: Duration::from_millis(20), confirms: true }
    }
}

/// A connection whose client and network behave as they do: with latency, slowly, losing what they lose. See also
/// [`memory_pair`], which it is made of.
///
/// ```
/// use std::time::Duration;
/// use tok_core::{
///     Actor, Device, Hub, Message, Session, async_trait,
///     rt::Runtime,
///     testkit::{
///         Read,
///         sim::{Network, Sim, sim_pair},
///     },
/// };
///
/// struct Echo;
///
/// #[async_trait]
/// impl Actor for Echo {
///     async fn on_receive(&self, session: &Session, message: Message) {
///         let _ = session.send(message);
///     }
/// }
///
/// let sim = Sim::new(1);
/// let rt = sim.runtime();
/// let answer = sim.run(async {
///     let hub = Hub::builder(Echo).runtime(rt.clone()).build().unwrap();
///     let network = Network { latency: Duration::from_millis(200), ..Network::default() };
///     let (transport, mut client) = sim_pair(&rt, network);
///     rt.spawn("session", Box::pin(async move { drop(hub.serve(Device::new("ann"), transport).await) }));
///     client.send("hello");
///     assert_eq!(client.recv_within(Duration::from_millis(399)).await, None);
///     client.recv().await
/// });
/// assert_eq!(answer, Ok(Read::Message("hello".into())));
/// ```
#[must_use]
pub fn sim_pair(rt: &SimRuntime, network: Network) -> (MemoryTransport, SimClient) {
    let (transport, peer) = memory_pair(network.buffer, network.confirms);
    let uplink = Arc::new(Uplink { link: peer.link(), state: Mutex::default(), rt: rt.clone() });
    uplink.state.lock().heard = rt.now();
    let client = SimClient {
        peer,
        rt: rt.clone(),
        latency: network.latency,
        uplink,
        arriving: VecDeque::new(),
        timer: None,
        loses_pongs: false,
        last_answer: None,
    };
    (transport, client)
}

/// The client's end of a [`sim_pair`]. Dropping it closes in good order.
pub struct SimClient {
    peer: MemoryPeer,
    rt: SimRuntime,
    latency: Duration,
    uplink: Arc<Uplink>,
    /// On its way to the client, which takes it when it reads.
    arriving: VecDeque<(Instant, Option<Sent>)>,
    timer: Option<BoxFuture<'static, ()>>,
    loses_pongs: bool,
    last_answer: Option<u64>,
}

impl SimClient {
    /// Sends a message to the server.
    pub fn send(&self, message: impl Into<Message>) {
        self.up(Up::Arrives(Incoming::Message(message.into())));
    }

    /// Whether what the client's stack answers to barriers and pings from now on gets lost.
    pub fn lose_pongs(&mut self, lose: bool) {
        self.loses_pongs = lose;
    }

    /// Answers once more what was answered last.
    pub fn repeat_pong(&self) {
        if let Some(number) = self.last_answer {
            self.up(Up::Arrives(Incoming::Barrier(number)));
        }
    }

    /// Answers a barrier, asked or not.
    pub fn answer(&self, number: u64) {
        self.up(Up::Arrives(Incoming::Barrier(number)));
    }

    /// Reads the next message or the end. Barriers and pings on the way are answered and not shown.
    ///
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Read {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for at most so long.
    pub async fn recv_within(&mut self, limit: Duration) -> Option<Read> {
        let rt = self.rt.clone();
        within(&rt, limit, self.recv()).await
    }

    /// Closes in good order, behind what was sent.
    pub fn close(&mut self) {
        self.arriving.clear();
        self.up(Up::Leaves(Client::Closed));
    }

    /// Resets the connection: the server learns at once, and what is on its way is lost.
    pub fn reset(&mut self) {
        self.arriving.clear();
        self.peer.reset();
    }

    /// Vanishes without a word: the server learns nothing, and what is on its way, either way, is lost.
    pub fn vanish(&mut self) {
        self.arriving.clear();
        self.peer.vanish();
    }

    /// What the checker knows a connection by.
    pub(super) fn uplink(&self) -> Arc<Uplink> {
        Arc::clone(&self.uplink)
    }

    fn up(&self, up: Up) {
        Uplink::send(&self.uplink, self.latency, up);
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        loop {
            // What is in the buffer sets out.
            while let Poll::Ready(sent) = self.peer.poll_next(cx) {
                let last = sent.is_none();
                self.arriving.push_back((self.rt.now().saturating_add(self.latency), sent));
                if last {
                    break;
                }
            }
            let Some((at, _)) = self.arriving.front() else { return Poll::Pending };
            if *at > self.rt.now() {
                let timer = self.timer.get_or_insert_with(|| self.rt.sleep_until(*at));
                ready!(timer.as_mut().poll(cx));
                self.timer = None;
                continue;
            }
            self.timer = None;
            match self.arriving.pop_front().and_then(|(_, sent)| sent) {
                None => return Poll::Ready(Read::End),
                Some(Sent::Message(message)) => return Poll::Ready(Read::Message(message)),
                Some(Sent::Close(reason)) => return Poll::Ready(self.told(reason)),
                Some(Sent::Barrier(number)) => {
                    self.last_answer = Some(number);
                    self.pong(Incoming::Barrier(number));
                }
                Some(Sent::Ping) => self.pong(Incoming::Alive),
            }
        }
    }

    /// A client that is told of the end closes too.
    fn told(&self, reason: CloseReason) -> Read {
        self.up(Up::Leaves(Client::Closed));
        Read::Close(reason)
    }

    fn pong(&self, pong: Incoming) {
        if !self.loses_pongs {
            self.up(Up::Arrives(pong));
        }
    }
}

impl fmt::Debug for SimClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimClient").field("latency", &self.latency).finish_non_exhaustive()
    }
}

/// The way from a client to the server: first in, first out.
pub(super) struct Uplink {
    link: Arc<Mutex<Link>>,
    rt: SimRuntime,
    state: Mutex<UplinkState>,
}

#[derive(Default)]
struct UplinkState {
    under_way: VecDeque<(Instant, Up)>,
    carrying: bool,
    /// When something of the client's arrived last.
    heard: Instant,
}

enum Up {
    Arrives(Incoming),
    Leaves(Client),
}

impl Uplink {
    pub(super) fn heard(&self) -> Instant {
        self.state.lock().heard
    }

    /// The most bytes that the server's end ever held for want of room.
    pub(super) fn most_unwritten(&self) -> u64 {
        memory::most_unwritten(&self.link)
    }

    fn send(self: &Arc<Self>, latency: Duration, up: Up) {
        let at = self.rt.now().saturating_add(latency);
        {
            let mut state = self.state.lock();
            if !latency.is_zero() || state.carrying {
                state.under_way.push_back((at, up));
                if !std::mem::replace(&mut state.carrying, true) {
                    self.rt.spawn("network", Box::pin(Arc::clone(self).carry()));
                }
                return;
            }
        }
        self.arrive(up);
    }

    async fn carry(self: Arc<Self>) {
        loop {
            let at = {
                let mut state = self.state.lock();
                let Some((at, _)) = state.under_way.front() else {
                    state.carrying = false;
                    return;
                };
                *at
            };
            self.rt.sleep_until(at).await;
            let next = self.state.lock().under_way.pop_front();
            if let Some((_, up)) = next {
                self.arrive(up);
            }
        }
    }

    fn arrive(&self, up: Up) {
        match up {
            Up::Arrives(incoming) => {
                self.state.lock().heard = self.rt.now();
                memory::push(&self.link, incoming);
            }
            Up::Leaves(how) => memory::leave(&self.link, how),
        }
    }
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uplink")
    }
}
