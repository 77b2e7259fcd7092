//! Length-prefixed frames over any byte stream for tok.
