//! The database door of Tharsis: the registry and the durable outbox, behind two traits with a written contract.

// A guard that unit tests share with the others names this crate as those do.
#[cfg(test)]
extern crate self as tharsis_store;

mod alert;
mod audit;
mod backlog;
mod campaign;
mod erasure;
mod error;
#[doc(hidden)]
pub mod failpoint;
mod filter;
#[cfg(test)]
#[path = "../../../fuzz/harness.rs"]
mod fuzz;
mod gauges;
mod health;
mod key;
mod minute;
#[cfg(feature = "model")]
pub mod model;
mod order;
mod outbox;
pub mod postgres;
mod publishing;
mod random;
mod registry;
mod replay;
mod retention;
pub mod sqlite;
mod status;
mod store;
mod subscription;
mod survey;
mod token;
mod unfinished;
mod whereabouts;
mod worker;

pub use alert::{AlertRecord, Claim, Claimed, Telling, Told};
pub use audit::{AuditRecord, By, Deed};
pub use backlog::FullBacklog;
pub use campaign::{Campaign, CampaignReport, Slow, Stop, StopState};
pub use erasure::Erased;
pub use error::StoreError;
pub use gauges::{Backlog, Gauges, Pool};
pub use health::{Transition, TransitionRecord};
pub use key::{KeyRecord, KeyRotated, KeyState};
pub use minute::{Depth, Figures, Latency, Traffic};
pub use order::{Blocked, LetGo};
pub use outbox::{
    ASIDE, Attempt, Changed, Due, Fate, KEPT, LaneRead, Lease, Named, Outbox, PARKED, Pending,
    Pointer, Pointers, Position, Published, Remaining, RouteTo, Routed, Rows, SHARDS, Settlement,
    Shard, Shards, Snapshot, WorkedOff,
};
pub use random::Random;
pub(crate) use registry::Replaced;
pub use registry::{
    Anew, AttemptRecord, CommandAccepted, DeliveryDetail, DeliveryFilter, DeliveryRow, EventRecord,
    Page, Refusal, Registry, Removed, Settled, SettledAttempt, Status,
};
pub use replay::{Replay, ReplayChoice, ReplayDraft, ReplayKey, ReplayState, Tally};
pub use retention::{Forgotten, Outlived, Retention};
pub use store::{PublishOn, Store, StoreOptions, redacted};
pub use survey::{Engine, MOST_COUNTED, PostgresEngine, SqliteEngine, Survey};
pub use token::{TokenDraft, TokenRecord, TokenState};
pub use unfinished::Unfinished;
pub use whereabouts::{Candidate, Place, Whereabouts};
pub use worker::WorkerRecord;
