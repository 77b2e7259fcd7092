use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tok_core::{Hub, Message, Session};
use tokio::sync::watch;

use super::{
    actor::Chat,
    protocol::{RoomInfo, ServerMessage},
};

/// The shortest time between two announcements of changes to clients, however many logins there are.
const INTERVAL: Duration = Duration::from_millis(50);

/// The pause after an announcement that did not reach everybody.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// The rooms that everybody sees, the largest first. The users are not limited here: `max_sessions` limits them.
const MAX_LISTED_ROOMS: usize = 200;

/// The members of a room that each member sees by name.
const MAX_LISTED_MEMBERS: usize = 20;

/// Tells everybody who is online and which rooms there are, and the members of a room who is in it, until `stopped`.
///
/// A new session is sent the whole list once, everybody else what has changed: a login costs each of the others a line,
/// however many users and rooms there are.
///
/// Hooks are not async and must not wait, so they only note that something changed. One task that compares the state of
/// now with the state that it told last has no order of joins and leaves to get wrong. A change that arrives again, or
/// before the list that it belongs to, does no harm.
pub(super) async fn announce(hub: Hub, chat: Chat, mut stopped: watch::Receiver<bool>) {
    let announcing = async {
        let mut announcer =
            Announcer { hub: &hub, chat: &chat, told: View::default(), newcomers: Vec::new() };
        let mut is_complete = true;
        loop {
            if is_complete {
                chat.changed().await;
            }
            is_complete = announcer.tell(!is_complete).await;
            let pause = if is_complete { INTERVAL } else { PAUSE_AFTER_ERROR };
            let runtime = hub.runtime();
            runtime.sleep_until(runtime.now().saturating_add(pause)).await;
        }
    };
    tokio::select! {
        () = announcing => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    // A session holds the hub, and the hub the chat, which would hold the session.
    drop(chat.newcomers());
}

struct Announcer<'a> {
    hub: &'a Hub,
    chat: &'a Chat,
    /// What everybody knows.
    told: View,
    /// Sessions that have not been sent the whole list.
    newcomers: Vec<Session>,
}

impl Announcer<'_> {
    /// Tells what has changed, or everything to everybody. Returns whether that reached all.
    async fn tell(&mut self, everything: bool) -> bool {
        // Before the users are asked for, so that each newcomer is among them.
        self.newcomers.extend(self.chat.newcomers());
        // Only the other nodes of a cluster can fail to answer, or a hub that shuts down.
        let Ok(users) = self.hub.online().await else { return false };
        let now = View {
            users: users.iter().map(ToString::to_string).collect(),
            rooms: self.chat.rooms().largest(MAX_LISTED_ROOMS),
        };
        let news = if everything { Some(now.whole()) } else { self.told.changes_to(&now) };
        let mut is_complete = match news {
            Some(news) => self.hub.broadcast(news).await.is_ok(),
            None => true,
        };
        let newcomers = std::mem::take(&mut self.newcomers);
        if !newcomers.is_empty() {
            let whole = Message::from(now.whole());
            for session in newcomers {
                is_complete &= session.send(whole.clone()).is_ok() || !session.is_open();
            }
        }
        self.told = now;
        for (room, members) in self.chat.rooms().take_changed(MAX_LISTED_MEMBERS) {
            if self.hub.publish(&room, members).await.is_err() {
                self.chat.rooms().mark_changed(&room);
                is_complete = false;
            }
        }
        is_complete
    }
}

/// What everybody sees.
#[derive(Debug, Default, PartialEq, Eq)]
struct View {
    users: BTreeSet<String>,
    /// Rooms and their numbers of members.
    rooms: BTreeMap<String, usize>,
}

impl View {
    fn whole(&self) -> ServerMessage {
        let rooms =
            self.rooms.iter().map(|(name, members)| RoomInfo { name: name.clone(), members: *members });
        ServerMessage::Presence { users: self.users.iter().cloned().collect(), rooms: rooms.collect() }
    }

    fn changes_to(&self, now: &Self) -> Option<ServerMessage> {
        let is_new = |(name, members): &(&String, &usize)| self.rooms.get(*name) != Some(members);
        let changed = now.rooms.iter().filter(is_new).map(|(name, members)| (name, *members));
        let gone = self.rooms.keys().filter(|name| !now.rooms.contains_key(*name)).map(|name| (name, 0));
        let rooms = changed.chain(gone).map(|(name, members)| RoomInfo { name: name.clone(), members });
        let changes = ServerMessage::Changes {
            online: now.users.difference(&self.users).cloned().collect(),
            offline: self.users.difference(&now.users).cloned().collect(),
            rooms: rooms.collect(),
        };
        (self != now).then_some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(users: &[&str], rooms: &[(&str, usize)]) -> View {
        View {
            users: users.iter().map(ToString::to_string).collect(),
            rooms: rooms.iter().map(|(name, members)| ((*name).to_owned(), *members)).collect(),
        }
    }

    #[test]
    fn changes_name_what_is_different_and_nothing_else() {
        let before = view(&["alice", "bob"], &[("old", 1), ("same", 2), ("tea", 2)]);
        let after = view(&["bob", "carol"], &[("new", 1), ("same", 2), ("tea", 3)]);
        let room = |name: &str, members| RoomInfo { name: name.into(), members };
        assert_eq!(
            before.changes_to(&after),
            Some(ServerMessage::Changes {
                online: vec!["carol".into()],
                offline: vec!["alice".into()],
                rooms: vec![room("new", 1), room("tea", 3), room("old", 0)],
            })
        );
        assert_eq!(after.changes_to(&after), None);
    }
}
