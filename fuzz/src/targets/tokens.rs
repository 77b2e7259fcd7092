use tok_cluster::NodeId;
use tok_core::Uid;

use crate::input::Input;

/// Names of users and nodes as they stand in brokers' subjects and keys: one spelling for each, and nothing in it that a
/// broker gives a meaning.
pub(crate) fn tokens(data: &[u8]) {
    let mut input = Input::new(data);
    let cut = usize::from(input.byte());
    let text = String::from_utf8_lossy(input.rest());
    let cut = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let (first, second) = text.split_at(cut);

    let [one, other] = [first, second].map(|id| {
        let uid = Uid::from(id);
        let token = uid.to_token();
        assert!(token.bytes().all(is_plain), "{token}");
        assert!(token.len() <= 3 * id.len());
        assert_eq!(Uid::from_token(&token).as_ref(), Some(&uid), "{token}");
        token
    });
    assert_eq!(one == other, first == second, "{one} {other}");

    for spelled in [first, second] {
        if let Some(uid) = Uid::from_token(spelled) {
            assert_eq!(uid.to_token(), spelled);
        }
        if let Some(node) = NodeId::from_token(spelled) {
            assert_eq!(node.to_token(), spelled);
        }
    }
    if let Some(node) = NodeId::new(first, cut as u64) {
        let token = node.to_token();
        assert!(token.bytes().all(is_plain) && token.len() <= 81, "{token}");
        assert_eq!(NodeId::from_token(&token), Some(node));
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
