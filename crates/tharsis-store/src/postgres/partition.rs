//! Events and attempts by days: tables of their own, made ahead of time, and [forgotten](super::forget) as a whole.
//!
//! An id begins with the instant that it was made at, so a day is a range of ids. What no day's table takes lies in the
//! default one, and is moved when its day is made. Whatever locks a table that publishers or readers need waits for it a
//! short time only, for they wait behind it; there are days of time to try again.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection};
use tharsis_core::Timestamp;
use tracing::debug;
use uuid::Uuid;

use super::{
    PostgresStore,
    connect::Write,
    error::{code, explain},
    forget::drop_forgotten,
    value::Instant,
};
use crate::{StoreError, failpoint};

const DAY: i64 = 86_400_000;

/// Days that are made ahead of time.
const AHEAD: i64 = 7;

/// The tables that are kept by days, each with its default one.
pub(super) const TABLES: [Table; 2] = [
    Table {
        name: "event",
        key: "id",
    },
    Table {
        name: "attempt",
        key: "event",
    },
];

#[derive(Clone, Copy)]
pub(super) struct Table {
    name: &'static str,
    key: &'static str,
}

/// Days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(i64);

impl Day {
    pub(super) fn of(at: Timestamp) -> Self {
        Self(at.as_millis().div_euclid(DAY))
    }

    fn of_id(id: Uuid) -> Self {
        let millis = i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX);
        Self(millis / DAY)
    }

    pub(super) fn begins(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(DAY))
    }

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The first id that it can hold.
    pub(super) fn first_id(self) -> Uuid {
        let millis = u128::try_from(self.begins().as_millis()).unwrap_or(0);
        Uuid::from_u128(millis << 80)
    }

    /// `event_20260131`.
    fn table(self, of: &str) -> String {
        let date = self.begins().to_string();
        let digits: String = date.chars().take(10).filter(char::is_ascii_digit).collect();
        format!("{of}_{digits}")
    }

    /// The one whose table has this name; the default one is of none.
    fn of_table(name: &str) -> Option<Self> {
        let (_, date) = name.rsplit_once('_')?;
        let (year, day) = date.split_at_checked(4)?;
        let (month, day) = day.split_at_checked(2)?;
        Timestamp::parse(&format!("{year}-{month}-{day}T00:00:00Z"))
            .ok()
            .map(Self::of)
    }

    /// Of its events and of its attempts.
    pub(super) fn tables(self) -> [String; 2] {
        TABLES.map(|table| self.table(table.name))
    }

    fn to_make(now: Timestamp) -> impl Iterator<Item = Self> {
        let Self(today) = Self::of(now);
        // Yesterday's, for clocks that are behind.
        (today - 1..=today + AHEAD).map(Self)
    }
}

/// The first days, in the transaction that makes the tables.
pub(super) async fn make_first(conn: &mut PgConnection) -> Result<(), StoreError> {
    let Instant(now) = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut *conn)
        .await?;
    for table in TABLES {
        for day in Day::to_make(now) {
            make(conn, table, day).await.map_err(explain)?;
        }
    }
    Ok(())
}

/// Makes the days ahead, and those that lie in a default table; drops what was forgotten.
pub(super) async fn maintain(store: &PostgresStore, now: Timestamp) -> Result<(), StoreError> {
    let mut wanted: BTreeSet<Day> = Day::to_make(now).collect();
    for table in TABLES {
        wanted.extend(in_default(store, table).await?);
    }
    for table in TABLES {
        let made = days(store, table).await?;
        for day in &wanted {
            if made.contains(&day.table(table.name)) {
                continue;
            }
            let Some(mut write) = begin(store).await? else {
                return Ok(());
            };
            let done = make(&mut write, table, *day).await;
            let later = "A day's table is made later";
            end(write, done, failpoint::PARTITION, later).await?;
        }
    }
    drop_forgotten(store).await
}

/// Up to when each day has its tables, and whether something lies in a default one.
pub(super) async fn ahead(store: &PostgresStore) -> Result<(Option<Timestamp>, bool), StoreError> {
    let (mut last, mut is_any) = (Vec::new(), false);
    for table in TABLES {
        let made = days(store, table).await?;
        last.push(made.iter().filter_map(|name| Day::of_table(name)).max());
        is_any |= !in_default(store, table).await?.is_empty();
    }
    // None comes before any day.
    let last = last.into_iter().min().flatten();
    Ok((last.map(|day| day.next().begins()), is_any))
}

/// The names of the days' tables.
pub(super) async fn days(store: &PostgresStore, table: Table) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT c.relname::text
         FROM pg_inherits i
         JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = to_regclass($1)
         ORDER BY c.relname",
    )
    .bind(table.name)
    .fetch_all(&mut *store.0.lists.get().await?)
    .await?)
}

/// The days of what lies in the default table, at most some.
async fn in_default(store: &PostgresStore, table: Table) -> Result<Vec<Day>, StoreError> {
    const SOME: usize = 31;
    let Table { name, key } = table;
    let first =
        format!("SELECT {key} FROM {name}_default WHERE {key} >= $1 ORDER BY {key} LIMIT 1");
    let mut conn = store.0.lists.get().await?;
    let mut days = Vec::new();
    let mut from = Uuid::nil();
    while days.len() < SOME {
        let id: Option<Uuid> = sqlx::query_scalar(AssertSqlSafe(first.clone()))
            .bind(from)
            .fetch_optional(&mut *conn)
            .await?;
        let Some(id) = id else { break };
        let day = Day::of_id(id);
        from = day.next().first_id();
        days.push(day);
    }
    Ok(days)
}

/// A transaction that waits for locks a short time only; none where another worker is at it.
pub(super) async fn begin(store: &PostgresStore) -> Result<Option<Write>, StoreError> {
    let mut write = store.0.lists.begin().await?;
    let is_ours: bool = sqlx::query_scalar(
        "SELECT set_config('lock_timeout', '250ms', true) IS NOT NULL
                AND pg_try_advisory_xact_lock(hashtextextended('tharsis maintain ' || $1, 0))",
    )
    .bind(store.0.schema.name())
    .fetch_one(&mut *write)
    .await?;
    if is_ours {
        return Ok(Some(write));
    }
    write.roll_back().await?;
    Ok(None)
}

/// Commits it, or leaves it for later where somebody had a lock for too long. Returns whether it is done.
pub(super) async fn end(
    write: Write,
    done: Result<(), sqlx::Error>,
    points: failpoint::Commit,
    later: &'static str,
) -> Result<bool, StoreError> {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    const DEADLOCK_DETECTED: &str = "40P01";
    match done {
        Ok(()) => {
            write.commit(points).await?;
            Ok(true)
        }
        Err(error)
            if matches!(
                code(&error).as_deref(),
                Some(LOCK_NOT_AVAILABLE | DEADLOCK_DETECTED)
            ) =>
        {
            debug!(%error, "{later}");
            write.roll_back().await?;
            Ok(false)
        }
        Err(error) => Err(explain(error)),
    }
}

/// Attaching waits for no publisher; only the default table must be free for a moment.
async fn make(conn: &mut PgConnection, table: Table, day: Day) -> Result<(), sqlx::Error> {
    let Table { name, key } = table;
    let new = day.table(name);
    let (from, to) = (day.first_id(), day.next().first_id());
    let make = format!(
        "CREATE TABLE {new} (LIKE {name} INCLUDING ALL)
             WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000,
                   autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000);
         LOCK TABLE {name}_default IN ACCESS EXCLUSIVE MODE;
         WITH moved AS (DELETE FROM {name}_default WHERE {key} >= '{from}' AND {key} < '{to}' RETURNING *)
         INSERT INTO {new} SELECT * FROM moved;
         ALTER TABLE {name} ATTACH PARTITION {new} FOR VALUES FROM ('{from}') TO ('{to}');"
    );
    sqlx::raw_sql(AssertSqlSafe(make)).execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tharsis_core::EventId;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn a_day_has_its_table_and_its_ids() {
        let day = Day::of(at("2026-01-31T23:59:59.999Z"));
        assert_eq!(day.table("event"), "event_20260131");
        assert_eq!(day.next().tables(), ["event_20260201", "attempt_20260201"]);
        assert_eq!(day.begins(), at("2026-01-31T00:00:00Z"));
        assert_eq!(Day::of_table("event_20260131"), Some(day));
        for other in [
            "event_default",
            "event_2026",
            "event",
            "event_20260231",
            "event_äöü",
        ] {
            assert_eq!(Day::of_table(other), None, "{other}");
        }
    }

    #[test]
    fn the_first_and_the_last_id_of_a_day_lie_in_it() {
        let day = Day::of(at("2026-02-28T12:00:00Z"));
        for (instant, random, is_in) in [
            ("2026-02-27T23:59:59.999Z", [0xff; 10], false),
            ("2026-02-28T00:00:00Z", [0; 10], true),
            ("2026-02-28T23:59:59.999Z", [0xff; 10], true),
            ("2026-03-01T00:00:00Z", [0; 10], false),
        ] {
            let id = *EventId::new(at(instant), random).as_uuid();
            assert_eq!(
                (day.first_id()..day.next().first_id()).contains(&id),
                is_in,
                "{instant}"
            );
            assert_eq!(Day::of_id(id) == day, is_in);
        }
    }

    #[test]
    fn a_week_is_made_ahead() {
        let days: Vec<String> = Day::to_make(at("2026-12-30T08:00:00Z"))
            .map(|day| day.table("event"))
            .collect();
        assert_eq!(days.len(), 9);
        assert_eq!(days[0], "event_20261229");
        assert_eq!(days[1], "event_20261230");
        assert_eq!(days[8], "event_20270106");
    }
}
