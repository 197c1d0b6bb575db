//! Where the outbox of a run lies: a fresh one each time, gone afterwards.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Context;
use serde_json::{Value, json};
use tharsis::{
    Emitter, Options,
    sqlx::{self, AssertSqlSafe, Connection, PgConnection, SqliteConnection},
};

use crate::report::{median, round};

/// Which database to measure.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite,
    /// Its URL, without a schema.
    Postgres(String),
}

impl FromStr for Database {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text == "sqlite" {
            return Ok(Self::Sqlite);
        }
        anyhow::ensure!(
            text.starts_with("postgres://") || text.starts_with("postgresql://"),
            "is neither `sqlite` nor the URL of a PostgreSQL database"
        );
        anyhow::ensure!(
            !text.contains("schema="),
            "names a schema: each run makes its own and drops it"
        );
        Ok(Self::Postgres(text.to_owned()))
    }
}

impl Database {
    /// As the figures name it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres(_) => "postgresql",
        }
    }

    /// A fresh outbox, its files in this folder.
    pub(crate) async fn outbox(&self, folder: &Path) -> anyhow::Result<Outbox> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let key_file = folder.join("bench.key");
        let outbox = match self {
            Self::Sqlite => {
                let file = folder.join("bench.db");
                let path = file.to_str().context("the folder's path is not UTF-8")?;
                Outbox {
                    url: format!("sqlite://{path}"),
                    key_file,
                    schema: None,
                }
            }
            Self::Postgres(server) => {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                let name = format!("bench_{}_{number}", std::process::id());
                let sign = if server.contains('?') { '&' } else { '?' };
                Outbox {
                    url: format!("{server}{sign}schema={name}"),
                    key_file,
                    schema: Some(Schema {
                        server: server.clone(),
                        name,
                    }),
                }
            }
        };
        Emitter::migrate(&outbox.url, &outbox.options()).await?;
        Ok(outbox)
    }

    /// What the server has counted so far.
    pub(crate) async fn counted(&self) -> anyhow::Result<Counted> {
        let Self::Postgres(server) = self else {
            return Ok(Counted::default());
        };
        let mut connection = PgConnection::connect(server).await?;
        let wal: f64 = sqlx::query_scalar(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8",
        )
        .fetch_one(&mut connection)
        .await?;
        // An extension that the server need not have.
        let statements = sqlx::query_scalar(
            "SELECT sum(s.calls)::float8
             FROM pg_stat_statements s
             JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()",
        )
        .fetch_one(&mut connection)
        .await
        .ok();
        Ok(Counted {
            statements,
            wal_bytes: Some(wal),
        })
    }
}

/// A fresh outbox. Its schema goes with it.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) url: String,
    pub(crate) key_file: PathBuf,
    schema: Option<Schema>,
}

impl Outbox {
    /// What it is opened with, as far as the database is concerned.
    pub(crate) fn options(&self) -> Options {
        Options {
            key_file: Some(self.key_file.clone()),
            ..Options::default()
        }
    }

    /// Carries out statements of plain SQL, and says how many rows they wrote.
    pub(crate) async fn execute(&self, statements: &str) -> anyhow::Result<u64> {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        if let Some(Schema { server, name }) = &self.schema {
            let mut connection = PgConnection::connect(server).await?;
            let path = AssertSqlSafe(format!("SET search_path = {name}"));
            sqlx::query(path).execute(&mut connection).await?;
            return Ok(statements.execute(&mut connection).await?.rows_affected());
        }
        let mut connection = SqliteConnection::connect(&self.url).await?;
        Ok(statements.execute(&mut connection).await?.rows_affected())
    }

    /// A connection to its PostgreSQL, as an engine has one.
    pub(crate) async fn connection(&self) -> anyhow::Result<Option<PgConnection>> {
        Ok(match &self.schema {
            Some(schema) => Some(PgConnection::connect(&schema.server).await?),
            None => None,
        })
    }
}

#[derive(Debug)]
struct Schema {
    server: String,
    name: String,
}

impl Schema {
    async fn drop(server: &str, name: &str) -> sqlx::Result<()> {
        let mut connection = PgConnection::connect(server).await?;
        sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {name} CASCADE")))
            .execute(&mut connection)
            .await?;
        connection.close().await
    }
}

/// On a thread of its own, for a runtime cannot be waited for inside another.
impl Drop for Schema {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(Self::drop(&server, &name))?;
            anyhow::Ok(())
        });
        if !matches!(dropping.join(), Ok(Ok(()))) {
            complain(&self.name);
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the program's own failure, to whoever started it"
)]
fn complain(schema: &str) {
    eprintln!("the schema {schema} could not be dropped: drop it by hand");
}

/// Counters of the server; what is not counted is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    statements: Option<f64>,
    wal_bytes: Option<f64>,
}

/// What deliveries cost the server, one run after the other.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    statements: Vec<f64>,
    wal_bytes: Vec<f64>,
}

impl Costs {
    /// Adds a run of so many deliveries.
    pub(crate) fn add(&mut self, before: Counted, after: Counted, deliveries: usize) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of deliveries are far below 2^52"
        )]
        let deliveries = deliveries as f64;
        let add = |to: &mut Vec<f64>, before: Option<f64>, after: Option<f64>| {
            if let (Some(before), Some(after)) = (before, after) {
                to.push((after - before) / deliveries);
            }
        };
        add(&mut self.statements, before.statements, after.statements);
        add(&mut self.wal_bytes, before.wal_bytes, after.wal_bytes);
    }

    /// The medians; `null` where nothing was counted.
    pub(crate) fn json(self) -> Value {
        let per = |values: Vec<f64>| (!values.is_empty()).then(|| median(values));
        json!({
            "statements": per(self.statements).map(|n| (n * 10_000.0).round() / 10_000.0),
            "wal_bytes": per(self.wal_bytes).map(round),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_its_own_schema() {
        assert!(matches!("sqlite".parse(), Ok(Database::Sqlite)));
        assert!(matches!(
            "postgres://h/d".parse(),
            Ok(Database::Postgres(_))
        ));
        for bad in ["", "mysql://h/d", "postgres://h/d?schema=mine", "bench.db"] {
            assert!(bad.parse::<Database>().is_err(), "{bad}");
        }
    }
}
