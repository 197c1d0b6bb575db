//! Who delivers: each shard belongs to the worker beside it, until that one's lease is over by the database's clock.
//!
//! The rows of the shards say so, and are locked together while one worker's share is decided. Their epoch is the fence:
//! what a worker writes is written only where the shard is still the one that it took.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::PgConnection;
use tharsis_core::{Timestamp, WorkerId};
use tokio::runtime::Handle;
use tracing::debug;
use uuid::Uuid;

use super::{
    PostgresStore,
    poke::SHARDS_GIVEN,
    share::{Claim, Owned, Share, share},
    value::{Instant, corrupt},
};
use crate::{
    Lease, Shard, Shards, StoreError, WorkerRecord,
    failpoint::{self, Failpoint, reached},
};

/// What this store owns, as far as it knows.
#[derive(Default)]
pub(super) struct Owner(Mutex<State>);

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Workers of this store that stopped without a word: what they had is free.
    gone: Vec<WorkerId>,
}

#[derive(Clone, Copy)]
struct Held {
    worker: WorkerId,
    /// The epochs of its first lease and of its newest one.
    since: i64,
    epoch: i64,
    owned: Shards,
}

impl Owner {
    fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn held(&self, worker: WorkerId) -> Option<Held> {
        self.state(|state| state.held)
            .filter(|held| held.worker == worker)
    }

    fn forget(&self) {
        self.state(|state| state.held = None);
    }

    fn gone(&self) -> Vec<WorkerId> {
        self.state(|state| state.gone.clone())
    }
}

/// That this store holds this lease as far as it knows: free to ask, for what only reads.
///
/// # Errors
/// `LeaseLost`.
pub(super) fn check(store: &PostgresStore, lease: &Lease) -> Result<(), StoreError> {
    let held = store.0.owner.held(lease.worker);
    match held {
        Some(held) if (held.since..=held.epoch).contains(&lease.epoch) => Ok(()),
        _ => Err(StoreError::LeaseLost),
    }
}

/// Those shards of the lease that are still this worker's.
///
/// # Errors
/// `LeaseLost` where the lease had shards, and nothing of it is left.
pub(super) async fn fence(conn: &mut PgConnection, lease: &Lease) -> Result<Shards, StoreError> {
    Ok(left_of(conn, lease).await?.within(lease.shards))
}

/// The same with what is surplus.
///
/// # Errors
/// `LeaseLost` where the lease had something, and nothing of it is left.
pub(super) async fn left_of(conn: &mut PgConnection, lease: &Lease) -> Result<Shards, StoreError> {
    let shards: Vec<i16> =
        sqlx::query_scalar("SELECT shard FROM shard WHERE owner = $1 AND epoch <= $2")
            .bind(lease.worker.as_uuid())
            .bind(lease.epoch)
            .fetch_all(conn)
            .await?;
    let owned = set(&shards)?;
    if owned.is_empty() && !lease.owned().is_empty() {
        return Err(StoreError::LeaseLost);
    }
    Ok(owned)
}

/// Shards as a statement takes them.
pub(super) fn array(shards: Shards) -> Vec<i16> {
    shards.iter().map(|shard| shard.0.into()).collect()
}

fn set(shards: &[i16]) -> Result<Shards, StoreError> {
    shards
        .iter()
        .map(|shard| u8::try_from(*shard).map(Shard).map_err(corrupt))
        .collect()
}

/// Takes the lease, or renews it, and gives back what of its surplus is named.
pub(super) async fn hold(
    store: &PostgresStore,
    worker: WorkerId,
    give: Shards,
) -> Result<Lease, StoreError> {
    let owner = &store.0.owner;
    let before = owner.held(worker);
    let gone: Vec<Uuid> = owner
        .gone()
        .iter()
        .filter(|id| **id != worker)
        .map(|id| *id.as_uuid())
        .collect();

    let mut write = store.0.leases.begin().await?;
    let owners = lock(&mut write).await?;
    let (mut live, now) = workers_now(&mut write).await?;
    live.retain(|other| !gone.contains(other.id.as_uuid()));
    let rows = owned_by(&owners, &live);
    let counts = |other: &&Live| other.id != worker && other.until > now && !other.leaving;
    let others: Vec<WorkerId> = live.iter().filter(counts).map(|other| other.id).collect();
    let share = share(
        &rows,
        Claim {
            me: worker,
            others: &others,
            give,
            now,
        },
    );
    if let Some(before) = before
        && !before.owned.is_empty()
        && share.keep.with(share.free).within(before.owned).is_empty()
    {
        write.roll_back().await?;
        owner.forget();
        return Err(StoreError::LeaseLost);
    }
    let (epoch, clock) = write_share(&mut write, store, worker, &share, &gone).await?;
    write.commit(failpoint::LEASE).await?;
    if before.is_some() {
        reached(Failpoint::LeaseRenewed);
    }

    // Not below that of a lease under which something may be under way, though its newest shards were given back.
    let epoch = epoch.max(before.map(|held| held.epoch)).unwrap_or(0);
    let owned = share.keep.with(share.take);
    owner.state(|state| {
        state.gone.retain(|id| !gone.contains(id.as_uuid()));
        state.held = Some(Held {
            worker,
            since: before.map_or(epoch, |held| held.since),
            epoch,
            owned,
        });
    });
    let length = store.0.options.lease;
    let usual = length
        / if share.right && share.surplus.is_empty() {
            3
        } else {
            15
        };
    Ok(Lease {
        worker,
        shards: owned.without(share.surplus),
        surplus: share.surplus,
        epoch,
        clock,
        length,
        renew_after: until_one_is_over(&rows, worker, now).map_or(usual, |over| over.min(usual)),
    })
}

/// How long it is until another worker's lease is over, unless that one renews it: then there is something to take.
fn until_one_is_over(rows: &[Owned], worker: WorkerId, now: Timestamp) -> Option<Duration> {
    /// The clocks count in milliseconds.
    const PAST_IT: Duration = Duration::from_millis(5);
    rows.iter()
        .filter(|row| row.owner != worker && row.until > now)
        .map(|row| row.until.since(now) + PAST_IT)
        .min()
}

/// Who is written beside each shard. From here on no other worker's share is decided.
async fn lock(conn: &mut PgConnection) -> Result<Vec<(Shard, WorkerId)>, StoreError> {
    let rows: Vec<(i16, Option<Uuid>)> =
        sqlx::query_as("SELECT shard, owner FROM shard ORDER BY shard FOR UPDATE")
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .filter_map(|(shard, owner)| Some((shard, owner?)))
        .map(|(shard, owner)| {
            let shard = u8::try_from(shard).map_err(corrupt)?;
            Ok((Shard(shard), WorkerId::from_uuid(owner)))
        })
        .collect()
}

/// A worker as its row says.
struct Live {
    id: WorkerId,
    until: Timestamp,
    leaving: bool,
}

/// `the clock, id, until, leaving`, without a worker where there is none.
type LiveRow = (Instant, Option<Uuid>, Option<Instant>, Option<bool>);

/// The workers, and the database's clock. A statement of its own, for it is to see what was renewed before the shards
/// were locked.
async fn workers_now(conn: &mut PgConnection) -> Result<(Vec<Live>, Timestamp), StoreError> {
    let rows: Vec<LiveRow> = sqlx::query_as(
        "SELECT c.now, w.id, w.until, w.leaving
         FROM (SELECT clock_timestamp() AS now) c
         LEFT JOIN worker w ON true",
    )
    .fetch_all(conn)
    .await?;
    let Some(Instant(now)) = rows.first().map(|(now, ..)| *now) else {
        return Err(corrupt("no clock"));
    };
    let live = |(_, id, until, leaving): LiveRow| {
        let Instant(until) = until?;
        Some(Live {
            id: WorkerId::from_uuid(id?),
            until,
            leaving: leaving?,
        })
    };
    Ok((rows.into_iter().filter_map(live).collect(), now))
}

/// The shards that are somebody's; those of whoever has no row are nobody's.
fn owned_by(owners: &[(Shard, WorkerId)], live: &[Live]) -> Vec<Owned> {
    let owned = |(shard, owner): &(Shard, WorkerId)| {
        let until = live.iter().find(|worker| worker.id == *owner)?.until;
        Some(Owned {
            shard: *shard,
            owner: *owner,
            until,
        })
    };
    owners.iter().filter_map(owned).collect()
}

/// One statement, so that every row of it is of one instant. Returns the newest epoch of what is owned now, if anything is.
async fn write_share(
    conn: &mut PgConnection,
    store: &PostgresStore,
    worker: WorkerId,
    share: &Share,
    gone: &[Uuid],
) -> Result<(Option<i64>, Timestamp), StoreError> {
    let options = &store.0.options;
    let (epoch, Instant(clock), _): (_, _, i64) = sqlx::query_as(
        "WITH c AS MATERIALIZED (
             SELECT c.at, c.at + $5 * interval '1 millisecond' AS until FROM (SELECT clock_timestamp() AS at) c
         ), me AS (
             INSERT INTO worker (id, host, pid, version, renewed_at, until)
             SELECT $1, $2, $3, $4, c.at, c.until FROM c
             ON CONFLICT (id) DO UPDATE SET renewed_at = excluded.renewed_at, until = excluded.until, leaving = false
         ), dead AS (
             DELETE FROM worker w USING c WHERE w.id <> $1 AND (w.until <= c.at OR w.id = ANY ($6))
         ), free AS (
             UPDATE shard SET owner = NULL
             WHERE shard = ANY ($9) OR (owner = ANY ($6) AND shard <> ALL ($7))
         ), taken AS (
             UPDATE shard SET owner = $1, epoch = (SELECT nextval('epoch'))
             WHERE shard = ANY ($7)
             RETURNING epoch
         ), told AS MATERIALIZED (
             SELECT pg_notify($10, $11) WHERE cardinality($9::smallint[]) > 0
         )
         SELECT greatest((SELECT max(epoch) FROM taken), (SELECT max(epoch) FROM shard WHERE shard = ANY ($8))), c.at,
                (SELECT count(*) FROM told)
         FROM c",
    )
    .bind(worker.as_uuid())
    .bind(&options.host)
    .bind(i32::try_from(options.pid).unwrap_or(i32::MAX))
    .bind(&options.version)
    .bind(i64::try_from(options.lease.as_millis()).unwrap_or(i64::MAX))
    .bind(gone)
    .bind(array(share.take))
    .bind(array(share.keep))
    .bind(array(share.free))
    .bind(store.0.poke.channel())
    .bind(SHARDS_GIVEN)
    .fetch_one(conn)
    .await?;
    Ok((epoch, clock))
}

/// Leaves, and goes on to own what is to be kept.
pub(super) async fn release(
    store: &PostgresStore,
    lease: &Lease,
    keep: Option<Shards>,
) -> Result<Option<Lease>, StoreError> {
    check(store, lease)?;
    reached(Failpoint::ReleaseAsked);
    let (kept, clock) = leave(store, lease.worker, keep).await?;
    reached(Failpoint::ReleaseCommitted);
    let owner = &store.0.owner;
    let Some(keep) = keep else {
        owner.forget();
        store.0.poke.stop();
        return Ok(None);
    };
    if kept.is_empty() && !keep.is_empty() {
        owner.forget();
        return Err(StoreError::LeaseLost);
    }
    owner.state(|state| {
        if let Some(held) = &mut state.held {
            held.owned = kept;
        }
    });
    Ok(Some(Lease {
        shards: Shards::default(),
        surplus: kept,
        clock,
        renew_after: store.0.options.lease / 3,
        ..*lease
    }))
}

/// Frees a worker's shards but for some, and tells the others; returns what it goes on to own, and the database's clock.
/// In order of the shards, as whoever locks them all does. With nothing to keep it goes.
async fn leave(
    store: &PostgresStore,
    worker: WorkerId,
    keep: Option<Shards>,
) -> Result<(Shards, Timestamp), StoreError> {
    let (kept, Instant(clock), _): (Vec<i16>, _, i64) = sqlx::query_as(
        "WITH mine AS MATERIALIZED (
             SELECT shard FROM shard WHERE owner = $1 ORDER BY shard FOR UPDATE
         ), c AS MATERIALIZED (
             SELECT c.at, c.at + $3 * interval '1 millisecond' AS until
             FROM (SELECT clock_timestamp() AS at FROM (SELECT count(*) FROM mine) locked) c
         ), free AS (
             UPDATE shard SET owner = NULL
             WHERE shard = ANY (ARRAY(SELECT shard FROM mine)) AND shard <> ALL (coalesce($2::smallint[], '{}'))
             RETURNING shard
         ), leaves AS (
             UPDATE worker SET leaving = true, renewed_at = c.at, until = c.until FROM c
             WHERE id = $1 AND $2::smallint[] IS NOT NULL
             RETURNING id
         ), gone AS (
             DELETE FROM worker WHERE id = $1 AND $2::smallint[] IS NULL
         ), told AS MATERIALIZED (
             SELECT pg_notify($4, $5) WHERE EXISTS (SELECT FROM free)
         )
         SELECT ARRAY(SELECT shard FROM mine WHERE shard = ANY ($2::smallint[]) AND EXISTS (SELECT FROM leaves)), c.at,
                (SELECT count(*) FROM told)
         FROM c",
    )
    .bind(worker.as_uuid())
    .bind(keep.map(array))
    .bind(i64::try_from(store.0.options.lease.as_millis()).unwrap_or(i64::MAX))
    .bind(store.0.poke.channel())
    .bind(SHARDS_GIVEN)
    .fetch_one(&mut *store.0.leases.get().await?)
    .await?;
    Ok((set(&kept)?, clock))
}

pub(super) fn disown(store: &PostgresStore) {
    let held = store.0.owner.state(|state| {
        let held = state.held.take();
        state.gone.extend(held.map(|held| held.worker));
        held
    });
    store.0.poke.stop();
    // A store that holds again frees it first; others need not wait for that.
    if let (Some(held), Ok(runtime)) = (held, Handle::try_current()) {
        let store = store.clone();
        runtime.spawn(async move {
            if let Err(error) = leave(&store, held.worker, None).await {
                debug!(%error, "What a run left behind is free at the end of its lease");
            }
        });
    }
}

/// Whether some process owns delivery at present.
pub(super) async fn owned(store: &PostgresStore) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM shard s JOIN worker w ON w.id = s.owner WHERE w.until > clock_timestamp())",
    )
    .fetch_one(&mut *store.0.lists.get().await?)
    .await?)
}

/// The shards that some process owns.
pub(super) async fn owned_shards(conn: &mut PgConnection) -> Result<Shards, StoreError> {
    let shards: Vec<i16> = sqlx::query_scalar(
        "SELECT s.shard FROM shard s JOIN worker w ON w.id = s.owner WHERE w.until > clock_timestamp()",
    )
    .fetch_all(conn)
    .await?;
    set(&shards)
}

/// `id, host, pid, version, shards, since, lease age in milliseconds`.
type WorkerRow = (Uuid, String, i32, String, i64, Instant, i64);

/// The workers that deliver at present, oldest first.
pub(super) async fn workers(store: &PostgresStore) -> Result<Vec<WorkerRecord>, StoreError> {
    let rows: Vec<WorkerRow> = sqlx::query_as(
        "SELECT w.id, w.host, w.pid, w.version, count(s.shard), w.started_at,
                floor(extract(epoch FROM clock_timestamp() - w.renewed_at) * 1000)::bigint
         FROM worker w
         LEFT JOIN shard s ON s.owner = w.id
         WHERE w.until > clock_timestamp()
         GROUP BY w.id
         ORDER BY w.started_at, w.id",
    )
    .fetch_all(&mut *store.0.lists.get().await?)
    .await?;
    rows.into_iter()
        .map(|(id, host, pid, version, shards, Instant(since), age)| {
            Ok(WorkerRecord {
                id: WorkerId::from_uuid(id),
                host,
                pid: u32::try_from(pid).map_err(corrupt)?,
                version,
                shards: u32::try_from(shards).map_err(corrupt)?,
                since,
                lease_age: Some(Duration::from_millis(u64::try_from(age).unwrap_or(0))),
            })
        })
        .collect()
}
