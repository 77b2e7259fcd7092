use std::{fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use tok_core::{
    Authenticate, CloseReason, Device, Hub, Message, Refusal, Transport,
    rt::{BoxFuture, Instant, Runtime},
    transport::{Accept, ByteStream, Outgoing, PeerAddr, TransportError, listen},
};

use crate::{Login, TcpTransport, frame::FRAMING};

/// How long a refused peer has to read the refusal and close.
const LINGER: Duration = Duration::from_secs(1);

/// Logs connections in and hands them to a hub. Cloning is cheap; one server may serve many listeners.
///
/// From accept to the end of authentication a connection has the hub's auth timeout; then it is closed. A refused login
/// gets one frame `!error REASON` and a close in good order, for which the peer has a second. Where the login says
/// `confirm=1`, the transport [confirms](TcpTransport#confirmation).
///
/// ```
/// use tok_core::Hub;
/// use tok_tcp::{Login, Server};
/// use tokio::net::TcpListener;
///
/// async fn run(hub: Hub) -> std::io::Result<()> {
///     let server = Server::new(hub, |login: Login| async move { login.device() }).max_login(1024);
///     server.serve(TcpListener::bind("127.0.0.1:4000").await?).await;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Server {
    hub: Hub,
    authenticator: Arc<dyn Authenticate<Login>>,
    max_login: usize,
    max_handshakes: usize,
}

impl Server {
    /// A server of `hub` that lets `authenticator` decide who a connection is.
    #[must_use]
    pub fn new(hub: Hub, authenticator: impl Authenticate<Login>) -> Self {
        Self { hub, authenticator: Arc::new(authenticator), max_login: 4096, max_handshakes: 1024 }
    }

    /// The longest first frame, in bytes. 4096 by default.
    #[must_use]
    pub fn max_login(mut self, bytes: usize) -> Self {
        self.max_login = bytes;
        self
    }

    /// How many logins may be under way at a time on one listener; further connections wait in the operating system's
    /// backlog. 1024 by default, at least 1.
    #[must_use]
    pub fn max_handshakes(mut self, logins: usize) -> Self {
        self.max_handshakes = logins;
        self
    }

    /// Accepts and serves connections for as long as the future is polled. Dropping it closes the listener; sessions
    /// live on in tasks of the hub's runtime.
    pub async fn serve<L: Accept>(self, listener: L) {
        let runtime = Arc::clone(self.hub.runtime());
        let max_handshakes = self.max_handshakes;
        let write_timeout = self.hub.write_timeout();
        listen(runtime, listener, max_handshakes, write_timeout, move |stream, peer, handshake| {
            let login = self.log_in(stream, peer);
            let hub = self.hub.clone();
            Box::pin(async move {
                // Boxed: moving a big future would leave room for it twice in the task.
                // The handshake lasts until a refused peer has been told: connections that linger are bounded too.
                let session = login.await.map(|(device, transport)| Box::pin(hub.serve(device, transport)));
                drop(handshake);
                if let Some(session) = session {
                    session.await;
                }
            })
        })
        .await;
    }

    /// Logs one connection in and serves its session, for streams that no listener accepts: one of a multiplexed
    /// connection, say. Returns why the session ended, `None` when the login failed.
    ///
    /// Dropping the future ends the connection.
    pub async fn serve_stream<S: ByteStream>(&self, stream: S, peer: PeerAddr) -> Option<CloseReason> {
        let (device, transport) = self.log_in(stream, peer).await?;
        Some(self.hub.serve(device, transport).await)
    }

    /// The device and its transport; `None` when the connection is over, refused logins having been told.
    ///
    /// Boxed, so that what only a login needs does not become part of every session's task.
    fn log_in<S: ByteStream>(&self, stream: S, peer: PeerAddr) -> BoxFuture<'static, LoggedIn<S>> {
        let server = self.clone();
        Box::pin(async move {
            let mut transport = TcpTransport::new(stream, server.max_login, false);
            let timeout = server.hub.auth_timeout();
            match server.before(timeout, server.authenticate(&mut transport, peer)).await? {
                Ok((device, confirm)) => {
                    Some((device, transport.logged_in(server.hub.max_message(), confirm)))
                }
                Err(Failed::Refused(refusal)) => {
                    server.before(LINGER, refuse(transport, &refusal)).await;
                    None
                }
                Err(Failed::Gone) => None,
            }
        })
    }

    async fn authenticate<S: ByteStream>(
        &self,
        transport: &mut TcpTransport<S>,
        peer: PeerAddr,
    ) -> Result<(Device, bool), Failed> {
        let frame = poll_fn(|cx| transport.poll_frame(cx)).await?.ok_or(Failed::Gone)?;
        let login = Login::new(frame, peer);
        let confirm = login.confirm();
        let device = self.authenticator.authenticate(login).await?;
        self.hub.admit(&device)?;
        Ok((device, confirm))
    }

    /// The future's output, or `None` if that takes longer than `limit`; zero is no limit.
    async fn before<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        let runtime: &Arc<dyn Runtime> = self.hub.runtime();
        let deadline: Instant = runtime.now().saturating_add(limit);
        let mut timer = (!limit.is_zero()).then(|| runtime.sleep_until(deadline));
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            match &mut timer {
                Some(timer) => timer.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("max_login", &self.max_login)
            .field("max_handshakes", &self.max_handshakes)
            .finish_non_exhaustive()
    }
}

type LoggedIn<S> = Option<(Device, TcpTransport<S>)>;

/// A login that did not succeed.
enum Failed {
    /// The peer is to be told.
    Refused(Refusal),
    /// There is no one to tell.
    Gone,
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<TransportError> for Failed {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::TooBig { limit } => {
                Self::Refused(Refusal::bad_request(format!("the login is over the limit of {limit} bytes")))
            }
            _ => Self::Gone,
        }
    }
}

/// Tells a peer why it is refused, and closes so that no reset can eat the answer.
async fn refuse<S: ByteStream>(mut transport: TcpTransport<S>, refusal: &Refusal) {
    let line = Message::binary(Bytes::from(format!("!error {}", refusal.reason())));
    // An error means that the peer is gone, and there is nobody left to tell.
    let _ = transport.start_send(Outgoing::Frame(FRAMING.encode(&line)));
    let _ = poll_fn(|cx| transport.poll_close(cx)).await;
}
