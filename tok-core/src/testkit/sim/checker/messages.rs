//! What clients may read, and what may leave the queue, given what senders were told.

use std::{collections::BTreeMap, time::Duration};

use super::{Verdict, broken};
use crate::{Uid, Undelivered, queue::Entry, rt::Instant};

/// What became of a message, as its sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testkit::sim) enum Told {
    /// Nothing yet.
    Pending,
    /// That nobody knows: it may come, at any time.
    Unsure,
    /// It was taken.
    Accepted,
    /// It was not, and will not be delivered.
    Refused,
}

/// A message that is about to be sent.
#[derive(Debug)]
pub(in crate::testkit::sim) struct Sending {
    pub(in crate::testkit::sim) text: String,
    pub(in crate::testkit::sim) kept: bool,
    pub(in crate::testkit::sim) expires_at: Option<Instant>,
}

#[derive(Debug)]
struct Sent {
    sending: Sending,
    told: Told,
    /// Connections on which it was read.
    reads: Vec<usize>,
    stored: bool,
    was_stored: bool,
    /// The step in which it left the queue, acknowledged.
    acked: Option<u64>,
    /// A hook refused it for a device.
    refused: bool,
    /// It was reported as `NotKept`.
    not_kept: bool,
    /// The hubs that reported it as left.
    left_by: Vec<usize>,
}

impl Sent {
    fn expired(&self, now: Instant) -> bool {
        self.sending.expires_at.is_some_and(|at| at <= now)
    }

    /// Nobody has to be given it.
    fn is_done(&self, now: Instant) -> bool {
        !self.reads.is_empty() || self.refused || self.expired(now)
    }

    fn is_owed(&self, now: Instant) -> bool {
        self.sending.kept && self.told == Told::Accepted && !self.is_done(now)
    }
}

/// How long after its TTL a message may still be given to a transport.
const SLACK: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By user and sender, then by number.
    streams: BTreeMap<(Uid, u64), BTreeMap<u64, Sent>>,
    /// By connection and sender: the last number read.
    last_read: BTreeMap<(usize, u64), u64>,
    delivered: u64,
}

/// What a sender's message says.
pub(in crate::testkit::sim) fn text(sender: u64, number: u64, padding: usize) -> String {
    format!("sim {sender} {number} {}", "x".repeat(padding))
}

/// Sender and number of a message of the simulation's own.
fn parse(data: &[u8]) -> Option<(u64, u64)> {
    let mut parts = std::str::from_utf8(data).ok()?.strip_prefix("sim ")?.split(' ');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl Ledger {
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    fn find(&mut self, uid: &Uid, data: &[u8]) -> Option<(u64, u64, &mut Sent)> {
        let (sender, number) = parse(data)?;
        let sent = self.streams.get_mut(&(uid.clone(), sender))?.get_mut(&number)?;
        Some((sender, number, sent))
    }

    pub(super) fn sending(&mut self, uid: &Uid, sender: u64, number: u64, sending: Sending) {
        let sent = Sent {
            sending,
            told: Told::Pending,
            reads: Vec::new(),
            stored: false,
            was_stored: false,
            acked: None,
            refused: false,
            not_kept: false,
            left_by: Vec::new(),
        };
        self.streams.entry((uid.clone(), sender)).or_default().insert(number, sent);
    }

    /// `ahead`: the hub stores a kept message before it answers.
    pub(super) fn told(
        &mut self,
        uid: &Uid,
        sender: u64,
        number: u64,
        told: Told,
        ahead: bool,
        now: Instant,
    ) -> Verdict {
        let stream = self.streams.get_mut(&(uid.clone(), sender));
        let Some(sent) = stream.and_then(|stream| stream.get_mut(&number)) else { return Ok(()) };
        sent.told = told;
        if sent.not_kept && sent.is_owed(now) {
            return broken(3, format_args!("{number} of sender {sender} to {uid} was reported as not kept"));
        }
        if sent.acked.is_some() && sent.is_owed(now) {
            return broken(6, format_args!("{number} of sender {sender} to {uid}, before it was accepted"));
        }
        if ahead && sent.is_owed(now) && !sent.was_stored {
            return broken(
                3,
                format_args!("{number} of sender {sender} to {uid} was accepted and not stored"),
            );
        }
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        connection: usize,
        opened: Option<u64>,
        uid: &Uid,
        data: &[u8],
        now: Instant,
    ) -> Verdict {
        let Some((sender, number)) = parse(data) else { return Ok(()) };
        self.delivered += 1;
        let what = format!("connection {connection} of {uid} read {number} of sender {sender}");
        let Some(stream) = self.streams.get_mut(&(uid.clone(), sender)) else { return broken(4, what) };
        let Some(sent) = stream.get_mut(&number) else { return broken(4, what) };
        let last = self.last_read.get(&(connection, sender)).copied().filter(|last| *last >= number);
        if sent.told == Told::Unsure {
            // It has no place in the order, and comes once all the same.
            if sent.reads.contains(&connection) {
                return broken(5, format_args!("{what} twice"));
            }
        } else if let Some(last) = last {
            return broken(1, format_args!("{what} after {last}"));
        } else {
            self.last_read.insert((connection, sender), number);
        }
        if sent.sending.text.as_bytes() != data {
            return broken(4, format_args!("{what}, changed"));
        }
        if sent.told == Told::Refused {
            return broken(4, format_args!("{what}, which was refused"));
        }
        if sent.acked.is_some_and(|acked| opened.is_some_and(|opened| opened > acked)) {
            return broken(5, format_args!("{what}, which was confirmed before the session opened"));
        }
        sent.reads.push(connection);
        if !sent.sending.kept {
            return Ok(());
        }
        // The accepted message before this one was read before, here or on an earlier connection.
        let before = stream.range(..number).rev();
        let before = before.map(|(n, sent)| (*n, sent)).find(|(_, sent)| {
            sent.sending.kept && sent.told == Told::Accepted && !(sent.reads.is_empty() && sent.is_done(now))
        });
        match before {
            Some((before, sent)) if sent.reads.is_empty() => {
                broken(2, format_args!("{what} before {before}"))
            }
            _ => Ok(()),
        }
    }

    /// A transport is given a message.
    pub(super) fn given(&mut self, uid: &Uid, data: &[u8], now: Instant) -> Verdict {
        let Some((sender, number, sent)) = self.find(uid, data) else { return Ok(()) };
        // A queue counts the TTL from its own call: each store delays the end by the time that the call took to arrive.
        let late = Instant::from_nanos(now.as_nanos().saturating_sub(SLACK.as_nanos() as u64));
        if sent.sending.kept && sent.expired(late) {
            return broken(7, format_args!("{number} of sender {sender} was given to {uid} after its TTL"));
        }
        Ok(())
    }

    pub(super) fn undelivered(
        &mut self,
        hub: usize,
        uid: &Uid,
        data: &[u8],
        why: Undelivered,
        is_online: bool,
        now: Instant,
    ) -> Verdict {
        let Some((sender, number, sent)) = self.find(uid, data) else { return Ok(()) };
        let what = format!("{number} of sender {sender} to {uid}");
        match why {
            Undelivered::Expired if !sent.expired(now) => {
                broken(7, format_args!("{what} expired before its TTL"))
            }
            Undelivered::NotKept if sent.told != Told::Accepted => {
                sent.not_kept = true;
                Ok(())
            }
            Undelivered::Dropped | Undelivered::NotKept | Undelivered::Offline if sent.sending.kept => {
                broken(3, format_args!("{what} was to be kept, and is {why:?}"))
            }
            Undelivered::Left if is_online => {
                broken(21, format_args!("{what} is left, and a session is there"))
            }
            Undelivered::Left if sent.acked.is_some() => {
                broken(21, format_args!("{what} is left, and was confirmed"))
            }
            Undelivered::Left if sent.left_by.contains(&hub) => {
                broken(21, format_args!("{what} is left, and was reported so before"))
            }
            Undelivered::Left => {
                sent.left_by.push(hub);
                Ok(())
            }
            Undelivered::Refused => {
                sent.refused = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn confirmed(&mut self, uid: &Uid, sender: u64, number: u64, now: Instant) -> Verdict {
        let stream = self.streams.get(&(uid.clone(), sender));
        match stream.and_then(|stream| stream.get(&number)) {
            Some(sent) if !sent.is_done(now) => broken(
                6,
                format_args!("the receipt of {number} of sender {sender} to {uid}, which nobody has read"),
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn stored(&mut self, uid: &Uid, entries: &[Entry]) -> Verdict {
        for entry in entries {
            let Some((sender, number, sent)) = self.find(uid, &entry.data) else { continue };
            if std::mem::replace(&mut sent.stored, true) {
                return broken(5, format_args!("{number} of sender {sender} to {uid} was stored twice"));
            }
            sent.was_stored = true;
        }
        Ok(())
    }

    pub(super) fn acked(&mut self, uid: &Uid, entries: &[Entry], now: Instant, step: u64) -> Verdict {
        for entry in entries {
            let Some((sender, number, sent)) = self.find(uid, &entry.data) else { continue };
            sent.stored = false;
            sent.acked = Some(step);
            // One whose sender was told that nobody knows is nobody's to miss.
            if sent.is_owed(now) {
                let what = format_args!("{number} of sender {sender} to {uid}, which nobody has read");
                return broken(6, what);
            }
        }
        Ok(())
    }

    pub(super) fn swept(&mut self, uid: &Uid, entry: &Entry, now: Instant) -> Verdict {
        let Some((sender, number, sent)) = self.find(uid, &entry.data) else { return Ok(()) };
        sent.stored = false;
        if sent.expired(now) {
            return Ok(());
        }
        broken(7, format_args!("{number} of sender {sender} to {uid} was swept before its TTL"))
    }

    pub(super) fn settled(&self, now: Instant, copies: Option<usize>) -> Verdict {
        for ((uid, sender), stream) in &self.streams {
            for (number, sent) in stream {
                let what = format!("{number} of sender {sender} to {uid}");
                if sent.is_owed(now) {
                    return broken(2, format_args!("{what} was accepted, and nobody has read it"));
                }
                let accepted = sent.sending.kept && sent.told == Told::Accepted;
                if accepted && sent.stored && !sent.expired(now) {
                    return broken(3, format_args!("{what} was read and is still queued"));
                }
                if let Some(copies) = copies.filter(|copies| accepted && sent.reads.len() > *copies) {
                    let came = sent.reads.len();
                    return broken(5, format_args!("{what} came {came} times, and not {copies}"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn drained(&self, now: Instant) -> Verdict {
        for ((uid, sender), stream) in &self.streams {
            if let Some((number, _)) = stream.iter().find(|(_, sent)| sent.is_owed(now) && !sent.stored) {
                return broken(
                    19,
                    format_args!("{number} of sender {sender} to {uid} is neither read nor queued"),
                );
            }
        }
        Ok(())
    }
}
