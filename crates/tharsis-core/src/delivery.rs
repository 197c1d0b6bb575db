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
    /// For how long the receiver's certificate is good, where the request made a connection and it was verified.
    pub certificate: Option<Validity>,
}

/// From when until when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: Timestamp,
    /// Not after.
    pub until: Timestamp,
}

impl Outcome {
    /// Whether it says that the receiver has more to do than it can: 429, 503, or nothing in time. That a name could not be
    /// looked up in time says nothing of it.
    pub fn is_overload(&self) -> bool {
        let asks = || codes::find(&self.code).map(|code| code.then) == Some(Then::RetryWhenAsked);
        let is_late = self.code.starts_with("timeout_") && self.code != codes::TIMEOUT_DNS;
        self.fault == Fault::Theirs && (is_late || asks())
    }

    /// Whether it says that the receiver is gone for good: 410.
    pub fn is_gone(&self) -> bool {
        let then = codes::find(&self.code).map(|code| code.then);
        self.fault == Fault::Theirs && then == Some(Then::Suspend)
    }

    /// How long the receiver asks us to wait, at most [`MAX_DELAY`]: what 429 and 503 say in `Retry-After`.
    pub fn asks_for(&self, now: Timestamp) -> Duration {
        let then = codes::find(&self.code).map(|code| code.then);
        let field = (self.retry_after.as_deref()).filter(|_| then == Some(Then::RetryWhenAsked));
        let wait = field.and_then(|field| retry_after(field, now));
        wait.unwrap_or_default().min(MAX_DELAY)
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
    /// Due again then; the attempt was a probe, and its retries are as they were.
    Hold {
        /// When the next probe is due.
        due_at: Timestamp,
    },
    /// Due again then; the attempt does not count, since the fault was ours.
    Postpone {
        /// When the next attempt is due.
        due_at: Timestamp,
    },
    /// Ends `dead`: the retries are used up.
    Dead,
    /// Ends `dead`, and the subscription is suspended: 410 Gone.
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
/// `standing` is how the delivery stood when the attempt was made, and `now` when it ended. `random` spreads the next attempt
/// over ±20 %.
///
/// - A success ends the delivery.
/// - A fault of ours costs no attempt: the delivery waits [`POSTPONED`].
/// - What follows from a fault of theirs stands beside its [code](codes::ALL): 410 ends the delivery and suspends the
///   subscription; anything else is retried by the policy. 429 and 503 wait at least their `Retry-After`, but never less
///   than our own delay nor, on their account, more than [`MAX_DELAY`]. One that would exceed the policy's window is not made.
/// - A probe takes nothing of the retries: the delivery is held until the next one.
/// - A next attempt at or after the expiry is not made.
pub fn verdict(
    outcome: &Outcome,
    retry: &RetryPolicy,
    standing: Standing,
    now: Timestamp,
    random: u16,
) -> Verdict {
    let Standing {
        spent,
        probe,
        expires_at,
    } = standing;
    let wait = match outcome.fault {
        Fault::None => return Verdict::Delivered,
        Fault::Ours => spread(POSTPONED, random),
        Fault::Theirs => {
            if outcome.is_gone() {
                return Verdict::Gone;
            }
            if let Some(due_at) = probe {
                return match expires_at {
                    Some(at) if due_at >= at => Verdict::Expired,
                    _ => Verdict::Hold { due_at },
                };
            }
            let Some(delay) = retry.delay(spent.tries, random) else {
                return Verdict::Dead;
            };
            let wait = delay.max(outcome.asks_for(now));
            let waited = spent.and(wait).waited_ms;
            if retry.window().is_some_and(|window| waited > millis(window)) {
                return Verdict::Dead;
            }
            wait
        }
    };
    let due_at = now + wait;
    match outcome.fault {
        _ if expires_at.is_some_and(|at| due_at >= at) => Verdict::Expired,
        Fault::Ours => Verdict::Postpone { due_at },
        Fault::None | Fault::Theirs => Verdict::Retry { due_at },
    }
}

/// How a delivery stood when an attempt of it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// What the attempts before took of the present retry budget.
    pub spent: Spent,
    /// No attempt at or after.
    pub expires_at: Option<Timestamp>,
    /// The attempt was a probe, and this is when the next one is due if it failed.
    pub probe: Option<Timestamp>,
}

/// What a delivery has used up of its retry budget. It begins anew with a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Attempts that failed.
    pub tries: u32,
    /// For how long it was to wait for its retries, all of them together, in milliseconds: as many as there may be are fewer
    /// than a `u32` holds.
    pub waited_ms: u32,
}

impl Spent {
    /// One more has failed, and the next is to come after so long.
    #[must_use]
    pub fn and(self, wait: Duration) -> Self {
        Self {
            tries: self.tries.saturating_add(1),
            waited_ms: self.waited_ms.saturating_add(millis(wait)),
        }
    }
}

fn millis(length: Duration) -> u32 {
    u32::try_from(length.as_millis()).unwrap_or(u32::MAX)
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
