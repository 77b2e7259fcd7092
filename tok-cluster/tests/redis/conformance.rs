//! The driver keeps the contracts of `Registry` and `Bus`, whether nodes share a connection or have one each.

mod registry {
    use tok_cluster::testkit::Registries;
    use tok_core::rt::Tokio;

    use crate::support::{block_on, builder};

    async fn make() -> Registries {
        let builder = builder();
        let [first, second] = [builder.clone().connect().await, builder.connect().await].map(Result::unwrap);
        Registries::new(first.registry(), second.registry(), Tokio)
    }

    tok_cluster::registry_conformance!(make, block_on = block_on);
}

mod bus {
    use tok_cluster::testkit::Buses;
    use tok_core::rt::Tokio;

    use crate::support::{block_on, builder};

    async fn make() -> Buses {
        let builder = builder();
        let [first, second] = [builder.clone().connect().await, builder.connect().await].map(Result::unwrap);
        Buses::new(first.bus(), second.bus(), Tokio)
    }

    tok_cluster::bus_conformance!(make, block_on = block_on);
}

mod buses_that_share_a_connection {
    use tok_cluster::testkit::Buses;
    use tok_core::rt::Tokio;

    use crate::support::{block_on, broker};

    async fn make() -> Buses {
        let broker = broker().await;
        Buses::new(broker.bus(), broker.bus(), Tokio)
    }

    tok_cluster::bus_conformance!(make, block_on = block_on);
}
