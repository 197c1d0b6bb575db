//! Past deliveries made due again: asked for by people, worked off by the owner.

use std::collections::BTreeSet;

use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use tharsis_core::{ReplayId, Timestamp};

use super::{
    SqliteStore,
    command::CHUNK,
    filter::{self, Matching, Pair},
    history::pair,
    registry,
    value::{Id, Millis, blob, expect_changed, json},
};
use crate::{
    Replay, ReplayChoice, ReplayKey, StoreError, failpoint,
    filter::{from_text, to_text},
    status::no_delivery,
};

struct ReplayRow {
    seq: i64,
    filter: Option<String>,
    last_event: i64,
    cursor: Pair,
    replay: Replay,
}

macro_rules! columns {
    () => {
        "SELECT seq, filter, last_event, cursor_event, cursor_subscription, id, examined, replayed,
                created_at, started_at, finished_at, fresh
         FROM tharsis_replay "
    };
}

impl<'r> FromRow<'r, SqliteRow> for ReplayRow {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        let Id(id) = row.try_get(5)?;
        let Millis(created_at) = row.try_get(8)?;
        let started_at: Option<i64> = row.try_get(9)?;
        let finished_at: Option<i64> = row.try_get(10)?;
        Ok(Self {
            seq: row.try_get(0)?,
            filter: row.try_get(1)?,
            last_event: row.try_get(2)?,
            cursor: (row.try_get(3)?, row.try_get(4)?),
            replay: Replay::of(
                id,
                row.try_get(11)?,
                (row.try_get(6)?, row.try_get(7)?),
                created_at,
                started_at.map(Timestamp::from_millis),
                finished_at.map(Timestamp::from_millis),
            ),
        })
    }
}

pub(super) async fn ask(
    store: &SqliteStore,
    choice: &ReplayChoice,
    key: ReplayKey,
    now: Timestamp,
) -> Result<Replay, StoreError> {
    let id = ReplayId::new(now, store.random_id_bytes()?);
    let (filter, (first, last)) = match choice {
        ReplayChoice::Deliveries(_) => (None, (0, i64::MAX)),
        ReplayChoice::Filter(filter) => {
            // Before the lock is taken: this may look at many events.
            let mut read = store.0.lists.acquire().await?;
            let bounds = filter::bounds(&mut read, filter).await?;
            (Some(to_text(filter)?), bounds)
        }
    };
    let mut write = store.0.writer.begin().await?;
    let row: ReplayRow = sqlx::query_as(
        "INSERT INTO tharsis_replay (id, filter, last_event, created_at, cursor_event, fresh)
         VALUES (?1, ?2, min(?5, (SELECT coalesce(max(seq), 0) FROM tharsis_event)), ?3, ?4, ?6)
         RETURNING seq, filter, last_event, cursor_event, cursor_subscription, id, examined, replayed,
                   created_at, started_at, finished_at, fresh",
    )
    .bind(blob(id.as_uuid()))
    .bind(filter)
    .bind(now.as_millis())
    // No pair has a subscription 0: all of the first event come after it.
    .bind(first.max(0))
    .bind(last.max(0))
    .bind(key == ReplayKey::Fresh)
    .fetch_one(&mut *write)
    .await?;
    if let ReplayChoice::Deliveries(ids) = choice {
        let mut pairs = BTreeSet::new();
        for id in ids {
            let pair = pair(&mut write, *id).await?;
            if !is_known(&mut write, pair).await? {
                return Err(no_delivery(*id));
            }
            pairs.insert(pair);
        }
        sqlx::query(
            "INSERT INTO tharsis_replay_delivery (replay, event, subscription)
             SELECT ?2, r.value ->> 0, r.value ->> 1 FROM jsonb_each(?1) r",
        )
        .bind(json(&pairs)?)
        .bind(row.seq)
        .execute(&mut *write)
        .await?;
    }
    registry::bump(&mut write).await?;
    write.commit(failpoint::ASK_REPLAY).await?;
    store.wrote();
    Ok(row.replay)
}

async fn is_known(
    conn: &mut SqliteConnection,
    (event, subscription): Pair,
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM tharsis_delivery WHERE event = ?1 AND subscription = ?2)
                OR EXISTS (SELECT 1 FROM tharsis_attempt WHERE event = ?1 AND subscription = ?2)",
    )
    .bind(event)
    .bind(subscription)
    .fetch_one(conn)
    .await?)
}

pub(super) async fn find(store: &SqliteStore, id: ReplayId) -> Result<Replay, StoreError> {
    let row: Option<ReplayRow> = sqlx::query_as(concat!(columns!(), "WHERE id = ?1"))
        .bind(blob(id.as_uuid()))
        .fetch_optional(&store.0.lists)
        .await?;
    row.map(|row| row.replay)
        .ok_or_else(|| StoreError::NotFound {
            what: "replay",
            id: id.to_string(),
        })
}

pub(super) async fn list(store: &SqliteStore) -> Result<Vec<Replay>, StoreError> {
    let rows: Vec<ReplayRow> = sqlx::query_as(concat!(columns!(), "ORDER BY seq DESC LIMIT 100"))
        .fetch_all(&store.0.lists)
        .await?;
    Ok(rows.into_iter().map(|row| row.replay).collect())
}

/// One chunk of the oldest replay that is not done. Returns the subscriptions whose lanes it touched, and whether there
/// may be more.
pub(super) async fn step(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(BTreeSet<i64>, bool), StoreError> {
    let replay: Option<ReplayRow> = sqlx::query_as(concat!(
        columns!(),
        "WHERE finished_at IS NULL ORDER BY seq LIMIT 1"
    ))
    .fetch_optional(&mut *conn)
    .await?;
    let Some(replay) = replay else {
        return Ok((BTreeSet::new(), false));
    };
    let chunk = match &replay.filter {
        None => listed(conn, &replay).await?,
        Some(filter) => filtered(conn, &replay, filter).await?,
    };
    let touched = make_due_again(conn, &chunk.pairs, replay.seq, now).await?;
    advance(conn, &replay, &chunk, touched.len(), now).await?;
    Ok((touched.into_iter().collect(), true))
}

/// What one step looks at.
struct Chunk {
    pairs: Vec<Pair>,
    /// The last pair that was looked at; `None` when there is nothing after this chunk.
    cursor: Option<Pair>,
}

async fn listed(conn: &mut SqliteConnection, replay: &ReplayRow) -> Result<Chunk, StoreError> {
    let pairs: Vec<Pair> = sqlx::query_as(
        "SELECT event, subscription
         FROM tharsis_replay_delivery
         WHERE replay = ?1 AND (event, subscription) > (?2, ?3)
         ORDER BY event, subscription
         LIMIT ?4",
    )
    .bind(replay.seq)
    .bind(replay.cursor.0)
    .bind(replay.cursor.1)
    .bind(CHUNK)
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
    conn: &mut SqliteConnection,
    replay: &ReplayRow,
    filter: &str,
) -> Result<Chunk, StoreError> {
    let cursor: Option<Pair> = sqlx::query_as(
        "SELECT event, subscription
         FROM tharsis_attempt
         WHERE (event, subscription) > (?1, ?2) AND event <= ?3
         ORDER BY event, subscription
         LIMIT 1 OFFSET ?4",
    )
    .bind(replay.cursor.0)
    .bind(replay.cursor.1)
    .bind(replay.last_event)
    .bind(CHUNK - 1)
    .fetch_optional(&mut *conn)
    .await?;
    let filter = from_text(filter)?;
    let asked_for = (replay.cursor.0, replay.last_event);
    let matching = Matching::within(conn, &filter, asked_for, &[]).await?;
    let to = cursor.unwrap_or((replay.last_event, i64::MAX));
    Ok(Chunk {
        pairs: matching.ended_between(conn, replay.cursor, to).await?,
        cursor,
    })
}

/// Left alone is what is unfinished already, what has expired, what was refused (it could not be sent then and cannot
/// now), and what has no subscription any more.
pub(super) const MAKE_DUE_AGAIN: &str = "
    INSERT INTO tharsis_delivery (subscription, lane, due_at, event, attempts, tries, replay)
    SELECT s.seq, 0, max(?2, coalesce(e.not_before, ?2)), e.seq,
           (SELECT max(number) FROM tharsis_attempt WHERE event = e.seq AND subscription = s.seq),
           0, ?3
    FROM jsonb_each(?1) r
    CROSS JOIN tharsis_event e ON e.seq = r.value ->> 0
    CROSS JOIN tharsis_subscription s ON s.seq = r.value ->> 1
    WHERE s.removed_at IS NULL
      AND (e.expires_at IS NULL OR e.expires_at > ?2)
      AND NOT EXISTS (
          SELECT 1 FROM tharsis_delivery d WHERE d.event = e.seq AND d.subscription = s.seq)
      AND 'refused' <> (
          SELECT ended
          FROM tharsis_attempt
          WHERE event = e.seq AND subscription = s.seq
          ORDER BY coalesce(after, number) DESC, number
          LIMIT 1)
    RETURNING subscription";

/// Returns the subscription of each delivery that is due again.
async fn make_due_again(
    conn: &mut SqliteConnection,
    pairs: &[Pair],
    replay: i64,
    now: Timestamp,
) -> Result<Vec<i64>, StoreError> {
    Ok(sqlx::query_scalar(MAKE_DUE_AGAIN)
        .bind(json(&pairs)?)
        .bind(now.as_millis())
        .bind(replay)
        .fetch_all(conn)
        .await?)
}

/// In the transaction of the deliveries, so that each is made due once.
async fn advance(
    conn: &mut SqliteConnection,
    replay: &ReplayRow,
    chunk: &Chunk,
    replayed: usize,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (event, subscription) = chunk.cursor.unwrap_or((replay.last_event, i64::MAX));
    let advanced = sqlx::query(
        "UPDATE tharsis_replay
         SET cursor_event = ?4, cursor_subscription = ?5,
             examined = examined + ?6, replayed = replayed + ?7,
             started_at = coalesce(started_at, ?8),
             finished_at = CASE WHEN ?9 THEN ?8 END
         WHERE seq = ?1 AND cursor_event = ?2 AND cursor_subscription = ?3 AND finished_at IS NULL",
    )
    .bind(replay.seq)
    .bind(replay.cursor.0)
    .bind(replay.cursor.1)
    .bind(event)
    .bind(subscription)
    .bind(i64::try_from(chunk.pairs.len()).unwrap_or(i64::MAX))
    .bind(i64::try_from(replayed).unwrap_or(i64::MAX))
    .bind(now.as_millis())
    .bind(chunk.cursor.is_none())
    .execute(&mut *conn)
    .await?
    .rows_affected();
    expect_changed("a replay", 1, advanced)?;
    if chunk.cursor.is_none() {
        sqlx::query("DELETE FROM tharsis_replay_delivery WHERE replay = ?1")
            .bind(replay.seq)
            .execute(conn)
            .await?;
    }
    Ok(())
}
