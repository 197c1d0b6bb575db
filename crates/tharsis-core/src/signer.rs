//! Making the request of a delivery, signing it, and verifying what was received.

mod body;
mod sign;
mod verify;

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use sign::{Signed, public_key, sign};
pub use verify::{Change, Incoming, Rejected, TOLERANCE, verify};

use crate::{
    ClientId, DeliveryId, EventId, Invalid, ReplayId, SubscriptionId, Timestamp,
    egress::{PayloadUrl, Policy},
    event,
    payload::test_event,
    profile::{Content, Fallback, HeaderValue, KeyKind, Profile, Profiles, Requirement},
    secret::Secret,
    subscription::{Credentials, Draft, Settings},
};

/// One request, complete: what is signed is what is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `POST`, or `HEAD` for the check.
    pub method: Method,
    /// Where to.
    pub url: PayloadUrl,
    /// In the order in which they go out.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Bytes,
    /// For everything: DNS, TCP, TLS, request, head and body.
    pub deadline: Duration,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A delivery.
    Post,
    /// A check.
    Head,
}

/// A header of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// In lower case.
    pub name: Cow<'static, str>,
    /// Visible ASCII.
    pub value: Cow<'static, str>,
    /// Whether its value is a secret, never to be shown.
    pub is_secret: bool,
}

impl Header {
    /// One that may be shown.
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            is_secret: false,
        }
    }

    /// The value as people may see it.
    pub fn shown(&self) -> &str {
        if self.is_secret {
            "[REDACTED]"
        } else {
            &self.value
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shown())
    }
}

/// What names us to receivers.
const USER_AGENT: &str = concat!("Tharsis/", env!("CARGO_PKG_VERSION"));

/// One delivery, as it goes into a request.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Its name.
    pub id: DeliveryId,
    /// Its event's type.
    pub event_type: &'a str,
    /// The frozen bytes.
    pub payload: &'a Bytes,
    /// The replay that it is of, where that asked for an idempotency value of its own.
    pub fresh: Option<ReplayId>,
}

impl Item<'_> {
    /// The idempotency value: the same on each attempt of an event, for each subscription and on a replay, unless that
    /// asked for a fresh one. That is a UUID too, and follows from both.
    fn key(&self) -> String {
        match &self.fresh {
            None => self.id.event.to_string(),
            Some(replay) => fresh_key(self.id.event, *replay).to_string(),
        }
    }
}

/// The idempotency value under which a replay sends an event that is to be new to who has had it: a UUID of version 8 (RFC
/// 9562, section 5.8), of the SHA-256 of both ids.
pub fn fresh_key(event: EventId, replay: ReplayId) -> Uuid {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(b"tharsis fresh key")
        .chain_update(event.as_uuid())
        .chain_update(replay.as_uuid())
        .finalize()
        .into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The request that delivers these items of one subscription: one of them, or several under a profile that knows batches.
/// Without a secret there is no signature. `at` is when the attempt begins.
///
/// # Errors
/// `payload_too_large` when the body is over the subscription's limit.
pub fn request(
    settings: &Settings,
    credentials: &Credentials,
    items: &[Item<'_>],
    at: Timestamp,
) -> Result<Request, Invalid> {
    let body = body::encode(settings, items)?;
    if body.len() > settings.payload_limit {
        return Err(event::too_large(body.len(), settings.payload_limit));
    }
    let profile = &settings.profile;
    let mut headers = Vec::with_capacity(3 + profile.headers.len() + credentials.headers.len());
    headers.push(Header::new("content-type", content_type(settings)));
    headers.push(Header::new("user-agent", USER_AGENT));
    let seconds = at.as_millis().div_euclid(1_000);
    let first = items.first();
    for header in &*profile.headers {
        let value = match (&header.value, first) {
            (HeaderValue::Text(text), _) => text.clone(),
            (HeaderValue::Timestamp, _) => seconds.to_string().into(),
            (HeaderValue::EventId, Some(item)) => item.key().into(),
            (HeaderValue::EventType, Some(item)) => item.event_type.to_owned().into(),
            (HeaderValue::EventId | HeaderValue::EventType, None) => continue,
        };
        headers.push(Header::new(header.name.clone(), value));
    }
    if let (Some(signature), Some(secret)) = (&profile.signature, &credentials.secret) {
        // It is written anew for each request, so only where it is signed.
        let id = match (signature.content, first) {
            (Content::IdTimestampBody, Some(item)) => item.key(),
            _ => String::new(),
        };
        let signed = Signed {
            id: &id,
            seconds,
            url: settings.url.given(),
            body: &body,
        };
        let retiring = credentials.retiring.iter().filter(|old| at < old.until);
        let secrets = std::iter::once(secret).chain(retiring.map(|old| &old.secret));
        headers.push(Header::new(
            signature.header.clone(),
            sign(signature, secrets, &signed)?,
        ));
    }
    if let Some(item) = first.filter(|_| settings.traceparent) {
        headers.push(Header::new("traceparent", traceparent(item, at)));
    }
    headers.extend(credentials.headers.iter().map(|own| Header {
        name: own.name().to_owned().into(),
        value: own.value().expose().to_owned().into(),
        is_secret: true,
    }));
    Ok(Request {
        method: Method::Post,
        url: settings.url.clone(),
        headers,
        body,
        deadline: settings.timeout,
    })
}

/// The request that checks a URL before anything is created.
pub fn head(settings: &Settings) -> Request {
    Request {
        method: Method::Head,
        url: settings.url.clone(),
        headers: vec![Header::new("user-agent", USER_AGENT)],
        body: Bytes::new(),
        deadline: settings.timeout,
    }
}

/// The request that delivers the [`test_event`] of the profile, signed like any other. `id` names it; its event is new.
///
/// # Errors
/// As [`request`].
pub fn test(
    settings: &Settings,
    credentials: &Credentials,
    id: DeliveryId,
    now: Timestamp,
) -> Result<Request, Invalid> {
    let payload = test_event::payload(&settings.profile.encoding, settings.client, now);
    let item = Item {
        id,
        event_type: test_event::TYPE,
        payload: &payload,
        fresh: None,
    };
    request(settings, credentials, &[item], now)
}

/// Where a request belongs in a trace: the trace is the event, and the parent one attempt of it (W3C Trace Context,
/// section 3.2).
fn traceparent(item: &Item<'_>, at: Timestamp) -> String {
    let attempt = Sha256::new()
        .chain_update(item.id.event.as_uuid())
        .chain_update(item.id.subscription.as_uuid())
        .chain_update(at.as_millis().to_be_bytes())
        .finalize();
    format!(
        "00-{}-{}-00",
        item.id.event.as_uuid().simple(),
        hex::encode(&attempt[..8])
    )
}

fn content_type(settings: &Settings) -> Cow<'static, str> {
    if settings.content_type == settings.profile.content_type {
        settings.profile.content_type.clone()
    } else {
        Cow::Owned(settings.content_type.clone())
    }
}

/// Makes a request under a profile and verifies it, as a receiver would.
///
/// # Errors
/// `profile_unverifiable` where that cannot be done.
pub(crate) fn try_out(profile: &Profile, known: &Profiles) -> Result<(), Invalid> {
    let now = Timestamp::from_millis(1_767_225_600_000);
    let mut draft = Draft {
        client: ClientId::new(now, [1; 10]).to_string(),
        name: "sample".to_owned(),
        url: "https://hooks.example.com/in".to_owned(),
        profile: Some(profile.name.to_string()),
        ..Draft::default()
    };
    let asked = (profile.settings.iter())
        .filter(|setting| setting.fallback == Fallback::Required)
        .map(|setting| (setting.name.to_string(), "sample".to_owned()));
    draft.profile_settings.extend(asked);
    let settings = draft.settings(&Policy::default(), known)?;
    let secret = match (profile.secret, &profile.signature) {
        (Requirement::Required | Requirement::Optional, Some(signature)) => {
            Some(match signature.key {
                KeyKind::Text => Secret::generate([7; 20]),
                KeyKind::Standard => Secret::generate_standard([7; 32]),
            })
        }
        _ => None,
    };
    let credentials = Credentials {
        secret: secret.clone(),
        ..Credentials::default()
    };
    let id = DeliveryId {
        event: EventId::new(now, [2; 10]),
        subscription: SubscriptionId::new(now, [3; 10]),
    };
    let request = test(&settings, &credentials, id, now)?;
    let headers: Vec<_> = (request.headers.iter())
        .map(|header| (&*header.name, header.value.as_bytes()))
        .collect();
    let incoming = Incoming {
        headers: &headers,
        body: &request.body,
        url: Some(settings.url.given()),
        now: Some(now),
    };
    verify(profile, secret.as_ref(), &incoming).map_err(|rejected| {
        Invalid::new(
            "profile_unverifiable",
            format!("no receiver could verify this: {rejected}"),
        )
        .hint("send along in headers what is signed beside the body: {id}, {timestamp}")
    })
}
