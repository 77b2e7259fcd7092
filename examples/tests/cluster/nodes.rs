use brokers::{Kind, Server};

use crate::support::{Process, Tcp, Ws, get};

/// Three gateways, and the broker that they meet at.
pub(crate) struct Nodes<K: Kind> {
    // Before the broker, so that they end first.
    nodes: Vec<Process>,
    pub(crate) broker: Server<K>,
    flags: String,
}

impl<K: Kind> Nodes<K> {
    pub(crate) async fn start(flags: &str) -> Self {
        Self::on(Server::start().unwrap(), flags).await
    }

    /// On this broker, with these flags.
    pub(crate) async fn on(broker: Server<K>, flags: &str) -> Self {
        let mut cluster = Self { nodes: Vec::new(), broker, flags: flags.to_owned() };
        for number in 0..3 {
            let node = cluster.spawn(number).await;
            cluster.nodes.push(node);
        }
        cluster
    }

    async fn spawn(&self, number: usize) -> Process {
        let (url, flags) = (self.broker.url(), &self.flags);
        Process::start(&format!("--cluster {url} --node node-{number} --metrics 127.0.0.1:0 {flags}")).await
    }

    pub(crate) fn node(&self, number: usize) -> &Process {
        &self.nodes[number]
    }

    /// Waits for the end of a node; its exit status.
    pub(crate) async fn ended(&mut self, number: usize) -> Option<i32> {
        self.nodes[number].ended().await
    }

    /// A login that has taken effect.
    pub(crate) async fn tcp(&self, node: usize, login: &str) -> Tcp {
        Tcp::settled(self.nodes[node].tcp(), login).await
    }

    /// A login that has taken effect.
    pub(crate) async fn ws(&self, node: usize, query: &str) -> Ws {
        Ws::settled(self.nodes[node].ws(), query).await
    }

    pub(crate) async fn health(&self, node: usize) -> u16 {
        get(self.nodes[node].metrics(), "/healthz").await.0
    }
}

/// Asks until this is the answer.
pub(crate) async fn until(client: &mut Tcp, question: &str, answer: &str) {
    let asking = async { while client.ask(question).await != answer {} };
    crate::support::within(&format!("{question} to be answered with {answer}"), asking).await;
}
