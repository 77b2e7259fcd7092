//! Frames of RFC 6455, section 5.2, as cheaply as a load tool needs them: built once, and counted by their headers.

/// Opcodes that the tool meets.
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Payload bytes of a frame that are looked at: those of the longest control frame.
const SAMPLE: usize = 125;

/// Appends a whole client frame. Its masking key is zero, so that masking, at either end, changes no byte: the key
/// protects browsers' users from hostile pages, and there is neither here.
pub(crate) fn push_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// What the walker saw of one frame when it has passed its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) fin: bool,
    pub(super) opcode: u8,
    /// The payload's first bytes, all of it up to 125.
    pub(super) sample: &'a [u8],
}

/// Walks over the frames of a server, whose payloads are not masked, in whatever pieces they arrive.
#[derive(Debug)]
pub(super) struct Walker {
    /// The header that is being put together, or that of the frame whose payload is passing by.
    head: [u8; 10],
    have: usize,
    in_payload: bool,
    left: u64,
    sample: [u8; SAMPLE],
    sampled: usize,
}

impl Default for Walker {
    fn default() -> Self {
        Self { head: [0; 10], have: 0, in_payload: false, left: 0, sample: [0; SAMPLE], sampled: 0 }
    }
}

impl Walker {
    /// Calls `on` for every frame that ends in `bytes`.
    pub(super) fn walk(&mut self, mut bytes: &[u8], mut on: impl FnMut(Frame<'_>)) {
        loop {
            // What nearly every frame takes: it lies in the buffer as a whole.
            if self.have == 0
                && let Some((head, len)) = header(bytes)
                && let Some(end) = usize::try_from(len).ok().and_then(|len| head.checked_add(len))
                && let Some(payload) = bytes.get(head..end)
            {
                on(frame(bytes[0], &payload[..payload.len().min(SAMPLE)]));
                bytes = &bytes[end..];
                continue;
            }
            while !self.in_payload {
                let Some((first, rest)) = bytes.split_first() else { return };
                self.head[self.have] = *first;
                self.have += 1;
                bytes = rest;
                if let Some((_, len)) = header(&self.head[..self.have]) {
                    (self.in_payload, self.left, self.sampled) = (true, len, 0);
                }
            }
            let here = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let copied = here.min(SAMPLE - self.sampled);
            self.sample[self.sampled..self.sampled + copied].copy_from_slice(&bytes[..copied]);
            self.sampled += copied;
            self.left -= here as u64;
            bytes = &bytes[here..];
            if self.left > 0 {
                return;
            }
            on(frame(self.head[0], &self.sample[..self.sampled]));
            (self.have, self.in_payload) = (0, false);
        }
    }
}

fn frame(first: u8, sample: &[u8]) -> Frame<'_> {
    Frame { fin: first & 0x80 != 0, opcode: first & 0x0f, sample }
}

/// The length of the header and of the payload, once the header is whole.
fn header(bytes: &[u8]) -> Option<(usize, u64)> {
    match *bytes.get(1)? & 0x7f {
        126 => Some((4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)))),
        127 => Some((10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?))),
        len => Some((2, u64::from(len))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's frame: a client's without the mask.
    fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_masked(&mut out, opcode, payload);
        let key_at = out.len() - payload.len() - 4;
        out.drain(key_at..key_at + 4);
        out[1] &= 0x7f;
        out
    }

    #[test]
    fn frames_are_found_in_pieces_of_any_size() {
        let payloads: Vec<Vec<u8>> =
            [0, 1, 125, 126, 300, 70_000].iter().map(|len| vec![b'E'; *len]).collect();
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| unmasked(TEXT, payload)).collect();
        for piece in [1, 2, 3, 7, 127, 4096, stream.len()] {
            let mut walker = Walker::default();
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                walker.walk(bytes, |frame| {
                    assert!(frame.fin && frame.opcode == TEXT);
                    found.push(frame.sample.to_vec());
                });
            }
            let expected: Vec<Vec<u8>> =
                payloads.iter().map(|payload| payload[..payload.len().min(SAMPLE)].to_vec()).collect();
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_fragment_is_told_from_a_whole_message() {
        let mut bytes = unmasked(TEXT, b"a");
        bytes[0] &= 0x7f;
        Walker::default().walk(&bytes, |frame| assert!(!frame.fin));
    }
}
