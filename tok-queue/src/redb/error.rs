use std::{io, path::PathBuf, sync::Arc};

use redb::{CommitError, DatabaseError, SetDurabilityError, StorageError, TableError, TransactionError};
use tok_core::{ConfigError, queue::QueueError};

use super::schema::SCHEMA;
use crate::record::BadRecord;

/// [`RedbQueueBuilder::open`](super::RedbQueueBuilder::open) has no queue to give. What is in the file stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A limit cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A queue that is open, in this process or another, has the file.
    #[error("{path} is in use by another queue, in this process or another: one file is one queue")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this crate wrote the file.
    #[error(
        "{path} has a queue of schema {found}, and this program reads up to {SCHEMA}: use the program that wrote it, \
         or a newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// The file is something else.
    #[error("{path} is not a queue's file: {what}; give a path of the queue's own")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        what: &'static str,
    },
    /// The file is a queue's, and was altered by something that is no queue, or lost bytes.
    #[error("{path} is damaged ({what}): restore a copy, or move it away to begin anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where that showed.
        what: String,
    },
    /// The operating system refuses.
    #[error("{path} cannot be opened")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why the file cannot be had, without its name.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("it is in use by another queue")]
    InUse,
    #[error("its schema is {0}, newer than {SCHEMA}")]
    Newer(u64),
    #[error("{0}")]
    Foreign(&'static str),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("the operating system refuses it")]
    Io(#[source] io::Error),
}

impl Cause {
    pub(super) fn at(self, path: PathBuf) -> OpenError {
        match self {
            Self::InUse => OpenError::InUse { path },
            Self::Newer(found) => OpenError::Newer { path, found },
            Self::Foreign(what) => OpenError::Foreign { path, what },
            Self::Damaged(what) => OpenError::Damaged { path, what },
            Self::Io(source) => OpenError::Io { path, source },
        }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<DatabaseError> for Cause {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse,
            DatabaseError::UpgradeRequired(_) => Self::Foreign("a database in an older form of redb"),
            DatabaseError::Storage(error) => error.into(),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<StorageError> for Cause {
    fn from(error: StorageError) -> Self {
        match error {
            // What redb says of a file that does not begin as its files do.
            StorageError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Foreign("no database of redb")
            }
            // The end of a file that is shorter than it says.
            StorageError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Damaged(error.to_string())
            }
            StorageError::Io(error) => Self::Io(error),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Storage(redb::Error::Io(error)) => Self::from(StorageError::Io(error)),
            failure => Self::Damaged(describe(&failure)),
        }
    }
}

/// An operation on the file failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the queue's file failed: {0}")]
    Storage(redb::Error),
    #[error("the queue's file cannot be opened again: {0}")]
    Reopen(#[source] Cause),
    #[error("the queue's file is closed after a failure")]
    Closed,
    #[error("the queue's file is damaged: table {0} has {1}")]
    Row(&'static str, &'static str),
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error("the queue's thread ended over this operation")]
    Ended,
}

impl Failure {
    /// Whether another operation on the same open file can succeed.
    pub(super) fn is_of_one_user(&self) -> bool {
        matches!(self, Self::Row(..) | Self::Record(_))
    }
}

/// An error and its causes in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

pub(super) fn unavailable(failure: &Arc<Failure>) -> QueueError {
    QueueError::Unavailable(Box::new(Arc::clone(failure)))
}

macro_rules! from {
    ($($error:ty)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Storage(error.into())
            }
        }
    )*};
}

from!(StorageError TableError TransactionError CommitError SetDurabilityError);
