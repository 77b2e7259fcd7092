//! What simulations have found about epochs: logins that take effect late, and acknowledgements that are refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tok_core::{
    Actor, CloseReason, Device, Epoch, Hub, Message, Queue, Session, Sso, Uid, async_trait,
    queue::{Caps, Seq},
    relay::{Audience, Claim, Delivery, Node, Relay, RelayError, Target},
    rt::Runtime,
    testkit::{
        MemoryPeer, MemoryRelay, Read, memory_pair,
        queue::ReferenceQueue,
        sim::{Sim, SimRuntime},
    },
};

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

/// Gives epochs in order, and the first answer late.
struct Late {
    rt: SimRuntime,
    by: Duration,
    claims: AtomicU64,
}

#[async_trait]
impl Relay for Late {
    fn start(&self, _: Node) -> Result<(), RelayError> {
        Ok(())
    }
    async fn claim(&self, claim: &Claim) -> Result<Epoch, RelayError> {
        self.claims.fetch_max(claim.above.get(), Ordering::SeqCst);
        let epoch = self.claims.fetch_add(1, Ordering::SeqCst) + 1;
        if epoch == 1 {
            self.rt.sleep(self.by).await;
        }
        Ok(Epoch::new(epoch))
    }
    async fn release(&self, _: &Uid, _: Epoch) -> Result<(), RelayError> {
        Ok(())
    }
    async fn deliver(&self, _: &Uid, _: &Delivery) -> Result<usize, RelayError> {
        Ok(0)
    }
    async fn publish(&self, _: &Audience, _: &Message) -> Result<(), RelayError> {
        Ok(())
    }
    async fn kick(&self, _: &Uid, _: &Target, _: CloseReason) -> Result<usize, RelayError> {
        Ok(0)
    }
    async fn is_online(&self, _: &Uid) -> Result<bool, RelayError> {
        Ok(false)
    }
    async fn users_online(&self) -> Result<usize, RelayError> {
        Ok(0)
    }
    async fn online(&self) -> Result<Vec<Uid>, RelayError> {
        Ok(Vec::new())
    }
}

const CAPS: Caps =
    Caps { durable: false, shared: true, max_messages: 1000, max_bytes: 1 << 20, max_message: None };
const SECOND: Duration = Duration::from_secs(1);

struct Alone {
    rt: SimRuntime,
    hub: Hub,
    queue: Arc<ReferenceQueue>,
}

impl Alone {
    /// The only node, whose first login takes so long.
    fn new(sim: &Sim, by: Duration) -> Self {
        Self::with(sim, by, Sso::PerDevice)
    }

    fn with(sim: &Sim, by: Duration, sso: Sso) -> Self {
        let rt = sim.runtime();
        let queue = Arc::new(ReferenceQueue::with_caps(CAPS));
        let relay = Late { rt: rt.clone(), by, claims: AtomicU64::new(0) };
        let hub = Hub::builder(Echo).runtime(rt.clone()).relay(relay).queue(Arc::clone(&queue));
        let hub = hub.sso(sso).build().unwrap();
        Self { rt, hub, queue }
    }

    fn connect(&self) -> MemoryPeer {
        let (transport, peer) = memory_pair(64 * 1024, true);
        let session = self.hub.serve(Device::new("ann"), transport);
        let session = async move {
            session.await;
        };
        self.rt.spawn("session", Box::pin(session));
        peer
    }
}

/// It had lost its place in the cluster's order, took it all the same, and nobody else knew of it.
#[test]
fn an_older_login_does_not_take_effect_after_a_newer_one_came_and_went() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let ended = sim.run(async {
            let node = Alone::new(&sim, 3 * SECOND);
            let mut older = node.connect();
            node.rt.sleep(SECOND).await;
            let mut newer = node.connect();
            newer.send("there?");
            assert_eq!(newer.recv().await, Read::Message("there?".into()));
            newer.close();
            older.recv().await
        });
        assert_eq!(ended, Ok(Read::Close(CloseReason::Sso)), "seed {seed}");
    }
}

/// The hub took it for done, and what its client had confirmed stayed in the queue and came again elsewhere.
#[test]
fn an_acknowledgement_that_was_fenced_is_made_up_for_at_the_next_login() {
    let sim = Sim::new(1);
    let left = sim.run(async {
        let node = Alone::new(&sim, Duration::ZERO);
        let uid = Uid::from("ann");
        let mut first = node.connect();
        first.send("there?");
        assert_eq!(first.recv().await, Read::Message("there?".into()));
        // Another device of hers logged in elsewhere.
        node.queue.ack(&uid, Seq::START, Epoch::new(2)).await.unwrap();
        node.hub.send("ann", "kept").ttl(60 * SECOND).await.unwrap();
        assert_eq!(first.recv().await, Read::Message("kept".into()));
        assert!(first.try_recv().is_none(), "the probe behind it is answered");
        node.rt.sleep(SECOND).await;
        assert_eq!(node.queue.size(&uid).await.unwrap().messages, 1, "not under this epoch");
        // The third login of the cluster is here.
        let _second = node.connect();
        node.rt.sleep(SECOND).await;
        let mut third = node.connect();
        third.send("there?");
        assert_eq!(third.recv().await, Read::Message("there?".into()));
        node.rt.sleep(SECOND).await;
        node.queue.size(&uid).await.unwrap().messages
    });
    assert_eq!(left, Ok(0));
}

/// From then on nothing that the device here confirmed left the queue, until that was full and took no more.
#[test]
fn a_device_that_came_and_went_elsewhere_does_not_fill_the_queue_of_the_one_here() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let left = sim.run(async {
            let rt = sim.runtime();
            let queue = Arc::new(ReferenceQueue::with_caps(Caps { max_messages: 20, ..CAPS }));
            let hubs: Vec<Hub> = MemoryRelay::cluster(2)
                .into_iter()
                .map(|relay| {
                    let hub = Hub::builder(Echo).runtime(rt.clone()).relay(relay).queue(Arc::clone(&queue));
                    hub.sso(Sso::PerDevice).build().unwrap()
                })
                .collect();
            let login = async |node: usize, id: &str| {
                let (transport, mut peer) = memory_pair(64 * 1024, true);
                let session = hubs[node].serve(Device::new("ann").with_id(id), transport);
                let session = async move {
                    session.await;
                };
                rt.spawn("session", Box::pin(session));
                peer.send("there?");
                assert_eq!(peer.recv().await, Read::Message("there?".into()));
                peer
            };
            let mut desk = login(0, "desk").await;
            let phone = login(1, "phone").await;
            phone.close();
            rt.sleep(SECOND).await;
            for n in 0..60 {
                hubs[0].send("ann", n.to_string()).ttl(600 * SECOND).await.unwrap();
                assert_eq!(desk.recv().await, Read::Message(n.to_string().into()));
                // The probe behind it is answered.
                assert_eq!(desk.try_recv(), None);
                rt.sleep(SECOND).await;
            }
            rt.sleep(10 * SECOND).await;
            queue.size(&Uid::from("ann")).await.unwrap().messages
        });
        assert_eq!(left, Ok(0), "seed {seed}");
    }
}

/// The registry lost its data and gives lower epochs than the queue remembers.
async fn confirms_above_a_lost_registry(node: Alone) -> u64 {
    let uid = Uid::from("ann");
    node.queue.ack(&uid, Seq::START, Epoch::new(1000)).await.unwrap();
    let mut peer = node.connect();
    for n in 0..10 {
        node.hub.send("ann", n.to_string()).ttl(600 * SECOND).await.unwrap();
        node.rt.sleep(3 * SECOND).await;
        loop {
            match peer.try_recv() {
                // As a client does: it logs in again.
                Some(Read::Close(CloseReason::Unavailable)) => peer = node.connect(),
                Some(Read::Message(_)) => {}
                Some(other) => panic!("{other:?}"),
                None => break,
            }
        }
    }
    node.rt.sleep(10 * SECOND).await;
    while peer.try_recv().is_some() {}
    node.rt.sleep(10 * SECOND).await;
    node.queue.size(&uid).await.unwrap().messages
}

#[test]
fn confirmed_messages_leave_the_queue_after_the_registry_lost_its_epochs() {
    for sso in [|| Sso::PerUser, || Sso::PerDevice] {
        for seed in 0..20 {
            let sim = Sim::new(seed);
            let node = Alone::with(&sim, Duration::ZERO, sso());
            let left = sim.run(confirms_above_a_lost_registry(node));
            assert_eq!(left, Ok(0), "seed {seed}");
        }
    }
}
