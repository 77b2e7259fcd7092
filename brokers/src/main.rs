//! Both servers for trying things by hand, until its input ends: `cargo run -p brokers`.

use std::io;

use anyhow::{Context, Result};
use brokers::{NatsServer, RedisServer};

fn main() -> Result<()> {
    let (nats, redis) = (NatsServer::start()?, RedisServer::start()?);
    println!("ready {} {}", nats.url(), redis.url());
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot read the input")?;
    Ok(())
}
