/// An input of the fuzzer: its first bytes choose settings, the rest is for the parser.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; 0 where there is none.
    pub(crate) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    pub(crate) fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Cuts bytes into portions: `how` 0 leaves them whole, 1 to 127 gives so many at a time, and above that they are of
/// changing sizes.
pub(crate) fn portions(how: u8, mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut random = u32::from(how);
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let size = match how {
            0 => bytes.len(),
            1..128 => usize::from(how),
            _ => {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                1 + (random >> 27) as usize
            }
        };
        let (portion, rest) = bytes.split_at(size.min(bytes.len()));
        bytes = rest;
        Some(portion)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_the_whole() {
        let bytes: Vec<u8> = (0..200).collect();
        for how in 0..=255 {
            assert_eq!(portions(how, &bytes).collect::<Vec<_>>().concat(), bytes, "{how}");
        }
        assert_eq!(portions(1, &bytes).count(), 200);
        assert_eq!(portions(0, &bytes).count(), 1);
    }
}
