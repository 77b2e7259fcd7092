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
    chunks: VecDeque<Bytes>,
    accepted: u64,
    written: u64,
}

/// How many buffers one vectored write takes.
const MAX_SLICES: usize = 64;

impl WriteQueue {
    /// Takes bytes and returns the total taken so far.
    pub fn push(&mut self, bytes: Bytes) -> u64 {
        self.accepted += bytes.len() as u64;
        if !bytes.is_empty() {
            self.chunks.push_back(bytes);
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
        self.chunks.is_empty()
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
        while !self.chunks.is_empty() {
            let taken = if let [only] = self.chunks.make_contiguous() {
                ready!(stream.poll_write_vectored(cx, &[IoSlice::new(only)]))?
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = self.chunks.len().min(MAX_SLICES);
                for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                    *slice = IoSlice::new(chunk);
                }
                ready!(stream.poll_write_vectored(cx, &slices[..count]))?
            };
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(taken);
        }
        self.chunks = VecDeque::new();
        stream.poll_flush(cx)
    }

    fn advance(&mut self, mut taken: usize) {
        self.written += taken as u64;
        while let Some(front) = self.chunks.front_mut() {
            if taken < front.len() {
                front.advance(taken);
                return;
            }
            taken -= front.len();
            self.chunks.pop_front();
        }
    }
}
