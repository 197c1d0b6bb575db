//! Data that somebody wants erased.

use std::time::Duration;

use serde_json::json;
use tharsis_core::erasure::Erasure;

use crate::Deed;

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased {
    /// Events, each with its key.
    pub events: u64,
    /// Deliveries that were not finished: they are sent no more.
    pub unfinished: u64,
    /// Attempts, and with them what receivers answered.
    pub attempts: u64,
    /// Subscriptions, removed or not.
    pub subscriptions: u64,
    /// Stops that name the recipient, and are kept: to lift one would send again to whom nothing is to be sent.
    pub stops: u64,
}

impl Erased {
    pub(crate) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.unfinished += other.unfinished;
        self.attempts += other.attempts;
        self.subscriptions += other.subscriptions;
        self.stops += other.stops;
    }

    /// The word for what was done, and what of it the audit keeps.
    pub(crate) fn deed(&self, whose: &Erasure) -> Deed {
        let action = match whose {
            Erasure::Recipient { .. } => "recipient.erased",
            Erasure::Client(_) => "client.erased",
        };
        let detail = json!({
            "client": whose.client().map(|client| client.to_string()),
            "events": self.events,
            "unfinished": self.unfinished,
            "attempts": self.attempts,
            "subscriptions": self.subscriptions,
        });
        let deed = Deed::new(action, &whose.subject()).with(detail);
        Deed {
            client: whose.client(),
            ..deed
        }
    }
}

/// A request that was under way when its event was erased has ended by then.
pub(crate) const SWEPT_AFTER: Duration = Duration::from_secs(60 * 60);

/// Events of one go.
pub(crate) const CHUNK: u32 = 500;
