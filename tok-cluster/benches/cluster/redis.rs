use std::{
    io::{Read, Write},
    net::TcpStream,
};

use brokers::RedisServer;
use tok_cluster::RedisBroker;

use super::{Arc, BYTES, Broker, measure::rate};

pub(crate) fn start() -> Broker {
    let server = RedisServer::start().expect("a server");
    let mut stream = TcpStream::connect(server.addr()).expect("a connection");
    stream.write_all(b"INFO server\r\nQUIT\r\n").expect("to be asked");
    let mut info = String::new();
    stream.read_to_string(&mut info).expect("an answer");
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("its id");
    Broker {
        url: server.url(),
        server: Box::new(server),
        pid: pid.to_owned(),
        connect: |url| {
            Box::pin(async move {
                let broker = RedisBroker::connect(url).await.expect("a broker");
                (Arc::new(broker.registry()) as _, Arc::new(broker.bus()) as _)
            })
        },
    }
}

/// The client has no requests of its own: a message that nobody hears is the round trip of which the bus makes two.
pub(crate) async fn bare(on: &Broker) {
    let client = ::redis::Client::open(on.url.as_str()).expect("a server");
    let connection = client.get_multiplexed_async_connection().await.expect("a connection");
    for tasks in [1, 64, 256] {
        let connection = connection.clone();
        rate(&format!("bare PUBLISH, {tasks:2} at once"), tasks, on, move |_| {
            let mut connection = connection.clone();
            async move {
                let mut command = ::redis::cmd("PUBLISH");
                command.arg("nobody").arg(&[7_u8; BYTES][..]);
                let heard: u64 = command.query_async(&mut connection).await.expect("an answer");
                assert_eq!(heard, 0);
            }
        })
        .await;
    }
}
