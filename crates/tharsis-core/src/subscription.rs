//! Who wants which events, where, and under which wire profile.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    ClientId, SubscriptionId, Timestamp,
    alert::Alerts,
    egress::PayloadUrl,
    event::EventType,
    filter::Filter,
    health::{Health, Limits},
    order::Order,
    profile::{Batch, Encoding, Profile},
    rate::Rate,
    retry::RetryPolicy,
    secret::Secret,
    signer::public_key,
};

mod credentials;
mod draft;
mod fields;
pub mod header;
mod unreadable;

pub use credentials::{Credentials, MAX_OVERLAP, MOST_RETIRING, Retiring};
pub use draft::{Draft, name_key};
pub use fields::Fields;
pub use unreadable::Unreadable;

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
    pub profile: Arc<Profile>,
    /// The types it wants, also [our own](crate::alert::is_own); empty: all that its profile knows, and none of ours.
    pub events: Vec<EventType>,
    /// The `Content-Type` of its requests.
    pub content_type: String,
    /// The total deadline of one request.
    pub timeout: Duration,
    /// How often, after how long and for how long a failure is tried again.
    pub retry: RetryPolicy,
    /// When its breaker opens, and when it is suspended.
    pub limits: Limits,
    /// Who is told when it fails, and how often.
    pub alerts: Alerts,
    /// How many of its requests may be under way at once.
    pub max_in_flight: u32,
    /// How many of its requests may begin in how long; `None`: as many as it takes.
    pub rate: Option<Rate>,
    /// Whether its deliveries go one after the other.
    pub order: Option<Order>,
    /// The largest body that it gets, in bytes.
    pub payload_limit: usize,
    /// How many deliveries one request may carry, under a profile that knows that.
    pub batch: Option<Batch>,
    /// What its profile asks for beside all this, as far as it was given.
    pub profile_settings: BTreeMap<String, String>,
    /// Which fields of a payload it wants.
    pub fields: Fields,
    /// Which events of its types it wants.
    pub filter: Option<Filter>,
    /// Whether each request says where it belongs in a trace, in the header `traceparent` (W3C Trace Context): the trace's
    /// id is the event's, and it is not sampled.
    pub traceparent: bool,
}

impl Settings {
    /// Whether events of this type are among those that it wants.
    pub fn wants_type(&self, event_type: &str) -> bool {
        if self.events.is_empty() {
            self.profile.knows(event_type)
        } else {
            self.events
                .iter()
                .any(|wanted| wanted.as_str() == event_type)
        }
    }

    /// Whether a payload of so many bytes cannot become a body within the limit, whatever is in it.
    pub fn is_too_large(&self, payload: usize) -> bool {
        self.fields.is_all() && payload > self.payload_limit
    }

    /// The most bytes that a body has once, beside its payloads: the field's name and the panel's, escaped and encoded.
    pub fn bytes_beside(&self) -> usize {
        let given: usize = self.profile_settings.values().map(String::len).sum();
        256 + 18 * given
    }

    /// The most bytes that a payload of so many can take up in a body, beside what the body has once.
    pub fn most_bytes(&self, payload: usize) -> usize {
        // What a profile's settings put into a payload, escaped.
        let added: usize = (self.profile.settings.iter())
            .filter(|setting| !setting.places.is_empty())
            .map(|setting| {
                let given = self.profile_settings.get(&*setting.name);
                64 + 6 * given.map_or(self.name.len(), String::len)
            })
            .sum();
        match self.profile.encoding {
            Encoding::Json | Encoding::Enveloped => payload + added,
            Encoding::Form { .. } => 3 * (payload + added + 1),
        }
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
    /// How its receiver does.
    pub health: Health,
    /// An admin lets it go again without all that was held: until the rest is ended it is held.
    pub resuming: Option<Held>,
    /// The first 8 hex digits of the SHA-256 of its secret, if it has one.
    pub secret_fingerprint: Option<String>,
    /// When it was given the secret that it has.
    pub secret_set_at: Option<Timestamp>,
    /// The public key that its requests are verified with, where they are signed with the private one of a pair.
    pub public_key: Option<String>,
    /// When the last of the secrets that were replaced ceases to sign, or did, if they were given time.
    pub overlap_until: Option<Timestamp>,
    /// The names of its own headers, in order.
    pub headers: Vec<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Counts its changes: the next one has another.
    pub version: u64,
}

impl Subscription {
    /// One that was not changed yet. Of these credentials it shows what may be shown.
    pub fn new(
        id: SubscriptionId,
        settings: Settings,
        (state, health): (State, Health),
        credentials: &Credentials,
        (created_at, updated_at): (Timestamp, Timestamp),
    ) -> Self {
        let secret = credentials.secret.as_ref();
        let until = credentials.retiring.iter().map(|old| old.until).max();
        let names = credentials.headers.iter().map(|own| own.name().to_owned());
        Self {
            id,
            settings,
            state,
            health,
            resuming: None,
            secret_fingerprint: secret.map(Secret::fingerprint),
            secret_set_at: secret.map(|_| updated_at),
            public_key: secret.and_then(public_key),
            overlap_until: until,
            headers: names.collect(),
            created_at,
            updated_at,
            version: 1,
        }
    }
}

/// Whether a subscription is being delivered to. What is held is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Deliveries go out.
    Active,
    /// An admin holds its deliveries.
    Paused,
    /// We hold its deliveries, for this reason (`http_410`, `failing`, `secret_unreadable`).
    Suspended {
        /// A stable code.
        reason: String,
    },
}

impl State {
    /// The word for it in SQL, JSON, logs and the CLI: `active`, `paused`, `suspended`. The reason stands beside it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Suspended { .. } => "suspended",
        }
    }

    /// Why it is suspended.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Active | Self::Paused => None,
            Self::Suspended { reason } => Some(reason),
        }
    }

    /// Why it is suspended, where that is because this process cannot read all of it.
    pub fn unreadable(&self) -> Option<Unreadable> {
        self.reason().and_then(Unreadable::parse)
    }

    /// Reads [`Self::as_str`] and [`Self::reason`] back.
    pub fn parse(word: &str, reason: Option<&str>) -> Option<Self> {
        match word {
            "active" => Some(Self::Active),
            "paused" => Some(Self::Paused),
            "suspended" => Some(Self::Suspended {
                reason: reason.unwrap_or_default().to_owned(),
            }),
            _ => None,
        }
    }
}

/// What goes out of the deliveries that were held, when a subscription is resumed. What is published later always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Held {
    /// All of them.
    #[default]
    All,
    /// The latest for each recipient, and what is for nobody in particular. The others end with the code `superseded`.
    Latest,
    /// None. They end with the code `dropped`.
    None,
}

impl Held {
    /// The word for it in SQL, JSON and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
            Self::None => "none",
        }
    }

    /// Reads [`Self::as_str`] back.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::All, Self::Latest, Self::None]
            .into_iter()
            .find(|held| held.as_str() == word)
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
    /// What its requests prove themselves with.
    pub credentials: Credentials,
}

impl Target {
    /// Whether this subscription wants an event of this client and type.
    pub fn wants(&self, client: ClientId, event_type: &str) -> bool {
        let settings = &self.subscription.settings;
        settings.client == client && settings.wants_type(event_type)
    }
}
