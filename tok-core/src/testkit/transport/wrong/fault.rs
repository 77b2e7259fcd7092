macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident => $rule:ident,)*) => {
        /// What is wrong with a [`WrongTransport`](super::WrongTransport).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// The name of the rule that is there to catch it.
            #[must_use]
            pub fn caught_by(self) -> &'static str {
                match self {
                    $(Self::$fault => stringify!($rule),)*
                }
            }
        }
    };
}

faults! {
    /// Of two messages that are there the second is given first.
    ReordersMessages => messages_arrive_in_order,
    /// Every tenth message is given twice.
    RepeatsMessages => messages_arrive_in_order,
    /// Lengths are kept in 16 bits.
    CutsMessages => message_bytes_are_exact,
    /// Messages are slices of a read buffer of 64 KiB.
    SlicesItsBuffer => a_small_message_holds_no_large_buffer,
    /// All messages are slices of one buffer, which the transport keeps.
    KeepsItsBuffer => a_small_message_holds_no_large_buffer,
    /// All is binary.
    ForgetsTheKind => kinds_are_kept,
    /// All is binary on the way out.
    SendsBinary => kinds_are_kept,
    /// Messages of no bytes are skipped.
    SkipsEmptyMessages => an_empty_message_is_a_message,
    /// A message is lost when the poll that found it is not the one that is asked again.
    LosesWhatAPollLeft => recv_is_cancel_safe,
    /// Bytes count as received when their message is whole.
    CountsWholeMessages => parts_of_a_message_count_as_received,
    /// Bytes of a message that is whole are taken back.
    TakesBackWhatItCounted => parts_of_a_message_count_as_received,
    /// A close by the peer is never told.
    SwallowsTheClose => peer_close_is_reported_as_close_and_nothing_follows,
    /// A close by the peer is given as an empty message.
    GivesTheCloseAsMessage => peer_close_is_reported_as_close_and_nothing_follows,
    /// A close by the peer is given as an error.
    GivesTheCloseAsError => peer_close_is_reported_as_close_and_nothing_follows,
    /// Signs of life are given after the close.
    LivesAfterTheClose => peer_close_is_reported_as_close_and_nothing_follows,
    /// A broken connection is given as a close.
    BreaksInGoodOrder => broken_connection_is_an_error,
    /// A message of exactly the limit is refused.
    LimitIsExclusive => too_big_is_refused_with_the_limit_inclusive,
    /// The error tells the size of the message for the limit.
    TellsTheSize => too_big_is_refused_with_the_limit_inclusive,
    /// Any size is taken.
    HasNoLimit => too_big_is_refused_with_the_limit_inclusive,
    /// What waits for a flush goes out newest first.
    SendsTheNewestFirst => frames_go_out_whole_and_in_order,
    /// The last of what waits for a flush is lost.
    LosesTheTail => frames_go_out_whole_and_in_order,
    /// A frame over 4 KiB goes out as two.
    SplitsFrames => frames_go_out_whole_and_in_order,
    /// `start_send` returns the bytes of what it took, and not the total.
    CountsEachAlone => accepted_counts_rise,
    /// Bytes of its own count as written.
    CountsItsOwnBytes => written_never_passes_accepted,
    /// The last byte written is not counted.
    ForgetsToCountTheLast => written_reaches_accepted_after_flush,
    /// Everything taken counts as written.
    CountsTheUnwritten => flush_is_pending_while_the_peer_does_not_read,
    /// A flush is ready with bytes in a buffer of its own.
    FlushesIntoItsBuffer => flush_is_pending_while_the_peer_does_not_read,
    /// Nothing is read while something is unwritten.
    DoesNotReadWhileItWrites => both_directions_flow_at_once,
    /// It always says that it rests.
    RestsAlways => direct_writes_keep_their_place,
    /// It never says that it rests.
    RestsNever => direct_writes_keep_their_place,
    /// What is written directly is lost.
    LosesDirectWrites => direct_writes_keep_their_place,
    /// What is unwritten at a close is dropped.
    CloseDropsTheUnwritten => close_flushes_what_was_sent,
    /// Nothing is taken once the peer has ended its direction.
    SendsNothingAfterThePeersEnd => answers_reach_a_peer_that_ended_its_direction,
    /// A close is ready when all is written.
    CloseDoesNotWait => close_discards_what_the_peer_sends_and_ends_when_it_is_done,
    /// A close waits and does not read.
    CloseDoesNotRead => close_discards_what_the_peer_sends_and_ends_when_it_is_done,
    /// Frames are taken and sent after a close.
    SendsAfterTheClose => nothing_is_sent_after_close,
    /// The peer is told that it closed by itself.
    ForgetsTheReason => the_close_reason_reaches_the_peer,
    /// A flush of a broken connection waits.
    WaitsForTheBroken => a_broken_connection_can_be_closed,
    /// A pending recv does not register the waker.
    RecvForgetsTheWaker => pending_recv_registers_the_waker,
    /// A pending flush does not register the waker.
    FlushForgetsTheWaker => pending_flush_registers_the_waker,
    /// A pending close does not register the waker.
    CloseForgetsTheWaker => pending_close_registers_the_waker,
    /// Signs of life are skipped until there is something else.
    ReadsOnWithoutEnd => a_flooding_peer_does_not_hold_the_task,
    /// All that there is to discard is discarded in one poll.
    DiscardsWithoutEnd => a_flooding_peer_does_not_hold_the_task_that_closes,
    /// A barrier is answered when it is taken.
    AnswersForThePeer => barrier_is_answered_only_after_what_is_before_is_read,
    /// A barrier is answered when it is written.
    AnswersWhenWritten => barrier_is_answered_only_after_what_is_before_is_read,
    /// Barriers come back with numbers of the transport's own.
    NumbersBarriersItself => barrier_number_comes_back,
    /// Numbers are kept in 32 bits.
    CutsBarrierNumbers => barrier_number_comes_back,
    /// Whatever the peer answers is believed.
    BelievesThePeer => unsent_barrier_numbers_never_come_back,
    /// The answer to a ping is skipped.
    HidesSignsOfLife => ping_gives_a_sign_of_life,
    /// A ping is its own sign of life.
    LivesByItself => ping_gives_a_sign_of_life,
}
