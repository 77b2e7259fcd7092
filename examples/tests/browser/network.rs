//! The chat's server, and a network before it that can be cut.

use std::net::{Ipv4Addr, SocketAddr};

use examples::chat::{self, Config};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};

/// Starts a chat that lives as long as the test, and says where its page is.
pub(crate) async fn chat() -> SocketAddr {
    let (ready, addresses) = oneshot::channel();
    let config = Config { web: "127.0.0.1:0".into(), tcp: "127.0.0.1:0".into() };
    tokio::spawn(async move {
        let ready = |addresses| ready.send(addresses).unwrap();
        chat::run(config, ready, std::future::pending()).await.map_err(|error| error.to_string())
    });
    addresses.await.expect("the chat starts").web
}

/// Passes on what comes, both ways, until it is cut: then every connection breaks, and no new one is made.
pub(crate) struct Network {
    addr: SocketAddr,
    is_cut: watch::Sender<bool>,
}

impl Network {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (is_cut, watched) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut is_cut = watched.clone();
                let pass = async move {
                    let mut server = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut client, &mut server).await
                };
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        _ = is_cut.wait_for(|is_cut| *is_cut) => {}
                        _ = pass => {}
                    }
                });
            }
        });
        Self { addr, is_cut }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}
