//! Making the request of a delivery, signing it, and verifying what was received.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::{
    Invalid, Timestamp,
    egress::PayloadUrl,
    event, json,
    payload::test_event,
    profile::{Algorithm, DigestText, Profile, Signature},
    secret::Secret,
    subscription::Settings,
};

/// One request, complete: what is signed is what is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `POST`, or `HEAD` for the check.
    pub method: Method,
    /// Where to.
    pub url: PayloadUrl,
    /// Names in lower case; values visible ASCII.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
    /// For everything: DNS, TCP, TLS, request, head and body.
    pub deadline: Duration,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A delivery.
    Post,
    /// A check.
    Head,
}

/// What names us to receivers.
const USER_AGENT: &str = concat!("Tharsis/", env!("CARGO_PKG_VERSION"));

/// The request that delivers a frozen payload. Without a secret there is no signature.
///
/// # Errors
/// `payload_too_large` when the body is over the profile's limit.
pub fn request(
    settings: &Settings,
    secret: Option<&Secret>,
    payload: &Bytes,
) -> Result<Request, Invalid> {
    let profile = settings.profile;
    if payload.len() > profile.payload_limit {
        return Err(event::too_large(payload.len(), profile.payload_limit));
    }
    let mut headers = Vec::with_capacity(3);
    headers.push(("content-type", content_type(settings)));
    headers.push(("user-agent", Cow::Borrowed(USER_AGENT)));
    if let (Some(signature), Some(secret)) = (&profile.signature, secret) {
        headers.push((
            signature.header,
            Cow::Owned(sign(signature, secret, payload)),
        ));
    }
    Ok(Request {
        method: Method::Post,
        url: settings.url.clone(),
        headers,
        body: payload.clone(),
        deadline: settings.timeout,
    })
}

/// The request that checks a URL before anything is created.
pub fn head(settings: &Settings) -> Request {
    Request {
        method: Method::Head,
        url: settings.url.clone(),
        headers: vec![("user-agent", Cow::Borrowed(USER_AGENT))],
        body: Bytes::new(),
        deadline: settings.timeout,
    }
}

/// The request that delivers the [`test_event`], signed like any other.
///
/// # Errors
/// As [`request`].
pub fn test(
    settings: &Settings,
    secret: Option<&Secret>,
    now: Timestamp,
) -> Result<Request, Invalid> {
    request(settings, secret, &test_event::payload(settings.client, now))
}

fn content_type(settings: &Settings) -> Cow<'static, str> {
    if settings.content_type == settings.profile.content_type {
        Cow::Borrowed(settings.profile.content_type)
    } else {
        Cow::Owned(settings.content_type.clone())
    }
}

/// The value of the signature header.
///
/// # Examples
/// ```
/// use tharsis_core::{profile::MARS, secret::Secret, signer};
///
/// let secret = Secret::new("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b")?;
/// let signature = MARS.signature.as_ref().expect("Mars signs");
/// assert_eq!(
///     signer::sign(signature, &secret, br#"{"type":"nudge","score":0.5}"#),
///     "sha1=a521799d5c9034cc385da0993254e5ad16676d73"
/// );
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
pub fn sign(signature: &Signature, secret: &Secret, body: &[u8]) -> String {
    let digest = match signature.algorithm {
        Algorithm::HmacSha1 => hmac_sha1(secret, body).finalize().into_bytes(),
    };
    let mut header = String::with_capacity(signature.prefix.len() + 2 * digest.len());
    header.push_str(signature.prefix);
    match signature.text {
        DigestText::Hex => header.extend(digest.into_iter().flat_map(hex_digits)),
    }
    header
}

fn hex_digits(byte: u8) -> [char; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]))
}

fn hmac_sha1(secret: &Secret, body: &[u8]) -> Hmac<Sha1> {
    Hmac::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length")
        .chain_update(body)
}

/// Why a request is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// There is nothing to verify with.
    NoSecret,
    /// The header is not there.
    NoHeader,
    /// The header does not begin as it should.
    WrongPrefix {
        /// How it should begin.
        expected: &'static str,
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

/// Whether a received body is what the sender signed, compared in constant time.
///
/// It wants the raw bytes, before anything parses them, and the signature header as it came. A profile that signs nothing
/// has nothing to verify; one that signs is never believed without a secret.
///
/// # Examples
/// ```
/// use tharsis_core::{profile::MARS, secret::Secret, signer::{self, Rejected}};
///
/// let secret = Secret::new("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b")?;
/// let header = b"sha1=a521799d5c9034cc385da0993254e5ad16676d73";
/// let verify = |body: &[u8]| signer::verify(&MARS, Some(&secret), Some(header), body);
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
    header: Option<&[u8]>,
    body: &[u8],
) -> Result<(), Rejected> {
    let Some(signature) = &profile.signature else {
        return Ok(());
    };
    let secret = secret.ok_or(Rejected::NoSecret)?;
    let claimed = decode(signature, header.ok_or(Rejected::NoHeader)?)?;
    if is_signed(signature, secret, body, &claimed) {
        return Ok(());
    }
    let change = changes(body)
        .into_iter()
        .find(|(_, original)| is_signed(signature, secret, original, &claimed))
        .map(|(change, _)| change);
    Err(Rejected::Mismatch(change))
}

fn decode(signature: &Signature, header: &[u8]) -> Result<Vec<u8>, Rejected> {
    let digest = header
        .strip_prefix(signature.prefix.as_bytes())
        .ok_or(Rejected::WrongPrefix {
            expected: signature.prefix,
        })?;
    match signature.text {
        DigestText::Hex => {
            let expected = 2 * signature.algorithm.digest_length();
            if digest.len() != expected {
                return Err(Rejected::WrongLength {
                    expected,
                    found: digest.len(),
                });
            }
            if digest.iter().any(u8::is_ascii_uppercase) {
                return Err(Rejected::NotHex);
            }
            hex::decode(digest).map_err(|_| Rejected::NotHex)
        }
    }
}

fn is_signed(signature: &Signature, secret: &Secret, body: &[u8], claimed: &[u8]) -> bool {
    match signature.algorithm {
        Algorithm::HmacSha1 => hmac_sha1(secret, body).verify_slice(claimed).is_ok(),
    }
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

impl Rejected {
    /// Stable: `signature_mismatch`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSecret => "secret_missing",
            Self::NoHeader => "signature_missing",
            Self::WrongPrefix { .. } => "signature_prefix",
            Self::WrongLength { .. } => "signature_length",
            Self::NotHex => "signature_not_hex",
            Self::Mismatch(_) => "signature_mismatch",
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Mismatch(Some(Change::NewlineAdded)) => {
                Some("take the body's bytes as they came, without adding a line break")
            }
            Self::Mismatch(Some(Change::Reserialised)) => {
                Some("verify the body's bytes as they came, before any parser reads them")
            }
            Self::Mismatch(None) => Some("compare the secret with the one of the subscription"),
            _ => None,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSecret => f.write_str("there is no secret to verify with"),
            Self::NoHeader => f.write_str("there is no signature header"),
            Self::WrongPrefix { expected } => {
                write!(f, "the signature does not begin with {expected}")
            }
            Self::WrongLength { expected, found } => write!(
                f,
                "the signature has {found} characters after its prefix, not {expected}"
            ),
            Self::NotHex => f.write_str("the signature is not lower-case hexadecimal"),
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
