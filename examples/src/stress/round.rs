//! One round: churn and troubles, then everything that is kept is fetched, everybody leaves, and nothing remains.

use std::{rc::Rc, time::Duration};

use futures_util::future::{join, join_all};
use tokio::time::timeout;

use super::{
    Config,
    counts::{Failures, Stats},
    ledger::User,
    nemesis,
    person::{Door, Person, connect},
    plan::{Plan, Sso},
    process::{Broker, Gateway},
    random::Random,
    session::{End, Session},
    watch::{self, Rest, Watch},
    wire::Transport,
    world::{World, guarded},
};

/// What resident memory may be above that before the round. A round's messages are some megabytes, and pass through an
/// allocator that gives pages back late and in part; a queue's cache keeps some. What was seen was a quarter of this.
/// A smaller leak shows in the slope of the gateways that live on.
const SLACK: u64 = 16 << 20;

/// Ends a round in which everything waits for something.
const ROUND_LIMIT: Duration = Duration::from_secs(600);

/// How a round went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) stats: Stats,
    pub(super) failures: Failures,
    /// Kept messages that were answered for.
    pub(super) answered: usize,
    /// What the gateways held before anybody came, and when all had left.
    pub(super) rest: Option<(Rest, Rest)>,
}

/// Plays the round on these gateways.
pub(super) async fn play(
    config: &Config,
    plan: Plan,
    gateways: &mut [Gateway],
    broker: &mut Option<Broker>,
) -> Outcome {
    let addresses = gateways.iter().map(|gateway| gateway.addresses);
    let world = Rc::new(World::new(config.seed, plan, addresses, config.trace));
    let played = timeout(ROUND_LIMIT, phases(&world, gateways, broker)).await;
    let rest = match played {
        Ok(Ok(rest)) => Some(rest),
        Ok(Err(error)) => {
            world.fail(error);
            None
        }
        Err(_) => {
            world.fail(format!("the round did not end in {} s", ROUND_LIMIT.as_secs()));
            None
        }
    };
    for gateway in gateways {
        if let Some(ended) = gateway.has_ended() {
            world.fail(ended);
        }
        for panic in gateway.panics() {
            world.fail(panic);
        }
    }
    let answered = world.ledger.borrow().total_answered();
    let (stats, failures) = (*world.stats.borrow(), world.failures.borrow().clone());
    Outcome { stats, failures, answered, rest }
}

async fn phases(
    world: &Rc<World>,
    gateways: &mut [Gateway],
    broker: &mut Option<Broker>,
) -> Result<(Rest, Rest), String> {
    let mut before = Vec::new();
    for (node, gateway) in gateways.iter().enumerate() {
        let mut watch = Watch::settled(gateway.addresses.tcp, &watcher(world, node)).await?;
        watch.keeps().await?;
        watch.is_alone().await?;
        before.push(Rest::of(gateway)?);
        watch.leave().await;
    }

    let devices: &[&str] = if world.plan.sso == Sso::User { &["phone"] } else { &["phone", "desk"] };
    // Half as many users where each is two people.
    let users = world.plan.users / devices.len();
    let people = (0..users).flat_map(|user| devices.iter().map(move |device| (user, *device)));
    let people = people.map(|(user, device)| Person::new(world, user, device).live());
    join(join_all(people), nemesis::run(world, gateways, broker)).await;
    if world.has_failed() {
        return Err("the round was given up".to_owned());
    }

    world.ledger.borrow_mut().is_over();
    join_all((0..world.plan.users).map(|user| fetch_all(world, user))).await;
    for violation in world.ledger.borrow().finish() {
        world.broken(&violation);
    }
    world.check_goodbyes();
    let mut after = Vec::new();
    for (node, gateway) in gateways.iter().enumerate() {
        after.push(remains(world, node, gateway, before[node]).await?);
    }
    Ok((before.into_iter().sum(), after.into_iter().sum()))
}

fn watcher(world: &World, node: usize) -> String {
    format!("{}{node}", world.uid(world.plan.users))
}

/// Everybody has left: what remains in a gateway.
async fn remains(world: &World, node: usize, gateway: &Gateway, before: Rest) -> Result<Rest, String> {
    let mut watch = Watch::settled(gateway.addresses.tcp, &watcher(world, node)).await?;
    // The users of a node that was killed are counted until its lease is over. Whoever comes next waits for that.
    if !world.plan.leaves_leases()
        && let Err(error) = watch.is_alone().await
    {
        world.leak(error);
    }
    if let Err(error) = watch::is_empty(gateway.addresses).await {
        world.leak(format!("node {node}: {error}"));
    }
    let after = Rest::after(gateway, before.files).await?;
    watch.leave().await;
    if after.files > before.files {
        world.leak(format!("{} open files, {} before the round", after.files, before.files));
    }
    if after.bytes > before.bytes + SLACK {
        world.leak(format!("{} MiB resident, {} before the round", after.bytes >> 20, before.bytes >> 20));
    }
    Ok(after)
}

/// The user logs in once more, or for the first time: all that was answered for comes. Then once again: what was confirmed
/// does not, where it was confirmed.
async fn fetch_all(world: &Rc<World>, user: User) {
    let mut random = Random::new(&[world.seed, world.plan.number, user as u64, 2]);
    let node = random.below(world.gateways.count());
    let mut times = 0;
    while times < 2 && !world.has_failed() {
        let transport = if random.one_in(2) { Transport::Tcp } else { Transport::WebSocket };
        let door = Door { node, transport, is_slow: false };
        let Some(mut session) = connect(world, user, "last", door).await else { return };
        match guarded(fetch(world, &mut session, user)).await {
            Some(Ok(())) => {
                session.leave().await;
                times += 1;
            }
            Some(Err(end)) => session.judge(&end),
            // What is missing is in the ledger.
            None => return world.fail(format!("{session} does not get all that was answered for")),
        }
    }
}

async fn fetch(world: &World, session: &mut Session, user: User) -> Result<(), End> {
    session.settle().await?;
    while world.ledger.borrow().misses(user) {
        session.next().await?;
    }
    // One question is open at a time: that behind the last kept message comes before the second fence is back, and so the
    // third one shows that its answer was heard.
    for _ in 0..3 {
        session.fence();
        session.settle().await?;
    }
    Ok(())
}
