//! What is not finished.

use serde::Serialize;
use tharsis::Remaining;
use utoipa::ToSchema;

/// What is not finished.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Remaining)]
pub struct RemainingDocument {
    /// Events.
    unrouted: u64,
    /// Deliveries that are due, or wait for a retry.
    pending: u64,
    held: u64,
    scheduled: u64,
    commands: u64,
}

impl From<Remaining> for RemainingDocument {
    fn from(remaining: Remaining) -> Self {
        let Remaining {
            unrouted,
            pending,
            held,
            scheduled,
            commands,
        } = remaining;
        Self {
            unrouted,
            pending,
            held,
            scheduled,
            commands,
        }
    }
}
