//! Answers on their way out: taken without waiting from the task that reads, and published in batches.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    limits::{Limits, Place},
    link::Link,
    message::Message,
    names::Names,
};

/// Answers that wait to be published. One that finds no place is dropped, and its request ends with its timeout.
const MAX_WAITING: usize = 65_536;

/// Answers of one round trip.
const BATCH: usize = 256;

#[derive(Debug)]
pub(super) struct Answers {
    limits: Limits,
    queue: mpsc::Sender<Answer>,
}

#[derive(Debug)]
pub(super) struct Answer {
    address: u64,
    id: u64,
    frame: Bytes,
    _place: Place,
}

impl Answers {
    /// And what [`publish`] takes them from.
    pub(super) fn new() -> (Self, mpsc::Receiver<Answer>) {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        (Self { limits: Limits::new(MAX_WAITING), queue }, waiting)
    }

    pub(super) fn send(&self, address: u64, id: u64, frame: Bytes) {
        if let Some(place) = self.limits.take(frame.len()) {
            let _ = self.queue.try_send(Answer { address, id, frame, _place: place });
        }
    }
}

/// Ends with the other end of the queue.
pub(super) async fn publish(mut waiting: mpsc::Receiver<Answer>, link: Arc<Link>, names: Arc<Names>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let mut published = redis::pipe();
        for Answer { address, id, frame, .. } in &batch {
            let message = Message::Answer { id: *id, frame: frame.clone() }.encode();
            published.cmd("PUBLISH").arg(names.answers(*address)).arg(message).ignore();
        }
        // Whoever waits for one that is lost has a timeout.
        let _ = link.run(async move |mut request| published.exec_async(&mut request.redis).await).await;
        batch.clear();
    }
}
