use std::{fmt, sync::Arc};

/// One run of one node: the name that its operator gave it, and a number that is new at every start.
///
/// What is addressed to an earlier run of a node can never reach a later one, and rows of an earlier run are never
/// taken for a later one's. Two nodes with one name are two nodes.
///
/// ```
/// use tok_cluster::NodeId;
///
/// let node = NodeId::new("eu-1", 255).unwrap();
/// assert_eq!(node.to_token(), "eu-1-00000000000000ff");
/// assert_eq!(NodeId::from_token(&node.to_token()), Some(node));
/// assert_eq!(NodeId::new("eu.1", 255), None);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    name: Arc<str>,
    incarnation: u64,
}

impl NodeId {
    /// The longest name, in bytes.
    pub const MAX_NAME_BYTES: usize = 64;

    /// `None` unless the name has 1 to 64 bytes of `A-Z a-z 0-9 - _`: it becomes part of subjects and keys, and must not
    /// be able to forge one.
    #[must_use]
    pub fn new(name: &str, incarnation: u64) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=Self::MAX_NAME_BYTES).contains(&name.len());
        (fits && name.bytes().all(plain)).then(|| Self { name: name.into(), incarnation })
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which of the node's runs this is. The numbers have no order.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Name and incarnation as one token of `A-Z a-z 0-9 - _`, at most 81 bytes: for a broker's subjects and keys.
    #[must_use]
    pub fn to_token(&self) -> String {
        format!("{}-{:016x}", self.name, self.incarnation)
    }

    /// The node of a token; `None` for what [`to_token`](Self::to_token) never makes.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        let (name, incarnation) = token.rsplit_once('-')?;
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if incarnation.len() != 16 || !incarnation.bytes().all(digit) {
            return None;
        }
        Self::new(name, u64::from_str_radix(incarnation, 16).ok()?)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.name, self.incarnation)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_broker_would_understand_are_refused() {
        for name in ["", "a.b", "a*", ">", "a b", "a\n", "n\u{f8}", "{a}", "a:b", &"x".repeat(65)] {
            assert_eq!(NodeId::new(name, 1), None, "{name:?}");
        }
        assert!(NodeId::new(&"x".repeat(64), 1).is_some());
    }

    #[test]
    fn a_token_is_one_node_and_nothing_else_is_a_token() {
        for (name, incarnation) in [("a", 0), ("a-b", 1), ("-", u64::MAX), ("a-0000000000000001", 2)] {
            let node = NodeId::new(name, incarnation).unwrap();
            assert_eq!(NodeId::from_token(&node.to_token()), Some(node));
        }
        for token in ["", "a", "a-", "a-1", "-0000000000000001", "a-000000000000000G", "a-000000000000000A"] {
            assert_eq!(NodeId::from_token(token), None, "{token}");
        }
    }
}
