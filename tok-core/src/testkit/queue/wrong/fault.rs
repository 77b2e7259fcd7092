macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident => $rule:ident,)*) => {
        /// What is wrong with a [`WrongQueue`](super::WrongQueue).
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
    /// Positions fall from entry to entry as `enqueue` returns them.
    ReturnsSeqsBackwards => seqs_rise,
    /// Positions start again when all is acknowledged.
    ReusesSeqsAfterAck => seqs_are_never_reused_after_ack,
    /// Positions start again when all is swept.
    ReusesSeqsAfterSweep => seqs_are_never_reused_after_sweep,
    /// A batch is stored back to front.
    ReordersABatch => order_is_kept,
    /// The last entry of a batch is not stored.
    DropsTheTail => order_is_kept,
    /// All becomes binary.
    ForgetsTheKind => entries_are_byte_exact,
    /// Bytes after the first 64 KiB are cut off.
    Truncates => entries_are_byte_exact,
    /// Entries never expire.
    ForgetsTheTtl => ttl_survives,
    /// TTLs are taken for another unit.
    StretchesTheTtl => ttl_survives,
    /// TTLs are kept in 32 bits of milliseconds.
    CutsLongTtls => any_ttl_is_taken,
    /// `size` is what was ever stored.
    CountsTheAcked => size_counts,
    /// `size` and `ack` count data without the overhead of entries.
    SizesWithoutOverhead => size_counts,
    /// A batch of nothing is an error.
    RefusesEmptyBatches => an_empty_batch_stores_nothing,
    /// A batch is stored entry by entry, with waits between.
    StoresInParts => a_dropped_enqueue_is_whole_or_nothing,
    /// One message too many is taken.
    CountsMessagesFromZero => message_limit_is_exact,
    /// The overhead of entries is not counted.
    CountsBytesWithoutOverhead => byte_limit_is_exact,
    /// Of a batch that does not fit the beginning is stored.
    StoresWhatFits => batch_is_all_or_nothing,
    /// The oldest make room for the new.
    DropsTheOldest => full_refuses_new_and_keeps_old,
    /// The limits apply to accepted messages too.
    RefusesTheAccepted => already_accepted_passes_the_limits,
    /// Acknowledged entries still count.
    KeepsRoomOfTheAcked => room_returns_after_ack,
    /// Swept entries still count.
    KeepsRoomOfTheSwept => room_returns_after_sweep,
    /// The limits are on all users together.
    SharesTheLimits => limits_are_per_user,
    /// A message of any size is stored, whatever the capabilities say.
    TakesTheTooBig => a_message_over_the_largest_is_too_big,
    /// A message that is too big is refused as one that does not fit now.
    CallsTheTooBigFull => a_message_over_the_largest_is_too_big,
    /// A batch that is within the largest size of a message is refused.
    RefusesLargeBatches => a_message_over_the_largest_is_too_big,
    /// A message of exactly the largest size is refused.
    RefusesTheLargest => a_message_over_the_largest_is_too_big,
    /// To look is to take.
    PeekRemoves => peek_changes_nothing,
    /// The limit of messages is not heeded.
    PeekIgnoresMessages => peek_respects_the_message_limit,
    /// The limit of bytes is not heeded.
    PeekIgnoresBytes => peek_respects_the_byte_limit,
    /// An entry larger than the limit is never given.
    PeekGivesNone => peek_gives_at_least_one,
    /// The entry at the cursor is given again.
    PeekRepeatsTheCursor => peek_continues_after_the_cursor,
    /// The entry after the cursor is found by adding one to it.
    PeekSkips => peek_continues_after_the_cursor,
    /// Every page is said to be the last.
    HidesMore => peek_pages,
    /// Every page with entries is said to have another behind it.
    PromisesMore => peek_pages,
    /// A page never has more than three entries.
    PagesAreTiny => big_backlog_drains_in_linear_work,
    /// The newest is taken out.
    DequeuesTheNewest => dequeue_takes_the_oldest,
    /// Taking out knows no epoch.
    DequeuesPastTheFence => dequeue_is_fenced,
    /// What has expired is not given.
    PeekHidesTheExpired => expired_entries_are_peeked_until_swept,
    /// The time left is the TTL as it was stored.
    PeekReturnsTheWholeTtl => time_left_falls_and_never_grows,
    /// An acknowledgement writes the entries that remain anew, with all of their TTLs.
    AckRestartsTtls => time_left_falls_and_never_grows,
    /// What expires at all is swept.
    SweepsTheLiving => sweep_leaves_live_entries,
    /// A sweep judges by a clock that is an hour ahead of the one that TTLs began on.
    SweepsByAClockThatIsAhead => sweep_leaves_live_entries,
    /// What expires now is not swept yet.
    SweepsTooLate => sweep_returns_what_expired_with_its_uid,
    /// Entries have twice their TTL before a sweep takes them.
    SweepsAfterTwiceTheTtl => entries_expire_by_the_clock_that_was_provided,
    /// Entries are swept a second before their TTL is over.
    SweepsASecondEarly => entries_expire_by_the_clock_that_was_provided,
    /// The clock that is provided is not used.
    IgnoresTheClock => entries_expire_by_the_clock_that_was_provided,
    /// The clock that was provided last is used.
    TakesTheLastClock => the_first_clock_counts,
    /// A clock of its own passes, too.
    HasAClockOfItsOwn => a_stopped_clock_expires_nothing,
    /// What is swept is not returned.
    SweepReturnsNothing => sweep_returns_what_expired_with_its_uid,
    /// All is returned as one user's.
    SweepMixesUsers => sweep_returns_what_expired_with_its_uid,
    /// Acknowledged entries come back as expired.
    SweepReturnsTheAcked => sweep_forgets_what_was_acked,
    /// What is older than the newest expired entry goes with it.
    SweepsTheFront => sweep_takes_from_the_middle,
    /// A sweep stops at the first entry of a user that has not expired.
    SweepsTheFrontOnly => entries_expire_in_any_order,
    /// The budget is not heeded.
    SweepIgnoresTheBudget => sweep_respects_the_budget,
    /// Every sweep is said to have taken all.
    SweepHidesMore => sweep_respects_the_budget,
    /// Times are compared as signed numbers.
    SweepsBySignedTime => the_end_of_the_clock_expires_what_is_due,
    /// The entry after the acknowledged one is removed too.
    AcksTooMuch => ack_is_cumulative,
    /// The acknowledged entry itself stays.
    AcksTooLittle => ack_is_cumulative,
    /// Only the acknowledged entry itself is removed.
    AcksOne => ack_is_cumulative,
    /// What an acknowledgement returns is always nothing.
    AckReturnsNothing => ack_returns_what_remains,
    /// What an acknowledgement returns was there before it.
    AckReturnsWhatWas => ack_returns_what_remains,
    /// To acknowledge what is gone is an error.
    RefusesRepeatedAcks => ack_is_idempotent,
    /// An acknowledged position covers what is stored later, too.
    AcksTheFuture => ack_beyond_the_end_takes_what_there_is,
    /// Epochs are not compared.
    IgnoresTheFence => ack_of_an_older_epoch_is_fenced_and_changes_nothing,
    /// The fence is checked after the entries are removed.
    ChecksTheFenceTooLate => ack_of_an_older_epoch_is_fenced_and_changes_nothing,
    /// The epoch that is refused is named.
    NamesTheRefusedEpoch => the_epoch_that_a_fence_names_passes,
    /// The epoch below that of the fence is named.
    NamesTheEpochBefore => the_epoch_that_a_fence_names_passes,
    /// An epoch is good for one acknowledgement.
    FencesEqualEpochs => ack_of_an_equal_epoch_passes,
    /// The fence rises only where entries are removed.
    FencesOnRemovalOnly => ack_of_nothing_raises_the_fence,
    /// All that was acknowledged is taken to be everything there is now.
    AcksAllOfTheEmptied => a_late_ack_removes_nothing_new,
    /// The fence is forgotten with the last entry, though nodes share the queue.
    ForgetsTheSharedFence => a_late_ack_removes_nothing_new,
    /// One fence for all users.
    SharesTheFence => fences_are_per_user,
    /// Only letters and digits of an id count.
    MangledUids => users_are_separate,
    /// A user who was never stored for is an error.
    KnowsNobody => nobody_has_an_empty_queue,
    /// An id that is too long is cut by panicking.
    PanicsOnLongUids => any_uid_is_answered,
    /// The user is looked up again after a wait, by then maybe another operation's.
    MixesUpUsers => concurrent_users,
}
