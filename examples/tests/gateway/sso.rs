//! Who keeps a place when a user logs in again.

use std::net::SocketAddr;

use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Gateway, Process, Tcp, Ws};

#[tokio::test]
async fn a_session_that_lost_its_place_is_silent() {
    let gateway = Gateway::start("").await;
    let mut witness = Tcp::settled(gateway.tcp(), "witness").await;
    let mut old = Ws::settled(gateway.ws(), "uid=bob").await;
    let mut new = Ws::settled(gateway.ws(), "uid=bob").await;

    old.send_all(["Twitness|late".to_owned(), "Jroom".to_owned(), "Kwitness".to_owned()]).await;
    witness.send_all(["Tbob|hello", "Rroom|hello", "B hello"]).await;
    // Broadcasts are in order by themselves, and not among what is sent to the user alone.
    let mut heard = [new.recv().await, new.recv().await];
    heard.sort_unstable();
    assert_eq!(heard, ["B hello", "Tbob|hello"]);
    assert_eq!(old.rest().await, (vec!["!bye sso".to_owned()], Some(4000)));

    new.send("Twitness|in time").await;
    assert_eq!(witness.recv().await, "B hello");
    assert_eq!(witness.recv().await, "Twitness|in time");
}

#[tokio::test]
async fn a_tcp_session_that_lost_its_place_gets_only_its_goodbye() {
    let gateway = Gateway::start("").await;
    let mut old = Tcp::settled(gateway.tcp(), "bob").await;
    let mut new = Ws::settled(gateway.ws(), "uid=bob").await;
    old.send("E").await;
    assert_eq!(new.ask("Ebob").await, "Ebob");
    assert_eq!(old.rest().await, ["!bye sso"]);
}

/// What a session of bob's hears until it is closed, or until it is called by name.
async fn hear(mut client: Client) -> (Vec<String>, bool) {
    let mut heard = Vec::new();
    while let Some(message) = client.next().await {
        heard.push(message);
        if heard.last().is_some_and(|message| message.starts_with("Tbob|")) {
            return (heard, true);
        }
    }
    (heard, false)
}

enum Client {
    Ws(Box<Ws>),
    Tcp(Tcp),
}

impl Client {
    async fn login(gateway: (SocketAddr, SocketAddr), over_ws: bool) -> Self {
        match over_ws {
            true => Self::Ws(Box::new(Ws::login(gateway.0, "uid=bob").await)),
            false => Self::Tcp(Tcp::login(gateway.1, "bob").await),
        }
    }

    async fn next(&mut self) -> Option<String> {
        match self {
            Self::Ws(client) => match client.next().await? {
                Message::Close(_) => None,
                message => Some(message.into_text().unwrap().to_string()),
            },
            Self::Tcp(client) => client.next().await.map(|message| String::from_utf8(message).unwrap()),
        }
    }
}

#[tokio::test]
async fn of_two_hundred_simultaneous_logins_exactly_one_works() {
    const LOGINS: usize = 200;

    let gateway = Process::start("").await;
    let mut witness = Tcp::settled(gateway.tcp(), "witness").await;
    let mut clients = JoinSet::new();
    for number in 0..LOGINS {
        let login = Client::login((gateway.ws(), gateway.tcp()), number % 2 == 1);
        clients.spawn(async { hear(login.await).await });
    }
    for _ in 1..LOGINS {
        let (heard, works) = clients.join_next().await.unwrap().unwrap();
        assert_eq!((heard, works), (vec!["!bye sso".to_owned()], false));
    }
    assert_eq!(witness.ask("Obob").await, "+online bob 1");
    assert_eq!(witness.ask("N").await, "+users 2");
    witness.send("Tbob|still there?").await;
    let (heard, works) = clients.join_next().await.unwrap().unwrap();
    assert_eq!((heard, works), (vec!["Tbob|still there?".to_owned()], true));
    assert_eq!(witness.ask("E").await, "E", "bob was online");
}

#[tokio::test]
async fn per_device_a_login_ends_only_the_same_device() {
    let gateway = Gateway::start("--sso device").await;
    let mut phone = Ws::settled(gateway.ws(), "uid=bob&device=phone").await;
    let mut desk = Tcp::settled(gateway.tcp(), "uid=bob&device=desk").await;
    let mut new_phone = Tcp::settled(gateway.tcp(), "uid=bob&device=phone").await;
    assert_eq!(phone.rest().await, (vec!["!bye sso".to_owned()], Some(4000)));
    assert_eq!(new_phone.ask("Eboth").await, "Eboth");
    assert_eq!(desk.recv().await, "Eboth");
}

#[tokio::test]
async fn without_sso_all_sessions_stay() {
    let gateway = Gateway::start("--sso off").await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(Ws::settled(gateway.ws(), "uid=bob&device=same").await);
    }
    sessions[0].send("Eall").await;
    for session in &mut sessions {
        assert_eq!(session.recv().await, "Eall");
    }
    assert_eq!(sessions[2].ask("N").await, "+users 1");
}
