//! With a durable queue, nothing that was answered for is lost when the gateway is killed.

use std::{
    cell::Cell,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time;

use crate::support::{Portion, Process, Seen, Sent, Tcp, within};

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

/// Kills the gateway again and again while messages flow, at moments that differ from round to round; the receiver
/// reads on and off, so that it also dies in the middle of a drain.
async fn survives_kills(flags: &str) {
    const ROUNDS: u64 = 12;

    let folder = Folder::new();
    let flags = format!("{} {flags}", folder.flag());
    let (mut sent, mut seen) = (Sent::default(), Seen::default());
    for round in 0..ROUNDS {
        let mut gateway = Process::start(&flags).await;
        let mut alice = Tcp::login(gateway.tcp(), "alice").await;
        let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
        let killed = async {
            let moment = Duration::from_millis(3 + round * 37 % 150);
            time::sleep(moment).await; // sleep: nothing is waited for; each round is to be killed at another moment
            gateway.kill().await;
        };
        let receiving = async {
            if round % 3 != 2 {
                seen.read(&mut bob, |_| false).await;
            }
        };
        let portion = [1, 40, 7][round as usize % 3];
        tokio::join!(killed, sent.send_until_the_end(&mut alice, "bob", portion), receiving);
    }
    let gateway = Process::start(&flags).await;
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    seen.read_all_of(&mut bob, &sent).await;
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
        let mut gateway = Process::start(&folder.flag()).await;
        let addr = gateway.tcp();
        let mut alice = Tcp::login(addr, "alice").await;
        let (moment, portion) = (random.below(300), 1 + random.below(60));
        let killed = async {
            let moment = Duration::from_millis(3 + moment);
            time::sleep(moment).await; // sleep: nothing is waited for; each round is to be killed at another moment
            gateway.kill().await;
        };
        let receiving = async {
            while let Some(mut bob) = Tcp::try_login(addr, "uid=bob&confirm=1").await {
                let before = seen.all.len();
                let appetite = 1 + random.below(200) as usize;
                seen.read(&mut bob, |seen| seen.all.len() >= before + appetite).await;
                sessions += 1;
                bob.vanish();
            }
        };
        tokio::join!(killed, sent.send_until_the_end(&mut alice, "bob", portion as usize), receiving);
    }
    let gateway = Process::start(&folder.flag()).await;
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    seen.read_all_of(&mut bob, &sent).await;
    assert!(sessions > ROUNDS, "{sessions} sessions in {ROUNDS} rounds");
}

/// A kill that hits after a message is stored and before its sender is told: the message comes, once and in its place. The
/// moment is looked for: later after each kill that came before the store, sooner after one that came too late.
#[tokio::test]
async fn killed_between_a_store_and_its_answer_it_keeps_the_order() {
    const WANTED: usize = 5;
    const MOST_ROUNDS: usize = 400;
    const SOONEST: Duration = Duration::from_micros(20);

    let folder = Folder::new();
    let (mut sent, mut seen, mut random) = (Sent::default(), Seen::default(), Random(1));
    let mut moment = Duration::from_millis(1);
    let (mut hits, mut rounds) = (0, 0);
    while hits < WANTED {
        assert!(rounds < MOST_ROUNDS, "only {hits} kills came between a store and its answer");
        rounds += 1;
        let mut gateway = Process::start(&folder.flag()).await;
        let mut alice = Tcp::settled(gateway.tcp(), "alice").await;
        let number = sent.next;
        let fence = sent.begin(&mut alice, "bob", 1).await.expect("the gateway runs");
        let around = moment / 2 + moment * random.below(1000) as u32 / 1000;
        thread::sleep(around); // sleep: the moment of the kill is the subject
        gateway.kill().await;
        let portion = sent.finish(&mut alice, &fence).await;

        let mut gateway = Process::start(&folder.flag()).await;
        let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
        seen.read_what_is_there(&mut bob).await;
        gateway.kill().await;
        let was_stored = seen.all.contains(&number);
        match portion {
            Portion::Answered => {
                assert!(was_stored, "{number} was answered for");
                moment = (moment * 4 / 5).max(SOONEST);
            }
            _ if was_stored => hits += 1,
            _ => moment = moment * 5 / 4,
        }
    }
}

/// While it drains it still stores what comes; a kill in the middle of that loses nothing that was answered for. There
/// are so many sessions that their closes are spread, over the first half of the time for the drain.
#[tokio::test]
async fn killed_in_the_middle_of_its_drain_it_loses_nothing_answered_for() {
    const ROUNDS: usize = 6;
    const PAIRS: usize = 8;
    const OTHERS: usize = 60;

    let folder = Folder::new();
    let flags = format!("{} --drain-timeout 4", folder.flag());
    let mut pairs: Vec<(Sent, Seen)> = Vec::new();
    pairs.resize_with(PAIRS, Default::default);
    let mut stored = 0;
    for round in 0..ROUNDS {
        let mut gateway = Process::start(&flags).await;
        let addr = gateway.tcp();
        let (mut senders, mut others) = (Vec::new(), Vec::new());
        // Which sessions are closed first depends on the order of their logins: each round has another.
        let earlier = OTHERS * round / ROUNDS;
        for other in 0..earlier {
            others.push(Tcp::settled(addr, &format!("other{other}")).await);
        }
        for pair in 0..PAIRS {
            senders.push(Tcp::settled(addr, &format!("sender{pair}")).await);
        }
        for other in earlier..OTHERS {
            others.push(Tcp::settled(addr, &format!("other{other}")).await);
        }
        let drains = Cell::new(false);
        let killed = async {
            gateway.signal("TERM").await;
            drains.set(true);
            let moment = Duration::from_millis(50 + round as u64 * 230);
            time::sleep(moment).await; // sleep: nothing is waited for; each round is to be killed at another moment
            gateway.kill().await;
            gateway.ended().await
        };
        let sending = join_all(senders.iter_mut().zip(&mut pairs).enumerate().map(
            async |(pair, (sender, (sent, _)))| {
                let mut while_it_drained = 0;
                // Who has had its goodbye is gone for this round.
                while sent.send(sender, &format!("receiver{pair}"), 5).await == Portion::Answered {
                    while_it_drained += usize::from(drains.get());
                }
                while_it_drained
            },
        ));
        let (status, counts) = tokio::join!(killed, sending);
        assert_eq!(status, None, "the drain was over before the kill");
        stored += counts.iter().sum::<usize>();
    }
    assert!(stored > 0, "nothing was stored while it drained");
    let gateway = Process::start(&flags).await;
    for (pair, (sent, seen)) in pairs.iter_mut().enumerate() {
        let mut receiver = Tcp::login(gateway.tcp(), &format!("uid=receiver{pair}&confirm=1")).await;
        seen.read_all_of(&mut receiver, sent).await;
        assert!(!sent.answered.is_empty());
    }
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

// A full disk is made with a limit of Linux's.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_an_error_to_senders_and_loses_nothing() {
    let folder = Folder::new();
    let gateway = Process::start_on_a_small_disk(&folder.flag()).await;
    let mut alice = Tcp::settled(gateway.tcp(), "alice").await;
    let (mut sent, mut seen) = (Sent { padding: 20_000, ..Sent::default() }, Seen::default());
    assert_eq!(sent.send(&mut alice, "bob", 10).await, Portion::Answered);

    let size = fs::metadata(folder.0.join("queue.redb")).unwrap().len();
    gateway.may_write(&size.to_string()).await;
    while sent.send(&mut alice, "bob", 10).await == Portion::Answered {
        assert!(sent.next < 10_000, "the disk is never full");
    }
    // Others go on, and what is there can be had.
    assert_eq!(alice.ask("Talice|hello").await, "Talice|hello");
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    seen.read_all_of(&mut bob, &sent).await;
    drop(bob);

    gateway.may_write("unlimited").await;
    let works = async { while sent.send(&mut alice, "bob", 1).await != Portion::Answered {} };
    within("room on the disk", works).await;
    for _ in 0..20 {
        assert_eq!(sent.send(&mut alice, "bob", 10).await, Portion::Answered);
    }
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    seen.read_all_of(&mut bob, &sent).await;
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
