//! Wire profiles: the contract of a documented sender, as data that the one encoder and the one signer read.

use std::time::Duration;

use crate::payload::{nudge, product_discount_recommendation};

/// One sender's contract. Every field is what its documents say; what they leave open is decided in `docs/`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// `mars`.
    pub name: &'static str,
    /// The `Content-Type` of a request.
    pub content_type: &'static str,
    /// How a request is signed, if at all.
    pub signature: Option<Signature>,
    /// Whether a subscription needs a secret.
    pub secret: Requirement,
    /// What counts as delivered.
    pub success: Success,
    /// The total deadline of a request, and the most that a subscription may ask for.
    pub timeout: Duration,
    /// The largest body, in bytes.
    pub payload_limit: usize,
    /// The types that a subscription without a choice of its own gets. Empty: all.
    pub events: &'static [&'static str],
}

/// How a request is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The header's name, in lower case.
    pub header: &'static str,
    /// What stands before the digest: `sha1=`.
    pub prefix: &'static str,
    /// The keyed hash.
    pub algorithm: Algorithm,
    /// How the digest is written.
    pub text: DigestText,
}

/// A keyed hash (RFC 2104).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC-SHA1.
    HmacSha1,
}

impl Algorithm {
    /// In bytes.
    pub const fn digest_length(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
        }
    }
}

/// How a digest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DigestText {
    /// Lower-case hexadecimal.
    Hex,
}

/// Whether something has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// It has to.
    Required,
    /// It may.
    Optional,
}

/// Which answers count as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Success {
    /// Any status from 200 to 299.
    Any2xx,
    /// 200 alone.
    Exactly200,
}

/// Mars, the default: HMAC-SHA1 over the body in `X-Mars-Signature: sha1=…`.
pub const MARS: Profile = Profile {
    name: "mars",
    content_type: "application/json",
    signature: Some(Signature {
        header: "x-mars-signature",
        prefix: "sha1=",
        algorithm: Algorithm::HmacSha1,
        text: DigestText::Hex,
    }),
    secret: Requirement::Optional,
    success: Success::Any2xx,
    timeout: Duration::from_secs(3),
    payload_limit: 102_400,
    events: &[product_discount_recommendation::TYPE, nudge::TYPE],
};

impl Profile {
    /// All of them; the first is the default.
    pub const ALL: &[&'static Self] = &[&MARS];

    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().copied().find(|p| p.name == name)
    }

    /// Whether a subscription that names no event type gets this one.
    pub fn knows(&self, event_type: &str) -> bool {
        self.events.is_empty() || self.events.contains(&event_type)
    }
}
