//! The in-memory transport pair, and the conformance suite of `Transport`.
