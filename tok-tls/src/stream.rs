use std::{
    fmt,
    io::{self, IoSlice, Read, Write},
    task::{Context, Poll, ready},
};

use rustls::ServerConnection;
use tok_core::transport::ByteStream;

use crate::TlsConfig;

/// The server's end of a TLS connection over any [`ByteStream`], on any runtime.
///
/// It shakes hands when it is read or written first. It has no [`writer`](ByteStream::writer): two tasks cannot encrypt at
/// a time, so senders leave the writing to the session's task.
///
/// What it takes to write it may still hold, encrypted and up to one record of 16 KiB, until it is flushed. A peer that
/// ends the connection without saying so in TLS has broken it off: reading fails with
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).
pub struct TlsStream<S> {
    stream: S,
    // Boxed: it has some kilobytes, and streams are moved now and then.
    tls: Box<ServerConnection>,
    closing: bool,
}

/// The most that one TLS record holds (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;

/// Frames that share a record.
const MAX_SLICES: usize = 64;

/// Reads in one poll before others get their turn: a peer can send records for ever that hold nothing.
const READS_PER_POLL: usize = 64;

impl<S: ByteStream> TlsStream<S> {
    /// TLS over a connection that has just been accepted.
    ///
    /// # Errors
    /// The configuration cannot serve any connection.
    pub fn new(stream: S, config: &TlsConfig) -> io::Result<Self> {
        let tls = config.connection().map_err(io::Error::other)?;
        Ok(Self { stream, tls: Box::new(tls), closing: false })
    }

    /// The connection underneath. What is read from it or written to it directly breaks TLS.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Reads once, decrypts what came, and says how many bytes that was: 0 at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let count = ready!(nonblocking(self.tls.read_tls(&mut Polled { stream: &mut self.stream, cx })))?;
        if let Err(error) = self.tls.process_new_packets() {
            // The alert says why, if it can still be sent.
            let _ = self.poll_send(cx);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(count))
    }

    /// Writes what is encrypted.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            ready!(nonblocking(self.tls.write_tls(&mut Polled { stream: &mut self.stream, cx })))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Until it is done, what is written would wait in the clear.
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Encrypts a record's worth, and says how much that was.
    fn seal(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let (mut count, mut room) = (0, RECORD);
        for (slice, buf) in slices.iter_mut().zip(bufs) {
            let part = &buf[..buf.len().min(room)];
            *slice = IoSlice::new(part);
            count += 1;
            room -= part.len();
            if room == 0 {
                break;
            }
        }
        self.tls.writer().write_vectored(&slices[..count])
    }
}

impl<S: ByteStream> ByteStream for TlsStream<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        for _ in 0..READS_PER_POLL {
            // Answers of TLS itself. Reading goes on while they find no room.
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
            if let Poll::Ready(result) = nonblocking(self.tls.reader().read(buf)) {
                return Poll::Ready(result);
            }
            ready!(self.poll_fill(cx))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_handshake(cx))?;
        let taken = self.seal(bufs)?;
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What found no room is for the flush.
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            self.tls.send_close_notify();
        }
        ready!(self.poll_flush(cx))?;
        self.stream.poll_shutdown(cx)
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("handshaking", &self.tls.is_handshaking())
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

/// A stream for rustls, which reads and writes as std does.
struct Polled<'s, 'c, S> {
    stream: &'s mut S,
    cx: &'s mut Context<'c>,
}

impl<S: ByteStream> Read for Polled<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        blocking(self.stream.poll_read(self.cx, buf))
    }
}

impl<S: ByteStream> Write for Polled<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match blocking(self.stream.poll_write_vectored(self.cx, bufs)) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `Pending` as std says it.
fn blocking<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// And back.
fn nonblocking<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}
