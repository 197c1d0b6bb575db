//! How the receivers of subscriptions do: written on transitions only.

use sqlx::SqliteConnection;
use tharsis_core::{SubscriptionId, Timestamp, health::Health};

use super::{SqliteStore, alert, owner, registry, value::Millis};
use crate::{
    Lease, StoreError, Transition, TransitionRecord, failpoint,
    health::{MOST_FORGOTTEN, MOST_TOLD, condition, forgotten_before, reason},
};

pub(super) async fn transition(
    store: &SqliteStore,
    lease: &Lease,
    transitions: &[Transition],
) -> Result<Vec<i64>, StoreError> {
    store.0.owner.check(lease)?;
    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    let mut left_alone = Vec::new();
    let mut is_bumped = false;
    let mut raised = Vec::new();
    for transition in transitions {
        let Transition {
            subscription,
            health,
            ..
        } = transition;
        // What was decided after something that does not count does not count either.
        if left_alone.contains(subscription) {
            continue;
        }
        if !note(&mut write, *subscription, health).await? {
            left_alone.push(*subscription);
            continue;
        }
        raised.extend(alert::of(&mut write, transition).await?);
        if let Some(reason) = reason(health) {
            suspend(&mut write, *subscription, reason, health.since).await?;
            is_bumped = true;
        }
    }
    alert::raise(&mut write, &raised).await?;
    if is_bumped {
        registry::bump(&mut write).await?;
    }
    write.commit(failpoint::HEALTH).await?;
    Ok(left_alone)
}

/// Writes it down, unless somebody else has written something since.
async fn note(
    conn: &mut SqliteConnection,
    subscription: i64,
    health: &Health,
) -> Result<bool, StoreError> {
    let before: Option<String> = sqlx::query_scalar(
        "SELECT condition FROM tharsis_subscription_health WHERE subscription = ?1",
    )
    .bind(subscription)
    .fetch_optional(&mut *conn)
    .await?;
    let noted = sqlx::query(
        "INSERT INTO tharsis_subscription_health
             (subscription, condition, since, cause, failing_since, probe_at, probes, version)
         SELECT seq, ?2, ?3, ?4, ?5, ?6, ?7, ?8
         FROM tharsis_subscription
         WHERE seq = ?1 AND removed_at IS NULL
           AND (?8 = 1 OR EXISTS (SELECT 1 FROM tharsis_subscription_health WHERE subscription = ?1))
         ON CONFLICT (subscription) DO UPDATE
         SET condition = excluded.condition, since = excluded.since, cause = excluded.cause,
             failing_since = excluded.failing_since, probe_at = excluded.probe_at, probes = excluded.probes,
             version = excluded.version
         WHERE version = excluded.version - 1",
    )
    .bind(subscription)
    .bind(health.condition.as_str())
    .bind(health.since.map_or(0, Timestamp::as_millis))
    .bind(&health.cause)
    .bind(health.failing_since.map(Timestamp::as_millis))
    .bind(health.probe_at.map(Timestamp::as_millis))
    .bind(health.probes)
    .bind(health.version)
    .execute(&mut *conn)
    .await?
    .rows_affected()
        > 0;
    // One that fails for days is open for days.
    if noted && before.as_deref() != Some(health.condition.as_str()) {
        record(conn, subscription).await?;
    }
    Ok(noted)
}

/// What it says now is one more of the transitions.
async fn record(conn: &mut SqliteConnection, subscription: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tharsis_transition (subscription, at, became, cause)
         SELECT subscription, since, condition, cause FROM tharsis_subscription_health WHERE subscription = ?1",
    )
    .bind(subscription)
    .execute(conn)
    .await?;
    Ok(())
}

/// Once, for the first reason.
async fn suspend(
    conn: &mut SqliteConnection,
    subscription: i64,
    reason: &str,
    since: Option<Timestamp>,
) -> Result<(), StoreError> {
    let suspended = sqlx::query(
        "INSERT INTO tharsis_subscription_state (subscription, state, reason, since)
         VALUES (?1, 'suspended', ?2, ?3)
         ON CONFLICT (subscription) DO UPDATE
         SET state = excluded.state, reason = excluded.reason, since = excluded.since
         WHERE state <> 'suspended'",
    )
    .bind(subscription)
    .bind(reason)
    .bind(since.map_or(0, Timestamp::as_millis))
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if suspended > 0 {
        registry::count_change(conn, subscription).await?;
    }
    Ok(())
}

/// An admin did something about it: one delivery shows whether it is back, and how long it failed is forgotten.
pub(super) async fn half_open(
    conn: &mut SqliteConnection,
    subscription: i64,
    cause: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tharsis_subscription_health (subscription, condition, since, cause, version)
         VALUES (?1, 'half_open', ?2, ?3, 1)
         ON CONFLICT (subscription) DO UPDATE
         SET condition = excluded.condition, since = excluded.since, cause = excluded.cause,
             failing_since = NULL, probe_at = NULL, probes = 0, version = version + 1",
    )
    .bind(subscription)
    .bind(now.as_millis())
    .bind(cause)
    .execute(&mut *conn)
    .await?;
    record(conn, subscription).await
}

pub(super) async fn transitions(
    store: &SqliteStore,
    id: SubscriptionId,
) -> Result<Vec<TransitionRecord>, StoreError> {
    let rows: Vec<(Millis, String, Option<String>)> = sqlx::query_as(
        "SELECT at, became, cause
         FROM tharsis_transition
         WHERE subscription = (SELECT seq FROM tharsis_subscription WHERE id = ?1)
         ORDER BY seq DESC
         LIMIT ?2",
    )
    .bind(super::value::blob(id.as_uuid()))
    .bind(MOST_TOLD)
    .fetch_all(&store.0.lists)
    .await?;
    rows.into_iter()
        .map(|(Millis(at), became, cause)| {
            Ok(TransitionRecord {
                at,
                became: condition(&became)?,
                cause,
            })
        })
        .collect()
}

/// The oldest ones, some at a time.
pub(super) async fn forget(store: &SqliteStore, now: Timestamp) -> Result<(), StoreError> {
    let before = forgotten_before(now).as_millis();
    loop {
        let oldest: Option<i64> =
            sqlx::query_scalar("SELECT at FROM tharsis_transition ORDER BY seq LIMIT 1")
                .fetch_optional(&store.0.reads)
                .await?;
        if oldest.is_none_or(|at| at >= before) {
            return Ok(());
        }
        let mut write = store.0.writer.begin().await?;
        let gone = sqlx::query(
            "DELETE FROM tharsis_transition
             WHERE at < ?1 AND seq IN (SELECT seq FROM tharsis_transition ORDER BY seq LIMIT ?2)",
        )
        .bind(before)
        .bind(MOST_FORGOTTEN)
        .execute(&mut *write)
        .await?
        .rows_affected();
        write.commit(failpoint::HEALTH).await?;
        if gone < u64::from(MOST_FORGOTTEN) {
            return Ok(());
        }
    }
}
