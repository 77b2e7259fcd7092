//! What the gateway tells its operators: figures at `/metrics`, and at `/healthz` whether it wants traffic.

mod counter;
mod http;
mod page;
mod process;

use std::sync::{Arc, OnceLock};

use tok_cluster::Cluster;
use tok_core::{CloseReason, Hub, HubBuilder, Undelivered, transport::Accept};

use self::{counter::Counter, page::Page};
use super::{health::Health, operation::Operation};

/// What is counted. The rest is asked of the hub and the cluster when somebody wants to know.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Once it is built.
    hub: OnceLock<Hub>,
    health: Arc<Health>,
    received: [Counter; OPERATIONS.len()],
    refused: Counter,
    handed: Counter,
    opened: Counter,
    closed: [Counter; CloseReason::ALL.len()],
    undelivered: [Counter; FATES.len()],
}

/// What the gateway says when it is asked.
#[derive(Debug)]
struct Answer {
    is_well: bool,
    text: String,
}

const OPERATIONS: [&str; 12] = [
    "echo",
    "tell",
    "queue",
    "broadcast",
    "join",
    "leave",
    "room",
    "kick",
    "online",
    "users",
    "invalid",
    "reflect",
];

const FATES: [(Undelivered, &str); 6] = [
    (Undelivered::Stored, "stored"),
    (Undelivered::Offline, "offline"),
    (Undelivered::Expired, "expired"),
    (Undelivered::Dropped, "dropped"),
    (Undelivered::Refused, "refused"),
    (Undelivered::NotKept, "not_kept"),
];

impl Metrics {
    pub(super) fn new(health: Arc<Health>) -> Arc<Self> {
        Arc::new(Self { health, ..Self::default() })
    }

    /// Has the hub call what counts.
    pub(super) fn count(self: &Arc<Self>, builder: HubBuilder) -> HubBuilder {
        let (opened, closed, undelivered) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        builder
            .open(move |_| opened.opened.add(1))
            .close(move |_, reason| {
                if let Some(at) = CloseReason::ALL.iter().position(|known| *known == reason) {
                    closed.closed[at].add(1);
                }
            })
            .undelivered(move |_, _, fate| {
                if let Some(at) = FATES.iter().position(|(known, _)| *known == fate) {
                    undelivered.undelivered[at].add(1);
                }
            })
    }

    /// A client's message has come.
    pub(super) fn received(&self, operation: &Result<Operation, &'static str>) {
        self.received[match operation {
            Ok(Operation::Echo) => 0,
            Ok(Operation::Tell(_)) => 1,
            Ok(Operation::Queue(..)) => 2,
            Ok(Operation::Broadcast) => 3,
            Ok(Operation::Join(_)) => 4,
            Ok(Operation::Leave(_)) => 5,
            Ok(Operation::Room(_)) => 6,
            Ok(Operation::Kick(_)) => 7,
            Ok(Operation::IsOnline(_)) => 8,
            Ok(Operation::CountUsers) => 9,
            Err(_) => 10,
        }]
        .add(1);
    }

    /// A message has come under `--echo`, where it asks for nothing else.
    pub(super) fn reflected(&self) {
        self.received[11].add(1);
    }

    /// So many sessions were given a message.
    pub(super) fn handed(&self, sessions: usize) {
        self.handed.add(sessions);
    }

    /// An operation was answered with an error.
    pub(super) fn refused(&self) {
        self.refused.add(1);
    }

    /// Answers whoever asks for as long as it is polled.
    pub(super) async fn serve(self: Arc<Self>, hub: Hub, listener: impl Accept) {
        let runtime = Arc::clone(hub.runtime());
        // Set once: this is called once.
        let _ = self.hub.set(hub);
        http::serve(listener, runtime, self).await;
    }

    fn health(&self) -> Answer {
        let trouble = self.health.trouble();
        Answer { is_well: trouble.is_none(), text: format!("{}\n", trouble.unwrap_or("ok")) }
    }

    fn page(&self) -> Answer {
        let mut page = Page::default();
        let stats = self.hub.get().map(Hub::stats).unwrap_or_default();
        page.gauge("tok_sessions", "Sessions on this node.", stats.sessions);
        page.gauge("tok_users_online", "Users with a session on this node.", stats.users_online);
        let help = "Users that this node holds an entry for: online, or with queue operations under way.";
        page.gauge("tok_user_entries", help, stats.user_entries);
        page.gauge("tok_memory_bytes", "Bytes held for messages.", stats.memory_bytes);
        page.gauge("tok_draining", "Whether this node drains.", u8::from(self.health.is_draining()));
        let works = u8::from(self.health.queue_works());
        page.gauge("tok_queue_healthy", "Whether messages can be kept.", works);
        page.counter("tok_sessions_opened_total", "Logins that took effect.", self.opened.get());
        let closed =
            CloseReason::ALL.iter().zip(&self.closed).map(|(reason, count)| (reason.name(), count.get()));
        page.counters("tok_sessions_closed_total", "Sessions that ended, by reason.", "reason", closed);
        let received = OPERATIONS.into_iter().zip(&self.received).map(|(name, count)| (name, count.get()));
        let help = "Messages that clients sent, by what they ask for.";
        page.counters("tok_messages_received_total", help, "operation", received);
        let help = "Operations that were answered with an error.";
        page.counter("tok_operations_failed_total", help, self.refused.get());
        let help = "Sessions that were given a message while it was sent; what they find later in the queue is not counted.";
        page.counter("tok_messages_handed_total", help, self.handed.get());
        let fates = FATES.iter().zip(&self.undelivered).map(|((_, name), count)| (*name, count.get()));
        let help = "Messages that a user was not given at once, by what became of them.";
        page.counters("tok_messages_undelivered_total", help, "fate", fates);
        if let Some(cluster) = self.health.cluster() {
            describe(cluster, &mut page);
        }
        process::describe(&mut page);
        Answer { is_well: true, text: page.into_text() }
    }
}

fn describe(cluster: &Cluster, page: &mut Page) {
    let stats = cluster.stats();
    let healthy = u8::from(cluster.healthy());
    page.gauge("tok_cluster_healthy", "Whether all is well between this node and the others.", healthy);
    page.gauge("tok_cluster_nodes", "Nodes whose lease holds, this one included.", stats.nodes);
    page.gauge(
        "tok_cluster_silent_nodes",
        "Nodes that do not answer and are not waited for.",
        stats.silent_nodes,
    );
    page.gauge("tok_cluster_claims", "Sessions that this node has claimed.", stats.claims);
    page.gauge("tok_cluster_routes", "Users on other nodes whose place is remembered.", stats.routes);
    page.gauge("tok_cluster_repairs", "Operations that failed and are tried again.", stats.to_repair);
}
