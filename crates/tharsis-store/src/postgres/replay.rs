//! Past deliveries made due again: asked for by people, worked off by the owner of the shard that the replay lies in.
//!
//! A replay goes over the ids of events, once, up to those that were published when it was asked for by the database's
//! clock. An event whose transaction was open then and commits later counts as published before, and is taken only if it
//! has ended when the replay comes by: if not it is where any other new event is, on its way.

use std::collections::BTreeSet;

use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use tharsis_core::{DeliveryId, ReplayId, Timestamp};
use uuid::Uuid;

use super::{
    PostgresStore,
    command::{CHUNK, Touched},
    filter::{Ids, Matching, Pair, columns},
    owner, registry,
    value::{Instant, corrupt, expect_changed},
};
use crate::{
    Pending, Replay, ReplayChoice, ReplayKey, Shard, Shards, StoreError, failpoint,
    filter::{from_text, to_text},
    status::no_delivery,
};

struct ReplayRow {
    seq: i64,
    filter: Option<String>,
    until: Timestamp,
    cursor: Pair,
    replay: Replay,
}

macro_rules! columns {
    () => {
        "seq, filter::text, until, cursor_event, cursor_subscription, id, examined, replayed,
         created_at, started_at, finished_at, fresh"
    };
}

macro_rules! select {
    ($which:literal) => {
        concat!("SELECT ", columns!(), " FROM replay ", $which)
    };
}

impl<'r> FromRow<'r, PgRow> for ReplayRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let Instant(until) = row.try_get(2)?;
        let (examined, replayed): (i64, i64) = (row.try_get(6)?, row.try_get(7)?);
        let Instant(created_at) = row.try_get(8)?;
        let started_at: Option<Instant> = row.try_get(9)?;
        let finished_at: Option<Instant> = row.try_get(10)?;
        Ok(Self {
            seq: row.try_get(0)?,
            filter: row.try_get(1)?,
            until,
            cursor: (row.try_get(3)?, row.try_get(4)?),
            replay: Replay::of(
                row.try_get(5)?,
                row.try_get(11)?,
                (examined.unsigned_abs(), replayed.unsigned_abs()),
                created_at,
                started_at.map(|Instant(at)| at),
                finished_at.map(|Instant(at)| at),
            ),
        })
    }
}

pub(super) async fn ask(
    store: &PostgresStore,
    choice: &ReplayChoice,
    key: ReplayKey,
    now: Timestamp,
) -> Result<Replay, StoreError> {
    let id = ReplayId::new(now, store.random_id_bytes()?);
    let (filter, first) = match choice {
        ReplayChoice::Deliveries(_) => (None, Uuid::nil()),
        ReplayChoice::Filter(filter) => (Some(to_text(filter)?), Ids::of(filter).first),
    };
    let mut write = store.0.lists.begin().await?;
    let row: ReplayRow = sqlx::query_as(concat!(
        "INSERT INTO replay (id, filter, until, created_at, cursor_event, fresh)
         VALUES ($1, $2::json, clock_timestamp(), $3, $4, $5)
         RETURNING ",
        columns!()
    ))
    .bind(id.as_uuid())
    .bind(filter)
    .bind(Instant(now))
    // No pair has a subscription 0: all of the first event come after it.
    .bind(first)
    .bind(key == ReplayKey::Fresh)
    .fetch_one(&mut *write)
    .await?;
    match choice {
        ReplayChoice::Deliveries(ids) => insert_deliveries(&mut write, row.seq, ids).await?,
        // Until no event can be published in the same millisecond any more.
        ReplayChoice::Filter(_) => {
            sqlx::query("SELECT pg_sleep(0.002)")
                .execute(&mut *write)
                .await?;
        }
    }
    registry::bump(&mut write).await?;
    write.commit(failpoint::ASK_REPLAY).await?;
    Ok(row.replay)
}

async fn insert_deliveries(
    conn: &mut PgConnection,
    replay: i64,
    ids: &[DeliveryId],
) -> Result<(), StoreError> {
    let (events, subscriptions): (Vec<Uuid>, Vec<Uuid>) = ids
        .iter()
        .map(|id| (*id.event.as_uuid(), *id.subscription.as_uuid()))
        .unzip();
    let numbers: Vec<Option<i64>> = sqlx::query_scalar(NUMBERS)
        .bind(events)
        .bind(subscriptions)
        .fetch_all(&mut *conn)
        .await?;
    let pairs: BTreeSet<Pair> = ids
        .iter()
        .zip(numbers)
        .map(|(id, number)| {
            let number = number.ok_or_else(|| no_delivery(*id))?;
            Ok((*id.event.as_uuid(), number))
        })
        .collect::<Result<_, StoreError>>()?;
    let (events, subscriptions) = columns(&pairs);
    sqlx::query(
        "INSERT INTO replay_delivery (replay, event, subscription)
         SELECT $3, r.event, r.subscription FROM unnest($1::uuid[], $2::bigint[]) AS r (event, subscription)",
    )
    .bind(events)
    .bind(subscriptions)
    .bind(replay)
    .execute(conn)
    .await?;
    Ok(())
}

/// The number of each one's subscription, in their order; none where there is no such delivery.
const NUMBERS: &str = "
    SELECT s.seq
    FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS r (event, subscription, place)
    LEFT JOIN LATERAL (
        SELECT s.seq
        FROM subscription s
        WHERE s.id = r.subscription
          AND (EXISTS (SELECT FROM delivery d WHERE d.event = r.event AND d.subscription = s.seq OFFSET 0)
               OR EXISTS (SELECT FROM attempt a WHERE a.event = r.event AND a.subscription = s.seq OFFSET 0))
        OFFSET 0) s ON true
    ORDER BY r.place";

pub(super) async fn find(store: &PostgresStore, id: ReplayId) -> Result<Replay, StoreError> {
    let row: Option<ReplayRow> = sqlx::query_as(select!("WHERE id = $1"))
        .bind(id.as_uuid())
        .fetch_optional(&mut *store.0.lists.get().await?)
        .await?;
    row.map(|row| row.replay)
        .ok_or_else(|| StoreError::NotFound {
            what: "replay",
            id: id.to_string(),
        })
}

pub(super) async fn list(store: &PostgresStore) -> Result<Vec<Replay>, StoreError> {
    let rows: Vec<ReplayRow> = sqlx::query_as(select!("ORDER BY seq DESC LIMIT 100"))
        .fetch_all(&mut *store.0.lists.get().await?)
        .await?;
    Ok(rows.into_iter().map(|row| row.replay).collect())
}

/// One chunk of a replay, if it is not done and lies in one of these shards. Returns the lanes that it touched. Another
/// worker that believes the replay is its own waits here, and then goes on from where this one came to.
pub(super) async fn step(
    conn: &mut PgConnection,
    seq: i64,
    shards: Shards,
    now: Timestamp,
) -> Result<Vec<Touched>, StoreError> {
    let replay: Option<ReplayRow> = sqlx::query_as(select!(
        "WHERE seq = $1 AND shard = ANY ($2) AND finished_at IS NULL FOR UPDATE"
    ))
    .bind(seq)
    .bind(owner::array(shards))
    .fetch_optional(&mut *conn)
    .await?;
    let Some(replay) = replay else {
        return Ok(Vec::new());
    };
    let chunk = match &replay.filter {
        None => listed(conn, &replay).await?,
        Some(filter) => filtered(conn, &replay, filter).await?,
    };
    let again = make_due_again(conn, &chunk.pairs, replay.seq, now).await?;
    advance(conn, &replay, &chunk, again.replayed, now).await?;
    Ok(again.lanes)
}

/// What one step looks at.
struct Chunk {
    pairs: Vec<Pair>,
    /// The last pair that was looked at; `None` when there is nothing after this chunk.
    cursor: Option<Pair>,
}

async fn listed(conn: &mut PgConnection, replay: &ReplayRow) -> Result<Chunk, StoreError> {
    let pairs: Vec<Pair> = sqlx::query_as(
        "SELECT event, subscription
         FROM replay_delivery
         WHERE replay = $1 AND (event, subscription) > ($2, $3)
         ORDER BY event, subscription
         LIMIT $4",
    )
    .bind(replay.seq)
    .bind(replay.cursor.0)
    .bind(replay.cursor.1)
    .bind(i64::from(CHUNK))
    .fetch_all(conn)
    .await?;
    let is_full = u32::try_from(pairs.len()) == Ok(CHUNK);
    Ok(Chunk {
        cursor: pairs.last().copied().filter(|_| is_full),
        pairs,
    })
}

/// Walks a bounded piece of the history, whether much or little of it matches.
async fn filtered(
    conn: &mut PgConnection,
    replay: &ReplayRow,
    filter: &str,
) -> Result<Chunk, StoreError> {
    let filter = from_text(filter)?;
    let matching = Matching::of(conn, &filter, &[])
        .await?
        .published_by(replay.until);
    let next = matching.next(conn, replay.cursor, CHUNK).await?;
    let is_full = u32::try_from(next.len()).is_ok_and(|looked_at| looked_at >= CHUNK);
    Ok(Chunk {
        cursor: next
            .last()
            .map(|(event, subscription, _)| (*event, *subscription))
            .filter(|_| is_full),
        pairs: next
            .into_iter()
            .filter(|(_, _, matches)| *matches)
            .map(|(event, subscription, _)| (event, subscription))
            .collect(),
    })
}

/// Left alone is what is unfinished already, what has expired, what was refused (it could not be sent then and cannot
/// now), and what has no subscription any more. Its row is held by its key, so that a removal ends what is written here.
pub(super) const MAKE_DUE_AGAIN: &str = "
    WITH again AS (
        INSERT INTO delivery (subscription, due_at, seq, event, attempts, replay)
        SELECT s.seq, greatest($3, e.not_before), nextval('seq'), r.event,
               (SELECT max(number) FROM attempt WHERE event = r.event AND subscription = r.subscription), $4
        FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS r (event, subscription, place)
        CROSS JOIN LATERAL (
            SELECT not_before
            FROM event
            WHERE id = r.event AND (expires_at IS NULL OR expires_at > $3)
            OFFSET 0) e
        CROSS JOIN LATERAL (
            SELECT ended
            FROM attempt
            WHERE event = r.event AND subscription = r.subscription
            ORDER BY coalesce(after, number) DESC, number
            LIMIT 1) l
        CROSS JOIN LATERAL (
            SELECT seq
            FROM subscription
            WHERE seq = r.subscription AND removed_at IS NULL
            FOR KEY SHARE) s
        WHERE l.ended <> 'refused'
          AND NOT EXISTS (
              SELECT FROM delivery d WHERE d.event = r.event AND d.subscription = r.subscription OFFSET 0)
        ORDER BY r.place
        ON CONFLICT DO NOTHING
        RETURNING subscription, due_at)
    SELECT s.shard, a.subscription, a.due_at, a.count
    FROM (SELECT subscription, min(due_at) AS due_at, count(*) AS count FROM again GROUP BY subscription OFFSET 0) a
    CROSS JOIN LATERAL (SELECT shard FROM subscription WHERE seq = a.subscription OFFSET 0) s";

/// What is due again.
struct Again {
    lanes: Vec<Touched>,
    replayed: i64,
}

async fn make_due_again(
    conn: &mut PgConnection,
    pairs: &[Pair],
    replay: i64,
    now: Timestamp,
) -> Result<Again, StoreError> {
    let (events, subscriptions) = columns(pairs);
    let rows: Vec<(i16, i64, Instant, i64)> = sqlx::query_as(MAKE_DUE_AGAIN)
        .bind(events)
        .bind(subscriptions)
        .bind(Instant(now))
        .bind(replay)
        .fetch_all(conn)
        .await?;
    let lanes = rows
        .iter()
        .map(|(shard, subscription, Instant(due_at), _)| {
            let lane = Pending {
                subscription: *subscription,
                due_at: *due_at,
            };
            Ok((Shard(u8::try_from(*shard).map_err(corrupt)?), lane))
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(Again {
        lanes,
        replayed: rows.iter().map(|(.., count)| count).sum(),
    })
}

/// In the transaction of the deliveries, so that each is made due once.
async fn advance(
    conn: &mut PgConnection,
    replay: &ReplayRow,
    chunk: &Chunk,
    replayed: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (event, subscription) = chunk.cursor.unwrap_or(replay.cursor);
    let advanced = sqlx::query(
        "UPDATE replay
         SET cursor_event = $4, cursor_subscription = $5,
             examined = examined + $6, replayed = replayed + $7,
             started_at = coalesce(started_at, $8),
             finished_at = CASE WHEN $9 THEN $8 END
         WHERE seq = $1 AND cursor_event = $2 AND cursor_subscription = $3 AND finished_at IS NULL",
    )
    .bind(replay.seq)
    .bind(replay.cursor.0)
    .bind(replay.cursor.1)
    .bind(event)
    .bind(subscription)
    .bind(i64::try_from(chunk.pairs.len()).unwrap_or(i64::MAX))
    .bind(replayed)
    .bind(Instant(now))
    .bind(chunk.cursor.is_none())
    .execute(&mut *conn)
    .await?
    .rows_affected();
    expect_changed("a replay", 1, advanced)?;
    if chunk.cursor.is_none() {
        sqlx::query("DELETE FROM replay_delivery WHERE replay = $1")
            .bind(replay.seq)
            .execute(conn)
            .await?;
    }
    Ok(())
}
