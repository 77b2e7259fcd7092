//! Hooks of the application do not run on the task that reads from the server.

use std::sync::Arc;

use super::{builder, stall};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hook_that_blocks_stalls_nobody_else() {
    let builder = builder();
    let connect = async || {
        let broker = builder.clone().connect().await.unwrap();
        (Arc::new(broker.registry()) as _, Arc::new(broker.bus()) as _)
    };
    stall::a_hook_that_blocks_stalls_nobody_else([connect().await, connect().await]).await;
}
