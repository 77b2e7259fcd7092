use std::time::Duration;

use tok_core::Hub;
use tokio::sync::watch;

use super::{actor::Chat, protocol::ServerMessage};

/// At most so often is everybody told, whatever the number of logins.
const INTERVAL: Duration = Duration::from_millis(50);

/// Tells everybody who is online and in which rooms, after each change, until `stopped`.
///
/// Hooks are not async and must not wait, so they only note that something changed. One task that always sends the
/// whole state has no order of joins and leaves to get wrong, and one list for a hundred logins at once is enough.
pub(super) async fn announce(hub: Hub, chat: Chat, mut stopped: watch::Receiver<bool>) {
    let announcing = async {
        loop {
            chat.changed().await;
            // Only the other nodes of a cluster can fail to answer, or a hub that shuts down: nobody is left to tell.
            if let Ok(users) = hub.online().await {
                let mut users: Vec<String> = users.iter().map(ToString::to_string).collect();
                users.sort();
                let presence = ServerMessage::Presence { users, rooms: chat.rooms().list() };
                let _ = hub.broadcast(presence).await;
            }
            let runtime = hub.runtime();
            runtime.sleep_until(runtime.now().saturating_add(INTERVAL)).await;
        }
    };
    tokio::select! {
        () = announcing => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}
