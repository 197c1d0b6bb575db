//! Who asked for what: what is kept of it, in the transaction in which it was done.

use std::net::IpAddr;

use serde_json::{Map, Value as Json, json};
use tharsis_core::{
    ClientId, Timestamp,
    event::EventType,
    format_duration,
    subscription::{Held, Subscription},
};

/// Who asks for a change, from where, and when.
///
/// # Examples
/// ```
/// use tharsis_core::Timestamp;
/// use tharsis_store::By;
///
/// let now = Timestamp::from_millis(1_767_225_600_000);
/// let by = By::new("ann", now).from_address("192.0.2.7".parse()?);
/// assert_eq!((by.actor, by.at), ("ann", now));
/// // An engine that embeds the store, and has nobody to name.
/// assert_eq!(By::from(now).actor, "engine");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By<'a> {
    /// Who, as the caller names them.
    pub actor: &'a str,
    /// From where, where it was asked over a network.
    pub address: Option<IpAddr>,
    /// When.
    pub at: Timestamp,
}

impl<'a> By<'a> {
    /// Asked on this machine.
    pub const fn new(actor: &'a str, at: Timestamp) -> Self {
        Self {
            actor,
            address: None,
            at,
        }
    }

    /// Asked from there.
    #[must_use]
    pub const fn from_address(self, address: IpAddr) -> Self {
        Self {
            address: Some(address),
            ..self
        }
    }

    /// Done by a worker, though nobody asked for it.
    pub(crate) const fn worker(at: Timestamp) -> Self {
        Self::new("worker", at)
    }
}

impl From<Timestamp> for By<'_> {
    fn from(at: Timestamp) -> Self {
        Self::new("engine", at)
    }
}

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// Who, as the caller named itself.
    pub actor: String,
    /// From where, where it was asked over a network.
    pub address: Option<String>,
    /// The client whose it is; `None` where it concerns the whole installation, or several.
    pub client: Option<ClientId>,
    /// What was done, as `replay.asked`.
    pub action: String,
    /// The id of what it was done to.
    pub subject: String,
    /// An object, as JSON. Nothing secret is in it.
    pub detail: String,
}

/// What was done, to what.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Deed {
    /// As `replay.asked`.
    pub action: &'static str,
    /// The id of what it was done to.
    pub subject: String,
    /// The client whose it is; `None` where it concerns the whole installation, or several.
    pub client: Option<ClientId>,
    /// An object. Nothing secret may be in it.
    pub detail: Json,
}

impl Deed {
    /// Of which there is no more to tell.
    pub fn new(action: &'static str, subject: &(impl ToString + ?Sized)) -> Self {
        Self {
            action,
            subject: subject.to_string(),
            client: None,
            detail: json!({}),
        }
    }

    /// What it was done to is this client's.
    #[must_use]
    pub fn of(self, client: ClientId) -> Self {
        Self {
            client: Some(client),
            ..self
        }
    }

    /// Told with this, an object.
    #[must_use]
    pub fn with(self, detail: Json) -> Self {
        Self { detail, ..self }
    }

    /// What became of a subscription: what is other than before, before and after.
    pub(crate) fn to_subscription(
        action: &'static str,
        before: Option<&Subscription>,
        after: Option<&Subscription>,
    ) -> Self {
        let (old, new) = (
            before.map(told).unwrap_or_default(),
            after.map(told).unwrap_or_default(),
        );
        let differing = |one: &Map<String, Json>, other: &Map<String, Json>| -> Map<String, Json> {
            one.iter()
                .filter(|(key, value)| other.get(*key) != Some(value))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        let mut detail = Map::new();
        for (key, one, other) in [("before", &old, &new), ("after", &new, &old)] {
            let differing = differing(one, other);
            if !differing.is_empty() {
                detail.insert(key.to_owned(), differing.into());
            }
        }
        let subject = after.or(before);
        let id = subject.map(|subscription| subscription.id.to_string());
        Self {
            action,
            subject: id.unwrap_or_default(),
            client: subject.map(|subscription| subscription.settings.client),
            detail: detail.into(),
        }
    }
}

/// What of a subscription is told: of secrets their fingerprints, of headers their names, and of its URL what comes before
/// the query, which some keep a token in. What says nothing is left out.
fn told(subscription: &Subscription) -> Map<String, Json> {
    let settings = &subscription.settings;
    let url = settings.url.given();
    let url = match url.split_once('?') {
        Some((path, _)) => format!("{path}?…"),
        None => url.to_owned(),
    };
    let events: Vec<_> = settings.events.iter().map(EventType::as_str).collect();
    let mail: Vec<_> = settings.alerts.mail.iter().map(|to| to.as_str()).collect();
    let fields: Vec<_> = settings.fields.paths().collect();
    let Json::Object(told) = json!({
        "name": settings.name,
        "url": url,
        "profile": settings.profile.name,
        "profile_settings": settings.profile_settings,
        "events": events,
        "filter": settings.filter.as_ref().map(|filter| filter.text()),
        "fields": fields,
        "content_type": settings.content_type,
        "timeout": format_duration(settings.timeout),
        "retry": settings.retry.to_string(),
        "retry_window": settings.retry.window().map(format_duration),
        "breaker": settings.limits.breaker,
        "suspend_after": settings.limits.suspend_after.map(format_duration),
        "alert_mail": mail,
        "alert_every": format_duration(settings.alerts.every),
        "max_in_flight": settings.max_in_flight,
        "rate": settings.rate.map(|rate| rate.to_string()),
        "order": settings.order.as_ref().map(|order| order.by.to_string()),
        "on_dead": settings.order.as_ref().map(|order| order.on_dead.as_str()),
        "payload_limit": settings.payload_limit,
        "batch_items": settings.batch.map(|batch| batch.items),
        "linger": settings.batch.map(|batch| format_duration(batch.linger)),
        "traceparent": settings.traceparent,
        "headers": subscription.headers,
        "state": subscription.state.as_str(),
        "reason": subscription.state.reason(),
        "resuming": subscription.resuming.map(Held::as_str),
        "secret_fingerprint": subscription.secret_fingerprint,
        "overlap_until": subscription.overlap_until.map(|until| until.to_string()),
    }) else {
        return Map::new();
    };
    let says = |value: &Json| match value {
        Json::Null => false,
        Json::Array(values) => !values.is_empty(),
        Json::Object(values) => !values.is_empty(),
        _ => true,
    };
    told.into_iter().filter(|(_, value)| says(value)).collect()
}

/// The most lines of one page.
pub(crate) const MOST_TOLD: u32 = 1_000;
