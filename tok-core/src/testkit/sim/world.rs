use std::{sync::Arc, time::Duration};

use super::{Checker, Nemesis, Nodes, Sim, SimQueue, SimRuntime, Traffic};
use crate::{HubBuilder, queue::Caps};

/// One node, with users, senders, faults and a checker around it: how to run an actor of one's own under many seeds. See
/// the [module](super) for an example.
#[derive(Debug)]
#[must_use]
pub struct World {
    seed: u64,
    caps: Caps,
    configure: fn(Traffic) -> Traffic,
    faultless: bool,
    crashes: bool,
    devices: usize,
}

/// After so long nothing is under way any more.
const LATE: Duration = Duration::from_secs(30);

/// Where a hub of the simulation runs.
#[derive(Clone, Debug)]
pub struct Place {
    runtime: SimRuntime,
    queue: SimQueue,
}

impl Place {
    /// The process of this run of the node.
    #[must_use]
    pub fn runtime(&self) -> SimRuntime {
        self.runtime.clone()
    }

    /// The queue, which outlives the node.
    #[must_use]
    pub fn queue(&self) -> SimQueue {
        self.queue.clone()
    }
}

/// What a simulation that kept every promise did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Two runs have the same only if every step of them was the same.
    pub trace: u64,
    /// Messages that clients read.
    pub delivered: u64,
}

impl Report {
    /// What a simulation has done so far.
    #[must_use]
    pub fn new(sim: &Sim, checker: &Checker) -> Self {
        Self { trace: sim.trace(), delivered: checker.delivered() }
    }
}

impl World {
    /// The world of this seed, with a durable queue.
    pub fn new(seed: u64) -> Self {
        let caps =
            Caps { durable: true, shared: false, max_messages: 60, max_bytes: 1 << 20, max_message: None };
        Self { seed, caps, configure: |traffic| traffic, faultless: false, crashes: true, devices: 1 }
    }

    /// What the queue is. Durable, with room for 60 messages a user, by default.
    pub fn caps(mut self, caps: Caps) -> Self {
        self.caps = caps;
        self
    }

    /// Changes what users and senders do.
    pub fn traffic(mut self, configure: fn(Traffic) -> Traffic) -> Self {
        self.configure = configure;
        self
    }

    /// Whether the node crashes now and then. It does by default where the queue is durable: with the hub's default
    /// [`Durability`](crate::Durability) nothing is lost then.
    pub fn crashes(mut self, crashes: bool) -> Self {
        self.crashes = crashes;
        self
    }

    /// How many devices each user has. 1 by default.
    pub fn devices(mut self, devices: usize) -> Self {
        self.devices = devices;
        self
    }

    /// Nothing fails, clients stay and read: then every message comes once.
    pub fn faultless(mut self, faultless: bool) -> Self {
        self.faultless = faultless;
        self
    }

    /// Builds hubs with `hub` and lets the world loose on them: clients that vanish, a queue that is slow, fails and is
    /// away, restarts, and crashes where the queue is durable.
    ///
    /// # Errors
    /// The first promise that was broken, by its [number](Checker#invariants), or why the simulation came to no end.
    pub fn run(self, hub: impl Fn(&Place) -> HubBuilder + Send + Sync + 'static) -> Result<Report, String> {
        let sim = Sim::new(self.seed);
        let rt = sim.runtime();
        let checker = Checker::new(&rt);
        let watching = checker.clone();
        match sim.run_checked(self.play(rt, checker.clone(), hub), move || watching.check()) {
            Ok(result) => result?,
            Err(super::Stopped::Violated(broken)) => return Err(broken),
            Err(stopped) => return Err(format!("invariant 16, deadlines: {stopped:?}")),
        }
        Ok(Report::new(&sim, &checker))
    }

    async fn play(
        self,
        rt: SimRuntime,
        checker: Checker,
        hub: impl Fn(&Place) -> HubBuilder + Send + Sync + 'static,
    ) -> Result<(), String> {
        let failures = match rt.below(4) {
            _ if self.faultless => 0,
            0 => 0,
            1 => 30,
            _ => 200,
        };
        let latency = Duration::from_millis(rt.below(20));
        let queue = SimQueue::new(rt.clone(), self.caps, latency, failures);
        let queue = checker.observed(queue.drops_expired(rt.below(4) > 0));
        let nodes = Nodes::new(1);
        let start = {
            let (rt, nodes, queue, checker) = (rt.clone(), nodes.clone(), queue.clone(), checker.clone());
            move || {
                let place = Place { runtime: rt.process(), queue: queue.clone() };
                // Each run of the node may find its wall clock far ahead or behind.
                place.runtime.upset_wall_clock();
                match checker.build(hub(&place)) {
                    Ok(hub) => nodes.start(0, hub, place.runtime),
                    Err(error) => checker.fail(16, format_args!("the hub cannot be built: {error}")),
                }
            }
        };
        start();
        let nemesis = Nemesis::new(&rt);
        let nemesis =
            if self.faultless { nemesis } else { self.faults(nemesis, &checker, &nodes, queue, start) };
        let traffic = (self.configure)(Traffic::new(&rt, &checker, &nodes));
        let traffic = traffic.devices(self.devices).faultless(self.faultless);
        let staying = traffic.run(nemesis).await?;
        staying.leave();
        finish(&rt, &checker, &nodes).await
    }

    fn faults(
        &self,
        nemesis: Nemesis,
        checker: &Checker,
        nodes: &Nodes,
        queue: SimQueue,
        start: impl Fn() + Send + Sync + 'static,
    ) -> Nemesis {
        let start = Arc::new(start);
        let stepping = nodes.clone();
        let step = move || {
            if let Some(up) = stepping.up(0) {
                up.process.upset_wall_clock();
            }
        };
        let nemesis = nemesis.fault("the wall clock steps", step.clone(), step);
        let (down, up) = (queue.clone(), queue);
        let nemesis =
            nemesis.fault("the queue is away", move || down.set_down(true), move || up.set_down(false));
        let (stopping, checking, starting) = (nodes.clone(), checker.clone(), Arc::clone(&start));
        let nemesis = nemesis.slow_fault(
            "a restart",
            move || drain(stopping.clone(), checking.clone()),
            move || {
                starting();
                async {}
            },
        );
        if !self.caps.durable || !self.crashes {
            return nemesis;
        }
        let crashing = nodes.clone();
        nemesis.fault("a crash", move || crashing.crash(0), move || start())
    }
}

/// Shuts a node down in good order: nothing that it accepted is lost.
async fn drain(nodes: Nodes, checker: Checker) {
    let Some(hub) = nodes.hub(0) else { return };
    checker.draining(&hub);
    let report = hub.shutdown(Duration::from_secs(60)).await;
    if report.unstored + report.forced > 0 {
        checker.fail(19, format_args!("{report:?}"));
    }
    if let Err(broken) = checker.drained() {
        checker.fail(19, broken);
    }
    nodes.stop(0);
}

/// Everybody has left: nothing is left behind.
async fn finish(rt: &SimRuntime, checker: &Checker, nodes: &Nodes) -> Result<(), String> {
    let Some(hub) = nodes.stop(0) else { return Err("the node is not up in the end".to_owned()) };
    rt.sleep(LATE).await;
    checker.emptied(&hub)?;
    hub.shutdown(LATE).await;
    drop(hub);
    rt.sleep(LATE).await;
    checker.stopped()
}
