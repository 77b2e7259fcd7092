//! The targets, by what they feed.

pub(crate) mod engine;
pub(crate) mod operations;
pub(crate) mod tcp;
pub(crate) mod tokens;
pub(crate) mod upgrade;
