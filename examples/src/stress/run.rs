//! Rounds until the time is up.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Config,
    memory::Memory,
    plan::{Plan, Queue, Setup},
    process::{Broker, Gateway},
    report::Report,
    round::{Outcome, play},
};

/// Runs rounds until the time is up, and prints the report on stdout; progress goes to stderr. Wants tokio's
/// current-thread runtime. The answer is whether all was well.
///
/// # Errors
/// The run cannot be set up: no folder, no gateway, or no server for a queue.
pub async fn run(config: &Config) -> io::Result<bool> {
    fs::create_dir_all(&config.folder)?;
    let mut run = Run {
        config,
        begin: Instant::now(),
        brokers: BTreeMap::new(),
        residents: BTreeMap::new(),
        report: Report::new(config.seed, &Setup::all()),
        offered: Setup::all(),
    };
    run.start_brokers()?;
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
    /// The servers that queues are on. They live as long as the run.
    brokers: BTreeMap<Queue, Broker>,
    /// Gateways that live as long as the run, one for each queue.
    residents: BTreeMap<Queue, Resident>,
    report: Report,
    offered: Vec<Setup>,
}

struct Resident {
    setup: Setup,
    gateway: Gateway,
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

    /// The flags that say what the gateway is made of; `name` tells files apart.
    fn flags(&self, setup: Setup, name: &str) -> Vec<String> {
        let queue = match self.brokers.get(&setup.queue) {
            Some(broker) => broker.flag(),
            None if setup.queue == Queue::Redb => format!("redb:{}", self.redb(name)),
            None => setup.queue.to_string(),
        };
        ["--queue", &queue, "--engine", setup.engine, "--runtime", setup.runtime].map(str::to_owned).to_vec()
    }

    fn redb(&self, name: &str) -> String {
        self.config.folder.join(format!("{name}.redb")).display().to_string()
    }

    async fn start(&self, plan: &Plan, name: &str) -> io::Result<Gateway> {
        let mut flags = self.flags(plan.setup, name);
        let max_queued = if plan.small_queue { "30" } else { "100000" };
        flags.extend(["--sso", &plan.sso.to_string(), "--max-queued", max_queued].map(str::to_owned));
        flags.extend(plan.write_back.then(|| "--write-back".to_owned()));
        flags.extend(plan.flags.iter().cloned());
        let log = self.config.folder.join(format!("{name}.log"));
        // Of an earlier run.
        forget(&log);
        forget(Path::new(&self.redb(name)));
        Gateway::start(&self.config.gateway, flags, log).await.map_err(io::Error::other)
    }

    async fn round(&mut self, number: u64, turn: u64) -> io::Result<()> {
        let mut plan = Plan::new(self.config.seed, number, &self.offered);
        plan.turn = turn;
        let (queue, shown) = (plan.setup.queue, plan.to_string());
        let begin = Instant::now();
        if plan.resident {
            let mut resident = match self.residents.remove(&queue) {
                Some(resident) => resident,
                None => Resident {
                    setup: plan.setup,
                    gateway: self.start(&plan, &format!("resident-{queue}")).await?,
                    memory: Memory::default(),
                },
            };
            let outcome = self.play(plan, &mut resident.gateway).await?;
            if let Some((_, after)) = outcome.rest {
                resident.memory.sample(self.begin.elapsed(), after.bytes);
            }
            self.note(number, &shown, resident.setup, outcome, begin);
            // One that has failed is not asked again.
            if resident.gateway.has_ended().is_none() {
                self.residents.insert(queue, resident);
            }
            return Ok(());
        }
        let (name, setup) = (format!("round-{turn}"), plan.setup);
        let mut gateway = self.start(&plan, &name).await?;
        let mut outcome = self.play(plan, &mut gateway).await?;
        match gateway.drain().await {
            Ok(took) => outcome.stats.longest_drain = outcome.stats.longest_drain.max(took),
            Err(error) => outcome.failures.other(error),
        }
        if outcome.failures.counts.total() == 0 {
            // What is left is for those who look into a failure.
            forget(Path::new(&self.redb(&name)));
            forget(&self.config.folder.join(format!("{name}.log")));
        }
        self.note(number, &shown, setup, outcome, begin);
        Ok(())
    }

    async fn play(&mut self, plan: Plan, gateway: &mut Gateway) -> io::Result<Outcome> {
        let queue = plan.setup.queue;
        let mut broker = self.brokers.remove(&queue);
        let had_one = broker.is_some();
        let outcome = play(self.config, plan, gateway, &mut broker).await;
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
        for (queue, mut resident) in std::mem::take(&mut self.residents) {
            match resident.gateway.drain().await {
                Ok(took) => self.report.drained(took),
                Err(error) => self.report.fail(format!("the resident gateway, {queue}: {error}")),
            }
            self.report.memory(resident.setup, &resident.memory);
        }
        forget(Path::new(&self.redb("resident-redb")));
    }
}

fn forget(file: &Path) {
    // Nobody asks for it, whether it was there or not.
    let _ = fs::remove_file(file);
}
