#![doc = include_str!("../README.md")]

mod nats;
mod program;
mod proxy;
mod redis;
mod server;

pub use self::{
    nats::{Nats, NatsServer},
    program::{install, nats_server, redis_server},
    proxy::{Direction, Proxy},
    redis::{Redis, RedisServer},
    server::{Kind, Server},
};
