//! Looks at a gateway from outside: whether it keeps messages, who is online, what it holds.

use std::{
    io,
    iter::Sum,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    gateways::Addresses,
    page::Page,
    process::Gateway,
    wire::{Connection, Incoming, Transport, login},
    world::{GUARD, guarded},
};

/// Between two looks at what nobody announces.
const LOOK: Duration = Duration::from_millis(20);

/// A client beside the round's users.
#[derive(Debug)]
pub(super) struct Watch {
    link: Connection,
    uid: String,
}

impl Watch {
    pub(super) async fn log_in(tcp: SocketAddr, uid: &str) -> Result<Self, String> {
        let query = login(uid, "watch", Transport::Tcp);
        let login = Connection::login(tcp, Transport::Tcp, &query, false);
        let link = guarded(login).await.ok_or("no login in time")?;
        Ok(Self { link: link.map_err(|error| format!("no login: {error}"))?, uid: uid.to_owned() })
    }

    /// Logs in until it has worked: in a cluster not at once, where its broker has just been away.
    pub(super) async fn settled(tcp: SocketAddr, uid: &str) -> Result<Self, String> {
        let deadline = Instant::now() + GUARD;
        loop {
            let mut watch = Self::log_in(tcp, uid).await?;
            watch.link.send(b"Lnothing");
            match watch.next().await {
                Ok(answer) if answer == "+left nothing 0" => return Ok(watch),
                said if Instant::now() > deadline => return Err(format!("still no login: {said:?}")),
                _ => sleep(LOOK).await, // sleep: between two looks
            }
        }
    }

    /// Sends and waits for a line that is no question.
    async fn next(&mut self) -> Result<String, String> {
        loop {
            let incoming = guarded(self.link.next()).await;
            match incoming.ok_or_else(|| format!("nothing came in {} s", GUARD.as_secs()))? {
                Ok(Incoming::Message(message)) => return Ok(String::from_utf8_lossy(&message).into_owned()),
                Ok(Incoming::Question(question)) => self.link.answer(&question),
                Ok(Incoming::Close(_) | Incoming::End) => return Err("the gateway has hung up".to_owned()),
                Err(error) => return Err(text(&error)),
            }
        }
    }

    /// How many users are online.
    pub(super) async fn users(&mut self) -> Result<u64, String> {
        self.link.send(b"N");
        let answer = self.next().await?;
        let users = answer.strip_prefix("+users ").and_then(|users| users.parse().ok());
        users.ok_or_else(|| format!("to N it said `{answer}`"))
    }

    /// Waits until messages are kept: at once, unless the queue's server has just been away.
    pub(super) async fn keeps(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + GUARD;
        loop {
            let (kept, fence) = (format!("Q60|{}|kept", self.uid), "Efence");
            self.link.send(kept.as_bytes());
            self.link.send(fence.as_bytes());
            let (mut arrived, mut refused) = (false, None);
            loop {
                let line = self.next().await?;
                if line == fence {
                    break;
                }
                if line == kept {
                    arrived = true;
                } else {
                    refused = Some(line);
                }
            }
            match refused {
                None if arrived => return Ok(()),
                None => return Err("the echo came before what was kept before it".to_owned()),
                Some(line) if Instant::now() > deadline => {
                    return Err(format!("still nothing is kept: {line}"));
                }
                Some(_) => sleep(LOOK).await, // sleep: between two looks
            }
        }
    }

    /// Waits until nobody else is online.
    pub(super) async fn is_alone(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + GUARD;
        loop {
            match self.users().await? {
                1 => return Ok(()),
                users if Instant::now() > deadline => {
                    return Err(format!("{} users are online though all have left", users - 1));
                }
                _ => sleep(LOOK).await, // sleep: between two looks
            }
        }
    }

    pub(super) async fn leave(mut self) {
        // Who does not wait for the end leaves, too.
        let _ = guarded(self.link.finish()).await;
    }
}

/// Waits until a node of a cluster says that all is well between it and the others. A gateway that is alone says nothing.
pub(super) async fn is_healthy(addresses: Addresses) -> Result<(), String> {
    until(addresses, "a node that is not well", |page| page.figure("tok_cluster_healthy") == Some(1)).await
}

/// Waits until nothing is left on a node of a cluster but the session that looks. A gateway that is alone says nothing.
pub(super) async fn is_empty(addresses: Addresses) -> Result<(), String> {
    const FIGURES: [&str; 4] = ["tok_sessions", "tok_users_online", "tok_user_entries", "tok_cluster_claims"];
    until(addresses, "something is left", |page| FIGURES.iter().all(|name| page.figure(name) == Some(1)))
        .await
}

async fn until(addresses: Addresses, what: &str, is_so: impl Fn(&Page) -> bool) -> Result<(), String> {
    let Some(metrics) = addresses.metrics else { return Ok(()) };
    let deadline = Instant::now() + GUARD;
    loop {
        let page = guarded(Page::fetch(metrics)).await.ok_or("no page of metrics in time")?;
        let page = page.map_err(|error| format!("no page of metrics: {error}"))?;
        if is_so(&page) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{what}: {page}"));
        }
        sleep(LOOK).await; // sleep: between two looks
    }
}

/// What a gateway held at a time when nobody was there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rest {
    /// Resident bytes.
    pub(super) bytes: u64,
    /// Open files.
    pub(super) files: usize,
}

impl Sum for Rest {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self { bytes: a.bytes + b.bytes, files: a.files + b.files })
    }
}

impl Rest {
    /// Looks when only the watch is there; it must be the same way each time.
    pub(super) fn of(gateway: &Gateway) -> Result<Self, String> {
        let (bytes, files) = gateway.held().map_err(|error| text(&error))?;
        Ok(Self { bytes, files })
    }

    /// Looks until the gateway has closed what it had open for others; the last look if it never does.
    pub(super) async fn after(gateway: &Gateway, files: usize) -> Result<Self, String> {
        let deadline = Instant::now() + GUARD;
        loop {
            let rest = Self::of(gateway)?;
            if rest.files <= files || Instant::now() > deadline {
                return Ok(rest);
            }
            sleep(LOOK).await; // sleep: between two looks
        }
    }
}

fn text(error: &io::Error) -> String {
    error.to_string()
}
