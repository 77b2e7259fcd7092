//! Three gateways on one broker, as processes that are killed, stopped and cut off: what the contract says of one
//! gateway holds for the cluster.

#![cfg(all(unix, any(feature = "nats", feature = "redis")))]

// The gateway's own tests use the rest.
#[allow(dead_code, unused_imports)]
#[path = "../gateway/support/mod.rs"]
mod support;

mod broker;
mod flow;
mod nodes;
mod operations;
mod order;
mod outage;
mod sso;

/// Makes each function a test on each kind of broker.
macro_rules! on_each_broker {
    ($($test:ident)*) => {
        #[cfg(feature = "nats")]
        mod nats {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<brokers::Nats>().await;
            })*
        }

        #[cfg(feature = "redis")]
        mod redis {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<brokers::Redis>().await;
            })*
        }
    };
}
use on_each_broker;
