use super::{FIRST, LONG, Log, SECOND, costing, entries, expiring, last};
use crate::{
    Epoch, Queue, Uid,
    queue::{Entry, Limit, Page, QueueError, Seq},
};

const ALL: usize = usize::MAX;

async fn peek(log: &Log<'_>, after: Seq, messages: usize, bytes: usize) -> Page {
    log.queue.peek(&log.uid, after, Limit { messages, bytes }).await.expect("peek must succeed")
}

fn seqs(page: &Page) -> Vec<Seq> {
    page.entries.iter().map(|(seq, _)| *seq).collect()
}

/// Looking is not taking: a second look gives the same, and nothing is counted, fenced or removed.
pub async fn peek_changes_nothing(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seqs = log.add(&[entries(0..3), vec![expiring(3, LONG)]].concat()).await;
    let first = peek(&log, Seq::START, ALL, ALL).await;
    assert_eq!(first.entries.len(), 4);
    peek(&log, seqs[1], 1, 1).await;
    peek(&log, Seq::new(u64::MAX), 1, 1).await;
    let mut second = peek(&log, Seq::START, ALL, ALL).await;
    // Time passes.
    second.entries[3].1.ttl = first.entries[3].1.ttl;
    assert_eq!(second, first);
    assert_eq!(log.len().await, 4);
}

/// A page has at most [`Limit::messages`] entries, the oldest.
pub async fn peek_respects_the_message_limit(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let stored = log.add(&entries(0..5)).await;
    for limit in 1..5 {
        assert_eq!(seqs(&peek(&log, Seq::START, limit, ALL).await), stored[..limit], "limit {limit}");
    }
    for limit in [5, 6, ALL] {
        assert_eq!(seqs(&peek(&log, Seq::START, limit, ALL).await), stored, "limit {limit}");
    }
}

/// A page has at most [`Limit::bytes`] by [`Entry::cost`]: up to that and not over it.
pub async fn peek_respects_the_byte_limit(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let stored = log.add(&[costing(0, 200), costing(1, 400), costing(2, 200), costing(3, 128)]).await;
    for (bytes, count) in [(200, 1), (599, 1), (600, 2), (799, 2), (800, 3), (927, 3), (928, 4), (ALL, 4)] {
        let page = peek(&log, Seq::START, ALL, bytes).await;
        assert_eq!(seqs(&page), stored[..count], "limit of {bytes} bytes");
    }
    // A small entry behind one that does not fit stays behind it.
    assert_eq!(seqs(&peek(&log, stored[0], ALL, 528).await), stored[1..2]);
}

/// The first entry fits every limit: otherwise one that is over it would stop the log for good.
pub async fn peek_gives_at_least_one(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let stored = log.add(&entries(0..2)).await;
    for (messages, bytes) in [(1, 0), (ALL, 1), (0, ALL), (0, 0)] {
        let page = peek(&log, Seq::START, messages, bytes).await;
        assert_eq!(seqs(&page), stored[..1], "limit of {messages} messages and {bytes} bytes");
        assert!(page.more);
        let page = peek(&log, stored[0], messages, bytes).await;
        assert_eq!(seqs(&page), stored[1..], "limit of {messages} messages and {bytes} bytes");
        assert!(!page.more);
    }
}

/// A page starts behind its cursor, wherever that points: before, at, after the end, or at what is gone.
pub async fn peek_continues_after_the_cursor(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let stored = log.add(&entries(0..4)).await;
    for (index, seq) in stored.iter().enumerate() {
        assert_eq!(seqs(&peek(&log, *seq, ALL, ALL).await), stored[index + 1..]);
    }
    for beyond in [last(&stored).get() + 1, u64::MAX - 1, u64::MAX] {
        assert_eq!(peek(&log, Seq::new(beyond), ALL, ALL).await, Page::default());
    }
    log.ack(stored[1], FIRST).await;
    for gone in [Seq::START, stored[0], stored[1]] {
        assert_eq!(seqs(&peek(&log, gone, ALL, ALL).await), stored[2..]);
    }
}

/// [`Page::more`] says whether entries follow, so that pages give each entry once and an end.
pub async fn peek_pages(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let batch = entries(0..7);
    log.add(&batch).await;
    for size in 1..9 {
        let mut read = Vec::new();
        let mut after = Seq::START;
        while read.len() < batch.len() {
            let page = peek(&log, after, size, ALL).await;
            after = page.entries.last().expect("a page of a log that goes on has entries").0;
            read.extend(page.entries.into_iter().map(|(_, entry)| entry));
            assert_eq!(
                page.more,
                read.len() < batch.len(),
                "{} of 7 entries read, {size} a page",
                read.len()
            );
        }
        assert_eq!(read, batch);
        assert_eq!(peek(&log, after, size, ALL).await, Page::default());
    }
    let by_bytes = peek(&log, Seq::START, ALL, batch[0].cost()).await;
    assert!(by_bytes.more, "a page that the byte limit ended must say that there is more");
}

/// A backlog far over the limits drains page by page in a number of operations that its size gives.
///
/// What an operation costs is not seen from here: keep it free of work that grows with the backlog behind it.
pub async fn big_backlog_drains_in_linear_work(queue: &dyn Queue) {
    const BACKLOG: u32 = 10_000;
    let log = Log::of(queue, "alice");
    for start in (0..BACKLOG).step_by(500) {
        log.force(&entries(start..start + 500)).await;
    }
    assert_eq!(log.len().await, u64::from(BACKLOG));

    let (mut pages, mut next) = (0, 0);
    while next < BACKLOG {
        let page = log.queue.peek(&log.uid, Seq::START, Limit::default()).await.expect("peek must succeed");
        pages += 1;
        // 40 full pages; twice that leaves room for queues that cut pages where their blocks end.
        assert!(pages <= 80, "{pages} pages of 256 gave only {next} entries");
        let count = page.entries.len() as u32;
        let (read, expected) = (page.entries.iter().map(|(_, entry)| entry), entries(next..next + count));
        assert!(read.eq(&expected), "{count} entries after {next} are not the ones stored");
        next += count;
        assert_eq!(page.more, next < BACKLOG);
        log.ack(page.entries.last().expect("a page of a log that goes on has entries").0, FIRST).await;
    }
    assert_eq!(log.len().await, 0);
}

/// Entries are taken one by one, oldest first, each once, and then none.
pub async fn dequeue_takes_the_oldest(queue: &dyn Queue) {
    let (alice, bob) = (Uid::from("alice"), Uid::from("bob"));
    let batch = entries(0..3);
    Log::of(queue, &alice).add(&batch).await;
    Log::of(queue, &bob).add(&entries(9..10)).await;
    for (index, entry) in batch.iter().enumerate() {
        assert_eq!(take(queue, &alice, FIRST).await.expect("dequeue must succeed").as_ref(), Some(entry));
        assert_eq!(Log::of(queue, &alice).len().await, 2 - index as u64);
    }
    for _ in 0..2 {
        assert_eq!(take(queue, &alice, FIRST).await.expect("dequeue must succeed"), None);
    }
    assert_eq!(Log::of(queue, &bob).entries().await, entries(9..10));
}

/// Taking out is an acknowledgement: it carries an epoch, and an older one takes nothing.
pub async fn dequeue_is_fenced(queue: &dyn Queue) {
    let uid = Uid::from("alice");
    let log = Log::of(queue, &uid);
    log.add(&entries(0..3)).await;
    take(queue, &uid, SECOND).await.expect("dequeue must succeed");
    let fenced = take(queue, &uid, FIRST).await;
    assert!(
        matches!(fenced, Err(QueueError::Fenced { current: SECOND })),
        "an older epoch must be fenced, not given {fenced:?}"
    );
    assert_eq!(log.entries().await, entries(1..3));
    let second = take(queue, &uid, SECOND).await.expect("dequeue must succeed");
    assert_eq!(second.as_ref(), entries(1..2).first());
}

async fn take(queue: &dyn Queue, uid: &Uid, fence: Epoch) -> Result<Option<Entry>, QueueError> {
    queue.dequeue(uid, fence).await
}
