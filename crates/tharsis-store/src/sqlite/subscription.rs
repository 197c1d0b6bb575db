//! Subscriptions as rows.

use std::{sync::Arc, time::Duration};

use sqlx::{FromRow, Row as _, SqliteConnection, SqliteExecutor, sqlite::SqliteRow};
use tharsis_core::{
    ClientId, SubscriptionId, Timestamp,
    egress::PayloadUrl,
    event::EventType,
    profile::Profile,
    retry::RetryPolicy,
    secret::{SealingKey, Secret, SecretRow},
    subscription::{Settings, State, Subscription, Target},
};
use uuid::Uuid;

use super::{
    SqliteStore,
    value::{Id, Millis, blob, corrupt, json},
};
use crate::{Snapshot, StoreError};

/// Why a subscription is held whose secret does not open.
const UNREADABLE: &str = "secret_unreadable";

/// A subscription with its state and its sealed secret.
struct SubscriptionRow {
    seq: i64,
    id: Uuid,
    client: Uuid,
    name: String,
    url: String,
    profile: String,
    events: String,
    content_type: String,
    timeout_ms: u32,
    retry: String,
    max_in_flight: u32,
    created_at: Timestamp,
    updated_at: Timestamp,
    state: Option<String>,
    reason: Option<String>,
    sealed: Option<Vec<u8>>,
}

macro_rules! columns {
    () => {
        "s.seq, s.id, s.client, s.name, s.url, s.profile, s.events, s.content_type, s.timeout_ms, s.retry,
         s.max_in_flight, s.created_at, s.updated_at, st.state, st.reason, k.sealed"
    };
}

macro_rules! joins {
    () => {
        "LEFT JOIN tharsis_subscription_state st ON st.subscription = s.seq
         LEFT JOIN tharsis_secret k ON k.subscription = s.seq"
    };
}

impl<'r> FromRow<'r, SqliteRow> for SubscriptionRow {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        let Id(id) = row.try_get(1)?;
        let Id(client) = row.try_get(2)?;
        let Millis(created_at) = row.try_get(11)?;
        let Millis(updated_at) = row.try_get(12)?;
        Ok(Self {
            seq: row.try_get(0)?,
            id,
            client,
            name: row.try_get(3)?,
            url: row.try_get(4)?,
            profile: row.try_get(5)?,
            events: row.try_get(6)?,
            content_type: row.try_get(7)?,
            timeout_ms: row.try_get(8)?,
            retry: row.try_get(9)?,
            max_in_flight: row.try_get(10)?,
            created_at,
            updated_at,
            state: row.try_get(13)?,
            reason: row.try_get(14)?,
            sealed: row.try_get(15)?,
        })
    }
}

impl SubscriptionRow {
    fn into_target(self, key: &SealingKey) -> Result<Target, StoreError> {
        let secret = self
            .sealed
            .as_deref()
            .map(|sealed| key.open(&secret_row(&self.id), sealed))
            .transpose();
        let (secret, state) = match (secret, self.state.as_deref()) {
            (Ok(secret), None) => (secret, State::Active),
            (Ok(secret), Some(word)) => {
                let state = State::parse(word, self.reason.as_deref())
                    .ok_or_else(|| corrupt(format!("the state {word}")))?;
                (secret, state)
            }
            (Err(_), _) => (
                None,
                State::Disabled {
                    reason: UNREADABLE.to_owned(),
                },
            ),
        };
        Ok(Target {
            subscription: Subscription {
                id: SubscriptionId::from_uuid(self.id),
                secret_fingerprint: secret.as_ref().map(Secret::fingerprint),
                state,
                created_at: self.created_at,
                updated_at: self.updated_at,
                settings: self.into_settings()?,
            },
            secret,
        })
    }

    fn into_settings(self) -> Result<Settings, StoreError> {
        let events: Vec<String> = serde_json::from_str(&self.events).map_err(corrupt)?;
        let retry: Vec<u64> = serde_json::from_str(&self.retry).map_err(corrupt)?;
        Ok(Settings {
            client: ClientId::from_uuid(self.client),
            name: self.name,
            url: PayloadUrl::stored(&self.url).map_err(corrupt)?,
            profile: Profile::named(&self.profile)
                .ok_or_else(|| corrupt(format!("the profile {}", self.profile)))?,
            events: events
                .iter()
                .map(|event| EventType::new(event))
                .collect::<Result<_, _>>()
                .map_err(corrupt)?,
            content_type: self.content_type,
            timeout: Duration::from_millis(self.timeout_ms.into()),
            retry: RetryPolicy::new(retry.into_iter().map(Duration::from_millis).collect())
                .map_err(corrupt)?,
            max_in_flight: self.max_in_flight,
        })
    }
}

/// What a subscription's sealed secret belongs to.
pub(super) fn secret_row(id: &Uuid) -> SecretRow<'_> {
    SecretRow {
        table: "tharsis_secret",
        id: id.as_bytes(),
    }
}

/// The columns that hold settings, in the order of the statements that write them.
pub(super) struct SettingsRow {
    pub(super) url: String,
    pub(super) events: String,
    pub(super) timeout_ms: u32,
    pub(super) retry: String,
}

impl SettingsRow {
    pub(super) fn of(settings: &Settings) -> Result<Self, StoreError> {
        let events: Vec<&str> = settings.events.iter().map(EventType::as_str).collect();
        let retry: Vec<u64> = settings
            .retry
            .delays()
            .iter()
            .copied()
            .map(millis)
            .collect();
        Ok(Self {
            url: settings.url.given().to_owned(),
            events: json(&events)?,
            timeout_ms: u32::try_from(settings.timeout.as_millis()).unwrap_or(u32::MAX),
            retry: json(&retry)?,
        })
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// One subscription that is not removed, with its secret opened and its short number.
pub(super) async fn find(
    conn: impl SqliteExecutor<'_>,
    key: &SealingKey,
    id: SubscriptionId,
) -> Result<(i64, Target), StoreError> {
    let row: Option<SubscriptionRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM tharsis_subscription s ",
        joins!(),
        " WHERE s.id = ?1 AND s.removed_at IS NULL"
    ))
    .bind(blob(id.as_uuid()))
    .fetch_optional(conn)
    .await?;
    let row = row.ok_or_else(|| StoreError::NotFound {
        what: "subscription",
        id: id.to_string(),
    })?;
    Ok((row.seq, row.into_target(key)?))
}

pub(super) async fn list(
    store: &SqliteStore,
    client: Option<ClientId>,
) -> Result<Vec<Subscription>, StoreError> {
    let rows: Vec<SubscriptionRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM tharsis_subscription s ",
        joins!(),
        " WHERE s.removed_at IS NULL AND (?1 IS NULL OR s.client = ?1) ORDER BY s.seq"
    ))
    .bind(client.map(|c| blob(c.as_uuid())))
    .fetch_all(&store.0.lists)
    .await?;
    rows.into_iter()
        .map(|row| Ok(row.into_target(&store.0.key)?.subscription))
        .collect()
}

/// A row of the registry, or none beside the revision.
struct SnapshotRow {
    revision: i64,
    subscription: Option<SubscriptionRow>,
}

impl<'r> FromRow<'r, SqliteRow> for SnapshotRow {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        let has_one = row.try_get::<Option<i64>, _>(0)?.is_some();
        Ok(Self {
            revision: row.try_get(16)?,
            subscription: has_one
                .then(|| SubscriptionRow::from_row(row))
                .transpose()?,
        })
    }
}

pub(super) async fn snapshot(store: &SqliteStore) -> Result<Snapshot, StoreError> {
    let rows: Vec<SnapshotRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", r.revision FROM tharsis_revision r
         LEFT JOIN tharsis_subscription s ON s.removed_at IS NULL ",
        joins!(),
        " ORDER BY s.seq"
    ))
    .fetch_all(&store.0.reads)
    .await?;
    let revision = rows.first().map_or(0, |row| row.revision);
    let targets = rows
        .into_iter()
        .filter_map(|row| row.subscription)
        .map(|row| Ok((row.seq, Arc::new(row.into_target(&store.0.key)?))))
        .collect::<Result<_, StoreError>>()?;
    Ok(Snapshot { revision, targets })
}

/// The short numbers of subscriptions whose secret does not open: they are held, and no table says so.
pub(super) async fn unreadable(
    conn: &mut SqliteConnection,
    key: &SealingKey,
) -> Result<Vec<i64>, StoreError> {
    let sealed: Vec<(i64, Id, Vec<u8>)> = sqlx::query_as(
        "SELECT s.seq, s.id, k.sealed
         FROM tharsis_secret k
         JOIN tharsis_subscription s ON s.seq = k.subscription",
    )
    .fetch_all(conn)
    .await?;
    Ok(sealed
        .into_iter()
        .filter(|(_, Id(id), sealed)| key.open(&secret_row(id), sealed).is_err())
        .map(|(seq, _, _)| seq)
        .collect())
}
