//! What comes in: one task for each node that is open.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use tokio::{
    sync::{mpsc, watch},
    task,
};

use super::link::{Connection, Link};
use crate::{Answer, BusState, Inbound};

/// Marks what a node sends to itself to see that it arrives. With a place to answer to it is answered; without, it says
/// in which connection it was sent.
pub(super) const PROOF: &str = "Tok-Proof";

pub(super) struct Listener {
    pub(super) link: Arc<Link>,
    /// This node's own.
    pub(super) subject: String,
    pub(super) inbound: Arc<dyn Inbound>,
    pub(super) down: Arc<AtomicBool>,
}

enum Input {
    ToMe(Message),
    ToAll(Message),
    Lost,
    Back,
}

/// Answers that may wait until the client takes them. Beyond, the askers' timeouts will tell them.
const ANSWERS: usize = 16_384;

/// Answers the requests of this node, from whatever task.
#[derive(Clone)]
struct Answering {
    link: Arc<Link>,
    later: mpsc::Sender<(Subject, Bytes)>,
}

impl Listener {
    /// It waits for nothing but the next input: answers that the client does not take at once are seen to meanwhile.
    pub(super) async fn run(self, own: Subscriber, all: Subscriber, connection: watch::Receiver<Connection>) {
        let (later, mut waiting) = mpsc::channel(ANSWERS);
        let link = Arc::clone(&self.link);
        let answering = Answering { link: Arc::clone(&link), later };
        let sending = async {
            while let Some((to, answer)) = waiting.recv().await {
                link.answer(to, answer).await;
            }
        };
        future::select(pin!(self.listen(own, all, connection, answering)), pin!(sending)).await;
    }

    async fn listen(
        self,
        own: Subscriber,
        all: Subscriber,
        connection: watch::Receiver<Connection>,
        answering: Answering,
    ) {
        let changes = self.changes(connection);
        let messages = stream::select(own.map(Input::ToMe), all.map(Input::ToAll));
        let mut inputs = pin!(stream::select(messages, changes));
        while let Some(input) = inputs.next().await {
            match input {
                Input::ToMe(message) => self.asked(message, &answering),
                Input::ToAll(message) => self.inbound.notify(copied(&message.payload)),
                Input::Lost => {
                    self.down.store(true, Ordering::Release);
                    self.inbound.state(BusState::Down);
                }
                Input::Back => {}
            }
        }
    }

    fn asked(&self, message: Message, answering: &Answering) {
        let proof = message.headers.as_ref().and_then(|headers| headers.get(PROOF));
        match (proof, message.reply) {
            (None, Some(reply)) => {
                let answering = answering.clone();
                let answer = Answer::new(move |answer| answering.answer(reply, answer));
                self.inbound.request(copied(&message.payload), answer);
            }
            (Some(_), Some(reply)) => answering.answer(reply, Bytes::new()),
            // What is sent to this node arrives again. Whatever came before may not have.
            (Some(number), None) if number.as_str() == self.link.number().to_string() => {
                self.down.store(false, Ordering::Release);
                self.inbound.state(BusState::Gap);
            }
            (_, None) => {}
        }
    }

    /// The connection's changes. When it is back, this node sends itself a proof, which the client writes behind the
    /// subscriptions.
    fn changes(&self, connection: watch::Receiver<Connection>) -> impl Stream<Item = Input> + use<> {
        let start = (Arc::clone(&self.link), self.subject.clone(), connection);
        stream::unfold(start, |(link, subject, mut connection)| async move {
            let before = connection.borrow_and_update().number;
            connection.changed().await.ok()?;
            let now = *connection.borrow();
            if !now.up {
                return Some((Input::Lost, (link, subject, connection)));
            }
            if now.number != before {
                let mut proof = HeaderMap::new();
                proof.insert(PROOF, now.number.to_string());
                // Should it fail, the connection is lost again.
                let _ = link.tell(subject.clone(), Some(proof), Bytes::new()).await;
            }
            Some((Input::Back, (link, subject, connection)))
        })
    }
}

impl Answering {
    fn answer(&self, to: Subject, answer: Bytes) {
        // Without a budget to yield to, what is not ready has no room.
        let sent = task::unconstrained(self.link.answer(to.clone(), answer.clone())).now_or_never();
        if sent.is_none() {
            let _ = self.later.try_send((to, answer));
        }
    }
}

/// The frame in memory of its own: the client's frames are parts of the buffer that it reads into, and a message that
/// waits in a session's outbox would hold all of that.
fn copied(frame: &Bytes) -> Bytes {
    Bytes::copy_from_slice(frame)
}
