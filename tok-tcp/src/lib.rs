#![doc = include_str!("../README.md")]

mod form;
mod frame;
mod login;
mod server;
mod transport;

pub use self::{
    frame::{Decoder, FRAMING},
    login::Login,
    server::Server,
    transport::TcpTransport,
};
