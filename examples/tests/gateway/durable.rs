//! With a durable queue, nothing that was answered for is lost when the gateway is killed.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time;

use crate::support::{Process, Tcp, number};

/// A folder of the test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tok-gateway-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn flag(&self) -> String {
        format!("--queue redb:{} --max-queued 100000", self.0.join("queue.redb").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A sender's view: what it sent, and of that what was answered for.
#[derive(Default)]
struct Sent {
    next: usize,
    /// In the gateway's hands. What was sent just before a kill may or may not be.
    answered: BTreeSet<usize>,
}

impl Sent {
    /// Sends in portions with a fence behind each, until the gateway is gone.
    async fn send_until_the_end(&mut self, alice: &mut Tcp, portion: usize) {
        loop {
            let first = self.next;
            self.next += portion;
            let fence = format!("E{}", self.next);
            let messages = (first..self.next).map(|number| format!("Q3600|bob|{number}"));
            if !alice.try_send_all(messages.chain([fence.clone()])).await {
                return;
            }
            let Some(echo) = alice.next().await else { return };
            assert_eq!(String::from_utf8_lossy(&echo), fence, "a send failed");
            self.answered.extend(first..self.next);
        }
    }
}

/// The receiver's view over all its sessions.
#[derive(Default)]
struct Seen {
    all: BTreeSet<usize>,
}

impl Seen {
    /// Reads what comes, as a session in which nothing may come twice or out of order, until `enough` or the end.
    async fn read(&mut self, bob: &mut Tcp, enough: impl Fn(&Self) -> bool) {
        let mut last = None;
        while !enough(self) {
            let Some(message) = bob.next().await else { return };
            let message = String::from_utf8(message).unwrap();
            let number = number(&message);
            assert!(last.is_none_or(|last| last < number), "{message} after {last:?}");
            last = Some(number);
            self.all.insert(number);
        }
    }

    fn has_all_of(&self, sent: &Sent) -> bool {
        sent.answered.iter().all(|number| self.all.contains(number))
    }
}

/// Kills the gateway again and again while messages flow, at moments that differ from round to round; the receiver
/// reads on and off, so that it also dies in the middle of a drain.
async fn survives_kills(flags: &str) {
    const ROUNDS: u64 = 12;

    let folder = Folder::new();
    let flags = format!("{} {flags}", folder.flag());
    let (mut sent, mut seen) = (Sent::default(), Seen::default());
    for round in 0..ROUNDS {
        let gateway = Process::start(&flags).await;
        let mut alice = Tcp::login(gateway.tcp(), "alice").await;
        let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
        let killed = async {
            let moment = Duration::from_millis(3 + round * 37 % 150);
            time::sleep(moment).await; // sleep: nothing is waited for; each round is to be killed at another moment
            gateway.signal("KILL").await;
        };
        let receiving = async {
            if round % 3 != 2 {
                seen.read(&mut bob, |_| false).await;
            }
        };
        let portion = [1, 40, 7][round as usize % 3];
        tokio::join!(killed, sent.send_until_the_end(&mut alice, portion), receiving);
    }
    let gateway = Process::start(&flags).await;
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    seen.read(&mut bob, |seen| seen.has_all_of(&sent)).await;
    assert!(seen.has_all_of(&sent), "the gateway closed before everything came");
    let answered = sent.answered.len();
    assert!(answered > ROUNDS as usize, "{answered} messages in {ROUNDS} rounds are no load");
}

#[tokio::test]
async fn nothing_answered_for_is_lost_when_the_gateway_is_killed_again_and_again() {
    survives_kills("").await;
}

/// Numbers that a seed determines (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// `TOK_SEED=N` chooses other moments than the usual ones.
#[tokio::test]
async fn receivers_that_vanish_and_come_back_between_kills_lose_nothing() {
    const ROUNDS: usize = 10;

    let seed = std::env::var("TOK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("replay: TOK_SEED={seed}");
    let mut random = Random(seed);
    let folder = Folder::new();
    let (mut sent, mut seen) = (Sent::default(), Seen::default());
    let mut sessions = 0;
    for _ in 0..ROUNDS {
        let gateway = Process::start(&folder.flag()).await;
        let mut alice = Tcp::login(gateway.tcp(), "alice").await;
        let (moment, portion) = (random.below(300), 1 + random.below(60));
        let killed = async {
            let moment = Duration::from_millis(3 + moment);
            time::sleep(moment).await; // sleep: nothing is waited for; each round is to be killed at another moment
            gateway.signal("KILL").await;
        };
        let receiving = async {
            while let Some(mut bob) = Tcp::try_login(gateway.tcp(), "uid=bob&confirm=1").await {
                let before = seen.all.len();
                let appetite = 1 + random.below(200) as usize;
                seen.read(&mut bob, |seen| seen.all.len() >= before + appetite).await;
                sessions += 1;
                bob.vanish();
            }
        };
        tokio::join!(killed, sent.send_until_the_end(&mut alice, portion as usize), receiving);
    }
    let gateway = Process::start(&folder.flag()).await;
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    seen.read(&mut bob, |seen| seen.has_all_of(&sent)).await;
    assert!(seen.has_all_of(&sent), "the gateway closed before everything came");
    assert!(sessions > ROUNDS, "{sessions} sessions in {ROUNDS} rounds");
}

async fn what_is_queued_outlives_sigterm(flags: &str) {
    let folder = Folder::new();
    let flags = format!("{} {flags}", folder.flag());
    let mut gateway = Process::start(&flags).await;
    let mut alice = Tcp::settled(gateway.tcp(), "alice").await;
    // Bob is there and confirms nothing; carol is not there.
    let mut bob = Tcp::connect(gateway.tcp()).await;
    bob.send("uid=bob&confirm=1").await;
    bob.settle().await;
    for number in 0..100 {
        alice.send_all([format!("Q3600|bob|{number}"), format!("Q3600|carol|{number}")]).await;
    }
    assert_eq!(alice.ask("E").await, "E", "no send failed");
    gateway.signal("TERM").await;
    drop((alice, bob));
    assert_eq!(gateway.ended().await, Some(0));

    let mut gateway = Process::start(&flags).await;
    for user in ["bob", "carol"] {
        let mut client = Tcp::login(gateway.tcp(), &format!("uid={user}&confirm=1")).await;
        for expected in 0..100 {
            assert_eq!(client.recv().await, format!("Q3600|{user}|{expected}"));
        }
        // One question is open at a time: the last one comes before the second echo at the latest.
        assert_eq!((client.ask("E").await, client.ask("E").await), ("E".to_owned(), "E".to_owned()));
        drop(client);
    }
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await, Some(0));

    let gateway = Process::start(&flags).await;
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    assert_eq!(bob.ask("E").await, "E", "what was confirmed does not come again");
}

#[tokio::test]
async fn sigterm_keeps_what_is_queued() {
    what_is_queued_outlives_sigterm("").await;
}

#[tokio::test]
async fn sigterm_keeps_what_is_queued_with_write_back_too() {
    what_is_queued_outlives_sigterm("--write-back").await;
}

#[tokio::test]
async fn a_file_that_is_no_queue_or_in_use_is_one_line_and_status_1() {
    let folder = Folder::new();
    fs::write(folder.0.join("queue.redb"), "a letter to a friend, as long as it takes to be no queue")
        .unwrap();
    let (status, out, err) = Process::run(&format!("--ws 127.0.0.1:0 {}", folder.flag())).await;
    assert_eq!((status, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");

    fs::remove_file(folder.0.join("queue.redb")).unwrap();
    let _gateway = Process::start(&folder.flag()).await;
    let (status, out, err) = Process::run(&format!("--ws 127.0.0.1:0 {}", folder.flag())).await;
    assert_eq!((status, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");
}
