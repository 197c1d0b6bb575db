use super::{Event, EventType, IdempotencyKey};
use crate::{
    ClientId, Invalid,
    json::{self, Object, path_step},
    payload::{self, Facts, Fields},
};

/// The fields of an envelope.
const ENVELOPE: [&str; 8] = [
    "type",
    "client",
    "payload",
    "key",
    "campaign",
    "recipient",
    "expires_at",
    "not_before",
];

impl Event {
    /// Reads what an engine hands over: an event of Mars as it is, or any event in an envelope that never goes out.
    ///
    /// An envelope has `type`, `client` and `payload`, and may have `key`, `campaign`, `recipient`, `expires_at` and
    /// `not_before`. Campaign, recipient and expiry of a Mars event are read from it; a campaign or a recipient in the
    /// envelope goes before, and of two expiries the earlier counts.
    ///
    /// # Examples
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
    /// Whatever [`json::parse`] refuses; `missing_field`, `unknown_field`, `wrong_type`, `bad_event_type`, `bad_uuid`,
    /// `bad_idempotency_key`, `bad_time`, `expiry_before_queue`, `client_mismatch`, `type_mismatch`; whatever the check of a
    /// Mars payload refuses (see [`crate::payload`]); `payload_too_large` over [`MAX_PAYLOAD`](super::MAX_PAYLOAD). A field
    /// of an enveloped payload is told as `payload.…`.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let value = json::parse(text)?;
        let object = payload::object(&value)?;
        let event_type = type_of(object)?;
        let is_bare = object.get("payload").is_none() || object.get("clientId").is_some();
        match payload::check_of(event_type.as_str()) {
            Some(check) if is_bare => Self::frozen(event_type, check(object)?, object),
            _ => from_envelope(event_type, object),
        }
    }

    /// Freezes a payload whose type and client are known from elsewhere, as those of a row inserted by SQL are.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn freeze(event_type: &str, client: ClientId, payload: &[u8]) -> Result<Self, Invalid> {
        let event_type = EventType::new(event_type).map_err(|e| e.at("type"))?;
        let value = json::parse(payload)?;
        checked(event_type, client, payload::object(&value)?)
    }
}

fn from_envelope(event_type: EventType, object: &Object<'_>) -> Result<Event, Invalid> {
    if object.get("payload").is_none() {
        return Err(Invalid::new("missing_field", "is missing")
            .at("payload")
            .hint(format!(
                r#"publish {event_type} in an envelope: {{"type":"{event_type}","client":"…","payload":{{…}}}}"#
            )));
    }
    if let Some((name, _)) = object.iter().find(|(name, _)| !ENVELOPE.contains(name)) {
        return Err(Invalid::new("unknown_field", "is no field of an envelope")
            .at(path_step(name))
            .hint(format!("its fields are {}", ENVELOPE.join(", "))));
    }
    let envelope = Fields(object);
    let client = ClientId::from_uuid(envelope.uuid("client")?);
    let mut event = envelope.object("payload", |payload| checked(event_type, client, payload.0))?;
    if let Some(campaign) = envelope.optional_label("campaign")? {
        event.campaign = Some(campaign.into());
    }
    if let Some(recipient) = envelope.optional_label("recipient")? {
        event.recipient = Some(recipient.into());
    }
    if let Some(key) = envelope.optional_string("key")? {
        event.key = Some(IdempotencyKey::new(key).map_err(|e| e.at("key"))?);
    }
    if let Some(expires_at) = envelope.optional_time("expires_at")? {
        event.expires_at = Some(
            event
                .expires_at
                .map_or(expires_at, |own| own.min(expires_at)),
        );
    }
    match envelope.optional_time("not_before")? {
        Some(not_before) => event.with_not_before(not_before),
        None => Ok(event),
    }
}

/// A payload whose type and client stand outside of it too. Those of Mars repeat both, and must say the same.
fn checked(
    event_type: EventType,
    client: ClientId,
    payload: &Object<'_>,
) -> Result<Event, Invalid> {
    let Some(check) = payload::check_of(event_type.as_str()) else {
        return Event::frozen(event_type, Facts::of_client(client), payload);
    };
    if type_of(payload)? != event_type {
        return Err(Invalid::new("type_mismatch", "is not the type it is published as").at("type"));
    }
    let facts = check(payload)?;
    if facts.client != client {
        return Err(
            Invalid::new("client_mismatch", "is not the client it is published for").at("clientId"),
        );
    }
    Event::frozen(event_type, facts, payload)
}

fn type_of(object: &Object<'_>) -> Result<EventType, Invalid> {
    EventType::new(Fields(object).string("type")?).map_err(|e| e.at("type"))
}
