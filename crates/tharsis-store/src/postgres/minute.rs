//! Figures over time, as rows.

use std::{array, time::Duration};

use sqlx::{
    FromRow, PgConnection, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use tharsis_core::{ClientId, SubscriptionId, Timestamp};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    PostgresStore,
    error::is_cut_short,
    survey::{COUNTS, FIRST_DUE},
    value::{Instant, corrupt},
};
use crate::{
    Depth, Figures, MOST_COUNTED, StoreError, Traffic, failpoint,
    minute::{COLUMNS, FORGOTTEN_AT_ONCE, FREE_AT_ONCE, ROUNDS, each_count, not_kept},
};

impl FromRow<'_, PgRow> for Traffic {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let Instant(at) = row.try_get(0)?;
        let mut counts = [0; COLUMNS];
        for (column, count) in (1..).zip(&mut counts) {
            *count = row.try_get::<i64, usize>(column)?;
        }
        Ok(Self::counted(at, counts))
    }
}

impl FromRow<'_, PgRow> for Depth {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let Instant(at) = row.try_get(0)?;
        let waiting: i64 = row.try_get(1)?;
        let overdue_ms: Option<i64> = row.try_get(2)?;
        Ok(Self {
            at,
            waiting: waiting.unsigned_abs(),
            overdue: overdue_ms.map(|millis| Duration::from_millis(millis.unsigned_abs())),
        })
    }
}

macro_rules! name {
    ($column:literal) => {
        concat!($column)
    };
}

macro_rules! added {
    ($column:literal) => {
        concat!($column, " = m.", $column, " + excluded.", $column)
    };
}

macro_rules! sum {
    ($column:literal) => {
        concat!("sum(", $column, ")::bigint")
    };
}

/// In the order of their keys, so that of two workers who add to the same ones none has what the other waits for. A client
/// that was erased has no subscription left, and gets no figures any more.
const ADD_MINUTES: &str = concat!(
    "INSERT INTO minute AS m (at, client, ",
    each_count!(name),
    ")
     SELECT *
     FROM unnest(
         $1::timestamptz[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
         $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
         $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[],
         $22::bigint[], $23::bigint[]) AS r (at, client, ",
    each_count!(name),
    ")
     WHERE EXISTS (SELECT FROM subscription s WHERE s.client = r.client)
     ORDER BY r.at, r.client
     ON CONFLICT (at, client) DO UPDATE SET ",
    each_count!(added)
);

/// In the order of their keys too. One that was removed gets no figures any more.
const ADD_QUARTERS: &str = concat!(
    "INSERT INTO quarter AS m (at, subscription, ",
    each_count!(name),
    ")
     SELECT *
     FROM unnest(
         $1::timestamptz[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
         $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
         $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[],
         $22::bigint[], $23::bigint[]) AS r (at, subscription, ",
    each_count!(name),
    ")
     WHERE EXISTS (SELECT FROM subscription s WHERE s.seq = r.subscription AND s.removed_at IS NULL)
     ORDER BY r.subscription, r.at
     ON CONFLICT (subscription, at) DO UPDATE SET ",
    each_count!(added)
);

/// Minutes first, as whoever erases takes them.
pub(super) async fn add(store: &PostgresStore, figures: &Figures) -> Result<(), StoreError> {
    let (minutes, quarters) = (&figures.minutes, &figures.quarters);
    let clients: Vec<Uuid> = (minutes.iter())
        .map(|(client, _)| *client.as_uuid())
        .collect();
    let subscriptions: Vec<i64> = (quarters.iter())
        .map(|(subscription, _)| *subscription)
        .collect();
    let add_minutes = sqlx::query(ADD_MINUTES).bind(starts(minutes)).bind(clients);
    let add_quarters = (sqlx::query(ADD_QUARTERS).bind(starts(quarters))).bind(subscriptions);
    let mut write = store.0.engine.begin().await?;
    for add in [
        with_counts(add_minutes, minutes),
        with_counts(add_quarters, quarters),
    ] {
        add.execute(&mut *write).await?;
    }
    write.commit(failpoint::FIGURES).await
}

fn starts<Whose>(all: &[(Whose, Traffic)]) -> Vec<Instant> {
    all.iter().map(|(_, one)| Instant(one.at)).collect()
}

fn with_counts<Whose>(
    mut add: Query<'static, Postgres, PgArguments>,
    all: &[(Whose, Traffic)],
) -> Query<'static, Postgres, PgArguments> {
    let mut columns: [Vec<i64>; COLUMNS] = array::from_fn(|_| Vec::new());
    for (_, one) in all {
        for (column, count) in columns.iter_mut().zip(one.counts()) {
            column.push(count);
        }
    }
    for column in columns {
        add = add.bind(column);
    }
    add
}

const OF_ALL: &str = concat!(
    "SELECT at, ",
    each_count!(sum),
    " FROM minute WHERE at >= $1 GROUP BY at ORDER BY at"
);

const OF_CLIENT: &str = concat!(
    "SELECT at, ",
    each_count!(sum),
    " FROM minute WHERE at >= $1 AND client = $2 GROUP BY at ORDER BY at"
);

pub(super) async fn since(
    store: &PostgresStore,
    client: Option<ClientId>,
    since: Timestamp,
) -> Result<Vec<Traffic>, StoreError> {
    let minutes = match client {
        None => sqlx::query_as(OF_ALL).bind(Instant(since)),
        Some(client) => sqlx::query_as(OF_CLIENT)
            .bind(Instant(since))
            .bind(*client.as_uuid()),
    };
    Ok(minutes.fetch_all(&mut *store.0.lists.get().await?).await?)
}

const OF_SUBSCRIPTION: &str = concat!(
    "SELECT at, ",
    each_count!(name),
    " FROM quarter
     WHERE subscription = (SELECT seq FROM subscription WHERE id = $1) AND at >= $2
     ORDER BY at"
);

pub(super) async fn quarters(
    store: &PostgresStore,
    id: SubscriptionId,
    since: Timestamp,
) -> Result<Vec<Traffic>, StoreError> {
    Ok(sqlx::query_as(OF_SUBSCRIPTION)
        .bind(id.as_uuid())
        .bind(Instant(since))
        .fetch_all(&mut *store.0.lists.get().await?)
        .await?)
}

/// Where others have the connections, or it takes long, it is not noted this time.
pub(super) async fn note_depth(store: &PostgresStore, at: Timestamp) -> Result<(), StoreError> {
    let Ok(read) = timeout(FREE_AT_ONCE, store.0.lists.begin()).await else {
        return Ok(());
    };
    let mut read = read?;
    let seen = match look(&mut read, at).await {
        Err(error) if is_cut_short(&error) => return Ok(()),
        seen => seen?,
    };
    read.roll_back().await?;
    let Some((waiting, overdue_ms)) = seen else {
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO depth (at, waiting, overdue_ms) VALUES ($1, $2, $3) ON CONFLICT (at) DO NOTHING",
    )
    .bind(Instant(at))
    .bind(waiting)
    .bind(overdue_ms)
    .execute(&mut *store.0.lists.get().await?)
    .await?;
    Ok(())
}

/// How much waits, and for how long it has been overdue. Asks first whether somebody has noted it, for to count goes through
/// much.
async fn look(
    conn: &mut PgConnection,
    at: Timestamp,
) -> Result<Option<(i64, Option<i64>)>, StoreError> {
    sqlx::query("SET LOCAL statement_timeout = '20s'")
        .execute(&mut *conn)
        .await?;
    let is_noted: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM depth WHERE at = $1)")
        .bind(Instant(at))
        .fetch_one(&mut *conn)
        .await?;
    if is_noted {
        return Ok(None);
    }
    let due_since: Option<Instant> = sqlx::query_scalar(FIRST_DUE).fetch_one(&mut *conn).await?;
    let (Instant(clock), unrouted, unfinished, _): (_, i64, i64, i64) = sqlx::query_as(COUNTS)
        .bind(i64::try_from(MOST_COUNTED).map_err(corrupt)?)
        .fetch_one(conn)
        .await?;
    let overdue_ms = due_since
        .filter(|Instant(due)| *due <= clock)
        .map(|Instant(due)| clock.as_millis() - due.as_millis());
    Ok(Some((unrouted + unfinished, overdue_ms)))
}

pub(super) async fn depths(
    store: &PostgresStore,
    since: Timestamp,
) -> Result<Vec<Depth>, StoreError> {
    Ok(
        sqlx::query_as("SELECT at, waiting, overdue_ms FROM depth WHERE at >= $1 ORDER BY at")
            .bind(Instant(since))
            .fetch_all(&mut *store.0.lists.get().await?)
            .await?,
    )
}

/// What is not kept. Who is at it at the same moment takes others. Returns whether there may be more.
pub(super) async fn forget(store: &PostgresStore, now: Timestamp) -> Result<bool, StoreError> {
    let mut more = false;
    for range in not_kept(now) {
        more |= forget_in(store, Instant(range.start), Instant(range.end)).await?;
    }
    Ok(more)
}

async fn forget_in(store: &PostgresStore, from: Instant, to: Instant) -> Result<bool, StoreError> {
    // There is one row a minute.
    sqlx::query("DELETE FROM depth WHERE at >= $1 AND at < $2")
        .bind(from)
        .bind(to)
        .execute(&mut *store.0.lists.get().await?)
        .await?;
    let mut more = false;
    for statement in [MINUTES, QUARTERS] {
        more |= forget_counted(store, statement, from, to).await?;
    }
    Ok(more)
}

const MINUTES: &str = "
    DELETE FROM minute WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM minute
        WHERE at >= $1 AND at < $2
        ORDER BY at, client
        LIMIT $3
        FOR UPDATE SKIP LOCKED))";

const QUARTERS: &str = "
    DELETE FROM quarter WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM quarter
        WHERE at >= $1 AND at < $2
        ORDER BY at
        LIMIT $3
        FOR UPDATE SKIP LOCKED))";

async fn forget_counted(
    store: &PostgresStore,
    statement: &'static str,
    from: Instant,
    to: Instant,
) -> Result<bool, StoreError> {
    for _ in 0..ROUNDS {
        let gone = sqlx::query(statement)
            .bind(from)
            .bind(to)
            .bind(i64::from(FORGOTTEN_AT_ONCE))
            .execute(&mut *store.0.lists.get().await?)
            .await?
            .rows_affected();
        if gone < u64::from(FORGOTTEN_AT_ONCE) {
            return Ok(false);
        }
    }
    Ok(true)
}
