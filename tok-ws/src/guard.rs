/// Checks the headers of the frames that a client sends, before an engine sees the bytes.
///
/// It is what makes every engine refuse the same things, and what refuses a message that is too big when its header
/// arrives and not when it has been buffered. It skips payloads, copies nothing and allocates nothing.
///
/// What it checks (sections of RFC 6455): reserved bits and opcodes are not used (5.2), frames are masked (5.1),
/// lengths are in their shortest form and under 2^63 (5.2), control frames are whole and of at most 125 bytes (5.5),
/// fragments follow a first one and nothing else comes between (5.4), a close frame has no body or one that begins
/// with a code that may be sent (5.5.1, 7.4). And two bounds: the bytes of one message, all its fragments together, and
/// the number of its fragments that are empty, which would cost the server work and the client next to nothing.
///
/// ```
/// use tok_ws::Guard;
///
/// let mut guard = Guard::new(1024);
/// let (fine, verdict) = guard.check(&[0x81, 0x80, 1, 2, 3, 4]);
/// assert_eq!((fine, verdict), (6, Ok(())));
/// assert!(guard.at_boundary());
/// // Clients have to mask; this frame is not.
/// assert!(guard.check(&[0x81, 0x00]).1.is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Guard {
    limit: u64,
    step: Step,
    frame: Frame,
    message: Option<Message>,
    close_code: Option<u16>,
    /// Messages and control frames that ended and have not been given.
    events: u32,
    /// The longest frame, or the most bytes that were checked at once, since the connection was idle last.
    largest: u32,
}

/// What [`Guard::check`] refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The client broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The message is over the limit.
    #[error("the message is over the limit")]
    TooBig,
}

/// Empty fragments that one message may have. No client's stack sends any on purpose; Autobahn sends a handful.
const MAX_EMPTY_FRAGMENTS: u16 = 1024;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;

/// Which bytes come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Opcode,
    Length,
    Extended { left: u8, value: u64, least: u64 },
    Mask { left: u8 },
    CloseCode { first: Option<u8> },
    Payload { left: u64 },
    Closed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    opcode: u8,
    fin: bool,
    len: u64,
    key: [u8; 4],
}

/// The fragmented message that is open.
#[derive(Clone, Copy, Debug, Default)]
struct Message {
    bytes: u64,
    empty: u16,
}

impl Guard {
    /// A guard at the start of a connection. Messages may have `limit` bytes and no more.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit as u64,
            step: Step::Opcode,
            frame: Frame::default(),
            message: None,
            close_code: None,
            events: 0,
            largest: 0,
        }
    }

    /// Walks over the next bytes of the stream and says how many of them are fine: all, or those before the frame
    /// that is refused, or those up to the end of a close frame, behind which nothing counts.
    ///
    /// After a violation the guard must not be used again.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check(&mut self, bytes: &[u8]) -> (usize, Result<(), Violation>) {
        let mut at = 0;
        let mut frame_start = 0;
        while at < bytes.len() && self.step != Step::Closed {
            match &mut self.step {
                Step::Payload { left } => {
                    // At most what is left of a slice, so it fits a usize.
                    let skipped = (bytes.len() - at).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= skipped as u64;
                    at += skipped;
                    if *left == 0 {
                        self.end_frame();
                    }
                }
                step => {
                    if *step == Step::Opcode {
                        frame_start = at;
                    }
                    if let Err(violation) = self.byte(bytes[at]) {
                        return (frame_start, Err(violation));
                    }
                    at += 1;
                }
            }
        }
        self.grow(at as u64);
        (at, Ok(()))
    }

    /// Whether the stream stands between two frames with no fragmented message open, so that an engine's state
    /// holds nothing.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.step == Step::Opcode && self.message.is_none()
    }

    /// Whether nothing that was checked is still to be given: no event, and no part of one.
    pub(crate) fn is_spent(&self) -> bool {
        self.events == 0 && self.at_boundary()
    }

    /// An engine has given an event.
    pub(crate) fn count_event(&mut self) {
        self.events = self.events.saturating_sub(1);
    }

    /// How large an engine's buffers may have become since the last [`rest`](Self::rest), in bytes: it holds what it was
    /// fed at once, and whole frames. `u32::MAX` stands for more.
    pub(crate) fn largest(&self) -> u32 {
        self.largest
    }

    fn grow(&mut self, bytes: u64) {
        self.largest = self.largest.max(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// The connection is idle: no event is awaited any more, and nothing is in an engine's buffers.
    pub(crate) fn rest(&mut self) {
        self.events = 0;
        self.largest = 0;
    }

    /// Whether a whole close frame has come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.step == Step::Closed
    }

    /// The code of the close frame that has come, if it had one.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        self.close_code
    }

    /// The payload bytes that the current frame still lacks.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        match self.step {
            Step::Payload { left } => left,
            _ => 0,
        }
    }

    fn byte(&mut self, byte: u8) -> Result<(), Violation> {
        match self.step {
            Step::Opcode => self.opcode(byte),
            Step::Length => self.length(byte),
            Step::Extended { left, value, least } => {
                let value = value << 8 | u64::from(byte);
                if left > 1 {
                    self.step = Step::Extended { left: left - 1, value, least };
                    return Ok(());
                }
                if value < least {
                    return Err(Violation::Protocol("length not in its shortest form"));
                }
                if value >> 63 != 0 {
                    return Err(Violation::Protocol("length over 63 bits"));
                }
                self.announced(value)
            }
            Step::Mask { left } => {
                self.frame.key[4 - usize::from(left)] = byte;
                if left > 1 {
                    self.step = Step::Mask { left: left - 1 };
                } else if self.frame.len == 0 {
                    self.end_frame();
                } else if self.frame.opcode == CLOSE {
                    self.step = Step::CloseCode { first: None };
                } else {
                    self.step = Step::Payload { left: self.frame.len };
                }
                Ok(())
            }
            Step::CloseCode { first: None } => {
                self.step = Step::CloseCode { first: Some(byte ^ self.frame.key[0]) };
                Ok(())
            }
            Step::CloseCode { first: Some(first) } => {
                let code = u16::from_be_bytes([first, byte ^ self.frame.key[1]]);
                if !may_be_sent(code) {
                    return Err(Violation::Protocol("close code that must not be sent"));
                }
                self.close_code = Some(code);
                self.step = Step::Payload { left: self.frame.len - 2 };
                if self.frame.len == 2 {
                    self.end_frame();
                }
                Ok(())
            }
            // `check` handles these two.
            Step::Payload { .. } | Step::Closed => Ok(()),
        }
    }

    fn opcode(&mut self, byte: u8) -> Result<(), Violation> {
        let (fin, opcode) = (byte & 0x80 != 0, byte & 0x0f);
        if byte & 0x70 != 0 {
            return Err(Violation::Protocol("reserved bit set"));
        }
        match (opcode, self.message) {
            (CONTINUATION, None) => return Err(Violation::Protocol("continuation without a message")),
            (CONTINUATION, Some(_)) | (1..=BINARY, None) => {}
            (1..=BINARY, Some(_)) => return Err(Violation::Protocol("new message inside a fragmented one")),
            (CLOSE..=PONG, _) if fin => {}
            (CLOSE..=PONG, _) => return Err(Violation::Protocol("fragmented control frame")),
            _ => return Err(Violation::Protocol("reserved opcode")),
        }
        self.frame = Frame { opcode, fin, ..Frame::default() };
        self.step = Step::Length;
        Ok(())
    }

    fn length(&mut self, byte: u8) -> Result<(), Violation> {
        let len = byte & 0x7f;
        if byte & 0x80 == 0 {
            return Err(Violation::Protocol("unmasked frame"));
        }
        if self.frame.opcode >= CLOSE && len > 125 {
            return Err(Violation::Protocol("control frame over 125 bytes"));
        }
        if self.frame.opcode == CLOSE && len == 1 {
            return Err(Violation::Protocol("close frame of one byte"));
        }
        match len {
            126 => self.step = Step::Extended { left: 2, value: 0, least: 126 },
            127 => self.step = Step::Extended { left: 8, value: 0, least: 65_536 },
            _ => return self.announced(u64::from(len)),
        }
        Ok(())
    }

    fn announced(&mut self, len: u64) -> Result<(), Violation> {
        self.frame.len = len;
        self.step = Step::Mask { left: 4 };
        if self.frame.opcode >= CLOSE {
            return Ok(());
        }
        let mut message = self.message.unwrap_or_default();
        message.bytes = message.bytes.saturating_add(len);
        if message.bytes > self.limit {
            return Err(Violation::TooBig);
        }
        if len == 0 && !self.frame.fin {
            message.empty += 1;
            if message.empty > MAX_EMPTY_FRAGMENTS {
                return Err(Violation::Protocol("too many empty fragments"));
            }
        }
        self.grow(len);
        self.message = (!self.frame.fin).then_some(message);
        Ok(())
    }

    fn end_frame(&mut self) {
        self.events += u32::from(self.frame.fin);
        self.step = if self.frame.opcode == CLOSE { Step::Closed } else { Step::Opcode };
    }
}

/// Whether RFC 6455 section 7.4 and the registry that it opened allow an endpoint to send this close code.
pub(crate) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [9, 8, 7, 6];

    fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![head, 0x80 | payload.len() as u8];
        frame.extend(MASK);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
        frame
    }

    /// Checks a script in two portions, cut anywhere, and returns what is fine of it and the verdict.
    fn check(script: &[u8], limit: usize) -> (usize, Result<(), Violation>, Guard) {
        let mut whole = Guard::new(limit);
        let (fine, verdict) = whole.check(script);
        for cut in 0..script.len() {
            let mut guard = Guard::new(limit);
            let (first, first_verdict) = guard.check(&script[..cut]);
            if first_verdict.is_err() || first < cut {
                // What decides came before the cut.
                assert_eq!((first, first_verdict), (fine, verdict), "{script:?} cut at {cut}");
                continue;
            }
            let (second, second_verdict) = guard.check(&script[cut..]);
            assert_eq!(second_verdict, verdict, "{script:?} cut at {cut}");
            // The part of a refused frame's header before the cut has passed already.
            assert_eq!(first + second, if verdict.is_err() { fine.max(cut) } else { fine });
            assert_eq!(guard.at_boundary(), whole.at_boundary());
            assert_eq!(guard.close_code(), whole.close_code());
        }
        (fine, verdict, whole)
    }

    #[test]
    fn good_streams_pass_wherever_they_are_cut() {
        let long = [&[0x82, 0xfe, 0, 126][..], &MASK, &[0; 126]].concat();
        let script = [
            frame(0x81, b"text"),
            frame(0x01, b"frag"),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x80, b"ment"),
            long,
            frame(0x8a, b""),
            frame(0x82, b""),
        ]
        .concat();
        let (fine, verdict, guard) = check(&script, 126);
        assert_eq!((fine, verdict), (script.len(), Ok(())));
        assert!(guard.at_boundary() && !guard.is_closed());
    }

    #[test]
    fn the_bytes_before_a_refused_frame_are_fine() {
        let good = [frame(0x81, b"text"), frame(0x01, b"fragment")].concat();
        for wrong in [&[0x81][..], &[0xc0], &[0x83], &[0x80, 0x00], &[0x89, 0xfe], &[0x80, 0xfe, 0, 125]] {
            let (fine, verdict, _) = check(&[&good[..], wrong].concat(), 100);
            assert_eq!(fine, good.len(), "{wrong:?}");
            assert!(matches!(verdict, Err(Violation::Protocol(_))), "{wrong:?}");
        }
        let (fine, verdict, _) = check(&[&good[..], &frame(0x80, &[0; 93])].concat(), 100);
        assert_eq!((fine, verdict), (good.len(), Err(Violation::TooBig)));
    }

    #[test]
    fn fragments_of_any_size_stay_within_the_limit() {
        let mut guard = Guard::new(usize::MAX);
        let huge = [&[0x02, 0xff, 0x7f][..], &[0xff; 7], &MASK].concat();
        assert_eq!(guard.check(&huge).1, Ok(()));
        assert_eq!(guard.remaining(), i64::MAX as u64);
        let mut guard = Guard::new(10);
        assert_eq!(guard.check(&frame(0x02, &[0; 10])).1, Ok(()));
        assert_eq!(
            guard.check(&huge[..10]).1,
            Err(Violation::Protocol("new message inside a fragmented one"))
        );
    }

    #[test]
    fn nothing_counts_behind_a_close() {
        for (close, code) in [(frame(0x88, b""), None), (frame(0x88, &[3, 232]), Some(1000))] {
            let (fine, verdict, guard) = check(&[&close[..], b"whatever"].concat(), 100);
            assert_eq!((fine, verdict), (close.len(), Ok(())));
            assert!(guard.is_closed() && !guard.at_boundary());
            assert_eq!(guard.close_code(), code);
        }
        let (fine, verdict, guard) = check(&frame(0x88, &[0x0f, 0xa0, b'h', b'i']), 0);
        assert_eq!((fine, verdict, guard.close_code()), (10, Ok(()), Some(4000)));
    }

    #[test]
    fn whatever_comes_the_guard_holds() {
        // A small generator of bytes: any stream ends in a verdict, and never with more fine bytes than there were.
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut guard = Guard::new(1000);
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            let (fine, verdict) = guard.check(&bytes);
            assert!(if verdict.is_ok() {
                fine == bytes.len() || guard.is_closed()
            } else {
                fine < bytes.len()
            });
        }
    }
}
