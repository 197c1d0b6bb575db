//! The queue of processes that have waited for long to write.
//!
//! SQLite gives its lock to whoever asks at the right moment. That is quick, but of many who ask, some are unlucky for a
//! long time. Those line up at the lock of a file beside the database, which the kernel gives in order to those who wait,
//! and while somebody stands there nobody else asks SQLite. Writers that know nothing of the queue are waited for like any
//! other transaction.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

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
    pub(super) async fn first(&self, longest: Duration) -> Option<Place> {
        // A file of its own for each wait: one that was given up leaves the queue when its turn comes, by itself.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)
            .ok()?;
        match file.try_lock() {
            Ok(()) => return Some(Place { _file: file }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(_)) => return None,
        }
        // Not on a thread of the runtime: its end would wait for this one.
        let (at_its_turn, turn) = oneshot::channel();
        thread::Builder::new()
            .name("tharsis-queue".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || {
                let place = file.lock().ok().map(|()| Place { _file: file });
                // Dropped with its place where nobody waits any more.
                let _ = at_its_turn.send(place);
            })
            .ok()?;
        timeout(longest, turn).await.ok()?.ok()?
    }
}
