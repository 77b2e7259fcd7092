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
/// written, as [`Transport`](super::Transport) has to report. What a stream keeps in a buffer of its own, TLS say, is not
/// written before it is flushed. An empty queue holds no memory.
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

    /// The total that the stream took and flushed.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether everything taken is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accepted == self.written
    }

    /// Writes until nothing is left, and flushes the stream.
    ///
    /// # Errors
    /// The stream's error, or [`io::ErrorKind::WriteZero`] when it takes nothing.
    pub fn poll_flush<S: ByteStream>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.first.is_empty() {
                let taken = ready!(self.poll_write(stream, cx))?;
                if taken == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.advance(taken);
            }
            // Before the next write, so that the count of what is written follows what the stream gets rid of.
            ready!(stream.poll_flush(cx))?;
            self.written = self.accepted - self.waiting();
            if self.first.is_empty() {
                self.rest = VecDeque::new();
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write<S: ByteStream>(&self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.rest.is_empty() {
            return stream.poll_write_vectored(cx, &[IoSlice::new(&self.first)]);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = (1 + self.rest.len()).min(MAX_SLICES);
        let chunks = std::iter::once(&self.first).chain(&self.rest);
        for (slice, chunk) in slices.iter_mut().zip(chunks) {
            *slice = IoSlice::new(chunk);
        }
        stream.poll_write_vectored(cx, &slices[..count])
    }

    /// The bytes that the stream has not taken.
    fn waiting(&self) -> u64 {
        let rest: usize = self.rest.iter().map(Bytes::len).sum();
        (self.first.len() + rest) as u64
    }

    fn advance(&mut self, mut taken: usize) {
        while taken >= self.first.len() && !self.first.is_empty() {
            taken -= self.first.len();
            self.first = self.rest.pop_front().unwrap_or_default();
        }
        self.first.advance(taken.min(self.first.len()));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes ten bytes a write into a buffer of its own, which a flush empties while it is `open`.
    #[derive(Default)]
    struct Buffered {
        buffer: usize,
        flushed: usize,
        open: bool,
    }

    impl ByteStream for Buffered {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_write_vectored(
            &mut self,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            if self.buffer > 0 && !self.open {
                return Poll::Pending;
            }
            let taken = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(10);
            self.buffer += taken;
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.buffer > 0 && !self.open {
                return Poll::Pending;
            }
            self.flushed += std::mem::take(&mut self.buffer);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_a_stream_holds_back_is_not_written() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut queue, mut stream) = (WriteQueue::default(), Buffered::default());
        queue.push(Bytes::from_static(b"1234567"));
        assert!(queue.poll_flush(&mut stream, &mut cx).is_pending());
        assert_eq!((stream.buffer, queue.written(), queue.is_empty()), (7, 0, false));

        queue.push(Bytes::from_static(&[0; 20]));
        stream.open = true;
        assert!(queue.poll_flush(&mut stream, &mut cx).is_ready());
        assert_eq!((stream.flushed, queue.written(), queue.accepted()), (27, 27, 27));
        assert!(queue.is_empty());

        // A part is written, and the next is held back.
        queue.push(Bytes::from_static(&[0; 15]));
        stream.open = false;
        assert!(queue.poll_flush(&mut stream, &mut cx).is_pending());
        assert_eq!((queue.written(), queue.is_empty()), (27, false));
        stream.open = true;
        assert!(queue.poll_flush(&mut stream, &mut cx).is_ready());
        assert_eq!(queue.written(), 42);
    }
}
