//! The event that an admin sends to try a subscription out: well formed, and of no meaning to anyone.

use bytes::Bytes;

use super::written;
use crate::{ClientId, Timestamp, json::Value};

/// The `type` of this payload. No receiver can mistake it: it names no person and makes no offer.
pub const TYPE: &str = "webhook.test";

/// The frozen payload for a subscription of this client.
///
/// ```
/// use tharsis_core::{Timestamp, payload::test_event};
///
/// let client = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc".parse()?;
/// assert_eq!(
///     test_event::payload(client, Timestamp::parse("2026-01-31T12:30:00Z")?),
///     r#"{"type":"webhook.test","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","sentAt":"2026-01-31T12:30:00.000+00:00"}"#
/// );
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
pub fn payload(client: ClientId, now: Timestamp) -> Bytes {
    let object = written([
        ("type", Some(TYPE.into())),
        ("clientId", Some(client.to_string().into())),
        ("sentAt", Some(now.to_offset_string().into())),
    ])
    .expect("the three keys differ");
    Value::Object(object).to_vec().into()
}
