//! The shipped hub in the simulator: clients that are cut, stall, vanish and lose Pongs, a queue that is slow and fails,
//! restarts and crashes, and the promises checked at every step.
//!
//! A seed stands for one run of one of the four simulations here. `TOK_SEED=N cargo test -p tok-core --test sim` replays
//! one; `TOK_SEEDS=N` runs so many; `cargo xtask sim` runs very many, with optimisation.

use std::time::Duration;

use tok_core::{
    Actor, Durability, Hub, HubBuilder, Message, Overflow, Session, Sso, async_trait,
    queue::Caps,
    testkit::sim::{Place, Report, Seeds, SimRuntime, World},
};

/// The four simulations, by what a seed leaves when divided by four.
const MEMORY: u64 = 0;
const WRITE_AHEAD: u64 = 1;
const WRITE_BACK: u64 = 2;
const DEVICES: u64 = 3;

/// Takes its time, answers, and panics now and then.
struct Handler {
    rt: SimRuntime,
}

#[async_trait]
impl Actor for Handler {
    async fn on_receive(&self, session: &Session, message: Message) {
        if self.rt.below(4) == 0 {
            self.rt.sleep(Duration::from_millis(self.rt.below(300))).await;
        }
        if self.rt.below(40) == 0 {
            // As a panic, save that nothing is printed.
            std::panic::resume_unwind(Box::new("simulated"));
        }
        let _ = session.send(message);
    }
}

fn hub(mode: u64, place: &Place) -> HubBuilder {
    let rt = place.runtime();
    let overflow = match rt.below(3) {
        0 => Overflow::Disconnect,
        1 => Overflow::DropOldest,
        _ => Overflow::Refuse,
    };
    let backlog = usize::try_from(1024 + rt.below(4096)).unwrap();
    let builder = Hub::builder(Handler { rt: rt.clone() })
        .runtime(rt)
        .queue(place.queue())
        .ping_interval(Duration::from_secs(2))
        .write_timeout(Duration::from_secs(3))
        .max_backlog(backlog)
        .overflow(overflow)
        .max_memory(64 * 1024)
        .max_message(4096);
    match mode {
        WRITE_BACK => builder.durability(Durability::WriteBack),
        DEVICES => builder.sso(Sso::PerDevice),
        _ => builder,
    }
}

fn run(seed: u64) -> Result<Report, String> {
    let mode = seed % 4;
    let durable = matches!(mode, WRITE_AHEAD | WRITE_BACK);
    // Less than what is sent to a user, or little.
    let max_messages = if (seed / 4).is_multiple_of(3) { 10 } else { 60 };
    let caps = Caps { durable, shared: false, max_messages, max_bytes: 1 << 20, max_message: None };
    let world = World::new(seed).caps(caps).faultless((seed / 4).is_multiple_of(8));
    // What a crash loses of what is written back is no secret: `Durability` says so.
    let world = world.crashes(mode == WRITE_AHEAD);
    let world = world.traffic(|traffic| traffic.say(|number| format!("{number} {}", "y".repeat(100))));
    let world = if mode == DEVICES { world.devices(2) } else { world };
    world.run(move |place| hub(mode, place))
}

fn promises_hold(mode: u64) {
    let seeds = Seeds::from_env(200).share(mode, 4).replay("cargo test -p tok-core --test sim");
    seeds.check(|seed| {
        let report = run(seed)?;
        // A simulation in which nothing happens proves nothing.
        if report.delivered > 0 { Ok(()) } else { Err("nothing was delivered".to_owned()) }
    });
}

#[test]
fn promises_hold_with_a_queue_in_memory() {
    promises_hold(MEMORY);
}

#[test]
fn promises_hold_with_a_durable_queue_written_ahead() {
    promises_hold(WRITE_AHEAD);
}

#[test]
fn promises_hold_with_a_durable_queue_written_back() {
    promises_hold(WRITE_BACK);
}

#[test]
fn promises_hold_with_several_devices() {
    promises_hold(DEVICES);
}

#[test]
fn the_same_seed_takes_the_same_steps() {
    for seed in 0..50 {
        assert_eq!(run(seed).unwrap(), run(seed).unwrap(), "seed {seed}");
    }
}
