use std::io;

use super::*;
use crate::{
    Message,
    hub::packet::Budget,
    queue::Seq,
    transport::{Frame, IDENTITY, WriteNow},
};

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

/// Takes all that it is given.
struct Takes;

impl WriteNow for Takes {
    fn write_now(&self, frames: &[Frame]) -> io::Result<usize> {
        Ok(frames.iter().map(|frame| frame.bytes().len()).sum())
    }
}

#[test]
fn an_outbox_gives_its_memory_back_after_a_burst_however_it_is_written() {
    let budget = Arc::new(Budget::new(1 << 20));
    let backlog = Backlog { max_bytes: 1 << 20, overflow: Overflow::Refuse };
    let packet = Packet::new("x".into(), None, &budget).unwrap();
    for direct in [false, true] {
        let mut slot = Slot::default();
        slot.open(Cursor::default(), false);
        slot.write_directly(Direct { writer: Arc::new(Takes), framing: &IDENTITY });
        slot.park(Waker::noop(), true);
        for _ in 0..500 {
            assert!(matches!(slot.push_unkept(&packet, None, backlog), Push::Taken(_)));
        }
        if direct {
            assert!(slot.write_out(backlog).0.is_none());
        } else {
            while slot.take(usize::MAX, &mut [const { None }; 8]) > 0 {}
        }
        assert!(slot.outbox.is_empty() && slot.outbox.capacity() <= 8, "{}", slot.outbox.capacity());
    }
}

#[test]
fn acknowledged_messages_leave_no_room_behind() {
    let budget = Arc::new(Budget::new(1 << 20));
    let mut slot = Slot::default();
    slot.open(Cursor::default(), true);
    for n in 1..=1000 {
        let message = Message::from("x").with_id(MessageId::from_u128(n));
        let packet = Packet::new(message, None, &budget).unwrap();
        slot.push_kept(&packet, Cursor { seq: Seq::new(n as u64), pos: 0 });
    }
    assert!(slot.acknowledge(MessageId::from_u128(999)).is_some());
    let room = slot.unacked.as_ref().map(VecDeque::capacity);
    assert!(room <= Some(8), "{room:?}");
}

/// Each session has one, as long as it lives.
#[test]
fn a_slot_is_small() {
    assert!(size_of::<Slot>() <= 216, "{} bytes", size_of::<Slot>());
}
