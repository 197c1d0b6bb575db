//! Who delivers.

use serde::Serialize;
use tharsis::store::WorkerRecord;
use utoipa::ToSchema;

use super::millis;

/// A process that delivers. It need not have said all of this.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Worker)]
pub struct WorkerDocument<'a> {
    #[schema(format = "uuid")]
    id: String,
    /// The machine that it runs on.
    pub host: Option<&'a str>,
    /// Its process there.
    pub pid: Option<u32>,
    /// Of the program.
    pub version: Option<&'a str>,
    /// How many.
    shards: u32,
    #[schema(format = DateTime)]
    since: String,
    /// `null` on SQLite.
    lease_age_ms: Option<u64>,
}

impl<'a> From<&'a WorkerRecord> for WorkerDocument<'a> {
    fn from(worker: &'a WorkerRecord) -> Self {
        let known = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        Self {
            id: worker.id.to_string(),
            host: known(&worker.host),
            pid: Some(worker.pid).filter(|pid| *pid != 0),
            version: known(&worker.version),
            shards: worker.shards,
            since: worker.since.to_string(),
            lease_age_ms: worker.lease_age.map(millis),
        }
    }
}
