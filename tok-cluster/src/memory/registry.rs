use std::{collections::BTreeMap, fmt, ops::Bound, sync::Arc, time::Duration};

use async_trait::async_trait;
use tok_core::{Epoch, Uid, relay::Claim, rt::Instant};

use super::Shared;
use crate::{Claimed, Cursor, Lease, NodeId, Page, Registry, RegistryError, Restored, SessionRow};

/// A connection to the table of a [`MemoryBroker`](super::MemoryBroker).
pub struct MemoryRegistry {
    shared: Arc<Shared>,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) stopped: bool,
    /// The last epoch that was given. It outlives the rows, as a server's clock does.
    epoch: u64,
    users: BTreeMap<Uid, User>,
    /// Pages come in the order in which users came.
    order: BTreeMap<u64, Uid>,
    next: u64,
    leases: BTreeMap<NodeId, Instant>,
}

struct User {
    place: u64,
    rows: Vec<SessionRow>,
}

impl Table {
    pub(super) fn wipe(&mut self) {
        self.users.clear();
        self.order.clear();
        self.leases.clear();
    }

    fn rows(&mut self, uid: &Uid) -> &mut Vec<SessionRow> {
        let Self { users, order, next, .. } = self;
        let user = users.entry(uid.clone()).or_insert_with(|| {
            *next += 1;
            order.insert(*next, uid.clone());
            User { place: *next, rows: Vec::new() }
        });
        &mut user.rows
    }

    /// Removes rows of a user; says how many.
    fn remove(&mut self, uid: &Uid, which: impl Fn(&SessionRow) -> bool) -> usize {
        let Some(user) = self.users.get_mut(uid) else { return 0 };
        let before = user.rows.len();
        user.rows.retain(|row| !which(row));
        let removed = before - user.rows.len();
        if user.rows.is_empty() {
            let place = user.place;
            self.users.remove(uid);
            self.order.remove(&place);
        }
        removed
    }
}

fn no_epoch() -> RegistryError {
    RegistryError::Unavailable("there is no epoch above the highest number".into())
}

impl MemoryRegistry {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn with<T>(&self, run: impl FnOnce(&mut Table, Instant) -> T) -> Result<T, RegistryError> {
        let now = self.shared.runtime.now();
        let mut table = self.shared.table.lock();
        if table.stopped {
            return Err(RegistryError::Unavailable("the broker is stopped".into()));
        }
        Ok(run(&mut table, now))
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn claim(&self, claim: &Claim, node: &NodeId) -> Result<Claimed, RegistryError> {
        self.with(|table, _| {
            let next = table.epoch.max(claim.above.get()).checked_add(1).ok_or_else(no_epoch)?;
            table.epoch = next;
            let epoch = Epoch::new(next);
            let rows = table.rows(&claim.uid);
            rows.retain(|row| row.node != *node || row.class.is_none() || row.class != claim.class);
            let others = rows.clone();
            let (uid, class) = (claim.uid.clone(), claim.class.clone());
            rows.push(SessionRow { uid, node: node.clone(), class, epoch });
            Ok(Claimed { epoch, others })
        })?
    }

    async fn restore(&self, row: &SessionRow) -> Result<Restored, RegistryError> {
        self.with(|table, _| {
            let rows = table.rows(&row.uid);
            let others = rows.iter().filter(|other| other.epoch != row.epoch).cloned().collect();
            let added = rows.iter().all(|other| other.epoch != row.epoch);
            if added {
                rows.push(row.clone());
            }
            table.epoch = table.epoch.max(row.epoch.get());
            Restored { added, others }
        })
    }

    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<bool, RegistryError> {
        self.with(|table, _| table.remove(uid, |row| row.epoch == epoch) > 0)
    }

    async fn lookup(&self, uid: &Uid) -> Result<Vec<SessionRow>, RegistryError> {
        self.with(|table, _| table.users.get(uid).map(|user| user.rows.clone()).unwrap_or_default())
    }

    async fn page(&self, after: Cursor, limit: usize) -> Result<Page, RegistryError> {
        self.with(|table, _| {
            let mut page = Page::default();
            let rest = table.order.range((Bound::Excluded(after.get()), Bound::Unbounded));
            for (users, (place, uid)) in rest.enumerate() {
                if users == limit.max(1) {
                    page.next = Some(Cursor::new(place - 1));
                    break;
                }
                page.rows.extend(table.users.get(uid).into_iter().flat_map(|user| user.rows.iter().cloned()));
            }
            page
        })
    }

    async fn users(&self) -> Result<u64, RegistryError> {
        self.with(|table, _| table.users.len() as u64)
    }

    async fn beat(&self, node: &NodeId, lease: Duration) -> Result<bool, RegistryError> {
        self.with(|table, now| {
            let before = table.leases.insert(node.clone(), now.saturating_add(lease));
            before.is_some_and(|until| until > now)
        })
    }

    async fn leave(&self, node: &NodeId) -> Result<(), RegistryError> {
        self.with(|table, now| {
            if let Some(until) = table.leases.get_mut(node) {
                *until = now;
            }
        })
    }

    async fn nodes(&self) -> Result<Vec<Lease>, RegistryError> {
        self.with(|table, now| {
            let lease = |(node, until): (&NodeId, &Instant)| Lease {
                node: node.clone(),
                left: until.saturating_since(now),
            };
            table.leases.iter().map(lease).collect()
        })
    }

    async fn reap(&self, node: &NodeId, budget: usize) -> Result<bool, RegistryError> {
        self.with(|table, now| {
            if table.leases.get(node).is_some_and(|until| *until > now) {
                return false;
            }
            let here = |user: &User| user.rows.iter().any(|row| row.node == *node);
            let found = table.users.iter().filter(|(_, user)| here(user)).map(|(uid, _)| uid.clone());
            let uids: Vec<Uid> = found.take(budget.max(1)).collect();
            for uid in &uids {
                table.remove(uid, |row| row.node == *node);
            }
            let more = table.users.values().any(here);
            if !more {
                table.leases.remove(node);
            }
            more
        })
    }
}

impl fmt::Debug for MemoryRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRegistry").finish_non_exhaustive()
    }
}
