//! What came of attempts: deliveries end or move, and the history grows, all in one transaction.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use sqlx::SqliteConnection;
use tharsis_core::{Timestamp, delivery::End, order::OrderKey};

use super::{
    SqliteStore, alert,
    campaign::is_paused,
    owner, registry,
    value::{count, expect_changed, hex, json},
};
use crate::{
    Attempt, Fate, KEPT, Lease, PARKED, Position, Settlement, StoreError,
    alert::of_settlements,
    failpoint::{self, Failpoint, reached},
};

pub(super) async fn settle(
    store: &SqliteStore,
    lease: &Lease,
    settlements: &[Settlement],
) -> Result<Vec<Position>, StoreError> {
    store.0.owner.check(lease)?;
    if settlements.is_empty() {
        return Ok(Vec::new());
    }
    let (aside, settlements): (Vec<_>, Vec<_>) = settlements
        .iter()
        .partition(|settlement| settlement.fate == Fate::Aside);
    let rows = rows(&settlements)?;

    reached(Failpoint::SettleAsked);
    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    let left_alone = set_aside(&mut write, &aside).await?;
    if settlements.is_empty() || take_out(&mut write, &rows).await? == count(settlements.iter()) {
        reached(Failpoint::SettleTaken);
        apply(&mut write, settlements.into_iter(), &rows).await?;
        write.commit(failpoint::SETTLE).await?;
        return Ok(left_alone);
    }
    // Some row is not as it was read, which is rare: give up, and find out which.
    drop(write);
    settle_apart(store, lease, &aside, &settlements, &rows).await
}

fn rows(settlements: &[&Settlement]) -> Result<String, StoreError> {
    json(&settlements.iter().copied().map(Row::of).collect::<Vec<_>>())
}

async fn settle_apart(
    store: &SqliteStore,
    lease: &Lease,
    aside: &[&Settlement],
    settlements: &[&Settlement],
    rows: &str,
) -> Result<Vec<Position>, StoreError> {
    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    let mut left_alone = set_aside(&mut write, aside).await?;
    let moved = moved(&mut write, rows).await?;
    let (moved, kept): (Vec<_>, Vec<_>) = settlements
        .iter()
        .enumerate()
        .partition(|(at, _)| moved.contains(at));
    let kept: Vec<&Settlement> = kept
        .into_iter()
        .map(|(_, settlement)| *settlement)
        .collect();
    let rows = self::rows(&kept)?;
    let taken = take_out(&mut write, &rows).await?;
    expect_changed("settle: deliveries taken out", count(kept.iter()), taken)?;
    apply(&mut write, kept.into_iter(), &rows).await?;
    for (_, settlement) in moved {
        match (&settlement.attempt, settlement.fate) {
            (Some(attempt), Fate::Ended(End::Delivered)) => {
                record_success(&mut write, settlement, attempt).await?;
            }
            _ => left_alone.push(settlement.position),
        }
    }
    write.commit(failpoint::SETTLE).await?;
    Ok(left_alone)
}

/// A settlement as the statements read it, by its places.
#[derive(Serialize)]
struct Row<'a>(
    /// 0: the subscription.
    i64,
    /// 1: the lane.
    u16,
    /// 2: when it was due.
    i64,
    /// 3: the event.
    i64,
    /// 4: the attempts it was read with.
    u32,
    /// 5: when it is due again, unless it ended.
    Option<i64>,
    /// 6: the attempts made now.
    u32,
    /// 7: the tries of its budget.
    u32,
    /// 8: how it ended.
    Option<&'static str>,
    /// 9: the number of the attempt, if one is recorded.
    Option<u32>,
    /// 10: after which attempt an end without a request stands.
    Option<u32>,
    /// 11: when it began.
    i64,
    /// 12: how long it took, in microseconds.
    i64,
    /// 13: the code.
    &'a str,
    /// 14: the status.
    Option<u16>,
    /// 15: the detail.
    Option<&'a str>,
    /// 16: the excerpt.
    Option<String>,
    /// 17: the replay that made it due.
    u32,
    /// 18: for how long it was to wait for its retries, in milliseconds.
    u32,
    /// 19: the lane that it goes to, unless it ended.
    u16,
    /// 20: what it goes in order by.
    Option<i64>,
);

impl<'a> Row<'a> {
    fn of(settlement: &'a Settlement) -> Self {
        let Position {
            subscription,
            lane,
            due_at,
            seq,
            replay,
        } = settlement.position;
        let attempt = settlement.attempt.as_ref();
        let (ended, moves) = match settlement.fate {
            Fate::Ended(end) => (Some(end.as_str()), None),
            Fate::Again { due_at, spent } => (None, Some((due_at, 0, spent))),
            Fate::Parked { due_at, spent } => (None, Some((due_at, PARKED, spent))),
            Fate::Kept { spent } => (None, Some((due_at, KEPT, spent))),
            Fate::Aside => (None, None),
        };
        let (_, to_lane, spent) = moves.unwrap_or_default();
        let number = attempt.map(|a| a.number);
        Self(
            subscription,
            lane,
            due_at.as_millis(),
            seq,
            settlement.attempts,
            moves.map(|(due_at, ..)| due_at.as_millis()),
            number.map_or(settlement.attempts, |number| {
                number.max(settlement.attempts)
            }),
            spent.tries,
            ended,
            number,
            number
                .filter(|&number| number == 0)
                .map(|_| settlement.attempts),
            attempt.map_or(0, |a| a.at.as_millis()),
            attempt.map_or(0, micros),
            attempt.map_or("", |a| &a.code),
            attempt.and_then(|a| a.status),
            attempt.and_then(|a| a.detail.as_deref()),
            attempt
                .filter(|a| !a.excerpt.is_empty())
                .map(|a| hex(&a.excerpt)),
            replay,
            spent.waited_ms,
            to_lane,
            settlement.key.map(|OrderKey(key)| key),
        )
    }
}

fn micros(attempt: &Attempt) -> i64 {
    i64::try_from(attempt.duration.as_micros()).unwrap_or(i64::MAX)
}

/// As it was read, and as long as its campaign is paused.
pub(super) const SET_ASIDE: &str = concat!(
    "UPDATE tharsis_delivery
     SET lane = 1
     WHERE (subscription, lane, due_at, event, attempts, replay) IN (
               SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4, r.value ->> 17
               FROM jsonb_each(?1) r)
       AND EXISTS (SELECT 1 FROM tharsis_event e WHERE e.seq = event AND ",
    is_paused!(),
    ") RETURNING subscription, event"
);

/// Returns the positions of those that were left alone.
async fn set_aside(
    conn: &mut SqliteConnection,
    settlements: &[&Settlement],
) -> Result<Vec<Position>, StoreError> {
    if settlements.is_empty() {
        return Ok(Vec::new());
    }
    let moved: Vec<(i64, i64)> = sqlx::query_as(SET_ASIDE)
        .bind(rows(settlements)?)
        .fetch_all(conn)
        .await?;
    let moved: HashSet<(i64, i64)> = moved.into_iter().collect();
    let positions = settlements.iter().map(|settlement| settlement.position);
    Ok(positions
        .filter(|position| !moved.contains(&(position.subscription, position.seq)))
        .collect())
}

/// The row as it was read, or none.
pub(super) const TAKE_OUT: &str = "
    DELETE FROM tharsis_delivery
    WHERE (subscription, lane, due_at, event, attempts, replay) IN (
        SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4, r.value ->> 17
        FROM jsonb_each(?1) r)";

async fn take_out(conn: &mut SqliteConnection, rows: &str) -> Result<u64, StoreError> {
    Ok(sqlx::query(TAKE_OUT)
        .bind(rows)
        .execute(conn)
        .await?
        .rows_affected())
}

pub(super) const MOVED: &str = "
    SELECT r.key
    FROM jsonb_each(?1) r
    WHERE NOT EXISTS (
        SELECT 1
        FROM tharsis_delivery d
        WHERE d.subscription = r.value ->> 0
          AND d.lane = r.value ->> 1
          AND d.due_at = r.value ->> 2
          AND d.event = r.value ->> 3
          AND d.attempts = r.value ->> 4
          AND d.replay = r.value ->> 17)";

/// The places of settlements whose row is not as it was read.
async fn moved(conn: &mut SqliteConnection, rows: &str) -> Result<HashSet<usize>, StoreError> {
    let places: Vec<u32> = sqlx::query_scalar(MOVED).bind(rows).fetch_all(conn).await?;
    Ok(places
        .into_iter()
        .filter_map(|at| usize::try_from(at).ok())
        .collect())
}

pub(super) const PUT_BACK: &str = "
    INSERT INTO tharsis_delivery (subscription, lane, due_at, event, attempts, tries, replay, waited, order_key)
    SELECT r.value ->> 0, r.value ->> 19, r.value ->> 5, r.value ->> 3, r.value ->> 6, r.value ->> 7, r.value ->> 17,
           r.value ->> 18, r.value ->> 20
    FROM jsonb_each(?1) r
    WHERE r.value ->> 5 IS NOT NULL";

/// Number 0 may be there from an end before the last replay; the newest end counts.
pub(super) const RECORD: &str = "
    INSERT INTO tharsis_attempt
        (event, subscription, number, at, duration_us, code, status, ended, after, due_at, detail, excerpt, replay)
    SELECT r.value ->> 3, r.value ->> 0, r.value ->> 9, r.value ->> 11, r.value ->> 12, r.value ->> 13,
           r.value ->> 14, r.value ->> 8, r.value ->> 10, CASE r.value ->> 19 WHEN 0 THEN r.value ->> 5 END, r.value ->> 15,
           unhex(r.value ->> 16), CASE WHEN r.value ->> 8 IS NOT NULL THEN nullif(r.value ->> 17, 0) END
    FROM jsonb_each(?1) r
    WHERE r.value ->> 9 IS NOT NULL
    ON CONFLICT (event, subscription, number) DO UPDATE
    SET at = excluded.at, duration_us = excluded.duration_us, code = excluded.code,
        status = excluded.status, ended = excluded.ended, after = excluded.after,
        due_at = excluded.due_at, detail = excluded.detail, excerpt = excluded.excerpt,
        replay = excluded.replay";

/// What follows for rows that were taken out.
async fn apply<'a>(
    conn: &mut SqliteConnection,
    settlements: impl Iterator<Item = &'a Settlement> + Clone,
    rows: &str,
) -> Result<(), StoreError> {
    let again = settlements.clone().filter(|s| {
        matches!(
            s.fate,
            Fate::Again { .. } | Fate::Parked { .. } | Fate::Kept { .. }
        )
    });
    let recorded = settlements.clone().filter(|s| s.attempt.is_some());
    for (what, statement, expected) in [
        ("settle: deliveries put back", PUT_BACK, count(again)),
        ("settle: attempts", RECORD, count(recorded)),
    ] {
        if expected > 0 {
            let changed = sqlx::query(statement)
                .bind(rows)
                .execute(&mut *conn)
                .await?
                .rows_affected();
            expect_changed(what, expected, changed)?;
        }
    }
    alert::raise(conn, &of_settlements(settlements.clone())).await?;
    suspend(conn, settlements).await
}

/// A subscription is suspended once, for the first reason.
async fn suspend(
    conn: &mut SqliteConnection,
    settlements: impl Iterator<Item = &Settlement>,
) -> Result<(), StoreError> {
    let mut reasons: BTreeMap<i64, (&str, Timestamp)> = BTreeMap::new();
    for settlement in settlements {
        if let Some(reason) = settlement.suspend {
            let at = settlement
                .attempt
                .as_ref()
                .map_or(settlement.position.due_at, |a| a.at);
            reasons
                .entry(settlement.position.subscription)
                .or_insert((reason, at));
        }
    }
    for (subscription, (reason, at)) in reasons {
        let suspended = sqlx::query(
            "INSERT INTO tharsis_subscription_state (subscription, state, reason, since)
             SELECT seq, 'suspended', ?2, ?3
             FROM tharsis_subscription
             WHERE seq = ?1 AND removed_at IS NULL
             ON CONFLICT (subscription) DO UPDATE
             SET state = excluded.state, reason = excluded.reason, since = excluded.since
             WHERE state <> 'suspended'",
        )
        .bind(subscription)
        .bind(reason)
        .bind(at.as_millis())
        .execute(&mut *conn)
        .await?
        .rows_affected();
        if suspended > 0 {
            registry::count_change(&mut *conn, subscription).await?;
            registry::bump(&mut *conn).await?;
        }
    }
    Ok(())
}

/// A success counts wherever its row has gone meanwhile: to another due time, or out of the outbox by another end.
async fn record_success(
    conn: &mut SqliteConnection,
    settlement: &Settlement,
    attempt: &Attempt,
) -> Result<(), StoreError> {
    let position = settlement.position;
    // Written again after a lost answer: what is there now came later.
    let is_recorded: bool = sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT 1 FROM tharsis_attempt
             WHERE event = ?1 AND subscription = ?2 AND at = ?3 AND duration_us = ?4 AND ended = 'delivered')",
    )
    .bind(position.seq)
    .bind(position.subscription)
    .bind(attempt.at.as_millis())
    .bind(micros(attempt))
    .fetch_one(&mut *conn)
    .await?;
    if is_recorded {
        return Ok(());
    }
    // What a replay made due since it was read stays.
    let was_there = sqlx::query(
        "DELETE FROM tharsis_delivery WHERE event = ?1 AND subscription = ?2 AND replay = ?3",
    )
    .bind(position.seq)
    .bind(position.subscription)
    .bind(position.replay)
    .execute(&mut *conn)
    .await?
    .rows_affected()
        > 0;
    let recorded = sqlx::query(
        "INSERT INTO tharsis_attempt
             (event, subscription, number, at, duration_us, code, status, ended, detail, excerpt, replay)
         SELECT ?1, ?2,
                max(?3, coalesce((SELECT max(number) + 1 FROM tharsis_attempt
                                  WHERE event = ?1 AND subscription = ?2), 1)),
                ?4, ?5, ?6, ?7, 'delivered', ?8, ?9, nullif(?10, 0)",
    )
    .bind(position.seq)
    .bind(position.subscription)
    .bind(attempt.number)
    .bind(attempt.at.as_millis())
    .bind(micros(attempt))
    .bind(&attempt.code)
    .bind(attempt.status)
    .bind(attempt.detail.as_deref())
    .bind((!attempt.excerpt.is_empty()).then_some(attempt.excerpt.as_slice()))
    .bind(if was_there { position.replay } else { 0 })
    .execute(&mut *conn)
    .await?
    .rows_affected();
    expect_changed("settle: a success", 1, recorded)?;
    sqlx::query(
        "UPDATE tharsis_delivery
         SET attempts = (SELECT max(number) FROM tharsis_attempt WHERE event = ?1 AND subscription = ?2)
         WHERE event = ?1 AND subscription = ?2",
    )
    .bind(position.seq)
    .bind(position.subscription)
    .execute(conn)
    .await?;
    Ok(())
}
