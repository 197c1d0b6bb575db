//! What happened: an event, its type and what the outbox needs to know of it.

mod idempotency;
mod parse;

use std::fmt;

use bytes::Bytes;

pub use idempotency::Idempotency;

use crate::{ClientId, Invalid, Timestamp, json::Object, payload::Facts};

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
    /// Freezes a payload that passed its check.
    pub(crate) fn frozen(
        event_type: EventType,
        client: ClientId,
        facts: Facts,
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
            campaign: facts.campaign,
            recipient: facts.recipient,
            key: None,
            expires_at: facts.expires_at,
            not_before: None,
            payload: bytes.into(),
        })
    }

    /// The same event under an explicit idempotency key, in place of the natural one.
    #[must_use]
    pub fn with_key(mut self, key: IdempotencyKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The same event, of which no attempt goes out before this instant.
    ///
    /// # Errors
    /// `expiry_before_queue` when it expires by then.
    pub fn with_not_before(mut self, at: Timestamp) -> Result<Self, Invalid> {
        if self.expires_at.is_some_and(|expires_at| expires_at <= at) {
            return Err(
                Invalid::new("expiry_before_queue", "is not before the event expires")
                    .at("not_before"),
            );
        }
        self.not_before = Some(at);
        Ok(self)
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
}

/// The refusal of a body that is over a limit; both in bytes.
pub fn too_large(size: usize, limit: usize) -> Invalid {
    Invalid::new(
        "payload_too_large",
        format!("a body of {size} bytes is over the limit of {limit}"),
    )
}
