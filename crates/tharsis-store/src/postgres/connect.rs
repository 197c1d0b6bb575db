//! Where the database is, and the connections to it.

use std::{
    borrow::Cow,
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tharsis_core::Invalid;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::error::not_opened;
use crate::{
    StoreError,
    failpoint::{self, reached},
    redacted,
};

/// How long the first connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for a connection of the engine's before giving up: it asks again.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);

/// The schema where nobody names another.
const SCHEMA: &str = "tharsis";

/// PostgreSQL cuts longer names.
const LONGEST_NAME: usize = 63;

/// What a URL may say beside the schema, and `options[NAME]`. Of anything else sqlx would log the value.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// A schema by its name, which needs no escaping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema(String);

impl Schema {
    fn new(name: &str) -> Result<Self, Invalid> {
        let mut bytes = name.bytes();
        let begins_well = bytes
            .next()
            .is_some_and(|first| first.is_ascii_lowercase() || first == b'_');
        let goes_on_well = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if begins_well && goes_on_well && name.len() <= LONGEST_NAME && !name.starts_with("pg_") {
            return Ok(Self(name.to_owned()));
        }
        Err(bad_url("names a schema that is none").hint(
            "name it with at most 63 of a-z, 0-9 and _, without a digit or pg_ at the beginning: ?schema=tharsis",
        ))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Where every connection looks for what it names. A caller's temporary tables come last, so that they hide none of
    /// ours.
    pub(super) fn search_path(&self) -> String {
        format!("{},pg_temp", self.0)
    }
}

/// The schema of a database by its URL.
pub(super) struct Database {
    schema: Schema,
    options: PgConnectOptions,
}

fn bad_url(message: impl Into<Cow<'static, str>>) -> Invalid {
    Invalid::new("bad_database_url", message)
        .at("database")
        .hint("write postgres://USER@HOST/DATABASE?schema=NAME")
}

impl Database {
    /// Errors hold nothing of the URL but the name of a parameter, for a password may be in it.
    pub(super) fn at(url: &str) -> Result<Self, Invalid> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(bad_url("is not the URL of a PostgreSQL database"));
        }
        let (url, schema) = take_schema(url)?;
        let options: PgConnectOptions = url
            .parse()
            .map_err(|_| bad_url("cannot be read as the URL of a PostgreSQL database"))?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("tharsis"),
        };
        let options = options
            .options([
                ("search_path", schema.search_path()),
                ("default_transaction_isolation", "read committed".to_owned()),
                ("jit", "off".to_owned()),
            ])
            .disable_statement_logging();
        Ok(Self { schema, options })
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn into_schema(self) -> Schema {
        self.schema
    }

    /// One connection of its own, which says at once why there is none.
    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        match timeout(PATIENCE, self.options.connect()).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(error)) => Err(not_opened(error)),
            Err(_) => Err(not_opened(sqlx::Error::PoolTimedOut)),
        }
    }
}

/// The URL without its schema, and that. All else that it says is known.
fn take_schema(url: &str) -> Result<(String, Schema), Invalid> {
    let Some((base, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), Schema::new(SCHEMA)?));
    };
    let (schemas, others): (Vec<&str>, Vec<&str>) = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .partition(|pair| name_of(pair) == "schema");
    let schema = match schemas.as_slice() {
        [] => Schema::new(SCHEMA)?,
        [one] => Schema::new(one.strip_prefix("schema=").unwrap_or_default())?,
        _ => return Err(bad_url("names two schemas")),
    };
    if let Some(unknown) = others
        .iter()
        .map(|pair| name_of(pair))
        .find(|n| !is_known(n))
    {
        return Err(not_known(url, unknown));
    }
    Ok((format!("{base}?{}", others.join("&")), schema))
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

fn is_known(name: &str) -> bool {
    PARAMETERS.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
}

/// What was not escaped in a password looks like a parameter too: only a name that may be printed is told.
fn not_known(url: &str, name: &str) -> Invalid {
    let shown = redacted(url);
    let may_be_told = shown
        .split_once('?')
        .is_some_and(|(_, query)| query.split('&').any(|pair| name_of(pair) == name));
    let refused = if may_be_told {
        bad_url(format!("has the parameter {name}, which is not known"))
    } else {
        bad_url("has a parameter that is not known")
    };
    refused.hint(format!(
        "the parameters are schema, {}; escape &, ?, # and @ in a password as %26, %3F, %23 and %40",
        PARAMETERS.join(", ")
    ))
}

/// All connections of a store; each is made when it is first needed.
pub(super) struct Pools {
    pub(super) engine: Pool,
    pub(super) leases: Pool,
    pub(super) publishes: Pool,
    pub(super) lists: Pool,
    pub(super) doors: Pool,
    pub(super) listener: PgPool,
}

impl Pools {
    pub(super) fn of(database: &Database, lease: Duration) -> Self {
        // What the engine asks is planned once, for tables of any size: their statistics are of a time when they were
        // empty, and every one of its statements goes by keys.
        let engine = database.options.clone().options([
            ("synchronous_commit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
        ]);
        // Whoever is stopped in the midst of a transaction must not keep the others from their leases.
        let engine = engine.options([(
            "idle_in_transaction_session_timeout",
            (lease / 5).as_millis().max(100),
        )]);
        // Were the last leases lost with the server, two workers would own what had changed hands.
        let leases = engine
            .clone()
            .options([("synchronous_commit", "on")])
            .options([("lock_timeout", (lease / 3).as_millis().max(100))]);
        let lists = database.options.clone().options([
            ("plan_cache_mode", "force_custom_plan"),
            ("idle_in_transaction_session_timeout", "60s"),
        ]);
        // Who publishes under a key that an open transaction has published under gives up soon, and tries again.
        let publishes = database
            .options
            .clone()
            .options([("lock_timeout", "250ms")]);
        let of_people = |options: PgConnectOptions| {
            let pool = pool(2, 3 * PATIENCE).idle_timeout(Duration::from_secs(300));
            Pool(pool.connect_lazy_with(options))
        };
        let listener = pool(1, ENGINE_PATIENCE).connect_lazy_with(database.options.clone());
        Self {
            engine: Pool(pool(4, ENGINE_PATIENCE).connect_lazy_with(engine)),
            leases: Pool(pool(1, ENGINE_PATIENCE).connect_lazy_with(leases)),
            publishes: Pool(pool(3, 3 * PATIENCE).connect_lazy_with(publishes)),
            lists: of_people(lists.clone()),
            doors: of_people(lists),
            listener,
        }
    }
}

fn pool(most: u32, patience: Duration) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(patience)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Some connections that are alike.
pub(super) struct Pool(PgPool);

impl Pool {
    pub(super) async fn get(&self) -> Result<Conn, StoreError> {
        Ok(Conn {
            conn: Some(self.0.acquire().await?),
            since: Instant::now(),
        })
    }

    /// How many there are.
    pub(super) fn figures(&self, name: &'static str) -> crate::Pool {
        crate::gauges::pool(name, &self.0)
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<Write, StoreError> {
        // From here on whoever drops it closes the connection, also in the midst of its beginning.
        let mut write = Write(self.get().await?);
        sqlx::query("BEGIN").execute(&mut *write).await?;
        Ok(write)
    }
}

const UNTIL_ITS_END: &str = "the connection is taken where its guard is dropped";

/// What was used for so long may have been given up for its server said nothing. The pool would ask that server whether it
/// is there, and wait for the answer.
const LONG: Duration = Duration::from_secs(4);

/// A connection. It may be dropped anywhere: outside of a runtime, or after a long time, it is closed.
pub(crate) struct Conn {
    conn: Option<PoolConnection<Postgres>>,
    since: Instant,
}

impl Deref for Conn {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.conn.as_ref().expect(UNTIL_ITS_END)
    }
}

impl DerefMut for Conn {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.conn.as_mut().expect(UNTIL_ITS_END)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // Giving it back takes a task.
        if Handle::try_current().is_err() {
            self.conn.take().map(PoolConnection::detach);
        } else if let Some(conn) = &mut self.conn
            && self.since.elapsed() > LONG
        {
            conn.close_on_drop();
        }
    }
}

/// A transaction. Dropped without [`Write::commit`], its connection is closed, and nothing of it is left behind.
pub(super) struct Write(Conn);

impl Write {
    /// Commits what was written between these points.
    pub(super) async fn commit(
        self,
        [written, committed]: failpoint::Commit,
    ) -> Result<(), StoreError> {
        reached(written);
        self.end("COMMIT").await?;
        reached(committed);
        Ok(())
    }

    /// Gives it up, or ends one that only read, and keeps the connection.
    pub(super) async fn roll_back(self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), StoreError> {
        sqlx::query(how).execute(&mut *self).await?;
        let (conn, since) = (self.0.conn.take(), self.0.since);
        drop(Conn { conn, since });
        Ok(())
    }
}

impl Deref for Write {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if let Some(conn) = &mut self.0.conn {
            conn.close_on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(url: &str) -> Result<String, &'static str> {
        match Database::at(url) {
            Ok(database) => Ok(database.schema.0),
            Err(invalid) => Err(invalid.code),
        }
    }

    #[tokio::test]
    async fn the_engine_waits_for_no_disk_but_where_leases_change_hands() {
        let url = std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL is set");
        let database = Database::at(&url).expect("a URL");
        let pools = Pools::of(&database, Duration::from_secs(15));
        for (pool, expected) in [(&pools.engine, "off"), (&pools.leases, "on")] {
            let mut conn = pool.get().await.expect("a connection");
            let waits: String = sqlx::query_scalar("SHOW synchronous_commit")
                .fetch_one(&mut *conn)
                .await
                .expect("shown");
            assert_eq!(waits, expected);
        }
    }

    #[tokio::test]
    async fn the_schema_is_part_of_the_url() {
        for (url, expected) in [
            ("postgres://u@h/d", "tharsis"),
            ("postgresql://u:p@h:5433/d?sslmode=disable", "tharsis"),
            ("postgres://u@h/d?schema=outbox_2", "outbox_2"),
            (
                "postgres://u@h/d?sslmode=disable&schema=_x&application_name=y",
                "_x",
            ),
            ("postgres://%2Frun%2Fpg/d?schema=select", "select"),
        ] {
            assert_eq!(schema(url).as_deref(), Ok(expected), "{url}");
        }
        let longest = "a".repeat(LONGEST_NAME);
        assert_eq!(
            schema(&format!("postgres://h/d?schema={longest}")),
            Ok(longest)
        );
    }

    #[tokio::test]
    async fn urls_are_read_strictly() {
        let too_long = format!("postgres://h/d?schema={}", "a".repeat(LONGEST_NAME + 1));
        for url in [
            "sqlite://x.db",
            "postgres:x",
            "http://h/d",
            "postgres://h/d?schema=",
            "postgres://h/d?schema",
            "postgres://h/d?schema=Upper",
            "postgres://h/d?schema=2nd",
            "postgres://h/d?schema=pg_own",
            "postgres://h/d?schema=a-b",
            "postgres://h/d?schema=a%22b",
            "postgres://h/d?schema=a&schema=b",
            "postgres://h:port/d",
            &too_long,
        ] {
            assert_eq!(schema(url), Err("bad_database_url"), "{url}");
        }
    }

    #[tokio::test]
    async fn a_refusal_shows_no_password() {
        for url in [
            "postgres://u:hunter2@h:port/d",
            "postgres://h/d?sslpassword=hunter2",
            "postgres://h/d?PassWord=hunter2",
            "postgres://h/d?pass%77ord=hunter2",
            // Not escaped.
            "postgres://h/d?password=a&hunter2=b",
            "postgres://u:a?hunter2=b@h/d",
            "postgres://u:a?b=c&hunter2@h/d?sslmode=require",
        ] {
            let error = Database::at(url).map(|_| ()).expect_err(url);
            assert_eq!(error.code, "bad_database_url", "{url}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_known_is_refused_by_its_name() {
        let told = |url| {
            let refused = Database::at(url).map(|_| ()).expect_err("refused");
            assert!(refused.hint.is_some_and(|hint| hint.contains("sslmode")));
            refused.message
        };
        assert_eq!(
            told("postgres://u:p@h/d?sslmode=require&sslpassword=x"),
            "has the parameter sslpassword, which is not known"
        );
        assert_eq!(
            told("postgres://h/d?connect_timeout=10&schema=a"),
            "has the parameter connect_timeout, which is not known"
        );
        assert_eq!(
            told("postgres://h/d?password=a&b"),
            "has a parameter that is not known"
        );
        for name in PARAMETERS.into_iter().filter(|name| {
            // Their values are not any text.
            ![
                "hostaddr",
                "port",
                "ssl-mode",
                "sslmode",
                "statement-cache-capacity",
            ]
            .contains(name)
        }) {
            let url = format!("postgres://h/d?{name}=x");
            assert_eq!(schema(&url).as_deref(), Ok("tharsis"), "{name}");
        }
        let options = "postgres://h/d?options[lock_timeout]=1s&options=-c jit=on";
        assert_eq!(schema(options).as_deref(), Ok("tharsis"));
    }
}
