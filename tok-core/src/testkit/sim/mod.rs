//! A deterministic simulator: the shipped hub on a seeded scheduler with virtual time, among clients, networks and
//! queues that fail, with the promises checked at every step.
//!
//! The order in which ready tasks run, the random numbers and the clock all come from a seed, so that a run that fails
//! fails again. Time stands still while anything can run and then jumps to the next timer, so that hours pass in
//! milliseconds.
//!
//! # Your own actor, with faults, under many seeds
//!
//! [`World`] is a node with users who connect, behave badly and vanish, senders who write to them all the while, and a
//! [`Nemesis`] that breaks things; a [`Checker`] watches. [`Seeds`] runs it under one seed after the other and, where one
//! fails, prints the line that runs that one again.
//!
//! ```
//! use tok_core::{
//!     Actor, Hub, Message, Session, async_trait,
//!     testkit::sim::{Seeds, World},
//! };
//!
//! struct Shout;
//!
//! #[async_trait]
//! impl Actor for Shout {
//!     async fn on_receive(&self, session: &Session, message: Message) {
//!         let _ = session.send(message.as_text().unwrap_or_default().to_uppercase());
//!     }
//! }
//!
//! Seeds::from_env(20).replay("cargo test --doc sim").check(|seed| {
//!     World::new(seed).run(|node| Hub::builder(Shout).runtime(node.runtime()).queue(node.queue()))
//! });
//! ```
//!
//! `TOK_SEEDS=1000` in the environment runs so many, `TOK_SEED=17` that one alone; with `TOK_STORY=1` it says on stderr
//! what happens.
//!
//! # The parts
//!
//! | part | what it is |
//! |---|---|
//! | [`Sim`], [`SimRuntime`] | the scheduler; processes that are killed; counts of tasks and timers that are left |
//! | [`sim_pair`], [`SimClient`] | a connection with latency and a buffer, whose client reads slowly, loses its Pongs, is cut, or vanishes |
//! | [`SimQueue`] | storage that is slow, fails before or after it has done its work, and is away |
//! | [`Nemesis`] | breaks and heals what it is given, at times of the seed's choice |
//! | [`Checker`] | the [invariants](Checker#invariants), by number |
//! | [`Traffic`] | users, their clients and those who send to them, over any number of [`Nodes`] |
//! | [`World`] | all of these around one node |
//!
//! For something of your own, use the parts: a test is a future that [`Sim::run_checked`] runs to its end.
//!
//! ```
//! use std::time::Duration;
//! use tok_core::{rt::Runtime, testkit::sim::Sim};
//!
//! let sim = Sim::new(7);
//! let rt = sim.runtime();
//! let slept = sim.run(async move {
//!     let before = rt.now();
//!     rt.sleep_until(before.saturating_add(Duration::from_secs(3600))).await;
//!     rt.now().saturating_since(before)
//! });
//! assert_eq!(slept, Ok(Duration::from_secs(3600)));
//! ```

mod checker;
mod client;
mod executor;
mod nemesis;
mod nodes;
mod queue;
mod rng;
mod seeds;
mod traffic;
mod wait;
mod world;

pub use self::{
    checker::Checker,
    client::{Network, SimClient, sim_pair},
    executor::{Sim, SimRuntime, Stopped},
    nemesis::{Calm, Nemesis},
    nodes::Nodes,
    queue::{Change, SimQueue},
    rng::Rng,
    seeds::Seeds,
    traffic::{Staying, Traffic},
    world::{Place, Report, World},
};
