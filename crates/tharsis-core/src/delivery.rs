//! One event for one subscription: what came of an attempt, and what follows from it.

use std::{borrow::Cow, time::Duration};

use self::codes::Then;
use crate::{
    Timestamp,
    profile::Success,
    retry::{MAX_DELAY, RetryPolicy, retry_after, spread},
};

pub mod codes;

/// How long a delivery waits after a fault of ours, ±20 %. It may fail so any number of times, but never in a hurry.
pub const POSTPONED: Duration = Duration::from_secs(5);

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

impl Outcome {
    /// Whether it says that the receiver has more to do than it can: 429, 503, or nothing in time. That a name could not be
    /// looked up in time says nothing of it.
    pub fn is_overload(&self) -> bool {
        let asks = || codes::find(&self.code).map(|code| code.then) == Some(Then::RetryWhenAsked);
        let is_late = self.code.starts_with("timeout_") && self.code != codes::TIMEOUT_DNS;
        self.fault == Fault::Theirs && (is_late || asks())
    }
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

/// Which code a status has and whose doing it is, under a profile that counts `success` as delivered.
///
/// A redirect is never followed, so it is a failure under one code of its own, whatever its number. A status outside of
/// three digits never gets here: the client reports it as [`codes::HTTP_INVALID_STATUS`].
///
/// # Examples
/// ```
/// use tharsis_core::{delivery::{Fault, classify}, profile::Success};
///
/// assert_eq!(classify(204, Success::Any2xx), ("http_204".into(), Fault::None));
/// assert_eq!(classify(204, Success::Exactly200), ("http_204".into(), Fault::Theirs));
/// assert_eq!(classify(302, Success::Any2xx), ("http_redirect".into(), Fault::Theirs));
/// ```
pub fn classify(status: u16, success: Success) -> (Cow<'static, str>, Fault) {
    let delivered = match success {
        Success::Any2xx => (200..300).contains(&status),
        Success::Exactly200 => status == 200,
    };
    let fault = if delivered {
        Fault::None
    } else {
        Fault::Theirs
    };
    let code = match status {
        ..100 | 1000.. => codes::HTTP_INVALID_STATUS.into(),
        // An interim answer that nobody asked for is none.
        100..200 => codes::HTTP_PROTOCOL.into(),
        300..400 => codes::HTTP_REDIRECT.into(),
        _ => code_of(status),
    };
    (code, fault)
}

/// The usual answers cost no allocation.
fn code_of(status: u16) -> Cow<'static, str> {
    match status {
        200 => "http_200".into(),
        201 => "http_201".into(),
        202 => "http_202".into(),
        204 => "http_204".into(),
        other => format!("http_{other}").into(),
    }
}

/// What follows from an outcome: pure, so that every fate of a delivery can be read here.
///
/// `tries` counts the attempts of the present retry budget before this one: 0 when it was the first. `now` is when the
/// attempt ended. `random` spreads the next attempt over ±20 %.
///
/// - A success ends the delivery.
/// - A fault of ours costs no attempt: the delivery waits [`POSTPONED`].
/// - What follows from a fault of theirs stands beside its [code](codes::ALL): 410 ends the delivery and disables the
///   subscription; anything else is retried by the policy. 429 and 503 wait at least their `Retry-After`, but never less
///   than our own delay nor, on their account, more than [`MAX_DELAY`].
/// - A next attempt at or after `expires_at` is not made.
pub fn verdict(
    outcome: &Outcome,
    retry: &RetryPolicy,
    tries: u32,
    expires_at: Option<Timestamp>,
    now: Timestamp,
    random: u16,
) -> Verdict {
    let wait = match outcome.fault {
        Fault::None => return Verdict::Delivered,
        Fault::Ours => spread(POSTPONED, random),
        Fault::Theirs => {
            let then = codes::find(&outcome.code).map(|code| code.then);
            if then == Some(Then::Disable) {
                return Verdict::Gone;
            }
            let Some(delay) = retry.delay(tries, random) else {
                return Verdict::Dead;
            };
            match then {
                Some(Then::RetryWhenAsked) => delay.max(asked_for(outcome, now).min(MAX_DELAY)),
                _ => delay,
            }
        }
    };
    let due_at = now + wait;
    match outcome.fault {
        _ if expires_at.is_some_and(|at| due_at >= at) => Verdict::Expired,
        Fault::Ours => Verdict::Postpone { due_at },
        Fault::None | Fault::Theirs => Verdict::Retry { due_at },
    }
}

/// How long the receiver asks us to wait.
fn asked_for(outcome: &Outcome, now: Timestamp) -> Duration {
    let field = outcome.retry_after.as_deref();
    field
        .and_then(|field| retry_after(field, now))
        .unwrap_or_default()
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
