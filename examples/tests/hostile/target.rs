//! The gateway under attack.

use tok_ws::WsEngine;

use crate::support::{Process, Tcp, Ws};

/// The flags of everything that can be attacked: each engine, and the other runtime.
pub(crate) fn targets() -> Vec<String> {
    let mut targets: Vec<String> =
        WsEngine::compiled().iter().map(|engine| format!("--engine {engine}")).collect();
    let smol = "--engine async-tungstenite";
    if cfg!(feature = "smol") && targets.iter().any(|target| target == smol) {
        targets.push(format!("{smol} --runtime smol"));
    }
    targets
}

/// As [`targets`], for what no engine has to do with: one for each runtime.
pub(crate) fn runtimes() -> Vec<String> {
    let targets = targets().into_iter().enumerate();
    targets
        .filter(|(index, flags)| *index == 0 || flags.contains("--runtime"))
        .map(|(_, flags)| flags)
        .collect()
}

/// A gateway, and an honest client that watches it.
pub(crate) struct Target {
    pub(crate) gateway: Process,
    pub(crate) witness: Ws,
    pub(crate) flags: String,
    /// The most memory that it had resident before the attack, in KiB.
    before: u64,
}

impl Target {
    pub(crate) async fn start(flags: String) -> Self {
        let gateway = Process::start(&flags).await;
        let mut witness = Ws::login(gateway.ws(), "uid=witness").await;
        // What the first connections and messages allocate for good is not the attack's.
        for name in 0..20 {
            let mut ws = Ws::login(gateway.ws(), &format!("uid=ws{name}")).await;
            let mut tcp = Tcp::login(gateway.tcp(), &format!("tcp{name}")).await;
            let message = format!("E{}", "x".repeat(2000));
            assert_eq!((ws.ask(&message).await, tcp.ask(&message).await), (message.clone(), message));
        }
        assert_eq!(witness.ask("E").await, "E");
        let (before, _) = gateway.memory();
        Self { gateway, witness, flags, before }
    }

    /// Others are served, and at no time was more memory in use than before and `most_kib` on top.
    pub(crate) async fn survives(&mut self, what: &str, most_kib: u64) {
        assert_eq!(self.witness.ask("E still").await, "E still", "{what} on {}", self.flags);
        assert_eq!(Ws::login(self.gateway.ws(), "uid=newcomer").await.ask("E").await, "E");
        let (most, _) = self.gateway.memory();
        let cost = most - self.before;
        println!("{what} on {}: {cost} KiB over {} KiB", self.flags, self.before);
        assert!(cost <= most_kib, "{what} on {} took {cost} KiB, more than {most_kib}", self.flags);
    }

    /// Waits until the witness is the only one online.
    pub(crate) async fn is_left_alone(&mut self) {
        while self.witness.ask("N").await != "+users 1" {}
    }
}
