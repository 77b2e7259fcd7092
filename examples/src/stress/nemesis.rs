//! Troubles a gateway, and the server of its queue, in the middle of a round.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    plan::{MAX_UNNOTICED, Strike, Trouble},
    process::{Broker, Gateway},
    watch::{self, Watch},
    world::{GUARD, World},
};

/// Does what the plan says, each when enough messages have passed since the one before.
pub(super) async fn run(world: &Rc<World>, gateways: &mut [Gateway], broker: &mut Option<Broker>) {
    let troubles = world.plan.troubles.clone();
    for Strike { after, trouble, node } in troubles {
        world.traffic(after).await;
        if world.has_failed() {
            break;
        }
        world.trace(|| format!("{trouble:?} of node {node} begins"));
        let happened = if trouble.hits_broker() {
            hits_broker(world, broker, trouble).await
        } else {
            hits_gateway(world, &mut gateways[node], trouble, node).await
        };
        if let Err(error) = happened {
            world.fail(format!("{trouble:?} of node {node}: {error}"));
            break;
        }
        world.trace(|| format!("{trouble:?} of node {node} is over"));
    }
    world.is_quiet.set(true);
}

async fn hits_gateway(
    world: &Rc<World>,
    gateway: &mut Gateway,
    trouble: Trouble,
    node: usize,
) -> Result<(), String> {
    match trouble {
        Trouble::Pause(millis) => {
            world.count(|stats| &mut stats.pauses);
            let is_noticed = world.plan.setup.is_cluster() && millis > MAX_UNNOTICED;
            if is_noticed {
                world.ledger.borrow_mut().reach.falls_silent(Some(node), world.now());
            }
            gateway.signal("STOP").await.map_err(|error| error.to_string())?;
            last(millis).await;
            gateway.signal("CONT").await.map_err(|error| error.to_string())?;
            world.ledger.borrow_mut().reach.is_back(world.now());
        }
        Trouble::Kill => {
            world.count(|stats| &mut stats.kills);
            dies(world, gateway, node).await?;
        }
        Trouble::KillInDrain(millis) => {
            world.count(|stats| &mut stats.cut_drains);
            world.gateways.goes_down(node);
            gateway.signal("TERM").await.map_err(|error| error.to_string())?;
            last(millis).await;
            dies(world, gateway, node).await?;
        }
        Trouble::Drain => {
            world.count(|stats| &mut stats.drains);
            world.gateways.goes_down(node);
            let took = gateway.drain().await?;
            let cut_off = gateway.cut_off().ok_or("it ended without a word about its drain")?;
            world.drained(world.gateways.process(node), took, cut_off);
            restart(world, gateway, node).await?;
        }
        Trouble::BrokerKill(_) | Trouble::BrokerPause(_) => {}
    }
    Ok(())
}

async fn hits_broker(world: &Rc<World>, broker: &mut Option<Broker>, trouble: Trouble) -> Result<(), String> {
    let is_cluster = world.plan.setup.is_cluster();
    if is_cluster {
        world.ledger.borrow_mut().reach.falls_silent(None, world.now());
    }
    match trouble {
        Trouble::BrokerKill(millis) => {
            world.count(|stats| &mut stats.broker_kills);
            blocking(broker, Broker::kill).await?;
            last(millis).await;
            blocking(broker, Broker::restart).await?;
        }
        Trouble::BrokerPause(millis) => {
            world.count(|stats| &mut stats.broker_pauses);
            blocking(broker, |broker| broker.suspend()).await?;
            last(millis).await;
            blocking(broker, |broker| broker.resume()).await?;
        }
        _ => {}
    }
    for node in 0..world.gateways.count() {
        works(world, node).await?;
    }
    world.ledger.borrow_mut().reach.is_back(world.now());
    Ok(())
}

/// `SIGKILL`, and a new process.
async fn dies(world: &World, gateway: &mut Gateway, node: usize) -> Result<(), String> {
    world.gateways.goes_down(node);
    // The other nodes can know, and say, that it is dead before this process does.
    world.is_about_to_die();
    gateway.kill().await.map_err(|error| error.to_string())?;
    world.was_killed(node);
    restart(world, gateway, node).await
}

async fn restart(world: &World, gateway: &mut Gateway, node: usize) -> Result<(), String> {
    gateway.again().await?;
    world.gateways.is_up(node, gateway.addresses);
    Ok(())
}

/// How long the trouble lasts.
async fn last(millis: u64) {
    sleep(Duration::from_millis(millis)).await; // sleep: nothing is waited for
}

/// Waits until the gateway keeps messages again, and in a cluster hears itself and others.
async fn works(world: &Rc<World>, node: usize) -> Result<(), String> {
    let Some((_, addresses)) = world.gateway(node).await else { return Ok(()) };
    let uid = format!("{}back{node}", world.uid(world.plan.users));
    let back = async {
        watch::is_healthy(addresses).await?;
        let mut watch = Watch::settled(addresses.tcp, &uid).await?;
        watch.keeps().await
    };
    let begin = Instant::now();
    back.await.map_err(|error| {
        format!("{error}, {} ms after the queue's server was back", begin.elapsed().as_millis())
    })
}

/// Does what blocks on a thread where it may: clients go on meanwhile.
async fn blocking(
    broker: &mut Option<Broker>,
    action: impl FnOnce(&mut Broker) -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    let Some(mut moved) = broker.take() else { return Err("there is no server".to_owned()) };
    let done = tokio::task::spawn_blocking(move || {
        let result = action(&mut moved);
        (moved, result)
    });
    match tokio::time::timeout(2 * GUARD, done).await {
        Ok(Ok((moved, result))) => {
            *broker = Some(moved);
            result
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the server does not do as it is told".to_owned()),
    }
}
