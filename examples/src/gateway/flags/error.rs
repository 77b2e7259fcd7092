/// The command line asks for something that there is not. No error repeats a value: it can be a secret, or a URL with a
/// password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// No such flag.
    #[error("there is no flag {0}; --help lists all")]
    Unknown(String),
    /// An argument that is neither a flag nor the value of one: the first, the second, and so on.
    #[error("argument {0} is no flag and belongs to none; --help lists all")]
    Stray(usize),
    /// A flag that takes a value has none.
    #[error("{0} needs a value")]
    Missing(&'static str),
    /// A flag that takes no value has one.
    #[error("{0} takes no value")]
    Surplus(&'static str),
    /// The value is none that the flag can have.
    #[error("{flag} has a value that it cannot have: {rule}")]
    Invalid {
        /// The flag.
        flag: &'static str,
        /// What it has to be.
        rule: String,
    },
    /// Flags that do not go together.
    #[error("{0}")]
    Conflict(&'static str),
    /// A flag or value of which this build lacks the implementation.
    #[error("this build cannot serve {0}")]
    Unserved(String),
}
