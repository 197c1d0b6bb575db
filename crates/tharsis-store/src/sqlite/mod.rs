//! The registry and the outbox in one SQLite file.

mod stub;

use std::path::{Path, PathBuf};

use sqlx::SqliteConnection;
use tharsis_core::{EventId, event::Event};

use crate::{Published, StoreError};

/// The registry and the outbox in one SQLite file. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    path: PathBuf,
    switched_to_wal: bool,
}

impl SqliteStore {
    /// Opens `sqlite://PATH` or `sqlite:PATH`, creating and migrating what is not there yet.
    ///
    /// # Errors
    /// When the URL is no such path, the file is not one that can be worked with, or its key is missing or wrong.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Ok(Self {
            path: PathBuf::from(url),
            switched_to_wal: false,
        })
    }

    /// The database file, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether opening switched a file that was there already to write-ahead logging.
    pub fn switched_to_wal(&self) -> bool {
        self.switched_to_wal
    }

    /// Publishes on the caller's own connection, inside the caller's transaction if one is open.
    ///
    /// # Errors
    /// When the tables are not in the connection's main database, or the transaction cannot write.
    pub async fn publish_in(
        conn: &mut SqliteConnection,
        event: &Event,
        id: EventId,
    ) -> Result<Published, StoreError> {
        let _ = (conn, event, id);
        Err(stub::not_built())
    }
}
