//! The options of the TCP sockets that listeners accept, on tokio and on smol, as Linux reports them.
#![cfg(all(feature = "smol", feature = "tokio", target_os = "linux"))]
#![allow(clippy::disallowed_types)] // std's mutex: tok-core's own is not public.

use std::{
    future::poll_fn,
    io::IoSlice,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use socket2::SockRef;
use tok_core::{
    rt::{self, Runtime},
    transport::{Accept, ByteStream, listen},
};

#[derive(Debug)]
struct Options {
    nodelay: bool,
    keepalive: (Duration, Duration, u32),
    not_sent: u32,
    user_timeout: Option<Duration>,
}

impl Options {
    fn of(socket: &SockRef<'_>) -> Self {
        Self {
            nodelay: socket.tcp_nodelay().unwrap(),
            keepalive: (
                socket.tcp_keepalive_time().unwrap(),
                socket.tcp_keepalive_interval().unwrap(),
                socket.tcp_keepalive_retries().unwrap(),
            ),
            not_sent: socket.tcp_notsent_lowat().unwrap(),
            user_timeout: socket.tcp_user_timeout().unwrap(),
        }
    }
}

/// Accepts one connection as a server does whose hub has this write timeout.
async fn accept<A: Accept>(
    runtime: impl Runtime,
    listener: A,
    addr: SocketAddr,
    write_timeout: Duration,
    options: fn(&A::Stream) -> Options,
) -> Options {
    let _client = TcpStream::connect(addr).unwrap();
    let seen = Arc::new(Mutex::new(None));
    let serving = listen(Arc::new(runtime), listener, 1, write_timeout, {
        let seen = Arc::clone(&seen);
        move |stream, _, handshake| {
            *seen.lock().unwrap() = Some(options(&stream));
            Box::pin(async move { drop((stream, handshake)) })
        }
    });
    let mut serving = pin!(serving);
    poll_fn(|cx| {
        assert!(serving.as_mut().poll(cx).is_pending());
        seen.lock().unwrap().take().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn on_tokio<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The options of a connection that is accepted on tokio, and of one on smol.
fn on_each_runtime(write_timeout: Duration) -> [Options; 2] {
    let tokio = on_tokio(async {
        let (listener, addr) = bind();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        accept(rt::Tokio, listener, addr, write_timeout, |stream| {
            let socket: &tokio::net::TcpStream = stream.as_ref();
            Options::of(&SockRef::from(socket))
        })
        .await
    });
    let smol = smol::block_on(async {
        let (listener, addr) = bind();
        let listener = smol::net::TcpListener::try_from(listener).unwrap();
        accept(rt::Smol, listener, addr, write_timeout, |stream| Options::of(&SockRef::from(stream.as_ref())))
            .await
    });
    [tokio, smol]
}

#[test]
fn accepted_connections_are_probed_and_hold_little_unsent() {
    for options in on_each_runtime(Duration::ZERO) {
        assert!(options.nodelay);
        assert_eq!(options.keepalive, (Duration::from_secs(60), Duration::from_secs(15), 8));
        assert_eq!(options.not_sent, 16 * 1024);
    }
}

#[test]
fn the_user_timeout_is_that_of_keep_alive_and_longer_than_the_write_timeout() {
    for (write_timeout, user_timeout) in [(0, None), (1, Some(180)), (60, Some(180)), (600, Some(615))] {
        for options in on_each_runtime(Duration::from_secs(write_timeout)) {
            assert_eq!(options.user_timeout, user_timeout.map(Duration::from_secs), "{write_timeout} s");
        }
    }
}

/// The bytes that are taken for a peer that reads nothing, until there is no more room.
async fn fill(listener: impl Accept, addr: SocketAddr) -> usize {
    let _client = TcpStream::connect(addr).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut taken = 0;
    poll_fn(|cx| {
        // A first poll may be pending until the runtime has seen the socket.
        while let Poll::Ready(count) = stream.poll_write_vectored(cx, &[IoSlice::new(&[0; 4096])]) {
            taken += count.unwrap();
        }
        if taken > 0 { Poll::Ready(taken) } else { Poll::Pending }
    })
    .await
}

#[test]
fn little_is_taken_for_a_peer_that_reads_nothing() {
    let on_tokio = on_tokio(async {
        let (listener, addr) = bind();
        fill(tokio::net::TcpListener::from_std(listener).unwrap(), addr).await
    });
    let on_smol = smol::block_on(async {
        let (listener, addr) = bind();
        fill(smol::net::TcpListener::try_from(listener).unwrap(), addr).await
    });
    for taken in [on_tokio, on_smol] {
        // The peer's window, what the kernel has yet to send, and segments of 64 KiB.
        assert!(taken < 512 * 1024, "{taken} bytes");
    }
}
