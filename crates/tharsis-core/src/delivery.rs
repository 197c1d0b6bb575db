//! One event for one subscription: what came of an attempt, and what follows from it.

use std::{borrow::Cow, time::Duration};

use crate::Timestamp;

/// What came of one attempt. A failure is an outcome, never an `Err`.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Stable code: `http_200`, `connect_refused`, `timeout_response_headers`, `address_not_global`, …
    pub code: Cow<'static, str>,
    /// Whose doing it was.
    pub fault: Fault,
    /// The status of the response, where one came.
    pub status: Option<u16>,
    /// The `Retry-After` field of the response, at most 64 bytes, as it came; `None` when absent or sent twice.
    pub retry_after: Option<Box<[u8]>>,
    /// The first 4 KiB of the response's body.
    pub excerpt: Vec<u8>,
    /// What a person should know beside the code; no secret, no path of the URL.
    pub detail: Option<String>,
    /// From the first step (DNS) to the last byte read.
    pub duration: Duration,
}

/// Whose doing an outcome was. What is ours never costs the receiver an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A response with a status of success.
    None,
    /// The receiver's, or the network's on the way to it.
    Theirs,
    /// This process': no descriptor, no memory, a secret that does not open.
    Ours,
}

/// What follows from an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Ends `delivered`.
    Delivered,
    /// Due again then; the attempt counts.
    Retry {
        /// When the next attempt is due.
        due_at: Timestamp,
    },
    /// Due again then; the attempt does not count, since the fault was ours.
    Postpone {
        /// When the next attempt is due.
        due_at: Timestamp,
    },
    /// Ends `dead`: the retries are used up.
    Dead,
    /// Ends `dead`, and the subscription is disabled: 410 Gone.
    Gone,
    /// Ends `expired`: the next attempt would lie after the event's expiry.
    Expired,
}

/// Final states of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// A 2xx came back.
    Delivered,
    /// The retries are used up, or the receiver is gone for good.
    Dead,
    /// The event's expiry passed.
    Expired,
    /// It could never be sent as asked: over the limit, not to be frozen.
    Refused,
    /// An admin ended it.
    Cancelled,
}

impl End {
    /// The word for it in SQL, JSON, logs and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads [`Self::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Delivered,
            Self::Dead,
            Self::Expired,
            Self::Refused,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|end| end.as_str() == text)
    }
}
