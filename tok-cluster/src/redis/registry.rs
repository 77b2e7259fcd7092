use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{FromRedisValue, Script};
use tok_core::{Epoch, Uid, relay::Claim};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    RedisBrokerBuilder,
    link::{Failure, Link},
    names::{self, Names},
    scripts::Scripts,
};
use crate::{Claimed, Cursor, Lease, NodeId, Page, Registry, RegistryError, Restored, SessionRow};

/// Users of one page, and rows of one round of [`reap`](Registry::reap): what the server does in one step is bounded.
const MAX_STEP: usize = 1000;

/// Numbers of Lua's are exact up to here. What is given or restored lies far below, so that epochs have room to rise: claims
/// reach that limit in the year 2112. Leases are in microseconds too.
const MAX_NUMBER: u64 = (1 << 53) - 1;
const MAX_GIVEN: u64 = 1 << 52;
const MAX_LEASE: u64 = 1 << 51;

/// A connection to the table of sessions on a Redis server; see [`RedisBroker`](super::RedisBroker).
///
/// Each operation is one script, which the server runs as one step, and one round trip.
///
/// # Errors
/// * [`Unavailable`](RegistryError::Unavailable): the server cannot be reached, refused (for example as it has no memory
///   left), or did not answer within [`timeout`](RedisBrokerBuilder::timeout). The next operation connects anew. A claim
///   or restore that the server has not begun by then never takes effect; others may.
/// * [`Overloaded`](RegistryError::Overloaded): [`max_in_flight`](RedisBrokerBuilder::max_in_flight) operations are under
///   way.
pub struct RedisRegistry {
    link: Arc<Link>,
    names: Arc<Names>,
    scripts: Arc<Scripts>,
    places: Semaphore,
}

impl RedisRegistry {
    pub(super) fn new(
        settings: &RedisBrokerBuilder,
        link: Arc<Link>,
        names: Arc<Names>,
        scripts: Arc<Scripts>,
    ) -> Self {
        let places = Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS));
        Self { link, names, scripts, places }
    }

    /// Runs a script that may be late: it does no harm then.
    async fn run<T: FromRedisValue>(&self, script: &Script, args: &[&str]) -> Result<T, RegistryError> {
        let _place = self.place()?;
        Ok(self.invoke(script, false, args).await?)
    }

    /// Runs a script that does nothing once the time is up.
    async fn run_in_time<T: FromRedisValue>(
        &self,
        script: &Script,
        args: &[&str],
    ) -> Result<T, RegistryError> {
        let _place = self.place()?;
        match self.invoke(script, true, args).await {
            // The clocks have drifted apart since the connection was made; the next one has the time anew.
            Err(failure) if failure.is_late() => Ok(self.invoke(script, true, args).await?),
            result => Ok(result?),
        }
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        script: &Script,
        in_time: bool,
        args: &[&str],
    ) -> Result<T, Failure> {
        let mut invocation = script.prepare_invoke();
        invocation.key(&self.names.table);
        let ran = self.link.run(async move |mut request| {
            if in_time {
                invocation.arg(request.deadline);
            }
            invocation.arg(args);
            invocation.invoke_async(&mut request.redis).await
        });
        ran.await
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, RegistryError> {
        self.places.try_acquire().map_err(|_| RegistryError::Overloaded)
    }
}

#[async_trait]
impl Registry for RedisRegistry {
    /// A [claim above](Claim::above) an epoch over 2^52, which no claim has given, is refused. All later epochs of the table
    /// are above it too.
    async fn claim(&self, claim: &Claim, node: &NodeId) -> Result<Claimed, RegistryError> {
        let row = names::row(node, claim.class.as_deref());
        let takes_place = if claim.class.is_some() { "1" } else { "0" };
        let above = given(claim.above)?.to_string();
        let args = [&names::user(&claim.uid), &row, takes_place, &above];
        let (epoch, others): (u64, Vec<String>) = self.run_in_time(&self.scripts.claim, &args).await?;
        Ok(Claimed { epoch: Epoch::new(epoch), others: rows(&claim.uid, &others)? })
    }

    /// An epoch above 2^52, which no claim has given, is refused.
    async fn restore(&self, row: &SessionRow) -> Result<Restored, RegistryError> {
        let epoch = given(row.epoch)?;
        let entry = names::row(&row.node, row.class.as_deref());
        let args = [names::user(&row.uid), entry, epoch.to_string()];
        let (added, others): (u8, Vec<String>) =
            self.run_in_time(&self.scripts.restore, &args.each_ref().map(String::as_str)).await?;
        Ok(Restored { added: added != 0, others: rows(&row.uid, &others)? })
    }

    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<bool, RegistryError> {
        self.run(&self.scripts.release, &[&names::user(uid), &epoch.get().to_string()]).await
    }

    async fn lookup(&self, uid: &Uid) -> Result<Vec<SessionRow>, RegistryError> {
        let found: Vec<String> = self.run(&self.scripts.lookup, &[&names::user(uid)]).await?;
        Ok(rows(uid, &found)?)
    }

    /// Pages have at most 1,000 users, whatever the limit.
    async fn page(&self, after: Cursor, limit: usize) -> Result<Page, RegistryError> {
        let limit = limit.clamp(1, MAX_STEP).to_string();
        let args = [after.get().min(MAX_NUMBER).to_string(), limit];
        let (next, users, found): (String, Vec<String>, Vec<Vec<String>>) =
            self.run(&self.scripts.page, &args.each_ref().map(String::as_str)).await?;
        let mut page = Page::default();
        for (user, found) in users.iter().zip(&found) {
            let uid = Uid::from_token(user).ok_or_else(|| garbled("a user", user))?;
            page.rows.extend(rows(&uid, found)?);
        }
        if !next.is_empty() {
            page.next = Some(Cursor::new(number(&next)?));
        }
        Ok(page)
    }

    async fn users(&self) -> Result<u64, RegistryError> {
        let _place = self.place()?;
        let mut asked = redis::cmd("ZCARD");
        asked.arg(self.names.users());
        Ok(self.link.run(async move |mut request| asked.query_async(&mut request.redis).await).await?)
    }

    /// Leases have whole microseconds, and are of 70 years at most.
    async fn beat(&self, node: &NodeId, lease: Duration) -> Result<bool, RegistryError> {
        let lease = u64::try_from(lease.as_micros()).unwrap_or(MAX_LEASE).min(MAX_LEASE);
        self.run(&self.scripts.beat, &[&node.to_token(), &lease.to_string()]).await
    }

    async fn leave(&self, node: &NodeId) -> Result<(), RegistryError> {
        self.run(&self.scripts.leave, &[&node.to_token()]).await
    }

    /// Those that have rows and never had a lease are named too, so that their rows are reaped.
    async fn nodes(&self) -> Result<Vec<Lease>, RegistryError> {
        let (now, found): (u64, Vec<String>) = self.run(&self.scripts.nodes, &[]).await?;
        let (pairs, _) = found.as_chunks::<2>();
        let lease = |[node, ends]: &[String; 2]| {
            let node = NodeId::from_token(node).ok_or_else(|| garbled("a node", node))?;
            let left = Duration::from_micros(number(ends)?.saturating_sub(now));
            Ok(Lease { node, left })
        };
        Ok(pairs.iter().map(lease).collect::<Result<_, Failure>>()?)
    }

    /// Removes at most 1,000 rows, whatever the budget.
    async fn reap(&self, node: &NodeId, budget: usize) -> Result<bool, RegistryError> {
        let budget = budget.clamp(1, MAX_STEP).to_string();
        self.run(&self.scripts.reap, &[&node.to_token(), &budget]).await
    }
}

impl fmt::Debug for RedisRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The number of an epoch that a claim can have given.
fn given(epoch: Epoch) -> Result<u64, RegistryError> {
    let epoch = epoch.get();
    if epoch > MAX_GIVEN {
        return Err(RegistryError::Unavailable(format!("no claim has given the epoch {epoch}").into()));
    }
    Ok(epoch)
}

/// What a user's hash holds.
fn rows(uid: &Uid, found: &[String]) -> Result<Vec<SessionRow>, Failure> {
    let (pairs, _) = found.as_chunks::<2>();
    let row = |[epoch, row]: &[String; 2]| {
        let (node, class) = names::from_row(row).ok_or_else(|| garbled("a row", row))?;
        Ok(SessionRow { uid: uid.clone(), node, class, epoch: Epoch::new(number(epoch)?) })
    };
    pairs.iter().map(row).collect()
}

fn number(digits: &str) -> Result<u64, Failure> {
    digits.parse().map_err(|_| garbled("a number", digits))
}

fn garbled(what: &str, found: &str) -> Failure {
    Failure::Answer(format!("{found:?} is not {what}").into())
}
