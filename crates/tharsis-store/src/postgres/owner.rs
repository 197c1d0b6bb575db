//! Who delivers: each shard belongs to the worker whose lease of it is not over by the database's clock.
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
    share::{Claim, Owned, Share, share},
    value::{Instant, corrupt},
};
use crate::{Lease, Shard, Shards, StoreError, WorkerRecord};

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
    let shards: Vec<i16> =
        sqlx::query_scalar("SELECT shard FROM shard WHERE owner = $1 AND epoch <= $2")
            .bind(lease.worker.as_uuid())
            .bind(lease.epoch)
            .fetch_all(conn)
            .await?;
    let owned = set(&shards)?;
    if owned.is_empty() && !everything(lease).is_empty() {
        return Err(StoreError::LeaseLost);
    }
    Ok(Shards(owned.0 & lease.shards.0))
}

/// What a lease is of, surplus and all.
pub(super) fn everything(lease: &Lease) -> Shards {
    Shards(lease.shards.0 | lease.surplus.0)
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
    let rows = lock(&mut write, &gone).await?;
    let (others, now) = others(&mut write, worker, &gone).await?;
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
        && (share.keep.0 | share.free.0) & before.owned.0 == 0
    {
        write.roll_back().await?;
        owner.forget();
        return Err(StoreError::LeaseLost);
    }
    let (epoch, clock) = write_share(&mut write, store, worker, &share, &gone).await?;
    write.commit().await?;

    let epoch = epoch.or(before.map(|held| held.epoch)).unwrap_or(0);
    let owned = Shards(share.keep.0 | share.take.0);
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

/// All shards that somebody owns. From here on no other worker's share is decided.
async fn lock(conn: &mut PgConnection, gone: &[Uuid]) -> Result<Vec<Owned>, StoreError> {
    let rows: Vec<(i16, Option<Uuid>, Option<Instant>)> =
        sqlx::query_as("SELECT shard, owner, until FROM shard ORDER BY shard FOR UPDATE")
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .filter_map(|(shard, owner, until)| match (owner, until) {
            (Some(owner), Some(Instant(until))) if !gone.contains(&owner) => {
                Some(u8::try_from(shard).map_err(corrupt).map(|shard| Owned {
                    shard: Shard(shard),
                    owner: WorkerId::from_uuid(owner),
                    until,
                }))
            }
            _ => None,
        })
        .collect()
}

/// The other workers that live, and the database's clock.
async fn others(
    conn: &mut PgConnection,
    worker: WorkerId,
    gone: &[Uuid],
) -> Result<(Vec<WorkerId>, Timestamp), StoreError> {
    let (others, Instant(now)): (Vec<Uuid>, Instant) = sqlx::query_as(
        "SELECT coalesce(array_agg(w.id) FILTER (WHERE w.until > c.now), '{}'), c.now
         FROM (SELECT clock_timestamp() AS now) c
         LEFT JOIN worker w ON w.id <> $1 AND w.id <> ALL ($2)
         GROUP BY c.now",
    )
    .bind(worker.as_uuid())
    .bind(gone)
    .fetch_one(conn)
    .await?;
    Ok((others.into_iter().map(WorkerId::from_uuid).collect(), now))
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
    let (epoch, Instant(clock)) = sqlx::query_as(
        "WITH c AS MATERIALIZED (
             SELECT c.at, c.at + $5 * interval '1 millisecond' AS until FROM (SELECT clock_timestamp() AS at) c
         ), me AS (
             INSERT INTO worker (id, host, pid, version, renewed_at, until)
             SELECT $1, $2, $3, $4, c.at, c.until FROM c
             ON CONFLICT (id) DO UPDATE SET renewed_at = excluded.renewed_at, until = excluded.until
         ), dead AS (
             DELETE FROM worker w USING c WHERE w.id <> $1 AND (w.until <= c.at OR w.id = ANY ($6))
         ), free AS (
             UPDATE shard SET owner = NULL, until = NULL
             WHERE shard = ANY ($9) OR (owner = ANY ($6) AND shard <> ALL ($7))
         ), kept AS (
             UPDATE shard SET until = c.until FROM c WHERE shard = ANY ($8)
         ), taken AS (
             UPDATE shard SET owner = $1, until = c.until, epoch = (SELECT nextval('epoch'))
             FROM c WHERE shard = ANY ($7)
             RETURNING epoch
         )
         SELECT greatest((SELECT max(epoch) FROM taken), (SELECT max(epoch) FROM shard WHERE shard = ANY ($8))), c.at
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
    .fetch_one(conn)
    .await?;
    Ok((epoch, clock))
}

/// Gives the lease back.
pub(super) async fn release(store: &PostgresStore, lease: &Lease) -> Result<(), StoreError> {
    check(store, lease)?;
    free(store, lease.worker).await?;
    store.0.owner.forget();
    store.0.poke.stop();
    Ok(())
}

/// In order of the shards, as whoever locks them all does.
async fn free(store: &PostgresStore, worker: WorkerId) -> Result<(), StoreError> {
    sqlx::query(
        "WITH mine AS MATERIALIZED (
             SELECT shard FROM shard WHERE owner = $1 ORDER BY shard FOR UPDATE
         ), free AS (
             UPDATE shard SET owner = NULL, until = NULL WHERE shard = ANY (ARRAY(SELECT shard FROM mine))
         )
         DELETE FROM worker WHERE id = $1",
    )
    .bind(worker.as_uuid())
    .execute(&mut *store.0.leases.get().await?)
    .await?;
    Ok(())
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
            if let Err(error) = free(&store, held.worker).await {
                debug!(%error, "What a run left behind is free at the end of its lease");
            }
        });
    }
}

/// Whether some process owns delivery at present.
pub(super) async fn owned(store: &PostgresStore) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM shard WHERE owner IS NOT NULL AND until > clock_timestamp())",
    )
    .fetch_one(&mut *store.0.lists.get().await?)
    .await?)
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
