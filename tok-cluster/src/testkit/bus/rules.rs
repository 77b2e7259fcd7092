//! The rules, one function each. A rule panics, saying what is wrong, unless the bus, which nobody has opened, keeps it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join, join_all};

use super::{Buses, Ear, LONG, SHORT, answer_to, node};
use crate::{BusError, Inbound, NodeId, wait::within};

#[doc(hidden)]
#[macro_export]
macro_rules! __bus_rules {
    ($then:ident, ($($args:tt)*)) => {
        $crate::$then! { ($($args)*)
            a_request_is_answered
            a_node_hears_itself
            frames_are_byte_exact
            frames_up_to_the_limit_pass_and_no_larger
            answers_belong_to_their_requests
            answers_may_come_late_and_in_any_order
            requests_of_one_task_arrive_in_order
            nobody_there_is_found_out_at_once
            silence_ends_with_the_timeout
            requests_that_are_dropped_leave_nothing_wrong
            runs_of_a_node_are_addressed_apart
            names_are_exact
            a_broadcast_reaches_everybody_once
            who_opens_again_is_heard_once
            who_has_closed_is_not_there
        }
    };
}

/// As soon as both are open, each reaches the other.
pub async fn a_request_is_answered(on: &Buses) {
    let [a, b] = on.open().await;
    assert_eq!(on.ask(&node("b"), "hello").await.expect("b is open"), answer_to(b"hello"));
    assert_eq!(
        on.second.request(&node("a"), "you".into(), LONG).await.expect("a is open"),
        answer_to(b"you")
    );
    assert_eq!((a.requests(), b.requests()), (vec![Bytes::from("you")], vec![Bytes::from("hello")]));
}

/// A node can ask itself, through the broker: that is how it finds out whether others can reach it.
pub async fn a_node_hears_itself(on: &Buses) {
    let [a, b] = on.open().await;
    assert_eq!(on.ask(&node("a"), "me").await.expect("a is open"), answer_to(b"me"));
    assert_eq!((a.requests().len(), b.requests().len()), (1, 0));
}

/// Frames and answers of any bytes and sizes arrive as they were sent.
pub async fn frames_are_byte_exact(on: &Buses) {
    let [_, b] = on.open().await;
    let all: Vec<u8> = (0..=255).collect();
    for frame in [&b""[..], b"\0", b"\r\n.\r\n", &all, &all.repeat(200)] {
        let answered = on.ask(&node("b"), frame.to_vec()).await.expect("b is open");
        assert!(answered == answer_to(frame), "the answer to {} bytes is another", frame.len());
        assert!(b.requests().last().is_some_and(|heard| heard == frame), "{} bytes", frame.len());
    }
}

/// The limit is what it says, and what is larger is refused before it is sent.
pub async fn frames_up_to_the_limit_pass_and_no_larger(on: &Buses) {
    let [_, b] = on.open().await;
    // The answer is a little longer than the frame.
    let max = on.first.max_frame();
    assert!(max >= 64 * 1024, "a limit of {max} bytes is too small for messages");
    let largest = vec![b'x'; max.min(32 << 20) - 4];
    on.ask(&node("b"), largest).await.expect("a frame within the limit must pass");
    if let Some(over) = max.checked_add(1).filter(|over| *over <= 64 << 20) {
        let refused = on.ask(&node("b"), vec![b'x'; over]).await;
        assert!(matches!(refused, Err(BusError::TooLarge { bytes, limit }) if (bytes, limit) == (over, max)));
        assert!(on.first.broadcast(vec![b'x'; over].into()).await.is_err());
    }
    assert_eq!(b.requests().len(), 1);
    on.ask(&node("b"), "after").await.expect("the connection must survive what it refused");
}

/// Many at once, each gets its own answer.
pub async fn answers_belong_to_their_requests(on: &Buses) {
    on.open().await;
    let asked = (0..300).map(|n: u32| async move {
        let frame = format!("question {n}");
        (on.ask(&node("b"), frame.clone()).await, frame)
    });
    for (answered, frame) in join_all(asked).await {
        assert_eq!(answered.expect("b is open"), answer_to(frame.as_bytes()));
    }
}

/// A frame that is not answered yet holds back neither those behind it nor their answers.
pub async fn answers_may_come_late_and_in_any_order(on: &Buses) {
    let [_, b] = on.open().await;
    let first = async {
        let answered = on.ask(&node("b"), "later").await;
        (answered.expect("b answers"), b.requests().len())
    };
    let second = async {
        on.until("the first frame must arrive", || b.requests().len() == 1).await;
        on.ask(&node("b"), "now").await.expect("b answers")
    };
    let ((first, heard), second) = join(first, second).await;
    assert_eq!((first, second), (answer_to(b"later"), answer_to(b"now")));
    assert_eq!(heard, 2, "the first answer comes after the second frame");
}

/// One after the other, as sent.
pub async fn requests_of_one_task_arrive_in_order(on: &Buses) {
    let [_, b] = on.open().await;
    let frames: Vec<Bytes> = (0..200).map(|n| Bytes::from(format!("{n}"))).collect();
    for frame in &frames {
        on.ask(&node("b"), frame.clone()).await.expect("b is open");
    }
    assert_eq!(b.requests(), frames);
}

/// A node that is not there costs no timeout.
pub async fn nobody_there_is_found_out_at_once(on: &Buses) {
    on.open().await;
    let nobody = node("c");
    let asked = on.ask(&nobody, "anybody?");
    let answered = within(&*on.runtime, LONG / 2, asked).await.expect("it must not wait for the timeout");
    assert!(matches!(answered, Err(BusError::NoResponders)), "{answered:?}");
}

/// A node that does not answer costs the timeout, and the next is answered.
pub async fn silence_ends_with_the_timeout(on: &Buses) {
    let [_, b] = on.open().await;
    let other = node("b");
    for _ in 0..3 {
        let silent = on.first.request(&other, "silence, please".into(), SHORT);
        let answered = within(&*on.runtime, LONG, silent).await.expect("the timeout must end it");
        assert!(matches!(answered, Err(BusError::Timeout)), "{answered:?}");
        assert_eq!(on.ask(&node("b"), "and now?").await.expect("b is open"), answer_to(b"and now?"));
    }
    assert_eq!(b.requests().len(), 6);
}

/// Whoever stops waiting does not spoil it for others.
pub async fn requests_that_are_dropped_leave_nothing_wrong(on: &Buses) {
    on.open().await;
    let other = node("b");
    for n in 0..50 {
        let dropped = on.first.request(&other, "silence".into(), LONG);
        assert!(within(&*on.runtime, SHORT / 50, dropped).await.is_none(), "silence was answered");
        let frame = format!("{n}");
        let answered = on.ask(&node("b"), frame.clone()).await;
        assert_eq!(answered.expect("b is open"), answer_to(frame.as_bytes()));
    }
}

/// What is for a run of a node that is over does not reach the next.
pub async fn runs_of_a_node_are_addressed_apart(on: &Buses) {
    let [_, b] = on.open().await;
    let before = NodeId::new("b", 2).expect("the name is valid");
    let answered = on.ask(&before, "hello").await;
    assert!(matches!(answered, Err(BusError::NoResponders)), "{answered:?}");
    assert_eq!(b.requests(), [""; 0]);
}

/// A name is that node's and nobody else's, however much it looks like another or like a pattern.
pub async fn names_are_exact(on: &Buses) {
    let ear = Arc::new(Ear::default());
    let names = ["n", "N", "n-", "-", "_", "n-1", "n_1", "n-0000000000000001", &"x".repeat(64)];
    for (index, name) in names.iter().enumerate() {
        on.second.open(&node(name), Arc::clone(&ear) as Arc<dyn Inbound>).await.expect("open must succeed");
        for (other, to) in names.iter().enumerate() {
            let answered = on.ask(&node(to), "you?").await;
            assert_eq!(answered.is_ok(), other == index, "{to} was asked and {name} is there");
        }
    }
}

/// Everybody hears a broadcast, its sender too.
pub async fn a_broadcast_reaches_everybody_once(on: &Buses) {
    let [a, b] = on.open().await;
    for n in 0..20 {
        on.first.broadcast(format!("{n}").into()).await.expect("broadcast must succeed");
    }
    on.until("broadcasts must arrive", || a.notices().len() >= 20 && b.notices().len() >= 20).await;
    // What was asked after them comes after them: a repetition would be there by now.
    on.ask(&node("b"), "after").await.expect("b is open");
    let expected: Vec<Bytes> = (0..20).map(|n| Bytes::from(format!("{n}"))).collect();
    assert_eq!((a.notices(), b.notices()), (expected.clone(), expected));
    assert_eq!((a.requests().len(), b.requests().len()), (0, 1), "a broadcast wants no answer");
}

/// To open again is to listen anew, and not twice.
pub async fn who_opens_again_is_heard_once(on: &Buses) {
    let [_, before] = on.open().await;
    let after = Arc::new(Ear::default());
    on.second.open(&node("b"), Arc::clone(&after) as Arc<dyn Inbound>).await.expect("open must succeed");
    on.ask(&node("b"), "hello").await.expect("b is open");
    on.first.broadcast("all".into()).await.expect("broadcast must succeed");
    on.until("the broadcast must arrive", || !after.notices().is_empty()).await;
    assert_eq!((before.requests().len(), after.requests().len()), (0, 1));
    assert_eq!((before.notices().len(), after.notices().len()), (0, 1));
}

/// Closing ends it for this node alone.
pub async fn who_has_closed_is_not_there(on: &Buses) {
    let [a, b] = on.open().await;
    let (_, hello) = join(on.first.broadcast("before".into()), on.ask(&node("b"), "hello")).await;
    hello.expect("b is open");
    on.until("the broadcast must arrive", || !b.notices().is_empty()).await;
    on.second.close().await;
    let answered = on.ask(&node("b"), "still there?").await;
    assert!(matches!(answered, Err(BusError::NoResponders)), "{answered:?}");
    on.first.broadcast("after".into()).await.expect("broadcast must succeed");
    on.until("the broadcast must arrive", || a.notices().len() == 2).await;
    assert_eq!((b.requests().len(), b.notices().len()), (1, 1));
    on.ask(&node("a"), "me").await.expect("a is open");
}
