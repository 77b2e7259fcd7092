//! The chat on two nodes: `cargo run --release -p examples --bin cluster-chat`, then open both addresses that it prints.
//! It brings its own broker, a NATS server, and ends it when it ends.

use std::process::ExitCode;

use brokers::NatsServer;
use examples::chat::{self, ClusterConfig};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{}", ClusterConfig::USAGE);
        return ExitCode::SUCCESS;
    }
    let config = match ClusterConfig::parse(args) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    eprintln!("starting a NATS server; where there is none it is downloaded first");
    let broker = match NatsServer::start() {
        Ok(broker) => broker,
        Err(error) => {
            eprintln!("cluster-chat: there is no broker for the nodes to meet at: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    match run(config, &broker) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster-chat: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: ClusterConfig, broker: &NatsServer) -> Result<(), tok_core::error::BoxError> {
    let ready = |[first, second]: [std::net::SocketAddr; 2]| {
        println!("open http://{first} and http://{second}");
        println!("two nodes of one chat, which meet at {}", broker.url());
    };
    chat::run_cluster(config, &broker.url(), ready, chat::stop_signal()).await
}
