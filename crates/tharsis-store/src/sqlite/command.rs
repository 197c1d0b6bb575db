//! What people ask the owner to do to deliveries, and the owner doing it in chunks.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;
use tharsis_core::{ClientId, DeliveryId, Timestamp, delivery::End};

use super::{
    SqliteStore, audit, campaign,
    filter::Pair,
    history::pair,
    owner, registry, release,
    replay::{self, Next},
    value::{Id, count, expect_changed, json},
};
use crate::{By, CommandAccepted, Deed, Lease, Pending, StoreError, WorkedOff, failpoint, status};

/// Rows of one chunk: a few milliseconds of the lock.
pub(super) const CHUNK: u32 = 500;

/// Writes down what to do to one unfinished delivery.
pub(super) async fn ask(
    store: &SqliteStore,
    kind: &'static str,
    id: DeliveryId,
    by: By<'_>,
) -> Result<CommandAccepted, StoreError> {
    let now = by.at;
    let mut write = store.0.writer.begin().await?;
    let pair = pair(&mut write, id).await?;
    check_unfinished(&mut write, pair, id).await?;
    sqlx::query(
        "INSERT INTO tharsis_command (kind, subscription, event, asked_at) VALUES (?1, ?2, ?3, ?4)",
    )
    .bind(kind)
    .bind(pair.1)
    .bind(pair.0)
    .bind(now.as_millis())
    .execute(&mut *write)
    .await?;
    registry::bump(&mut write).await?;
    let Id(client) = sqlx::query_scalar("SELECT client FROM tharsis_subscription WHERE seq = ?1")
        .bind(pair.1)
        .fetch_one(&mut *write)
        .await?;
    let action = match kind {
        "retry" => "delivery.retried",
        _ => "delivery.cancelled",
    };
    let deed = Deed::new(action, &id).of(ClientId::from_uuid(client));
    audit::write(&mut write, by, &deed).await?;
    write.commit(failpoint::ASK_COMMAND).await?;
    store.wrote();
    Ok(CommandAccepted {
        owned: store.0.owner.is_held()?,
    })
}

async fn check_unfinished(
    conn: &mut SqliteConnection,
    (event, subscription): Pair,
    id: DeliveryId,
) -> Result<(), StoreError> {
    let (unfinished, known): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM tharsis_delivery WHERE event = ?1 AND subscription = ?2),
                EXISTS (SELECT 1 FROM tharsis_attempt WHERE event = ?1 AND subscription = ?2)",
    )
    .bind(event)
    .bind(subscription)
    .fetch_one(conn)
    .await?;
    status::check_unfinished(id, unfinished, known)
}

/// Asks for the end of everything that a removed subscription leaves behind.
pub(super) async fn ask_remains(
    conn: &mut SqliteConnection,
    subscription: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tharsis_command (kind, subscription, asked_at) VALUES ('remains', ?1, ?2)",
    )
    .bind(subscription)
    .bind(now.as_millis())
    .execute(conn)
    .await?;
    Ok(())
}

/// One chunk, in one transaction: commands first, in the order of asking, then releases, then replays.
pub(super) async fn work_off(
    store: &SqliteStore,
    lease: &Lease,
    now: Timestamp,
) -> Result<WorkedOff, StoreError> {
    store.0.owner.check(lease)?;
    if lease.shards.is_empty() {
        return Ok(WorkedOff::default());
    }
    if let Some(idle) = is_idle(store, now).await? {
        return Ok(idle);
    }
    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    let commands = next_commands(&mut write).await?;
    let (touched, points) = if !commands.is_empty() {
        let touched = carry_out(&mut write, &commands, now).await?;
        (touched, failpoint::COMMAND)
    } else if let Some(touched) = release::step(&mut write, now).await? {
        (touched, failpoint::COMMAND)
    } else if let Some(Next::Part(replay, part)) = replay::next(&mut write, now).await? {
        let touched = replay::step(store, &mut write, (replay, part), now).await?;
        (touched, failpoint::REPLAY)
    } else {
        (BTreeSet::new(), failpoint::COMMAND)
    };
    write.commit(points).await?;
    Ok(WorkedOff {
        lanes: touched
            .into_iter()
            .map(|subscription| Pending {
                subscription,
                due_at: now,
            })
            .collect(),
        more: true,
        next: None,
    })
}

/// Where there is nothing to do now: asked without the lock, since it is asked often and there is rarely something.
async fn is_idle(store: &SqliteStore, now: Timestamp) -> Result<Option<WorkedOff>, StoreError> {
    let mut read = store.0.reads.acquire().await?;
    let waiting: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM tharsis_command) OR EXISTS (SELECT 1 FROM tharsis_release)",
    )
    .fetch_one(&mut *read)
    .await?;
    if waiting {
        return Ok(None);
    }
    let next = match replay::next(&mut read, now).await? {
        Some(Next::Part(..)) => return Ok(None),
        Some(Next::Wait(until)) => Some(until),
        None => None,
    };
    Ok(Some(WorkedOff {
        next,
        ..WorkedOff::default()
    }))
}

/// `seq, kind, subscription, event`.
type Command = (i64, String, i64, Option<i64>);

/// The next commands of one kind.
async fn next_commands(conn: &mut SqliteConnection) -> Result<Vec<Command>, StoreError> {
    let mut commands: Vec<Command> = sqlx::query_as(
        "SELECT seq, kind, subscription, event FROM tharsis_command ORDER BY seq LIMIT ?1",
    )
    .bind(CHUNK)
    .fetch_all(conn)
    .await?;
    if let Some((_, kind, ..)) = commands.first() {
        let kind = kind.clone();
        let run = commands.iter().take_while(|(_, k, ..)| *k == kind).count();
        // What is about a whole lane fills a chunk by itself.
        let is_of_pairs = matches!(kind.as_str(), "retry" | "cancel");
        commands.truncate(if is_of_pairs { run } else { 1 });
    }
    Ok(commands)
}

/// Returns the subscriptions whose lanes it touched.
async fn carry_out(
    conn: &mut SqliteConnection,
    commands: &[Command],
    now: Timestamp,
) -> Result<BTreeSet<i64>, StoreError> {
    let Some((command, kind, subscription, _)) = commands.first() else {
        return Ok(BTreeSet::new());
    };
    // A set: the same may have been asked for twice.
    let pairs: BTreeSet<Pair> = commands
        .iter()
        .filter_map(|(_, _, subscription, event)| Some(((*event)?, *subscription)))
        .collect();
    let mut touched: BTreeSet<i64> = pairs.iter().map(|pair| pair.1).collect();
    let done = match kind.as_str() {
        "retry" => {
            make_due(conn, &pairs, now).await?;
            true
        }
        "cancel" => {
            cancel(conn, &pairs, "cancelled", now).await?;
            true
        }
        "remains" => {
            touched.insert(*subscription);
            end_remains(conn, *subscription, now).await?
        }
        kind => {
            touched.insert(*subscription);
            let is_cancel = kind == "cancel_campaign";
            campaign::carry_out(conn, (*command, *subscription), is_cancel, now).await?
        }
    };
    if done {
        let seqs: Vec<i64> = commands.iter().map(|(seq, ..)| *seq).collect();
        let gone = sqlx::query(
            "DELETE FROM tharsis_command WHERE seq IN (SELECT value FROM jsonb_each(?1))",
        )
        .bind(json(&seqs)?)
        .execute(conn)
        .await?
        .rows_affected();
        expect_changed("commands", count(seqs.iter()), gone)?;
    }
    Ok(touched)
}

/// What goes in order and was never tried, nor is for later, is due whatever this clock shows, and keeps its place.
pub(super) const MAKE_DUE: &str = "
    UPDATE tharsis_delivery AS d
    SET due_at = ?2, lane = CASE d.lane WHEN 2 THEN 0 ELSE d.lane END
    FROM jsonb_each(?1) r
    WHERE d.event = r.value ->> 0 AND d.subscription = r.value ->> 1 AND (d.due_at > ?2 OR d.lane = 2)
      AND (d.order_key IS NOT NULL OR d.attempts > 0 OR d.tries > 0 OR d.waited > 0
           OR EXISTS (SELECT 1 FROM tharsis_subscription s WHERE s.seq = d.subscription AND s.order_by IS NULL)
           OR EXISTS (SELECT 1 FROM tharsis_event e WHERE e.seq = d.event AND e.not_before > ?2))";

/// What has ended meanwhile, or is due already, stays as it is.
async fn make_due(
    conn: &mut SqliteConnection,
    pairs: &BTreeSet<Pair>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(MAKE_DUE)
        .bind(json(&pairs)?)
        .bind(now.as_millis())
        .execute(conn)
        .await?;
    Ok(())
}

/// Its end is recorded after the attempts that were made; one from before an earlier replay is overwritten.
pub(super) const RECORD_END: &str = "
    INSERT INTO tharsis_attempt (event, subscription, number, at, duration_us, code, ended, after)
    SELECT d.event, d.subscription, 0, ?2, 0, ?3, ?4, d.attempts
    FROM jsonb_each(?1) r
    CROSS JOIN tharsis_delivery d ON d.event = r.value ->> 0 AND d.subscription = r.value ->> 1
    WHERE true
    ON CONFLICT (event, subscription, number) DO UPDATE
    SET at = excluded.at, duration_us = 0, code = excluded.code, status = NULL, ended = excluded.ended,
        after = excluded.after, due_at = NULL, detail = NULL, excerpt = NULL, replay = NULL";

pub(super) const TAKE_OUT: &str = "
    DELETE FROM tharsis_delivery
    WHERE (event, subscription) IN (
        SELECT r.value ->> 0, r.value ->> 1 FROM jsonb_each(?1) r)";

pub(super) async fn cancel(
    conn: &mut SqliteConnection,
    pairs: &BTreeSet<Pair>,
    code: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    end(conn, pairs, End::Cancelled, code, now).await
}

/// What has ended meanwhile stays as it is.
pub(super) async fn end(
    conn: &mut SqliteConnection,
    pairs: &BTreeSet<Pair>,
    end: End,
    code: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let pairs = json(&pairs)?;
    let recorded = sqlx::query(RECORD_END)
        .bind(&pairs)
        .bind(now.as_millis())
        .bind(code)
        .bind(end.as_str())
        .execute(&mut *conn)
        .await?
        .rows_affected();
    let gone = sqlx::query(TAKE_OUT)
        .bind(&pairs)
        .execute(conn)
        .await?
        .rows_affected();
    expect_changed("ends", recorded, gone)
}

/// Ends a chunk of what is left of a removed subscription. Returns whether that was all.
async fn end_remains(
    conn: &mut SqliteConnection,
    subscription: i64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let pairs: Vec<Pair> = sqlx::query_as(
        "SELECT event, subscription FROM tharsis_delivery WHERE subscription = ?1 LIMIT ?2",
    )
    .bind(subscription)
    .bind(CHUNK)
    .fetch_all(&mut *conn)
    .await?;
    let pairs = pairs.into_iter().collect();
    cancel(conn, &pairs, "subscription_removed", now).await?;
    Ok(u32::try_from(pairs.len()).is_ok_and(|count| count < CHUNK))
}
