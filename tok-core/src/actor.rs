use async_trait::async_trait;

use crate::{Message, Refusal, Session, device::Device};

/// An application's logic: what to do with a message.
///
/// # Contract
/// One session's messages come one after the other, in the order the client sent them; the next comes when the
/// future for this one has ended. Different sessions run at the same time. A handler that takes long holds back its
/// own connection only, which stops reading from its socket when the inbound bound is reached.
///
/// # Cancellation and panics
/// The future runs to its end also when the session ends meanwhile (it is then the session's last), unless the
/// future of [`Hub::serve`](crate::Hub::serve) is dropped or a shutdown's deadline passes. A panic ends the session
/// with [`CloseReason::Panicked`](crate::CloseReason::Panicked) and nothing else; with the feature `tracing` an event of
/// level `ERROR` names the handler or hook and has the panic's text, up to 256 bytes of it.
///
/// ```
/// use tok_core::{Actor, Message, Session, async_trait};
///
/// struct Echo;
///
/// #[async_trait]
/// impl Actor for Echo {
///     async fn on_receive(&self, session: &Session, message: Message) {
///         // To this connection alone; `session.hub().send(..)` would reach every device of the user.
///         let _ = session.send(message);
///     }
/// }
/// ```
#[async_trait]
pub trait Actor: Send + Sync + 'static {
    /// Handles one message of `session`.
    async fn on_receive(&self, session: &Session, message: Message);
}

/// Decides who a new connection is, from what its transport has to show: the request head on WebSocket, the first
/// frame on TCP.
///
/// It is asked before the login is answered, within the authentication timeout; a future that takes longer is
/// dropped. Closures `Fn(C) -> impl Future<Output = Result<Device, Refusal>>` are authenticators.
///
/// ```
/// use tok_core::{Authenticate, Device, Refusal};
///
/// fn authenticator() -> impl Authenticate<String> {
///     |token: String| async move {
///         match token.as_str() {
///             "secret" => Ok(Device::new("alice")),
///             _ => Err(Refusal::unauthorized("bad token")),
///         }
///     }
/// }
/// # let _ = authenticator();
/// ```
#[async_trait]
pub trait Authenticate<C>: Send + Sync + 'static {
    /// The device that `credentials` prove, or a refusal that the client is told.
    async fn authenticate(&self, credentials: C) -> Result<Device, Refusal>;
}

#[async_trait]
impl<C, F, Fut> Authenticate<C> for F
where
    C: Send + 'static,
    F: Fn(C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Device, Refusal>> + Send,
{
    async fn authenticate(&self, credentials: C) -> Result<Device, Refusal> {
        self(credentials).await
    }
}
