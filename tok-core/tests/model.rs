//! The hub against a model of a hundred lines: logins, ends of every kind, kept and other messages, time, and a queue that
//! fails, in any order. Each list of operations runs in the simulator, and what clients read, what senders are told and
//! what the hub counts has to be as the model says. A list that fails is reduced to the shortest that does.
//!
//! `TOK_MODEL_CASES=N cargo test -p tok-core --test model` runs so many lists, from another seed each time.

#[allow(clippy::disallowed_types)] // std's atomics and mutex: tok-core's own are not public.
mod model {
    pub(crate) mod reference;
    pub(crate) mod world;
}

use std::env;

use model::{
    reference::Rules,
    world::{Op, run},
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngSeed, TestError, TestRunner},
};

fn check(rules: Rules) {
    let wanted = env::var("TOK_MODEL_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: wanted.unwrap_or(400),
        rng_seed: if wanted.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) },
        // What fails becomes a test with a name.
        failure_persistence: None,
        ..Config::default()
    };
    let lists = (any::<u64>(), vec(op(), 1..40));
    let result = TestRunner::new(config)
        .run(&lists, |(seed, ops)| run(seed, rules, &ops).map_err(TestCaseError::fail));
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, (seed, ops))) => panic!("{why}\nseed {seed}, {rules:?}: {ops:#?}"),
        Err(error) => panic!("{error}"),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let (user, device, client) = (0..2_usize, 0..2_usize, 0..8_usize);
    prop_oneof![
        4 => (user.clone(), device.clone()).prop_map(|(user, device)| Op::Login { user, device }),
        6 => (user.clone(), any::<bool>()).prop_map(|(user, brief)| Op::Keep { user, brief }),
        3 => user.clone().prop_map(|user| Op::Tell { user }),
        6 => client.clone().prop_map(|client| Op::Read { client }),
        1 => client.clone().prop_map(|client| Op::Say { client }),
        1 => (client.clone(), any::<bool>()).prop_map(|(client, answers)| Op::Answer { client, answers }),
        1 => client.clone().prop_map(|client| Op::Close { client }),
        1 => client.clone().prop_map(|client| Op::Reset { client }),
        1 => client.prop_map(|client| Op::Vanish { client }),
        1 => (user, proptest::option::of(device)).prop_map(|(user, device)| Op::Kick { user, device }),
        2 => prop_oneof![Just(1), Just(9)].prop_map(|beats| Op::Pass { beats }),
        1 => any::<bool>().prop_map(|fails| Op::Queue { fails }),
    ]
}

#[test]
fn one_session_a_user_and_a_queue_in_memory() {
    check(Rules { per_device: false, durable: false });
}

#[test]
fn one_session_a_device_and_a_queue_in_memory() {
    check(Rules { per_device: true, durable: false });
}

#[test]
fn one_session_a_user_and_a_durable_queue() {
    check(Rules { per_device: false, durable: true });
}

#[test]
fn one_session_a_device_and_a_durable_queue() {
    check(Rules { per_device: true, durable: true });
}
