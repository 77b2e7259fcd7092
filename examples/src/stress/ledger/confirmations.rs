//! What a user has confirmed, and from when on that binds whom.

use std::collections::HashMap;

use super::{super::gateways::Process, Session};

/// Up to which number the messages of each session are confirmed.
///
/// The process that a client told knows at once, and gives them to no session of its own again. Other nodes of a cluster know
/// what the queue knows, and nobody waits for the acknowledgement that tells the queue.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    /// Known to the queue.
    acknowledged: HashMap<Session, u32>,
    /// By the process that was told; and when it was, last.
    told: HashMap<(Process, Session), (u32, u64)>,
}

impl Confirmations {
    /// A process was told that this message, and what came before it, has arrived.
    pub(super) fn tell(&mut self, process: Process, session: Session, number: u32, now: u64) {
        let (upto, at) = self.told.entry((process, session)).or_default();
        (*upto, *at) = ((*upto).max(number), now);
    }

    /// This process ended without being asked: what it was told need not have come to the queue.
    pub(super) fn forget(&mut self, process: Process) {
        self.told.retain(|(told, _), _| *told != process);
    }

    /// A login on this process: up to which number each session's messages must not come again. What another was told
    /// counts if it has come to the queue by now, as `acknowledged` says of the time. Else this session may be given it
    /// again, and a later one, too: once the newer login acknowledges, the older one's acknowledgements count for nothing.
    pub(super) fn begin(
        &mut self,
        process: Process,
        acknowledged: impl Fn(u64) -> bool,
    ) -> HashMap<Session, u32> {
        let others = self.told.extract_if(|(told, _), _| *told != process);
        for ((_, session), (upto, _)) in others.filter(|(_, (_, at))| acknowledged(*at)) {
            raise(&mut self.acknowledged, session, upto);
        }
        let mut all = self.acknowledged.clone();
        self.told.iter().for_each(|((_, session), (upto, _))| raise(&mut all, *session, *upto));
        all
    }
}

fn raise(all: &mut HashMap<Session, u32>, session: Session, number: u32) {
    let upto = all.entry(session).or_default();
    *upto = (*upto).max(number);
}
