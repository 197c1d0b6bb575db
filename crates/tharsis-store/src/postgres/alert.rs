//! What people are to be told.

use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use tharsis_core::{
    ClientId, EventId, SubscriptionId, Timestamp,
    alert::{Alert, Answer, Case, Cause, Facts, of_transition},
    event::Event,
    health::{Condition, Limits},
};
use uuid::Uuid;

use super::{
    PostgresStore, audit, owner, publish::publish_own, subscription::why_unreadable, value::Instant,
};
use crate::{
    AlertRecord, By, Claim, Claimed, Lease, StoreError, Telling, Told, Transition,
    alert::{
        MOST_ANSWERS, MOST_ASKED, MOST_CASES, MOST_LISTED, Raised, cases, cause, claimed,
        unreadable_since,
    },
    audit::Deed,
    failpoint,
    health::{MOST_FORGOTTEN, condition, forgotten_before},
};

/// Raises it, or adds it to what is not told yet. That a receiver fails is raised once for each stage of a failure.
pub(super) async fn raise(conn: &mut PgConnection, raised: &[Raised]) -> Result<(), StoreError> {
    for one in raised {
        let count: Option<i64> = sqlx::query_scalar(
            "INSERT INTO alert AS t (subscription, cause, raised_at, since, stage, count, code, due_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $3
             WHERE $2 <> 'subscription.failing' OR NOT EXISTS (
                 SELECT 1
                 FROM alert a
                 JOIN subscription_health h ON h.subscription = a.subscription
                 WHERE a.subscription = $1 AND a.cause = $2 AND a.stage >= $5 AND a.raised_at >= h.failing_since
                   AND h.condition IN ('open', 'half_open', 'suspended'))
             ON CONFLICT (subscription, cause) WHERE ended_at IS NULL DO UPDATE
             SET raised_at = greatest(t.raised_at, excluded.raised_at),
                 since = CASE WHEN $8 THEN excluded.since ELSE least(t.since, excluded.since) END,
                 stage = CASE WHEN $8 THEN excluded.stage ELSE greatest(t.stage, excluded.stage) END,
                 count = t.count + excluded.count,
                 code = coalesce(excluded.code, t.code),
                 accepted = CASE WHEN excluded.stage > t.stage THEN '{}' ELSE t.accepted END,
                 event = CASE WHEN excluded.stage > t.stage THEN NULL ELSE t.event END
             RETURNING count",
        )
        .bind(one.subscription)
        .bind(one.cause.as_str())
        .bind(Instant(one.at))
        .bind(Instant(one.since))
        .bind(i16::from(one.stage))
        .bind(i64::try_from(one.count).unwrap_or(i64::MAX))
        .bind(&one.code)
        .bind(one.begins)
        .fetch_optional(&mut *conn)
        .await?;
        // Once for each message, as people are told.
        let is_new = count == i64::try_from(one.count).ok();
        if one.cause == Cause::Blocked && is_new {
            audit_raised(conn, one).await?;
        }
    }
    Ok(())
}

/// What might have been an attack outlives the message of it.
async fn audit_raised(conn: &mut PgConnection, raised: &Raised) -> Result<(), StoreError> {
    let row: Option<(Uuid, Uuid)> =
        sqlx::query_as("SELECT id, client FROM subscription WHERE seq = $1")
            .bind(raised.subscription)
            .fetch_optional(&mut *conn)
            .await?;
    let Some((id, client)) = row else {
        return Ok(());
    };
    let deed = Deed::new(raised.cause.as_str(), &SubscriptionId::from_uuid(id))
        .of(ClientId::from_uuid(client))
        .with(serde_json::json!({ "code": raised.code }));
    audit::write(conn, By::worker(raised.at), &deed).await
}

/// Raises what this process cannot read, once a day.
pub(super) async fn raise_unreadable(
    store: &PostgresStore,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut read = store.0.lists.get().await?;
    let unreadable = why_unreadable(&mut read, store.reader()?, None).await?;
    drop(read);
    if unreadable.is_empty() {
        return Ok(());
    }
    let mut write = store.0.lists.begin().await?;
    // Several workers may find it so at the same moment: one after the other, the second finds it raised.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('tharsis unreadable ' || $1, 0))")
        .bind(store.0.schema.name())
        .execute(&mut *write)
        .await?;
    for (subscription, why) in unreadable {
        let is_raised: bool = sqlx::query_scalar(
            "SELECT EXISTS (
                 SELECT 1
                 FROM alert
                 WHERE subscription = $1 AND cause = $2 AND code = $3 AND raised_at > $4)",
        )
        .bind(subscription)
        .bind(Cause::Suspended.as_str())
        .bind(why.as_str())
        .bind(Instant(unreadable_since(now)))
        .fetch_one(&mut *write)
        .await?;
        if !is_raised {
            let raised = Raised::unreadable(subscription, why, now);
            raise(&mut write, std::slice::from_ref(&raised)).await?;
            audit_raised(&mut write, &raised).await?;
        }
    }
    write.commit(failpoint::ALERT).await
}

/// What a transition that was just written raises.
pub(super) async fn of(
    conn: &mut PgConnection,
    transition: &Transition,
) -> Result<Option<Raised>, StoreError> {
    let Transition {
        subscription,
        health,
        at,
    } = transition;
    let after: i64 = sqlx::query_scalar("SELECT suspend_after_ms FROM subscription WHERE seq = $1")
        .bind(subscription)
        .fetch_one(conn)
        .await?;
    let limits = Limits {
        suspend_after: crate::subscription::some_length(after),
        ..Limits::default()
    };
    Ok(of_transition(health, *at, limits)
        .map(|turn| Raised::of_turn(*subscription, turn, *at, health.cause.as_deref())))
}

const COLUMNS: usize = 12;

/// An alert, from its first column on.
fn alert_of(row: &PgRow) -> Result<Alert, sqlx::Error> {
    let instant = |at| Ok::<_, sqlx::Error>(row.try_get::<Instant, _>(at)?.0);
    let decode = |error: StoreError| sqlx::Error::Decode(error.into());
    Ok(Alert {
        id: row.try_get(0)?,
        cause: cause(row.try_get(1)?).map_err(decode)?,
        raised_at: instant(2)?,
        since: instant(3)?,
        stage: u8::try_from(row.try_get::<i16, _>(4)?).unwrap_or(0),
        count: row.try_get::<i64, _>(5)?.unsigned_abs(),
        code: row.try_get(6)?,
        due_at: instant(7)?,
        tries: row.try_get::<i32, _>(8)?.unsigned_abs(),
        accepted: row.try_get(9)?,
        event: (row.try_get::<Option<Uuid>, _>(10)?).map(EventId::from_uuid),
        event_count: row.try_get::<i64, _>(11)?.unsigned_abs(),
    })
}

struct CaseRow(i64, Alert);

impl<'r> FromRow<'r, PgRow> for CaseRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self(row.try_get(COLUMNS)?, alert_of(row)?))
    }
}

pub(super) async fn due(
    store: &PostgresStore,
    lease: &Lease,
    now: Timestamp,
) -> Result<Vec<Case>, StoreError> {
    owner::check(store, lease)?;
    let mut conn = store.0.engine.get().await?;
    let alerts: Vec<CaseRow> = sqlx::query_as(
        "SELECT a.seq, a.cause, a.raised_at, a.since, a.stage, a.count, a.code, a.due_at, a.tries, a.accepted,
                a.event, a.event_count, a.subscription
         FROM alert a
         WHERE a.ended_at IS NULL AND a.subscription IN (
             SELECT DISTINCT d.subscription
             FROM alert d
             JOIN subscription s ON s.seq = d.subscription
             WHERE d.ended_at IS NULL AND d.due_at <= $1 AND s.removed_at IS NULL AND s.shard = ANY ($3)
             LIMIT $2)
         ORDER BY a.subscription, a.cause",
    )
    .bind(Instant(now))
    .bind(i64::from(MOST_CASES))
    .bind(owner::array(lease.shards))
    .fetch_all(&mut *conn)
    .await?;
    if alerts.is_empty() {
        return Ok(Vec::new());
    }
    let alerts: Vec<_> = alerts
        .into_iter()
        .map(|CaseRow(of, alert)| (of, alert))
        .collect();
    let of: Vec<i64> = alerts.iter().map(|(of, _)| *of).collect();
    let told: Vec<(i64, String, Instant)> = sqlx::query_as(
        "SELECT subscription, cause, max(ended_at)
         FROM alert
         WHERE outcome IN ('told', 'nobody') AND subscription = ANY ($1)
         GROUP BY subscription, cause",
    )
    .bind(of)
    .fetch_all(&mut *conn)
    .await?;
    let told: Result<Vec<(i64, Cause, Timestamp)>, StoreError> = (told.into_iter())
        .map(|(of, word, Instant(at))| Ok((of, cause(&word)?, at)))
        .collect();
    Ok(cases(alerts, told?))
}

pub(super) async fn claim(
    store: &PostgresStore,
    lease: &Lease,
    claims: &[Claim],
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Claimed>, StoreError> {
    let ids: Vec<i64> = claims.iter().map(|claim| claim.alert.id).collect();
    let stages: Vec<i16> = claims
        .iter()
        .map(|claim| claim.alert.stage.into())
        .collect();
    let mut write = store.0.engine.begin().await?;
    let shards = owner::fence(&mut write, lease).await?;
    let got: Vec<(i64, Option<Uuid>)> = sqlx::query_as(
        "WITH locked AS MATERIALIZED (
             SELECT seq
             FROM alert
             WHERE (seq, stage) IN (SELECT * FROM unnest($1, $5::smallint[])) AND ended_at IS NULL AND due_at <= $2
               AND subscription IN (SELECT s.seq FROM subscription s WHERE s.shard = ANY ($4))
             ORDER BY array_position($1::bigint[], seq)
             FOR UPDATE
         )
         UPDATE alert SET due_at = $3 WHERE seq IN (SELECT seq FROM locked) RETURNING seq, event",
    )
    .bind(ids)
    .bind(Instant(now))
    .bind(Instant(until))
    .bind(owner::array(shards))
    .bind(stages)
    .fetch_all(&mut *write)
    .await?;
    let got: Vec<_> = (got.into_iter())
        .map(|(alert, event)| (alert, event.map(EventId::from_uuid)))
        .collect();
    let (mut claimed, untold) = claimed(claims, &got);
    if !untold.is_empty() {
        publish(store, &mut write, &untold, &mut claimed).await?;
    }
    write.commit(failpoint::ALERT).await?;
    Ok(claimed)
}

/// Publishes what tells of these alerts, and notes it with them. As all that is published, it is on the disk before
/// anybody goes by it.
async fn publish(
    store: &PostgresStore,
    write: &mut PgConnection,
    untold: &[(&Alert, &Event)],
    claimed: &mut [Claimed],
) -> Result<(), StoreError> {
    sqlx::query("SET LOCAL synchronous_commit = on")
        .execute(&mut *write)
        .await?;
    let events: Vec<&Event> = untold.iter().map(|(_, event)| *event).collect();
    let published = publish_own(store, write, &events).await?;
    let alerts: Vec<i64> = untold.iter().map(|(alert, _)| alert.id).collect();
    let counts: Vec<i64> = (untold.iter())
        .map(|(alert, _)| i64::try_from(alert.count).unwrap_or(i64::MAX))
        .collect();
    let ids: Vec<Uuid> = published.iter().map(|id| *id.as_uuid()).collect();
    sqlx::query(
        "UPDATE alert a SET event = g.event, event_count = g.count
         FROM unnest($1::bigint[], $2::uuid[], $3::bigint[]) AS g(alert, event, count)
         WHERE a.seq = g.alert",
    )
    .bind(&alerts)
    .bind(ids)
    .bind(counts)
    .execute(write)
    .await?;
    for one in claimed {
        let place = alerts.iter().position(|alert| *alert == one.alert);
        one.event = place.map(|place| published[place]).or(one.event);
    }
    Ok(())
}

pub(super) async fn told(
    store: &PostgresStore,
    tellings: &[Telling],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut write = store.0.engine.begin().await?;
    for Telling { alert, became } in tellings {
        match became {
            Told::Waits(due_at) => {
                set_due(&mut write, alert, *due_at, alert.tries, &alert.accepted).await?;
            }
            Told::Again { due_at, accepted } => {
                set_due(&mut write, alert, *due_at, alert.tries + 1, accepted).await?;
            }
            Told::Told | Told::Moot | Told::Nobody => {
                let is_whole = end(&mut write, alert, became, now).await?;
                if !is_whole && *became == Told::Told {
                    split(&mut write, alert, now).await?;
                }
            }
        }
    }
    write.commit(failpoint::ALERT).await
}

async fn set_due(
    conn: &mut PgConnection,
    alert: &Alert,
    due_at: Timestamp,
    tries: u32,
    accepted: &[String],
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE alert SET due_at = $2, tries = $3, accepted = $4
         WHERE seq = $1 AND ended_at IS NULL",
    )
    .bind(alert.id)
    .bind(Instant(due_at))
    .bind(i32::try_from(tries).unwrap_or(i32::MAX))
    .bind(accepted)
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether nothing was added to it since it was read.
async fn end(
    conn: &mut PgConnection,
    alert: &Alert,
    became: &Told,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let ended = sqlx::query(
        "UPDATE alert SET outcome = $4, ended_at = $5
         WHERE seq = $1 AND count = $2 AND raised_at = $3 AND ended_at IS NULL",
    )
    .bind(alert.id)
    .bind(i64::try_from(alert.count).unwrap_or(i64::MAX))
    .bind(Instant(alert.raised_at))
    .bind(became.outcome())
    .bind(Instant(now))
    .execute(conn)
    .await?
    .rows_affected();
    Ok(ended > 0)
}

/// What was told is over; what was added to it meanwhile is still to be told.
async fn split(conn: &mut PgConnection, alert: &Alert, now: Timestamp) -> Result<(), StoreError> {
    let count = i64::try_from(alert.count).unwrap_or(i64::MAX);
    for statement in [
        "INSERT INTO alert
             (subscription, cause, raised_at, since, stage, count, code, due_at, tries, accepted, event, outcome, ended_at)
         SELECT subscription, cause, $3, since, stage, $2, code, due_at, tries, accepted, $5, 'told', $4
         FROM alert
         WHERE seq = $1 AND ended_at IS NULL",
        "UPDATE alert
         SET count = count - $2, since = $3, tries = 0, accepted = '{}', event = nullif(event, $5),
             event_count = greatest(event_count - $2, 0), due_at = $4
         WHERE seq = $1 AND ended_at IS NULL",
    ] {
        sqlx::query(statement)
            .bind(alert.id)
            .bind(count)
            .bind(Instant(alert.raised_at))
            .bind(Instant(now))
            .bind(alert.event.map(|event| *event.as_uuid()))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

pub(super) async fn facts(store: &PostgresStore, subscription: i64) -> Result<Facts, StoreError> {
    let mut read = store.0.lists.begin().await?;
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE subscription = $1 LIMIT $2) d",
    )
    .bind(subscription)
    .bind(i64::try_from(tharsis_core::alert::MOST_COUNTED).unwrap_or(i64::MAX))
    .fetch_one(&mut *read)
    .await?;
    let answers: Vec<(String, i64, Instant)> = sqlx::query_as(
        "SELECT code, count(*), max(at)
         FROM (SELECT a.code AS code, a.at AS at
               FROM (SELECT event FROM delivery WHERE subscription = $1 LIMIT $2) d
               JOIN attempt a ON a.event = d.event AND a.subscription = $1 AND a.number > 0
               UNION ALL
               SELECT cause, at
               FROM (SELECT cause, at FROM transition WHERE subscription = $1 ORDER BY seq DESC LIMIT $2) t
               WHERE cause NOT IN ('resumed', 'changed')
               UNION ALL
               SELECT code, raised_at
               FROM alert
               WHERE subscription = $1 AND ended_at IS NULL AND cause = 'delivery.dead' AND code IS NOT NULL) o
         GROUP BY code
         ORDER BY 3 DESC, code
         LIMIT $3",
    )
    .bind(subscription)
    .bind(i64::from(MOST_ASKED))
    .bind(i64::from(MOST_ANSWERS))
    .fetch_all(&mut *read)
    .await?;
    let word: Option<String> =
        sqlx::query_scalar("SELECT condition FROM subscription_health WHERE subscription = $1")
            .bind(subscription)
            .fetch_optional(&mut *read)
            .await?;
    Ok(Facts {
        condition: word.map_or(Ok(Condition::default()), |word| condition(&word))?,
        waiting: waiting.unsigned_abs(),
        answers: (answers.into_iter())
            .map(|(code, count, Instant(at))| Answer {
                code,
                count: count.unsigned_abs(),
                at,
            })
            .collect(),
    })
}

struct ListRow(AlertRecord);

impl<'r> FromRow<'r, PgRow> for ListRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let (id, client) = (row.try_get(COLUMNS)?, row.try_get(COLUMNS + 2)?);
        let ended_at: Option<Instant> = row.try_get(COLUMNS + 4)?;
        Ok(Self(AlertRecord {
            subscription: SubscriptionId::from_uuid(id),
            subscription_name: row.try_get(COLUMNS + 1)?,
            client: ClientId::from_uuid(client),
            alert: alert_of(row)?,
            outcome: row.try_get(COLUMNS + 3)?,
            ended_at: ended_at.map(|Instant(at)| at),
        }))
    }
}

pub(super) async fn list(
    store: &PostgresStore,
    client: Option<ClientId>,
) -> Result<Vec<AlertRecord>, StoreError> {
    let rows: Vec<ListRow> = sqlx::query_as(
        "SELECT a.seq, a.cause, a.raised_at, a.since, a.stage, a.count, a.code, a.due_at, a.tries, a.accepted,
                a.event, a.event_count, s.id, s.name, s.client, a.outcome, a.ended_at
         FROM alert a
         JOIN subscription s ON s.seq = a.subscription
         WHERE $2 IS NULL OR s.client = $2
         ORDER BY a.ended_at IS NOT NULL, a.seq DESC
         LIMIT $1",
    )
    .bind(i64::from(MOST_LISTED))
    .bind(client.map(|client| *client.as_uuid()))
    .fetch_all(&mut *store.0.lists.get().await?)
    .await?;
    Ok(rows.into_iter().map(|ListRow(record)| record).collect())
}

/// The oldest ones, some at a time.
pub(super) async fn forget(store: &PostgresStore, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM alert
         WHERE raised_at < $1 AND seq IN (SELECT seq FROM alert ORDER BY seq LIMIT $2)",
    )
    .bind(Instant(forgotten_before(now)))
    .bind(i64::from(MOST_FORGOTTEN))
    .execute(&mut *store.0.lists.get().await?)
    .await?;
    Ok(())
}
