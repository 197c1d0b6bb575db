//! Subscriptions as the rows of either database hold them, and what may become of them.

use std::time::Duration;

use tharsis_core::{
    ClientId, Invalid, SubscriptionId, Timestamp,
    egress::PayloadUrl,
    event::EventType,
    profile::Profile,
    retry::RetryPolicy,
    secret::{SealingKey, Secret, SecretRow},
    subscription::{Settings, State, Subscription, Target},
};
use uuid::Uuid;

use crate::{StoreError, error::corrupt};

/// Why a subscription is held whose secret does not open.
const UNREADABLE: &str = "secret_unreadable";

/// A subscription with its state and its sealed secret.
pub(crate) struct SubscriptionRow {
    pub(crate) seq: i64,
    pub(crate) id: Uuid,
    pub(crate) client: Uuid,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) profile: String,
    pub(crate) events: Vec<String>,
    pub(crate) content_type: String,
    pub(crate) timeout_ms: i64,
    pub(crate) retry: Vec<i64>,
    pub(crate) max_in_flight: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) state: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) sealed: Option<Vec<u8>>,
}

impl SubscriptionRow {
    pub(crate) fn into_target(self, key: &SealingKey) -> Result<Target, StoreError> {
        let secret = self
            .sealed
            .as_deref()
            .map(|sealed| key.open(&secret_row(&self.id), sealed))
            .transpose();
        let (secret, state) = match (secret, self.state.as_deref()) {
            (Ok(secret), None) => (secret, State::Active),
            (Ok(secret), Some(word)) => {
                let state = State::parse(word, self.reason.as_deref())
                    .ok_or_else(|| corrupt(format!("the state {word}")))?;
                (secret, state)
            }
            (Err(_), _) => (
                None,
                State::Disabled {
                    reason: UNREADABLE.to_owned(),
                },
            ),
        };
        Ok(Target {
            subscription: Subscription {
                id: SubscriptionId::from_uuid(self.id),
                secret_fingerprint: secret.as_ref().map(Secret::fingerprint),
                state,
                created_at: self.created_at,
                updated_at: self.updated_at,
                settings: self.into_settings()?,
            },
            secret,
        })
    }

    fn into_settings(self) -> Result<Settings, StoreError> {
        Ok(Settings {
            client: ClientId::from_uuid(self.client),
            name: self.name,
            url: PayloadUrl::stored(&self.url).map_err(corrupt)?,
            profile: Profile::named(&self.profile)
                .ok_or_else(|| corrupt(format!("the profile {}", self.profile)))?,
            events: self
                .events
                .iter()
                .map(|event| EventType::new(event))
                .collect::<Result<_, _>>()
                .map_err(corrupt)?,
            content_type: self.content_type,
            timeout: length(self.timeout_ms),
            retry: RetryPolicy::new(self.retry.into_iter().map(length).collect())
                .map_err(corrupt)?,
            max_in_flight: self.max_in_flight,
        })
    }
}

/// The columns of settings that are not written as they are.
pub(crate) struct SettingsRow<'a> {
    pub(crate) url: &'a str,
    pub(crate) events: Vec<&'a str>,
    pub(crate) timeout_ms: i64,
    pub(crate) retry: Vec<i64>,
}

impl<'a> SettingsRow<'a> {
    pub(crate) fn of(settings: &'a Settings) -> Self {
        Self {
            url: settings.url.given(),
            events: settings.events.iter().map(EventType::as_str).collect(),
            timeout_ms: millis(settings.timeout),
            retry: settings
                .retry
                .delays()
                .iter()
                .copied()
                .map(millis)
                .collect(),
        }
    }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

fn length(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// What a subscription's sealed secret belongs to.
pub(crate) fn secret_row(id: &Uuid) -> SecretRow<'_> {
    SecretRow {
        table: "tharsis_secret",
        id: id.as_bytes(),
    }
}

pub(crate) fn not_found(id: SubscriptionId) -> StoreError {
    StoreError::NotFound {
        what: "subscription",
        id: id.to_string(),
    }
}

/// Deliveries that wait were routed for this client and are sent under this profile.
pub(crate) fn stays_as_it_is(present: &Settings, wanted: &Settings) -> Result<(), Invalid> {
    for (field, same) in [
        ("client", present.client == wanted.client),
        ("profile", present.profile == wanted.profile),
    ] {
        if !same {
            return Err(Invalid::new("not_changeable", "cannot be changed")
                .at(field)
                .hint("add another subscription, then remove this one"));
        }
    }
    Ok(())
}

/// Whether this may take the place of the present secret.
pub(crate) fn may_follow(present: &Target, secret: Option<&Secret>) -> Result<(), Invalid> {
    present.subscription.settings.accepts(secret)?;
    if secret.is_some() && secret == present.secret.as_ref() {
        return Err(Invalid::new("secret_reused", "is the present one")
            .at("secret")
            .hint("give another one, or leave it out to have one generated"));
    }
    Ok(())
}

pub(crate) fn name_taken() -> Invalid {
    Invalid::new(
        "name_taken",
        "is the name of another subscription of this client",
    )
    .at("name")
    .hint("names are compared without case")
}
