//! What keys and channels are called.

use tok_core::Uid;

use crate::NodeId;

#[derive(Debug)]
pub(super) struct Names {
    /// What all keys begin with. The braces are the hash tag: where keys are spread over servers, those of one table stay
    /// together.
    pub(super) table: String,
    /// What all channels begin with. They are of the whole server and not of one of its databases, so they name it.
    channels: String,
}

impl Names {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self { table: format!("{{{prefix}}}:"), channels: format!("{prefix}:{database}:") }
    }

    /// Where a node is addressed.
    pub(super) fn node(&self, node: &NodeId) -> String {
        format!("{}node:{node}", self.channels)
    }

    /// Where all nodes listen.
    pub(super) fn all(&self) -> String {
        format!("{}all", self.channels)
    }

    /// Where a bus hears the answers to its requests.
    pub(super) fn answers(&self, address: u64) -> String {
        format!("{}answers:{address:016x}", self.channels)
    }

    pub(super) fn users(&self) -> String {
        format!("{}users", self.table)
    }
}

/// A row as the table has it, beside its epoch. A token has no colon.
pub(super) fn row(node: &NodeId, class: Option<&str>) -> String {
    match class {
        Some(class) => format!("{node}:{class}"),
        None => node.to_token(),
    }
}

/// Node and class of a row; `None` for what [`row`] never makes.
pub(super) fn from_row(row: &str) -> Option<(NodeId, Option<String>)> {
    let (node, class) = match row.split_once(':') {
        Some((node, class)) => (node, Some(class.to_owned())),
        None => (row, None),
    };
    Some((NodeId::from_token(node)?, class))
}

/// A user's part of keys.
pub(super) fn user(uid: &Uid) -> String {
    uid.to_token()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_change() {
        // Nodes of another version use them too.
        let names = Names::new("tok", 2);
        let node = NodeId::new("eu-1", 255).unwrap();
        assert_eq!(names.table, "{tok}:");
        assert_eq!(names.users(), "{tok}:users");
        assert_eq!(names.node(&node), "tok:2:node:eu-1-00000000000000ff");
        assert_eq!(names.all(), "tok:2:all");
        assert_eq!(names.answers(255), "tok:2:answers:00000000000000ff");
        assert_eq!(user(&Uid::from("a:b")), "a_3ab");
        assert_eq!(row(&node, Some("x:y")), "eu-1-00000000000000ff:x:y");
    }

    #[test]
    fn rows_come_back_as_they_went() {
        let node = NodeId::new("n", 1).unwrap();
        for class in [None, Some(""), Some(":"), Some("a:b\r\n")] {
            assert_eq!(from_row(&row(&node, class)), Some((node.clone(), class.map(str::to_owned))));
        }
        for wrong in ["", "n", ":", "n:a"] {
            assert_eq!(from_row(wrong), None);
        }
    }
}
