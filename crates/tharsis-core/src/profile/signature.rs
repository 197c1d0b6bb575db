use std::borrow::Cow;

/// How a request is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The header's name, in lower case.
    pub header: Cow<'static, str>,
    /// What is signed.
    pub content: Content,
    /// The keyed hash.
    pub algorithm: Algorithm,
    /// What the secret's text is a key of.
    pub key: KeyKind,
    /// What stands before the digest: `sha1=`.
    pub prefix: Cow<'static, str>,
    /// How the digest is written.
    pub text: DigestText,
    /// What stands before the time of the attempt, in seconds since 1970, where the header's value begins with it: `t=`.
    /// The [separator](Self::separator) comes after it.
    pub timestamp: Option<Cow<'static, str>>,
    /// What stands between several signatures. While a secret is being replaced the header then carries one of each;
    /// without a separator it carries the newest secret's alone.
    pub separator: Option<char>,
}

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// The body.
    Body,
    /// The body, followed by the URL exactly as it was registered.
    BodyUrl,
    /// The time of the attempt in seconds since 1970, a dot, the body.
    TimestampBody,
    /// The event's idempotency value, a dot, the time, a dot, the body.
    IdTimestampBody,
}

impl Content {
    /// Whether the time of the attempt is part of it.
    pub const fn is_timed(self) -> bool {
        matches!(self, Self::TimestampBody | Self::IdTimestampBody)
    }
}

/// A keyed hash (RFC 2104).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC-SHA1.
    HmacSha1,
    /// HMAC-SHA256.
    HmacSha256,
    /// HMAC-SHA512.
    HmacSha512,
}

impl Algorithm {
    /// In bytes.
    pub const fn digest_length(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha512 => 64,
        }
    }
}

/// What the secret's text is a key of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// The UTF-8 bytes of the text as typed are the key.
    Text,
    /// As Standard Webhooks writes keys: `whsec_` and the key in base64, or, where requests are signed with Ed25519 (the
    /// prefix is `v1a,` then), `whsk_` and the private key in base64.
    Standard,
}

/// How a digest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DigestText {
    /// Lower-case hexadecimal.
    Hex,
    /// Base64 with padding (RFC 4648, section 4).
    Base64,
}

impl DigestText {
    /// How many characters so many bytes make.
    pub const fn length(self, bytes: usize) -> usize {
        match self {
            Self::Hex => 2 * bytes,
            Self::Base64 => bytes.div_ceil(3) * 4,
        }
    }
}
