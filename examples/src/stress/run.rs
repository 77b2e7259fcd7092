//! Rounds until the time is up.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Config,
    memory::Memory,
    plan::{Plan, Queue, Setup},
    process::{Broker, Gateway},
    report::Report,
    round::{Outcome, play},
    watch::Watch,
};

/// Runs rounds until the time is up, and prints the report on stdout; progress goes to stderr. Wants tokio's
/// current-thread runtime. The answer is whether all was well.
///
/// # Errors
/// The run cannot be set up: no folder, no gateway, or no server for a queue.
pub async fn run(config: &Config) -> io::Result<bool> {
    fs::create_dir_all(&config.folder)?;
    let mut offered = Setup::all();
    offered.retain(|setup| !(config.alone && setup.is_cluster()));
    let mut run = Run {
        config,
        begin: Instant::now(),
        brokers: BTreeMap::new(),
        residents: BTreeMap::new(),
        report: Report::new(config.seed, &offered),
        offered,
    };
    run.start_brokers()?;
    run.begin = Instant::now();
    let limit = Duration::from_secs(config.seconds);
    let mut turn = 0;
    while turn == 0 || run.begin.elapsed() < limit {
        let number = config.round.unwrap_or(turn);
        if let Err(error) = run.round(number, turn).await {
            // What was seen until then is not to be lost.
            run.report.fail(format!("round {number}, which ended the run: {error}"));
            break;
        }
        turn += 1;
    }
    run.stop().await;
    println!("{}", run.report.text(run.begin.elapsed()));
    Ok(run.report.is_well())
}

struct Run<'a> {
    config: &'a Config,
    begin: Instant,
    /// The servers that queues are on, and where the nodes of clusters meet. They live as long as the run.
    brokers: BTreeMap<Queue, Broker>,
    /// Gateways that live as long as the run, one for each queue, and a cluster for each that nodes can share. The gateways of
    /// other rounds join the same cluster: of what dies there something is left until a lease is over, and these see to it.
    residents: BTreeMap<(Queue, bool), Resident>,
    report: Report,
    offered: Vec<Setup>,
}

struct Resident {
    setup: Setup,
    gateways: Vec<Gateway>,
    memory: Memory,
}

impl Run<'_> {
    fn start_brokers(&mut self) -> io::Result<()> {
        for queue in Queue::ALL {
            if let Some(broker) = Broker::start(queue) {
                self.brokers.insert(queue, broker.map_err(io::Error::other)?);
            }
        }
        Ok(())
    }

    /// The flags that say what a gateway is made of; `name` tells files and nodes apart.
    fn flags(&self, setup: Setup, name: &str) -> Vec<String> {
        let broker = self.brokers.get(&setup.queue);
        let queue = match broker {
            Some(broker) => broker.flag(),
            None if setup.queue == Queue::Redb => format!("redb:{}", self.redb(name)),
            None => setup.queue.to_string(),
        };
        let mut flags = vec!["--queue", &queue, "--engine", setup.engine, "--runtime", setup.runtime];
        let url = broker.filter(|_| setup.is_cluster()).map(Broker::url);
        if let Some(url) = &url {
            flags.extend(["--cluster", url, "--node", name, "--metrics", "127.0.0.1:0"]);
        }
        flags.into_iter().map(str::to_owned).collect()
    }

    fn redb(&self, name: &str) -> String {
        self.config.folder.join(format!("{name}.redb")).display().to_string()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.config.folder.join(format!("{name}.log"))
    }

    /// Starts the gateways of a setup, with further flags.
    async fn start(&self, setup: Setup, more: &[String], name: &str) -> io::Result<Vec<Gateway>> {
        let mut gateways = Vec::new();
        for name in names(setup, name) {
            let mut flags = self.flags(setup, &name);
            flags.extend(more.iter().cloned());
            // Of an earlier run.
            forget(&self.log(&name));
            forget(Path::new(&self.redb(&name)));
            let gateway = Gateway::start(&self.config.gateway, flags, self.log(&name)).await;
            gateways.push(gateway.map_err(io::Error::other)?);
        }
        Ok(gateways)
    }

    /// Takes out the gateways that live as long as the run; the first time, starts them.
    async fn resident(&mut self, plan: &Plan) -> io::Result<Resident> {
        let setup = Setup::resident(plan.setup, &self.offered);
        if let Some(resident) = self.residents.remove(&key(setup)) {
            return Ok(resident);
        }
        let name = format!("resident-{}", setup.queue);
        let gateways = self.start(setup, &Plan::resident_flags(), &name).await?;
        Ok(Resident { setup, gateways, memory: Memory::default() })
    }

    async fn round(&mut self, number: u64, turn: u64) -> io::Result<()> {
        let mut plan = Plan::new(self.config.seed, number, &self.offered);
        plan.turn = turn;
        let (setup, shown) = (plan.setup, plan.to_string());
        let begin = Instant::now();
        if plan.resident {
            let mut resident = self.resident(&plan).await?;
            let outcome = self.play(plan, &mut resident.gateways).await?;
            if let Some((_, after)) = outcome.rest {
                resident.memory.sample(self.begin.elapsed(), after.bytes);
            }
            self.note(number, &shown, setup, outcome, begin);
            // One that has failed is not asked again.
            if resident.gateways.iter_mut().all(|gateway| gateway.has_ended().is_none()) {
                self.residents.insert(key(setup), resident);
            }
            return Ok(());
        }
        if setup.is_cluster() {
            let resident = self.resident(&plan).await?;
            self.residents.insert(key(setup), resident);
        }
        let name = format!("round-{turn}");
        let mut gateways = self.start(setup, &plan.gateway_flags(), &name).await?;
        let mut outcome = self.play(plan, &mut gateways).await?;
        for gateway in &mut gateways {
            match gateway.drain().await {
                Ok(took) => {
                    outcome.stats.longest_drain = outcome.stats.longest_drain.max(took);
                    // All have left.
                    if gateway.cut_off() != Some(0) {
                        let cut_off = gateway.cut_off();
                        outcome.failures.leak(format!("its last drain cut off {cut_off:?} sessions"));
                    }
                }
                Err(error) => outcome.failures.other(error),
            }
        }
        if outcome.failures.counts.total() == 0 {
            // What is left is for those who look into a failure.
            for name in names(setup, &name) {
                forget(Path::new(&self.redb(&name)));
                forget(&self.log(&name));
            }
        }
        self.note(number, &shown, setup, outcome, begin);
        Ok(())
    }

    async fn play(&mut self, plan: Plan, gateways: &mut [Gateway]) -> io::Result<Outcome> {
        let queue = plan.setup.queue;
        let mut broker = self.brokers.remove(&queue);
        let had_one = broker.is_some();
        let outcome = play(self.config, plan, gateways, &mut broker).await;
        match broker {
            Some(broker) => drop(self.brokers.insert(queue, broker)),
            None if had_one => return Err(io::Error::other(format!("the server of {queue} is gone"))),
            None => {}
        }
        Ok(outcome)
    }

    fn note(&mut self, number: u64, plan: &str, setup: Setup, outcome: Outcome, begin: Instant) {
        let Outcome { stats, failures, .. } = &outcome;
        let verdict = match failures.counts.total() {
            0 => "ok".to_owned(),
            total => format!("{total} FAILURES"),
        };
        eprintln!(
            "round {number}: {plan}: {} sessions, {} sent, {} delivered, {:.1} s, {verdict}",
            stats.sessions,
            stats.sent,
            stats.delivered,
            begin.elapsed().as_secs_f64()
        );
        failures.told.iter().for_each(|failure| eprintln!("  {failure}"));
        self.report.add(number, plan, setup, outcome);
    }

    /// Ends what lives as long as the run.
    async fn stop(&mut self) {
        for ((queue, is_cluster), mut resident) in std::mem::take(&mut self.residents) {
            if let (true, Err(error)) = (is_cluster, is_deserted(&resident.gateways).await) {
                self.report.leak(format!("the resident cluster, {queue}: {error}"));
            }
            for gateway in &mut resident.gateways {
                match gateway.drain().await {
                    Ok(took) => {
                        self.report.drained(took);
                        if gateway.cut_off() != Some(0) {
                            let cut_off = gateway.cut_off();
                            self.report.leak(format!(
                                "the resident gateway, {queue}: its drain cut off {cut_off:?} sessions"
                            ));
                        }
                    }
                    Err(error) => self.report.fail(format!("the resident gateway, {queue}: {error}")),
                }
            }
            self.report.memory(resident.setup, &resident.memory);
        }
        forget(Path::new(&self.redb("resident-redb")));
    }
}

/// Waits until nobody is left in a cluster, where nodes have died, too.
async fn is_deserted(gateways: &[Gateway]) -> Result<(), String> {
    let Some(gateway) = gateways.first() else { return Ok(()) };
    let mut watch = Watch::settled(gateway.addresses.tcp, "the last").await?;
    watch.is_alone().await?;
    watch.leave().await;
    Ok(())
}

fn key(setup: Setup) -> (Queue, bool) {
    (setup.queue, setup.is_cluster())
}

/// The gateways of a setup, by name.
fn names(setup: Setup, name: &str) -> Vec<String> {
    match setup.nodes {
        1 => vec![name.to_owned()],
        nodes => (0..nodes).map(|node| format!("{name}-{node}")).collect(),
    }
}

fn forget(file: &Path) {
    // Nobody asks for it, whether it was there or not.
    let _ = fs::remove_file(file);
}
