//! The suites of `Registry` and `Bus`: the broker in memory passes them, alone and behind a well-behaved `Chaos`; every
//! wrong implementation fails where it should, and no rule is there that nothing can break.

use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
};

use tok_cluster::{
    Chaos, Faults, MemoryBroker,
    testkit::{Buses, Registries, bus, bus::wrong::WrongBus, registry, registry::wrong::WrongRegistry},
};
use tok_core::{rt::Tokio, testkit::sim::Sim};

fn paused(rule: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(rule);
}

mod memory_registry {
    use super::*;

    async fn make() -> Registries {
        let broker = MemoryBroker::new(Tokio);
        Registries::new(broker.registry(), broker.registry(), Tokio)
    }

    tok_cluster::registry_conformance!(make, block_on = paused);
}

mod memory_bus {
    use super::*;

    async fn make() -> Buses {
        let broker = MemoryBroker::new(Tokio);
        Buses::new(broker.bus(), broker.bus(), Tokio)
    }

    tok_cluster::bus_conformance!(make, block_on = paused);
}

mod registry_behind_chaos {
    use super::*;

    async fn make() -> Registries {
        let (broker, faults) = (MemoryBroker::new(Tokio), Faults::new(Tokio));
        let wrapped = || Box::new(Chaos::new(broker.registry(), &faults));
        Registries::new(wrapped(), wrapped(), Tokio)
    }

    tok_cluster::registry_conformance!(make, block_on = paused);
}

mod bus_behind_chaos {
    use super::*;

    async fn make() -> Buses {
        let broker = MemoryBroker::new(Tokio);
        let wrapped = || Chaos::new(broker.bus(), &Faults::new(Tokio));
        Buses::new(wrapped(), wrapped(), Tokio)
    }

    tok_cluster::bus_conformance!(make, block_on = paused);
}

/// Panics are expected by the dozen here: only those of other threads, which run other tests, are printed.
fn silence_panics_of_this_thread() {
    let here = std::thread::current().id();
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != here {
            print(info);
        }
    }));
}

/// This thread's panics are silenced: its verdict has to be printed.
fn give_verdict(escaped: &[String], idle: &BTreeSet<&str>) {
    if !escaped.is_empty() || !idle.is_empty() {
        eprintln!("not caught: {escaped:#?}\nrules that no fault names: {idle:#?}");
        panic!();
    }
}

fn fails(check: impl FnOnce()) -> bool {
    panic::catch_unwind(AssertUnwindSafe(check)).is_err()
}

#[test]
fn every_wrong_registry_fails_its_rule_and_every_rule_fails_a_wrong_registry() {
    silence_panics_of_this_thread();
    let mut escaped = Vec::new();
    let mut idle: BTreeSet<_> = registry::RULES.iter().map(registry::Rule::name).collect();
    for &fault in registry::wrong::Fault::ALL {
        let verdict = |rule: &&registry::Rule| {
            fails(|| {
                let sim = Sim::new(1);
                let broker = MemoryBroker::new(sim.runtime());
                let [first, second] = WrongRegistry::pair(fault, broker.registry(), broker.registry());
                let registries = Registries::new(first, second, sim.runtime());
                sim.run(rule.check(&registries)).unwrap();
            })
        };
        let failed: Vec<_> = registry::RULES.iter().filter(verdict).map(registry::Rule::name).collect();
        if !failed.contains(&fault.caught_by()) {
            escaped.push(format!("{fault:?} passes {}, fails {failed:?}", fault.caught_by()));
        }
        idle.remove(fault.caught_by());
    }
    give_verdict(&escaped, &idle);
}

#[test]
fn every_wrong_bus_fails_its_rule_and_every_rule_fails_a_wrong_bus() {
    silence_panics_of_this_thread();
    let mut escaped = Vec::new();
    let mut idle: BTreeSet<_> = bus::RULES.iter().map(bus::Rule::name).collect();
    for &fault in bus::wrong::Fault::ALL {
        let verdict = |rule: &&bus::Rule| {
            fails(|| {
                let sim = Sim::new(1);
                let broker = MemoryBroker::new(sim.runtime());
                let [first, second] = [0, 1].map(|_| WrongBus::new(fault, broker.bus()));
                let buses = Buses::new(first, second, sim.runtime());
                sim.run(rule.check(&buses)).unwrap();
            })
        };
        let failed: Vec<_> = bus::RULES.iter().filter(verdict).map(bus::Rule::name).collect();
        if !failed.contains(&fault.caught_by()) {
            escaped.push(format!("{fault:?} passes {}, fails {failed:?}", fault.caught_by()));
        }
        idle.remove(fault.caught_by());
    }
    give_verdict(&escaped, &idle);
}

/// A rule that is written but not listed would never run.
#[test]
fn every_rule_is_listed_once() {
    let written = |file: &str| {
        let names = file.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let listed: Vec<_> = registry::RULES.iter().map(registry::Rule::name).collect();
    assert_eq!(listed, written(include_str!("../src/testkit/registry/rules.rs")));
    let listed: Vec<_> = bus::RULES.iter().map(bus::Rule::name).collect();
    assert_eq!(listed, written(include_str!("../src/testkit/bus/rules.rs")));
}
