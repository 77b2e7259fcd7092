//! `kill -9` of a process that uses a queue, again and again on one file: what it was answered for is there.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
};

use tok_core::{
    Queue, Uid,
    queue::{Admit, Entry, Limit, Seq},
    testkit::{queue::block_on, sim::Rng},
};
use tok_queue::RedbQueue;

use super::support::{EPOCH, Folder, entry};

const FILE: &str = "TOK_TEST_KILLED_FILE";
const FIRST: &str = "TOK_TEST_KILLED_FIRST";
const TEST: &str = "kill::what_a_killed_process_was_answered_for_is_there";
const USERS: u128 = 4;
const ROUNDS: u64 = 20;
/// Ids of one user in one round.
const IDS: u128 = 1 << 32;

/// What a user must find, and what it may not.
#[derive(Default)]
struct User {
    /// Stored as was answered, and not acknowledged, in order.
    kept: Vec<(Seq, u128)>,
    /// Taken out for good.
    taken: Vec<u128>,
    last_seq: Seq,
}

#[test]
fn what_a_killed_process_was_answered_for_is_there() {
    if let Some(path) = std::env::var_os(FILE) {
        let first = std::env::var(FIRST).unwrap().parse().unwrap();
        return work(&RedbQueue::builder().max_messages(u64::MAX).open(path).unwrap(), first);
    }
    let folder = Folder::new();
    let mut users: BTreeMap<u128, User> = (0..USERS).map(|user| (user, User::default())).collect();
    let mut rng = Rng::new(5);
    let mut stored = 0;
    for round in 0..ROUNDS {
        for report in run_and_kill(&folder, round, rng.below(400)) {
            take_in(&mut users, &report);
            stored += 1;
        }
        let queue = RedbQueue::builder().open(folder.file()).unwrap();
        for (user, expected) in &mut users {
            compare(&queue, *user, expected);
        }
    }
    assert!(stored > 1000, "only {stored} operations in all rounds");
}

/// Starts this test in another process, kills that after so many reports, and returns all that it made.
fn run_and_kill(folder: &Folder, round: u64, reports: u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(FILE, folder.file())
        .env(FIRST, (u128::from(round) * IDS).to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    let mut seen = Vec::new();
    for line in lines {
        let mut line = String::from_utf8(line.unwrap()).unwrap();
        // The last line may be cut off; whole ones end so.
        if line.starts_with("did ") && line.ends_with('.') {
            line.pop();
            seen.push(line);
        }
        if seen.len() as u64 == reports + 1 {
            // What was reported before the end is read on.
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(seen.len() as u64 > reports, "the other process ended by itself: {status}");
    seen
}

/// In the other process: one thread a user stores, acknowledges and takes, and says what was done when it is.
fn work(queue: &RedbQueue, first: u128) {
    thread::scope(|scope| {
        for user in 0..USERS {
            scope.spawn(move || work_for(queue, user, first));
        }
    });
}

fn work_for(queue: &RedbQueue, user: u128, mut id: u128) {
    let uid = Uid::from(user);
    let mut rng = Rng::new((id + user) as u64);
    loop {
        let count = 1 + u128::from(rng.below(4));
        let batch: Vec<_> = (id..id + count).map(|id| entry(id, None)).collect();
        let stored = block_on(queue.enqueue(&uid, &batch, Admit::WithinLimits)).unwrap();
        for (seq, id) in stored.seqs.iter().zip(id..) {
            say(format_args!("store {user} {} {id}", seq.get()));
        }
        id += count;
        match rng.below(6) {
            0 => {
                let page =
                    block_on(queue.peek(&uid, Seq::START, Limit { messages: 5, bytes: 5000 })).unwrap();
                let upto = page.entries.last().unwrap().0;
                // Said before: it may be done and not said.
                say(format_args!("ack {user} {} 0", upto.get()));
                block_on(queue.ack(&uid, upto, EPOCH)).unwrap();
            }
            1 => {
                let taken = block_on(queue.dequeue(&uid, EPOCH)).unwrap().unwrap();
                say(format_args!("take {user} 0 {}", taken.id.as_u128()));
            }
            _ => {}
        }
    }
}

fn say(what: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // The other side is gone for good when this fails.
    if out.write_all(format!("\ndid {what}.\n").as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

fn take_in(users: &mut BTreeMap<u128, User>, report: &str) {
    let mut words = report.split(' ').skip(1);
    let what = words.next().unwrap();
    let [user, seq, id] = [(); 3].map(|()| words.next().unwrap().parse::<u128>().unwrap());
    let user = users.get_mut(&user).unwrap();
    let seq = Seq::new(seq as u64);
    match what {
        "store" => {
            assert!(seq > user.last_seq, "positions are never given again");
            user.last_seq = seq;
            user.kept.push((seq, id));
        }
        "ack" => user.kept.retain(|(kept, _)| *kept > seq),
        _ => {
            user.kept.retain(|(_, kept)| *kept != id);
            user.taken.push(id);
        }
    }
}

fn compare(queue: &RedbQueue, user: u128, expected: &mut User) {
    let everything = Limit { messages: usize::MAX, bytes: usize::MAX };
    let page = block_on(queue.peek(&Uid::from(user), Seq::START, everything)).unwrap();
    let there: Vec<(Seq, Entry)> = page.entries;
    assert!(there.is_sorted_by(|a, b| a.0 < b.0 && a.1.id < b.1.id), "the order is that of storing");
    let ids: Vec<_> = there.iter().map(|(_, entry)| entry.id.as_u128()).collect();
    for (_, id) in &expected.kept {
        let found = there.iter().find(|(_, entry)| entry.id.as_u128() == *id);
        let Some((_, found)) = found else {
            // The one that a last, unsaid `take` took is the oldest.
            assert!(ids.iter().all(|there| there > id), "user {user}: {id} is lost");
            assert_eq!(expected.kept[0].1, *id, "user {user}: {id} is lost");
            continue;
        };
        assert_eq!(*found, entry(*id, None));
    }
    assert!(ids.iter().all(|id| !expected.taken.contains(id)), "user {user}: what was taken is back");
    // Acknowledgements may have come back, and what was stored and not said be there: from now on it is what counts.
    expected.kept = there.iter().map(|(seq, entry)| (*seq, entry.id.as_u128())).collect();
    expected.last_seq = there.last().map_or(expected.last_seq, |(seq, _)| expected.last_seq.max(*seq));
}
