//! A schema for each test, in the PostgreSQL database that `TEST_DATABASE_URL` names.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tharsis_store::postgres::{Options, PostgresStore};

/// It goes with this guard.
pub(crate) struct Schema {
    pub(crate) database: String,
    pub(crate) name: String,
    folder: tempfile::TempDir,
}

impl Schema {
    /// Made and migrated.
    pub(crate) async fn new() -> Self {
        let schema = Self::missing();
        PostgresStore::migrate(&schema.url(), schema.options())
            .await
            .expect("migrates");
        schema
    }

    /// Not there yet.
    pub(crate) fn missing() -> Self {
        let database = std::env::var("TEST_DATABASE_URL").expect(
            "TEST_DATABASE_URL is not set: `export TEST_DATABASE_URL=$(scripts/postgres start)`, or name any PostgreSQL 15 or newer",
        );
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("random bytes");
        Self {
            database,
            name: format!("test_{:016x}", u64::from_ne_bytes(random)),
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub(crate) fn url(&self) -> String {
        let and = if self.database.contains('?') {
            '&'
        } else {
            '?'
        };
        format!("{}{and}schema={}", self.database, self.name)
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            key_file: Some(self.folder.path().join("tharsis.key")),
            ..Options::default()
        }
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (database, name) = (self.database.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut conn = PgConnection::connect(&database).await?;
                let drop = format!("DROP SCHEMA IF EXISTS \"{name}\" CASCADE");
                sqlx::raw_sql(AssertSqlSafe(drop))
                    .execute(&mut conn)
                    .await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        if !std::thread::panicking() {
            dropped
                .join()
                .expect("no panic")
                .expect("the schema is dropped");
        } else {
            let _ = dropped.join();
        }
    }
}
