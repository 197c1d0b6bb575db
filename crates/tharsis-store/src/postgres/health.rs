//! How the receivers of subscriptions do: written on transitions only.

use sqlx::PgConnection;
use tharsis_core::{SubscriptionId, Timestamp, health::Health};

use super::{PostgresStore, alert, owner, registry, value::Instant};
use crate::{
    Lease, Shards, StoreError, Transition, TransitionRecord, failpoint,
    health::{MOST_FORGOTTEN, MOST_TOLD, condition, forgotten_before, reason},
};

pub(super) async fn transition(
    store: &PostgresStore,
    lease: &Lease,
    transitions: &[Transition],
) -> Result<Vec<i64>, StoreError> {
    owner::check(store, lease)?;
    let mut write = store.0.engine.begin().await?;
    // What was sent before a shard became surplus is written down too.
    let shards = owner::left_of(&mut write, lease).await?;
    // Before any row, as the registry does.
    if transitions.iter().any(|t| reason(&t.health).is_some()) {
        registry::bump(&mut write).await?;
    }
    let mut left_alone = Vec::new();
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
        if !note(&mut write, *subscription, health, shards).await? {
            left_alone.push(*subscription);
            continue;
        }
        raised.extend(alert::of(&mut write, transition).await?);
        if let Some(reason) = reason(health) {
            suspend(&mut write, *subscription, reason, health.since).await?;
        }
    }
    // In the order that settlements keep too, so that neither waits for the other crosswise.
    raised.sort_by_key(|one| (one.subscription, one.cause));
    alert::raise(&mut write, &raised).await?;
    write.commit(failpoint::HEALTH).await?;
    Ok(left_alone)
}

/// Writes it down, unless somebody else has written something since.
async fn note(
    conn: &mut PgConnection,
    subscription: i64,
    health: &Health,
    shards: Shards,
) -> Result<bool, StoreError> {
    let before: Option<String> =
        sqlx::query_scalar("SELECT condition FROM subscription_health WHERE subscription = $1")
            .bind(subscription)
            .fetch_optional(&mut *conn)
            .await?;
    let noted = sqlx::query(
        "INSERT INTO subscription_health AS h
             (subscription, condition, since, cause, failing_since, probe_at, probes, version)
         SELECT seq, $2, $3, $4, $5, $6, $7, $8
         FROM subscription
         WHERE seq = $1 AND removed_at IS NULL
           AND ($8 = 1 OR EXISTS (SELECT FROM subscription_health WHERE subscription = $1)) AND shard = ANY ($9)
         ON CONFLICT (subscription) DO UPDATE
         SET condition = excluded.condition, since = excluded.since, cause = excluded.cause,
             failing_since = excluded.failing_since, probe_at = excluded.probe_at, probes = excluded.probes,
             version = excluded.version
         WHERE h.version = excluded.version - 1",
    )
    .bind(subscription)
    .bind(health.condition.as_str())
    .bind(Instant(health.since.unwrap_or(EPOCH)))
    .bind(&health.cause)
    .bind(health.failing_since.map(Instant))
    .bind(health.probe_at.map(Instant))
    .bind(i32::try_from(health.probes).unwrap_or(i32::MAX))
    .bind(health.version)
    .bind(owner::array(shards))
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
async fn record(conn: &mut PgConnection, subscription: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO transition (subscription, at, became, cause)
         SELECT subscription, since, condition, cause FROM subscription_health WHERE subscription = $1",
    )
    .bind(subscription)
    .execute(conn)
    .await?;
    Ok(())
}

/// Once, for the first reason.
async fn suspend(
    conn: &mut PgConnection,
    subscription: i64,
    reason: &str,
    since: Option<Timestamp>,
) -> Result<(), StoreError> {
    let suspended = sqlx::query(
        "INSERT INTO subscription_state AS st (subscription, state, reason, since)
         VALUES ($1, 'suspended', $2, $3)
         ON CONFLICT (subscription) DO UPDATE
         SET state = excluded.state, reason = excluded.reason, since = excluded.since
         WHERE st.state <> 'suspended'",
    )
    .bind(subscription)
    .bind(reason)
    .bind(Instant(since.unwrap_or(EPOCH)))
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
    conn: &mut PgConnection,
    subscription: i64,
    cause: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO subscription_health AS h (subscription, condition, since, cause, version)
         VALUES ($1, 'half_open', $2, $3, 1)
         ON CONFLICT (subscription) DO UPDATE
         SET condition = excluded.condition, since = excluded.since, cause = excluded.cause,
             failing_since = NULL, probe_at = NULL, probes = 0, version = h.version + 1",
    )
    .bind(subscription)
    .bind(Instant(now))
    .bind(cause)
    .execute(&mut *conn)
    .await?;
    record(conn, subscription).await
}

pub(super) async fn transitions(
    store: &PostgresStore,
    id: SubscriptionId,
) -> Result<Vec<TransitionRecord>, StoreError> {
    let rows: Vec<(Instant, String, Option<String>)> = sqlx::query_as(
        "SELECT at, became, cause
         FROM transition
         WHERE subscription = (SELECT seq FROM subscription WHERE id = $1)
         ORDER BY seq DESC
         LIMIT $2",
    )
    .bind(id.as_uuid())
    .bind(i64::from(MOST_TOLD))
    .fetch_all(&mut *store.0.lists.get().await?)
    .await?;
    rows.into_iter()
        .map(|(Instant(at), became, cause)| {
            Ok(TransitionRecord {
                at,
                became: condition(&became)?,
                cause,
            })
        })
        .collect()
}

/// The oldest ones, some at a time.
pub(super) async fn forget(store: &PostgresStore, now: Timestamp) -> Result<(), StoreError> {
    loop {
        let gone = sqlx::query(
            "DELETE FROM transition
             WHERE at < $1 AND seq IN (SELECT seq FROM transition ORDER BY seq LIMIT $2)",
        )
        .bind(Instant(forgotten_before(now)))
        .bind(i64::from(MOST_FORGOTTEN))
        .execute(&mut *store.0.lists.get().await?)
        .await?
        .rows_affected();
        if gone < u64::from(MOST_FORGOTTEN) {
            return Ok(());
        }
    }
}

const EPOCH: Timestamp = Timestamp::from_millis(0);
