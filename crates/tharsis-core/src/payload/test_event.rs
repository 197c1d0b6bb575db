//! The event that an admin sends to try a subscription out: well formed, and of no meaning to anyone.

use bytes::Bytes;

use super::written;
use crate::{ClientId, Timestamp, json::Object, profile::Encoding};

/// The type of this event. No receiver can mistake it: it names no person and makes no offer.
pub const TYPE: &str = "webhook.test";

/// The frozen payload for a subscription of this client, under a profile of this encoding. In an envelope and in a form the
/// type stands where receivers look for it: as `event` and as `webhook_name`.
///
/// ```
/// use tharsis_core::{Timestamp, payload::test_event, profile::Encoding};
///
/// let client = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc".parse()?;
/// assert_eq!(
///     test_event::payload(&Encoding::Json, client, Timestamp::parse("2026-01-31T12:30:00Z")?),
///     r#"{"type":"webhook.test","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","sentAt":"2026-01-31T12:30:00.000+00:00"}"#
/// );
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
pub fn payload(encoding: &Encoding, client: ClientId, now: Timestamp) -> Bytes {
    let nothing = || Some(Object::default().into());
    let payload = match encoding {
        Encoding::Json => written([
            ("type", Some(TYPE.into())),
            ("clientId", Some(client.to_string().into())),
            ("sentAt", Some(now.to_offset_string().into())),
        ]),
        Encoding::Enveloped => written([("rewards", Some(Vec::new().into()))]),
        Encoding::Form { .. } => written([
            ("webhook_name", Some(TYPE.into())),
            ("event_params", nothing()),
            ("custom_params", nothing()),
            ("att_params", nothing()),
        ]),
    };
    let mut bytes = Vec::new();
    payload
        .expect("each payload here has differing keys")
        .write(&mut bytes);
    bytes.into()
}
