//! A user's device: what its clients do, good and bad.

use std::time::Duration;

use super::{DAY, Traffic};
use crate::{
    Device, Uid,
    rt::Runtime,
    testkit::{
        Read,
        sim::{
            Checker, Network, SimClient, sim_pair,
            wait::{Flag, within},
        },
    },
};

/// A device of a user, which connects again and again.
#[derive(Debug)]
pub(super) struct Client {
    traffic: Traffic,
    uid: Uid,
    device: String,
    connection: Option<(SimClient, usize)>,
}

impl Client {
    pub(super) fn new(traffic: Traffic, uid: Uid, device: String) -> Self {
        Self { traffic, uid, device, connection: None }
    }

    /// Behaves badly until all is `quiet`, then stays until it has read everything.
    pub(super) async fn live(&mut self, quiet: &Flag) {
        let traffic = self.traffic.clone();
        while !quiet.is_set() && !traffic.faultless {
            traffic.pause(600).await;
            match self.connect() {
                // One that means well, and lives through whatever is broken meanwhile.
                Some(connection) if traffic.rt.below(5) == 0 => {
                    self.connection = Some(connection);
                    while !quiet.is_set() && self.read(Duration::from_secs(1)).await != Some(false) {}
                    if !quiet.is_set() {
                        self.connection = None;
                    }
                }
                Some((peer, connection)) => self.misbehave(peer, connection).await,
                None => {}
            }
        }
        traffic.stir();
        // Until nothing has come for anybody: who stops reading before is not online any more.
        while !quiet.is_set() || !traffic.is_still() {
            if self.connection.is_none() {
                self.connection = self.connect();
                traffic.pause(100).await;
                continue;
            }
            match self.read(Duration::from_secs(1)).await {
                Some(true) => traffic.stir(),
                // Another login of this client that took effect late has the place, or the node is gone.
                Some(false) => {
                    self.connection = None;
                    traffic.stir();
                    traffic.pause(1000).await;
                }
                None => {}
            }
        }
    }

    /// Connects, vanishes and never comes back, so that only time ends the session.
    pub(super) async fn haunt(self) {
        self.traffic.pause(5000).await;
        if let Some((mut peer, _)) = self.connect() {
            self.traffic.pause(3000).await;
            peer.vanish();
        }
    }

    pub(super) async fn read_on(&mut self, time: Duration) {
        let rt = self.traffic.rt.clone();
        within(&rt, time, async { while self.read(DAY).await != Some(false) {} }).await;
        rt.sleep(Duration::ZERO).await;
    }

    pub(super) fn leave(self) {
        if let Some((mut peer, _)) = self.connection {
            peer.close();
        }
    }

    fn connect(&self) -> Option<(SimClient, usize)> {
        let rt = &self.traffic.rt;
        let up = self.traffic.nodes.any(rt)?;
        let network = Network {
            buffer: usize::try_from(100 + rt.below(4000)).unwrap_or(1000),
            latency: Duration::from_millis([0, 0, 5, 80][usize::try_from(rt.below(4)).unwrap_or_default()]),
            confirms: true,
        };
        let (transport, client) = sim_pair(rt, network);
        let device = Device::new(self.uid.clone()).with_id(self.device.clone());
        let (device, number) = self.traffic.checker.connecting(device, &client);
        let session = up.hub.serve(device, transport);
        let session = async move {
            session.await;
        };
        up.process.spawn("session", Box::pin(session));
        Some((client, number))
    }

    async fn read(&mut self, limit: Duration) -> Option<bool> {
        let (peer, number) = self.connection.as_mut()?;
        read(&self.traffic.checker, &self.uid, peer, *number, limit).await
    }

    async fn misbehave(&mut self, mut peer: SimClient, number: usize) {
        let Self { traffic, uid, .. } = &*self;
        let rt = &traffic.rt;
        let mut said = 0;
        for _ in 0..rt.below(30) {
            match rt.below(22) {
                // The stack's answers are lost for a while.
                0 => peer.lose_pongs(true),
                1 => peer.lose_pongs(false),
                // Never the number of an open question: a client that lies about that loses its own messages.
                2 => peer.answer(1_000_000 + rt.below(20)),
                3 | 4 => peer.repeat_pong(),
                // Reads nothing for a while.
                5 => traffic.pause(3000).await,
                6 | 7 => {
                    let text = (traffic.say)(said);
                    said += 1;
                    traffic.checker.saying(number, &text);
                    peer.send(text);
                }
                8 => {
                    peer.vanish();
                    break;
                }
                9 => {
                    peer.reset();
                    break;
                }
                _ => {
                    let limit = Duration::from_millis(rt.below(200));
                    if read(&traffic.checker, uid, &mut peer, number, limit).await == Some(false) {
                        break;
                    }
                }
            }
        }
        // A vanished client's end is kept open for a while: nobody tells the server.
        if rt.below(2) == 0 {
            let time = Duration::from_millis(rt.below(5000));
            let rt = rt.clone();
            let vanished = async move {
                peer.vanish();
                rt.sleep(time).await;
                drop(peer);
            };
            traffic.rt.spawn("vanished", Box::pin(vanished));
        }
    }
}

/// Reads one message, if one comes in time: `Some(false)` at the end of the connection.
async fn read(
    checker: &Checker,
    uid: &Uid,
    peer: &mut SimClient,
    number: usize,
    limit: Duration,
) -> Option<bool> {
    match peer.recv_within(limit).await? {
        Read::Message(message) => {
            checker.read(number, uid, message.data());
            Some(true)
        }
        Read::Close(_) | Read::End => Some(false),
    }
}
