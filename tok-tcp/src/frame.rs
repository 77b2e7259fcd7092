use std::{fmt, mem};

use bytes::{BufMut, Bytes, BytesMut};
use tok_core::transport::{Framing, TransportError};

/// The length in front of every frame, in bytes.
pub(crate) const HEAD: usize = 4;

/// From this size on a frame is read straight into its own buffer, once as much of it has come.
const DIRECT: usize = 4096;

/// A 4-byte big-endian length and the payload, for text and binary alike.
///
/// A payload over 4,294,967,295 bytes has no frame: its encoding has no bytes at all, so that nothing is sent. A hub
/// whose `max_message` is below that never meets the case.
pub static FRAMING: Framing = Framing::new("tcp", |_kind, data| {
    let Ok(len) = u32::try_from(data.len()) else { return Bytes::new() };
    let mut frame = BytesMut::with_capacity(HEAD + data.len());
    frame.put_u32(len);
    frame.put_slice(data);
    frame.freeze()
});

/// Cuts a stream of bytes into the payloads of its frames. It does no I/O.
///
/// A length is checked against the limit before anything is allocated for it, and what is then held grows with the
/// bytes that came: at most twice as many, whatever was announced. Between frames, and while only a frame's length has
/// come, it holds no memory.
///
/// ```
/// use tok_tcp::Decoder;
///
/// let mut decoder = Decoder::new(1024);
/// let mut input: &[u8] = b"\0\0\0\x02hi\0\0\0\x05he";
/// assert_eq!(decoder.decode(&mut input)?.as_deref(), Some(&b"hi"[..]));
/// assert_eq!(decoder.decode(&mut input)?, None);
/// assert!(!decoder.is_between_frames());
/// assert_eq!(decoder.decode(&mut &b"llo"[..])?.as_deref(), Some(&b"hello"[..]));
/// # Ok::<_, tok_core::transport::TransportError>(())
/// ```
pub struct Decoder {
    limit: usize,
    head: [u8; HEAD],
    head_len: u8,
    // Zeroed where not yet received, and never longer than the frame.
    body: Vec<u8>,
    received: usize,
}

impl Decoder {
    /// A decoder that takes payloads of up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, head: [0; HEAD], head_len: 0, body: Vec::new(), received: 0 }
    }

    /// Takes bytes off the front of `input` up to the end of a frame, and returns its payload in memory of its own.
    /// `None` when the input is used up and the frame is not complete.
    ///
    /// # Errors
    /// [`TransportError::TooBig`] when a frame's length is over the limit. Where the next frame begins is then unknown,
    /// so every later call fails too.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Bytes>, TransportError> {
        let known = usize::from(self.head_len);
        if known < HEAD {
            let bytes = split(input, HEAD - known);
            self.head[known..known + bytes.len()].copy_from_slice(bytes);
            self.head_len += bytes.len() as u8; // at most HEAD
            if usize::from(self.head_len) < HEAD {
                return Ok(None);
            }
        }
        let len = self.announced();
        if len > self.limit {
            return Err(TransportError::TooBig { limit: self.limit });
        }
        let bytes = split(input, len - self.received);
        if bytes.len() == len {
            self.head_len = 0;
            return Ok(Some(Bytes::copy_from_slice(bytes)));
        }
        self.make_room(bytes.len());
        self.body[self.received..self.received + bytes.len()].copy_from_slice(bytes);
        self.received += bytes.len();
        if self.received < len {
            return Ok(None);
        }
        self.head_len = 0;
        self.received = 0;
        Ok(Some(mem::take(&mut self.body).into()))
    }

    /// Whether the input so far ended with a whole frame (or has not begun): where a peer may end its stream.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.head_len == 0
    }

    /// Sets the limit for the frames whose length is not known yet.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where to read the rest of a big frame to without a copy; [`Self::filled`] says how much came, and
    /// [`Self::decode`] without input then returns the frame if it is complete. `None` while reading through a scratch
    /// buffer is better: it takes in small frames by the dozen, and costs a peer that only announces much no memory.
    pub(crate) fn unfilled(&mut self) -> Option<&mut [u8]> {
        if usize::from(self.head_len) < HEAD || self.received < DIRECT {
            return None;
        }
        if self.announced().saturating_sub(self.received) < DIRECT {
            return None;
        }
        self.make_room(1);
        Some(&mut self.body[self.received..])
    }

    /// Counts bytes read into [`Self::unfilled`].
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.received = (self.received + bytes).min(self.body.len());
    }

    /// The bytes of memory held.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.body.capacity()
    }

    fn announced(&self) -> usize {
        usize::try_from(u32::from_be_bytes(self.head)).unwrap_or(usize::MAX)
    }

    /// Makes the body at least `more` bytes longer than what has come; when it has to grow, to twice that, so that the
    /// copies stay linear in the frame's size.
    fn make_room(&mut self, more: usize) {
        let needed = self.received + more;
        if self.body.len() < needed {
            let len = needed.max((2 * self.received).min(self.announced()));
            self.body.reserve_exact(len - self.body.len());
            self.body.resize(len, 0);
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("limit", &self.limit)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// Takes up to `most` bytes off the front.
fn split<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (front, back) = input.split_at(most.min(input.len()));
    *input = back;
    front
}

#[cfg(test)]
mod tests {
    use tok_core::Message;

    use super::*;

    fn frames(payloads: &[Vec<u8>]) -> Vec<u8> {
        payloads.iter().flat_map(|p| FRAMING.encode(&Message::from(p.clone())).into_bytes()).collect()
    }

    fn feed(decoder: &mut Decoder, mut input: &[u8], out: &mut Vec<Vec<u8>>) {
        while let Some(payload) = decoder.decode(&mut input).unwrap() {
            out.push(payload.to_vec());
        }
        assert!(input.is_empty(), "None means that the input is used up");
    }

    fn payloads() -> Vec<Vec<u8>> {
        [0, 1, 3, 4, 5, 0, 0, 127, 300].map(|len| (0..len).map(|i| i as u8).collect()).to_vec()
    }

    #[test]
    fn any_split_gives_the_same_frames() {
        let wire = frames(&payloads());
        for at in 0..=wire.len() {
            let (mut decoder, mut out) = (Decoder::new(300), Vec::new());
            feed(&mut decoder, &wire[..at], &mut out);
            feed(&mut decoder, &wire[at..], &mut out);
            assert_eq!(out, payloads(), "split at {at}");
            assert!(decoder.is_between_frames());
            assert_eq!(decoder.capacity(), 0);
        }
    }

    #[test]
    fn byte_by_byte_gives_the_same_frames() {
        let (mut decoder, mut out) = (Decoder::new(300), Vec::new());
        for byte in frames(&payloads()) {
            feed(&mut decoder, &[byte], &mut out);
        }
        assert_eq!(out, payloads());
    }

    #[test]
    fn many_frames_in_one_read() {
        let sent: Vec<_> = (0..1000_u32).map(|i| i.to_be_bytes().to_vec()).collect();
        let (mut decoder, mut out) = (Decoder::new(4), Vec::new());
        feed(&mut decoder, &frames(&sent), &mut out);
        assert_eq!(out, sent);
    }

    #[test]
    fn the_limit_is_inclusive_to_the_byte() {
        for limit in [0, 1, 5, 300] {
            let mut decoder = Decoder::new(limit);
            let fits = frames(&[vec![7; limit]]);
            assert_eq!(decoder.decode(&mut &fits[..]).unwrap().unwrap().len(), limit);
            let over = frames(&[vec![7; limit + 1]]);
            for input in [&over[..], &[]] {
                let error = decoder.decode(&mut &input[..]).unwrap_err();
                assert!(matches!(error, TransportError::TooBig { limit: l } if l == limit), "{error}");
            }
        }
    }

    #[test]
    fn memory_follows_what_came_and_not_what_was_announced() {
        let mut decoder = Decoder::new(1 << 20);
        assert!(decoder.decode(&mut &[0xff; 4][..]).is_err());
        assert_eq!(decoder.capacity(), 0);

        // Even where the limit would allow 4 GiB.
        let mut decoder = Decoder::new(usize::MAX);
        assert_eq!(decoder.decode(&mut &[0xff; 4][..]).unwrap(), None);
        assert_eq!(decoder.capacity(), 0);
        for received in 1..=20_000 {
            assert_eq!(decoder.decode(&mut &[1][..]).unwrap(), None);
            assert!(decoder.capacity() <= 2 * received, "{} for {received}", decoder.capacity());
            assert_eq!(decoder.unfilled().is_some(), received >= DIRECT);
            assert!(decoder.capacity() <= 2 * received, "{} for {received}", decoder.capacity());
        }
    }

    #[test]
    fn a_big_frame_read_in_place_is_whole_and_keeps_nothing() {
        let payload: Vec<u8> = (0..100_000).map(|i| (i % 251) as u8).collect();
        let wire = frames(std::slice::from_ref(&payload));
        let (mut decoder, mut at) = (Decoder::new(payload.len()), 0);
        let (mut in_place, mut frame) = (0, None);
        while frame.is_none() {
            let rest = &wire[at..];
            let step = if let Some(room) = decoder.unfilled() {
                let n = room.len().min(rest.len()).min(3000);
                room[..n].copy_from_slice(&rest[..n]);
                decoder.filled(n);
                in_place += n;
                frame = decoder.decode(&mut &[][..]).unwrap();
                n
            } else {
                let n = rest.len().min(1000);
                frame = decoder.decode(&mut &rest[..n]).unwrap();
                n
            };
            at += step;
        }
        assert_eq!(frame.as_deref(), Some(&payload[..]));
        assert!(in_place > payload.len() / 2);
        assert_eq!((at, decoder.capacity()), (wire.len(), 0));
        assert!(decoder.is_between_frames());
    }
}
