//! The conformance suite of engines (feature `testkit`): what every engine must do, over streams in memory and
//! without any runtime. The engines of this crate run it, and so can one of your own:
//!
//! ```
//! # #[cfg(feature = "tokio-tungstenite")]
//! mod mine {
//!     tok_ws::engine_conformance!(|| tok_ws::WsEngine::TokioTungstenite.engine().unwrap());
//! }
//! ```
//!
//! Each rule is a function whose name says what it asks, and panics where an engine does not do it.

#![allow(missing_docs)] // A rule's name is its documentation.

mod agreement;
pub mod closing;
pub mod control;
pub mod limits;
pub mod messages;
mod support;
pub mod violations;

pub use self::agreement::engines_agree;

/// One `#[test]` for each rule of the suite, on the engine that the closure gives as `Arc<dyn Engine>`.
#[macro_export]
macro_rules! engine_conformance {
    ($make:expr) => {
        $crate::__engine_rules! { $make =>
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
            closing::an_end_between_messages_is_a_close,
            closing::an_end_inside_a_message_is_no_close,
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

#[doc(hidden)]
#[macro_export]
macro_rules! __engine_rules {
    ($make:expr => $($module:ident::$rule:ident,)*) => {
        $(#[test]
        fn $rule() {
            $crate::testkit::$module::$rule(&($make)());
        })*
    };
}

#[cfg(test)]
mod tests {
    /// A rule that is written and not listed would never run.
    #[test]
    fn every_rule_is_listed() {
        let files = [
            ("closing", include_str!("closing.rs")),
            ("control", include_str!("control.rs")),
            ("limits", include_str!("limits.rs")),
            ("messages", include_str!("messages.rs")),
            ("violations", include_str!("violations.rs")),
        ];
        let listed = include_str!("mod.rs");
        for (module, file) in files {
            let rules = file.lines().filter_map(|line| line.strip_prefix("pub fn ")?.split('(').next());
            for rule in rules {
                assert!(listed.contains(&format!("            {module}::{rule},")), "{module}::{rule}");
            }
        }
    }
}
