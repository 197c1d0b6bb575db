//! The registry and the outbox in one schema of a PostgreSQL database, 15 or newer.
//!
//! The schema is the operator's choice (`?schema=NAME`, `tharsis` unless given) and is made by [`PostgresStore::migrate`];
//! all that is Tharsis's lies in it. Any number of processes publish, and any number deliver: the workers share the work
//! by themselves.
//!
//! # What the key protects
//! Secrets are sealed with a key that lies in a file of its own, which every worker and every command that shows or
//! changes a subscription has ([`Options::key_file`]). It protects secrets in dumps and backups of the database. A
//! publisher needs none. With another file than the database's the start fails (`key_wrong`), without it too
//! (`key_missing`).
//!
//! # Publishing by SQL
//! Any program publishes in a transaction of its own. It may execute two functions and needs no right to any table:
//!
//! ```sql
//! GRANT USAGE ON SCHEMA tharsis TO engine;
//! GRANT EXECUTE ON FUNCTION tharsis.publish, tharsis.publish_all TO engine;
//!
//! BEGIN;
//! SELECT tharsis.publish('ticket', 'b4aeba4e-a4c0-4896-866a-56f8bcb372fc', '{"price":9.5}', key => 'order-1');
//! COMMIT;
//! ```
//!
//! The payload is checked and frozen when the event is routed; one that cannot be frozen ends refused, with the reason
//! beside it. A program that publishes with [`PostgresStore::publish_in`] executes `publish_frozen`.

mod alert;
mod audit;
mod backlog;
mod campaign;
mod command;
mod connect;
mod cursor;
mod due;
mod erasure;
mod error;
mod filter;
mod forget;
mod gauges;
mod health;
mod history;
mod key;
mod migrate;
mod minute;
mod order;
mod outbox;
mod owner;
mod partition;
#[cfg(test)]
mod plan;
mod pointers;
mod poke;
mod publish;
mod publish_in;
mod registry;
mod release;
mod remaining;
mod replay;
mod retention;
mod route;
mod settle;
mod settled;
mod share;
mod subscription;
mod survey;
mod token;
mod unfinished;
mod value;
mod whereabouts;

use std::{path::PathBuf, sync::Arc, time::Duration};

use sqlx::PgConnection;
use tharsis_core::{EventId, event::Event, profile::Profiles, secret::Keyring};

use self::{
    connect::{Database, Pool, Pools, Schema},
    owner::Owner,
    pointers::Read,
    poke::Poke,
    publish::Clock,
};
use crate::{
    By, Published, Random, StoreError, WorkerRecord, key::Ring, publishing::Waiting,
    random::entropy, subscription::Reader, worker,
};

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file of the keys that secrets are sealed with. Without them the store publishes, and delivers nothing.
    pub key_file: Option<PathBuf>,
    /// The keys themselves, in place of the file.
    pub keys: Option<Keyring>,
    /// How long after its last word a worker counts as gone, so that others take its work over.
    pub lease: Duration,
    /// The machine this is, for people.
    pub host: String,
    /// The process this is, for people.
    pub pid: u32,
    /// The program's version, for people.
    pub version: String,
    /// The profiles that subscriptions may be of.
    pub profiles: Profiles,
    /// Where random bytes come from.
    pub random: Random,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            key_file: None,
            keys: None,
            lease: Duration::from_secs(15),
            host: worker::host(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profiles: Profiles::default(),
            random: entropy,
        }
    }
}

impl Options {
    /// The keys, where any are named; nothing is read yet.
    fn ring(&self) -> Option<Ring> {
        match (&self.keys, &self.key_file) {
            (None, None) => None,
            (keys, file) => Some(Ring::new(keys.clone(), file.clone().unwrap_or_default())),
        }
    }
}

/// The registry and the outbox in one schema of a PostgreSQL database. Clones share it.
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

struct Inner {
    schema: Schema,
    options: Options,
    ring: Option<Ring>,
    /// What the engine does: a commit that is lost with the server is a duplicate at most, so it waits for no flush.
    engine: Pool,
    /// Taking, renewing and giving back the lease, which must not wait behind anything.
    leases: Pool,
    /// Publishing.
    publishes: Pool,
    /// What people ask for.
    lists: Pool,
    /// Whether a token lets somebody in, which must not wait behind a long list.
    doors: Pool,
    owner: Owner,
    /// How far pointers have been routed.
    read: Read,
    /// What other workers told of, and what was seen of the registry.
    poke: Poke,
    /// Publishes that wait for a connection, to be committed together.
    waiting: Waiting,
    /// The database's clock, for ids.
    clock: Clock,
}

impl PostgresStore {
    /// Opens `postgres://USER@HOST/DATABASE?schema=NAME`. The schema must have been [migrated](Self::migrate) before;
    /// nothing is made here.
    ///
    /// # Errors
    /// `bad_database_url`; `database_unreachable`, `database_refused`, `postgres_too_old`, `encoding_not_utf8`,
    /// `schema_missing`, `schema_too_old`, `schema_too_new`, `key_missing`, `key_wrong`.
    pub async fn open(url: &str, options: Options) -> Result<Self, StoreError> {
        let database = Database::at(url)?;
        let mut conn = database.connect().await?;
        migrate::check(&mut conn, database.schema()).await?;
        let ring = options.ring();
        if let Some(ring) = &ring {
            key::load(&mut conn, ring).await?;
        }
        Ok(Self::over(database, options, ring))
    }

    /// Brings the schema up to what this program knows, creating it where it is not there, with its first partitions, and
    /// the key that secrets are sealed with where a file for it is named. Returns the names of the migrations that were
    /// applied. Several at once are safe.
    ///
    /// # Errors
    /// As [`Self::open`], and `not_permitted` where this user may not create what is missing.
    pub async fn migrate(url: &str, options: Options) -> Result<Vec<String>, StoreError> {
        let database = Database::at(url)?;
        let mut conn = database.connect().await?;
        let applied = migrate::migrate(&mut conn, database.schema(), &options).await?;
        Ok(applied.into_iter().map(str::to_owned).collect())
    }

    /// Makes the first key that secrets are sealed with, in the file that the options name, and returns its id. A database
    /// that is there is told of it; else [`Self::migrate`] tells it.
    ///
    /// # Errors
    /// `key_known` where the database seals with a key already, `key_file_exists` where there is such a file; as
    /// [`Self::open`].
    pub async fn init_key(url: &str, options: Options, by: By<'_>) -> Result<String, StoreError> {
        key::init(url, options, by).await
    }

    /// The id of the key that the database seals with, if its schema is there and knows one. Needs no key.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn known_key(url: &str, options: Options) -> Result<Option<String>, StoreError> {
        key::known(url, options).await
    }

    fn over(database: Database, options: Options, ring: Option<Ring>) -> Self {
        let pools = Pools::of(&database, options.lease);
        Self(Arc::new(Inner {
            poke: Poke::new(pools.listener, database.schema()),
            schema: database.into_schema(),
            options,
            ring,
            engine: pools.engine,
            leases: pools.leases,
            publishes: pools.publishes,
            lists: pools.lists,
            doors: pools.doors,
            owner: Owner::default(),
            read: Read::default(),
            waiting: Waiting::default(),
            clock: Clock::default(),
        }))
    }

    /// Publishes on the caller's own connection: inside its transaction if one is open, else in one of its own. One round
    /// trip, once the connection knows the statement; its search path does not matter.
    ///
    /// The event is seen by others when the caller commits, and never if it rolls back. The id is the caller's to make
    /// ([`EventId::new`], of the present instant: lists and filters by time go by it); publishing the same event again
    /// returns the first id. Until the caller ends its transaction, whoever publishes under the same key waits for that.
    ///
    /// # Errors
    /// - `idempotency_conflict`: its key was used for another payload.
    /// - `schema_missing`: the connection's database has no such outbox.
    /// - `not_permitted`: the connection's user may not publish.
    pub async fn publish_in(
        &self,
        conn: &mut PgConnection,
        event: &Event,
        id: EventId,
    ) -> Result<Published, StoreError> {
        publish_in::publish_in(conn, &self.0.schema, event, id).await
    }

    /// The workers that deliver at present, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        owner::workers(self).await
    }

    /// Gives ownership back at once, whatever lease this store holds: for a run that ended before it could
    /// [release](crate::Outbox::release) it. Outside of a runtime others wait for the end of the lease.
    pub fn disown(&self) {
        owner::disown(self);
    }

    /// All connections but the one that listens.
    pub(crate) fn pools(&self) -> Vec<crate::Pool> {
        let store = &self.0;
        [
            ("engine", &store.engine),
            ("leases", &store.leases),
            ("publishes", &store.publishes),
            ("lists", &store.lists),
            ("doors", &store.doors),
        ]
        .map(|(name, pool)| pool.figures(name))
        .to_vec()
    }

    /// # Errors
    /// `key_missing` where the store was opened without one.
    fn ring(&self) -> Result<&Ring, StoreError> {
        self.0.ring.as_ref().ok_or_else(key::not_given)
    }

    /// # Errors
    /// As [`Self::ring`].
    fn reader(&self) -> Result<Reader<'_>, StoreError> {
        Ok(Reader {
            ring: self.ring()?,
            profiles: &self.0.options.profiles,
        })
    }

    /// Ten random bytes, as ids want them.
    fn random_id_bytes(&self) -> Result<[u8; 10], StoreError> {
        let mut bytes = [0; 10];
        (self.0.options.random)(&mut bytes).map_err(StoreError::database)?;
        Ok(bytes)
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.0.schema.name())
            .finish_non_exhaustive()
    }
}
