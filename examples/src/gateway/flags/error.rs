/// The command line asks for something that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// No such flag.
    #[error("there is no flag {0:?}; --help lists all")]
    Unknown(String),
    /// A flag that takes a value has none.
    #[error("{0} needs a value")]
    Missing(&'static str),
    /// A flag that takes no value has one.
    #[error("{0} takes no value")]
    Surplus(&'static str),
    /// The value is none that the flag can have.
    #[error("{flag} cannot be {value:?}: {rule}")]
    Invalid {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
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
