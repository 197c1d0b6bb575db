//! What people ask the owner to do to deliveries, and the owner doing it in chunks.
//!
//! A settle may be at work on the same rows at the same moment. A row that it has locked is not waited for, and a command
//! is gone only once what it asks for is so: what was left out is found by the next chunk, if it is there still.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use tharsis_core::{ClientId, DeliveryId, Timestamp};
use uuid::Uuid;

use super::{
    PostgresStore, audit, campaign,
    filter::{Pair, columns},
    history::pair,
    owner, poke, registry, release, replay,
    value::{Instant, corrupt, expect_changed},
};
use crate::{
    By, CommandAccepted, Deed, Lease, Pending, Shard, Shards, StoreError, WorkedOff, failpoint,
    replay::{DUE_WITHIN, SOON},
    status,
};

/// Rows of one chunk: a few milliseconds of their locks.
pub(super) const CHUNK: u32 = 500;

/// Writes down what to do to one unfinished delivery.
pub(super) async fn ask(
    store: &PostgresStore,
    kind: &'static str,
    id: DeliveryId,
    by: By<'_>,
) -> Result<CommandAccepted, StoreError> {
    let now = by.at;
    let mut write = store.0.lists.begin().await?;
    let pair = pair(&mut write, id).await?;
    check_unfinished(&mut write, pair, id).await?;
    insert(&mut write, kind, pair.1, Some(pair.0), now).await?;
    registry::bump(&mut write).await?;
    let client: Uuid = sqlx::query_scalar("SELECT client FROM subscription WHERE seq = $1")
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
    Ok(CommandAccepted {
        owned: owner::owned(store).await?,
    })
}

async fn check_unfinished(
    conn: &mut PgConnection,
    (event, subscription): Pair,
    id: DeliveryId,
) -> Result<(), StoreError> {
    let (unfinished, known): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM delivery WHERE event = $1 AND subscription = $2),
                EXISTS (SELECT FROM attempt WHERE event = $1 AND subscription = $2)",
    )
    .bind(event)
    .bind(subscription)
    .fetch_one(conn)
    .await?;
    status::check_unfinished(id, unfinished, known)
}

/// Asks for the end of everything that a removed subscription leaves behind.
pub(super) async fn ask_remains(
    conn: &mut PgConnection,
    subscription: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    insert(conn, "remains", subscription, None, now).await
}

/// A command lies where its subscription's lane does.
pub(super) async fn insert(
    conn: &mut PgConnection,
    kind: &str,
    subscription: i64,
    event: Option<Uuid>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO command (shard, kind, subscription, event, asked_at)
         SELECT shard, $1, seq, $3, $4 FROM subscription WHERE seq = $2",
    )
    .bind(kind)
    .bind(subscription)
    .bind(event)
    .bind(Instant(now))
    .execute(conn)
    .await?
    .rows_affected();
    expect_changed("a command", 1, inserted)
}

/// A lane that was written into, and the shard that it lies in.
pub(super) type Touched = (Shard, Pending);

/// One chunk, in one transaction: commands first, in the order of asking, then releases, then replays.
pub(super) async fn work_off(
    store: &PostgresStore,
    lease: &Lease,
    now: Timestamp,
) -> Result<WorkedOff, StoreError> {
    owner::check(store, lease)?;
    let Some(task) = next_task(store, lease, now).await? else {
        return Ok(WorkedOff::default());
    };
    if let Task::Wait(until) = task {
        return Ok(WorkedOff {
            next: Some(until),
            ..WorkedOff::default()
        });
    }
    let mut write = store.0.engine.begin().await?;
    let shards = owner::fence(&mut write, lease).await?;
    let (touched, points) = match task {
        Task::Commands(shard) if shards.contains(shard) => {
            let commands = next_commands(&mut write, shard).await?;
            let touched = carry_out(&mut write, shard, &commands, now).await?;
            (touched, failpoint::COMMAND)
        }
        Task::Commands(_) => (Vec::new(), failpoint::COMMAND),
        Task::Release(subscription, shard) if shards.contains(shard) => {
            let is_touched = release::step(&mut write, subscription, now).await?;
            let lane = Pending {
                subscription,
                due_at: now,
            };
            let touched = is_touched.then_some((shard, lane));
            (touched.into_iter().collect(), failpoint::COMMAND)
        }
        Task::Release(..) => (Vec::new(), failpoint::COMMAND),
        Task::Replay(part) => {
            let touched = replay::step(store, &mut write, part, shards, now).await?;
            (touched, failpoint::REPLAY)
        }
        Task::Wait(_) => (Vec::new(), failpoint::REPLAY),
    };
    let (own, foreign) = apart(touched, shards);
    poke::tell(&mut write, store, &foreign).await?;
    write.commit(points).await?;
    Ok(WorkedOff {
        lanes: own,
        // Where a part of the lease is gone, a new one says first what is left.
        more: shards == lease.shards,
        next: None,
    })
}

/// What is to be done next.
enum Task {
    /// Those of this shard.
    Commands(Shard),
    /// The release of this subscription, which lies in this shard.
    Release(i64, Shard),
    /// A part of a replay, by both numbers.
    Replay((i64, i64)),
    /// Nothing before then.
    Wait(Timestamp),
}

/// Asked without a transaction, since it is asked often and there is rarely something.
async fn next_task(
    store: &PostgresStore,
    lease: &Lease,
    now: Timestamp,
) -> Result<Option<Task>, StoreError> {
    type Next = (
        Option<i16>,
        Option<i64>,
        Option<i16>,
        Option<i64>,
        Option<i64>,
        Option<Instant>,
        Option<bool>,
    );
    let (shard, release, lies_in, replay, part, look_at, is_ready): Next =
        sqlx::query_as(NEXT_TASK)
            .bind(owner::array(lease.shards))
            .bind(Instant(now))
            .bind(Instant(now + DUE_WITHIN))
            .fetch_one(&mut *store.0.engine.get().await?)
            .await?;
    if let Some(shard) = shard {
        let shard = u8::try_from(shard).map_err(corrupt)?;
        return Ok(Some(Task::Commands(Shard(shard))));
    }
    if let (Some(subscription), Some(shard)) = (release, lies_in) {
        let shard = u8::try_from(shard).map_err(corrupt)?;
        return Ok(Some(Task::Release(subscription, Shard(shard))));
    }
    let (Some(replay), Some(part), Some(Instant(look_at))) = (replay, part, look_at) else {
        return Ok(None);
    };
    Ok(Some(if is_ready == Some(true) {
        Task::Replay((replay, part))
    } else {
        Task::Wait(look_at.max(now + SOON))
    }))
}

/// Replays take turns: of the parts whose time has come, and whose subscription has room again, the one that has waited
/// longest is next, among those of the few that are not over.
pub(super) const NEXT_TASK: &str = "
    SELECT (SELECT shard FROM command WHERE shard = ANY ($1) LIMIT 1),
           l.subscription, l.shard, p.replay, p.subscription, p.look_at, p.ready
    FROM (VALUES (true)) AS one
    LEFT JOIN LATERAL (
        SELECT subscription, shard FROM release WHERE shard = ANY ($1) ORDER BY subscription LIMIT 1) l ON true
    LEFT JOIN LATERAL (
        SELECT p.replay, p.subscription, p.look_at,
               p.look_at <= $2
               AND (p.waits_for IS NULL
                    OR EXISTS (SELECT FROM subscription_state st WHERE st.subscription = p.waits_for OFFSET 0)
                    OR EXISTS (SELECT FROM subscription_health h
                               WHERE h.subscription = p.waits_for AND h.condition = 'open' OFFSET 0)
                    OR (SELECT count(*)
                        FROM (SELECT FROM delivery d
                              WHERE d.replay = p.replay AND d.replay > 0 AND d.subscription = p.waits_for AND d.lane = 0
                                AND d.due_at <= $3
                              LIMIT p.enough + 1) d) <= p.enough) AS ready
        FROM (SELECT seq FROM replay WHERE shard = ANY ($1) AND finished_at IS NULL AND NOT paused OFFSET 0) r
        CROSS JOIN LATERAL (
            SELECT * FROM replay_part WHERE replay = r.seq AND NOT done OFFSET 0) p
        ORDER BY ready DESC, p.look_at, p.replay, p.subscription
        LIMIT 1) p ON true";

/// Lanes of these shards, and those of others.
fn apart(touched: Vec<Touched>, shards: Shards) -> (Vec<Pending>, Vec<Touched>) {
    let (own, foreign): (Vec<_>, Vec<_>) = touched
        .into_iter()
        .partition(|(shard, _)| shards.contains(*shard));
    (own.into_iter().map(|(_, lane)| lane).collect(), foreign)
}

/// `seq, kind, subscription, event`.
type Command = (i64, String, i64, Option<Uuid>);

/// The next commands of one kind.
async fn next_commands(conn: &mut PgConnection, shard: Shard) -> Result<Vec<Command>, StoreError> {
    let mut commands: Vec<Command> = sqlx::query_as(
        "SELECT seq, kind, subscription, event FROM command WHERE shard = $1 ORDER BY seq LIMIT $2",
    )
    .bind(i16::from(shard.0))
    .bind(i64::from(CHUNK))
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

/// Returns the lanes that it touched.
async fn carry_out(
    conn: &mut PgConnection,
    shard: Shard,
    commands: &[Command],
    now: Timestamp,
) -> Result<Vec<Touched>, StoreError> {
    let Some((seq, kind, ..)) = commands.first() else {
        return Ok(Vec::new());
    };
    // A set: the same may have been asked for twice.
    let pairs: BTreeSet<Pair> = commands
        .iter()
        .filter_map(|(_, _, subscription, event)| Some(((*event)?, *subscription)))
        .collect();
    match kind.as_str() {
        "retry" => {
            change(conn, MAKE_DUE, &pairs, now).await?;
            forget(conn, shard, commands, now).await?;
        }
        "cancel" => {
            change(conn, CANCEL, &pairs, now).await?;
            forget(conn, shard, commands, now).await?;
        }
        kind @ ("resume_campaign" | "cancel_campaign") => {
            let is_cancel = kind == "cancel_campaign";
            campaign::carry_out(conn, shard, *seq, is_cancel, now).await?;
        }
        _ => {
            let is_through = end_remains(conn, shard, *seq, now).await?;
            if is_through && forget(conn, shard, commands, now).await? == 0 {
                begin_again(conn, shard, *seq).await?;
            }
        }
    }
    let touched: BTreeSet<i64> = commands.iter().map(|(_, _, of, _)| *of).collect();
    let lane = |subscription| Pending {
        subscription,
        due_at: now,
    };
    Ok(touched.into_iter().map(|of| (shard, lane(of))).collect())
}

/// Whether a row can be made due: it is to be tried later, or is kept. What goes in order and was never tried, nor is for
/// later, is due whatever this clock (`$3`) shows, and keeps its place.
macro_rules! can_be_made_due {
    () => {
        "(d.due_at > $3 OR d.lane = 2)
         AND (d.order_key IS NOT NULL OR d.attempts > 0 OR d.tries > 0 OR d.waited > 0
              OR EXISTS (SELECT FROM subscription s WHERE s.seq = d.subscription AND s.order_by IS NULL OFFSET 0)
              OR EXISTS (SELECT FROM event e WHERE e.id = d.event AND e.not_before > $3 OFFSET 0))"
    };
}

/// Those for which there is nothing left to do. Returns how many.
pub(super) const FORGET: &str = concat!(
    "DELETE FROM command c
     WHERE c.shard = $1 AND c.seq = ANY ($2)
       AND CASE c.kind
           WHEN 'remains' THEN NOT EXISTS (
               SELECT FROM delivery d WHERE d.subscription = c.subscription OFFSET 0)
           ELSE NOT EXISTS (
               SELECT
               FROM delivery d
               WHERE d.event = c.event AND d.subscription = c.subscription AND (c.kind = 'cancel' OR ",
    can_be_made_due!(),
    ")
               OFFSET 0)
           END"
);

async fn forget(
    conn: &mut PgConnection,
    shard: Shard,
    commands: &[Command],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let seqs: Vec<i64> = commands.iter().map(|(seq, ..)| *seq).collect();
    Ok(sqlx::query(FORGET)
        .bind(i16::from(shard.0))
        .bind(seqs)
        .bind(Instant(now))
        .execute(conn)
        .await?
        .rows_affected())
}

/// The rows of these pairs that nobody else is at.
macro_rules! rows_of_pairs {
    ($($which:expr),+) => {
        concat!(
            "WHERE ctid = ANY (ARRAY(
                 SELECT d.ctid
                 FROM unnest($1::uuid[], $2::bigint[]) AS r (event, subscription)
                 CROSS JOIN LATERAL (
                     SELECT d.ctid
                     FROM delivery d
                     WHERE d.event = r.event AND d.subscription = r.subscription",
            $($which,)+
            "        FOR UPDATE SKIP LOCKED) d))"
        )
    };
}

pub(super) const MAKE_DUE: &str = concat!(
    "WITH taken AS (DELETE FROM delivery ",
    rows_of_pairs!(" AND ", can_be_made_due!()),
    " RETURNING *)
     INSERT INTO delivery (subscription, lane, due_at, seq, event, attempts, tries, replay, waited, order_key)
     SELECT subscription, CASE lane WHEN 2 THEN 0 ELSE lane END, $3, seq, event, attempts, tries, replay, waited, order_key
     FROM taken"
);

/// The end of what was taken out is recorded after the attempts that were made; one from before an earlier replay is
/// overwritten.
macro_rules! record_end {
    ($code:literal, $end:literal) => {
        concat!(
            "RETURNING event, subscription, attempts)
             INSERT INTO attempt (event, subscription, number, at, duration_us, code, ended, after)
             SELECT event, subscription, 0, $3, 0, '",
            $code,
            "', '",
            $end,
            "', attempts
             FROM taken
             ON CONFLICT (event, subscription, number) DO UPDATE
             SET at = excluded.at, duration_us = 0, code = excluded.code, status = NULL, ended = excluded.ended,
                 after = excluded.after, due_at = NULL, detail = NULL, excerpt = NULL, replay = NULL"
        )
    };
}

pub(super) use record_end;

pub(super) const CANCEL: &str = concat!(
    "WITH taken AS (DELETE FROM delivery ",
    rows_of_pairs!(" "),
    record_end!("cancelled", "cancelled")
);

/// Makes these pairs due, or ends them. What has ended meanwhile, or is due already, stays as it is.
async fn change(
    conn: &mut PgConnection,
    how: &'static str,
    pairs: &BTreeSet<Pair>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (events, subscriptions) = columns(pairs);
    sqlx::query(how)
        .bind(events)
        .bind(subscriptions)
        .bind(Instant(now))
        .execute(conn)
        .await?;
    Ok(())
}

/// From where the chunk before came to. Returns how many.
pub(super) const END_REMAINS: &str = concat!(
    "WITH next AS (
         SELECT d.*
         FROM command c
         CROSS JOIN LATERAL (
             SELECT ctid AS place, lane, due_at, seq
             FROM delivery
             WHERE subscription = c.subscription
               AND (lane, due_at, seq) > (c.cursor_lane, c.cursor_due_at, c.cursor_seq)
             ORDER BY lane, due_at, seq
             LIMIT $4
             FOR UPDATE SKIP LOCKED) d
         WHERE c.shard = $1 AND c.seq = $2
     ), moved AS (
         UPDATE command
         SET (cursor_lane, cursor_due_at, cursor_seq) = (
             SELECT lane, due_at, seq FROM next ORDER BY lane DESC, due_at DESC, seq DESC LIMIT 1)
         WHERE shard = $1 AND seq = $2 AND EXISTS (SELECT FROM next)
     ), taken AS (
         DELETE FROM delivery WHERE ctid = ANY (ARRAY(SELECT place FROM next)) ",
    record_end!("subscription_removed", "cancelled")
);

/// Ends a chunk of what is left of a removed subscription. Returns whether it came to the end of the lane.
async fn end_remains(
    conn: &mut PgConnection,
    shard: Shard,
    seq: i64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let ended = sqlx::query(END_REMAINS)
        .bind(i16::from(shard.0))
        .bind(seq)
        .bind(Instant(now))
        .bind(i64::from(CHUNK))
        .execute(conn)
        .await?
        .rows_affected();
    Ok(ended < u64::from(CHUNK))
}

/// What was put back, or left out, lies before the place that was come to.
async fn begin_again(conn: &mut PgConnection, shard: Shard, seq: i64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE command
         SET cursor_lane = DEFAULT, cursor_due_at = DEFAULT, cursor_seq = DEFAULT
         WHERE shard = $1 AND seq = $2",
    )
    .bind(i16::from(shard.0))
    .bind(seq)
    .execute(conn)
    .await?;
    Ok(())
}
