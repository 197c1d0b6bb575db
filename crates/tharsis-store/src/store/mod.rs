//! Either database, chosen by its URL.

mod either;
mod publish_on;
mod url;

use std::{future::Future, path::PathBuf, pin::Pin, time::Duration};

use tharsis_core::{EventId, Invalid, event::Event, profile::Profiles, secret::Keyring};

use self::url::{Kind, beside_file};
pub use self::{publish_on::PublishOn, url::redacted};
use crate::{
    By, Pool, Published, StoreError, WorkerRecord,
    postgres::{self, PostgresStore},
    sqlite::{self, SqliteStore},
};

/// With a shorter one a worker would lose its shards to a slow moment.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// The registry and the outbox in the database that its URL names. Clones share it.
#[derive(Debug, Clone)]
pub enum Store {
    /// In one SQLite file.
    Sqlite(SqliteStore),
    /// In one schema of a PostgreSQL database.
    Postgres(PostgresStore),
}

/// What a [`Store`] is opened with.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// The file of the keys that secrets are sealed with, on PostgreSQL; without one a store only publishes and looks. On
    /// SQLite it is always `<database>.key`.
    pub key_file: Option<PathBuf>,
    /// The keys themselves, in place of those in a file.
    pub keys: Option<Keyring>,
    /// How long after its last word a worker on PostgreSQL counts as gone, so that others take its work over: 15 s unless
    /// given, at least 1 s. Of no effect on SQLite, where ownership goes with the process.
    pub lease: Option<Duration>,
    /// Fail with `database_not_found` where the SQLite file is not there, in place of making it. On PostgreSQL nothing is
    /// ever made by opening.
    pub must_exist: bool,
    /// The profiles that subscriptions may be of.
    pub profiles: Profiles,
}

impl Store {
    /// Opens `sqlite://PATH` or `postgres://USER@HOST/DATABASE?schema=SCHEMA`. An SQLite file is created and migrated on
    /// the way; a schema of PostgreSQL must have been [migrated](Self::migrate) before.
    ///
    /// # Errors
    /// `bad_database_url` for any other URL; what the store of each kind fails with. On PostgreSQL `search_path_lost` where
    /// a pooler drops what a connection asks for at its start.
    pub fn open<'a>(
        url: &'a str,
        options: &'a StoreOptions,
    ) -> impl Future<Output = Result<Self, StoreError>> + Send {
        boxed(async move {
            Ok(match Kind::of(url)? {
                Kind::Sqlite => Self::Sqlite(SqliteStore::open_with(url, options.sqlite()).await?),
                Kind::Postgres => {
                    Self::Postgres(PostgresStore::open(url, options.postgres()?).await?)
                }
            })
        })
    }

    /// Brings the schema up to what this program knows, creating what is not there, and returns the names of the
    /// migrations that it applied. The key that secrets are sealed with is made where the database knows none; where it
    /// knows one, a [key file](Self::key_file) that is not here is not missed.
    ///
    /// # Errors
    /// As [`Self::open`], and `schema_too_new`; on PostgreSQL `not_permitted` where this user may not make what is
    /// missing, and `schema_open` where everybody may make something in the schema.
    pub fn migrate<'a>(
        url: &'a str,
        options: &'a StoreOptions,
    ) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send {
        boxed(async move {
            match Kind::of(url)? {
                Kind::Sqlite => SqliteStore::migrate(url, options.sqlite()).await,
                Kind::Postgres => PostgresStore::migrate(url, options.postgres()?).await,
            }
        })
    }

    /// Makes the first key that secrets are sealed with, in the [key file](Self::key_file), and returns its id. It is needed
    /// only where the key is to be there before [`Self::migrate`], which makes it too.
    ///
    /// # Errors
    /// `key_known` where the database seals with a key already, `key_file_exists` where there is such a file, `key_missing`
    /// where none is named; as [`Self::open`].
    pub fn init_key<'a>(
        url: &'a str,
        options: &'a StoreOptions,
        by: By<'a>,
    ) -> impl Future<Output = Result<String, StoreError>> + Send {
        boxed(async move {
            match Kind::of(url)? {
                Kind::Sqlite => SqliteStore::init_key(url, options.sqlite(), by).await,
                Kind::Postgres => PostgresStore::init_key(url, options.postgres()?, by).await,
            }
        })
    }

    /// The id of the key that the database seals with, if it is there and knows one. Needs no key.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn known_key(
        url: &str,
        options: &StoreOptions,
    ) -> Result<Option<String>, StoreError> {
        match Kind::of(url)? {
            Kind::Sqlite => SqliteStore::known_key(url, options.sqlite()).await,
            Kind::Postgres => PostgresStore::known_key(url, options.postgres()?).await,
        }
    }

    /// The file of the keys that secrets are sealed with, whether it is there or not: beside an SQLite file, else what the
    /// options name; `None` where the keys themselves are given.
    pub fn key_file(url: &str, options: &StoreOptions) -> Option<PathBuf> {
        if options.keys.is_some() {
            return None;
        }
        match Kind::of(url).ok()? {
            Kind::Sqlite => Some(beside_file(url)),
            Kind::Postgres => options.key_file.clone(),
        }
    }

    /// Publishes on a connection of the caller's to the same database: inside its transaction if one is open, else in one
    /// of its own. The id is the caller's to make; publishing the same event again returns the first id.
    ///
    /// # Errors
    /// `other_database` when the connection is to the other kind of database; what [`SqliteStore::publish_in`] and
    /// [`PostgresStore::publish_in`] fail with.
    pub async fn publish_in<C: PublishOn>(
        &self,
        connection: &mut C,
        event: &Event,
        id: EventId,
    ) -> Result<Published, StoreError> {
        publish_on::publish_in(self, connection.connected(), event, id).await
    }

    /// Gives ownership back at once, whatever lease this store holds: for a run that ended before it could
    /// [release](crate::Outbox::release) it.
    pub fn disown(&self) {
        match self {
            Self::Sqlite(store) => store.disown(),
            Self::Postgres(store) => store.disown(),
        }
    }

    /// The workers that deliver at present, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        match self {
            Self::Sqlite(store) => store.workers().await,
            Self::Postgres(store) => (store.workers().await).map_err(StoreError::or_not_permitted),
        }
    }

    /// Its connections, by what they are for.
    pub fn pools(&self) -> Vec<Pool> {
        match self {
            Self::Sqlite(store) => store.pools(),
            Self::Postgres(store) => store.pools(),
        }
    }

    /// Whether opening switched a file that had something in it to write-ahead logging.
    pub fn switched_to_wal(&self) -> bool {
        match self {
            Self::Sqlite(store) => store.switched_to_wal(),
            Self::Postgres(_) => false,
        }
    }
}

/// What is compiled here and not again where it is waited for.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

fn boxed<'a, T>(asked: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Boxed<'a, T> {
    Box::pin(asked)
}

impl StoreOptions {
    fn sqlite(&self) -> sqlite::Options {
        sqlite::Options {
            must_exist: self.must_exist,
            keys: self.keys.clone(),
            profiles: self.profiles.clone(),
            ..sqlite::Options::default()
        }
    }

    fn postgres(&self) -> Result<postgres::Options, Invalid> {
        let default = postgres::Options::default();
        let lease = self.lease.unwrap_or(default.lease);
        if lease < SHORTEST_LEASE {
            return Err(Invalid::new("lease_too_short", "is shorter than 1s")
                .at("lease")
                .hint("take some seconds: a worker that is killed is replaced after so long"));
        }
        Ok(postgres::Options {
            key_file: self.key_file.clone(),
            keys: self.keys.clone(),
            lease,
            profiles: self.profiles.clone(),
            ..default
        })
    }
}
