use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    sync::{Mutex, MutexGuard},
    transport::{ByteStream, Frame, WriteNow},
};

/// A connection of bytes in memory: two ends, each of which is a [`ByteStream`]. At most `capacity` bytes (at least 1)
/// that one end wrote and the other did not read lie in each direction; a write beyond waits.
///
/// The transport under test gets one end. The test holds the other: it reads and writes there, or sends with
/// [`put`](ByteEnd::put) whatever the capacity, and sets what the transport's own reads and writes meet.
///
/// ```
/// use std::{future::poll_fn, io::IoSlice, task::Poll};
/// use tok_core::{testkit::transport::{block_on, byte_pair}, transport::ByteStream};
///
/// let (mut near, far) = byte_pair(1024);
/// far.accept(3);
/// far.put(b"hi");
/// block_on(poll_fn(|cx| {
///     let hello = [IoSlice::new(b"hello")];
///     assert!(matches!(near.poll_write_vectored(cx, &hello), Poll::Ready(Ok(3))));
///     assert!(matches!(near.poll_read(cx, &mut [0; 10]), Poll::Ready(Ok(2))));
///     assert!(near.poll_read(cx, &mut [0; 10]).is_pending());
///     Poll::Ready(())
/// }));
/// ```
#[must_use]
pub fn byte_pair(capacity: usize) -> (ByteEnd, ByteEnd) {
    let pipe = || Pipe { capacity: capacity.max(1), ..Pipe::default() };
    let link = Arc::new(Mutex::new(Link { pipes: [pipe(), pipe()], reset: false }));
    (ByteEnd { link: Arc::clone(&link), own: 0 }, ByteEnd { link, own: 1 })
}

/// One end of a [`byte_pair`]. Dropping it ends its direction, and the other end's writes fail.
pub struct ByteEnd {
    link: Arc<Mutex<Link>>,
    /// The index of the pipe that this end writes to.
    own: usize,
}

#[derive(Default)]
struct Link {
    /// Each is written by one end and read by the other.
    pipes: [Pipe; 2],
    reset: bool,
}

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    ended: bool,
    reader_gone: bool,
    max_read: Option<usize>,
    max_write: Option<usize>,
    stalled: bool,
    trickles: bool,
    /// The next read waits.
    paused: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl ByteEnd {
    /// Sends bytes, whatever the capacity. Ignored after [`end`](Self::end) and [`reset`](Self::reset).
    pub fn put(&self, bytes: &[u8]) {
        let mut link = self.link.lock();
        let pipe = &mut link.pipes[self.own];
        if !pipe.ended {
            pipe.bytes.extend(bytes);
            wake(link, |link| [link.pipes[self.own].reader.take(), None]);
        }
    }

    /// Ends this end's direction: the other reads what was sent, then the end.
    pub fn end(&self) {
        let mut link = self.link.lock();
        link.pipes[self.own].ended = true;
        wake(link, |link| [link.pipes[self.own].reader.take(), None]);
    }

    /// Breaks the connection: what was not read is lost, every read and write fails from now on.
    pub fn reset(&self) {
        let mut link = self.link.lock();
        link.reset = true;
        link.pipes.iter_mut().for_each(|pipe| pipe.bytes.clear());
        let far = 1 - self.own;
        wake(link, |link| [link.pipes[self.own].reader.take(), link.pipes[far].writer.take()]);
    }

    /// Each write of the other end is taken up to this many bytes, at least 1.
    pub fn accept(&self, bytes: usize) {
        self.link.lock().pipes[1 - self.own].max_write = Some(bytes.max(1));
    }

    /// Whether the other end's writes wait, whatever room there is.
    pub fn stall(&self, stalled: bool) {
        let mut link = self.link.lock();
        let pipe = &mut link.pipes[1 - self.own];
        pipe.stalled = stalled;
        if !stalled {
            wake(link, |link| [link.pipes[1 - self.own].writer.take(), None]);
        }
    }

    /// Each read of the other end gives up to this many bytes, at least 1.
    pub fn give(&self, bytes: usize) {
        self.link.lock().pipes[self.own].max_read = Some(bytes.max(1));
    }

    /// As [`give`](Self::give), and before each read that gives something there is one that is pending, which wakes
    /// its task at once.
    pub fn trickle(&self, bytes: usize) {
        self.give(bytes);
        self.link.lock().pipes[self.own].trickles = true;
    }
}

/// Wakes behind the lock: a waker is somebody else's code.
fn wake(mut link: MutexGuard<'_, Link>, take: impl FnOnce(&mut Link) -> [Option<Waker>; 2]) {
    let wakers = take(&mut link);
    drop(link);
    wakers.into_iter().flatten().for_each(Waker::wake);
}

impl ByteStream for ByteEnd {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut link = self.link.lock();
        if link.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let pipe = &mut link.pipes[1 - self.own];
        if pipe.bytes.is_empty() && !pipe.ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if pipe.trickles && !pipe.bytes.is_empty() {
            pipe.paused = !pipe.paused;
            if pipe.paused {
                drop(link);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let count = buf.len().min(pipe.bytes.len()).min(pipe.max_read.unwrap_or(usize::MAX));
        for (place, byte) in buf.iter_mut().zip(pipe.bytes.drain(..count)) {
            *place = byte;
        }
        wake(link, |link| [link.pipes[1 - self.own].writer.take(), None]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        write(&self.link, self.own, bufs.iter().map(|buf| &**buf), Some(cx))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }

    fn writer(&self) -> Option<Arc<dyn WriteNow>> {
        Some(Arc::new(ByteWriter { link: Arc::clone(&self.link), own: self.own }))
    }
}

/// Writes past the end that it is of.
struct ByteWriter {
    link: Arc<Mutex<Link>>,
    own: usize,
}

impl WriteNow for ByteWriter {
    fn write_now(&self, frames: &[Frame]) -> io::Result<usize> {
        match write(&self.link, self.own, frames.iter().map(|frame| &**frame.bytes()), None) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(0),
        }
    }
}

/// One write to a pipe. Without a context nobody is woken when there is room again.
fn write<'a>(
    link: &Mutex<Link>,
    own: usize,
    bufs: impl Iterator<Item = &'a [u8]>,
    cx: Option<&mut Context<'_>>,
) -> Poll<io::Result<usize>> {
    let mut link = link.lock();
    if link.reset {
        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
    }
    let pipe = &mut link.pipes[own];
    if pipe.ended || pipe.reader_gone {
        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
    }
    let room = pipe.capacity.saturating_sub(pipe.bytes.len());
    if room == 0 || pipe.stalled {
        if let Some(cx) = cx {
            pipe.writer = Some(cx.waker().clone());
        }
        return Poll::Pending;
    }
    let mut left = room.min(pipe.max_write.unwrap_or(usize::MAX));
    let before = pipe.bytes.len();
    for buf in bufs {
        let count = buf.len().min(left);
        pipe.bytes.extend(&buf[..count]);
        left -= count;
    }
    let count = pipe.bytes.len() - before;
    wake(link, |link| [link.pipes[own].reader.take(), None]);
    Poll::Ready(Ok(count))
}

impl Drop for ByteEnd {
    fn drop(&mut self) {
        let mut link = self.link.lock();
        let far = 1 - self.own;
        link.pipes[self.own].ended = true;
        link.pipes[far].reader_gone = true;
        wake(link, |link| [link.pipes[self.own].reader.take(), link.pipes[far].writer.take()]);
    }
}

impl fmt::Debug for ByteEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteEnd").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// What a poll gives, and a flag that its waker sets.
    fn poll<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> (Poll<T>, Arc<Woken>) {
        let woken = Arc::new(Woken::default());
        (poll(&mut Context::from_waker(&Waker::from(Arc::clone(&woken)))), woken)
    }

    fn read(end: &mut ByteEnd) -> (Poll<Result<Vec<u8>, io::ErrorKind>>, Arc<Woken>) {
        let mut buf = [0; 8];
        let (polled, woken) = poll(|cx| end.poll_read(cx, &mut buf));
        (polled.map(|read| read.map(|count| buf[..count].to_vec()).map_err(|error| error.kind())), woken)
    }

    fn write(end: &mut ByteEnd, bytes: &[u8]) -> (Poll<Result<usize, io::ErrorKind>>, Arc<Woken>) {
        let (front, back) = bytes.split_at(bytes.len() / 2);
        let (polled, woken) =
            poll(|cx| end.poll_write_vectored(cx, &[IoSlice::new(front), IoSlice::new(back)]));
        (polled.map(|written| written.map_err(|error| error.kind())), woken)
    }

    fn woken(woken: &Woken) -> bool {
        woken.0.load(Ordering::Relaxed)
    }

    fn bytes(bytes: &[u8]) -> Poll<Result<Vec<u8>, io::ErrorKind>> {
        Poll::Ready(Ok(bytes.to_vec()))
    }

    #[test]
    fn a_full_pipe_waits_for_the_reader_and_an_empty_one_for_the_writer() {
        let (mut near, mut far) = byte_pair(4);
        let (empty, reader) = read(&mut far);
        assert!(empty.is_pending() && !woken(&reader));
        assert_eq!(write(&mut near, b"hello").0, Poll::Ready(Ok(4)));
        assert!(woken(&reader));
        let (full, writer) = write(&mut near, b"o");
        assert!(full.is_pending() && !woken(&writer));
        assert_eq!(read(&mut far).0, bytes(b"hell"));
        assert!(woken(&writer));
        far.put(b"more than it holds");
        assert_eq!(read(&mut near).0, bytes(b"more tha"));
    }

    #[test]
    fn knobs_are_about_the_other_end() {
        let (mut near, mut far) = byte_pair(100);
        far.accept(2);
        assert_eq!(write(&mut near, b"hello").0, Poll::Ready(Ok(2)));
        assert_eq!(write(&mut far, b"hello").0, Poll::Ready(Ok(5)));
        far.stall(true);
        let (stalled, writer) = write(&mut near, b"llo");
        assert!(stalled.is_pending());
        far.stall(false);
        assert!(woken(&writer));
        far.give(2);
        assert_eq!(read(&mut near).0, bytes(b"he"));
        far.trickle(1);
        for byte in [b"l", b"l", b"o"] {
            let (waits, reader) = read(&mut near);
            assert!(waits.is_pending() && woken(&reader));
            assert_eq!(read(&mut near).0, bytes(byte));
        }
        let (empty, reader) = read(&mut near);
        assert!(empty.is_pending() && !woken(&reader));
    }

    #[test]
    fn ends_and_breaks_are_told_apart() {
        let (mut near, mut far) = byte_pair(100);
        far.put(b"bye");
        far.end();
        far.put(b"ignored");
        assert_eq!((read(&mut near).0, read(&mut near).0), (bytes(b"bye"), bytes(b"")));
        assert_eq!(write(&mut near, b"still read").0, Poll::Ready(Ok(10)));
        assert_eq!(write(&mut far, b"ended").0, Poll::Ready(Err(io::ErrorKind::BrokenPipe)));
        drop(far);
        assert_eq!(write(&mut near, b"gone").0, Poll::Ready(Err(io::ErrorKind::BrokenPipe)));

        let (mut near, far) = byte_pair(4);
        assert_eq!(write(&mut near, b"full").0, Poll::Ready(Ok(4)));
        let ((_, writer), (_, reader)) = (write(&mut near, b"x"), read(&mut near));
        far.put(b"lost");
        far.reset();
        assert!(woken(&writer) && woken(&reader));
        assert_eq!(read(&mut near).0, Poll::Ready(Err(io::ErrorKind::ConnectionReset)));
        assert_eq!(write(&mut near, b"x").0, Poll::Ready(Err(io::ErrorKind::ConnectionReset)));
    }
}
