//! What came of attempts: deliveries end or move, and the history grows, all in one statement.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use tharsis_core::{delivery::End, order::OrderKey};
use uuid::Uuid;

use super::{
    PostgresStore, alert, owner,
    value::{Instant, corrupt, text},
};
use crate::{
    Fate, KEPT, Lease, PARKED, Position, Settlement, StoreError,
    alert::{is_raising, of_settlements},
    failpoint::{self, Failpoint, reached},
};

/// Each settlement finds its row by the pair and the number that it has until it ends: a replay gives
/// another. A success takes it wherever it is; all else takes it only as it was read, and
/// only where its subscription's shard is still this worker's. A success that is written again, after a lost answer, is
/// recorded once. What is recorded follows from the rows that were taken out, and from successes without one: then another
/// row of the pair, if there is one, has one attempt more. What is recorded so takes that row before it writes its attempt,
/// as each settlement does, so that two of them take turns. Two may number their attempts alike all the same, where the row
/// came or went at the same moment; the second is not recorded then, and its place returned.
/// The revision is written before the state of a subscription, as the registry does.
///
/// `$3` are the subscriptions, which settlements name by their place; `$24` says that nothing needs to be owned.
pub(super) const SETTLE: &str = "
    WITH held AS MATERIALIZED (
        SELECT ARRAY(SELECT shard FROM shard WHERE owner = $1 AND epoch <= $2) AS shards
    ), own AS MATERIALIZED (
        SELECT array_agg(coalesce(s.shard = ANY (held.shards), false) ORDER BY u.place) AS subscriptions
        FROM held
        CROSS JOIN unnest($3::bigint[]) WITH ORDINALITY AS u(subscription, place)
        LEFT JOIN LATERAL (SELECT s.shard FROM subscription s WHERE s.seq = u.subscription OFFSET 0) s ON true
    ), found AS MATERIALIZED (
        SELECT g.*, ($3)[g.sub] AS subscription, d.tid, d.replay, d.is_as_read,
               g.is_success OR d.is_as_read AND (SELECT subscriptions FROM own)[g.sub] AS is_ours
        FROM unnest($4::integer[], $5::smallint[], $6::timestamptz[], $7::bigint[], $8::uuid[], $9::integer[],
                    $10::timestamptz[], $11::integer[], $12::integer[], $13::text[], $14::integer[], $15::integer[],
                    $16::timestamptz[], $17::bigint[], $18::text[], $19::smallint[], $20::text[], $21::bytea[],
                    $22::text[], $23::boolean[], $25::bigint[], $26::smallint[], $27::bigint[]) WITH ORDINALITY
             AS g(sub, lane, due_at, seq, event, attempts, again, made, tries, ended, number, after, at, duration_us, code,
                  status, detail, excerpt, suspend, is_success, waited, to_lane, order_key, place)
        LEFT JOIN LATERAL (
            SELECT d.ctid AS tid, d.replay,
                   (d.lane, d.due_at, d.seq, d.attempts) = (g.lane, g.due_at, g.seq, g.attempts) AS is_as_read
            FROM delivery d
            WHERE d.event = g.event AND d.subscription = ($3)[g.sub] AND d.seq = g.seq
            OFFSET 0) d ON true
        WHERE $24 OR (SELECT cardinality(shards) FROM held) > 0
    ), gone AS (
        DELETE FROM delivery
        WHERE ctid = ANY (ARRAY(SELECT tid FROM found WHERE tid IS NOT NULL AND is_ours))
        RETURNING ctid
    ), taken AS MATERIALIZED (
        SELECT f.*,
               f.tid IS NULL OR (SELECT count(*) FROM gone) = (SELECT count(tid) FROM found WHERE is_ours)
               OR f.tid = ANY (ARRAY(SELECT ctid FROM gone)) AS is_taken,
               f.number IS NOT NULL AND (f.is_as_read OR NOT f.is_success OR NOT EXISTS (
                   SELECT 1 FROM attempt a
                   WHERE a.event = f.event AND a.subscription = f.subscription
                     AND a.at = f.at AND a.duration_us = f.duration_us AND a.ended = 'delivered'
                   OFFSET 0)) AS is_new
        FROM found f
        WHERE f.is_ours
    ), moved AS (
        INSERT INTO delivery (subscription, lane, due_at, seq, event, attempts, tries, replay, waited, order_key)
        SELECT t.subscription, t.to_lane, t.again, t.seq, t.event, t.made, t.tries, t.replay, t.waited, t.order_key
        FROM taken t
        WHERE t.is_taken AND t.again IS NOT NULL
    ), late AS (
        DELETE FROM delivery
        WHERE ctid = ANY (ARRAY(
            SELECT d.ctid
            FROM taken t
            CROSS JOIN LATERAL (
                SELECT d.ctid FROM delivery d WHERE d.event = t.event AND d.subscription = t.subscription OFFSET 0) d
            WHERE t.tid IS NULL AND t.is_new))
        RETURNING subscription, lane, due_at, seq, event, attempts + 1 AS attempts, tries, replay, waited, order_key
    ), kept AS (
        INSERT INTO delivery (subscription, lane, due_at, seq, event, attempts, tries, replay, waited, order_key)
        SELECT l.subscription, l.lane, l.due_at, l.seq, l.event, l.attempts, l.tries, l.replay, l.waited, l.order_key
        FROM late l
    ), recorded AS (
        INSERT INTO attempt
            (event, subscription, number, at, duration_us, code, status, ended, after, due_at, detail, excerpt, replay)
        SELECT t.event, t.subscription,
               CASE WHEN t.is_as_read OR NOT t.is_success THEN t.number
                    ELSE greatest(t.number,
                                  (SELECT l.attempts FROM late l
                                   WHERE l.event = t.event AND l.subscription = t.subscription),
                                  (SELECT max(a.number) + 1 FROM attempt a
                                   WHERE a.event = t.event AND a.subscription = t.subscription))
               END,
               t.at, t.duration_us, t.code, t.status, t.ended, t.after, CASE t.to_lane WHEN 0 THEN t.again END, t.detail,
               t.excerpt, CASE WHEN t.ended IS NOT NULL THEN nullif(t.replay, 0) END
        FROM taken t
        WHERE t.is_taken AND t.is_new
        ON CONFLICT (event, subscription, number) DO UPDATE
        SET at = excluded.at, duration_us = excluded.duration_us, code = excluded.code, status = excluded.status,
            ended = excluded.ended, after = excluded.after, due_at = excluded.due_at, detail = excluded.detail,
            excerpt = excluded.excerpt, replay = excluded.replay
        WHERE attempt.number = 0
        RETURNING event, subscription
    ), suspended AS MATERIALIZED (
        SELECT DISTINCT ON (t.subscription) t.subscription, t.suspend AS reason, coalesce(t.at, t.due_at) AS since
        FROM taken t
        CROSS JOIN LATERAL (
            SELECT s.seq FROM subscription s WHERE s.seq = t.subscription AND s.removed_at IS NULL OFFSET 0) s
        WHERE t.is_taken AND t.suspend IS NOT NULL
          AND NOT EXISTS (
              SELECT 1 FROM subscription_state st WHERE st.subscription = t.subscription AND st.state = 'suspended')
        ORDER BY t.subscription, t.place
    ), bumped AS (
        UPDATE revision r SET revision = r.revision + d.count
        FROM (SELECT count(*) AS count FROM suspended) d
        WHERE r.id = 1 AND d.count > 0
        RETURNING r.revision
    ), suspending AS (
        INSERT INTO subscription_state AS st (subscription, state, reason, since)
        SELECT d.subscription, 'suspended', d.reason, d.since FROM suspended d WHERE EXISTS (SELECT 1 FROM bumped)
        ON CONFLICT (subscription) DO UPDATE
        SET state = excluded.state, reason = excluded.reason, since = excluded.since
        WHERE st.state <> 'suspended'
        RETURNING st.subscription
    ), changed AS (
        UPDATE subscription
        SET version = version + 1
        WHERE seq = ANY (ARRAY(SELECT subscription FROM suspending))
    )
    SELECT (SELECT cardinality(shards) FROM held),
           ARRAY(SELECT f.place FROM found f WHERE f.is_ours IS NOT TRUE),
           ARRAY(SELECT t.place FROM taken t
                 WHERE NOT t.is_taken
                    OR t.is_new
                       AND (SELECT count(*) FROM recorded) < (SELECT count(*) FROM taken WHERE is_taken AND is_new)
                       AND NOT EXISTS (
                           SELECT 1 FROM recorded r WHERE r.event = t.event AND r.subscription = t.subscription OFFSET 0))";

pub(super) async fn settle(
    store: &PostgresStore,
    lease: &Lease,
    settlements: &[Settlement],
) -> Result<Vec<Position>, StoreError> {
    owner::check(store, lease)?;
    let (aside, mut open): (Vec<_>, Vec<_>) = settlements
        .iter()
        .partition(|settlement| settlement.fate == Fate::Aside);
    let mut left_alone = set_aside(store, lease, &aside).await?;
    while !open.is_empty() {
        let (left, raced) = write(store, lease, &open).await?;
        left_alone.extend(left.iter().map(|settlement| settlement.position));
        // Somebody was at the same delivery at the same moment. A success counts all the same, now that it is seen what came
        // of that.
        let (again, lost): (Vec<_>, Vec<_>) = raced
            .into_iter()
            .partition(|settlement| is_success(settlement));
        left_alone.extend(lost.iter().map(|settlement| settlement.position));
        open = again;
    }
    Ok(left_alone)
}

/// Those rows that are as they were read (`$3` to `$7`), in this worker's shards, and whose campaign is paused. Whoever lifts
/// a pause waits until they are aside, or they are left alone: the stop is held fast, and is not there once it was lifted.
pub(super) const SET_ASIDE: &str = "
    WITH held AS MATERIALIZED (
        SELECT ARRAY(SELECT shard FROM shard WHERE owner = $1 AND epoch <= $2) AS shards
    ), found AS MATERIALIZED (
        SELECT g.place, d.tid, s.client, e.campaign, e.recipient
        FROM unnest($3::bigint[], $4::timestamptz[], $5::bigint[], $6::uuid[], $7::integer[]) WITH ORDINALITY
             AS g(subscription, due_at, seq, event, attempts, place)
        CROSS JOIN LATERAL (
            SELECT s.client
            FROM subscription s
            WHERE s.seq = g.subscription AND s.shard = ANY ((SELECT shards FROM held)::smallint[])
            OFFSET 0) s
        CROSS JOIN LATERAL (
            SELECT d.ctid AS tid
            FROM delivery d
            WHERE d.event = g.event AND d.subscription = g.subscription
              AND (d.lane, d.due_at, d.seq, d.attempts) = (0, g.due_at, g.seq, g.attempts)
            OFFSET 0) d
        CROSS JOIN LATERAL (SELECT e.campaign, e.recipient FROM event e WHERE e.id = g.event OFFSET 0) e
    ), paused AS MATERIALIZED (
        SELECT p.client, p.campaign, p.recipient
        FROM campaign_stop p
        WHERE p.state = 'paused'
          AND (p.client, p.campaign, p.recipient) IN (
              SELECT f.client, f.campaign, of.recipient
              FROM found f
              CROSS JOIN LATERAL (VALUES (''), (f.recipient)) AS of(recipient))
        FOR SHARE
    ), chosen AS MATERIALIZED (
        SELECT f.place, f.tid
        FROM found f
        WHERE EXISTS (
            SELECT
            FROM paused p
            WHERE p.client = f.client AND p.campaign = f.campaign AND p.recipient IN ('', f.recipient))
    ), gone AS (
        DELETE FROM delivery
        WHERE ctid = ANY (ARRAY(SELECT tid FROM chosen))
        RETURNING ctid AS tid, subscription, due_at, seq, event, attempts, tries, replay, waited, order_key
    ), moved AS (
        INSERT INTO delivery (subscription, lane, due_at, seq, event, attempts, tries, replay, waited, order_key)
        SELECT subscription, 1, due_at, seq, event, attempts, tries, replay, waited, order_key FROM gone
    )
    SELECT (SELECT cardinality(shards) FROM held),
           ARRAY(SELECT c.place FROM chosen c WHERE c.tid = ANY (ARRAY(SELECT tid FROM gone)))";

/// Returns the positions of those that were left alone.
async fn set_aside(
    store: &PostgresStore,
    lease: &Lease,
    settlements: &[&Settlement],
) -> Result<Vec<Position>, StoreError> {
    if settlements.is_empty() {
        return Ok(Vec::new());
    }
    let of = |column: fn(&Settlement) -> i64| -> Vec<i64> {
        settlements.iter().copied().map(column).collect()
    };
    let due_ats: Vec<Instant> = (settlements.iter())
        .map(|settlement| settlement.position.due_at.into())
        .collect();
    let events: Vec<Uuid> = (settlements.iter())
        .map(|settlement| *settlement.event.as_uuid())
        .collect();
    let attempts: Vec<i32> = (settlements.iter())
        .map(|settlement| signed(settlement.attempts))
        .collect();
    reached(Failpoint::SettleAsked);
    let (owned, moved): (i32, Vec<i64>) = sqlx::query_as(SET_ASIDE)
        .bind(lease.worker.as_uuid())
        .bind(lease.epoch)
        .bind(of(|settlement| settlement.position.subscription))
        .bind(due_ats)
        .bind(of(|settlement| settlement.position.seq))
        .bind(events)
        .bind(attempts)
        .fetch_one(&mut *store.0.engine.get().await?)
        .await?;
    reached(Failpoint::SettleCommitted);
    if owned == 0 && !lease.owned().is_empty() {
        return Err(StoreError::LeaseLost);
    }
    let moved: HashSet<i64> = moved.into_iter().collect();
    Ok((1..)
        .zip(settlements)
        .filter(|(place, _)| !moved.contains(place))
        .map(|(_, settlement)| settlement.position)
        .collect())
}

fn is_success(settlement: &Settlement) -> bool {
    settlement.attempt.is_some() && settlement.fate == Fate::Ended(End::Delivered)
}

/// Those that were left alone, and those whose row or number somebody else took first.
type Left<'a> = (Vec<&'a Settlement>, Vec<&'a Settlement>);

async fn write<'a>(
    store: &PostgresStore,
    lease: &Lease,
    settlements: &[&'a Settlement],
) -> Result<Left<'a>, StoreError> {
    reached(Failpoint::SettleAsked);
    let engine = &store.0.engine;
    // What people are to be told of is raised in the same transaction; all else is a statement of its own.
    if !settlements.iter().any(|settlement| is_raising(settlement)) {
        let left = settle_on(&mut *engine.get().await?, lease, settlements).await?;
        reached(Failpoint::SettleCommitted);
        return Ok(left);
    }
    let mut write = engine.begin().await?;
    let (left, raced) = settle_on(&mut write, lease, settlements).await?;
    let is_left = |one: &Settlement| {
        left.iter()
            .chain(&raced)
            .any(|other| std::ptr::eq(*other, one))
    };
    let written = settlements.iter().copied().filter(|one| !is_left(one));
    alert::raise(&mut write, &of_settlements(written)).await?;
    write.commit(failpoint::SETTLE).await?;
    Ok((left, raced))
}

async fn settle_on<'a>(
    conn: &mut PgConnection,
    lease: &Lease,
    settlements: &[&'a Settlement],
) -> Result<Left<'a>, StoreError> {
    let c = Columns::of(settlements);
    let needs_nothing = lease.owned().is_empty();
    let (owned, left, raced): (i32, Vec<i64>, Vec<i64>) = sqlx::query_as(SETTLE)
        .bind(lease.worker.as_uuid())
        .bind(lease.epoch)
        .bind(c.subscriptions)
        .bind(c.places)
        .bind(c.lanes)
        .bind(c.due_ats)
        .bind(c.seqs)
        .bind(c.events)
        .bind(c.attempts)
        .bind(c.agains)
        .bind(c.made)
        .bind(c.tries)
        .bind(c.ended)
        .bind(c.numbers)
        .bind(c.after)
        .bind(c.ats)
        .bind(c.durations)
        .bind(c.codes)
        .bind(c.statuses)
        .bind(c.details)
        .bind(c.excerpts)
        .bind(c.suspend)
        .bind(c.successes)
        .bind(needs_nothing)
        .bind(c.waited)
        .bind(c.to_lanes)
        .bind(c.keys)
        .fetch_one(conn)
        .await?;
    if owned == 0 && !needs_nothing {
        return Err(StoreError::LeaseLost);
    }
    Ok((at(settlements, &left)?, at(settlements, &raced)?))
}

/// Those at these places, which begin with 1.
fn at<'a>(
    settlements: &[&'a Settlement],
    places: &[i64],
) -> Result<Vec<&'a Settlement>, StoreError> {
    places
        .iter()
        .map(|place| {
            let at = usize::try_from(place - 1).map_err(corrupt)?;
            settlements
                .get(at)
                .copied()
                .ok_or_else(|| corrupt("a settlement's place"))
        })
        .collect()
}

/// Settlements as the statement reads them.
#[derive(Default)]
struct Columns<'a> {
    subscriptions: Vec<i64>,
    places: Vec<i32>,
    lanes: Vec<i16>,
    due_ats: Vec<Instant>,
    seqs: Vec<i64>,
    events: Vec<Uuid>,
    attempts: Vec<i32>,
    agains: Vec<Option<Instant>>,
    made: Vec<i32>,
    tries: Vec<i32>,
    ended: Vec<Option<&'a str>>,
    numbers: Vec<Option<i32>>,
    after: Vec<Option<i32>>,
    ats: Vec<Option<Instant>>,
    durations: Vec<i64>,
    codes: Vec<&'a str>,
    statuses: Vec<Option<i16>>,
    details: Vec<Option<String>>,
    excerpts: Vec<Option<&'a [u8]>>,
    suspend: Vec<Option<&'a str>>,
    successes: Vec<bool>,
    waited: Vec<i64>,
    to_lanes: Vec<i16>,
    keys: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    fn of(settlements: &[&'a Settlement]) -> Self {
        let mut columns = Self::default();
        let mut places = HashMap::new();
        for settlement in settlements {
            columns.add(settlement, &mut places);
        }
        columns
    }

    fn add(&mut self, settlement: &'a Settlement, places: &mut HashMap<i64, i32>) {
        let position = settlement.position;
        let place = *places.entry(position.subscription).or_insert_with(|| {
            self.subscriptions.push(position.subscription);
            i32::try_from(self.subscriptions.len()).unwrap_or(i32::MAX)
        });
        self.places.push(place);
        self.lanes
            .push(i16::try_from(position.lane).unwrap_or(i16::MAX));
        self.due_ats.push(position.due_at.into());
        self.seqs.push(position.seq);
        self.events.push(*settlement.event.as_uuid());
        self.attempts.push(signed(settlement.attempts));

        let (ended, moves) = match settlement.fate {
            Fate::Ended(end) => (Some(end.as_str()), None),
            Fate::Again { due_at, spent } => (None, Some((due_at, 0, spent))),
            Fate::Parked { due_at, spent } => (None, Some((due_at, PARKED, spent))),
            Fate::Kept { spent } => (None, Some((position.due_at, KEPT, spent))),
            Fate::Aside => (None, None),
        };
        let (_, to_lane, spent) = moves.unwrap_or_default();
        self.ended.push(ended);
        self.agains.push(moves.map(|(due_at, ..)| Instant(due_at)));
        self.to_lanes
            .push(i16::try_from(to_lane).unwrap_or(i16::MAX));
        self.keys.push(settlement.key.map(|OrderKey(key)| key));
        self.tries.push(signed(spent.tries));
        self.waited.push(spent.waited_ms.into());

        let attempt = settlement.attempt.as_ref();
        let number = attempt.map(|a| a.number);
        let made = number.map_or(settlement.attempts, |n| n.max(settlement.attempts));
        self.made.push(signed(made));
        self.numbers.push(number.map(signed));
        // An end without a request stands after the attempts that were made.
        let is_without_request = number == Some(0);
        self.after
            .push(is_without_request.then_some(signed(settlement.attempts)));
        self.ats.push(attempt.map(|a| Instant(a.at)));
        self.durations.push(attempt.map_or(0, |a| {
            i64::try_from(a.duration.as_micros()).unwrap_or(i64::MAX)
        }));
        self.codes.push(attempt.map_or("", |a| &a.code));
        self.statuses.push(
            attempt
                .and_then(|a| a.status)
                .map(|status| i16::try_from(status).unwrap_or(i16::MAX)),
        );
        self.details.push(
            attempt
                .and_then(|a| a.detail.as_deref())
                .map(|detail| text(detail).into_owned()),
        );
        self.excerpts.push(
            attempt
                .map(|a| a.excerpt.as_slice())
                .filter(|excerpt| !excerpt.is_empty()),
        );
        self.suspend.push(settlement.suspend);
        self.successes.push(is_success(settlement));
    }
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
