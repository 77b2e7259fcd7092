use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use super::FlagError;

/// The arguments of a command line, as flags and their values.
pub(super) struct Args<I> {
    args: I,
    taken: usize,
}

impl<I: Iterator<Item = OsString>> Args<I> {
    pub(super) fn new(args: impl IntoIterator<IntoIter = I>) -> Self {
        Self { args: args.into_iter(), taken: 0 }
    }

    /// The next of `flags`, each with whether it takes a value, and its value: the part behind `=`, or the next
    /// argument. Empty if it takes none.
    pub(super) fn next(
        &mut self,
        flags: &[(&'static str, bool)],
    ) -> Result<Option<(&'static str, OsString)>, FlagError> {
        let Some(arg) = self.take() else { return Ok(None) };
        let (name, inline) = split(arg);
        let known = name.as_deref().and_then(|name| flags.iter().find(|(flag, _)| *flag == name));
        let Some(&(flag, takes_value)) = known else {
            // What does not look like a flag can be a secret.
            let name = name.filter(|name| looks_like_a_flag(name));
            return Err(name.map_or(FlagError::Stray(self.taken), FlagError::Unknown));
        };
        let value = match (takes_value, inline) {
            (false, None) => OsString::new(),
            (false, Some(_)) => return Err(FlagError::Surplus(flag)),
            (true, inline) => inline.or_else(|| self.take()).ok_or(FlagError::Missing(flag))?,
        };
        Ok(Some((flag, value)))
    }

    fn take(&mut self) -> Option<OsString> {
        self.taken += 1;
        self.args.next()
    }
}

/// What stands before the first `=`, if that is UTF-8, and what behind it.
fn split(arg: OsString) -> (Option<String>, Option<OsString>) {
    match arg.into_string() {
        Ok(arg) => match arg.split_once('=') {
            Some((name, value)) => (Some(name.to_owned()), Some(value.into())),
            None => (Some(arg), None),
        },
        Err(arg) => {
            let bytes = arg.into_vec();
            let mut halves = bytes.splitn(2, |byte| *byte == b'=');
            let name = halves.next().and_then(|name| String::from_utf8(name.to_vec()).ok());
            (name, halves.next().map(|value| OsString::from_vec(value.to_vec())))
        }
    }
}

fn looks_like_a_flag(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    name.strip_prefix("--").is_some_and(|name| name.split('-').all(is_word))
}
