//! One suite of rules, run once for each engine that is compiled in, over streams in memory.
#![cfg(any(feature = "tokio-tungstenite", feature = "async-tungstenite", feature = "tokio-websockets"))]

mod suite;

macro_rules! rules {
    ($engine:ident: $($module:ident::$rule:ident,)*) => {
        $(#[test]
        fn $rule() {
            crate::suite::$module::$rule(tok_ws::WsEngine::$engine);
        })*
    };
}

// A rule that is missing here is an unused function, which CI refuses.
macro_rules! suite {
    ($engine:ident) => {
        rules! { $engine:
            messages::sizes_come_through_whole,
            messages::bytes_may_come_in_any_portions,
            messages::fragments_are_joined_and_pings_between_them_answered,
            messages::many_small_fragments_are_joined,
            messages::leftover_bytes_are_decoded,
            messages::a_poll_given_up_loses_nothing,
            messages::an_idle_connection_holds_no_engine,
            messages::busy_connections_yield,
            limits::a_message_of_the_limit_passes_and_one_more_byte_does_not,
            limits::a_header_alone_is_refused,
            limits::fragments_count_together,
            limits::control_frames_are_not_messages,
            limits::empty_fragments_are_bounded,
            violations::each_gets_its_code,
            violations::what_came_before_is_delivered,
            closing::the_peers_close_is_answered_with_its_code,
            closing::our_close_waits_for_the_peers,
            closing::after_a_violation_the_stream_is_drained_to_its_end,
            closing::a_violation_that_was_not_told_yet_ends_the_wait_for_a_close,
            closing::an_end_without_a_close_is_no_close,
            closing::nothing_follows_a_close,
            closing::codes_that_must_not_be_sent_are_not,
            control::barriers_come_back,
            control::barriers_that_were_not_sent_do_not,
            control::the_newest_of_several_barriers_answers_for_all,
            control::each_ping_is_answered,
            control::pings_that_nobody_reads_answers_to_stay_bounded,
            control::a_held_pong_goes_out_between_the_sessions_frames,
            control::slow_readers_get_everything_in_order,
            control::written_never_passes_what_was_taken,
        }
    };
}

#[cfg(feature = "tokio-tungstenite")]
mod tokio_tungstenite {
    suite!(TokioTungstenite);
}

#[cfg(feature = "async-tungstenite")]
mod async_tungstenite {
    suite!(AsyncTungstenite);
}

#[cfg(feature = "tokio-websockets")]
mod tokio_websockets {
    suite!(TokioWebsockets);
}

#[test]
fn engines_agree() {
    suite::agreement::engines_agree(tok_ws::WsEngine::compiled());
}
