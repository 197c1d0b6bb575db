//! What people are to be told.

use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use tharsis_core::{
    ClientId, EventId, SubscriptionId, Timestamp,
    alert::{Alert, Answer, Case, Cause, Facts, of_transition},
    event::Event,
    health::{Condition, Limits},
};

use super::{
    SqliteStore, audit, owner, publish_in,
    subscription::why_unreadable,
    value::{Id, Millis, blob, corrupt, json},
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
pub(super) async fn raise(
    conn: &mut SqliteConnection,
    raised: &[Raised],
) -> Result<(), StoreError> {
    for one in raised {
        let count: Option<i64> = sqlx::query_scalar(
            "INSERT INTO tharsis_alert (subscription, cause, raised_at, since, stage, count, code, due_at)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?3
             WHERE ?2 <> 'subscription.failing' OR NOT EXISTS (
                 SELECT 1
                 FROM tharsis_alert a
                 JOIN tharsis_subscription_health h ON h.subscription = a.subscription
                 WHERE a.subscription = ?1 AND a.cause = ?2 AND a.stage >= ?5 AND a.raised_at >= h.failing_since
                   AND h.condition IN ('open', 'half_open', 'suspended'))
             ON CONFLICT (subscription, cause) WHERE ended_at IS NULL DO UPDATE
             SET raised_at = max(raised_at, excluded.raised_at),
                 since = CASE WHEN ?8 THEN excluded.since ELSE min(since, excluded.since) END,
                 stage = CASE WHEN ?8 THEN excluded.stage ELSE max(stage, excluded.stage) END,
                 count = count + excluded.count,
                 code = coalesce(excluded.code, code),
                 accepted = CASE WHEN excluded.stage > stage THEN '[]' ELSE accepted END,
                 event = CASE WHEN excluded.stage > stage THEN NULL ELSE event END
             RETURNING count",
        )
        .bind(one.subscription)
        .bind(one.cause.as_str())
        .bind(one.at.as_millis())
        .bind(one.since.as_millis())
        .bind(one.stage)
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
async fn audit_raised(conn: &mut SqliteConnection, raised: &Raised) -> Result<(), StoreError> {
    let row: Option<(Id, Id)> =
        sqlx::query_as("SELECT id, client FROM tharsis_subscription WHERE seq = ?1")
            .bind(raised.subscription)
            .fetch_optional(&mut *conn)
            .await?;
    let Some((Id(id), Id(client))) = row else {
        return Ok(());
    };
    let deed = Deed::new(raised.cause.as_str(), &SubscriptionId::from_uuid(id))
        .of(ClientId::from_uuid(client))
        .with(serde_json::json!({ "code": raised.code }));
    audit::write(conn, By::worker(raised.at), &deed).await
}

/// Raises what this process cannot read, once a day.
pub(super) async fn raise_unreadable(
    store: &SqliteStore,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut read = store.0.lists.acquire().await?;
    let unreadable = why_unreadable(&mut read, store.reader(), None).await?;
    drop(read);
    if unreadable.is_empty() {
        return Ok(());
    }
    let mut write = store.0.writer.begin().await?;
    for (subscription, why) in unreadable {
        let is_raised: bool = sqlx::query_scalar(
            "SELECT EXISTS (
                 SELECT 1
                 FROM tharsis_alert
                 WHERE subscription = ?1 AND cause = ?2 AND code = ?3 AND raised_at > ?4)",
        )
        .bind(subscription)
        .bind(Cause::Suspended.as_str())
        .bind(why.as_str())
        .bind(unreadable_since(now).as_millis())
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
    conn: &mut SqliteConnection,
    transition: &Transition,
) -> Result<Option<Raised>, StoreError> {
    let Transition {
        subscription,
        health,
        at,
    } = transition;
    let after: i64 =
        sqlx::query_scalar("SELECT suspend_after_ms FROM tharsis_subscription WHERE seq = ?1")
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
fn alert_of(row: &SqliteRow) -> Result<Alert, sqlx::Error> {
    let instant = |at| Ok::<_, sqlx::Error>(row.try_get::<Millis, _>(at)?.0);
    let decode = |error: StoreError| sqlx::Error::Decode(error.into());
    Ok(Alert {
        id: row.try_get(0)?,
        cause: cause(row.try_get(1)?).map_err(decode)?,
        raised_at: instant(2)?,
        since: instant(3)?,
        stage: row.try_get(4)?,
        count: row.try_get::<i64, _>(5)?.unsigned_abs(),
        code: row.try_get(6)?,
        due_at: instant(7)?,
        tries: row.try_get(8)?,
        accepted: serde_json::from_str(row.try_get(9)?).map_err(|error| decode(corrupt(error)))?,
        event: row.try_get(10).map(event_id)?,
        event_count: row.try_get::<i64, _>(11)?.unsigned_abs(),
    })
}

fn event_id(id: Option<Id>) -> Option<EventId> {
    id.map(|Id(id)| EventId::from_uuid(id))
}

struct CaseRow(i64, Alert);

impl<'r> FromRow<'r, SqliteRow> for CaseRow {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self(row.try_get(COLUMNS)?, alert_of(row)?))
    }
}

pub(super) async fn due(
    store: &SqliteStore,
    lease: &Lease,
    now: Timestamp,
) -> Result<Vec<Case>, StoreError> {
    store.0.owner.check(lease)?;
    let alerts: Vec<CaseRow> = sqlx::query_as(
        "SELECT a.seq, a.cause, a.raised_at, a.since, a.stage, a.count, a.code, a.due_at, a.tries, a.accepted,
                a.event, a.event_count, a.subscription
         FROM tharsis_alert a
         WHERE a.ended_at IS NULL AND a.subscription IN (
             SELECT DISTINCT d.subscription
             FROM tharsis_alert d
             JOIN tharsis_subscription s ON s.seq = d.subscription
             WHERE d.ended_at IS NULL AND d.due_at <= ?1 AND s.removed_at IS NULL
             LIMIT ?2)
         ORDER BY a.subscription, a.cause",
    )
    .bind(now.as_millis())
    .bind(MOST_CASES)
    .fetch_all(&store.0.reads)
    .await?;
    if alerts.is_empty() {
        return Ok(Vec::new());
    }
    let alerts: Vec<_> = alerts
        .into_iter()
        .map(|CaseRow(of, alert)| (of, alert))
        .collect();
    let of: Vec<i64> = alerts.iter().map(|(of, _)| *of).collect();
    let told: Vec<(i64, String, Millis)> = sqlx::query_as(
        "SELECT subscription, cause, max(ended_at)
         FROM tharsis_alert
         WHERE outcome IN ('told', 'nobody') AND subscription IN (SELECT value FROM json_each(?1))
         GROUP BY subscription, cause",
    )
    .bind(json(&of)?)
    .fetch_all(&store.0.reads)
    .await?;
    let told: Result<Vec<(i64, Cause, Timestamp)>, StoreError> = (told.into_iter())
        .map(|(of, word, Millis(at))| Ok((of, cause(&word)?, at)))
        .collect();
    Ok(cases(alerts, told?))
}

pub(super) async fn claim(
    store: &SqliteStore,
    lease: &Lease,
    claims: &[Claim],
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Claimed>, StoreError> {
    let stages: Vec<(i64, u8)> = (claims.iter())
        .map(|claim| (claim.alert.id, claim.alert.stage))
        .collect();
    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    let got: Vec<(i64, Option<Id>)> = sqlx::query_as(
        "UPDATE tharsis_alert SET due_at = ?3
         WHERE (seq, stage) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1)) AND ended_at IS NULL AND due_at <= ?2
         RETURNING seq, event",
    )
    .bind(json(&stages)?)
    .bind(now.as_millis())
    .bind(until.as_millis())
    .fetch_all(&mut *write)
    .await?;
    let got: Vec<_> = (got.into_iter())
        .map(|(alert, event)| (alert, event_id(event)))
        .collect();
    let (mut claimed, untold) = claimed(claims, &got);
    for (alert, event) in untold {
        let id = publish(store, &mut write, alert, event).await?;
        let its = claimed.iter_mut().filter(|one| one.alert == alert.id);
        its.for_each(|one| one.event = Some(id));
        // Before the turn ends: who asks for changes asks in a later one.
        store.wrote();
    }
    write.commit(failpoint::ALERT).await?;
    Ok(claimed)
}

/// Publishes what tells of this alert, and notes it there.
async fn publish(
    store: &SqliteStore,
    conn: &mut SqliteConnection,
    alert: &Alert,
    event: &Event,
) -> Result<EventId, StoreError> {
    let id = EventId::new(owner::clock(conn).await?, store.random_id_bytes()?);
    let published = publish_in::write(conn, event, id).await?;
    sqlx::query("UPDATE tharsis_alert SET event = ?2, event_count = ?3 WHERE seq = ?1")
        .bind(alert.id)
        .bind(blob(published.as_uuid()))
        .bind(i64::try_from(alert.count).unwrap_or(i64::MAX))
        .execute(conn)
        .await?;
    Ok(published)
}

pub(super) async fn told(
    store: &SqliteStore,
    tellings: &[Telling],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut write = store.0.writer.begin().await?;
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
    conn: &mut SqliteConnection,
    alert: &Alert,
    due_at: Timestamp,
    tries: u32,
    accepted: &[String],
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE tharsis_alert SET due_at = ?2, tries = ?3, accepted = ?4
         WHERE seq = ?1 AND ended_at IS NULL",
    )
    .bind(alert.id)
    .bind(due_at.as_millis())
    .bind(tries)
    .bind(json(&accepted)?)
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether nothing was added to it since it was read.
async fn end(
    conn: &mut SqliteConnection,
    alert: &Alert,
    became: &Told,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let ended = sqlx::query(
        "UPDATE tharsis_alert SET outcome = ?4, ended_at = ?5
         WHERE seq = ?1 AND count = ?2 AND raised_at = ?3 AND ended_at IS NULL",
    )
    .bind(alert.id)
    .bind(i64::try_from(alert.count).unwrap_or(i64::MAX))
    .bind(alert.raised_at.as_millis())
    .bind(became.outcome())
    .bind(now.as_millis())
    .execute(conn)
    .await?
    .rows_affected();
    Ok(ended > 0)
}

/// What was told is over; what was added to it meanwhile is still to be told.
async fn split(
    conn: &mut SqliteConnection,
    alert: &Alert,
    now: Timestamp,
) -> Result<(), StoreError> {
    let count = i64::try_from(alert.count).unwrap_or(i64::MAX);
    for statement in [
        "INSERT INTO tharsis_alert
             (subscription, cause, raised_at, since, stage, count, code, due_at, tries, accepted, event, outcome, ended_at)
         SELECT subscription, cause, ?3, since, stage, ?2, code, due_at, tries, accepted, ?5, 'told', ?4
         FROM tharsis_alert
         WHERE seq = ?1 AND ended_at IS NULL",
        "UPDATE tharsis_alert
         SET count = count - ?2, since = ?3, tries = 0, accepted = '[]', event = nullif(event, ?5),
             event_count = max(event_count - ?2, 0), due_at = ?4
         WHERE seq = ?1 AND ended_at IS NULL",
    ] {
        sqlx::query(statement)
            .bind(alert.id)
            .bind(count)
            .bind(alert.raised_at.as_millis())
            .bind(now.as_millis())
            .bind(alert.event.map(|event| blob(event.as_uuid())))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

pub(super) async fn facts(store: &SqliteStore, subscription: i64) -> Result<Facts, StoreError> {
    let mut read = store.0.lists.begin().await?;
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM tharsis_delivery WHERE subscription = ?1 LIMIT ?2)",
    )
    .bind(subscription)
    .bind(i64::try_from(tharsis_core::alert::MOST_COUNTED).unwrap_or(i64::MAX))
    .fetch_one(&mut *read)
    .await?;
    let answers: Vec<(String, i64, Millis)> = sqlx::query_as(
        "SELECT code, count(*), max(at)
         FROM (SELECT a.code AS code, a.at AS at
               FROM (SELECT event FROM tharsis_delivery WHERE subscription = ?1 LIMIT ?2) d
               JOIN tharsis_attempt a ON a.event = d.event AND a.subscription = ?1 AND a.number > 0
               UNION ALL
               SELECT cause, at
               FROM (SELECT cause, at FROM tharsis_transition WHERE subscription = ?1 ORDER BY seq DESC LIMIT ?2)
               WHERE cause NOT IN ('resumed', 'changed')
               UNION ALL
               SELECT code, raised_at
               FROM tharsis_alert
               WHERE subscription = ?1 AND ended_at IS NULL AND cause = 'delivery.dead' AND code IS NOT NULL)
         GROUP BY code
         ORDER BY 3 DESC, code
         LIMIT ?3",
    )
    .bind(subscription)
    .bind(MOST_ASKED)
    .bind(MOST_ANSWERS)
    .fetch_all(&mut *read)
    .await?;
    let word: Option<String> = sqlx::query_scalar(
        "SELECT condition FROM tharsis_subscription_health WHERE subscription = ?1",
    )
    .bind(subscription)
    .fetch_optional(&mut *read)
    .await?;
    Ok(Facts {
        condition: word.map_or(Ok(Condition::default()), |word| condition(&word))?,
        waiting: waiting.unsigned_abs(),
        answers: (answers.into_iter())
            .map(|(code, count, Millis(at))| Answer {
                code,
                count: count.unsigned_abs(),
                at,
            })
            .collect(),
    })
}

struct ListRow(AlertRecord);

impl<'r> FromRow<'r, SqliteRow> for ListRow {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        let (Id(id), Id(client)) = (row.try_get(COLUMNS)?, row.try_get(COLUMNS + 2)?);
        let ended_at: Option<Millis> = row.try_get(COLUMNS + 4)?;
        Ok(Self(AlertRecord {
            subscription: SubscriptionId::from_uuid(id),
            subscription_name: row.try_get(COLUMNS + 1)?,
            client: ClientId::from_uuid(client),
            alert: alert_of(row)?,
            outcome: row.try_get(COLUMNS + 3)?,
            ended_at: ended_at.map(|Millis(at)| at),
        }))
    }
}

pub(super) async fn list(
    store: &SqliteStore,
    client: Option<ClientId>,
) -> Result<Vec<AlertRecord>, StoreError> {
    let rows: Vec<ListRow> = sqlx::query_as(
        "SELECT a.seq, a.cause, a.raised_at, a.since, a.stage, a.count, a.code, a.due_at, a.tries, a.accepted,
                a.event, a.event_count, s.id, s.name, s.client, a.outcome, a.ended_at
         FROM tharsis_alert a
         JOIN tharsis_subscription s ON s.seq = a.subscription
         WHERE ?2 IS NULL OR s.client = ?2
         ORDER BY a.ended_at IS NOT NULL, a.seq DESC
         LIMIT ?1",
    )
    .bind(MOST_LISTED)
    .bind(client.map(|client| blob(client.as_uuid())))
    .fetch_all(&store.0.lists)
    .await?;
    Ok(rows.into_iter().map(|ListRow(record)| record).collect())
}

/// The oldest ones, some at a time.
pub(super) async fn forget(store: &SqliteStore, now: Timestamp) -> Result<(), StoreError> {
    let before = forgotten_before(now).as_millis();
    let oldest: Option<i64> =
        sqlx::query_scalar("SELECT raised_at FROM tharsis_alert ORDER BY seq LIMIT 1")
            .fetch_optional(&store.0.reads)
            .await?;
    if oldest.is_none_or(|at| at >= before) {
        return Ok(());
    }
    let mut write = store.0.writer.begin().await?;
    sqlx::query(
        "DELETE FROM tharsis_alert
         WHERE raised_at < ?1 AND seq IN (SELECT seq FROM tharsis_alert ORDER BY seq LIMIT ?2)",
    )
    .bind(before)
    .bind(MOST_FORGOTTEN)
    .execute(&mut *write)
    .await?;
    write.commit(failpoint::ALERT).await
}
