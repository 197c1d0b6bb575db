//! Who asked for what.

use tharsis_core::Timestamp;

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// Who, as the caller named itself.
    pub actor: String,
    /// What was done, as `replay.asked`.
    pub action: String,
    /// The id of what it was done to.
    pub subject: String,
    /// An object of strings and numbers, as JSON.
    pub detail: String,
}

/// Who does what nobody asked for.
pub(crate) const WORKER: &str = "worker";

/// The most lines that are told, the newest.
pub(crate) const MOST_TOLD: u32 = 100;
