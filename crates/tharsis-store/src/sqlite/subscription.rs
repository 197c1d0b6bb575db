//! Subscriptions as rows.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use sqlx::{FromRow, Row as _, SqliteConnection, SqliteExecutor, sqlite::SqliteRow};
use tharsis_core::{
    ClientId, SubscriptionId, Timestamp,
    health::{Condition, Health},
    subscription::{Subscription, Target, Unreadable},
};

use super::{
    SqliteStore, campaign,
    value::{Id, Millis, blob, unhex},
};
use crate::{
    Snapshot, StoreError,
    key::Sealed,
    subscription::{Reader, SubscriptionRow, not_found},
};

macro_rules! columns {
    () => {
        "s.seq, s.id, s.client, s.name, s.url, s.profile, s.events, s.content_type, s.timeout_ms, s.retry,
         s.max_in_flight, s.created_at, s.updated_at, st.state, st.reason, k.sealed, s.payload_limit, s.batch_items,
         s.linger_ms, s.profile_settings, s.fields, s.filter, s.traceparent,
         (SELECT json_group_array(json_array(h.name, h.key, hex(h.sealed)) ORDER BY h.place)
          FROM tharsis_header h WHERE h.subscription = s.seq),
         (SELECT json_group_array(json_array(r.until, r.key, hex(r.sealed)) ORDER BY r.until DESC)
          FROM tharsis_retiring_secret r WHERE r.subscription = s.seq),
         s.rate, s.breaker, s.suspend_after_ms, s.retry_window_ms,
         sh.condition, sh.since, sh.cause, sh.failing_since, sh.probe_at, sh.probes, sh.version, rl.keeps,
         s.alert_mail, s.alert_every_ms, s.order_by, s.on_dead, k.key, k.created_at, s.version"
    };
}

macro_rules! joins {
    () => {
        "LEFT JOIN tharsis_subscription_state st ON st.subscription = s.seq
         LEFT JOIN tharsis_subscription_health sh ON sh.subscription = s.seq
         LEFT JOIN tharsis_release rl ON rl.subscription = s.seq
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
            events: list_of(row, 6)?,
            content_type: row.try_get(7)?,
            timeout_ms: row.try_get(8)?,
            retry: list_of(row, 9)?,
            max_in_flight: row.try_get(10)?,
            created_at,
            updated_at,
            version: row.try_get(43)?,
            state: row.try_get(13)?,
            reason: row.try_get(14)?,
            secret: match row.try_get(41)? {
                Some(key) => Some(Sealed {
                    key,
                    bytes: row.try_get(15)?,
                }),
                None => None,
            },
            secret_set_at: row.try_get::<Option<Millis>, _>(42)?.map(|Millis(at)| at),
            payload_limit: row.try_get(16)?,
            batch_items: row.try_get(17)?,
            linger_ms: row.try_get(18)?,
            profile_settings: row.try_get(19)?,
            fields: list_of(row, 20)?,
            filter: row.try_get(21)?,
            traceparent: row.try_get(22)?,
            rate: row.try_get(25)?,
            breaker: row.try_get(26)?,
            suspend_after_ms: row.try_get(27)?,
            retry_window_ms: row.try_get(28)?,
            resuming: row.try_get(36)?,
            alert_mail: list_of(row, 37)?,
            alert_every_ms: row.try_get(38)?,
            order_by: row.try_get(39)?,
            on_dead: row.try_get(40)?,
            health: health_of(row, 29)?,
            headers: sealed_of(row, 23)?,
            retiring: sealed_of::<i64>(row, 24)?
                .into_iter()
                .map(|(until, sealed)| (Timestamp::from_millis(until), sealed))
                .collect(),
        })
    }
}

/// A column of a JSON array.
fn list_of<T: DeserializeOwned>(row: &SqliteRow, column: usize) -> Result<Vec<T>, sqlx::Error> {
    serde_json::from_str(row.try_get(column)?).map_err(|error| sqlx::Error::ColumnDecode {
        index: column.to_string(),
        source: error.into(),
    })
}

/// A column of a JSON array of what each value belongs to, the id of its key, and its bytes.
fn sealed_of<T: DeserializeOwned>(
    row: &SqliteRow,
    column: usize,
) -> Result<Vec<(T, Sealed)>, sqlx::Error> {
    let values: Vec<(T, String, String)> = list_of(row, column)?;
    let sealed = values.into_iter().map(|(of, key, text)| {
        let bytes = unhex(&text)?;
        Ok((of, Sealed { key, bytes }))
    });
    sealed
        .collect::<Result<_, StoreError>>()
        .map_err(|error| sqlx::Error::ColumnDecode {
            index: column.to_string(),
            source: error.into(),
        })
}

/// How its receiver does, from this column on; a row that is not there says that it has always been healthy.
fn health_of(row: &SqliteRow, column: usize) -> Result<Health, sqlx::Error> {
    let Some(word) = row.try_get::<Option<&str>, _>(column)? else {
        return Ok(Health::default());
    };
    let instant =
        |at| Ok::<_, sqlx::Error>(row.try_get::<Option<Millis>, _>(at)?.map(|Millis(at)| at));
    Ok(Health {
        condition: Condition::parse(word).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: column.to_string(),
            source: format!("there is no condition {word}").into(),
        })?,
        since: instant(column + 1)?,
        cause: row.try_get(column + 2)?,
        failing_since: instant(column + 3)?,
        probe_at: instant(column + 4)?,
        probes: row.try_get(column + 5)?,
        version: row.try_get(column + 6)?,
    })
}

/// How the receiver of a subscription does.
pub(super) async fn health(
    conn: &mut SqliteConnection,
    subscription: i64,
) -> Result<Health, StoreError> {
    let row = sqlx::query(
        "SELECT condition, since, cause, failing_since, probe_at, probes, version
         FROM tharsis_subscription_health
         WHERE subscription = ?1",
    )
    .bind(subscription)
    .fetch_optional(conn)
    .await?;
    Ok(row
        .map(|row| health_of(&row, 0))
        .transpose()?
        .unwrap_or_default())
}

/// One subscription that is not removed, with its secret opened and its short number.
pub(super) async fn find(
    conn: impl SqliteExecutor<'_>,
    reader: Reader<'_>,
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
    let row = row.ok_or_else(|| not_found(id))?;
    Ok((row.seq, row.into_target(reader)?))
}

pub(super) async fn list(
    store: &SqliteStore,
    client: Option<ClientId>,
) -> Result<Vec<Subscription>, StoreError> {
    list_on(&store.0.lists, store.reader(), client).await
}

pub(super) async fn list_on(
    conn: impl SqliteExecutor<'_>,
    reader: Reader<'_>,
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
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| Ok(row.into_target(reader)?.subscription))
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
            revision: row.try_get(44)?,
            subscription: has_one
                .then(|| SubscriptionRow::from_row(row))
                .transpose()?,
        })
    }
}

pub(super) async fn snapshot(store: &SqliteStore) -> Result<Snapshot, StoreError> {
    // At one moment.
    let mut read = store.0.reads.begin().await?;
    let rows: Vec<SnapshotRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", r.revision FROM tharsis_revision r
         LEFT JOIN tharsis_subscription s ON s.removed_at IS NULL ",
        joins!(),
        " ORDER BY s.seq"
    ))
    .fetch_all(&mut *read)
    .await?;
    let stops = campaign::stops(&mut *read).await?;
    let revision = rows.first().map_or(0, |row| row.revision);
    let targets = rows
        .into_iter()
        .filter_map(|row| row.subscription)
        .map(|row| Ok((row.seq, Arc::new(row.into_target(store.reader())?))))
        .collect::<Result<_, StoreError>>()?;
    Ok(Snapshot {
        revision,
        targets,
        stops,
    })
}

/// The short numbers of subscriptions, of one client or of all, that are held by this process, though no table says so: it
/// cannot read them whole.
pub(super) async fn unreadable(
    conn: &mut SqliteConnection,
    reader: Reader<'_>,
    client: Option<ClientId>,
) -> Result<Vec<i64>, StoreError> {
    let unreadable = why_unreadable(conn, reader, client).await?;
    Ok(unreadable.into_iter().map(|(seq, _)| seq).collect())
}

/// The same, with why each is.
pub(super) async fn why_unreadable(
    conn: &mut SqliteConnection,
    reader: Reader<'_>,
    client: Option<ClientId>,
) -> Result<Vec<(i64, Unreadable)>, StoreError> {
    let rows: Vec<SubscriptionRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM tharsis_subscription s ",
        joins!(),
        " WHERE s.removed_at IS NULL AND (?1 IS NULL OR s.client = ?1)"
    ))
    .bind(client.map(|c| blob(c.as_uuid())))
    .fetch_all(conn)
    .await?;
    let mut unreadable = Vec::new();
    for row in rows {
        let (seq, is_said) = (row.seq, row.state.is_some());
        let why = row.into_target(reader)?.subscription.state.unreadable();
        if let Some(why) = why.filter(|_| !is_said) {
            unreadable.push((seq, why));
        }
    }
    Ok(unreadable)
}
