//! How the database does, and what lies in it, as somebody asks who looks for what is wrong.

use std::time::Duration;

use tharsis_core::Timestamp;

use crate::{FullBacklog, Shards, WorkerRecord};

/// The most events, and the most deliveries, that a survey counts: so it is quick whatever lies there.
pub const MOST_COUNTED: u64 = 1_000_000;

/// What a look at the whole database finds, in a bounded time. It needs no key, and changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// The database's clock.
    pub clock: Timestamp,
    /// The newest migration that was applied.
    pub schema: i64,
    /// What the database is, and how it is set.
    pub engine: Engine,
    /// Events that are not routed yet, at most [`MOST_COUNTED`].
    pub unrouted: u64,
    /// When the oldest of them was published.
    pub unrouted_since: Option<Timestamp>,
    /// Deliveries that are unfinished, at most [`MOST_COUNTED`].
    pub unfinished: u64,
    /// When the first of those was due that nothing holds: neither its subscription nor its campaign nor one before it.
    pub due_since: Option<Timestamp>,
    /// Commands and replays that are not carried out yet.
    pub commands: u64,
    /// Clients of which no more is taken.
    pub full: Vec<FullBacklog>,
    /// Who delivers, oldest first.
    pub workers: Vec<WorkerRecord>,
    /// The shards that one of them owns.
    pub owned: Shards,
}

/// What a database is, and how it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// A file.
    Sqlite(SqliteEngine),
    /// A server.
    Postgres(PostgresEngine),
}

/// How SQLite is set on a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteEngine {
    /// As `3.51.3`.
    pub version: String,
    /// `wal`.
    pub journal_mode: String,
    /// How our own connections wait for the disk: 2 is `FULL`.
    pub synchronous: u8,
    /// The size of the write-ahead log, in bytes.
    pub wal_bytes: u64,
}

/// How a PostgreSQL server is set, for a session as ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresEngine {
    /// As `150004`.
    pub version: i32,
    /// Whether commits are flushed to the disk.
    pub fsync: bool,
    /// Whether a page that was torn in a crash can be mended.
    pub full_page_writes: bool,
    /// What a commit waits for where nobody says otherwise, as publishers mostly do not.
    pub synchronous_commit: String,
    /// Up to when there is a table for each day's events and attempts.
    pub days_until: Option<Timestamp>,
    /// Whether something lies in a default table, because its day has none.
    pub in_default: bool,
}

impl Survey {
    /// How long the first delivery that nothing holds has been due.
    pub fn overdue(&self) -> Option<Duration> {
        self.due_since.map(|due| self.clock.since(due))
    }
}
