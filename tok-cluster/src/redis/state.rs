//! What a bus is meant to listen to, and whether it does: what its callers and its task tell each other.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use super::link::Failure;
use crate::{BusError, Inbound, NodeId};

/// What to listen to.
#[derive(Clone)]
pub(super) enum Wish {
    Nothing,
    /// Answers to requests alone.
    Answers,
    /// Also what is sent to a node, and to all.
    Node(NodeId, Arc<dyn Inbound>),
    /// The bus is gone.
    End,
}

impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Answers => f.write_str("Answers"),
            Self::Node(node, _) => f.debug_tuple("Node").field(node).finish(),
            Self::End => f.write_str("End"),
        }
    }
}

/// How far it is with the wish.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// There is no connection, and no wish for one.
    Idle,
    /// The first try of this round is under way.
    Trying,
    /// It listens.
    Up,
    /// It failed, and is tried again.
    Down(Arc<Failure>),
}

#[derive(Clone, Debug)]
pub(super) struct State {
    /// Rises with each wish.
    pub(super) round: u64,
    pub(super) wish: Wish,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) struct States(watch::Sender<State>);

impl States {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State { round: 0, wish: Wish::Nothing, phase: Phase::Idle }))
    }

    pub(super) fn now(&self) -> State {
        self.0.borrow().clone()
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.0.borrow().phase, Phase::Down(_))
    }

    /// Begins a round. Returns its number.
    pub(super) fn wish(&self, wish: Wish) -> u64 {
        let mut round = 0;
        self.0.send_modify(|state| {
            round = state.round + 1;
            *state = State { round, wish, phase: Phase::Trying };
        });
        round
    }

    /// Begins a round that listens to answers, unless one is under way.
    pub(super) fn wish_for_answers(&self) {
        self.0.send_if_modified(|state| {
            let idle = matches!(state.phase, Phase::Idle);
            if idle {
                *state = State { round: state.round + 1, wish: Wish::Answers, phase: Phase::Trying };
            }
            idle
        });
    }

    /// How it is with a round, unless that is over.
    pub(super) fn set(&self, round: u64, phase: Phase) {
        self.0.send_if_modified(|state| {
            let current = state.round == round;
            if current {
                state.phase = phase;
            }
            current
        });
    }

    /// Waits for the end of a round.
    pub(super) async fn changed(&self, round: u64) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|state| state.round != round).await;
    }

    /// Waits until it is known whether this round, or what came after it, works.
    pub(super) async fn settled(&self, round: u64) -> Result<(), BusError> {
        let settled = |state: &State| state.round >= round && !matches!(state.phase, Phase::Trying);
        let phase = match self.0.subscribe().wait_for(settled).await {
            Ok(state) => state.phase.clone(),
            Err(_) => return Err(BusError::Disconnected),
        };
        match phase {
            Phase::Down(failure) => Err(failure.into()),
            Phase::Idle | Phase::Trying | Phase::Up => Ok(()),
        }
    }
}
