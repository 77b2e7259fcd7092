use super::*;
use crate::{hub::packet::Budget, queue::Seq};

/// Of two messages that were sent here one after the other, the first when nobody knew yet what the queue holds.
#[test]
fn what_was_held_before_the_queue_was_read_is_not_overtaken() {
    let budget = Arc::new(Budget::new(1 << 20));
    let backlog = Backlog { max_bytes: 1 << 20, overflow: Overflow::Refuse };
    let here = |seq| After::Here(Cursor { seq: Seq::new(seq), pos: 0 });
    let mut slot = Slot::default();
    slot.open(Cursor::default(), false);
    slot.behind = true;
    for (text, after) in [
        ("first", here(u64::MAX)),
        ("second", here(5)),
        // No order with these.
        ("another node's", After::Elsewhere(Seq::new(5))),
    ] {
        let packet = Packet::new(text.into(), None, &budget).unwrap();
        assert!(matches!(slot.push_unkept(&packet, Some(after), backlog), Push::Taken(_)));
    }
    let texts = |slot: &Slot| -> Vec<String> {
        let texts = slot.outbox.iter().map(|item| item.packet.message().as_text().unwrap().to_owned());
        texts.collect()
    };
    slot.release_held(Some(Cursor { seq: Seq::new(6), pos: 0 }));
    assert_eq!(texts(&slot), ["another node's"]);
    slot.release_held(None);
    assert_eq!(texts(&slot), ["another node's", "first", "second"]);
}
