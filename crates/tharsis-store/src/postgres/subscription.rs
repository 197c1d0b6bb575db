//! Subscriptions as rows.

use std::sync::Arc;

use sqlx::{FromRow, PgConnection, PgExecutor, Row as _, postgres::PgRow};
use tharsis_core::{
    ClientId, SubscriptionId,
    health::{Condition, Health},
    subscription::{Subscription, Target, Unreadable},
};

use super::{PostgresStore, campaign, value::Instant};
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
         ARRAY(SELECT h.name FROM header h WHERE h.subscription = s.seq ORDER BY h.place),
         ARRAY(SELECT h.sealed FROM header h WHERE h.subscription = s.seq ORDER BY h.place),
         ARRAY(SELECT r.until FROM retiring_secret r WHERE r.subscription = s.seq ORDER BY r.until DESC, r.sealed),
         ARRAY(SELECT r.sealed FROM retiring_secret r WHERE r.subscription = s.seq ORDER BY r.until DESC, r.sealed),
         s.rate, s.breaker, s.suspend_after_ms, s.retry_window_ms,
         sh.condition, sh.since, sh.cause, sh.failing_since, sh.probe_at, sh.probes, sh.version, rl.keeps,
         s.alert_mail, s.alert_every_ms, s.order_by, s.on_dead, k.key,
         ARRAY(SELECT h.key FROM header h WHERE h.subscription = s.seq ORDER BY h.place),
         ARRAY(SELECT r.key FROM retiring_secret r WHERE r.subscription = s.seq ORDER BY r.until DESC, r.sealed),
         k.created_at, s.version"
    };
}

macro_rules! joins {
    () => {
        "LEFT JOIN subscription_state st ON st.subscription = s.seq
         LEFT JOIN subscription_health sh ON sh.subscription = s.seq
         LEFT JOIN release rl ON rl.subscription = s.seq
         LEFT JOIN secret k ON k.subscription = s.seq"
    };
}

impl<'r> FromRow<'r, PgRow> for SubscriptionRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let max_in_flight: i32 = row.try_get(10)?;
        let Instant(created_at) = row.try_get(11)?;
        let Instant(updated_at) = row.try_get(12)?;
        let names: Vec<String> = row.try_get(23)?;
        let untils: Vec<Instant> = row.try_get(25)?;
        Ok(Self {
            seq: row.try_get(0)?,
            id: row.try_get(1)?,
            client: row.try_get(2)?,
            name: row.try_get(3)?,
            url: row.try_get(4)?,
            profile: row.try_get(5)?,
            events: row.try_get(6)?,
            content_type: row.try_get(7)?,
            timeout_ms: row.try_get(8)?,
            retry: row.try_get(9)?,
            max_in_flight: max_in_flight.unsigned_abs(),
            created_at,
            updated_at,
            version: row.try_get(47)?,
            state: row.try_get(13)?,
            reason: row.try_get(14)?,
            secret: match row.try_get(43)? {
                Some(key) => Some(Sealed {
                    key,
                    bytes: row.try_get(15)?,
                }),
                None => None,
            },
            secret_set_at: row.try_get::<Option<Instant>, _>(46)?.map(|Instant(at)| at),
            payload_limit: row.try_get(16)?,
            batch_items: row.try_get(17)?,
            linger_ms: row.try_get(18)?,
            profile_settings: row.try_get(19)?,
            fields: row.try_get(20)?,
            filter: row.try_get(21)?,
            traceparent: row.try_get(22)?,
            rate: row.try_get(27)?,
            breaker: row.try_get(28)?,
            suspend_after_ms: row.try_get(29)?,
            retry_window_ms: row.try_get(30)?,
            resuming: row.try_get(38)?,
            alert_mail: row.try_get(39)?,
            alert_every_ms: row.try_get(40)?,
            order_by: row.try_get(41)?,
            on_dead: row.try_get(42)?,
            health: health_of(row, 31)?,
            headers: names.into_iter().zip(sealed_of(row, 44, 24)?).collect(),
            retiring: (untils.into_iter())
                .map(|Instant(until)| until)
                .zip(sealed_of(row, 45, 26)?)
                .collect(),
        })
    }
}

/// A column of ids of keys, and one of what is sealed with them.
fn sealed_of(row: &PgRow, keys: usize, values: usize) -> Result<Vec<Sealed>, sqlx::Error> {
    let (keys, values): (Vec<String>, Vec<Vec<u8>>) = (row.try_get(keys)?, row.try_get(values)?);
    let sealed = keys.into_iter().zip(values);
    Ok(sealed.map(|(key, bytes)| Sealed { key, bytes }).collect())
}

/// How its receiver does, from this column on; a row that is not there says that it has always been healthy.
fn health_of(row: &PgRow, column: usize) -> Result<Health, sqlx::Error> {
    let Some(word) = row.try_get::<Option<&str>, _>(column)? else {
        return Ok(Health::default());
    };
    let instant =
        |at| Ok::<_, sqlx::Error>(row.try_get::<Option<Instant>, _>(at)?.map(|Instant(at)| at));
    Ok(Health {
        condition: Condition::parse(word).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: column.to_string(),
            source: format!("there is no condition {word}").into(),
        })?,
        since: instant(column + 1)?,
        cause: row.try_get(column + 2)?,
        failing_since: instant(column + 3)?,
        probe_at: instant(column + 4)?,
        probes: row.try_get::<i32, _>(column + 5)?.unsigned_abs(),
        version: row.try_get(column + 6)?,
    })
}

/// How the receiver of a subscription does.
pub(super) async fn health(
    conn: &mut PgConnection,
    subscription: i64,
) -> Result<Health, StoreError> {
    let row = sqlx::query(
        "SELECT condition, since, cause, failing_since, probe_at, probes, version
         FROM subscription_health
         WHERE subscription = $1",
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
    conn: impl PgExecutor<'_>,
    reader: Reader<'_>,
    id: SubscriptionId,
) -> Result<(i64, Target), StoreError> {
    let row: Option<SubscriptionRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM subscription s ",
        joins!(),
        " WHERE s.id = $1 AND s.removed_at IS NULL"
    ))
    .bind(id.as_uuid())
    .fetch_optional(conn)
    .await?;
    let row = row.ok_or_else(|| not_found(id))?;
    Ok((row.seq, row.into_target(reader)?))
}

pub(super) async fn list(
    store: &PostgresStore,
    client: Option<ClientId>,
) -> Result<Vec<Subscription>, StoreError> {
    let reader = store.reader()?;
    list_on(&mut *store.0.lists.get().await?, reader, client).await
}

pub(super) async fn list_on(
    conn: &mut PgConnection,
    reader: Reader<'_>,
    client: Option<ClientId>,
) -> Result<Vec<Subscription>, StoreError> {
    let rows: Vec<SubscriptionRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM subscription s ",
        joins!(),
        " WHERE s.removed_at IS NULL AND ($1 IS NULL OR s.client = $1) ORDER BY s.seq"
    ))
    .bind(client.map(|c| *c.as_uuid()))
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

impl<'r> FromRow<'r, PgRow> for SnapshotRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let has_one = row.try_get::<Option<i64>, _>(0)?.is_some();
        Ok(Self {
            revision: row.try_get(48)?,
            subscription: has_one
                .then(|| SubscriptionRow::from_row(row))
                .transpose()?,
        })
    }
}

pub(super) async fn snapshot(store: &PostgresStore) -> Result<Snapshot, StoreError> {
    let reader = store.reader()?;
    let mut conn = store.0.engine.get().await?;
    let rows: Vec<SnapshotRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", r.revision FROM revision r
         LEFT JOIN subscription s ON s.removed_at IS NULL ",
        joins!(),
        " ORDER BY s.seq"
    ))
    .fetch_all(&mut *conn)
    .await?;
    // Read later, they are of this revision or a newer one.
    let stops = campaign::stops(&mut conn).await?;
    let revision = rows.first().map_or(0, |row| row.revision);
    let targets = rows
        .into_iter()
        .filter_map(|row| row.subscription)
        .map(|row| Ok((row.seq, Arc::new(row.into_target(reader)?))))
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
    conn: &mut PgConnection,
    reader: Reader<'_>,
    client: Option<ClientId>,
) -> Result<Vec<i64>, StoreError> {
    let unreadable = why_unreadable(conn, reader, client).await?;
    Ok(unreadable.into_iter().map(|(seq, _)| seq).collect())
}

/// The same, with why each is.
pub(super) async fn why_unreadable(
    conn: &mut PgConnection,
    reader: Reader<'_>,
    client: Option<ClientId>,
) -> Result<Vec<(i64, Unreadable)>, StoreError> {
    let rows: Vec<SubscriptionRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM subscription s ",
        joins!(),
        " WHERE s.removed_at IS NULL AND ($1 IS NULL OR s.client = $1)"
    ))
    .bind(client.map(|c| *c.as_uuid()))
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
