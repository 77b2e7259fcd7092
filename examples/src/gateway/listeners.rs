//! The listening sockets on a runtime.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::select_all;
use tok_core::transport::{Accept, PeerAddr};

/// Listeners of one runtime.
#[derive(Debug)]
pub(super) struct Listeners<T, U> {
    pub(super) ws: Option<Together<T>>,
    pub(super) tcp: Option<Together<T>>,
    pub(super) unix: Option<U>,
    pub(super) metrics: Option<Together<T>>,
}

/// Several listeners as one: the addresses of one name.
#[derive(Debug)]
pub(super) struct Together<T> {
    first: T,
    others: Vec<T>,
    turn: AtomicUsize,
}

impl<T> Together<T> {
    /// What `make` makes of the sockets; `None` if there are none.
    pub(super) fn new<S>(
        sockets: impl IntoIterator<Item = S>,
        make: impl Fn(S) -> io::Result<T>,
    ) -> io::Result<Option<Self>> {
        let mut listeners = sockets.into_iter().map(make);
        let Some(first) = listeners.next().transpose()? else { return Ok(None) };
        Ok(Some(Self { first, others: listeners.collect::<Result<_, _>>()?, turn: AtomicUsize::new(0) }))
    }
}

impl<T: Accept> Accept for Together<T> {
    type Stream = T::Stream;

    async fn accept(&self) -> io::Result<(Self::Stream, PeerAddr)> {
        if self.others.is_empty() {
            return self.first.accept().await;
        }
        let mut all: Vec<&T> = std::iter::once(&self.first).chain(&self.others).collect();
        // Each is asked first in turn, so that none waits for another that always has a connection.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % all.len();
        all.rotate_left(turn);
        select_all(all.into_iter().map(|listener| Box::pin(listener.accept()))).await.0
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener as StdListener;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn connections_to_each_address_are_accepted() {
        let sockets: Vec<_> = (0..3).map(|_| StdListener::bind("127.0.0.1:0").unwrap()).collect();
        let addrs: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let make = |socket: StdListener| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        };
        let listeners = Together::new(sockets, make).unwrap().unwrap();
        // The first always has a connection.
        let mut flood = Vec::new();
        for _ in 0..20 {
            flood.push(TcpStream::connect(addrs[0]).await.unwrap());
        }
        for addr in &addrs[1..] {
            let client = TcpStream::connect(addr).await.unwrap();
            let from = PeerAddr::Ip(client.local_addr().unwrap());
            let mut accepted = Vec::new();
            while accepted.last() != Some(&from) {
                accepted.push(listeners.accept().await.unwrap().1);
                assert!(accepted.len() <= addrs.len(), "it waits for others");
            }
        }
        assert!(Together::new(Vec::<StdListener>::new(), make).unwrap().is_none());
    }
}
