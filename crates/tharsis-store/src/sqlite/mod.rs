//! The registry and the outbox in one SQLite file.
//!
//! The file may be the caller's own: all tables begin with `tharsis_`. Opening it switches it to write-ahead logging
//! (`PRAGMA journal_mode = WAL`, which stays) and keeps three files beside it: `<database>.key`, the key that secrets are
//! sealed with; `<database>.owner`, whose lock says which process delivers; and the empty `<database>.queue`, where
//! processes line up to write.
//!
//! # What the key protects
//! The key lies beside the database with mode 0600. It protects secrets in copies of the database alone: dumps, backups,
//! a file sent to somebody. It protects nothing from whoever can read both files, so keep them apart in backups. Without
//! the key file the start fails (`key_missing`), with another one too (`key_wrong`).
//!
//! # Publishing by SQL
//! Any program that can write to the file publishes with two inserts in one transaction of its own. The payload is
//! checked and frozen when the event is routed; one that cannot be frozen ends refused, with the reason beside it.
//!
//! ```sql
//! BEGIN IMMEDIATE;
//! INSERT INTO tharsis_event (type, client, payload)
//! VALUES ('ticket', unhex(replace('b4aeba4e-a4c0-4896-866a-56f8bcb372fc', '-', '')), '{"price":9.5}');
//! INSERT INTO tharsis_outbox (event) VALUES (last_insert_rowid());
//! COMMIT;
//! ```
//!
//! `campaign`, `recipient`, `not_before` and `expires_at` (milliseconds since 1970) may be given too; `id`,
//! `published_at` and everything else have defaults. Such an insert knows no idempotency key: the same inserts again
//! are a second event. Begin with `BEGIN IMMEDIATE` and set a busy timeout, as any writer of a shared SQLite file does;
//! `PRAGMA synchronous` must stay at `FULL`, its default, for the commit to survive a loss of power.

mod alert;
mod audit;
mod backlog;
mod campaign;
mod command;
mod connect;
mod due;
mod erasure;
mod filter;
mod gauges;
mod health;
mod history;
mod key;
mod migrate;
mod minute;
mod order;
mod outbox;
mod owner;
#[cfg(test)]
mod plan;
mod publish;
mod publish_in;
mod queue;
mod registry;
mod release;
mod remaining;
mod replay;
mod retention;
mod route;
mod settle;
mod settled;
mod subscription;
mod survey;
mod token;
mod unfinished;
mod value;
mod whereabouts;
mod write;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sqlx::{SqliteConnection, SqlitePool};
use tharsis_core::{EventId, event::Event, profile::Profiles, secret::Keyring};

use self::{owner::Owner, retention::Walks, write::Writer};
pub use crate::Random;
use crate::{
    By, Published, StoreError, key::Ring, publishing::Waiting, random::entropy,
    subscription::Reader,
};

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Fail with `database_not_found` where there is no such file, in place of making one.
    pub must_exist: bool,
    /// The keys that secrets are sealed with, in place of those in the file `<database>.key`.
    pub keys: Option<Keyring>,
    /// The profiles that subscriptions may be of.
    pub profiles: Profiles,
    /// Where random bytes come from.
    pub random: Random,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            must_exist: false,
            keys: None,
            profiles: Profiles::default(),
            random: entropy,
        }
    }
}

/// The registry and the outbox in one SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    path: PathBuf,
    switched_to_wal: bool,
    random: Random,
    ring: Ring,
    profiles: Profiles,
    /// The one connection that writes.
    writer: Writer,
    /// Reads of the engine, so that no long list of a person's stands in their way.
    reads: SqlitePool,
    /// Reads of people.
    lists: SqlitePool,
    /// Whether a token lets somebody in, which must not wait behind a long list either.
    doors: SqlitePool,
    owner: Owner,
    /// Publishes that wait for the writer, to be committed together.
    waiting: Waiting,
    walks: Walks,
    /// Writes of this store that its own owner has to notice; others it sees by `data_version`.
    written: AtomicU64,
}

impl SqliteStore {
    /// Opens `sqlite://PATH` or `sqlite:PATH`, creating and migrating what is not there yet. The path is taken as it
    /// is; there are no parameters.
    ///
    /// # Errors
    /// `bad_database_url`; `sqlite_too_old`, `not_a_database`, `database_not_opened`, `encoding_not_utf8`,
    /// `wal_unavailable`, `schema_too_new`, `key_missing`, `key_wrong`.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, Options::default()).await
    }

    /// As [`Self::open`], with options.
    ///
    /// # Errors
    /// As [`Self::open`], and `database_not_found` where the file [must exist](Options::must_exist) and does not.
    pub async fn open_with(url: &str, options: Options) -> Result<Self, StoreError> {
        Ok(Self::open_and_migrate(url, options).await?.0)
    }

    /// Opens it, and so brings its schema up to what this program knows. Returns the names of the migrations that were
    /// applied.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub async fn migrate(url: &str, options: Options) -> Result<Vec<String>, StoreError> {
        Ok(Self::open_and_migrate(url, options).await?.1)
    }

    async fn open_and_migrate(
        url: &str,
        options: Options,
    ) -> Result<(Self, Vec<String>), StoreError> {
        let (random, profiles) = (options.random, options.profiles.clone());
        let keys = options.keys.clone();
        let opened = connect::Database::at(url)?.open(options).await?;
        let applied = migrate::migrate(&opened.writer).await?;
        let ring = Ring::new(keys, beside(&opened.path, ".key"));
        key::load_or_create(&ring, &opened.writer, random).await?;
        let store = Self(Arc::new(Inner {
            owner: Owner::beside(&opened.path),
            path: opened.path,
            switched_to_wal: opened.switched_to_wal,
            random,
            ring,
            profiles,
            writer: opened.writer,
            reads: opened.reads,
            lists: opened.lists,
            doors: opened.doors,
            waiting: Waiting::default(),
            walks: Walks::default(),
            written: AtomicU64::new(0),
        }));
        Ok((store, applied))
    }

    /// Makes the first key that secrets are sealed with, in the file `<database>.key`, and returns its id. It is needed only
    /// where the key is to be there before the database is: opening makes it too.
    ///
    /// # Errors
    /// `key_known` where the database seals with a key already, `key_file_exists` where there is such a file; as
    /// [`Self::open_with`].
    pub async fn init_key(url: &str, options: Options, by: By<'_>) -> Result<String, StoreError> {
        key::init(url, options, by).await
    }

    /// The id of the key that the database seals with, if it is there and knows one. Needs no key.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub async fn known_key(url: &str, options: Options) -> Result<Option<String>, StoreError> {
        key::known(url, options).await
    }

    /// The database file, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Whether opening switched a file that had something in it to write-ahead logging.
    pub fn switched_to_wal(&self) -> bool {
        self.0.switched_to_wal
    }

    /// Publishes on the caller's own connection: inside its transaction if one is open, else in one of its own.
    ///
    /// The event is seen by others when the caller commits, and never if it rolls back. The id is the caller's to make
    /// ([`EventId::new`]); publishing the same event again returns the first id.
    ///
    /// # Errors
    /// - `idempotency_conflict`: its key was used for another payload.
    /// - `attached_database`: the connection has other files attached. A transaction over several files is not atomic
    ///   under write-ahead logging, so none is written to.
    /// - `tables_missing`: the connection's main database was never opened with [`SqliteStore::open`].
    /// - `begin_immediate`: the transaction began as a reader and can no longer become a writer. Roll it back and begin
    ///   it with `BEGIN IMMEDIATE`, which waits for its turn at once.
    pub async fn publish_in(
        conn: &mut SqliteConnection,
        event: &Event,
        id: EventId,
    ) -> Result<Published, StoreError> {
        publish_in::publish_in(conn, event, id).await
    }

    /// The connections that read; one writes.
    pub(crate) fn pools(&self) -> Vec<crate::Pool> {
        let Inner {
            reads,
            lists,
            doors,
            ..
        } = &*self.0;
        [("reads", reads), ("lists", lists), ("doors", doors)]
            .map(|(name, pool)| crate::gauges::pool(name, pool))
            .to_vec()
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            ring: &self.0.ring,
            profiles: &self.0.profiles,
        }
    }

    /// Ten random bytes, as ids want them.
    fn random_id_bytes(&self) -> Result<[u8; 10], StoreError> {
        let mut bytes = [0; 10];
        (self.0.random)(&mut bytes).map_err(StoreError::database)?;
        Ok(bytes)
    }

    /// Something was written that this store's own owner has to notice.
    fn wrote(&self) {
        self.0.written.fetch_add(1, Ordering::Release);
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

/// The file whose name is that of `path` with something after it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
