//! The suite, directly, behind pointers, with small limits, and on the runtimes.

use std::sync::Arc;

use tok_core::Queue;
use tok_queue::RedbQueue;

use super::support::temporary;

async fn make() -> RedbQueue {
    temporary(RedbQueue::builder())
}

mod direct {
    tok_core::queue_conformance!(super::make);
}

mod small_limits {
    tok_core::queue_conformance!(async || {
        super::temporary(super::RedbQueue::builder().max_messages(16).max_bytes(4096))
    });
}

mod fast_recovery_and_hardly_any_cache {
    tok_core::queue_conformance!(async || {
        super::temporary(super::RedbQueue::builder().fast_recovery(true).cache_bytes(4096))
    });
}

mod in_an_arc {
    async fn make() -> super::Arc<dyn super::Queue> {
        super::Arc::new(super::make().await)
    }

    tok_core::queue_conformance!(make);
}

mod on_tokio {
    tok_core::queue_conformance!(
        super::make,
        block_on = |rule| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(rule)
    );
}

mod on_smol {
    tok_core::queue_conformance!(super::make, block_on = smol::block_on);
}
