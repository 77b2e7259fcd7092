//! `NatsRegistry` and `NatsBus` keep their contracts on a real server.

use tok_cluster::{
    NatsBroker,
    testkit::{Buses, Registries},
};
use tok_core::rt::Tokio;

use super::{
    SERVER,
    support::{block_on, prefix},
};

/// Two connections, as two nodes have them.
async fn pair() -> [NatsBroker; 2] {
    let name = prefix();
    let broker = || NatsBroker::builder(SERVER.url()).prefix(&name).connect();
    [broker().await.unwrap(), broker().await.unwrap()]
}

mod registry {
    use super::*;

    async fn make() -> Registries {
        let [first, second] = pair().await;
        Registries::new(first.registry(), second.registry(), Tokio)
    }

    tok_cluster::registry_conformance!(make, block_on = block_on);
}

mod bus {
    use super::*;

    async fn make() -> Buses {
        let [first, second] = pair().await;
        Buses::new(first.bus(), second.bus(), Tokio)
    }

    tok_cluster::bus_conformance!(make, block_on = block_on);
}

/// Over one connection, and behind pointers.
mod bus_of_one_connection {
    use super::*;

    async fn make() -> Buses {
        let broker = super::super::builder().connect().await.unwrap();
        Buses::new(Box::new(broker.bus()), std::sync::Arc::new(broker.bus()), Tokio)
    }

    tok_cluster::bus_conformance!(make, block_on = block_on);
}
