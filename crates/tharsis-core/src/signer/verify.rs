use std::fmt;

use hmac::Mac;

use super::hmac_sha1;
use crate::{
    json,
    profile::{Algorithm, DigestText, Profile, Signature},
    secret::Secret,
};

/// Whether a received body is what the sender signed, compared in constant time.
///
/// It wants the raw bytes, before anything parses them, and the signature header as it came. A profile that signs nothing
/// has nothing to verify; one that signs is never believed without a secret.
///
/// # Examples
/// ```
/// use tharsis_core::{profile::MARS, secret::Secret, signer::{self, Rejected}};
///
/// let secret = Secret::generate([7; 20]);
/// let header = b"sha1=f62f54d3ec7da5bb8c609e1da3024c0a839cf076";
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
