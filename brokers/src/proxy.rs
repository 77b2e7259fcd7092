use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

/// A way through a [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// What clients say.
    ToServer,
    /// What the server says.
    ToClient,
}

/// A TCP proxy before a server, for faults that a network has.
///
/// ```no_run
/// use brokers::{Direction, NatsServer, Proxy};
///
/// let server = NatsServer::start()?;
/// let proxy = Proxy::start(server.addr())?;
/// println!("clients connect to nats://{}", proxy.addr());
/// proxy.hold(Direction::ToClient); // the server hears them, they do not hear it
/// proxy.heal();
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    state: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    server: SocketAddr,
    cut: bool,
    closed: bool,
    hold_to_server: bool,
    hold_to_client: bool,
    delay: Duration,
    streams: Vec<TcpStream>,
    /// How many connections there have been, and how many of the first are lost.
    connections: usize,
    lost: usize,
}

impl Proxy {
    /// A proxy on a free port of the loopback interface. It stops with this value.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
        let addr = listener.local_addr().context("a listener without an address")?;
        let state = State {
            server,
            cut: false,
            closed: false,
            hold_to_server: false,
            hold_to_client: false,
            delay: Duration::ZERO,
            streams: Vec::new(),
            connections: 0,
            lost: 0,
        };
        let state = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        thread::spawn({
            let state = Arc::clone(&state);
            move || accept(&listener, &state)
        });
        Ok(Self { addr, state })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Keeps back what goes one way, as a lost network does: connections stay open, and what was kept back arrives
    /// when the proxy heals.
    pub fn hold(&self, direction: Direction) {
        match direction {
            Direction::ToServer => self.state.lock().hold_to_server = true,
            Direction::ToClient => self.state.lock().hold_to_client = true,
        }
    }

    /// The connections that there are hear nothing more of the server, also when the proxy heals; they stay open. New ones
    /// are as good as ever: so does a firewall break connections that forgot them.
    pub fn lose(&self) {
        let mut state = self.state.lock();
        state.lost = state.connections;
    }

    /// New connections go to another server, as after a failover to it; those that there are stay where they are.
    pub fn redirect(&self, server: SocketAddr) {
        self.state.lock().server = server;
    }

    /// Lets what goes either way wait this long.
    pub fn delay(&self, delay: Duration) {
        self.state.lock().delay = delay;
    }

    /// Ends every connection, and each new one at once.
    pub fn cut(&self) {
        let mut state = self.state.lock();
        state.cut = true;
        state.end_all();
        drop(state);
        self.state.changed.notify_all();
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        (state.cut, state.hold_to_server, state.hold_to_client) = (false, false, false);
        state.delay = Duration::ZERO;
        drop(state);
        self.state.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.end_all();
        drop(state);
        self.state.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `direction` of a connection is open and says how long its bytes take.
    fn pass(&self, direction: Direction, connection: usize) -> Duration {
        let held = |state: &mut State| {
            !state.closed
                && !state.cut
                && match direction {
                    Direction::ToServer => state.hold_to_server,
                    Direction::ToClient => state.hold_to_client || connection < state.lost,
                }
        };
        self.changed.wait_while(self.lock(), held).unwrap_or_else(PoisonError::into_inner).delay
    }
}

impl State {
    fn end_all(&mut self) {
        for stream in self.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        let (closed, server) = {
            let state = shared.lock();
            (state.closed, state.server)
        };
        if closed {
            return;
        }
        // A server that is down refuses; dropping the client's connection tells it so.
        let Ok(server) = TcpStream::connect(server) else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let connection = {
            let mut state = shared.lock();
            state.connections += 1;
            state.connections - 1
        };
        for (direction, from, to) in
            [(Direction::ToServer, &client, &server), (Direction::ToClient, &server, &client)]
        {
            let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone()) else {
                break;
            };
            let mut state = shared.lock();
            if state.cut || state.closed {
                let _ = kept.shutdown(Shutdown::Both);
            }
            state.streams.push(kept);
            drop(state);
            let shared = Arc::clone(shared);
            thread::spawn(move || pump(&shared, direction, connection, from, to));
        }
    }
}

fn pump(shared: &Shared, direction: Direction, connection: usize, mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let delay = shared.pass(direction, connection);
        if !delay.is_zero() {
            thread::sleep(delay); // sleep: the delay that was asked for
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
