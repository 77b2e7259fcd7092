//! Three nodes, what goes wrong with them, and what has to be so when all is quiet again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tok_cluster::{Chaos, Cluster, Faults, Link, MemoryBroker, Plan, Policy, Registry};
use tok_core::{
    Actor, Hub, Message, Session, Sso, async_trait,
    queue::Caps,
    testkit::sim::{Checker, Nemesis, Nodes, Report, Sim, SimQueue, SimRuntime, Stopped, Traffic},
};

use super::watched::Watched;

/// Which simulation, by what a seed leaves when divided by three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Available,
    Strict,
    Devices,
}

const NODES: usize = 3;
const USERS: usize = 2;
const CAPS: Caps =
    Caps { durable: true, shared: true, max_messages: 80, max_bytes: 1 << 20, max_message: None };
/// After so long nothing is under way any more: nodes have looked into the queue for everybody, and been reaped.
const LATE: Duration = Duration::from_secs(90);

/// Takes its time, and answers.
struct Handler {
    rt: SimRuntime,
}

#[async_trait]
impl Actor for Handler {
    async fn on_receive(&self, session: &Session, message: Message) {
        if self.rt.below(4) == 0 {
            self.rt.sleep(Duration::from_millis(self.rt.below(300))).await;
        }
        let _ = session.send(message);
    }
}

pub(crate) fn run(seed: u64, mode: Mode) -> Result<Report, String> {
    let sim = Sim::new(seed);
    let checker = Checker::new(&sim.runtime());
    if mode == Mode::Strict {
        checker.strict();
    }
    let watching = checker.clone();
    match sim.run_checked(play(sim.runtime(), checker.clone(), mode), move || watching.check()) {
        Ok(result) => result?,
        Err(Stopped::Violated(broken)) => return Err(broken),
        Err(stopped) => return Err(format!("invariant 16, deadlines: {stopped:?}")),
    }
    Ok(Report::new(&sim, &checker))
}

/// The nodes and what they share.
#[derive(Clone)]
struct World {
    rt: SimRuntime,
    checker: Checker,
    mode: Mode,
    broker: MemoryBroker,
    queue: SimQueue,
    nodes: Nodes,
    runs: Arc<Mutex<Vec<Run>>>,
}

/// What of a node the hub does not know.
#[derive(Clone)]
struct Run {
    cluster: Cluster,
    faults: Faults,
    process: SimRuntime,
}

async fn play(rt: SimRuntime, checker: Checker, mode: Mode) -> Result<(), String> {
    let failures = [0, 20][usize::try_from(rt.below(2)).unwrap()];
    let latency = Duration::from_millis(rt.below(20));
    let queue = checker.observed(SimQueue::new(rt.clone(), CAPS, latency, failures));
    let broker = MemoryBroker::new(rt.clone());
    let nodes = Nodes::new(NODES);
    let world = World { rt, checker, mode, broker, queue, nodes, runs: Arc::default() };
    for node in 0..NODES {
        world.start(node);
    }
    world.rt.sleep(Duration::from_secs(3)).await;
    let devices = if mode == Mode::Devices { 2 } else { 1 };
    let traffic =
        Traffic::new(&world.rt, &world.checker, &world.nodes).users(USERS).devices(devices).wait(LATE);
    let staying = traffic.run(world.nemesis()).await?;
    world.united(devices).await?;
    staying.leave();
    world.finish().await
}

impl World {
    fn start(&self, node: usize) {
        let process = self.rt.process();
        // Each run of a node may find its wall clock far ahead or behind.
        process.upset_wall_clock();
        let faults = Faults::new(self.rt.clone());
        faults.set_plan(Plan { delay: self.delay(), ..Plan::default() });
        let registry = Watched { inner: self.broker.registry(), checker: self.checker.clone() };
        let (registry, bus) = (Chaos::new(registry, &faults), Chaos::new(self.broker.bus(), &faults));
        let policy = if self.mode == Mode::Strict { Policy::Strict } else { Policy::Available };
        let cluster = Cluster::builder(registry, bus)
            .node(format!("node-{node}"))
            .runtime(process.clone())
            .lease(Duration::from_secs(6))
            .beat(Duration::from_secs(2))
            .request_timeout(Duration::from_secs(1))
            .policy(policy)
            .build()
            .unwrap();
        let builder = Hub::builder(Handler { rt: process.clone() })
            .runtime(process.clone())
            .queue(self.queue.clone())
            .relay(cluster.clone())
            .sso(if self.mode == Mode::Devices { Sso::PerDevice } else { Sso::PerUser })
            .ping_interval(Duration::from_secs(2))
            .write_timeout(Duration::from_secs(3))
            .max_backlog(usize::try_from(1024 + self.rt.below(4096)).unwrap())
            .max_memory(64 * 1024)
            .max_message(4096);
        let hub = self.checker.build(builder).unwrap();
        let mut runs = self.runs.lock().unwrap();
        let run = Run { cluster, faults, process: process.clone() };
        match runs.get_mut(node) {
            Some(place) => *place = run,
            None => runs.push(run),
        }
        self.nodes.start(node, hub, process);
    }

    /// Some networks are slow, and operations overtake each other.
    fn delay(&self) -> Duration {
        Duration::from_millis([0, 2, 30][usize::try_from(self.rt.below(3)).unwrap()])
    }

    fn run(&self, node: usize) -> Run {
        self.runs.lock().unwrap()[node].clone()
    }

    fn any(&self) -> usize {
        usize::try_from(self.rt.below(NODES as u64)).unwrap()
    }

    fn nemesis(&self) -> Nemesis {
        // Strict nodes are about leases: now and then a fault outlives one.
        let lasts = Duration::from_secs(if self.mode == Mode::Strict { 8 } else { 5 });
        let nemesis = Nemesis::new(&self.rt).pace(Duration::from_millis(1500), lasts);
        let (strike, heal) = (self.clone(), self.clone());
        let nemesis = nemesis.fault("a link", move || strike.cut(), move || heal.heal_links());
        let (strike, heal) = (self.clone(), self.clone());
        let nemesis = nemesis.fault("frames and answers", move || strike.lose(), move || heal.heal_plans());
        let (strike, heal) = (self.clone(), self.clone());
        let nemesis = nemesis.fault("the broker", move || strike.stop_broker(), move || heal.broker.start());
        let (strike, heal) = (self.queue.clone(), self.queue.clone());
        let nemesis = nemesis.fault("the queue", move || strike.set_down(true), move || heal.set_down(false));
        let stepping = self.clone();
        let step = move || {
            stepping.run(stepping.any()).process.upset_wall_clock();
        };
        let nemesis = nemesis.fault("a wall clock", step.clone(), step);
        let (strike, heal) = (self.clone(), self.clone());
        let nemesis = nemesis.fault("a crash", move || strike.crash(), move || heal.start_all());
        let (strike, heal) = (self.clone(), self.clone());
        nemesis.slow_fault(
            "a restart",
            move || {
                let world = strike.clone();
                async move { world.drain(world.any()).await }
            },
            move || {
                heal.start_all();
                async {}
            },
        )
    }

    fn cut(&self) {
        let link = [Link::Cut, Link::BlackHole, Link::Deaf][usize::try_from(self.rt.below(3)).unwrap()];
        let node = self.any();
        self.run(node).faults.set_link(link);
    }

    fn heal_links(&self) {
        (0..NODES).for_each(|node| self.run(node).faults.set_link(Link::Up));
    }

    fn lose(&self) {
        for node in 0..NODES {
            let plan = Plan { delay: 5 * self.delay(), lose: 100, duplicate: 200, fail: 100 };
            self.run(node).faults.set_plan(plan);
        }
    }

    fn heal_plans(&self) {
        (0..NODES)
            .for_each(|node| self.run(node).faults.set_plan(Plan { delay: self.delay(), ..Plan::default() }));
    }

    fn stop_broker(&self) {
        self.broker.stop();
        // Where its table is lost, so is what keeps two sessions from living at once.
        if self.mode != Mode::Strict && self.rt.below(2) == 0 {
            self.broker.wipe();
        }
    }

    fn crash(&self) {
        let node = self.any();
        self.run(node).faults.set_link(Link::Cut);
        self.nodes.crash(node);
    }

    fn start_all(&self) {
        for node in 0..NODES {
            if self.nodes.hub(node).is_none() {
                self.start(node);
            }
        }
    }

    /// A node leaves in good order: nothing that it accepted is lost.
    async fn drain(&self, node: usize) {
        let Some(hub) = self.nodes.hub(node) else { return };
        self.checker.draining(&hub);
        let report = hub.shutdown(Duration::from_secs(60)).await;
        if report.unstored + report.forced > 0 {
            self.checker.fail(19, format_args!("{report:?}"));
        }
        if let Err(broken) = self.checker.drained() {
            self.checker.fail(19, broken);
        }
        self.nodes.stop(node);
        self.run(node).cluster.leave().await;
    }

    /// Each user has one session of a class, the newest, and the registry says the same.
    async fn united(&self, devices: usize) -> Result<(), String> {
        for user in 0..USERS {
            let uid = Traffic::uid(user);
            self.checker.united(&uid, devices)?;
            let rows = self.broker.registry().lookup(&uid).await.unwrap();
            if rows.len() != devices {
                return Err(format!("invariant 10, one session in the cluster: {uid} has the rows {rows:?}"));
            }
            for node in 0..NODES {
                let mine = rows.iter().any(|row| row.node == *self.run(node).cluster.node());
                let hub = self.nodes.hub(node).ok_or("a node is not up in the end")?;
                if mine && !hub.online().await.is_ok_and(|online| online.contains(&uid)) {
                    return Err(format!(
                        "invariant 10, one session in the cluster: {uid} is not where its row is"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Everybody has left: nothing is left behind.
    async fn finish(self) -> Result<(), String> {
        let hubs: Vec<Hub> = (0..NODES).filter_map(|node| self.nodes.stop(node)).collect();
        self.rt.sleep(LATE).await;
        for user in 0..USERS {
            let rows = self.broker.registry().lookup(&Traffic::uid(user)).await.unwrap();
            if !rows.is_empty() {
                return Err(format!("invariant 17, nothing left behind: rows {rows:?}"));
            }
        }
        for (node, hub) in hubs.iter().enumerate() {
            self.checker.emptied(hub)?;
            let stats = self.run(node).cluster.stats();
            if stats.claims + stats.to_repair > 0 || stats.nodes != NODES {
                return Err(format!("invariant 17, nothing left behind: {stats:?}"));
            }
        }
        for (node, hub) in hubs.into_iter().enumerate() {
            hub.shutdown(Duration::from_secs(10)).await;
            self.run(node).cluster.leave().await;
        }
        let Self { rt, checker, runs, .. } = self;
        runs.lock().unwrap().clear();
        rt.sleep(LATE).await;
        checker.stopped()
    }
}
