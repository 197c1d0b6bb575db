//! Who delivers: the process that holds the lock of a file beside the database.
//!
//! Never the database file itself: opening and closing that would drop SQLite's own locks. A lock goes with its process,
//! however that ends. The epoch in the database is a fence behind it, should somebody delete the file under an owner.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use sqlx::SqliteConnection;
use tharsis_core::{Timestamp, WorkerId};
use tokio::time::sleep;

use super::{
    SqliteStore,
    value::{Id, Millis, blob},
};
use crate::{
    Lease, Shards, StoreError, WorkerRecord,
    failpoint::{self, Failpoint, reached},
    worker,
};

/// A lease on SQLite is lost with the process only; its length makes a process that slept look again.
const LEASE: Duration = Duration::from_secs(15);

/// Looks at the lock: one who only asks whether it is free holds it for an instant.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The lock, and what this store saw when it last looked for changes.
pub(super) struct Owner {
    path: PathBuf,
    held: Mutex<Option<Held>>,
    seen: Mutex<Seen>,
}

struct Held {
    /// Keeps the lock.
    _file: File,
    worker: WorkerId,
    epoch: i64,
}

#[derive(Default, PartialEq, Eq, Clone, Copy)]
struct Seen {
    /// Of other connections.
    data_version: i64,
    /// Of this store.
    written: u64,
}

impl Owner {
    pub(super) fn beside(database: &Path) -> Self {
        Self {
            path: super::beside(database, ".owner"),
            held: Mutex::new(None),
            seen: Mutex::new(Seen::default()),
        }
    }

    /// # Errors
    /// `LeaseLost` when this store does not hold this lease.
    pub(super) fn check(&self, lease: &Lease) -> Result<(), StoreError> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(held) if held.worker == lease.worker && held.epoch == lease.epoch => Ok(()),
            _ => Err(StoreError::LeaseLost),
        }
    }

    fn epoch_of(&self, worker: WorkerId) -> Option<i64> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref()
            .filter(|held| held.worker == worker)
            .map(|held| held.epoch)
    }

    fn set(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    async fn lock(&self) -> Result<File, StoreError> {
        let failed = |error: io::Error| {
            StoreError::unusable(
                "owner_file_unusable",
                format!("the file {} cannot be locked: {error}", self.path.display()),
                "let this user write to the folder of the database",
            )
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)
            .map_err(failed)?;
        for _ in 1..LOOKS {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => sleep(BETWEEN_LOOKS).await,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        let mut who = String::new();
        // Where a lock keeps others from reading, we do not know who it is.
        let _ = file.read_to_string(&mut who);
        let who = who.trim();
        Err(StoreError::unusable(
            "already_owned",
            format!(
                "another process delivers from this database ({})",
                if who.is_empty() {
                    "it does not say which"
                } else {
                    who
                }
            ),
            "let it run, or stop it first: one process owns delivery, any number may publish",
        ))
    }

    /// Whether some process holds the lock.
    pub(super) fn is_held(&self) -> Result<bool, StoreError> {
        if self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
        {
            return Ok(true);
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::database(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(StoreError::database(error)),
        }
    }
}

/// Takes the lease, or renews it.
pub(super) async fn hold(store: &SqliteStore, worker: WorkerId) -> Result<Lease, StoreError> {
    let owner = &store.0.owner;
    if let Some(epoch) = owner.epoch_of(worker) {
        let mut turn = store.0.writer.turn().await;
        if read_epoch(turn.conn()).await? != epoch {
            owner.set(None);
            return Err(StoreError::LeaseLost);
        }
        let clock = clock(turn.conn()).await?;
        reached(Failpoint::LeaseRenewed);
        return Ok(lease(worker, epoch, clock));
    }
    let mut file = owner.lock().await?;
    reached(Failpoint::LeaseLocked);
    let mut write = store.0.writer.begin().await?;
    let (epoch, clock) = take(&mut write, worker).await?;
    write.commit(failpoint::LEASE).await?;
    file.set_len(0).map_err(StoreError::database)?;
    file.rewind().map_err(StoreError::database)?;
    write!(
        file,
        "pid {} on {} since {clock}, version {}",
        std::process::id(),
        worker::host(),
        env!("CARGO_PKG_VERSION")
    )
    .map_err(StoreError::database)?;
    reached(Failpoint::LeaseTold);
    owner.set(Some(Held {
        _file: file,
        worker,
        epoch,
    }));
    Ok(lease(worker, epoch, clock))
}

fn lease(worker: WorkerId, epoch: i64, clock: Timestamp) -> Lease {
    Lease {
        worker,
        shards: Shards::ALL,
        surplus: Shards::default(),
        epoch,
        clock,
        length: LEASE,
        renew_after: LEASE / 3,
    }
}

/// Gives the lease back once nothing is to be kept, for one process owns all or nothing. The file stays: who deletes a
/// locked file makes room for a second owner.
pub(super) async fn release(
    store: &SqliteStore,
    lease: &Lease,
    keep: Option<Shards>,
) -> Result<Option<Lease>, StoreError> {
    store.0.owner.check(lease)?;
    let Some(keep) = keep else {
        reached(Failpoint::ReleaseAsked);
        store.0.owner.set(None);
        reached(Failpoint::ReleaseCommitted);
        return Ok(None);
    };
    let clock = clock(store.0.writer.turn().await.conn()).await?;
    Ok(Some(Lease {
        shards: Shards::default(),
        surplus: keep,
        clock,
        ..*lease
    }))
}

impl SqliteStore {
    /// Gives ownership back at once, whatever lease this store holds: for a run that ended before it could
    /// [release](crate::Outbox::release) it.
    pub fn disown(&self) {
        self.0.owner.set(None);
    }

    /// The process that delivers, where one does: it owns every shard.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        if !self.0.owner.is_held()? {
            return Ok(Vec::new());
        }
        let owner: Option<(Id, Millis)> = sqlx::query_as(
            "SELECT worker, since FROM tharsis_owner WHERE id = 1 AND worker IS NOT NULL",
        )
        .fetch_optional(&self.0.reads)
        .await?;
        // Where a lock keeps others from reading, we do not know what it wrote.
        let text = std::fs::read_to_string(&self.0.owner.path).unwrap_or_default();
        Ok(owner
            .map(|(id, Millis(since))| {
                // An owner of this instant may not have written yet, and what stands there is of the one before.
                let card = Card::read(&text).filter(|card| card.since == since.to_string());
                let card = card.unwrap_or_default();
                WorkerRecord {
                    id: WorkerId::from_uuid(id.0),
                    host: card.host.to_owned(),
                    pid: card.pid,
                    version: card.version.to_owned(),
                    shards: Shards::ALL.count(),
                    since,
                    lease_age: None,
                }
            })
            .into_iter()
            .collect())
    }
}

/// What an owner wrote into its file for people: `pid 7 on box since 2026-01-31T12:30:00.000Z, version 0.1.0`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Card<'a> {
    pid: u32,
    host: &'a str,
    since: &'a str,
    version: &'a str,
}

impl<'a> Card<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (pid, rest) = text.trim().strip_prefix("pid ")?.split_once(" on ")?;
        let (host, rest) = rest.rsplit_once(" since ")?;
        // The first version did not say which one it is.
        let (since, version) = rest.split_once(", version ").unwrap_or((rest, ""));
        Some(Self {
            pid: pid.parse().ok()?,
            host,
            since,
            version,
        })
    }
}

/// Whether anything may have been committed by others, or by this store's publishes and registry, since the last call.
pub(super) async fn changed(store: &SqliteStore, lease: &Lease) -> Result<bool, StoreError> {
    store.0.owner.check(lease)?;
    let written = store.0.written.load(Ordering::Acquire);
    let mut turn = store.0.writer.turn().await;
    let data_version = sqlx::query_scalar("PRAGMA data_version")
        .fetch_one(turn.conn())
        .await?;
    let now = Seen {
        data_version,
        written,
    };
    let mut seen = store
        .0
        .owner
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::replace(&mut *seen, now) != now)
}

/// Within a transaction of the owner: that no other owner came after it.
///
/// # Errors
/// `LeaseLost`.
pub(super) async fn fence(conn: &mut SqliteConnection, lease: &Lease) -> Result<(), StoreError> {
    if read_epoch(conn).await? == lease.epoch {
        return Ok(());
    }
    Err(StoreError::LeaseLost)
}

async fn read_epoch(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT epoch FROM tharsis_owner WHERE id = 1")
            .fetch_one(conn)
            .await?,
    )
}

pub(super) async fn clock(conn: &mut SqliteConnection) -> Result<Timestamp, StoreError> {
    let Millis(clock) =
        sqlx::query_scalar("SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER)")
            .fetch_one(conn)
            .await?;
    Ok(clock)
}

async fn take(
    conn: &mut SqliteConnection,
    worker: WorkerId,
) -> Result<(i64, Timestamp), StoreError> {
    let (epoch, Millis(clock)) = sqlx::query_as(
        "UPDATE tharsis_owner
         SET epoch = epoch + 1,
             worker = ?1,
             since = CAST(round(unixepoch('subsec') * 1000) AS INTEGER)
         WHERE id = 1
         RETURNING epoch, since",
    )
    .bind(blob(worker.as_uuid()))
    .fetch_one(conn)
    .await?;
    Ok((epoch, clock))
}
