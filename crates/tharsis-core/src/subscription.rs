//! Who wants which events, where, and under which wire profile.

use std::{fmt, time::Duration};

use crate::{
    ClientId, Invalid, SubscriptionId, Timestamp,
    egress::PayloadUrl,
    event::EventType,
    profile::{Profile, Requirement},
    retry::RetryPolicy,
    secret::Secret,
};

mod draft;

pub use draft::{Draft, name_key};

/// The requests of one subscription that may be under way at once, unless it says otherwise.
pub const MAX_IN_FLIGHT: u32 = 8;

/// What an admin registers. Everything in it has been checked; only the HEAD request is still to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The tenant whose events it gets.
    pub client: ClientId,
    /// To tell webhooks apart, nothing more: 1 to 128 characters.
    pub name: String,
    /// Where to POST.
    pub url: PayloadUrl,
    /// The sender's contract.
    pub profile: &'static Profile,
    /// The types it wants; empty: all that its profile knows.
    pub events: Vec<EventType>,
    /// The `Content-Type` of its requests.
    pub content_type: String,
    /// The total deadline of one request.
    pub timeout: Duration,
    /// How often and after how long a failure is tried again.
    pub retry: RetryPolicy,
    /// How many of its requests may be under way at once.
    pub max_in_flight: u32,
}

impl Settings {
    /// Whether these settings can do with this secret, or with none.
    ///
    /// # Errors
    /// `secret_required`, field `secret`.
    pub fn accepts(&self, secret: Option<&Secret>) -> Result<(), Invalid> {
        if self.profile.secret == Requirement::Required && secret.is_none() {
            return Err(Invalid::new(
                "secret_required",
                format!("is required by the profile {}", self.profile.name),
            )
            .at("secret")
            .hint("give one, or have one generated"));
        }
        Ok(())
    }
}

/// A subscription as the registry holds it; its secret is shown only as a fingerprint.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its name for ever.
    pub id: SubscriptionId,
    /// What the admin chose.
    pub settings: Settings,
    /// Whether it is being delivered to.
    pub state: State,
    /// The first 8 hex digits of the SHA-256 of its secret, if it has one.
    pub secret_fingerprint: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Whether a subscription is being delivered to. What is held is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Deliveries go out.
    Active,
    /// An admin holds its deliveries.
    Paused,
    /// We hold its deliveries, for this reason (`http_410`, `secret_unreadable`).
    Disabled {
        /// A stable code.
        reason: String,
    },
}

impl State {
    /// The word for it in SQL, JSON, logs and the CLI: `active`, `paused`, `disabled`. The reason stands beside it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled { .. } => "disabled",
        }
    }

    /// Why it is disabled.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Active | Self::Paused => None,
            Self::Disabled { reason } => Some(reason),
        }
    }

    /// Reads [`Self::as_str`] and [`Self::reason`] back.
    pub fn parse(word: &str, reason: Option<&str>) -> Option<Self> {
        match word {
            "active" => Some(Self::Active),
            "paused" => Some(Self::Paused),
            "disabled" => Some(Self::Disabled {
                reason: reason.unwrap_or_default().to_owned(),
            }),
            _ => None,
        }
    }
}

/// The word alone.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a worker needs to route to a subscription and to make its requests: all of it in memory.
#[derive(Debug, Clone)]
pub struct Target {
    /// The subscription itself.
    pub subscription: Subscription,
    /// What signs its requests.
    pub secret: Option<Secret>,
}

impl Target {
    /// Whether this subscription wants an event of this client and type.
    pub fn wants(&self, client: ClientId, event_type: &str) -> bool {
        let settings = &self.subscription.settings;
        settings.client == client
            && if settings.events.is_empty() {
                settings.profile.knows(event_type)
            } else {
                settings.events.iter().any(|t| t.as_str() == event_type)
            }
    }
}
