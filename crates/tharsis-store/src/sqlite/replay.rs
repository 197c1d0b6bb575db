//! Past deliveries made due again: asked for by people, worked off by the owner.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use tharsis_core::{
    ClientId, ReplayId, SubscriptionId, Timestamp, rate::Rate, subscription::Settings,
};
use uuid::Uuid;

use super::{
    SqliteStore, audit,
    command::CHUNK,
    filter::{self, Matching, Pair},
    history::pair,
    registry, subscription,
    value::{Id, Millis, blob, expect_changed, json},
};
use crate::{
    By, DeliveryFilter, Replay, ReplayChoice, ReplayDraft, ReplayKey, StoreError, Tally,
    error::corrupt,
    failpoint,
    filter::{from_text, to_text},
    replay::{
        self, Allowed, DUE_WITHIN, Flags, Load, MOST_APART, Met, Order, Pace, SOON, Step, Wait,
    },
    status::no_delivery,
};

struct ReplayRow {
    seq: i64,
    filter: Option<String>,
    last_event: i64,
    missing: Option<i64>,
    to: Option<i64>,
    beside: String,
    paced_us: Option<i64>,
    replay: Replay,
}

/// A subscription is held as long as somebody or its receiver holds it.
macro_rules! is_held {
    ($of:literal) => {
        concat!(
            "(",
            $of,
            " IN (SELECT subscription FROM tharsis_subscription_state)
              OR EXISTS (SELECT 1 FROM tharsis_subscription_health h
                         WHERE h.subscription = ",
            $of,
            " AND h.condition = 'open'))"
        )
    };
}

macro_rules! columns {
    () => {
        "SELECT r.seq, r.filter, r.last_event, r.missing, r.beside, r.paced_us, r.id, r.fresh, r.rate, r.expected,
                r.examined, r.replayed, r.created_at, r.started_at, r.finished_at, r.paused, r.cancelled,
                r.to_subscription, r.client, "
    };
}

/// For people.
macro_rules! select {
    ($which:literal) => {
        concat!(
            columns!(),
            "(SELECT count(*) FROM tharsis_delivery d WHERE d.replay = r.seq AND d.replay > 0),
             (SELECT json_group_array(hex(s.id) ORDER BY s.seq)
              FROM tharsis_replay_part p
              JOIN tharsis_subscription s ON s.seq = p.waits_for
              WHERE p.replay = r.seq AND ",
            is_held!("s.seq"),
            "),
             EXISTS (SELECT 1 FROM tharsis_replay_part p WHERE p.replay = r.seq AND NOT p.done)
             AND NOT EXISTS (
                 SELECT 1
                 FROM tharsis_replay_part p
                 WHERE p.replay = r.seq AND NOT p.done
                   AND (p.waits_for IS NULL OR NOT p.stuck AND NOT ",
            is_held!("p.waits_for"),
            "))
             FROM tharsis_replay r ",
            $which
        )
    };
}

/// For the owner.
const REPLAY: &str = concat!(
    columns!(),
    "0, '[]', false FROM tharsis_replay r WHERE r.seq = ?1"
);

impl<'r> FromRow<'r, SqliteRow> for ReplayRow {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        let Id(id) = row.try_get(6)?;
        let client: Option<Id> = row.try_get(18)?;
        let (examined, replayed): (u64, u64) = (row.try_get(10)?, row.try_get(11)?);
        let Millis(created_at) = row.try_get(12)?;
        let started_at: Option<i64> = row.try_get(13)?;
        let finished_at: Option<i64> = row.try_get(14)?;
        let flags = Flags {
            is_started: started_at.is_some(),
            is_paused: row.try_get(15)?,
            is_cancelled: row.try_get(16)?,
            is_finished: finished_at.is_some(),
        };
        let rate: Option<String> = row.try_get(8)?;
        let held_for: String = row.try_get(20)?;
        let held_for: Vec<String> = serde_json::from_str(&held_for).map_err(decode)?;
        let held_for = held_for.iter().map(|id| Uuid::try_parse(id));
        let held_for: Vec<Uuid> = held_for.collect::<Result<_, _>>().map_err(decode)?;
        Ok(Self {
            seq: row.try_get(0)?,
            filter: row.try_get(1)?,
            last_event: row.try_get(2)?,
            missing: row.try_get(3)?,
            to: row.try_get(17)?,
            beside: row.try_get(4)?,
            paced_us: row.try_get(5)?,
            replay: Replay {
                id: ReplayId::from_uuid(id),
                client: client.map(|Id(client)| ClientId::from_uuid(client)),
                key: if row.try_get(7)? {
                    ReplayKey::Fresh
                } else {
                    ReplayKey::Same
                },
                rate: rate
                    .map(|rate| rate.parse::<Rate>())
                    .transpose()
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
                state: flags.state(),
                expected: row.try_get(9)?,
                examined,
                replayed,
                skipped: examined.saturating_sub(replayed),
                unfinished: row.try_get(19)?,
                held_for: held_for
                    .into_iter()
                    .map(SubscriptionId::from_uuid)
                    .collect(),
                is_held: row.try_get(21)?,
                created_at,
                finished_at: finished_at.map(Timestamp::from_millis),
            },
        })
    }
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

pub(super) async fn ask(
    store: &SqliteStore,
    draft: &ReplayDraft,
    by: By<'_>,
) -> Result<Replay, StoreError> {
    let now = by.at;
    let draft = replay::narrowed(draft)?;
    let id = ReplayId::new(now, store.random_id_bytes()?);
    let filter = match &draft.choice {
        ReplayChoice::Deliveries(_) => None,
        ReplayChoice::Filter(filter) | ReplayChoice::Missing(_, filter) => Some(filter),
    };
    let (first, last) = match filter {
        None => (0, i64::MAX),
        Some(filter) => {
            // Before the lock is taken: this may look at many events.
            let mut read = store.0.lists.acquire().await?;
            filter::exact_bounds(&mut read, filter).await?
        }
    };
    let mut write = store.0.writer.begin().await?;
    let missing = match &draft.choice {
        ReplayChoice::Missing(of, _) => {
            let found = subscription::find(&mut *write, store.reader(), *of).await?;
            Some(replay::number_of(draft.client, &found)?)
        }
        _ => None,
    };
    let to = match draft.to {
        Some(to) => {
            let found = subscription::find(&mut *write, store.reader(), to).await?;
            Some(replay::number_of(draft.client, &found)?)
        }
        None => None,
    };
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO tharsis_replay
             (id, filter, last_event, created_at, fresh, rate, paced_us, expected, missing, to_subscription, client,
              beside)
         VALUES (?1, ?2, min(?4, (SELECT coalesce(max(seq), 0) FROM tharsis_event)), ?3, ?5, ?6,
                 NULL, ?7, ?8, ?9, ?10,
                 (SELECT json_group_array(r.seq)
                  FROM tharsis_replay r
                  WHERE r.finished_at IS NULL
                     OR EXISTS (SELECT 1 FROM tharsis_delivery d WHERE d.replay = r.seq AND d.replay > 0)))
         RETURNING seq",
    )
    .bind(blob(id.as_uuid()))
    .bind(filter.map(to_text).transpose()?)
    .bind(now.as_millis())
    .bind(last.max(0))
    .bind(draft.key == ReplayKey::Fresh)
    .bind(draft.rate.map(|rate| rate.to_string()))
    .bind(draft.expected.map(|n| i64::try_from(n).unwrap_or(i64::MAX)))
    .bind(missing)
    .bind(to)
    .bind(draft.client.map(|client| blob(client.as_uuid())))
    .fetch_one(&mut *write)
    .await?;
    // No pair has a subscription 0: all of the first event come after it.
    sqlx::query(
        "INSERT INTO tharsis_replay_part (replay, subscription, cursor_event, cursor_subscription, look_at)
         VALUES (?1, 0, ?2, 0, 0)",
    )
    .bind(seq)
    .bind(first.max(0))
    .execute(&mut *write)
    .await?;
    if let ReplayChoice::Deliveries(ids) = &draft.choice {
        let mut pairs = BTreeSet::new();
        for id in ids {
            let pair = pair(&mut write, *id).await?;
            if !is_known(&mut write, pair, draft.client).await? {
                return Err(no_delivery(*id));
            }
            pairs.insert(pair);
        }
        sqlx::query(
            "INSERT INTO tharsis_replay_delivery (replay, event, subscription)
             SELECT ?2, r.value ->> 0, r.value ->> 1 FROM jsonb_each(?1) r",
        )
        .bind(json(&pairs)?)
        .bind(seq)
        .execute(&mut *write)
        .await?;
    }
    let deed = replay::deed(&draft, id)?;
    audit::write(&mut write, by, &deed).await?;
    registry::bump(&mut write).await?;
    let row: ReplayRow = sqlx::query_as(select!("WHERE r.seq = ?1"))
        .bind(seq)
        .fetch_one(&mut *write)
        .await?;
    write.commit(failpoint::ASK_REPLAY).await?;
    store.wrote();
    Ok(row.replay)
}

/// Whether there is such a delivery, of this client where one is named.
async fn is_known(
    conn: &mut SqliteConnection,
    (event, subscription): Pair,
    client: Option<ClientId>,
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT (?3 IS NULL OR EXISTS (SELECT 1 FROM tharsis_subscription WHERE seq = ?2 AND client = ?3))
                AND (EXISTS (SELECT 1 FROM tharsis_delivery WHERE event = ?1 AND subscription = ?2)
                     OR EXISTS (SELECT 1 FROM tharsis_attempt WHERE event = ?1 AND subscription = ?2))",
    )
    .bind(event)
    .bind(subscription)
    .bind(client.map(|client| blob(client.as_uuid())))
    .fetch_one(conn)
    .await?)
}

pub(super) async fn find(store: &SqliteStore, id: ReplayId) -> Result<Replay, StoreError> {
    let row: Option<ReplayRow> = sqlx::query_as(select!("WHERE r.id = ?1"))
        .bind(blob(id.as_uuid()))
        .fetch_optional(&store.0.lists)
        .await?;
    row.map(|row| row.replay).ok_or_else(|| unknown(id))
}

fn unknown(id: ReplayId) -> StoreError {
    StoreError::NotFound {
        what: "replay",
        id: id.to_string(),
    }
}

pub(super) async fn list(
    store: &SqliteStore,
    client: Option<ClientId>,
) -> Result<Vec<Replay>, StoreError> {
    let list = select!("WHERE ?1 IS NULL OR r.client = ?1 ORDER BY r.seq DESC LIMIT 100");
    let rows: Vec<ReplayRow> = sqlx::query_as(list)
        .bind(client.map(|client| blob(client.as_uuid())))
        .fetch_all(&store.0.lists)
        .await?;
    Ok(rows.into_iter().map(|row| row.replay).collect())
}

/// Pauses, resumes or cancels it.
pub(super) async fn order(
    store: &SqliteStore,
    id: ReplayId,
    order: Order,
    by: By<'_>,
) -> Result<Replay, StoreError> {
    let now = by.at;
    let mut write = store.0.writer.begin().await?;
    let row: Option<ReplayRow> = sqlx::query_as(select!("WHERE r.id = ?1"))
        .bind(blob(id.as_uuid()))
        .fetch_optional(&mut *write)
        .await?;
    let row = row.ok_or_else(|| unknown(id))?;
    if row.replay.state.is_over() {
        return Err(replay::over(id, row.replay.state).into());
    }
    let changed = sqlx::query(
        "UPDATE tharsis_replay
         SET paused = ?2, cancelled = ?3, finished_at = CASE WHEN ?3 THEN ?4 END
         WHERE seq = ?1 AND finished_at IS NULL",
    )
    .bind(row.seq)
    .bind(order == Order::Pause)
    .bind(order == Order::Cancel)
    .bind(now.as_millis())
    .execute(&mut *write)
    .await?
    .rows_affected();
    expect_changed("a replay", 1, changed)?;
    match order {
        Order::Pause => {}
        Order::Resume => begin_anew(&mut write, row.seq).await?,
        Order::Cancel => forget_parts(&mut write, row.seq).await?,
    }
    let deed = replay::deed_of(order, &row.replay);
    audit::write(&mut write, by, &deed).await?;
    registry::bump(&mut write).await?;
    let row: ReplayRow = sqlx::query_as(select!("WHERE r.seq = ?1"))
        .bind(row.seq)
        .fetch_one(&mut *write)
        .await?;
    write.commit(failpoint::ASK_REPLAY).await?;
    store.wrote();
    Ok(row.replay)
}

/// Its time begins now, whatever was free before and whatever it waited for.
async fn begin_anew(conn: &mut SqliteConnection, replay: i64) -> Result<(), StoreError> {
    for statement in [
        "UPDATE tharsis_replay SET paced_us = NULL WHERE seq = ?1",
        "UPDATE tharsis_replay_part SET look_at = 0 WHERE replay = ?1",
    ] {
        sqlx::query(statement)
            .bind(replay)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// What is known of a replay only as long as it is not over.
async fn forget_parts(conn: &mut SqliteConnection, replay: i64) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM tharsis_replay_delivery WHERE replay = ?1",
        "DELETE FROM tharsis_replay_part WHERE replay = ?1",
    ] {
        sqlx::query(statement)
            .bind(replay)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// How many deliveries each subscription has of what is chosen.
pub(super) async fn tally(
    store: &SqliteStore,
    choice: &ReplayChoice,
    looked: Option<usize>,
) -> Result<Tally, StoreError> {
    replay::check(choice)?;
    let mut read = store.0.lists.acquire().await?;
    match choice {
        ReplayChoice::Deliveries(ids) => Ok(Tally::of_all(replay::tally_of(ids))),
        ReplayChoice::Filter(filter) => {
            let Some(filter) = replay::that_can_go(filter) else {
                return Ok(Tally::default());
            };
            let matching = Matching::of(&mut read, &filter, &[]).await?;
            matching.tally(&mut read, looked).await
        }
        ReplayChoice::Missing(of, filter) => {
            let (number, target) = subscription::find(&mut *read, store.reader(), *of).await?;
            let (first, last) = filter::exact_bounds(&mut read, filter).await?;
            let wanting = Wanting {
                number,
                settings: &target.subscription.settings,
                last,
            };
            let (mut after, mut count) = ((first.max(0), 0), 0);
            let mut rest = looked.unwrap_or(usize::MAX);
            loop {
                let (met, is_through) = wanting.next(&mut read, filter, after).await?;
                count += met.iter().filter(|(_, is_wanted)| *is_wanted).count() as u64;
                rest = rest.saturating_sub(met.len());
                match met.last() {
                    Some((last, _)) if !is_through && rest > 0 => after = (*last, number),
                    _ => {
                        return Ok(Tally {
                            counts: vec![(*of, count)],
                            may_be_more: !is_through,
                        });
                    }
                }
            }
        }
    }
}

/// What is to be done next of replays.
pub(super) enum Next {
    /// This part, by the numbers of its replay and of its subscription.
    Part(i64, i64),
    /// Nothing before then.
    Wait(Timestamp),
}

/// Replays take turns: of the parts whose time has come, and whose subscription has room again, the one that has waited
/// longest is next.
pub(super) const NEXT: &str = "
    SELECT p.replay, p.subscription, p.look_at,
           p.look_at <= ?1
           AND (p.waits_for IS NULL
                OR p.waits_for IN (SELECT subscription FROM tharsis_subscription_state)
                OR EXISTS (SELECT 1 FROM tharsis_subscription_health h
                           WHERE h.subscription = p.waits_for AND h.condition = 'open')
                OR (SELECT count(*)
                    FROM (SELECT 1 FROM tharsis_delivery d
                          WHERE d.replay = p.replay AND d.replay > 0 AND d.subscription = p.waits_for AND d.lane = 0
                            AND d.due_at <= ?2
                          LIMIT 4097)) <= p.enough) AS ready
    FROM tharsis_replay r INDEXED BY tharsis_replay_unfinished
    CROSS JOIN tharsis_replay_part p ON p.replay = r.seq
    WHERE r.finished_at IS NULL AND NOT r.paused AND NOT p.done
    ORDER BY ready DESC, p.look_at, p.replay, p.subscription
    LIMIT 1";

pub(super) async fn next(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Option<Next>, StoreError> {
    let next: Option<(i64, i64, Millis, bool)> = sqlx::query_as(NEXT)
        .bind(now.as_millis())
        .bind((now + DUE_WITHIN).as_millis())
        .fetch_optional(conn)
        .await?;
    Ok(next.map(|(replay, part, Millis(look_at), is_ready)| {
        if is_ready {
            Next::Part(replay, part)
        } else {
            Next::Wait(look_at.max(now + SOON))
        }
    }))
}

/// Where a part of a replay stands.
struct Part {
    /// The subscription that it is of; 0 for what no other part is of.
    subscription: i64,
    cursor: Pair,
    /// Those that go on by themselves, whichever part this is.
    others: HashSet<i64>,
    /// How many of them are not done.
    open: usize,
}

/// One step of a part of a replay. Returns the subscriptions whose lanes it touched.
pub(super) async fn step(
    store: &SqliteStore,
    conn: &mut SqliteConnection,
    (seq, part): (i64, i64),
    now: Timestamp,
) -> Result<BTreeSet<i64>, StoreError> {
    let part = part_of(conn, seq, part).await?;
    let replay: ReplayRow = sqlx::query_as(REPLAY)
        .bind(seq)
        .fetch_one(&mut *conn)
        .await?;
    let (walked, is_through) = match (&replay.filter, replay.missing) {
        (None, _) => listed(conn, &replay, part.cursor).await?,
        (Some(filter), None) => filtered(conn, &replay, part.cursor, filter).await?,
        (Some(filter), Some(of)) => missing(store, conn, &replay, part.cursor, filter, of).await?,
    };
    let met = judge(conn, &replay, &part, walked, now).await?;
    let loads = loads(conn, seq, &met, now).await?;
    let rate = replay.replay.rate;
    let pace = Pace::of(rate, replay.paced_us, now, CHUNK);
    let is_of_one = part.subscription > 0 || replay.to.or(replay.missing).is_some();
    let allowed = Allowed {
        loads: &loads,
        rate,
        most: pace.most,
        is_through,
        apart: if is_of_one {
            0
        } else {
            MOST_APART.saturating_sub(part.open)
        },
    };
    let step = replay::step(&met, part.cursor, &allowed);
    let due_ats = (0..step.again.len()).map(|place| pace.due_at(place, now));
    let again: Vec<(i64, i64, i64)> = (step.again.iter())
        .zip(due_ats)
        .map(|((event, of), due_at)| (*event, *of, due_at.as_millis()))
        .collect();
    let touched = make_due_again(conn, &again, &replay, now).await?;
    let advance = Advance {
        is_done: is_through && step.waits.is_none(),
        wait: Wait::of(&step, &loads, rate, pace, replay.missing, now),
        paced_us: pace.after(step.again.len()),
        replayed: touched.len(),
        step,
    };
    advance.write(conn, seq, &part, now).await?;
    Ok(touched.into_iter().collect())
}

async fn part_of(conn: &mut SqliteConnection, replay: i64, part: i64) -> Result<Part, StoreError> {
    let parts: Vec<(i64, i64, i64, bool)> = sqlx::query_as(
        "SELECT subscription, cursor_event, cursor_subscription, NOT done FROM tharsis_replay_part WHERE replay = ?1",
    )
    .bind(replay)
    .fetch_all(conn)
    .await?;
    let others = parts.iter().map(|(of, ..)| *of).filter(|of| *of != part);
    parts
        .iter()
        .find(|(of, ..)| *of == part)
        .map(|(_, event, subscription, _)| Part {
            subscription: part,
            cursor: (*event, *subscription),
            others: others.collect(),
            open: (parts.iter())
                .filter(|(of, .., is_open)| *of != part && *is_open)
                .count(),
        })
        .ok_or_else(|| corrupt("a replay without a part"))
}

/// The next pairs and whether they are chosen, and whether there is nothing behind them.
type Walked = (Vec<(i64, i64, bool)>, bool);

async fn listed(
    conn: &mut SqliteConnection,
    replay: &ReplayRow,
    after: Pair,
) -> Result<Walked, StoreError> {
    let pairs: Vec<Pair> = sqlx::query_as(
        "SELECT event, subscription
         FROM tharsis_replay_delivery
         WHERE replay = ?1 AND (event, subscription) > (?2, ?3)
         ORDER BY event, subscription
         LIMIT ?4",
    )
    .bind(replay.seq)
    .bind(after.0)
    .bind(after.1)
    .bind(CHUNK)
    .fetch_all(conn)
    .await?;
    let is_through = u32::try_from(pairs.len()) != Ok(CHUNK);
    let chosen = |(event, subscription)| (event, subscription, true);
    Ok((pairs.into_iter().map(chosen).collect(), is_through))
}

/// Walks a bounded piece of the history, whether much or little of it matches.
async fn filtered(
    conn: &mut SqliteConnection,
    replay: &ReplayRow,
    after: Pair,
    filter: &str,
) -> Result<Walked, StoreError> {
    let to: Option<Pair> = sqlx::query_as(
        "SELECT event, subscription
         FROM tharsis_attempt
         WHERE (event, subscription) > (?1, ?2) AND event <= ?3
         ORDER BY event, subscription
         LIMIT 1 OFFSET ?4",
    )
    .bind(after.0)
    .bind(after.1)
    .bind(replay.last_event)
    .bind(CHUNK - 1)
    .fetch_optional(&mut *conn)
    .await?;
    let filter = from_text(filter)?;
    let asked_for = (after.0, replay.last_event);
    let matching = Matching::within(conn, &filter, asked_for, &[]).await?;
    let last = to.unwrap_or((replay.last_event, i64::MAX));
    let pairs = matching.ended_between(conn, after, last).await?;
    let mut walked: Vec<_> = (pairs.into_iter())
        .map(|(event, subscription)| (event, subscription, true))
        .collect();
    walked.sort_unstable();
    // So far it has been looked, whether that matches or not.
    if walked.last().map(|(event, of, _)| (*event, *of)) != Some(last) {
        walked.push((last.0, last.1, false));
    }
    Ok((walked, to.is_none()))
}

/// Walks a bounded piece of the events, whether many or few of them are missing.
async fn missing(
    store: &SqliteStore,
    conn: &mut SqliteConnection,
    replay: &ReplayRow,
    after: Pair,
    filter: &str,
    of: i64,
) -> Result<Walked, StoreError> {
    let filter = from_text(filter)?;
    let id: Option<Id> = sqlx::query_scalar("SELECT id FROM tharsis_subscription WHERE seq = ?1")
        .bind(of)
        .fetch_optional(&mut *conn)
        .await?;
    // It was erased with its client.
    let Some(Id(id)) = id else {
        return Ok((Vec::new(), true));
    };
    let id = SubscriptionId::from_uuid(id);
    let target = match subscription::find(&mut *conn, store.reader(), id).await {
        Ok((_, target)) => target,
        // It was removed: nothing is to go there any more.
        Err(StoreError::NotFound { .. }) => return Ok((Vec::new(), true)),
        Err(error) => return Err(error),
    };
    // What it wants is not to be known here as long as this process cannot read it whole.
    let client = Some(target.subscription.settings.client);
    if subscription::unreadable(&mut *conn, store.reader(), client)
        .await?
        .contains(&of)
    {
        return Ok((Vec::new(), false));
    }
    let wanting = Wanting {
        number: of,
        settings: &target.subscription.settings,
        last: replay.last_event,
    };
    let (met, is_through) = wanting.next(conn, &filter, after).await?;
    let pairs = (met.into_iter()).map(|(event, is_wanted)| (event, of, is_wanted));
    Ok((pairs.collect(), is_through))
}

/// A subscription that wants what it was never delivered.
struct Wanting<'a> {
    number: i64,
    settings: &'a Settings,
    last: i64,
}

/// What is not routed yet is on its way.
pub(super) const NEXT_EVENTS: &str = "
    SELECT e.seq, e.type,
           coalesce(
               e.client = ?3 AND e.frozen AND e.refused_code IS NULL
           AND (?4 IS NULL OR e.type IN (SELECT value FROM json_each(?4)))
           AND (?5 IS NULL OR e.campaign = ?5)
           AND (?6 IS NULL OR e.published_at >= ?6)
           AND (?7 IS NULL OR e.published_at < ?7)
           AND NOT EXISTS (SELECT 1 FROM tharsis_outbox o WHERE o.event = e.seq)
           AND NOT EXISTS (
               SELECT 1 FROM tharsis_attempt a
               WHERE a.event = e.seq AND a.subscription = ?8 AND a.ended = 'delivered')
           AND NOT EXISTS (
               SELECT 1 FROM tharsis_delivery d WHERE d.event = e.seq AND d.subscription = ?8),
               false),
           CASE WHEN ?9 THEN e.payload END
    FROM tharsis_event e
    WHERE e.seq >= ?1 AND (e.seq, ?8) > (?1, ?11) AND e.seq <= ?2
    ORDER BY e.seq
    LIMIT ?10";

impl Wanting<'_> {
    /// The next events, each with whether it is wanted and missing, and whether there is nothing behind them.
    async fn next(
        &self,
        conn: &mut SqliteConnection,
        filter: &DeliveryFilter,
        after: Pair,
    ) -> Result<(Vec<(i64, bool)>, bool), StoreError> {
        let reads_payloads = self.settings.filter.is_some();
        // Payloads are read whole.
        let most: u32 = if reads_payloads { 64 } else { CHUNK };
        let types = (!filter.event_type.is_empty()).then(|| json(&filter.event_type));
        let rows: Vec<(i64, String, bool, Option<String>)> = sqlx::query_as(NEXT_EVENTS)
            .bind(after.0)
            .bind(self.last)
            .bind(blob(self.settings.client.as_uuid()))
            .bind(types.transpose()?)
            .bind(filter.campaign.as_deref())
            .bind(filter.since.map(Timestamp::as_millis))
            .bind(filter.until.map(Timestamp::as_millis))
            .bind(self.number)
            .bind(reads_payloads)
            .bind(most)
            .bind(after.1)
            .fetch_all(conn)
            .await?;
        let is_through = u32::try_from(rows.len()) != Ok(most);
        let met = (rows.into_iter()).map(|(event, event_type, is_chosen, payload)| {
            let is_wanted =
                is_chosen && replay::is_wanted(self.settings, &event_type, payload.as_deref());
            (event, is_wanted)
        });
        Ok((met.collect(), is_through))
    }
}

/// What can go out again at an instant (`?2`), under a replay (`?3`) beside others (`?4`). Left alone is what is unfinished
/// already, what is of another client, what has expired, what was refused (it could not be sent then and cannot now), what has no subscription any more,
/// and what another replay has taken meanwhile.
macro_rules! again {
    () => {
        "FROM jsonb_each(?1) r
         CROSS JOIN tharsis_event e ON e.seq = r.value ->> 0
         CROSS JOIN tharsis_subscription s ON s.seq = r.value ->> 1
         WHERE s.removed_at IS NULL AND s.client = e.client
           AND (e.expires_at IS NULL OR e.expires_at > ?2)
           AND NOT EXISTS (
               SELECT 1 FROM tharsis_delivery d WHERE d.event = e.seq AND d.subscription = s.seq)
           AND coalesce((
               SELECT l.ended IS NOT 'refused'
                      AND (l.replay IS NULL
                           OR l.replay < ?3
                              AND (l.replay NOT IN (SELECT value FROM json_each(?4))
                                   OR l.ended <> 'delivered' AND l.at < ?5))
               FROM tharsis_attempt l
               WHERE l.event = e.seq AND l.subscription = s.seq
               ORDER BY coalesce(l.after, l.number) DESC, l.number
               LIMIT 1), true)"
    };
}

pub(super) const FREE: &str = concat!("SELECT e.seq, s.seq ", again!());

pub(super) const MAKE_DUE_AGAIN: &str = concat!(
    "INSERT INTO tharsis_delivery (subscription, lane, due_at, event, attempts, tries, replay)
     SELECT s.seq, 0, max(r.value ->> 2, coalesce(e.not_before, ?2)), e.seq,
            coalesce((SELECT max(number) FROM tharsis_attempt WHERE event = e.seq AND subscription = s.seq), 0),
            0, ?3 ",
    again!(),
    " RETURNING subscription"
);

/// Which of them this part takes.
async fn judge(
    conn: &mut SqliteConnection,
    replay: &ReplayRow,
    part: &Part,
    walked: Vec<(i64, i64, bool)>,
    now: Timestamp,
) -> Result<Vec<Met<i64>>, StoreError> {
    let is_ours = |of: i64| match part.subscription {
        0 => !part.others.contains(&of),
        own => own == of,
    };
    let to = replay.to;
    let chosen: BTreeSet<Pair> = (walked.iter())
        .filter(|(.., is_chosen)| *is_chosen)
        .map(|(event, of, _)| (*event, to.unwrap_or(*of)))
        .filter(|(_, of)| is_ours(*of))
        .collect();
    let free: Vec<Pair> = sqlx::query_as(FREE)
        .bind(json(&chosen)?)
        .bind(now.as_millis())
        .bind(replay.seq)
        .bind(&replay.beside)
        .bind(replay.replay.created_at.as_millis())
        .fetch_all(conn)
        .await?;
    let free: HashSet<Pair> = free.into_iter().collect();
    Ok(replay::met_of(walked, to, is_ours, &free))
}

pub(super) const LOADS: &str = concat!(
    "SELECT s.seq, s.max_in_flight * max(coalesce(s.batch_items, 1), 1),
            (SELECT count(*) FROM tharsis_delivery d
             WHERE d.replay = ?1 AND d.replay > 0 AND d.subscription = s.seq AND d.lane = 0 AND d.due_at <= ?3),
            (SELECT count(*) FROM tharsis_delivery d
             WHERE d.replay = ?1 AND d.replay > 0 AND d.subscription = s.seq),
            ",
    is_held!("s.seq"),
    " FROM jsonb_each(?2) r
     CROSS JOIN tharsis_subscription s ON s.seq = r.value"
);

/// What those have that something is to be taken for.
async fn loads(
    conn: &mut SqliteConnection,
    replay: i64,
    met: &[Met<i64>],
    now: Timestamp,
) -> Result<HashMap<i64, Load>, StoreError> {
    let wanted: BTreeSet<i64> = replay::wanted(met).collect();
    let rows: Vec<(i64, u32, u32, u32, bool)> = sqlx::query_as(LOADS)
        .bind(replay)
        .bind(json(&wanted)?)
        .bind((now + DUE_WITHIN).as_millis())
        .fetch_all(conn)
        .await?;
    let load = |(seq, at_once, due, all, is_held)| {
        let load = Load {
            at_once,
            due,
            all,
            is_held,
        };
        (seq, load)
    };
    Ok(rows.into_iter().map(load).collect())
}

/// Returns the subscription of each delivery that is due again.
async fn make_due_again(
    conn: &mut SqliteConnection,
    again: &[(i64, i64, i64)],
    replay: &ReplayRow,
    now: Timestamp,
) -> Result<Vec<i64>, StoreError> {
    Ok(sqlx::query_scalar(MAKE_DUE_AGAIN)
        .bind(json(&again)?)
        .bind(now.as_millis())
        .bind(replay.seq)
        .bind(&replay.beside)
        .bind(replay.replay.created_at.as_millis())
        .fetch_all(conn)
        .await?)
}

/// How far a step came.
struct Advance {
    step: Step<i64>,
    replayed: usize,
    paced_us: i64,
    wait: Wait,
    is_done: bool,
}

impl Advance {
    /// In the transaction of the deliveries, so that each is made due once.
    async fn write(
        &self,
        conn: &mut SqliteConnection,
        replay: i64,
        part: &Part,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let moved = sqlx::query(
            "UPDATE tharsis_replay_part
             SET cursor_event = ?5, cursor_subscription = ?6, look_at = ?7, waits_for = ?8, enough = ?9, stuck = ?10,
                 done = ?11
             WHERE replay = ?1 AND subscription = ?2 AND cursor_event = ?3 AND cursor_subscription = ?4 AND NOT done",
        )
        .bind(replay)
        .bind(part.subscription)
        .bind(part.cursor.0)
        .bind(part.cursor.1)
        .bind(self.step.cursor.0)
        .bind(self.step.cursor.1)
        .bind(self.wait.look_at.as_millis())
        .bind(self.wait.waits_for)
        .bind(self.wait.enough)
        .bind(self.wait.is_stuck)
        .bind(self.is_done)
        .execute(&mut *conn)
        .await?
        .rows_affected();
        expect_changed("a part of a replay", 1, moved)?;
        for (of, (event, subscription)) in &self.step.apart {
            sqlx::query(
                "INSERT INTO tharsis_replay_part
                     (replay, subscription, cursor_event, cursor_subscription, look_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .bind(replay)
            .bind(of)
            .bind(event)
            .bind(subscription)
            .bind((now + SOON).as_millis())
            .execute(&mut *conn)
            .await?;
        }
        let is_over: bool = sqlx::query_scalar(
            "UPDATE tharsis_replay
             SET examined = examined + ?2, replayed = replayed + ?3, paced_us = ?4,
                 started_at = coalesce(started_at, ?5),
                 finished_at = CASE WHEN NOT EXISTS (
                     SELECT 1 FROM tharsis_replay_part p WHERE p.replay = seq AND NOT p.done) THEN ?5 END
             WHERE seq = ?1 AND finished_at IS NULL
             RETURNING finished_at IS NOT NULL",
        )
        .bind(replay)
        .bind(i64::try_from(self.step.examined).unwrap_or(i64::MAX))
        .bind(i64::try_from(self.replayed).unwrap_or(i64::MAX))
        .bind(self.paced_us)
        .bind(now.as_millis())
        .fetch_one(&mut *conn)
        .await?;
        if is_over {
            forget_parts(conn, replay).await?;
        }
        Ok(())
    }
}
