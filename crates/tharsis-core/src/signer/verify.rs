use std::{borrow::Cow, fmt, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::sign::{PAIR_PREFIX, Signed, mac};
use crate::{
    Timestamp, json,
    profile::{Algorithm, Content, DigestText, HeaderValue, Profile, Signature},
    secret::{Key, Secret},
    time::format_duration,
};

/// How far the signed time of a request may lie from now: 5 minutes, as Standard Webhooks has it.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// What came in. `url` is needed where it is signed, `now` where the time is judged.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Names, in any case, and values.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The raw bytes, before anything parses them.
    pub body: &'a [u8],
    /// The URL exactly as it was registered.
    pub url: Option<&'a str>,
    /// The receiver's clock. Without it no time is too old or too new.
    pub now: Option<Timestamp>,
}

impl<'a> Incoming<'a> {
    fn header(&self, name: &str) -> Result<&'a [u8], Rejected> {
        let mut values = (self.headers.iter())
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value);
        let value = values.next().ok_or_else(|| Rejected::NoHeader {
            name: name.to_owned(),
        })?;
        match values.next() {
            None => Ok(value),
            Some(_) => Err(Rejected::HeaderTwice {
                name: name.to_owned(),
            }),
        }
    }
}

/// Whether a received body is what the sender signed, compared in constant time.
///
/// A profile that signs nothing has nothing to verify; one that signs is never believed without a secret. Of several
/// signatures one that is right is enough.
///
/// # Examples
/// ```
/// use tharsis_core::{profile::MARS, secret::Secret, signer::{self, Incoming}};
///
/// let secret = Secret::generate([7; 20]);
/// let headers = [("X-Mars-Signature", &b"sha1=f62f54d3ec7da5bb8c609e1da3024c0a839cf076"[..])];
/// let verify = |body: &[u8]| {
///     let incoming = Incoming { headers: &headers, body, url: None, now: None };
///     signer::verify(&MARS, Some(&secret), &incoming)
/// };
///
/// assert_eq!(verify(br#"{"type":"nudge","score":0.5}"#), Ok(()));
/// let rejected = verify(br#"{"type": "nudge", "score": 0.5}"#).unwrap_err();
/// assert_eq!(rejected.code(), "signature_mismatch");
/// assert_eq!(rejected.to_string(), "the body was parsed and written again after it was signed");
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
///
/// # Errors
/// [`Rejected`] says why not. A receiver answers 401 or 403 and keeps the reason for its own log.
pub fn verify(
    profile: &Profile,
    secret: Option<&Secret>,
    incoming: &Incoming<'_>,
) -> Result<(), Rejected> {
    let Some(signature) = &profile.signature else {
        return Ok(());
    };
    let secret = secret.ok_or(Rejected::NoSecret)?;
    let key = secret.key(signature.key).map_err(|_| Rejected::NoSuchKey)?;
    let value = incoming.header(&signature.header)?;
    let (time, value) = split_time(signature, value)?;
    let (id, url) = (id(profile, signature, incoming)?, url(signature, incoming)?);
    let seconds = seconds(profile, signature, time, incoming)?;
    let claims = claims(signature, &key, value)?;
    let is_signed = |body: &[u8]| {
        let signed = Signed {
            id,
            seconds,
            url,
            body,
        };
        (claims.iter()).any(|claim| is_of(signature, &key, &signed, claim))
    };
    if is_signed(incoming.body) {
        return Ok(());
    }
    let change = changes(incoming.body)
        .into_iter()
        .find(|(_, original)| is_signed(original))
        .map(|(change, _)| change);
    Err(Rejected::Mismatch(change))
}

/// The time that the header's value begins with, where it does, and the signatures after it.
fn split_time<'v>(
    signature: &Signature,
    value: &'v [u8],
) -> Result<(Option<&'v [u8]>, &'v [u8]), Rejected> {
    let (Some(prefix), Some(separator)) = (&signature.timestamp, signature.separator) else {
        return Ok((None, value));
    };
    let wrong = || Rejected::WrongPrefix {
        expected: prefix.to_string(),
    };
    let rest = value.strip_prefix(prefix.as_bytes()).ok_or_else(wrong)?;
    let end = (rest.iter().position(|b| char::from(*b) == separator)).ok_or_else(wrong)?;
    let (time, rest) = rest.split_at(end);
    Ok((Some(time), &rest[1..]))
}

fn id<'a>(
    profile: &Profile,
    signature: &Signature,
    incoming: &Incoming<'a>,
) -> Result<&'a str, Rejected> {
    if signature.content != Content::IdTimestampBody {
        return Ok("");
    }
    let value = sent(profile, &HeaderValue::EventId, incoming)?;
    std::str::from_utf8(value).map_err(|_| Rejected::Mismatch(None))
}

fn url<'a>(signature: &Signature, incoming: &Incoming<'a>) -> Result<&'a str, Rejected> {
    match (signature.content, incoming.url) {
        (Content::BodyUrl, None) => Err(Rejected::NoUrl),
        (Content::BodyUrl, Some(url)) => Ok(url),
        _ => Ok(""),
    }
}

/// The time that was signed, judged.
fn seconds(
    profile: &Profile,
    signature: &Signature,
    time: Option<&[u8]>,
    incoming: &Incoming<'_>,
) -> Result<i64, Rejected> {
    if !signature.content.is_timed() {
        return Ok(0);
    }
    let time = match time {
        Some(time) => time,
        None => sent(profile, &HeaderValue::Timestamp, incoming)?,
    };
    // As it was signed: another spelling of the same number is another text.
    let seconds: i64 = std::str::from_utf8(time)
        .ok()
        .and_then(|text| text.parse().ok().filter(|n: &i64| n.to_string() == text))
        .filter(|seconds| *seconds >= 0)
        .ok_or(Rejected::BadTimestamp)?;
    let now = incoming.now.map(|now| now.as_millis().div_euclid(1_000));
    let tolerance = i64::try_from(TOLERANCE.as_secs()).unwrap_or(i64::MAX);
    match now.map(|now| seconds.saturating_sub(now)) {
        Some(ahead) if ahead > tolerance => Err(Rejected::TooNew),
        Some(ahead) if ahead < -tolerance => Err(Rejected::TooOld),
        _ => Ok(seconds),
    }
}

/// The header that says this.
fn sent<'a>(
    profile: &Profile,
    says: &HeaderValue,
    incoming: &Incoming<'a>,
) -> Result<&'a [u8], Rejected> {
    let header = profile.headers.iter().find(|header| header.value == *says);
    incoming.header(&header.ok_or(Rejected::NotSent)?.name)
}

/// What is claimed to be the signature: of several only those that this key could have made.
fn claims(signature: &Signature, key: &Key<'_>, value: &[u8]) -> Result<Vec<Vec<u8>>, Rejected> {
    let (prefix, length) = match key {
        Key::Text(_) | Key::Bytes(_) => (&*signature.prefix, signature.algorithm.digest_length()),
        Key::Private(_) | Key::Public(_) => (PAIR_PREFIX, 64),
    };
    let text = match key {
        Key::Text(_) | Key::Bytes(_) => signature.text,
        Key::Private(_) | Key::Public(_) => DigestText::Base64,
    };
    let one = |value: &[u8]| {
        let digest =
            value
                .strip_prefix(prefix.as_bytes())
                .ok_or_else(|| Rejected::WrongPrefix {
                    expected: prefix.to_owned(),
                })?;
        decode(text, length, digest)
    };
    let Some(separator) = signature.separator else {
        return Ok(vec![one(value)?]);
    };
    let mut claims = Vec::new();
    let mut wrong = None;
    for part in value.split(|b| char::from(*b) == separator) {
        match one(part) {
            Ok(claim) => claims.push(claim),
            Err(rejected) => wrong = wrong.or(Some(rejected)),
        }
    }
    match wrong {
        Some(rejected) if claims.is_empty() => Err(rejected),
        _ => Ok(claims),
    }
}

fn decode(text: DigestText, length: usize, digest: &[u8]) -> Result<Vec<u8>, Rejected> {
    let expected = text.length(length);
    if digest.len() != expected {
        return Err(Rejected::WrongLength {
            expected,
            found: digest.len(),
        });
    }
    match text {
        DigestText::Hex if digest.iter().any(u8::is_ascii_uppercase) => Err(Rejected::NotHex),
        DigestText::Hex => hex::decode(digest).map_err(|_| Rejected::NotHex),
        DigestText::Base64 => BASE64_STANDARD
            .decode(digest)
            .map_err(|_| Rejected::NotBase64),
    }
}

fn is_of(signature: &Signature, key: &Key<'_>, signed: &Signed<'_>, claim: &[u8]) -> bool {
    match key {
        Key::Text(key) => is_hmac_of(signature, key, signed, claim),
        Key::Bytes(key) => is_hmac_of(signature, key, signed, claim),
        Key::Private(key) => is_pair_of(&key.verifying_key(), signature, signed, claim),
        Key::Public(key) => is_pair_of(key, signature, signed, claim),
    }
}

fn is_hmac_of(signature: &Signature, key: &[u8], signed: &Signed<'_>, claim: &[u8]) -> bool {
    match signature.algorithm {
        Algorithm::HmacSha1 => mac::<Hmac<Sha1>>(key, signature, signed).verify_slice(claim),
        Algorithm::HmacSha256 => mac::<Hmac<Sha256>>(key, signature, signed).verify_slice(claim),
        Algorithm::HmacSha512 => mac::<Hmac<Sha512>>(key, signature, signed).verify_slice(claim),
    }
    .is_ok()
}

fn is_pair_of(
    key: &ed25519_dalek::VerifyingKey,
    signature: &Signature,
    signed: &Signed<'_>,
    claim: &[u8],
) -> bool {
    ed25519_dalek::Signature::from_slice(claim).is_ok_and(|claim| {
        key.verify_strict(&signed.bytes(signature.content), &claim)
            .is_ok()
    })
}

/// What the body may have been before somebody changed it without meaning harm.
fn changes(body: &[u8]) -> Vec<(Change, Vec<u8>)> {
    let trimmed = body
        .strip_suffix(b"\r\n")
        .or_else(|| body.strip_suffix(b"\n"))
        .map(|body| (Change::NewlineAdded, body.to_vec()));
    let compact = json::parse(body)
        .ok()
        .map(|value| (Change::Reserialised, value.to_vec()));
    trimmed.into_iter().chain(compact).collect()
}

/// Why a request is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// There is nothing to verify with.
    NoSecret,
    /// The secret is no key of the kind that the profile signs with.
    NoSuchKey,
    /// The header is not there.
    NoHeader {
        /// Its name.
        name: String,
    },
    /// The header is there more than once, so nobody can say which one is meant.
    HeaderTwice {
        /// Its name.
        name: String,
    },
    /// What was signed beside the body is in no header.
    NotSent,
    /// The URL is signed too, and was not given.
    NoUrl,
    /// The header does not begin as it should.
    WrongPrefix {
        /// How it should begin.
        expected: String,
    },
    /// The digest is too short or too long.
    WrongLength {
        /// How many characters it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// The digest is not lower-case hexadecimal.
    NotHex,
    /// The digest is not base64.
    NotBase64,
    /// The time is no number of seconds.
    BadTimestamp,
    /// It was signed longer ago than the tolerance.
    TooOld,
    /// It was signed further in the future than the tolerance.
    TooNew,
    /// Another body was signed, or with another secret.
    Mismatch(Option<Change>),
}

/// What happened to a body after it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A line break was added at its end.
    NewlineAdded,
    /// It was parsed and written again in another way.
    Reserialised,
}

impl Rejected {
    /// Stable: `signature_mismatch`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSecret => "secret_missing",
            Self::NoSuchKey => "bad_key",
            Self::NoHeader { .. } => "signature_missing",
            Self::HeaderTwice { .. } => "header_twice",
            Self::NotSent => "signed_not_sent",
            Self::NoUrl => "url_missing",
            Self::WrongPrefix { .. } => "signature_prefix",
            Self::WrongLength { .. } => "signature_length",
            Self::NotHex => "signature_not_hex",
            Self::NotBase64 => "signature_not_base64",
            Self::BadTimestamp => "bad_timestamp",
            Self::TooOld => "timestamp_too_old",
            Self::TooNew => "timestamp_too_new",
            Self::Mismatch(_) => "signature_mismatch",
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Mismatch(Some(Change::NewlineAdded)) => {
                "take the body's bytes as they came, without adding a line break".into()
            }
            Self::Mismatch(Some(Change::Reserialised)) => {
                "verify the body's bytes as they came, before any parser reads them".into()
            }
            Self::Mismatch(None) => "compare the secret with the one of the subscription".into(),
            Self::NoUrl => "give the URL exactly as it was registered".into(),
            Self::TooOld | Self::TooNew => {
                "set the clock; to judge an old request say when it came".into()
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSecret => f.write_str("there is no secret to verify with"),
            Self::NoSuchKey => {
                f.write_str("the secret is no key of the kind that this profile signs with")
            }
            Self::NoHeader { name } => write!(f, "there is no header {name}"),
            Self::HeaderTwice { name } => write!(f, "the header {name} is there twice"),
            Self::NotSent => f.write_str("what is signed beside the body is in no header"),
            Self::NoUrl => f.write_str("the URL is signed too, and is not given"),
            Self::WrongPrefix { expected } => {
                write!(f, "the signature does not begin with {expected}")
            }
            Self::WrongLength { expected, found } => write!(
                f,
                "the signature has {found} characters after its prefix, not {expected}"
            ),
            Self::NotHex => f.write_str("the signature is not lower-case hexadecimal"),
            Self::NotBase64 => f.write_str("the signature is not base64"),
            Self::BadTimestamp => f.write_str("the time is no number of seconds"),
            Self::TooOld => write!(
                f,
                "it was signed more than {} ago",
                format_duration(TOLERANCE)
            ),
            Self::TooNew => write!(
                f,
                "it was signed for more than {} ahead of now",
                format_duration(TOLERANCE)
            ),
            Self::Mismatch(None) => {
                f.write_str("the signature is of another body or another secret")
            }
            Self::Mismatch(Some(Change::NewlineAdded)) => {
                f.write_str("a line break was added to the body after it was signed")
            }
            Self::Mismatch(Some(Change::Reserialised)) => {
                f.write_str("the body was parsed and written again after it was signed")
            }
        }
    }
}

impl std::error::Error for Rejected {}
