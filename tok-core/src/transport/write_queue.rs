use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};

use super::ByteStream;

/// Bytes on their way to a [`ByteStream`], in order: what a transport over bytes keeps its unsent frames in.
///
/// It shares the buffers it is given, writes many in one vectored call, and counts what was taken and what was
/// written, as [`Transport`](super::Transport) has to report. An empty queue holds no memory.
#[derive(Debug, Default)]
pub struct WriteQueue {
    // Mostly there is one thing to write, or nothing: that takes no table.
    first: Bytes,
    rest: VecDeque<Bytes>,
    accepted: u64,
    written: u64,
}

/// How many buffers one vectored write takes.
const MAX_SLICES: usize = 64;

impl WriteQueue {
    /// Takes bytes and returns the total taken so far.
    pub fn push(&mut self, bytes: Bytes) -> u64 {
        self.accepted += bytes.len() as u64;
        if self.first.is_empty() {
            self.first = bytes;
        } else if !bytes.is_empty() {
            self.rest.push_back(bytes);
        }
        self.accepted
    }

    /// The total taken so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The total that the stream took.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether everything taken is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Writes until nothing is left, then flushes the stream.
    ///
    /// # Errors
    /// The stream's error, or [`io::ErrorKind::WriteZero`] when it takes nothing.
    pub fn poll_flush<S: ByteStream>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.first.is_empty() {
            let taken = if self.rest.is_empty() {
                ready!(stream.poll_write_vectored(cx, &[IoSlice::new(&self.first)]))?
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = (1 + self.rest.len()).min(MAX_SLICES);
                let chunks = std::iter::once(&self.first).chain(&self.rest);
                for (slice, chunk) in slices.iter_mut().zip(chunks) {
                    *slice = IoSlice::new(chunk);
                }
                ready!(stream.poll_write_vectored(cx, &slices[..count]))?
            };
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(taken);
        }
        self.rest = VecDeque::new();
        stream.poll_flush(cx)
    }

    fn advance(&mut self, mut taken: usize) {
        self.written += taken as u64;
        while taken >= self.first.len() && !self.first.is_empty() {
            taken -= self.first.len();
            self.first = self.rest.pop_front().unwrap_or_default();
        }
        self.first.advance(taken.min(self.first.len()));
    }
}
