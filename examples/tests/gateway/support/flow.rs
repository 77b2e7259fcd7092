//! Kept messages from one sender to one receiver, numbered, over gateways that come and go.

use std::collections::BTreeSet;

use super::{Tcp, number};

/// A sender's view: what it sent, and of that what was answered for.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) next: usize,
    /// In the gateway's hands. What was sent just before a kill, and what was refused, may or may not be.
    pub(crate) answered: BTreeSet<usize>,
    /// Bytes beside what a message needs.
    pub(crate) padding: usize,
}

/// What became of a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Portion {
    Answered,
    /// At least one of its messages was refused.
    Refused,
    /// The gateway went away before it said.
    Open,
}

/// The messages behind a portion.
pub(crate) struct Fence {
    first: usize,
    /// When it comes back the portion is in the gateway's hands. One that drains refuses it, as it is not kept.
    echo: String,
    /// Comes last in any case: answers are in the order of what they answer.
    last: String,
}

impl Sent {
    /// Sends so many messages with a fence behind them, and waits for that.
    pub(crate) async fn send(&mut self, sender: &mut Tcp, to: &str, portion: usize) -> Portion {
        match self.begin(sender, to, portion).await {
            Some(fence) => self.finish(sender, &fence).await,
            None => Portion::Open,
        }
    }

    /// Sends so many messages with a fence behind them; `None` if the gateway is gone.
    pub(crate) async fn begin(&mut self, sender: &mut Tcp, to: &str, portion: usize) -> Option<Fence> {
        let first = self.next;
        self.next += portion;
        let padding = "x".repeat(self.padding);
        let messages = (first..self.next).map(|number| format!("Q3600|{to}|{padding}|{number}"));
        let (echo, question) = (format!("E{}", self.next), format!("Ofence{}", self.next));
        let taken = sender.try_send_all(messages.chain([echo.clone(), question])).await;
        taken.then_some(Fence { first, echo, last: format!("+online fence{} 0", self.next) })
    }

    /// Waits for the fence of what was sent last.
    pub(crate) async fn finish(&mut self, sender: &mut Tcp, fence: &Fence) -> Portion {
        let (mut errors, mut is_back) = (0, false);
        loop {
            let Some(line) = sender.next().await else { return Portion::Open };
            match String::from_utf8_lossy(&line) {
                line if line == fence.last => break,
                line if line == fence.echo => is_back = true,
                line if line.starts_with("!error ") => errors += 1,
                line => assert_eq!(line, "!bye drain"),
            }
        }
        if errors > usize::from(!is_back) {
            return Portion::Refused;
        }
        self.answered.extend(fence.first..self.next);
        Portion::Answered
    }

    /// Sends portions until the gateway is gone, of which none may be refused.
    #[cfg(feature = "redb")]
    pub(crate) async fn send_until_the_end(&mut self, sender: &mut Tcp, to: &str, portion: usize) {
        loop {
            match self.send(sender, to, portion).await {
                Portion::Answered => {}
                Portion::Refused => panic!("a send failed"),
                Portion::Open => return,
            }
        }
    }
}

/// The receiver's view over all its sessions.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) all: BTreeSet<usize>,
}

impl Seen {
    /// Reads what comes, as a session in which nothing may come twice or out of order, until `enough` or the end.
    pub(crate) async fn read(&mut self, receiver: &mut Tcp, enough: impl Fn(&Self) -> bool) {
        let mut last = None;
        while !enough(self) {
            let Some(message) = receiver.next().await else { return };
            self.take(&String::from_utf8(message).unwrap(), &mut last);
        }
    }

    /// A new session reads until everything is there that was answered for.
    pub(crate) async fn read_all_of(&mut self, receiver: &mut Tcp, sent: &Sent) {
        self.read(receiver, |seen| seen.has_all_of(sent)).await;
        assert!(self.has_all_of(sent), "the gateway closed before everything came");
    }

    /// A session reads what there is for it.
    #[cfg(feature = "redb")]
    pub(crate) async fn read_what_is_there(&mut self, receiver: &mut Tcp) {
        receiver.send("E").await;
        let mut last = None;
        loop {
            let message = receiver.recv().await;
            if message == "E" {
                return;
            }
            self.take(&message, &mut last);
        }
    }

    fn take(&mut self, message: &str, last: &mut Option<usize>) {
        let number = number(message);
        assert!(last.is_none_or(|last| last < number), "{message} after {last:?}");
        *last = Some(number);
        self.all.insert(number);
    }

    fn has_all_of(&self, sent: &Sent) -> bool {
        sent.answered.is_subset(&self.all)
    }
}
