use sha2::{Digest, Sha256};

use super::Event;

/// What the store keeps so that an event is published once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// Digest of the key. Two events with the same one are the same event, or a conflict.
    pub key: [u8; 16],
    /// Digest of type and payload. Under an explicit key another one is a conflict.
    pub payload: [u8; 16],
    /// Whether the key was given. A natural key is made of the payload's digest, so it cannot conflict.
    pub explicit: bool,
}

impl Event {
    /// What the store knows it by, so that publishing it again makes no second event.
    ///
    /// An explicit key counts within its client. The natural key is client, type and payload: the payload holds the
    /// event's own id, so the same event again is the same, and another state of the same nudge is another event.
    pub fn idempotency(&self) -> Idempotency {
        let client = self.client.as_uuid().as_bytes();
        let payload = digest(
            "tharsis payload 1",
            &[self.event_type.as_str().as_bytes(), &self.payload],
        );
        let key = match &self.key {
            Some(key) => digest("tharsis key 1", &[client, key.as_str().as_bytes()]),
            None => digest("tharsis natural key 1", &[client, &payload]),
        };
        Idempotency {
            key,
            payload,
            explicit: self.key.is_some(),
        }
    }
}

/// The first half of a SHA-256 over the purpose and the parts, each behind its length, so that no two lists of parts
/// read alike. The rows of the store hold what this gives: it must never change.
fn digest(purpose: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}
