//! The floor that `cargo xtask bench` compares with: the least that a server on tokio can do for `E`, `T` and `B`.
//! One task a connection, one read and one write a message; a sender writes an idle receiver's socket itself, and what
//! waits leaves in one vectored write. Nothing is bounded, checked or confirmed, and a poisoned lock panics.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, RwLock};
use std::task::{Poll, Waker, ready};
use std::{future::poll_fn, io, io::IoSlice, pin::Pin};

use bytes::{Buf as _, Bytes};
use examples::peer::{self, Flags};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::{TcpStream, tcp::OwnedWriteHalf};

type Users = RwLock<HashMap<Vec<u8>, Arc<Mutex<Outbox>>>>;

struct Outbox {
    waiting: VecDeque<Bytes>,
    socket: OwnedWriteHalf,
    task: Waker,
}

impl Outbox {
    fn send(&mut self, frame: Bytes) {
        self.waiting.push_back(frame);
        if self.waiting.len() == 1 && !self.flush() {
            self.task.wake_by_ref();
        }
    }

    /// False if the socket takes no more; a broken one fails its reader too.
    fn flush(&mut self) -> bool {
        while !self.waiting.is_empty() {
            let mut slices = [IoSlice::new(&[]); 32];
            self.waiting.iter().zip(&mut slices).for_each(|(frame, slice)| *slice = IoSlice::new(frame));
            let count = self.waiting.len().min(slices.len());
            let Ok(mut taken) = self.socket.try_write_vectored(&slices[..count]) else { return false };
            while let Some(front) = self.waiting.front_mut().filter(|_| taken > 0) {
                let here = taken.min(front.len());
                front.advance(here);
                taken -= here;
                drop(front.is_empty().then(|| self.waiting.pop_front()));
            }
        }
        true
    }
}

fn main() -> io::Result<()> {
    let flags = Flags::from_env();
    flags.smallest()?.block_on(async {
        let listener = flags.listen().await?;
        let users = Arc::new(Users::default());
        loop {
            tokio::spawn(serve(listener.accept().await?.0, Arc::clone(&users)));
        }
    })
}

async fn serve(stream: TcpStream, users: Arc<Users>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, socket) = stream.into_split();
    let own = Arc::new(Mutex::new(Outbox { waiting: VecDeque::new(), socket, task: Waker::noop().clone() }));
    let (mut uid, mut rest) = (Vec::new(), Vec::new());
    let end = poll_fn(|cx| {
        let mut buffer = [0; 16 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = Pin::new(&mut reader).poll_read(cx, &mut buffer)?;
            if read.is_ready() && buffer.filled().is_empty() {
                return Poll::Ready(io::Result::Ok(()));
            }
            let in_pieces = !rest.is_empty();
            rest.extend_from_slice(if in_pieces { buffer.filled() } else { &[] });
            let bytes = if in_pieces { &mut rest } else { buffer.filled_mut() };
            let used = take(bytes, &own, &users, &mut uid);
            rest = bytes[used..].to_vec();
            let mut own = own.lock().unwrap();
            own.task.clone_from(cx.waker());
            while !own.flush() && own.socket.as_ref().poll_write_ready(cx).is_ready() {}
            ready!(read);
        }
    })
    .await;
    users.write().unwrap().remove(&uid);
    end
}

/// Handles `GET /ws?uid=NAME` or the whole frames, and says how many bytes they were.
fn take(bytes: &mut [u8], own: &Arc<Mutex<Outbox>>, users: &Users, uid: &mut Vec<u8>) -> usize {
    if uid.is_empty() {
        let Some((name, answer)) = peer::log_in(bytes) else { return 0 };
        uid.extend_from_slice(name.as_bytes());
        users.write().unwrap().insert(name.into(), Arc::clone(own));
        own.lock().unwrap().send(answer.into());
        return bytes.len();
    }
    let send = |user: &Mutex<Outbox>, frame: &Bytes| user.lock().unwrap().send(frame.clone());
    let mut used = 0;
    while let Some([kind, len, rest @ ..]) = bytes.get_mut(used..) {
        let (head, len) = match (*len & 0x7f, &*rest) {
            (126, [a, b, ..]) => (vec![*kind, 126, *a, *b], u16::from_be_bytes([*a, *b]).into()),
            (126.., _) => break,
            (len, _) => (vec![*kind, len], usize::from(len)),
        };
        let Some(masked) = rest.get_mut(head.len() - 2..head.len() + 2 + len) else { break };
        let payload = peer::unmask(masked);
        let frame = Bytes::from([&head, &*payload].concat());
        match payload.split(|byte| *byte == b'|').next() {
            Some([b'B', ..]) => users.read().unwrap().values().for_each(|user| send(user, &frame)),
            Some([b'T', uid @ ..]) => drop(users.read().unwrap().get(uid).map(|user| send(user, &frame))),
            // Leaves with all that is answered to what was read with it.
            Some([b'E', ..]) => own.lock().unwrap().waiting.push_back(frame),
            _ => {}
        }
        used += head.len() + 4 + len;
    }
    used
}
