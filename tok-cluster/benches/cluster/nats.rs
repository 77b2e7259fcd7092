use brokers::NatsServer;
use futures_util::StreamExt;
use tok_cluster::NatsBroker;

use super::{Arc, BYTES, Broker, measure::rate};

pub(crate) fn start() -> Broker {
    let server = NatsServer::start().expect("a server");
    let files = std::fs::read_dir(server.data_dir()).expect("its folder").flatten();
    let mut names = files.filter_map(|file| file.file_name().into_string().ok());
    let ports = names.find(|name| name.ends_with(".ports")).expect("its ports");
    let pid = ports.trim_end_matches(".ports").rsplit('_').next().unwrap_or_default().to_owned();
    Broker {
        url: server.url(),
        server: Box::new(server),
        pid,
        connect: |url| {
            Box::pin(async move {
                let broker = NatsBroker::builder(url).connect().await.expect("a broker");
                (Arc::new(broker.registry()) as _, Arc::new(broker.bus()) as _)
            })
        },
    }
}

/// The client's own requests.
pub(crate) async fn bare(on: &Broker) {
    let client = async_nats::connect(&on.url).await.expect("a server");
    let mut echo = client.subscribe("echo").await.expect("a subscription");
    let answering = async_nats::connect(&on.url).await.expect("a server");
    tokio::spawn({
        let answering = answering.clone();
        async move {
            while let Some(message) = echo.next().await {
                if let Some(reply) = message.reply {
                    let _ = answering.publish(reply, message.payload.slice(..8)).await;
                }
            }
        }
    });
    for tasks in [1, 64, 256] {
        let asking = answering.clone();
        rate(&format!("bare client, {tasks:3} at once"), tasks, on, move |_| {
            let asking = asking.clone();
            async move {
                asking.request("echo", vec![7; BYTES].into()).await.expect("an answer");
            }
        })
        .await;
    }
}
