use std::time::Duration;

use tharsis_core::{Timestamp, WorkerId};

/// A worker that delivers, or did until a moment ago, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRecord {
    /// Its name.
    pub id: WorkerId,
    /// The machine that it runs on; empty where it did not say.
    pub host: String,
    /// Its process there; 0 where it did not say.
    pub pid: u32,
    /// The program's version; empty where it did not say.
    pub version: String,
    /// How many shards it owns.
    pub shards: u32,
    /// When it began.
    pub since: Timestamp,
    /// How long ago it last took or renewed its lease, by the database's clock. `None` where ownership has no end but that
    /// of the process, as on SQLite.
    pub lease_age: Option<Duration>,
}

/// The machine's name, for people who wonder where a worker runs.
pub(crate) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .map_or_else(|_| "this host".to_owned(), |name| name.trim().to_owned())
}
