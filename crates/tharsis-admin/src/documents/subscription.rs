//! What becomes of a subscription, and what its receiver has been through.

use std::fmt;

use serde::Serialize;
use tharsis::{
    SubscriptionId,
    store::{Removed, TransitionRecord},
    subscription::Subscription,
};
use utoipa::ToSchema;

use super::{HealthDocument, SubscriptionDocument, words};
use crate::registering::Chosen;

/// A subscription that was given a secret, which is shown the one time where it was generated. So it cannot be printed but as
/// JSON.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeSubscription)]
pub struct MadeSubscriptionDocument<'a> {
    #[serde(flatten)]
    subscription: SubscriptionDocument<'a>,
    /// Only when it was generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<&'a str>,
}

impl<'a> MadeSubscriptionDocument<'a> {
    /// With the secret that was chosen for it, if any was.
    pub fn of(subscription: &'a Subscription, chosen: Option<&'a Chosen>) -> Self {
        Self {
            subscription: subscription.into(),
            secret: chosen.and_then(Chosen::shown),
        }
    }
}

impl fmt::Debug for MadeSubscriptionDocument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.subscription, f)
    }
}

/// What the removal of a subscription leaves to do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RemovedSubscription)]
pub struct RemovedDocument {
    #[schema(format = "uuid")]
    id: String,
    /// Deliveries that end cancelled.
    unfinished: u64,
}

impl RemovedDocument {
    /// Of this one.
    pub fn of(id: SubscriptionId, removed: Removed) -> Self {
        Self {
            id: id.to_string(),
            unfinished: removed.unfinished,
        }
    }
}

/// How the receiver of a subscription does, and what it has been through.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Receiver)]
pub struct ReceiverDocument<'a> {
    #[schema(format = "uuid")]
    subscription: String,
    #[schema(value_type = words::SubscriptionState)]
    state: &'static str,
    /// Why it is suspended.
    reason: Option<&'a str>,
    health: HealthDocument<'a>,
    /// Newest first.
    transitions: Vec<TransitionDocument<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transition)]
struct TransitionDocument<'a> {
    #[schema(format = DateTime)]
    at: String,
    #[schema(value_type = words::Condition)]
    became: &'static str,
    cause: Option<&'a str>,
}

impl<'a> ReceiverDocument<'a> {
    /// With its transitions.
    pub fn of(subscription: &'a Subscription, transitions: &'a [TransitionRecord]) -> Self {
        Self {
            subscription: subscription.id.to_string(),
            state: subscription.state.as_str(),
            reason: subscription.state.reason(),
            health: HealthDocument::from(&subscription.health),
            transitions: transitions.iter().map(TransitionDocument::from).collect(),
        }
    }
}

impl<'a> From<&'a TransitionRecord> for TransitionDocument<'a> {
    fn from(record: &'a TransitionRecord) -> Self {
        Self {
            at: record.at.to_string(),
            became: record.became.as_str(),
            cause: record.cause.as_deref(),
        }
    }
}
