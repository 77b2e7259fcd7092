//! The conformance suite of `Queue`.
