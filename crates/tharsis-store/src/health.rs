//! How the receivers of subscriptions do, as both databases hold it.

use std::time::Duration;

use tharsis_core::{
    Invalid, Timestamp,
    delivery::codes,
    health::{Condition, FAILING, Health},
    subscription::{State, Subscription},
};

use crate::{StoreError, error::corrupt};

/// The health of a subscription after a transition, as its owner decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The store's short number of the subscription.
    pub subscription: i64,
    /// What it is from now on. One whose condition is `suspended` suspends the subscription.
    pub health: Health,
    /// When that was decided.
    pub at: Timestamp,
}

/// One transition as the history holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionRecord {
    /// When.
    pub at: Timestamp,
    /// What it became.
    pub became: Condition,
    /// The code of the outcome that brought it there, or what an admin did: `resumed`, `changed`.
    pub cause: Option<String>,
}

/// The most transitions that are told, the newest.
pub(crate) const MOST_TOLD: u32 = 100;

/// Transitions that are forgotten in one transaction.
pub(crate) const MOST_FORGOTTEN: u32 = 2_000;

/// An admin has changed where or how it is sent to.
pub(crate) const CHANGED: &str = "changed";

/// Transitions are kept for so long.
pub(crate) fn forgotten_before(now: Timestamp) -> Timestamp {
    const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
    let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(kept))
}

pub(crate) fn condition(word: &str) -> Result<Condition, StoreError> {
    Condition::parse(word).ok_or_else(|| corrupt(format!("the condition {word}")))
}

/// Why a subscription is suspended with this transition, if it is.
pub(crate) fn reason(health: &Health) -> Option<&'static str> {
    let is_suspended = health.condition == Condition::Suspended;
    let reason = match health.cause.as_deref() {
        Some(codes::HTTP_410) => codes::HTTP_410,
        _ => FAILING,
    };
    is_suspended.then_some(reason)
}

/// Whether one that is resumed is probed before the rest goes out.
pub(crate) fn is_probed_first(subscription: &Subscription) -> bool {
    let is_suspended = matches!(subscription.state, State::Suspended { .. });
    is_suspended || is_in_doubt(&subscription.health)
}

/// Whether one that is changed is probed at once: nothing else holds it.
pub(crate) fn is_to_be_asked_anew(subscription: &Subscription) -> bool {
    subscription.state == State::Active && is_in_doubt(&subscription.health)
}

/// Whether something of it may be held.
pub(crate) fn is_held(subscription: &Subscription) -> bool {
    subscription.state != State::Active || is_in_doubt(&subscription.health)
}

pub(crate) fn not_held() -> StoreError {
    Invalid::new(
        "not_held",
        "has nothing to choose: the subscription is not held",
    )
    .at("held")
    .hint("leave it out, or pause the subscription first")
    .into()
}

/// Whether it was not answering well when it was last heard of.
pub(crate) fn is_in_doubt(health: &Health) -> bool {
    matches!(
        health.condition,
        Condition::Open | Condition::HalfOpen | Condition::Suspended
    )
}
