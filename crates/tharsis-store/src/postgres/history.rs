//! What people look at: events, deliveries, attempts.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use tharsis_core::{ClientId, DeliveryId, EventId, SubscriptionId, Timestamp, delivery::End};
use uuid::Uuid;

use super::{
    PostgresStore,
    connect::Write,
    filter::{Cursor, Matching, Pair, columns, published_at},
    subscription::unreadable,
    value::Instant,
};
use crate::{
    Attempt, AttemptRecord, DeliveryDetail, DeliveryFilter, DeliveryRow, EventRecord, Page,
    Refusal, Status, StoreError,
    filter::{Ends, looked},
    status::no_delivery,
    subscription::Reader,
};

pub(super) async fn deliveries(
    store: &PostgresStore,
    filter: &DeliveryFilter,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<DeliveryRow>, StoreError> {
    let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX - 1);
    page(store, filter, after, limit, looked(limit)).await
}

/// A page for which so many rows of each part are looked at, by their keys alone, whatever statistics say.
pub(super) async fn page(
    store: &PostgresStore,
    filter: &DeliveryFilter,
    after: Option<&str>,
    limit: usize,
    looked: usize,
) -> Result<Page<DeliveryRow>, StoreError> {
    let after = after.map(|text| Cursor::parse(filter, text)).transpose()?;
    let mut read = look_by_keys(store).await?;
    let unreadable = unreadable(&mut read, store.reader()?, filter.client).await?;
    let matching = Matching::of(&mut read, filter, &unreadable).await?;
    let (mut pairs, frontier) = matching
        .newest_first(&mut read, after, limit + 1, looked)
        .await?;
    let (next, searched_until) = match Ends::of(&mut pairs, limit, frontier) {
        Ends::Full(pair) => (Some(Cursor::at(pair)), None),
        Ends::Searched(event) => (
            Some(Cursor::behind(event)),
            published_at(&mut read, event).await?,
        ),
        Ends::All => (None, None),
    };
    let items = rows(&mut read, &pairs, &unreadable).await?;
    read.roll_back().await?;
    Ok(Page {
        items,
        next: next.map(|cursor| cursor.to_text(filter)),
        searched_until,
    })
}

pub(super) async fn count(
    store: &PostgresStore,
    filter: &DeliveryFilter,
) -> Result<u64, StoreError> {
    let mut read = look(store).await?;
    let unreadable = unreadable(&mut read, store.reader()?, filter.client).await?;
    let matching = Matching::of(&mut read, filter, &unreadable).await?;
    let count = matching.count(&mut read).await?;
    read.roll_back().await?;
    Ok(count)
}

pub(super) async fn event(store: &PostgresStore, id: EventId) -> Result<EventRecord, StoreError> {
    event_on(&mut *store.0.lists.get().await?, store.reader()?, id).await
}

pub(super) async fn event_on(
    conn: &mut PgConnection,
    reader: Reader<'_>,
    id: EventId,
) -> Result<EventRecord, StoreError> {
    let row: Option<EventRow> = sqlx::query_as(EVENT)
        .bind(id.as_uuid())
        .fetch_optional(&mut *conn)
        .await?;
    let EventRow(mut record) = row.ok_or_else(|| StoreError::NotFound {
        what: "event",
        id: id.to_string(),
    })?;
    let subscriptions: Vec<i64> = sqlx::query_scalar(
        "SELECT subscription FROM delivery WHERE event = $1
         UNION
         SELECT subscription FROM attempt WHERE event = $1
         ORDER BY 1",
    )
    .bind(id.as_uuid())
    .fetch_all(&mut *conn)
    .await?;
    let pairs: Vec<Pair> = subscriptions
        .into_iter()
        .map(|subscription| (*id.as_uuid(), subscription))
        .collect();
    let unreadable = unreadable(conn, reader, Some(record.client)).await?;
    record.deliveries = rows(conn, &pairs, &unreadable).await?;
    Ok(record)
}

pub(super) async fn delivery(
    store: &PostgresStore,
    id: DeliveryId,
) -> Result<DeliveryDetail, StoreError> {
    let mut read = store.0.lists.get().await?;
    let pair = pair(&mut read, id).await?;
    let client = client_of(&mut read, pair.0).await?;
    let unreadable = unreadable(&mut read, store.reader()?, client).await?;
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

/// All attempts of an event, by the subscriptions that they were for, each one's oldest first.
pub(super) async fn attempts(
    conn: &mut PgConnection,
    id: EventId,
) -> Result<HashMap<SubscriptionId, Vec<AttemptRecord>>, StoreError> {
    let rows = sqlx::query(ATTEMPTS_OF_ALL)
        .bind(id.as_uuid())
        .fetch_all(conn)
        .await?;
    let mut attempts: HashMap<_, Vec<_>> = HashMap::new();
    for row in &rows {
        let AttemptRow(record) = AttemptRow::from_row(row)?;
        let subscription = SubscriptionId::from_uuid(row.try_get(9)?);
        attempts.entry(subscription).or_default().push(record);
    }
    Ok(attempts)
}

/// A look at one moment, whatever is committed meanwhile.
pub(super) async fn look(store: &PostgresStore) -> Result<Write, StoreError> {
    let mut read = store.0.lists.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *read)
        .await?;
    Ok(read)
}

/// The same, by keys alone, whatever statistics say.
pub(super) async fn look_by_keys(store: &PostgresStore) -> Result<Write, StoreError> {
    let mut read = look(store).await?;
    sqlx::query(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)",
    )
    .execute(&mut *read)
    .await?;
    Ok(read)
}

/// A delivery with its subscription's number; whether there is such a delivery is not known yet.
pub(super) async fn pair(conn: &mut PgConnection, id: DeliveryId) -> Result<Pair, StoreError> {
    sqlx::query_as(
        "SELECT e.id, s.seq
         FROM event e
         CROSS JOIN subscription s
         WHERE e.id = $1 AND s.id = $2",
    )
    .bind(id.event.as_uuid())
    .bind(id.subscription.as_uuid())
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| no_delivery(id))
}

/// On whose behalf an event was published.
async fn client_of(conn: &mut PgConnection, event: Uuid) -> Result<Option<ClientId>, StoreError> {
    let client: Option<Uuid> = sqlx::query_scalar("SELECT client FROM event WHERE id = $1")
        .bind(event)
        .fetch_optional(conn)
        .await?;
    Ok(client.map(ClientId::from_uuid))
}

/// Its pointer, if it has one still, lies among those of its client's shard.
const EVENT: &str = "
    SELECT e.id, e.type, e.client, e.campaign, e.recipient, e.published_at, e.not_before, e.expires_at,
           e.refused_code, e.refused_field, e.refused_message, e.payload,
           NOT EXISTS (SELECT FROM outbox o WHERE o.shard = shard_of(e.client) AND o.event = e.id)
    FROM event e
    WHERE e.id = $1";

/// An event without its deliveries.
struct EventRow(EventRecord);

impl<'r> FromRow<'r, PgRow> for EventRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let Instant(published_at) = row.try_get(5)?;
        let code: Option<String> = row.try_get(8)?;
        let refused = match code {
            None => None,
            Some(code) => Some(Refusal {
                code,
                field: row.try_get(9)?,
                message: row.try_get::<Option<_>, _>(10)?.unwrap_or_default(),
            }),
        };
        Ok(Self(EventRecord {
            id: EventId::from_uuid(row.try_get(0)?),
            event_type: row.try_get(1)?,
            client: ClientId::from_uuid(row.try_get(2)?),
            campaign: row.try_get(3)?,
            recipient: row.try_get(4)?,
            published_at,
            not_before: instant(row, 6)?,
            expires_at: instant(row, 7)?,
            routed: row.try_get(12)?,
            refused,
            payload: Bytes::from(row.try_get::<String, _>(11)?),
            deliveries: Vec::new(),
        }))
    }
}

const ATTEMPTS: &str = "
    SELECT number, at, duration_us, code, status, excerpt, detail, ended, due_at
    FROM attempt
    WHERE event = $1 AND subscription = $2
    ORDER BY coalesce(after, number), number = 0";

const ATTEMPTS_OF_ALL: &str = "
    SELECT a.number, a.at, a.duration_us, a.code, a.status, a.excerpt, a.detail, a.ended, a.due_at, s.id
    FROM attempt a
    CROSS JOIN LATERAL (SELECT id FROM subscription WHERE seq = a.subscription OFFSET 0) s
    WHERE a.event = $1
    ORDER BY a.subscription, coalesce(a.after, a.number), a.number = 0";

/// The first nine columns of a row.
pub(super) struct AttemptRow(pub(super) AttemptRecord);

impl<'r> FromRow<'r, PgRow> for AttemptRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let number: i32 = row.try_get(0)?;
        let Instant(at) = row.try_get(1)?;
        let micros: i64 = row.try_get(2)?;
        let status: Option<i16> = row.try_get(4)?;
        Ok(Self(AttemptRecord {
            attempt: Attempt {
                number: number.unsigned_abs(),
                at,
                duration: Duration::from_micros(micros.unsigned_abs()),
                code: row.try_get(3)?,
                status: status.map(i16::unsigned_abs),
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
           (SELECT max(number) FROM attempt WHERE event = k.event AND subscription = k.subscription), d.lane IN (1, 2)
               OR EXISTS (SELECT FROM delivery b
                          WHERE b.subscription = d.subscription AND b.lane = 2
                            AND b.order_key = CASE
                                   WHEN d.lane > 0 THEN d.order_key
                                   WHEN EXISTS (SELECT FROM subscription o
                                                WHERE o.seq = d.subscription AND o.order_by = 'strict') THEN 0
                               END),
           coalesce(e.expires_at <= clock_timestamp(), false)
    FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS k (event, subscription, place)
    CROSS JOIN LATERAL (SELECT * FROM event WHERE id = k.event OFFSET 0) e
    CROSS JOIN LATERAL (SELECT * FROM subscription WHERE seq = k.subscription OFFSET 0) s
    LEFT JOIN subscription_state st ON st.subscription = s.seq
    LEFT JOIN subscription_health sh ON sh.subscription = s.seq AND sh.condition = 'open'
    LEFT JOIN LATERAL (
        SELECT * FROM delivery WHERE event = k.event AND subscription = k.subscription OFFSET 0) d ON true
    LEFT JOIN LATERAL (
        SELECT *
        FROM attempt
        WHERE event = k.event AND subscription = k.subscription
        ORDER BY coalesce(after, number) DESC, number
        LIMIT 1) l ON true
    WHERE d.event IS NOT NULL OR l.event IS NOT NULL
    ORDER BY k.place";

/// The lines of these deliveries, in their order.
async fn rows(
    conn: &mut PgConnection,
    pairs: &[Pair],
    unreadable: &[i64],
) -> Result<Vec<DeliveryRow>, StoreError> {
    let unreadable: HashSet<i64> = unreadable.iter().copied().collect();
    let (events, subscriptions) = columns(pairs);
    sqlx::query(ROWS)
        .bind(events)
        .bind(subscriptions)
        .fetch_all(conn)
        .await?
        .iter()
        .map(|row| delivery_row(row, &unreadable))
        .collect()
}

fn delivery_row(row: &PgRow, unreadable: &HashSet<i64>) -> Result<DeliveryRow, StoreError> {
    let Instant(published_at) = row.try_get(6)?;
    let due_at = instant(row, 7)?;
    let is_held = row.try_get::<Option<bool>, _>(16)?.unwrap_or(false)
        || row.try_get::<Option<i64>, _>(11)?.is_some()
        || unreadable.contains(&row.try_get::<i64, _>(10)?);
    let status = if due_at.is_none() {
        Status::ended(row.try_get(12)?)?
    } else {
        Status::unfinished(row.try_get(17)?, is_held, number(row, 9)?.unwrap_or(0))
    };
    Ok(DeliveryRow {
        id: DeliveryId {
            event: EventId::from_uuid(row.try_get(0)?),
            subscription: SubscriptionId::from_uuid(row.try_get(1)?),
        },
        event_type: row.try_get(2)?,
        client: ClientId::from_uuid(row.try_get(3)?),
        campaign: row.try_get(4)?,
        subscription_name: row.try_get(5)?,
        status,
        attempts: number(row, 8)?.or(number(row, 15)?).unwrap_or(0),
        code: row.try_get(13)?,
        published_at,
        last_at: instant(row, 14)?,
        due_at,
    })
}

fn instant(row: &PgRow, column: usize) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row
        .try_get::<Option<Instant>, _>(column)?
        .map(|Instant(at)| at))
}

fn number(row: &PgRow, column: usize) -> Result<Option<u32>, sqlx::Error> {
    Ok(row
        .try_get::<Option<i32>, _>(column)?
        .map(i32::unsigned_abs))
}
