//! The stream that is the table: reads from its leader, writes that name what they expect.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_nats::{HeaderMap, Message};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use tok_core::{InvalidUid, Uid};
use tokio::sync::Semaphore;

use super::{clock, failure::Failure, link::Link};
use crate::NodeId;

/// No place in the stream is below: it is raised before it is used, to the microsecond in which it was made.
pub(super) const LOWEST: u64 = 1_000_000_000_000_000;

/// Errors of the JetStream API, from the server's `server/errors.json`.
pub(super) mod code {
    pub(crate) const NO_STREAM: u64 = 10059;
    pub(crate) const NAME_IN_USE: u64 = 10058;
    pub(super) const NO_MESSAGE: u64 = 10037;
    pub(super) const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
    /// Not enabled, and not enabled for the account.
    pub(crate) const OFF: [u64; 2] = [10076, 10039];
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) link: Arc<Link>,
    prefix: String,
    pub(super) replicas: usize,
    /// The last place in the stream that anything was seen at.
    seen: AtomicU64,
    /// How often it was opened, and over which connection last.
    opened: AtomicU64,
    over: AtomicU64,
    turn: Semaphore,
}

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) seq: u64,
    /// When the server took it, in nanoseconds of its clock.
    pub(super) at: u64,
    pub(super) data: Bytes,
}

/// The stream as a whole.
#[derive(Debug, Default)]
pub(super) struct Info {
    pub(super) config: Value,
    pub(super) created: u64,
    /// The server's time.
    pub(super) now: u64,
    pub(super) messages: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Of those that were asked for.
    pub(super) subjects: Vec<String>,
}

impl Stream {
    pub(super) fn new(link: Arc<Link>, prefix: String, replicas: usize) -> Self {
        Self {
            link,
            prefix,
            replicas,
            seen: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            over: AtomicU64::new(0),
            turn: Semaphore::new(1),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{}_registry", self.prefix)
    }

    pub(super) fn all_users(&self) -> String {
        format!("{}.u.*", self.prefix)
    }

    pub(super) fn all_leases(&self) -> String {
        format!("{}.l.*", self.prefix)
    }

    pub(super) fn user(&self, uid: &Uid) -> Result<String, InvalidUid> {
        uid.check()?;
        Ok(format!("{}.u.{}", self.prefix, uid.to_token()))
    }

    pub(super) fn lease(&self, node: &NodeId) -> String {
        format!("{}.l.{}", self.prefix, node.to_token())
    }

    /// How often it was opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Acquire)
    }

    /// Opens the stream if the connection is another one since it was opened last: the server may be another, too.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        if self.over.load(Ordering::Acquire) == self.link.number() {
            return Ok(());
        }
        self.open(self.opened()).await
    }

    /// Makes it if it is missing, checks its settings, and raises it above all that was seen, unless that was done since
    /// it had been opened `opened` times.
    pub(super) async fn open(&self, opened: u64) -> Result<(), Failure> {
        // It is never closed.
        let _turn = self.turn.acquire().await.map_err(|_| Failure::Disconnected)?;
        let number = self.link.number();
        if self.opened() != opened && self.over.load(Ordering::Acquire) == number {
            return Ok(());
        }
        super::open::open(self).await?;
        self.over.store(number, Ordering::Release);
        self.opened.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Remembers that there is something at `seq`.
    pub(super) fn saw(&self, seq: u64) {
        self.seen.fetch_max(seq, Ordering::AcqRel);
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// The stream as a whole, with its subjects that fit `filter`.
    ///
    /// # Errors
    /// [`Failure::Lost`] also when it has lost a part that was there, as a server does whose files had not reached the
    /// disk.
    pub(super) async fn info(&self, filter: &str) -> Result<Info, Failure> {
        let seen = self.seen();
        let info = self.look(filter).await?;
        if info.is_behind(seen) { Err(Failure::Lost) } else { Ok(info) }
    }

    /// As [`info`](Self::info), whatever it has lost.
    pub(super) async fn look(&self, filter: &str) -> Result<Info, Failure> {
        let asked = json!({ "subjects_filter": filter });
        let info = Info::read(self.api("STREAM.INFO", &asked).await?)?;
        self.saw(info.last);
        Ok(info)
    }

    /// The newest message of a subject.
    pub(super) async fn last(&self, subject: &str) -> Result<Option<Stored>, Failure> {
        self.get(&json!({ "last_by_subj": subject })).await
    }

    /// The first message at `seq` or after it whose subject fits `filter`.
    pub(super) async fn next(&self, filter: &str, seq: u64) -> Result<Option<Stored>, Failure> {
        self.get(&json!({ "seq": seq.max(1), "next_by_subj": filter })).await
    }

    /// From the leader: a replica may not have got as far.
    async fn get(&self, asked: &Value) -> Result<Option<Stored>, Failure> {
        let mut answer = match self.api("STREAM.MSG.GET", asked).await {
            Err(Failure::Refused { code: code::NO_MESSAGE, .. }) => return Ok(None),
            answer => answer?,
        };
        let stored = Stored::read(&answer["message"].take())?;
        self.saw(stored.seq);
        Ok(Some(stored))
    }

    /// Stores a message if the newest of its subject is still the one at `last` (0 for none), for so many seconds or for
    /// good; `None` if it is not.
    pub(super) async fn put(
        &self,
        subject: String,
        last: u64,
        data: Bytes,
        seconds: Option<u64>,
    ) -> Result<Option<u64>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string());
        if let Some(seconds) = seconds {
            headers.insert("Nats-TTL", seconds.to_string());
        }
        match self.link.ask(subject, Some(headers), data).await.and_then(|answer| parse(&answer)) {
            Ok(answer) => {
                let seq = number(&answer, "seq")?;
                self.saw(seq);
                // One that was just made, and is not raised yet: the place is no epoch.
                if seq < LOWEST { Err(Failure::Lost) } else { Ok(Some(seq)) }
            }
            Err(Failure::Refused { code, .. }) if code::WRONG_LAST_SEQUENCE.contains(&code) => Ok(None),
            // The stream listens to its subjects, as long as there is one.
            Err(Failure::NoResponders(_)) => Err(Failure::Lost),
            Err(failure) => Err(failure),
        }
    }

    /// Removes the message at this place, and no other.
    pub(super) async fn remove(&self, seq: u64) -> Result<(), Failure> {
        self.api("STREAM.MSG.DELETE", &json!({ "seq": seq, "no_erase": true })).await.map(drop)
    }

    /// A request to JetStream's API about this stream.
    pub(super) async fn api(&self, api: &str, asked: &Value) -> Result<Value, Failure> {
        let subject = format!("$JS.API.{api}.{}", self.name());
        let answer = self.link.ask(subject, None, asked.to_string().into()).await;
        match answer.and_then(|answer| parse(&answer)) {
            Err(Failure::Refused { code: code::NO_STREAM, .. }) => Err(Failure::Lost),
            answer => answer,
        }
    }
}

impl Info {
    fn read(mut answer: Value) -> Result<Self, Failure> {
        let state = &answer["state"];
        let subjects = state["subjects"].as_object().into_iter().flatten();
        Ok(Self {
            created: time(&answer, "created")?,
            now: time(&answer, "ts")?,
            messages: number(state, "messages")?,
            first: number(state, "first_seq")?,
            last: number(state, "last_seq")?,
            subjects: subjects.map(|(subject, _)| subject.clone()).collect(),
            config: answer["config"].take(),
        })
    }

    /// Whether it has lost something that was seen at `seen`, or was not raised yet.
    pub(super) fn is_behind(&self, seen: u64) -> bool {
        self.last < seen || self.last < self.lowest() - 1
    }

    /// The microsecond in which it was made. Places rise by one a message, and there are never a million a second, so
    /// those of a stream that is made anew are above those of the one before.
    pub(super) fn lowest(&self) -> u64 {
        (self.created / 1000).max(LOWEST)
    }
}

impl Stored {
    fn read(message: &Value) -> Result<Self, Failure> {
        let subject = message["subject"].as_str().unwrap_or_default().to_owned();
        // Left out where it is empty.
        let data = STANDARD.decode(message["data"].as_str().unwrap_or_default());
        let data = data.map_err(|error| Failure::Answer(error.into()))?.into();
        Ok(Self { subject, seq: number(message, "seq")?, at: time(message, "time")?, data })
    }
}

fn parse(message: &Message) -> Result<Value, Failure> {
    let answer: Value =
        serde_json::from_slice(&message.payload).map_err(|error| Failure::Answer(error.into()))?;
    let error = &answer["error"];
    if error.is_null() {
        return Ok(answer);
    }
    Err(Failure::Refused {
        code: error["err_code"].as_u64().or(error["code"].as_u64()).unwrap_or(0),
        description: error["description"].as_str().unwrap_or("no reason given").to_owned(),
    })
}

fn number(value: &Value, field: &'static str) -> Result<u64, Failure> {
    value[field].as_u64().ok_or_else(|| missing(field))
}

fn time(value: &Value, field: &'static str) -> Result<u64, Failure> {
    value[field].as_str().and_then(clock::parse).ok_or_else(|| missing(field))
}

fn missing(field: &'static str) -> Failure {
    Failure::Answer(format!("it has no {field}, or one that cannot be read").into())
}
