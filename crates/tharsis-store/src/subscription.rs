//! Subscriptions as the rows of either database hold them, and what may become of them.

use std::{sync::Arc, time::Duration};

use tharsis_core::{
    ClientId, Invalid, SubscriptionId, Timestamp,
    alert::Alerts,
    egress::PayloadUrl,
    event::EventType,
    filter::Filter,
    health::{Health, Limits},
    order::{OnDead, Order},
    profile::{Batch, Profile, Profiles},
    retry::RetryPolicy,
    secret::{Secret, SecretRow},
    subscription::{
        Credentials, Fields, Held, Retiring, Settings, State, Subscription, Target, Unreadable,
        header::OwnHeader,
    },
};
use uuid::Uuid;

use crate::{
    StoreError,
    error::corrupt,
    key::{Ring, Sealed},
};

/// What reads rows of the registry: the keys that open what is sealed in them, and the profiles that they name.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) ring: &'a Ring,
    pub(crate) profiles: &'a Profiles,
}

/// A subscription with its state and what is sealed for it.
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
    pub(crate) payload_limit: Option<i64>,
    pub(crate) batch_items: Option<i64>,
    pub(crate) linger_ms: Option<i64>,
    /// An object, in JSON.
    pub(crate) profile_settings: String,
    pub(crate) fields: Vec<String>,
    pub(crate) filter: Option<String>,
    pub(crate) traceparent: bool,
    pub(crate) rate: Option<String>,
    /// 0 for never.
    pub(crate) breaker: i64,
    /// 0 for never.
    pub(crate) suspend_after_ms: i64,
    pub(crate) retry_window_ms: Option<i64>,
    pub(crate) alert_mail: Vec<String>,
    pub(crate) alert_every_ms: i64,
    pub(crate) order_by: Option<String>,
    pub(crate) on_dead: String,
    pub(crate) health: Health,
    /// What of that which was held it is about to go on with.
    pub(crate) resuming: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) version: i64,
    pub(crate) state: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) secret: Option<Sealed>,
    pub(crate) secret_set_at: Option<Timestamp>,
    /// Names and sealed values, in order.
    pub(crate) headers: Vec<(String, Sealed)>,
    /// Newest first.
    pub(crate) retiring: Vec<(Timestamp, Sealed)>,
}

impl SubscriptionRow {
    pub(crate) fn into_target(mut self, reader: Reader<'_>) -> Result<Target, StoreError> {
        let credentials = self.credentials(reader.ring);
        let filter = self.filter.take();
        let filter = filter.as_deref().map(Filter::parse).transpose();
        let profile = reader.profiles.named(&self.profile);
        let held = match (&credentials, &profile, &filter) {
            (None, _, _) => Some(Unreadable::Secret),
            (_, Err(_), _) => Some(Unreadable::Profile),
            (_, _, Err(_)) => Some(Unreadable::Filter),
            (Some(_), Ok(_), Ok(_)) => None,
        };
        let state = match self.state.as_deref() {
            None => State::Active,
            Some(word) => State::parse(word, self.reason.as_deref())
                .ok_or_else(|| corrupt(format!("the state {word}")))?,
        };
        let credentials = credentials.unwrap_or_default();
        let profile = profile
            .unwrap_or_else(|_| Arc::new(Profile::stand_in(std::mem::take(&mut self.profile))));
        let id = SubscriptionId::from_uuid(self.id);
        let times = (self.created_at, self.updated_at);
        let health = std::mem::take(&mut self.health);
        let resuming = self.resuming.as_deref().and_then(Held::parse);
        let secret_set_at = self.secret_set_at;
        let version = self.version.unsigned_abs();
        let settings = self.into_settings(profile, filter.unwrap_or_default())?;
        let held = held.or_else(|| {
            let fits = settings.fits(&credentials);
            fits.is_err().then_some(Unreadable::ChangedProfile)
        });
        let state = held.map_or(state, Unreadable::state);
        Ok(Target {
            subscription: Subscription {
                resuming,
                secret_set_at,
                version,
                ..Subscription::new(id, settings, (state, health), &credentials, times)
            },
            credentials,
        })
    }

    /// `None` where one of them does not open.
    fn credentials(&self, ring: &Ring) -> Option<Credentials> {
        let of_secret = secret_row(&self.id);
        // What is about to go is not worth holding anything for.
        let retiring = self.retiring.iter().filter_map(|(until, sealed)| {
            Some(Retiring {
                secret: ring.open(sealed, &of_secret)?,
                until: *until,
            })
        });
        let headers = self.headers.iter().map(|(name, sealed)| {
            let value = ring.open(sealed, &header_row(&header_id(&self.id, name)))?;
            Some(OwnHeader::stored(name.clone(), value))
        });
        Some(Credentials {
            secret: match &self.secret {
                Some(sealed) => Some(ring.open(sealed, &of_secret)?),
                None => None,
            },
            retiring: retiring.collect(),
            headers: headers.collect::<Option<_>>()?,
        })
    }

    fn into_settings(
        self,
        profile: Arc<Profile>,
        filter: Option<Filter>,
    ) -> Result<Settings, StoreError> {
        let limit = self.payload_limit.and_then(|n| usize::try_from(n).ok());
        Ok(Settings {
            client: ClientId::from_uuid(self.client),
            name: self.name,
            url: PayloadUrl::stored(&self.url).map_err(corrupt)?,
            events: self
                .events
                .iter()
                .map(|event| EventType::new(event))
                .collect::<Result<_, _>>()
                .map_err(corrupt)?,
            content_type: self.content_type,
            timeout: length(self.timeout_ms).min(profile.timeout),
            retry: RetryPolicy::new(
                (self.retry.into_iter())
                    .map(length)
                    .take(profile.most_retries)
                    .collect(),
            )
            .map_err(corrupt)?
            .within(self.retry_window_ms.map(length)),
            limits: Limits {
                breaker: u32::try_from(self.breaker).ok().filter(|most| *most > 0),
                suspend_after: some_length(self.suspend_after_ms),
            },
            alerts: Alerts {
                mail: (self.alert_mail.iter())
                    .map(|address| address.parse())
                    .collect::<Result<_, Invalid>>()
                    .map_err(corrupt)?,
                every: length(self.alert_every_ms),
            },
            max_in_flight: self.max_in_flight,
            rate: (self.rate.map(|text| text.parse()).transpose()).map_err(corrupt)?,
            order: order(self.order_by.as_deref(), &self.on_dead).map_err(corrupt)?,
            payload_limit: limit.map_or(profile.payload_limit, |n| n.min(profile.payload_limit)),
            batch: profile.batch.map(|most| Batch {
                items: self
                    .batch_items
                    .and_then(|n| u32::try_from(n).ok())
                    .map_or(most.items, |n| n.min(most.items)),
                linger: self.linger_ms.map_or(most.linger, length),
            }),
            profile_settings: serde_json::from_str(&self.profile_settings).map_err(corrupt)?,
            fields: Fields::parse(&self.fields).map_err(corrupt)?,
            filter,
            traceparent: self.traceparent,
            profile,
        })
    }
}

/// The columns of settings that are not written as they are.
pub(crate) struct SettingsRow<'a> {
    pub(crate) url: &'a str,
    pub(crate) events: Vec<&'a str>,
    pub(crate) timeout_ms: i64,
    pub(crate) retry: Vec<i64>,
    pub(crate) payload_limit: Option<i64>,
    pub(crate) batch_items: Option<i64>,
    pub(crate) linger_ms: Option<i64>,
    pub(crate) profile_settings: String,
    pub(crate) fields: Vec<&'a str>,
    pub(crate) filter: Option<&'a str>,
    pub(crate) rate: Option<String>,
    pub(crate) breaker: i64,
    pub(crate) suspend_after_ms: i64,
    pub(crate) retry_window_ms: Option<i64>,
    pub(crate) alert_mail: Vec<&'a str>,
    pub(crate) alert_every_ms: i64,
    pub(crate) order_by: Option<String>,
    pub(crate) on_dead: &'static str,
}

impl<'a> SettingsRow<'a> {
    pub(crate) fn of(settings: &'a Settings) -> Result<Self, StoreError> {
        let profile = &settings.profile;
        // What is the profile's goes on to be the profile's.
        let own_limit = settings.payload_limit != profile.payload_limit;
        let own_batch = settings.batch.filter(|_| settings.batch != profile.batch);
        Ok(Self {
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
            payload_limit: own_limit
                .then(|| i64::try_from(settings.payload_limit).unwrap_or(i64::MAX)),
            batch_items: own_batch.map(|batch| i64::from(batch.items)),
            linger_ms: own_batch.map(|batch| millis(batch.linger)),
            profile_settings: serde_json::to_string(&settings.profile_settings)
                .map_err(StoreError::database)?,
            fields: settings.fields.paths().collect(),
            filter: settings.filter.as_ref().map(Filter::text),
            rate: settings.rate.map(|rate| rate.to_string()),
            breaker: settings.limits.breaker.map_or(0, i64::from),
            suspend_after_ms: settings.limits.suspend_after.map_or(0, millis),
            retry_window_ms: settings.retry.window().map(millis),
            alert_mail: (settings.alerts.mail.iter())
                .map(|address| address.as_str())
                .collect(),
            alert_every_ms: millis(settings.alerts.every),
            order_by: settings.order.as_ref().map(|order| order.by.to_string()),
            on_dead: (settings.order.as_ref())
                .map_or(OnDead::default(), |order| order.on_dead)
                .as_str(),
        })
    }
}

fn order(by: Option<&str>, on_dead: &str) -> Result<Option<Order>, Invalid> {
    let on_dead = on_dead.parse()?;
    by.map(|by| by.parse().map(|by| Order { by, on_dead }))
        .transpose()
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// 0 is none.
pub(crate) fn some_length(millis: i64) -> Option<Duration> {
    Some(length(millis)).filter(|length| !length.is_zero())
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

/// The key of the row that a header of a subscription is in, with its name, so that no value is taken for another's.
pub(crate) fn header_id(id: &Uuid, name: &str) -> Vec<u8> {
    [id.as_bytes(), name.as_bytes()].concat()
}

/// What the sealed value of a header belongs to.
pub(crate) fn header_row(id: &[u8]) -> SecretRow<'_> {
    SecretRow {
        table: "tharsis_header",
        id,
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

/// Until when a former secret must have signed to be kept: a day ago, in case it is the clock that leapt.
pub(crate) fn signed_until(now: Timestamp) -> Timestamp {
    const DAY: i64 = 24 * 60 * 60 * 1_000;
    Timestamp::from_millis(now.as_millis().saturating_sub(DAY))
}

/// Whether this may take the place of the present secret, which goes on signing beside it until then.
pub(crate) fn may_follow(
    present: &Target,
    secret: Option<&Secret>,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Invalid> {
    let settings = &present.subscription.settings;
    if present.subscription.state.unreadable() == Some(Unreadable::Profile) {
        return Err(Invalid::new(
            "unknown_profile",
            format!("there is no profile {} here", settings.profile.name),
        )
        .at("profile")
        .hint("work with the tharsis.toml that declares it"));
    }
    settings.accepts(secret)?;
    settings.accepts_overlap(&present.credentials, until, now)?;
    if secret.is_some() && secret == present.credentials.secret.as_ref() {
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
