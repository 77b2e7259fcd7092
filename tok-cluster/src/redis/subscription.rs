//! The connection on which a bus listens: made, confirmed, watched, and made again.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tok_core::rt::{Runtime, Tokio};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    bus::Shared,
    link::{self, Failure},
    message::Message,
    state::{Phase, Wish},
};
use crate::{Answer, BusState, Inbound};

/// Between two tries to come back, which double up to the longest. Each is drawn from the upper half, so that nodes which
/// lost the server together do not all return in the same moment.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Listens to what is wished for as long as the bus is there.
pub(super) async fn run(shared: Arc<Shared>) {
    let (mut pause, mut tried, mut told_down) = (FIRST_PAUSE, 0, false);
    loop {
        let state = shared.states.now();
        let (round, wish) = (state.round, state.wish);
        let changed = shared.states.changed(round);
        match wish {
            Wish::End => return,
            Wish::Nothing => {
                shared.states.set(round, Phase::Idle);
                changed.await;
                continue;
            }
            Wish::Answers | Wish::Node(..) => {}
        }
        // Else whoever wished for it waits for it.
        let again = tried == round;
        tried = round;
        let mut changed = pin!(changed);
        let subscribed = match select(pin!(subscribe(&shared, &wish)), &mut changed).await {
            Either::Left((subscribed, _)) => subscribed,
            Either::Right(_) => continue,
        };
        let mut subscription = match subscribed {
            Ok(subscription) => subscription,
            Err(failure) => {
                shared.states.set(round, Phase::Down(Arc::new(failure)));
                select(pin!(rest(&mut pause)), changed).await;
                continue;
            }
        };
        let since = Instant::now();
        shared.table.open();
        shared.states.set(round, Phase::Up);
        if again || told_down {
            subscription.ear.tell(BusState::Gap);
            told_down = false;
        }
        let lost = matches!(select(&mut subscription.ended, &mut changed).await, Either::Left(_));
        subscription.ear.deaf.store(true, Ordering::Relaxed);
        if lost {
            shared.states.set(round, Phase::Down(Arc::new(Failure::Lost)));
        }
        shared.table.close();
        if lost {
            subscription.ear.tell(BusState::Down);
            told_down = true;
            if since.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            } else {
                // The server takes it and drops it again and again.
                select(pin!(rest(&mut pause)), changed).await;
            }
        } else if matches!(shared.states.now().wish, Wish::Nothing) {
            // Others shall find nobody from here on, and not once the server notices that the connection is closed.
            let end = subscription.redis.unsubscribe(subscription.channels.as_slice());
            let _ = tokio::time::timeout(shared.link.timeout(), end).await;
        }
    }
}

async fn rest(pause: &mut Duration) {
    let half = *pause / 2;
    let random = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    *pause = (*pause * 2).min(LONGEST_PAUSE);
    tokio::time::sleep(half + Duration::from_micros(Tokio.random() % random)).await;
}

/// A connection that listens. It is closed when this is dropped.
struct Subscription {
    redis: MultiplexedConnection,
    channels: Vec<String>,
    ear: Arc<Ear>,
    /// Resolves when the connection has ended.
    ended: oneshot::Receiver<Infallible>,
}

/// What hears the messages. The client calls it from the task that reads the connection: while it works nothing more is
/// read, and what the server then cannot send waits there, until it cuts off who is too slow
/// (`client-output-buffer-limit`). A channel between would have to grow or to lose messages.
struct Ear {
    shared: Arc<Shared>,
    inbound: Option<Arc<dyn Inbound>>,
    /// There is a newer wish: what comes in counts no more.
    deaf: AtomicBool,
    echo: u64,
    echoed: Notify,
}

/// Connects, subscribes, and makes sure that what the other connection publishes is heard on this one: both can be
/// connected, and to different servers.
async fn subscribe(shared: &Arc<Shared>, wish: &Wish) -> Result<Subscription, Failure> {
    let limit = shared.link.timeout();
    tokio::time::timeout(limit, try_subscribe(shared, wish)).await.unwrap_or(Err(Failure::Silent(limit)))
}

async fn try_subscribe(shared: &Arc<Shared>, wish: &Wish) -> Result<Subscription, Failure> {
    let mut channels = vec![shared.names.answers(shared.address)];
    let mut inbound = None;
    if let Wish::Node(node, to) = wish {
        channels.extend([shared.names.all(), shared.names.node(node)]);
        inbound = Some(Arc::clone(to));
    }
    let ear = Arc::new(Ear {
        shared: Arc::clone(shared),
        inbound,
        deaf: AtomicBool::new(false),
        echo: Tokio.random(),
        echoed: Notify::new(),
    });
    let (open, ended) = oneshot::channel::<Infallible>();
    let hear = {
        let ear = Arc::clone(&ear);
        move |push: PushInfo| {
            // It goes with the connection's task, whatever ends that.
            let _open = &open;
            ear.hear(push);
            Ok::<_, Infallible>(())
        }
    };
    let config = link::config().set_push_sender(hear);
    let mut redis = shared.link.client().get_multiplexed_async_connection_with_config(&config).await?;
    drop(config);
    redis.subscribe(channels.as_slice()).await?;
    // The last channel is the node's own, if there is a node.
    let own = channels.last().cloned().unwrap_or_default();
    if shared.link.publish(own, Message::Echo { number: ear.echo }.encode()).await? == 0 {
        shared.link.reset();
        return Err(Failure::Apart);
    }
    ear.echoed.notified().await;
    Ok(Subscription { redis, channels, ear, ended })
}

impl Ear {
    fn hear(&self, push: PushInfo) {
        if push.kind != PushKind::Message || self.deaf.load(Ordering::Relaxed) {
            return;
        }
        // The channel stands first: what a message says about itself is enough.
        let Some(Value::BulkString(payload)) = push.data.into_iter().nth(1) else { return };
        match (Message::decode(Bytes::from(payload)), &self.inbound) {
            (Some(Message::Answer { id, frame }), _) => self.shared.table.answer(id, frame),
            (Some(Message::Request { id, address, frame }), Some(inbound)) => {
                let shared = Arc::clone(&self.shared);
                let answer = move |answer| shared.answers.send(address, id, answer);
                inbound.request(frame, Answer::new(answer));
            }
            (Some(Message::Notice { frame }), Some(inbound)) => inbound.notify(frame),
            (Some(Message::Echo { number }), _) if number == self.echo => self.echoed.notify_one(),
            _ => {}
        }
    }

    fn tell(&self, state: BusState) {
        if let Some(inbound) = &self.inbound {
            inbound.state(state);
        }
    }
}
