//! What happened: an event, its type and what the outbox needs to know of it.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    ClientId, Invalid, Timestamp,
    json::{self, Object},
    payload::{self, Facts, Fields},
};

/// The largest payload that publish takes, whatever the profile: 262,144 bytes.
pub const MAX_PAYLOAD: usize = 262_144;

/// The type of an event: 1 to 128 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Box<str>);

impl EventType {
    /// # Errors
    /// `bad_event_type` for anything else.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let ok = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !ok {
            return Err(Invalid::new("bad_event_type", "is no event type")
                .hint("1 to 128 letters, digits, dots, underscores or hyphens"));
        }
        Ok(Self(text.into()))
    }

    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An explicit idempotency key: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// # Errors
    /// `bad_idempotency_key` for anything else.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        if !(1..=255).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Invalid::new(
                "bad_idempotency_key",
                "is not 1 to 255 visible ASCII characters",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the store keeps so that an event is published once: see [`Event::idempotency`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// Digest of the key. Two events with the same one are the same event, or a conflict.
    pub key: [u8; 16],
    /// Digest of type and payload. Under an explicit key another one is a conflict.
    pub payload: [u8; 16],
    /// Whether the key was given; a natural key holds the payload's digest, so it cannot conflict.
    pub explicit: bool,
}

/// What happened, checked and frozen: ready to be published.
///
/// Built by [`Event::parse`] from what an engine hands over as JSON, or by the builders of [`crate::payload`]. Its
/// payload is the bytes that every attempt sends; they never change again.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    event_type: EventType,
    client: ClientId,
    campaign: Option<Box<str>>,
    recipient: Option<Box<str>>,
    key: Option<IdempotencyKey>,
    expires_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    payload: Bytes,
}

impl Event {
    /// Reads what an engine hands over: an event of Mars as it is, or any event in an envelope that never goes out.
    ///
    /// An envelope has `type`, `client` and `payload`, and may have `key`, `campaign`, `recipient`, `expires_at` and
    /// `not_before`. Campaign, recipient and expiry of a Mars event are read from it; a campaign or recipient in the
    /// envelope goes before, and of two expiries the earlier counts.
    ///
    /// ```
    /// use tharsis_core::event::Event;
    ///
    /// let event = Event::parse(
    ///     br#"{"type": "signal", "client": "b4aeba4e-a4c0-4896-866a-56f8bcb372fc", "payload": {"drop_proba": 0.950}}"#,
    /// )?;
    /// assert_eq!(event.payload(), r#"{"drop_proba":0.95}"#);
    /// # Ok::<(), tharsis_core::Invalid>(())
    /// ```
    ///
    /// # Errors
    /// What [`json::parse`] refuses; `missing_field`, `wrong_type`, `unknown_field`, `bad_event_type`, `bad_uuid`,
    /// `bad_idempotency_key`, `bad_time`, `expiry_before_queue`, `client_mismatch`; what the check of the Mars payloads
    /// refuses; `payload_too_large` over [`MAX_PAYLOAD`]. A field of an enveloped payload is told as `payload.…`.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let value = json::parse(text)?;
        let object = payload::object(&value)?;
        let event_type =
            EventType::new(Fields(object).string("type")?).map_err(|e| e.at("type"))?;
        let is_enveloped = object.get("payload").is_some() && object.get("clientId").is_none();
        if is_enveloped {
            return Self::from_envelope(event_type, object);
        }
        Self::from_payload(object)
    }

    /// Freezes a payload whose type and client are known from elsewhere: a row that was inserted by SQL.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn freeze(event_type: &str, client: ClientId, payload: &[u8]) -> Result<Self, Invalid> {
        let event_type = EventType::new(event_type).map_err(|e| e.at("type"))?;
        let value = json::parse(payload)?;
        Self::assemble(event_type, client, payload::object(&value)?)
    }

    /// An event of Mars as it is.
    pub(crate) fn from_payload(object: &Object<'_>) -> Result<Self, Invalid> {
        let event_type =
            EventType::new(Fields(object).string("type")?).map_err(|e| e.at("type"))?;
        match payload::check(event_type.as_str(), object) {
            Some(facts) => Self::with_facts(event_type, facts?, object),
            None => Err(
                Invalid::new("missing_field", "is missing")
                    .at("payload")
                    .hint(format!(
                        "an event of type {event_type} is published in an envelope: {{\"type\", \"client\", \"payload\"}}"
                    )),
            ),
        }
    }

    fn from_envelope(event_type: EventType, object: &Object<'_>) -> Result<Self, Invalid> {
        if let Some((name, _)) = object.iter().find(|(name, _)| !ENVELOPE.contains(name)) {
            return Err(Invalid::new("unknown_field", "is no field of an envelope")
                .at(json::path_step(name))
                .hint(format!("an envelope has {}", ENVELOPE.join(", "))));
        }
        let envelope = Fields(object);
        let client = ClientId::from_uuid(envelope.uuid("client")?);
        let mut event = envelope.object("payload", |payload| {
            Self::assemble(event_type, client, payload.0)
        })?;
        if let Some(campaign) = envelope.optional_label("campaign")? {
            event.campaign = Some(campaign.into());
        }
        if let Some(recipient) = envelope.optional_label("recipient")? {
            event.recipient = Some(recipient.into());
        }
        event.key = envelope
            .optional_string("key")?
            .map(IdempotencyKey::new)
            .transpose()
            .map_err(|e| e.at("key"))?;
        event.not_before = envelope.optional_time("not_before")?;
        if let Some(expires_at) = envelope.optional_time("expires_at")? {
            event.expires_at = Some(event.expires_at.map_or(expires_at, |at| at.min(expires_at)));
        }
        if let (Some(from), Some(to)) = (event.not_before, event.expires_at)
            && to <= from
        {
            return Err(
                Invalid::new("expiry_before_queue", "is not before the event expires")
                    .at("not_before"),
            );
        }
        Ok(event)
    }

    fn assemble(
        event_type: EventType,
        client: ClientId,
        payload: &Object<'_>,
    ) -> Result<Self, Invalid> {
        let Some(facts) = payload::check(event_type.as_str(), payload) else {
            return Self::frozen(event_type, client, payload);
        };
        let facts = facts?;
        if Fields(payload).string("type")? != event_type.as_str() {
            return Err(
                Invalid::new("type_mismatch", "is not the type it is published as").at("type"),
            );
        }
        if facts.client != client {
            return Err(Invalid::new(
                "client_mismatch",
                "is not the client on whose behalf it is published",
            )
            .at("clientId"));
        }
        Self::with_facts(event_type, facts, payload)
    }

    fn with_facts(
        event_type: EventType,
        facts: Facts,
        payload: &Object<'_>,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            campaign: Some(facts.campaign.into()),
            recipient: Some(facts.recipient.into()),
            expires_at: facts.expires_at,
            ..Self::frozen(event_type, facts.client, payload)?
        })
    }

    fn frozen(
        event_type: EventType,
        client: ClientId,
        payload: &Object<'_>,
    ) -> Result<Self, Invalid> {
        let mut bytes = Vec::with_capacity(2048);
        payload.write(&mut bytes);
        if bytes.len() > MAX_PAYLOAD {
            return Err(too_large(bytes.len(), MAX_PAYLOAD));
        }
        Ok(Self {
            event_type,
            client,
            campaign: None,
            recipient: None,
            key: None,
            expires_at: None,
            not_before: None,
            payload: bytes.into(),
        })
    }

    /// Its type.
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }
    /// The tenant on whose behalf it is published.
    pub fn client(&self) -> ClientId {
        self.client
    }
    /// The campaign it belongs to.
    pub fn campaign(&self) -> Option<&str> {
        self.campaign.as_deref()
    }
    /// Whom it is about.
    pub fn recipient(&self) -> Option<&str> {
        self.recipient.as_deref()
    }
    /// The explicit idempotency key, if one was given; else the natural one applies.
    pub fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }
    /// No attempt goes out at or after this instant.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
    /// No attempt goes out before this instant.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }
    /// The frozen bytes.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The same event under an explicit idempotency key, in place of the natural one.
    #[must_use]
    pub fn with_key(mut self, key: IdempotencyKey) -> Self {
        self.key = Some(key);
        self
    }

    /// What it is known by to the store, so that publishing it again makes no second event.
    ///
    /// An explicit key counts within its client. The natural key is client, type and payload: the payload holds the id
    /// of the event, so another state of the same nudge is another event.
    pub fn idempotency(&self) -> Idempotency {
        let payload = digest(
            b"tharsis:payload:1",
            &[self.event_type.as_str().as_bytes(), &self.payload],
        );
        let client = self.client.as_uuid().as_bytes();
        let key = match &self.key {
            Some(key) => digest(b"tharsis:key:1", &[client, key.as_str().as_bytes()]),
            None => digest(b"tharsis:natural:1", &[client, &payload]),
        };
        Idempotency {
            key,
            payload,
            explicit: self.key.is_some(),
        }
    }
}

/// The fields of an envelope.
const ENVELOPE: &[&str] = &[
    "type",
    "client",
    "payload",
    "key",
    "campaign",
    "recipient",
    "expires_at",
    "not_before",
];

pub(crate) fn too_large(size: usize, limit: usize) -> Invalid {
    Invalid::new(
        "payload_too_large",
        format!("the payload has {size} bytes, more than {limit}"),
    )
}

/// The first half of a SHA-256 over the purpose and the parts, each with its length before it.
fn digest(purpose: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in std::iter::once(&purpose).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}
