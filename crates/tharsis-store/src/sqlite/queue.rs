//! The queue of processes that have waited for long to write.
//!
//! SQLite gives its lock to whoever asks at the right moment. That is quick, but of many who ask, some are unlucky for a
//! long time. Those line up at the lock of a file beside the database, and while somebody stands there nobody else asks
//! SQLite. Writers that know nothing of the queue are waited for like any other transaction.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::write::Jitter;

pub(super) struct Queue {
    path: PathBuf,
}

/// The first place. It is left on drop.
pub(super) struct Place {
    _file: File,
}

impl Queue {
    pub(super) fn beside(database: &Path) -> Self {
        Self {
            path: super::beside(database, ".queue"),
        }
    }

    /// Whether somebody has waited for long and should go before.
    pub(super) fn has_somebody(&self) -> bool {
        // Nobody ever had to wait where there is no such file.
        let Ok(file) = File::open(&self.path) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Waits for the first place. `None` after `longest`, and where files cannot be locked: the queue is a courtesy, what
    /// keeps writers apart is SQLite's own lock.
    pub(super) async fn first(&self, longest: Duration, jitter: &mut Jitter) -> Option<Place> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)
            .ok()?;
        let since = Instant::now();
        // Looked at again and again: a thread that waits inside the kernel could not be called back.
        loop {
            match file.try_lock() {
                Ok(()) => return Some(Place { _file: file }),
                Err(TryLockError::WouldBlock) if since.elapsed() < longest => {
                    sleep(jitter.wait()).await;
                }
                Err(_) => return None,
            }
        }
    }
}
