//! A chat in the browser: `cargo run --release -p examples --bin chat`, then open the address it prints.

use std::process::ExitCode;

use examples::chat::{self, Config};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{}", Config::USAGE);
        return ExitCode::SUCCESS;
    }
    let config = match Config::parse(args) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let ready = |addresses: chat::Addresses| {
        println!("open http://{}", addresses.web);
        println!("the same chat over TCP: {}", addresses.tcp);
    };
    match chat::run(config, ready, chat::stop_signal()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}
