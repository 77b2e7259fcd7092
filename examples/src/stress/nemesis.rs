//! Troubles the gateway, and the server of its queue, in the middle of a round.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    plan::Trouble,
    process::{Broker, Gateway},
    watch::Watch,
    world::{GUARD, World},
};

/// Does what the plan says, each when enough messages have passed since the one before.
pub(super) async fn run(world: &Rc<World>, gateway: &mut Gateway, broker: &mut Option<Broker>) {
    let troubles = world.plan.troubles.clone();
    for (after, trouble) in troubles {
        world.traffic(after).await;
        if world.has_failed() {
            break;
        }
        world.trace(|| format!("{trouble:?} begins"));
        if let Err(error) = happens(world, gateway, broker, trouble).await {
            world.fail(format!("{trouble:?}: {error}"));
            break;
        }
        world.trace(|| format!("{trouble:?} is over"));
    }
    world.is_quiet.set(true);
}

async fn happens(
    world: &Rc<World>,
    gateway: &mut Gateway,
    broker: &mut Option<Broker>,
    trouble: Trouble,
) -> Result<(), String> {
    match trouble {
        Trouble::Pause(millis) => {
            world.count(|stats| &mut stats.pauses);
            gateway.signal("STOP").await.map_err(|error| error.to_string())?;
            last(millis).await;
            gateway.signal("CONT").await.map_err(|error| error.to_string())?;
        }
        Trouble::Kill => {
            world.count(|stats| &mut stats.kills);
            world.goes_down();
            gateway.kill().await.map_err(|error| error.to_string())?;
            world.ledger.borrow_mut().killed();
            restart(world, gateway).await?;
        }
        Trouble::Drain => {
            world.count(|stats| &mut stats.drains);
            world.goes_down();
            let took = gateway.drain().await?;
            world.drained(took);
            restart(world, gateway).await?;
        }
        Trouble::KillInDrain(millis) => {
            world.count(|stats| &mut stats.cut_drains);
            world.goes_down();
            gateway.signal("TERM").await.map_err(|error| error.to_string())?;
            last(millis).await;
            gateway.kill().await.map_err(|error| error.to_string())?;
            world.ledger.borrow_mut().killed();
            restart(world, gateway).await?;
        }
        Trouble::BrokerKill(millis) => {
            world.count(|stats| &mut stats.broker_kills);
            blocking(broker, Broker::kill).await?;
            last(millis).await;
            blocking(broker, Broker::restart).await?;
            works(world).await?;
        }
        Trouble::BrokerPause(millis) => {
            world.count(|stats| &mut stats.broker_pauses);
            blocking(broker, |broker| broker.suspend()).await?;
            last(millis).await;
            blocking(broker, |broker| broker.resume()).await?;
            works(world).await?;
        }
    }
    Ok(())
}

async fn restart(world: &World, gateway: &mut Gateway) -> Result<(), String> {
    gateway.again().await?;
    world.is_up(gateway.addresses);
    Ok(())
}

/// How long the trouble lasts.
async fn last(millis: u64) {
    sleep(Duration::from_millis(millis)).await; // sleep: nothing is waited for
}

/// Waits until the gateway keeps messages again.
async fn works(world: &Rc<World>) -> Result<(), String> {
    let Some((_, addresses)) = world.gateway().await else { return Ok(()) };
    let uid = format!("{}back", world.uid(world.plan.users));
    let back = async {
        let mut watch = Watch::log_in(addresses.tcp, &uid).await?;
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
