use std::{io, time::Duration};

use tok_core::transport::{Accept, PeerAddr};

use crate::{TlsConfig, TlsStream};

/// A listener whose connections speak TLS, around any other.
///
/// Accepting waits for no handshake: a connection shakes hands when it is read first, which is part of its login. So the
/// hub's auth timeout covers both, and the server's `max_handshakes` bounds how many are under way.
///
/// ```no_run
/// use tok_core::Hub;
/// use tok_tcp::{Login, Server};
/// use tok_tls::{TlsConfig, TlsListener};
/// use tokio::net::TcpListener;
///
/// async fn run(hub: Hub, config: TlsConfig) -> std::io::Result<()> {
///     let server = Server::new(hub, |login: Login| async move { login.device() });
///     server.serve(TlsListener::new(TcpListener::bind("127.0.0.1:4001").await?, config)).await;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct TlsListener<A> {
    listener: A,
    config: TlsConfig,
}

impl<A: Accept> TlsListener<A> {
    /// TLS on the connections of `listener`.
    #[must_use]
    pub fn new(listener: A, config: impl Into<TlsConfig>) -> Self {
        Self { listener, config: config.into() }
    }
}

impl<A: Accept> Accept for TlsListener<A> {
    type Stream = TlsStream<A::Stream>;

    async fn accept(&self) -> io::Result<(Self::Stream, PeerAddr)> {
        let (stream, addr) = self.listener.accept().await?;
        Ok((TlsStream::new(stream, &self.config)?, addr))
    }

    fn set_user_timeout(&self, stream: &Self::Stream, timeout: Duration) {
        self.listener.set_user_timeout(stream.get_ref(), timeout);
    }
}
