//! Past deliveries made due again: asked for by people, worked off by the owner of the shard that the replay lies in.
//!
//! A replay goes over the ids of events, once, up to those that were published when it was asked for by the database's
//! clock. An event whose transaction was open then and commits later counts as published before, and is taken only if it
//! has ended when the replay comes by: if not it is where any other new event is, on its way.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use tharsis_core::{
    ClientId, DeliveryId, ReplayId, SubscriptionId, Timestamp, rate::Rate, subscription::Settings,
};
use uuid::Uuid;

use super::{
    PostgresStore, audit,
    command::{CHUNK, Touched},
    filter::{Ids, Matching, Pair, columns},
    owner, subscription,
    value::{Instant, corrupt, expect_changed},
};
use crate::{
    By, DeliveryFilter, Pending, Replay, ReplayChoice, ReplayDraft, ReplayKey, Shard, Shards,
    StoreError, Tally, failpoint,
    filter::{from_text, to_text},
    replay::{
        self, Allowed, DUE_WITHIN, Flags, Load, MOST_APART, Met, Order, Pace, SOON, Step, Wait,
    },
    status::no_delivery,
};

struct ReplayRow {
    seq: i64,
    filter: Option<String>,
    until: Timestamp,
    missing: Option<i64>,
    to: Option<i64>,
    beside: Vec<i64>,
    paced_us: Option<i64>,
    replay: Replay,
}

/// A subscription is held as long as somebody or its receiver holds it.
macro_rules! is_held {
    ($of:literal) => {
        concat!(
            "(EXISTS (SELECT FROM subscription_state st WHERE st.subscription = ",
            $of,
            " OFFSET 0) OR EXISTS (SELECT FROM subscription_health h WHERE h.subscription = ",
            $of,
            " AND h.condition = 'open' OFFSET 0))"
        )
    };
}

macro_rules! columns {
    () => {
        "SELECT r.seq, r.filter::text, r.until, r.missing, r.beside, r.paced_us, r.id, r.fresh, r.rate, r.expected,
                r.examined, r.replayed, r.created_at, r.started_at, r.finished_at, r.paused, r.cancelled,
                r.to_subscription, r.client, "
    };
}

/// For people.
macro_rules! select {
    ($which:literal) => {
        concat!(
            columns!(),
            "(SELECT count(*) FROM delivery d WHERE d.replay = r.seq AND d.replay > 0),
             ARRAY(SELECT s.id
                   FROM replay_part p
                   JOIN subscription s ON s.seq = p.waits_for
                   WHERE p.replay = r.seq AND ",
            is_held!("s.seq"),
            "      ORDER BY s.seq),
             EXISTS (SELECT FROM replay_part p WHERE p.replay = r.seq AND NOT p.done)
             AND NOT EXISTS (
                 SELECT
                 FROM replay_part p
                 WHERE p.replay = r.seq AND NOT p.done
                   AND (p.waits_for IS NULL OR NOT p.stuck AND NOT ",
            is_held!("p.waits_for"),
            "))
             FROM replay r ",
            $which
        )
    };
}

/// For the owner.
const REPLAY: &str = concat!(
    columns!(),
    "0::bigint, '{}'::uuid[], false FROM replay r WHERE r.seq = $1"
);

impl<'r> FromRow<'r, PgRow> for ReplayRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let Instant(until) = row.try_get(2)?;
        let number = |column: usize| row.try_get(column).map(i64::unsigned_abs);
        let (examined, replayed) = (number(10)?, number(11)?);
        let Instant(created_at) = row.try_get(12)?;
        let started_at: Option<Instant> = row.try_get(13)?;
        let finished_at: Option<Instant> = row.try_get(14)?;
        let flags = Flags {
            is_started: started_at.is_some(),
            is_paused: row.try_get(15)?,
            is_cancelled: row.try_get(16)?,
            is_finished: finished_at.is_some(),
        };
        let rate: Option<String> = row.try_get(8)?;
        let held_for: Vec<Uuid> = row.try_get(20)?;
        let client: Option<Uuid> = row.try_get(18)?;
        Ok(Self {
            seq: row.try_get(0)?,
            filter: row.try_get(1)?,
            until,
            missing: row.try_get(3)?,
            to: row.try_get(17)?,
            beside: row.try_get(4)?,
            paced_us: row.try_get(5)?,
            replay: Replay {
                id: ReplayId::from_uuid(row.try_get(6)?),
                client: client.map(ClientId::from_uuid),
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
                expected: row.try_get::<Option<i64>, _>(9)?.map(i64::unsigned_abs),
                examined,
                replayed,
                skipped: examined.saturating_sub(replayed),
                unfinished: number(19)?,
                held_for: held_for
                    .into_iter()
                    .map(SubscriptionId::from_uuid)
                    .collect(),
                is_held: row.try_get(21)?,
                created_at,
                finished_at: finished_at.map(|Instant(at)| at),
            },
        })
    }
}

pub(super) async fn ask(
    store: &PostgresStore,
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
    let first = filter.map_or(Uuid::nil(), |filter| Ids::of(filter).first);
    // First the revision: so of two that are asked for at the same moment the second knows of the first.
    let mut write = store.turn().await?;
    let missing = match &draft.choice {
        ReplayChoice::Missing(of, _) => {
            let found = subscription::find(&mut *write, store.reader()?, *of).await?;
            Some(replay::number_of(draft.client, &found)?)
        }
        _ => None,
    };
    let to = match draft.to {
        Some(to) => {
            let found = subscription::find(&mut *write, store.reader()?, to).await?;
            Some(replay::number_of(draft.client, &found)?)
        }
        None => None,
    };
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO replay
             (id, filter, until, created_at, fresh, rate, paced_us, expected, missing, to_subscription, client,
              beside)
         VALUES ($1, $2::json, clock_timestamp(), $3, $4, $5, NULL, $6, $7, $8, $9,
                 ARRAY(SELECT r.seq
                       FROM replay r
                       WHERE r.finished_at IS NULL
                          OR EXISTS (SELECT FROM delivery d WHERE d.replay = r.seq AND d.replay > 0 OFFSET 0)
                       ORDER BY r.seq))
         RETURNING seq",
    )
    .bind(id.as_uuid())
    .bind(filter.map(to_text).transpose()?)
    .bind(Instant(now))
    .bind(draft.key == ReplayKey::Fresh)
    .bind(draft.rate.map(|rate| rate.to_string()))
    .bind(draft.expected.map(|n| i64::try_from(n).unwrap_or(i64::MAX)))
    .bind(missing)
    .bind(to)
    .bind(draft.client.map(|client| *client.as_uuid()))
    .fetch_one(&mut *write)
    .await?;
    // No pair has a subscription 0: all of the first event come after it.
    sqlx::query(
        "INSERT INTO replay_part (replay, subscription, cursor_event, cursor_subscription, look_at)
         VALUES ($1, 0, $2, 0, '-infinity')",
    )
    .bind(seq)
    .bind(first)
    .execute(&mut *write)
    .await?;
    match &draft.choice {
        ReplayChoice::Deliveries(ids) => {
            insert_deliveries(&mut write, seq, ids, draft.client).await?;
        }
        // Until no event can be published in the same millisecond any more.
        ReplayChoice::Filter(_) | ReplayChoice::Missing(..) => {
            sqlx::query("SELECT pg_sleep(0.002)")
                .execute(&mut *write)
                .await?;
        }
    }
    let deed = replay::deed(&draft, id)?;
    audit::write(&mut write, by, &deed).await?;
    let row: ReplayRow = sqlx::query_as(select!("WHERE r.seq = $1"))
        .bind(seq)
        .fetch_one(&mut *write)
        .await?;
    write.commit(failpoint::ASK_REPLAY).await?;
    Ok(row.replay)
}

async fn insert_deliveries(
    conn: &mut PgConnection,
    replay: i64,
    ids: &[DeliveryId],
    client: Option<ClientId>,
) -> Result<(), StoreError> {
    let (events, subscriptions): (Vec<Uuid>, Vec<Uuid>) = ids
        .iter()
        .map(|id| (*id.event.as_uuid(), *id.subscription.as_uuid()))
        .unzip();
    let numbers: Vec<Option<i64>> = sqlx::query_scalar(NUMBERS)
        .bind(events)
        .bind(subscriptions)
        .bind(client.map(|client| *client.as_uuid()))
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

/// The number of each one's subscription, in their order; none where there is no such delivery, of this client (`$3`) where
/// one is named.
const NUMBERS: &str = "
    SELECT s.seq
    FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS r (event, subscription, place)
    LEFT JOIN LATERAL (
        SELECT s.seq
        FROM subscription s
        WHERE s.id = r.subscription AND ($3 IS NULL OR s.client = $3)
          AND (EXISTS (SELECT FROM delivery d WHERE d.event = r.event AND d.subscription = s.seq OFFSET 0)
               OR EXISTS (SELECT FROM attempt a WHERE a.event = r.event AND a.subscription = s.seq OFFSET 0))
        OFFSET 0) s ON true
    ORDER BY r.place";

pub(super) async fn find(store: &PostgresStore, id: ReplayId) -> Result<Replay, StoreError> {
    let row: Option<ReplayRow> = sqlx::query_as(select!("WHERE r.id = $1"))
        .bind(id.as_uuid())
        .fetch_optional(&mut *store.0.lists.get().await?)
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
    store: &PostgresStore,
    client: Option<ClientId>,
) -> Result<Vec<Replay>, StoreError> {
    let list = select!("WHERE $1 IS NULL OR r.client = $1 ORDER BY r.seq DESC LIMIT 100");
    let rows: Vec<ReplayRow> = sqlx::query_as(list)
        .bind(client.map(|client| *client.as_uuid()))
        .fetch_all(&mut *store.0.lists.get().await?)
        .await?;
    Ok(rows.into_iter().map(|row| row.replay).collect())
}

/// Pauses, resumes or cancels it. A step that is under way is waited for.
pub(super) async fn order(
    store: &PostgresStore,
    id: ReplayId,
    order: Order,
    by: By<'_>,
) -> Result<Replay, StoreError> {
    let now = by.at;
    let mut write = store.turn().await?;
    sqlx::query("SELECT FROM replay WHERE id = $1 FOR UPDATE")
        .bind(id.as_uuid())
        .execute(&mut *write)
        .await?;
    let row: Option<ReplayRow> = sqlx::query_as(select!("WHERE r.id = $1"))
        .bind(id.as_uuid())
        .fetch_optional(&mut *write)
        .await?;
    let row = row.ok_or_else(|| unknown(id))?;
    if row.replay.state.is_over() {
        return Err(replay::over(id, row.replay.state).into());
    }
    let changed = sqlx::query(
        "UPDATE replay
         SET paused = $2, cancelled = $3, finished_at = CASE WHEN $3 THEN $4 END
         WHERE seq = $1 AND finished_at IS NULL",
    )
    .bind(row.seq)
    .bind(order == Order::Pause)
    .bind(order == Order::Cancel)
    .bind(Instant(now))
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
    let row: ReplayRow = sqlx::query_as(select!("WHERE r.seq = $1"))
        .bind(row.seq)
        .fetch_one(&mut *write)
        .await?;
    write.commit(failpoint::ASK_REPLAY).await?;
    Ok(row.replay)
}

/// Its time begins now, whatever was free before and whatever it waited for.
async fn begin_anew(conn: &mut PgConnection, replay: i64) -> Result<(), StoreError> {
    for statement in [
        "UPDATE replay SET paced_us = NULL WHERE seq = $1",
        "UPDATE replay_part SET look_at = '-infinity' WHERE replay = $1",
    ] {
        sqlx::query(statement)
            .bind(replay)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// What is known of a replay only as long as it is not over.
async fn forget_parts(conn: &mut PgConnection, replay: i64) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM replay_delivery WHERE replay = $1",
        "DELETE FROM replay_part WHERE replay = $1",
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
    store: &PostgresStore,
    choice: &ReplayChoice,
    looked: Option<usize>,
) -> Result<Tally, StoreError> {
    replay::check(choice)?;
    let mut read = store.0.lists.get().await?;
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
            let (seq, target) = subscription::find(&mut *read, store.reader()?, *of).await?;
            let settings = &target.subscription.settings;
            let wanting = Wanting {
                number: seq,
                settings,
            };
            let (mut after, mut count) = ((Ids::of(filter).first, 0), 0);
            let mut rest = looked.unwrap_or(usize::MAX);
            loop {
                let (met, is_through) = wanting.next(&mut read, filter, after, None).await?;
                count += met.iter().filter(|(_, is_wanted)| *is_wanted).count() as u64;
                rest = rest.saturating_sub(met.len());
                match met.last() {
                    Some((last, _)) if !is_through && rest > 0 => after = (*last, seq),
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

/// One step of a part of a replay, if it is not over and lies in one of these shards. Returns the lanes that it touched.
/// Another worker that believes the replay is its own waits here, and then goes on from where this one came to.
pub(super) async fn step(
    store: &PostgresStore,
    conn: &mut PgConnection,
    (seq, part): (i64, i64),
    shards: Shards,
    now: Timestamp,
) -> Result<Vec<Touched>, StoreError> {
    let is_open = sqlx::query(
        "SELECT FROM replay WHERE seq = $1 AND shard = ANY ($2) AND finished_at IS NULL AND NOT paused FOR UPDATE",
    )
    .bind(seq)
    .bind(owner::array(shards))
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if is_open == 0 {
        return Ok(Vec::new());
    }
    let Some(part) = part_of(conn, seq, part, now).await? else {
        return Ok(Vec::new());
    };
    let replay: ReplayRow = sqlx::query_as(REPLAY)
        .bind(seq)
        .fetch_one(&mut *conn)
        .await?;
    let (met, is_through) = match (&replay.filter, replay.missing) {
        (None, _) => listed(conn, &replay, part.cursor).await?,
        (Some(filter), None) => filtered(conn, &replay, part.cursor, filter).await?,
        (Some(filter), Some(of)) => missing(store, conn, &replay, part.cursor, filter, of).await?,
    };
    let met = judge(conn, &replay, &part, met, now).await?;
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
    let due_ats: Vec<Instant> = (0..step.again.len())
        .map(|place| Instant(pace.due_at(place, now)))
        .collect();
    let again = make_due_again(conn, &step.again, due_ats, &replay, now).await?;
    let taken = step.again.len();
    let advance = Advance {
        is_done: is_through && step.waits.is_none(),
        wait: Wait::of(&step, &loads, rate, pace, replay.missing, now),
        paced_us: pace.after(taken),
        replayed: again.replayed,
        step,
    };
    advance.write(conn, seq, &part, now).await?;
    Ok(again.lanes)
}

async fn part_of(
    conn: &mut PgConnection,
    replay: i64,
    part: i64,
    now: Timestamp,
) -> Result<Option<Part>, StoreError> {
    let parts: Vec<(i64, Uuid, i64, bool, bool)> = sqlx::query_as(
        "SELECT subscription, cursor_event, cursor_subscription, NOT done, NOT done AND look_at <= $2
         FROM replay_part
         WHERE replay = $1",
    )
    .bind(replay)
    .bind(Instant(now))
    .fetch_all(conn)
    .await?;
    let others = parts.iter().map(|(of, ..)| *of).filter(|of| *of != part);
    Ok(parts
        .iter()
        .find(|(of, .., is_due)| *of == part && *is_due)
        .map(|(_, event, subscription, ..)| Part {
            subscription: part,
            cursor: (*event, *subscription),
            others: others.collect(),
            open: (parts.iter())
                .filter(|(of, .., is_open, _)| *of != part && *is_open)
                .count(),
        }))
}

/// The next pairs and whether they are chosen, and whether there is nothing behind them.
type Walked = (Vec<(Uuid, i64, bool)>, bool);

async fn listed(
    conn: &mut PgConnection,
    replay: &ReplayRow,
    after: Pair,
) -> Result<Walked, StoreError> {
    let pairs: Vec<Pair> = sqlx::query_as(
        "SELECT event, subscription
         FROM replay_delivery
         WHERE replay = $1 AND (event, subscription) > ($2, $3)
         ORDER BY event, subscription
         LIMIT $4",
    )
    .bind(replay.seq)
    .bind(after.0)
    .bind(after.1)
    .bind(i64::from(CHUNK))
    .fetch_all(conn)
    .await?;
    let is_through = u32::try_from(pairs.len()) != Ok(CHUNK);
    let chosen = |(event, subscription)| (event, subscription, true);
    Ok((pairs.into_iter().map(chosen).collect(), is_through))
}

/// Walks a bounded piece of the history, whether much or little of it matches.
async fn filtered(
    conn: &mut PgConnection,
    replay: &ReplayRow,
    after: Pair,
    filter: &str,
) -> Result<Walked, StoreError> {
    let filter = from_text(filter)?;
    let matching = Matching::of(conn, &filter, &[])
        .await?
        .published_by(replay.until);
    let mut next = matching.next(conn, after, CHUNK).await?;
    let is_through = u32::try_from(next.len()).is_ok_and(|looked_at| looked_at < CHUNK);
    // All attempts of a pair come together, and one of them at most is its end.
    next.dedup_by(|second, first| {
        let is_same = (first.0, first.1) == (second.0, second.1);
        first.2 |= is_same && second.2;
        is_same
    });
    Ok((next, is_through))
}

/// Walks a bounded piece of the events, whether many or few of them are missing.
async fn missing(
    store: &PostgresStore,
    conn: &mut PgConnection,
    replay: &ReplayRow,
    after: Pair,
    filter: &str,
    of: i64,
) -> Result<Walked, StoreError> {
    let filter = from_text(filter)?;
    let id: Option<Uuid> = sqlx::query_scalar("SELECT id FROM subscription WHERE seq = $1")
        .bind(of)
        .fetch_optional(&mut *conn)
        .await?;
    // It was erased with its client.
    let Some(id) = id else {
        return Ok((Vec::new(), true));
    };
    let id = SubscriptionId::from_uuid(id);
    let target = match subscription::find(&mut *conn, store.reader()?, id).await {
        Ok((_, target)) => target,
        // It was removed: nothing is to go there any more.
        Err(StoreError::NotFound { .. }) => return Ok((Vec::new(), true)),
        Err(error) => return Err(error),
    };
    // What it wants is not to be known here as long as this process cannot read it whole.
    let client = Some(target.subscription.settings.client);
    if subscription::unreadable(&mut *conn, store.reader()?, client)
        .await?
        .contains(&of)
    {
        return Ok((Vec::new(), false));
    }
    let wanting = Wanting {
        number: of,
        settings: &target.subscription.settings,
    };
    let (met, is_through) = wanting
        .next(conn, &filter, after, Some(replay.until))
        .await?;
    let pairs = met
        .into_iter()
        .map(|(event, is_wanted)| (event, of, is_wanted));
    Ok((pairs.collect(), is_through))
}

/// A subscription that wants what it was never delivered.
struct Wanting<'a> {
    number: i64,
    settings: &'a Settings,
}

/// What is not routed yet is on its way: it has one of the first pointers, or was published later than those by more than
/// publishers may be apart, where there are many.
pub(super) const NEXT_EVENTS: &str = "
    WITH f AS MATERIALIZED (
        SELECT o.event, o.published_at
        FROM outbox o
        WHERE o.shard = shard_of($4)
        ORDER BY o.seq
        LIMIT 1000)
    SELECT e.id, e.type,
           coalesce(
               e.client = $4 AND e.frozen AND e.refused_code IS NULL
               AND ($5 IS NULL OR e.type = ANY ($5))
               AND ($6 IS NULL OR e.campaign = $6)
               AND ($7 IS NULL OR e.published_at >= $7)
               AND ($8 IS NULL OR e.published_at < $8)
               AND ($9 IS NULL OR e.published_at <= $9)
               AND e.id NOT IN (SELECT f.event FROM f)
               AND ((SELECT count(*) FROM f) < 1000
                    OR e.published_at < (SELECT min(f.published_at) FROM f) - interval '1 minute')
               AND NOT EXISTS (
                   SELECT FROM attempt a
                   WHERE a.event = e.id AND a.subscription = $10 AND a.ended = 'delivered' OFFSET 0)
               AND NOT EXISTS (
                   SELECT FROM delivery d WHERE d.event = e.id AND d.subscription = $10 OFFSET 0),
               false) AS chosen,
           CASE WHEN $11 THEN e.payload END
    FROM (
        SELECT *
        FROM event
        WHERE id >= $1 AND (id, $10) > ($1, $13) AND id BETWEEN $2 AND $3
        ORDER BY id
        LIMIT $12) e
    ORDER BY e.id";

impl Wanting<'_> {
    /// The next events, each with whether it is wanted and missing, and whether there is nothing behind them.
    async fn next(
        &self,
        conn: &mut PgConnection,
        filter: &DeliveryFilter,
        after: Pair,
        until: Option<Timestamp>,
    ) -> Result<(Vec<(Uuid, bool)>, bool), StoreError> {
        let within = Ids::of(filter);
        let reads_payloads = self.settings.filter.is_some();
        // Payloads are read whole.
        let most: u32 = if reads_payloads { 64 } else { CHUNK };
        let types = (!filter.event_type.is_empty()).then(|| filter.event_type.clone());
        let rows: Vec<(Uuid, String, bool, Option<String>)> = sqlx::query_as(NEXT_EVENTS)
            .bind(after.0)
            .bind(within.first)
            .bind(within.last)
            .bind(self.settings.client.as_uuid())
            .bind(types)
            .bind(filter.campaign.as_deref())
            .bind(filter.since.map(Instant))
            .bind(filter.until.map(Instant))
            .bind(until.map(Instant))
            .bind(self.number)
            .bind(reads_payloads)
            .bind(i64::from(most))
            .bind(after.1)
            .fetch_all(conn)
            .await?;
        let is_through = u32::try_from(rows.len()) != Ok(most);
        let met = rows
            .into_iter()
            .map(|(event, event_type, is_chosen, payload)| {
                let is_wanted =
                    is_chosen && replay::is_wanted(self.settings, &event_type, payload.as_deref());
                (event, is_wanted)
            });
        Ok((met.collect(), is_through))
    }
}

/// What can go out again, by pairs (`$1`, `$2`), each from an instant on (`$6`): now (`$3`), under a replay (`$4`) beside others
/// (`$5`). Left alone
/// is what is unfinished already, what is of another client, what has expired, what was refused (it could not be sent then and cannot now), what has no
/// subscription any more, and what another replay has taken meanwhile.
macro_rules! again {
    () => {
        "FROM unnest($1::uuid[], $2::bigint[], $6::timestamptz[]) WITH ORDINALITY AS r (event, subscription, due_at, place)
        CROSS JOIN LATERAL (
            SELECT not_before, client
            FROM event
            WHERE id = r.event AND (expires_at IS NULL OR expires_at > $3)
            OFFSET 0) e
        LEFT JOIN LATERAL (
            SELECT ended, replay, at
            FROM attempt
            WHERE event = r.event AND subscription = r.subscription
            ORDER BY coalesce(after, number) DESC, number
            LIMIT 1) l ON true"
    };
}

macro_rules! is_free {
    () => {
        "l.ended IS DISTINCT FROM 'refused'
          AND (l.replay IS NULL
               OR l.replay < $4 AND (l.replay <> ALL ($5) OR l.ended <> 'delivered' AND l.at < $7))
          AND NOT EXISTS (
              SELECT FROM delivery d WHERE d.event = r.event AND d.subscription = r.subscription OFFSET 0)"
    };
}

pub(super) const FREE: &str = concat!(
    "SELECT r.place ",
    again!(),
    " WHERE EXISTS (
          SELECT FROM subscription s
          WHERE s.seq = r.subscription AND s.client = e.client AND s.removed_at IS NULL OFFSET 0)
        AND ",
    is_free!()
);

/// The row of a subscription is held by its key, so that a removal ends what is written here.
pub(super) const MAKE_DUE_AGAIN: &str = concat!(
    "WITH again AS (
        INSERT INTO delivery (subscription, due_at, seq, event, attempts, replay)
        SELECT s.seq, greatest(r.due_at, e.not_before), nextval('seq'), r.event,
               coalesce((SELECT max(number) FROM attempt WHERE event = r.event AND subscription = r.subscription), 0), $4 ",
    again!(),
    "   CROSS JOIN LATERAL (
            SELECT seq
            FROM subscription
            WHERE seq = r.subscription AND client = e.client AND removed_at IS NULL
            FOR KEY SHARE) s
        WHERE ",
    is_free!(),
    "   ORDER BY r.place
        ON CONFLICT DO NOTHING
        RETURNING subscription, due_at)
    SELECT s.shard, a.subscription, a.due_at, a.count
    FROM (SELECT subscription, min(due_at) AS due_at, count(*) AS count FROM again GROUP BY subscription OFFSET 0) a
    CROSS JOIN LATERAL (SELECT shard FROM subscription WHERE seq = a.subscription OFFSET 0) s"
);

/// Which of them this part takes.
async fn judge(
    conn: &mut PgConnection,
    replay: &ReplayRow,
    part: &Part,
    walked: Vec<(Uuid, i64, bool)>,
    now: Timestamp,
) -> Result<Vec<Met<Uuid>>, StoreError> {
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
    if chosen.is_empty() {
        return Ok(replay::met_of(walked, to, is_ours, &HashSet::new()));
    }
    let chosen: Vec<Pair> = chosen.into_iter().collect();
    let (events, subscriptions) = columns(&chosen);
    let nows = vec![Instant(now); chosen.len()];
    let places: Vec<i64> = sqlx::query_scalar(FREE)
        .bind(events)
        .bind(subscriptions)
        .bind(Instant(now))
        .bind(replay.seq)
        .bind(&replay.beside)
        .bind(nows)
        .bind(Instant(replay.replay.created_at))
        .fetch_all(conn)
        .await?;
    let free: HashSet<Pair> = (places.into_iter())
        .filter_map(|place| chosen.get(usize::try_from(place - 1).ok()?).copied())
        .collect();
    Ok(replay::met_of(walked, to, is_ours, &free))
}

pub(super) const LOADS: &str = concat!(
    "SELECT s.seq, s.max_in_flight * greatest(coalesce(s.batch_items, 1), 1),
            (SELECT count(*) FROM delivery d
             WHERE d.replay = $1 AND d.replay > 0 AND d.subscription = s.seq AND d.lane = 0 AND d.due_at <= $3),
            (SELECT count(*) FROM delivery d WHERE d.replay = $1 AND d.replay > 0 AND d.subscription = s.seq),
            ",
    is_held!("s.seq"),
    "
     FROM unnest($2::bigint[]) AS u (subscription)
     CROSS JOIN LATERAL (
         SELECT seq, max_in_flight, batch_items FROM subscription WHERE seq = u.subscription OFFSET 0) s"
);

/// What those have that something is to be taken for.
async fn loads(
    conn: &mut PgConnection,
    replay: i64,
    met: &[Met<Uuid>],
    now: Timestamp,
) -> Result<HashMap<i64, Load>, StoreError> {
    let wanted: BTreeSet<i64> = replay::wanted(met).collect();
    let wanted: Vec<i64> = wanted.into_iter().collect();
    let rows: Vec<(i64, i64, i64, i64, bool)> = sqlx::query_as(LOADS)
        .bind(replay)
        .bind(wanted)
        .bind(Instant(now + DUE_WITHIN))
        .fetch_all(conn)
        .await?;
    let few = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    let load = |(seq, at_once, due, all, is_held)| {
        let load = Load {
            at_once: few(at_once),
            due: few(due),
            all: few(all),
            is_held,
        };
        (seq, load)
    };
    Ok(rows.into_iter().map(load).collect())
}

/// What is due again.
struct Again {
    lanes: Vec<Touched>,
    replayed: i64,
}

async fn make_due_again(
    conn: &mut PgConnection,
    pairs: &[Pair],
    due_ats: Vec<Instant>,
    replay: &ReplayRow,
    now: Timestamp,
) -> Result<Again, StoreError> {
    let (events, subscriptions) = columns(pairs);
    let rows: Vec<(i16, i64, Instant, i64)> = sqlx::query_as(MAKE_DUE_AGAIN)
        .bind(events)
        .bind(subscriptions)
        .bind(Instant(now))
        .bind(replay.seq)
        .bind(&replay.beside)
        .bind(due_ats)
        .bind(Instant(replay.replay.created_at))
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

/// How far a step came.
struct Advance {
    step: Step<Uuid>,
    replayed: i64,
    paced_us: i64,
    wait: Wait,
    is_done: bool,
}

impl Advance {
    /// In the transaction of the deliveries, so that each is made due once.
    async fn write(
        &self,
        conn: &mut PgConnection,
        replay: i64,
        part: &Part,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let moved = sqlx::query(
            "UPDATE replay_part
             SET cursor_event = $5, cursor_subscription = $6, look_at = $7, waits_for = $8, enough = $9, stuck = $10,
                 done = $11
             WHERE replay = $1 AND subscription = $2 AND cursor_event = $3 AND cursor_subscription = $4 AND NOT done",
        )
        .bind(replay)
        .bind(part.subscription)
        .bind(part.cursor.0)
        .bind(part.cursor.1)
        .bind(self.step.cursor.0)
        .bind(self.step.cursor.1)
        .bind(Instant(self.wait.look_at))
        .bind(self.wait.waits_for)
        .bind(i64::from(self.wait.enough))
        .bind(self.wait.is_stuck)
        .bind(self.is_done)
        .execute(&mut *conn)
        .await?
        .rows_affected();
        expect_changed("a part of a replay", 1, moved)?;
        for (of, (event, subscription)) in &self.step.apart {
            sqlx::query(
                "INSERT INTO replay_part (replay, subscription, cursor_event, cursor_subscription, look_at)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(replay)
            .bind(of)
            .bind(event)
            .bind(subscription)
            .bind(Instant(now + SOON))
            .execute(&mut *conn)
            .await?;
        }
        let is_over: bool = sqlx::query_scalar(
            "UPDATE replay
             SET examined = examined + $2, replayed = replayed + $3, paced_us = $4,
                 started_at = coalesce(started_at, $5),
                 finished_at = CASE WHEN NOT EXISTS (
                     SELECT FROM replay_part p WHERE p.replay = seq AND NOT p.done) THEN $5 END
             WHERE seq = $1 AND finished_at IS NULL
             RETURNING finished_at IS NOT NULL",
        )
        .bind(replay)
        .bind(i64::try_from(self.step.examined).unwrap_or(i64::MAX))
        .bind(self.replayed)
        .bind(self.paced_us)
        .bind(Instant(now))
        .fetch_one(&mut *conn)
        .await?;
        if is_over {
            forget_parts(conn, replay).await?;
        }
        Ok(())
    }
}
