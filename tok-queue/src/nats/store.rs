//! The two streams: what is read from them and written to them.

use std::{
    fmt,
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Message};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Buf, Bytes};
use serde_json::{Value, json};
use tok_core::{Epoch, Uid, queue::Seq};

use super::{
    block::{self, Block, end_of},
    rpc::{Failure, Rpc},
    streams::NO_STREAM,
    time::{self, ServerClock},
};

/// What a message's headers take beside its payload, generously.
const HEADERS: usize = 512;

/// Errors of the JetStream API, from the server's `server/errors.json`.
mod code {
    pub(super) const NO_MESSAGE: u64 = 10037;
    pub(super) const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
    /// Insufficient resources, storage resources exceeded, maximum bytes exceeded.
    pub(super) const NO_SPACE: [u64; 3] = [10023, 10047, 10077];
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) rpc: Rpc,
    prefix: String,
    clock: ServerClock,
}

/// A message of a stream.
struct Stored {
    seq: u64,
    /// When the server took it, by its clock, since the Unix epoch.
    time: Duration,
    data: Bytes,
}

/// One user's subjects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct User(String);

/// What is known of a user beside the entries: who may confirm, and what has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// Its place in the stream; 0 if there is none.
    pub(super) seq: u64,
    pub(super) fence: Epoch,
    /// Everything up to here is confirmed.
    pub(super) mark: Seq,
}

/// Blocks in a row.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) blocks: Vec<Block>,
    /// Whether more follow.
    pub(super) cut: bool,
}

impl Row {
    /// The place of its last block; 0 if it has none.
    pub(super) fn end(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.seq)
    }

    /// Whether it has what there is after `mark`, or the beginning of it, when `last` is the newest block: all that was
    /// read may be confirmed by now, and the replica may not have got as far as the leader.
    pub(super) fn is_enough(&self, mark: Seq, last: u64) -> bool {
        end_of(self.end()) > mark && (self.cut || self.end() >= last)
    }
}

impl User {
    /// # Errors
    /// A uid that is empty, or whose subject the server would end the connection for.
    pub(super) fn of(uid: &Uid) -> Result<Self, Failure> {
        uid.check()?;
        Ok(Self(uid.to_token()))
    }
}

impl Meta {
    const VERSION: u8 = 1;

    fn encode(self) -> Vec<u8> {
        [&[Self::VERSION][..], &self.fence.get().to_be_bytes(), &self.mark.get().to_be_bytes()].concat()
    }

    fn decode(seq: u64, mut bytes: Bytes) -> Result<Self, Failure> {
        if bytes.len() != 17 || bytes.get_u8() != Self::VERSION {
            return Err(Failure::Answer(format!("the mark at {seq} is newer or damaged").into()));
        }
        Ok(Self { seq, fence: Epoch::new(bytes.get_u64()), mark: Seq::new(bytes.get_u64()) })
    }
}

impl Store {
    pub(super) fn new(rpc: Rpc, prefix: String) -> Self {
        Self { rpc, prefix, clock: ServerClock::default() }
    }

    pub(super) fn queue_stream(&self) -> String {
        format!("{}_queue", self.prefix)
    }

    pub(super) fn meta_stream(&self) -> String {
        format!("{}_meta", self.prefix)
    }

    pub(super) fn queue_subject(&self, user: impl fmt::Display) -> String {
        format!("{}.q.{user}", self.prefix)
    }

    pub(super) fn meta_subject(&self, user: impl fmt::Display) -> String {
        format!("{}.m.{user}", self.prefix)
    }

    /// The user's newest block, from the stream's leader.
    pub(super) async fn last(&self, user: &User) -> Result<Option<Block>, Failure> {
        let asked = json!({ "last_by_subj": self.queue_subject(user) });
        let found = self.get(&self.queue_stream(), &asked).await?;
        found.map(|Stored { seq, time, data }| Block::decode(seq, time, data)).transpose()
    }

    /// The user's first block at `seq` or after it, from the stream's leader.
    pub(super) async fn first(&self, user: &User, seq: u64) -> Result<Option<Block>, Failure> {
        let asked = json!({ "seq": seq.max(1), "next_by_subj": self.queue_subject(user) });
        let found = self.get(&self.queue_stream(), &asked).await?;
        found.map(|Stored { seq, time, data }| Block::decode(seq, time, data)).transpose()
    }

    /// The user's fence and mark, from the stream's leader.
    pub(super) async fn meta(&self, user: &User) -> Result<Meta, Failure> {
        let asked = json!({ "last_by_subj": self.meta_subject(user) });
        let found = self.get(&self.meta_stream(), &asked).await?;
        found.map_or(Ok(Meta::default()), |Stored { seq, data, .. }| Meta::decode(seq, data))
    }

    /// The user's blocks from `seq` on, from any replica, which may not have the newest yet; at least one if it has.
    pub(super) async fn row(
        &self,
        user: &User,
        seq: u64,
        blocks: usize,
        bytes: usize,
    ) -> Result<Row, Failure> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.queue_stream());
        let asked = json!({
            "seq": seq.max(1),
            "next_by_subj": self.queue_subject(user),
            "batch": blocks.max(1),
            "max_bytes": bytes.max(1),
        });
        let mut answers = self.rpc.many(subject, asked.to_string()).await?;
        let Some(end) = answers.pop() else { return Ok(Row::default()) };
        match end.status.map(u16::from) {
            // The end of the batch, or nothing there.
            Some(204 | 404) => {}
            status => return Err(Failure::Answer(format!("a batch ended with status {status:?}").into())),
        }
        let cut = number(&end, "Nats-Num-Pending").is_some_and(|pending| pending > 0);
        let blocks = answers.into_iter().map(|message| {
            let seq = number(&message, "Nats-Sequence");
            let time = header(&message, "Nats-Time-Stamp").and_then(time::parse);
            let (Some(seq), Some(time)) = (seq, time) else {
                return Err(Failure::Answer("a message without its sequence or time".into()));
            };
            Block::decode(seq, time, message.payload)
        });
        Ok(Row { blocks: blocks.collect::<Result<_, _>>()?, cut })
    }

    /// How many blocks the user has.
    pub(super) async fn count(&self, user: &User) -> Result<u64, Failure> {
        let subject = self.queue_subject(user);
        let info = self.info(&self.queue_stream(), &json!({ "subjects_filter": subject })).await?;
        Ok(info["state"]["subjects"][&subject].as_u64().unwrap_or(0))
    }

    /// What the server says of a stream, among which is what time it is there.
    pub(super) async fn info(&self, stream: &str, asked: &Value) -> Result<Value, Failure> {
        let sent = Instant::now();
        let info = self.api(&format!("STREAM.INFO.{stream}"), asked).await?;
        self.clock.observe(time_of(&info)?, sent, Instant::now());
        Ok(info)
    }

    /// The time on the server since the Unix epoch. It is asked for now and then.
    pub(super) async fn now(&self) -> Result<Duration, Failure> {
        if let Some(now) = self.clock.now() {
            return Ok(now);
        }
        self.info(&self.queue_stream(), &json!({})).await?;
        self.clock.now().ok_or(Failure::Disconnected)
    }

    /// The largest message that fits in a message of the server's, in bytes of data.
    pub(super) fn max_message(&self) -> usize {
        self.rpc.max_payload().saturating_sub(HEADERS + block::OVERHEAD)
    }

    /// Stores a block if the user's newest is still `last` (0 for none); `None` if it is not.
    pub(super) async fn append(
        &self,
        user: &User,
        last: u64,
        block: Vec<u8>,
        ttl: Option<u64>,
    ) -> Result<Option<u64>, Failure> {
        if block.len() + HEADERS > self.rpc.max_payload() {
            return Err(Failure::BatchTooBig);
        }
        self.publish(self.queue_subject(user), last, block, ttl).await
    }

    /// Replaces the user's fence and mark if they are still those of `meta.seq`; `None` if they are not.
    pub(super) async fn set_meta(&self, user: &User, meta: Meta, ttl: u64) -> Result<Option<u64>, Failure> {
        self.publish(self.meta_subject(user), meta.seq, meta.encode(), Some(ttl)).await
    }

    /// Removes the user's blocks before `seq`.
    pub(super) async fn purge(&self, user: &User, seq: u64) -> Result<(), Failure> {
        // There are none before the first, and server 2.11 takes 1 for "all of them".
        if seq <= 1 {
            return Ok(());
        }
        let api = format!("STREAM.PURGE.{}", self.queue_stream());
        self.api(&api, &json!({ "filter": self.queue_subject(user), "seq": seq })).await.map(drop)
    }

    /// A request to JetStream's API.
    pub(super) async fn api(&self, api: &str, asked: &Value) -> Result<Value, Failure> {
        let asked = asked.to_string();
        parse(&self.rpc.one(format!("$JS.API.{api}"), HeaderMap::new(), asked).await?)
    }

    async fn get(&self, stream: &str, asked: &Value) -> Result<Option<Stored>, Failure> {
        let answer = match self.api(&format!("STREAM.MSG.GET.{stream}"), asked).await {
            Err(Failure::Refused { code: code::NO_MESSAGE, .. }) => return Ok(None),
            answer => answer?,
        };
        let message = &answer["message"];
        let time = message["time"].as_str().and_then(time::parse);
        let (Some(seq), Some(time), Some(data)) = (message["seq"].as_u64(), time, message["data"].as_str())
        else {
            return Err(Failure::Answer("a message without its sequence, time or data".into()));
        };
        let data = STANDARD.decode(data).map_err(|error| Failure::Answer(error.into()))?;
        Ok(Some(Stored { seq, time, data: data.into() }))
    }

    async fn publish(
        &self,
        subject: String,
        last: u64,
        payload: Vec<u8>,
        ttl: Option<u64>,
    ) -> Result<Option<u64>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string());
        if let Some(seconds) = ttl {
            headers.insert("Nats-TTL", seconds.to_string());
        }
        match self.rpc.one(subject, headers, payload).await.and_then(|answer| parse(&answer)) {
            Ok(answer) => {
                let seq = answer["seq"].as_u64().filter(|seq| *seq > 0);
                Ok(Some(seq.ok_or_else(|| Failure::Answer("an acknowledgement without a sequence".into()))?))
            }
            Err(Failure::Refused { code, .. }) if code::WRONG_LAST_SEQUENCE.contains(&code) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

impl Failure {
    /// Whether there is no stream to do it, so that it has not been done.
    pub(super) fn is_no_stream(&self) -> bool {
        matches!(self, Self::NoResponders(_) | Self::Refused { code: NO_STREAM, .. })
    }

    /// Whether the server's storage, or what this account may use of it, is full.
    pub(super) fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code::NO_SPACE.contains(code))
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

/// What time it was on the server when it gave this answer about a stream.
pub(super) fn time_of(info: &Value) -> Result<Duration, Failure> {
    let time = info["ts"].as_str().and_then(time::parse);
    time.ok_or_else(|| Failure::Answer("what the server says of a stream has no time".into()))
}

fn number(message: &Message, name: &str) -> Option<u64> {
    header(message, name)?.parse().ok()
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_enough_if_it_reaches_the_newest_block_or_was_cut() {
        let row = |seqs: &[u64], cut| {
            let block = |seq: &u64| Block::at_place(*seq);
            Row { blocks: seqs.iter().map(block).collect(), cut }
        };
        for (row, confirmed, last, enough) in [
            (row(&[3, 5], false), 0, 5, true),
            (row(&[3, 5], false), 4, 5, true),
            // Stored since `last` was asked for.
            (row(&[3, 5, 6], false), 0, 5, true),
            // A replica that has not got as far.
            (row(&[3, 5], false), 0, 6, false),
            (row(&[], false), 0, 6, false),
            // A page's worth, and there is more.
            (row(&[3, 5], true), 0, 6, true),
            // Confirmed meanwhile.
            (row(&[3, 5], true), 5, 6, false),
            (row(&[], false), 5, 6, false),
        ] {
            assert_eq!(row.is_enough(end_of(confirmed), last), enough, "{row:?} {confirmed} {last}");
        }
    }
}
