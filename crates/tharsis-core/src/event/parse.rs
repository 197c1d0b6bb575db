use super::{Event, EventType, IdempotencyKey};
use crate::{
    ClientId, Invalid, alert,
    json::{self, Object, Value, path_step},
    payload::{self, Facts, Fields, label, object, string, time, uuid},
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
    /// `not_before`. Campaign, recipient and expiry are read from a documented payload that tells them; a campaign or a
    /// recipient in the envelope goes before, and of two expiries the earlier counts.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::event::Event;
    ///
    /// let event = Event::parse(
    ///     br#"{"type": "order", "client": "b4aeba4e-a4c0-4896-866a-56f8bcb372fc", "payload": {"total": 0.950}}"#,
    /// )?;
    /// assert_eq!(event.payload(), r#"{"total":0.95}"#);
    /// # Ok::<(), tharsis_core::Invalid>(())
    /// ```
    ///
    /// # Errors
    /// Whatever [`json::parse`] refuses; `missing_field`, `unknown_field`, `wrong_type`, `bad_event_type`,
    /// `reserved_event_type` for [our own](alert::is_own), `bad_uuid`, `bad_idempotency_key`, `bad_time`, `expiry_before_queue`,
    /// `client_mismatch`, `type_mismatch`; whatever the check of a documented payload refuses (see [`crate::payload`]);
    /// `payload_too_large` over [`MAX_PAYLOAD`](super::MAX_PAYLOAD). A field of an enveloped payload is told as `payload.…`.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let value = json::parse(text)?;
        let object = object(&value)?;
        let event_type = Fields(object).required("type", event_type)?;
        let is_bare = object.get("payload").is_none() || object.get("clientId").is_some();
        match payload::documented(event_type.as_str()) {
            Some(documented) if documented.is_bare() && is_bare => {
                documented.bare(event_type, object)
            }
            _ => from_envelope(event_type, object),
        }
    }

    /// Freezes a payload whose type and client are known from elsewhere, as those of a row inserted by SQL are.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn freeze(event_type: &str, client: ClientId, payload: &[u8]) -> Result<Self, Invalid> {
        let event_type = unreserved(event_type).map_err(|e| e.at("type"))?;
        let value = json::parse(payload)?;
        checked(event_type, client, object(&value)?)
    }
}

fn from_envelope(event_type: EventType, envelope: &Object<'_>) -> Result<Event, Invalid> {
    if envelope.get("payload").is_none() {
        return Err(Invalid::new("missing_field", "is missing")
            .at("payload")
            .hint(format!(
                r#"publish {event_type} in an envelope: {{"type":"{event_type}","client":"…","payload":{{…}}}}"#
            )));
    }
    if let Some((name, _)) = envelope.iter().find(|(name, _)| !ENVELOPE.contains(name)) {
        return Err(Invalid::new("unknown_field", "is no field of an envelope")
            .at(path_step(name))
            .hint(format!("its fields are {}", ENVELOPE.join(", "))));
    }
    let envelope = Fields(envelope);
    let client = ClientId::from_uuid(envelope.required("client", uuid)?);
    let mut event = envelope.required("payload", |payload| {
        checked(event_type, client, object(payload)?)
    })?;
    if let Some(campaign) = envelope.optional("campaign", label)? {
        event.campaign = Some(campaign.into());
    }
    if let Some(recipient) = envelope.optional("recipient", label)? {
        event.recipient = Some(recipient.into());
    }
    let key = |key| IdempotencyKey::new(string(key)?);
    event.key = envelope.optional("key", key)?;
    if let Some(expires_at) = envelope.optional("expires_at", time)? {
        event.expires_at = Some(
            event
                .expires_at
                .map_or(expires_at, |own| own.min(expires_at)),
        );
    }
    match envelope.optional("not_before", time)? {
        Some(not_before) => event.with_not_before(not_before),
        None => Ok(event),
    }
}

/// A payload whose type and client stand outside of it. Those of Mars repeat both, and must say the same.
fn checked(
    event_type: EventType,
    client: ClientId,
    payload: &Object<'_>,
) -> Result<Event, Invalid> {
    match payload::documented(event_type.as_str()) {
        Some(documented) => documented.of_client(event_type, client, payload),
        None => Event::frozen(event_type, client, Facts::default(), payload),
    }
}

fn event_type(value: &Value<'_>) -> Result<EventType, Invalid> {
    unreserved(string(value)?)
}

/// Whoever gets an event of ours can rely on whose it is.
fn unreserved(event_type: &str) -> Result<EventType, Invalid> {
    if alert::is_own(event_type) {
        return Err(
            Invalid::new("reserved_event_type", "is a type of Tharsis' own events")
                .hint("publish it as a type of your own, such as shop.subscription.failing"),
        );
    }
    EventType::new(event_type)
}
