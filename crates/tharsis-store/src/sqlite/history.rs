//! What people look at: events, deliveries, attempts.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use tharsis_core::{ClientId, DeliveryId, EventId, SubscriptionId, Timestamp, delivery::End};

use super::{
    SqliteStore,
    filter::{Cursor, Matching, Pair, published_at},
    subscription::unreadable,
    value::{Id, Millis, blob, json},
};
use crate::{
    Attempt, AttemptRecord, DeliveryDetail, DeliveryFilter, DeliveryRow, EventRecord, Page,
    Refusal, Status, StoreError,
    filter::{Ends, looked},
    status::no_delivery,
    subscription::Reader,
};

pub(super) async fn deliveries(
    store: &SqliteStore,
    filter: &DeliveryFilter,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<DeliveryRow>, StoreError> {
    let after = after.map(|text| Cursor::parse(filter, text)).transpose()?;
    let mut read = store.0.lists.begin().await?;
    let unreadable = unreadable(&mut read, store.reader(), filter.client).await?;
    let matching = Matching::of(&mut read, filter, &unreadable).await?;
    let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX - 1);
    let (mut pairs, frontier) = matching
        .newest_first(&mut read, after, limit + 1, looked(limit))
        .await?;
    let (next, searched_until) = match Ends::of(&mut pairs, limit, frontier) {
        Ends::Full(pair) => (Some(Cursor::at(pair)), None),
        Ends::Searched(event) => (
            Some(Cursor::behind(event)),
            published_at(&mut read, event).await?,
        ),
        Ends::All => (None, None),
    };
    Ok(Page {
        items: rows(&mut read, &pairs, &unreadable).await?,
        next: next.map(|cursor| cursor.to_text(filter)),
        searched_until,
    })
}

pub(super) async fn count(store: &SqliteStore, filter: &DeliveryFilter) -> Result<u64, StoreError> {
    let mut read = store.0.lists.begin().await?;
    let unreadable = unreadable(&mut read, store.reader(), filter.client).await?;
    let matching = Matching::of(&mut read, filter, &unreadable).await?;
    matching.count(&mut read).await
}

pub(super) async fn event(store: &SqliteStore, id: EventId) -> Result<EventRecord, StoreError> {
    let mut read = store.0.lists.begin().await?;
    let (_, record) = event_on(&mut read, store.reader(), id).await?;
    Ok(record)
}

/// With its number.
pub(super) async fn event_on(
    conn: &mut SqliteConnection,
    reader: Reader<'_>,
    id: EventId,
) -> Result<(i64, EventRecord), StoreError> {
    let row: Option<EventRow> = sqlx::query_as(EVENT)
        .bind(blob(id.as_uuid()))
        .fetch_optional(&mut *conn)
        .await?;
    let EventRow { seq, mut record } = row.ok_or_else(|| StoreError::NotFound {
        what: "event",
        id: id.to_string(),
    })?;
    let subscriptions: Vec<i64> = sqlx::query_scalar(
        "SELECT subscription FROM tharsis_delivery WHERE event = ?1
         UNION
         SELECT subscription FROM tharsis_attempt WHERE event = ?1
         ORDER BY 1",
    )
    .bind(seq)
    .fetch_all(&mut *conn)
    .await?;
    let pairs: Vec<Pair> = subscriptions.into_iter().map(|s| (seq, s)).collect();
    let unreadable = unreadable(conn, reader, Some(record.client)).await?;
    record.deliveries = rows(conn, &pairs, &unreadable).await?;
    Ok((seq, record))
}

/// All attempts of an event by its number, by the subscriptions that they were for, each one's oldest first.
pub(super) async fn attempts(
    conn: &mut SqliteConnection,
    event: i64,
) -> Result<HashMap<SubscriptionId, Vec<AttemptRecord>>, StoreError> {
    let rows = sqlx::query(ATTEMPTS_OF_ALL)
        .bind(event)
        .fetch_all(conn)
        .await?;
    let mut attempts: HashMap<_, Vec<_>> = HashMap::new();
    for row in &rows {
        let AttemptRow(record) = AttemptRow::from_row(row)?;
        let Id(subscription) = row.try_get(9)?;
        let subscription = SubscriptionId::from_uuid(subscription);
        attempts.entry(subscription).or_default().push(record);
    }
    Ok(attempts)
}

pub(super) async fn delivery(
    store: &SqliteStore,
    id: DeliveryId,
) -> Result<DeliveryDetail, StoreError> {
    let mut read = store.0.lists.begin().await?;
    let pair = pair(&mut read, id).await?;
    let client = client_of(&mut read, pair.0).await?;
    let unreadable = unreadable(&mut read, store.reader(), client).await?;
    let row = rows(&mut read, &[pair], &unreadable).await?.pop();
    let attempts: Vec<AttemptRow> = sqlx::query_as(ATTEMPTS)
        .bind(pair.0)
        .bind(pair.1)
        .fetch_all(&mut *read)
        .await?;
    Ok(DeliveryDetail {
        row: row.ok_or_else(|| no_delivery(id))?,
        attempts: attempts.into_iter().map(|row| row.0).collect(),
    })
}

/// The numbers of a delivery's event and subscription; whether there is such a delivery is not known yet.
pub(super) async fn pair(conn: &mut SqliteConnection, id: DeliveryId) -> Result<Pair, StoreError> {
    sqlx::query_as(
        "SELECT e.seq, s.seq
         FROM tharsis_event e
         CROSS JOIN tharsis_subscription s ON s.id = ?2
         WHERE e.id = ?1",
    )
    .bind(blob(id.event.as_uuid()))
    .bind(blob(id.subscription.as_uuid()))
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| no_delivery(id))
}

/// On whose behalf an event was published.
async fn client_of(
    conn: &mut SqliteConnection,
    event: i64,
) -> Result<Option<ClientId>, StoreError> {
    let client: Option<Id> = sqlx::query_scalar("SELECT client FROM tharsis_event WHERE seq = ?1")
        .bind(event)
        .fetch_optional(conn)
        .await?;
    Ok(client.map(|Id(client)| ClientId::from_uuid(client)))
}

const EVENT: &str = "
    SELECT e.seq, e.id, e.type, e.client, e.campaign, e.recipient, e.published_at, e.not_before,
           e.expires_at, e.refused_code, e.refused_field, e.refused_message, e.payload,
           NOT EXISTS (SELECT 1 FROM tharsis_outbox o WHERE o.event = e.seq)
    FROM tharsis_event e
    WHERE e.id = ?1";

/// An event without its deliveries.
struct EventRow {
    seq: i64,
    record: EventRecord,
}

impl<'r> FromRow<'r, SqliteRow> for EventRow {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        let Id(id) = row.try_get(1)?;
        let Id(client) = row.try_get(3)?;
        let Millis(published_at) = row.try_get(6)?;
        let code: Option<String> = row.try_get(9)?;
        let refused = match code {
            None => None,
            Some(code) => Some(Refusal {
                code,
                field: row.try_get(10)?,
                message: row.try_get::<Option<_>, _>(11)?.unwrap_or_default(),
            }),
        };
        Ok(Self {
            seq: row.try_get(0)?,
            record: EventRecord {
                id: EventId::from_uuid(id),
                event_type: row.try_get(2)?,
                client: ClientId::from_uuid(client),
                campaign: row.try_get(4)?,
                recipient: row.try_get(5)?,
                published_at,
                not_before: instant(row, 7)?,
                expires_at: instant(row, 8)?,
                routed: row.try_get(13)?,
                refused,
                payload: Bytes::from(row.try_get::<Vec<u8>, _>(12)?),
                deliveries: Vec::new(),
            },
        })
    }
}

const ATTEMPTS: &str = "
    SELECT number, at, duration_us, code, status, excerpt, detail, ended, due_at
    FROM tharsis_attempt
    WHERE event = ?1 AND subscription = ?2
    ORDER BY coalesce(after, number), number = 0";

pub(super) const ATTEMPTS_OF_ALL: &str = "
    SELECT a.number, a.at, a.duration_us, a.code, a.status, a.excerpt, a.detail, a.ended, a.due_at, s.id
    FROM tharsis_attempt a
    CROSS JOIN tharsis_subscription s ON s.seq = a.subscription
    WHERE a.event = ?1
    ORDER BY a.subscription, coalesce(a.after, a.number), a.number = 0";

/// The first nine columns of a row.
pub(super) struct AttemptRow(pub(super) AttemptRecord);

impl<'r> FromRow<'r, SqliteRow> for AttemptRow {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        let Millis(at) = row.try_get(1)?;
        let micros: i64 = row.try_get(2)?;
        Ok(Self(AttemptRecord {
            attempt: Attempt {
                number: row.try_get(0)?,
                at,
                duration: Duration::from_micros(micros.unsigned_abs()),
                code: row.try_get(3)?,
                status: row.try_get(4)?,
                excerpt: row.try_get::<Option<_>, _>(5)?.unwrap_or_default(),
                detail: row.try_get(6)?,
            },
            end: row.try_get::<Option<&str>, _>(7)?.and_then(End::parse),
            due_at: instant(row, 8)?,
        }))
    }
}

/// `l` is the last thing that happened to the delivery: its newest attempt, or the end without a request after it.
pub(super) const ROWS: &str = "
    SELECT e.id, s.id, e.type, e.client, e.campaign, s.name, e.published_at,
           d.due_at, d.attempts, d.tries, s.seq, coalesce(st.subscription, sh.subscription), l.ended, l.code, l.at,
           (SELECT max(number) FROM tharsis_attempt WHERE event = e.seq AND subscription = s.seq), d.lane IN (1, 2)
               OR EXISTS (SELECT 1 FROM tharsis_delivery b
                          WHERE b.subscription = d.subscription AND b.lane = 2
                            AND b.order_key = CASE
                                   WHEN d.lane > 0 THEN d.order_key
                                   WHEN EXISTS (SELECT 1 FROM tharsis_subscription o
                                                WHERE o.seq = d.subscription AND o.order_by = 'strict') THEN 0
                               END),
           coalesce(e.expires_at <= CAST(round(unixepoch('subsec') * 1000) AS INTEGER), false)
    FROM jsonb_each(?1) k
    CROSS JOIN tharsis_event e ON e.seq = k.value ->> 0
    CROSS JOIN tharsis_subscription s ON s.seq = k.value ->> 1
    LEFT JOIN tharsis_subscription_state st ON st.subscription = s.seq
    LEFT JOIN tharsis_subscription_health sh ON sh.subscription = s.seq AND sh.condition = 'open'
    LEFT JOIN tharsis_delivery d ON d.event = e.seq AND d.subscription = s.seq
    LEFT JOIN tharsis_attempt l ON l.event = e.seq AND l.subscription = s.seq AND l.number = (
        SELECT number
        FROM tharsis_attempt
        WHERE event = e.seq AND subscription = s.seq
        ORDER BY coalesce(after, number) DESC, number
        LIMIT 1)
    WHERE d.event IS NOT NULL OR l.event IS NOT NULL
    ORDER BY k.key";

/// The lines of these deliveries, in their order.
async fn rows(
    conn: &mut SqliteConnection,
    pairs: &[Pair],
    unreadable: &[i64],
) -> Result<Vec<DeliveryRow>, StoreError> {
    let unreadable: HashSet<i64> = unreadable.iter().copied().collect();
    sqlx::query(ROWS)
        .bind(json(&pairs)?)
        .fetch_all(conn)
        .await?
        .iter()
        .map(|row| delivery_row(row, &unreadable))
        .collect()
}

fn delivery_row(row: &SqliteRow, unreadable: &HashSet<i64>) -> Result<DeliveryRow, StoreError> {
    let Id(event) = row.try_get(0)?;
    let Id(subscription) = row.try_get(1)?;
    let Id(client) = row.try_get(3)?;
    let Millis(published_at) = row.try_get(6)?;
    let due_at = instant(row, 7)?;
    let is_held = row.try_get::<Option<bool>, _>(16)?.unwrap_or(false)
        || row.try_get::<Option<i64>, _>(11)?.is_some()
        || unreadable.contains(&row.try_get::<i64, _>(10)?);
    let status = if due_at.is_none() {
        Status::ended(row.try_get(12)?)?
    } else {
        let tries: Option<u32> = row.try_get(9)?;
        Status::unfinished(row.try_get(17)?, is_held, tries.unwrap_or(0))
    };
    Ok(DeliveryRow {
        id: DeliveryId {
            event: EventId::from_uuid(event),
            subscription: SubscriptionId::from_uuid(subscription),
        },
        event_type: row.try_get(2)?,
        client: ClientId::from_uuid(client),
        campaign: row.try_get(4)?,
        subscription_name: row.try_get(5)?,
        status,
        attempts: row
            .try_get::<Option<u32>, _>(8)?
            .or(row.try_get(15)?)
            .unwrap_or(0),
        code: row.try_get(13)?,
        published_at,
        last_at: instant(row, 14)?,
        due_at,
    })
}

fn instant(row: &SqliteRow, column: usize) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row
        .try_get::<Option<i64>, _>(column)?
        .map(Timestamp::from_millis))
}
