//! Forms (`application/x-www-form-urlencoded`) as bytes. Decoders to text replace what is not UTF-8 with U+FFFD, which
//! makes different names the same.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The decoded value of the first field named `key`; empty if the field has no `=`.
pub(crate) fn field<'a>(form: &'a [u8], key: &str) -> Option<Cow<'a, [u8]>> {
    form.split(|byte| *byte == b'&').filter(|field| !field.is_empty()).find_map(|field| {
        let mut halves = field.splitn(2, |byte| *byte == b'=');
        let name = decode(halves.next().unwrap_or_default());
        (*name == *key.as_bytes()).then(|| decode(halves.next().unwrap_or_default()))
    })
}

fn decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'+') {
        return percent_decode(bytes).into();
    }
    let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_decode_as_the_text_decoder_decodes_them() {
        let form = "uid=a%20b+c&&x&=y&u%69d=second&e=%4&f=a=b%3D&g=%EF%BF%BD&uid=third";
        for key in ["uid", "x", "e", "f", "g", "", "none"] {
            let mut pairs = form_urlencoded::parse(form.as_bytes());
            let text = pairs.find_map(|(name, value)| (name == key).then(|| value.as_bytes().to_vec()));
            assert_eq!(field(form.as_bytes(), key).map(Cow::into_owned), text, "{key}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        assert_eq!(field(b"a=%ff+%fe", "a").as_deref(), Some(&b"\xff \xfe"[..]));
        assert_eq!(field(b"a=\xff", "a").as_deref(), Some(&b"\xff"[..]));
        assert_eq!(field(b"%ff=1&a=2", "\u{fffd}"), None);
    }
}
