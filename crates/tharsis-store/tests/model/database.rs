//! Either database, as processes come to it.

use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, sqlite};
use tharsis_core::{ClientId, EventId, Timestamp, WorkerId};
use tharsis_store::{
    Store, StoreOptions,
    postgres::{Options, PostgresStore},
};

use crate::harness::Schema;

pub(crate) trait Database {
    /// How many workers may deliver at the same time.
    const WORKERS: usize;

    async fn new() -> Self;

    /// Begins anew with nothing in it.
    async fn clear(&mut self);

    /// A store on it, as another process would have it.
    async fn open(&self) -> Store;

    /// Publishes as any program does, with a payload that nobody has frozen.
    async fn publish(&self, client: ClientId, payload: &str, expires: Option<Timestamp>)
    -> EventId;

    /// Lets the lease of a worker run out, where one does.
    async fn run_out(&self, worker: WorkerId);
}

pub(crate) struct Sqlite(tempfile::TempDir);

impl Sqlite {
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("tharsis.db")
    }
}

impl Database for Sqlite {
    const WORKERS: usize = 1;

    async fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    async fn clear(&mut self) {
        *self = Self::new().await;
    }

    async fn open(&self) -> Store {
        let url = format!("sqlite://{}", self.path().display());
        let store = Store::open(&url, &StoreOptions::default()).await;
        store.expect("opens")
    }

    async fn publish(
        &self,
        client: ClientId,
        payload: &str,
        expires: Option<Timestamp>,
    ) -> EventId {
        let options = sqlite::SqliteConnectOptions::new().filename(self.path());
        let mut conn = options.connect().await.expect("a connection");
        let mut write = conn.begin_with("BEGIN IMMEDIATE").await.expect("begins");
        let id: Vec<u8> = sqlx::query_scalar(
            "INSERT INTO tharsis_event (type, client, payload, expires_at) VALUES ('ticket', ?1, ?2, ?3)
             RETURNING id",
        )
        .bind(client.as_uuid().as_bytes().as_slice())
        .bind(payload)
        .bind(expires.map(Timestamp::as_millis))
        .fetch_one(&mut *write)
        .await
        .expect("inserted");
        sqlx::query("INSERT INTO tharsis_outbox (event) VALUES (last_insert_rowid())")
            .execute(&mut *write)
            .await
            .expect("inserted");
        write.commit().await.expect("committed");
        conn.close().await.expect("closed");
        EventId::from_uuid(sqlx::types::Uuid::from_slice(&id).expect("a UUID"))
    }

    async fn run_out(&self, _: WorkerId) {}
}

pub(crate) struct Postgres(Schema);

impl Postgres {
    async fn connect(&self) -> PgConnection {
        let connected = PgConnection::connect(&self.0.database).await;
        connected.expect("a connection")
    }
}

impl Database for Postgres {
    const WORKERS: usize = 2;

    async fn new() -> Self {
        Self(Schema::new().await)
    }

    /// Quicker than a new schema. What is there but once stays, and the shards are nobody's.
    async fn clear(&mut self) {
        let clear = format!(
            "DO $$ DECLARE tables text; BEGIN
                 SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') INTO tables
                 FROM pg_tables
                 WHERE schemaname = '{schema}' AND tablename NOT IN ('migration', 'key', 'revision', 'shard');
                 EXECUTE 'TRUNCATE ' || tables;
                 UPDATE \"{schema}\".shard SET owner = NULL;
             END $$",
            schema = self.0.name
        );
        let mut conn = self.connect().await;
        let cleared = sqlx::raw_sql(AssertSqlSafe(clear)).execute(&mut conn).await;
        cleared.expect("cleared");
        conn.close().await.expect("closed");
    }

    async fn open(&self) -> Store {
        let options = Options {
            // A lease runs out when the story says so.
            lease: Duration::from_secs(3_600),
            ..self.0.options()
        };
        let store = PostgresStore::open(&self.0.url(), options).await;
        Store::Postgres(store.expect("opens"))
    }

    async fn publish(
        &self,
        client: ClientId,
        payload: &str,
        expires: Option<Timestamp>,
    ) -> EventId {
        let publish = format!(
            "SELECT \"{}\".publish('ticket', $1, $2, expires_at => to_timestamp($3 / 1000.0))",
            self.0.name
        );
        let mut conn = self.connect().await;
        let id = sqlx::query_scalar(AssertSqlSafe(publish))
            .bind(client.as_uuid())
            .bind(payload)
            .bind(expires.map(Timestamp::as_millis))
            .fetch_one(&mut conn)
            .await
            .expect("published");
        conn.close().await.expect("closed");
        EventId::from_uuid(id)
    }

    async fn run_out(&self, worker: WorkerId) {
        let run_out = format!(
            "UPDATE \"{}\".worker SET until = renewed_at - interval '1 second' WHERE id = $1",
            self.0.name
        );
        let mut conn = self.connect().await;
        sqlx::query(AssertSqlSafe(run_out))
            .bind(worker.as_uuid())
            .execute(&mut conn)
            .await
            .expect("written");
        conn.close().await.expect("closed");
    }
}
