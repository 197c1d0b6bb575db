use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::Signer;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::{
    Invalid,
    profile::{Algorithm, Content, DigestText, KeyKind, Signature},
    secret::{Key, Secret},
};

/// What stands before a signature by Ed25519 (Standard Webhooks 1.0).
pub(super) const PAIR_PREFIX: &str = "v1a,";

/// What a signature may be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The event's idempotency value.
    pub id: &'a str,
    /// When the attempt began, in seconds since 1970.
    pub seconds: i64,
    /// The URL exactly as it was registered.
    pub url: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Signed<'a> {
    /// A body, where nothing else is signed.
    pub fn body(body: &'a [u8]) -> Self {
        Self {
            id: "",
            seconds: 0,
            url: "",
            body,
        }
    }

    /// The bytes that are signed, piece by piece.
    pub(super) fn pieces(&self, content: Content, mut take: impl FnMut(&[u8])) {
        if content == Content::IdTimestampBody {
            take(self.id.as_bytes());
            take(b".");
        }
        if content.is_timed() {
            take(self.seconds.to_string().as_bytes());
            take(b".");
        }
        take(self.body);
        if content == Content::BodyUrl {
            take(self.url.as_bytes());
        }
    }

    /// The bytes that are signed, in one piece.
    pub(super) fn bytes(&self, content: Content) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + 64);
        self.pieces(content, |piece| bytes.extend_from_slice(piece));
        bytes
    }
}

/// The value of the signature header. The first secret is the newest; the others sign beside it where the header carries
/// several signatures.
///
/// # Examples
/// ```
/// use tharsis_core::{profile::MARS, secret::Secret, signer::{self, Signed}};
///
/// let secret = Secret::generate([7; 20]);
/// let signature = MARS.signature.as_ref().expect("Mars signs");
/// let signed = Signed::body(br#"{"type":"nudge","score":0.5}"#);
/// assert_eq!(
///     signer::sign(signature, [&secret], &signed)?,
///     "sha1=f62f54d3ec7da5bb8c609e1da3024c0a839cf076"
/// );
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
///
/// # Errors
/// `wrong_key_kind` where a secret is no key of the signature's [kind](Signature::key).
pub fn sign<'s>(
    signature: &Signature,
    secrets: impl IntoIterator<Item = &'s Secret>,
    signed: &Signed<'_>,
) -> Result<String, Invalid> {
    let length = signature.text.length(signature.algorithm.digest_length());
    let mut header = String::with_capacity(signature.prefix.len() + length);
    if let (Some(prefix), Some(separator)) = (&signature.timestamp, signature.separator) {
        header.push_str(prefix);
        header.push_str(&signed.seconds.to_string());
        header.push(separator);
    }
    for (i, secret) in secrets.into_iter().enumerate() {
        match signature.separator {
            Some(separator) if i > 0 => header.push(separator),
            None if i > 0 => break,
            _ => {}
        }
        one(signature, secret, signed, &mut header)?;
    }
    Ok(header)
}

fn one(
    signature: &Signature,
    secret: &Secret,
    signed: &Signed<'_>,
    header: &mut String,
) -> Result<(), Invalid> {
    let key = secret.key(signature.key)?;
    match &key {
        Key::Text(key) => hmac(signature, key, signed, header),
        Key::Bytes(key) => hmac(signature, key, signed, header),
        Key::Private(key) => {
            header.push_str(PAIR_PREFIX);
            let message = signed.bytes(signature.content);
            BASE64_STANDARD.encode_string(key.sign(&message).to_bytes(), header);
        }
        Key::Public(_) => return Err(Secret::wrong_kind()),
    }
    Ok(())
}

fn hmac(signature: &Signature, key: &[u8], signed: &Signed<'_>, header: &mut String) {
    header.push_str(&signature.prefix);
    match signature.algorithm {
        Algorithm::HmacSha1 => write(mac::<Hmac<Sha1>>(key, signature, signed), signature, header),
        Algorithm::HmacSha256 => {
            write(
                mac::<Hmac<Sha256>>(key, signature, signed),
                signature,
                header,
            );
        }
        Algorithm::HmacSha512 => {
            write(
                mac::<Hmac<Sha512>>(key, signature, signed),
                signature,
                header,
            );
        }
    }
}

pub(super) fn mac<M: Mac + KeyInit>(key: &[u8], signature: &Signature, signed: &Signed<'_>) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    signed.pieces(signature.content, |piece| mac.update(piece));
    mac
}

fn write(mac: impl Mac, signature: &Signature, header: &mut String) {
    let digest = mac.finalize().into_bytes();
    match signature.text {
        DigestText::Hex => header.extend(digest.into_iter().flat_map(hex_digits)),
        DigestText::Base64 => BASE64_STANDARD.encode_string(digest, header),
    }
}

fn hex_digits(byte: u8) -> [char; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]))
}

/// The public key of a pair, as receivers get it: `whpk_` and the key in base64. `None` where the secret is shared.
pub fn public_key(secret: &Secret) -> Option<String> {
    match secret.key(KeyKind::Standard) {
        Ok(Key::Private(key)) => Some(format!(
            "whpk_{}",
            BASE64_STANDARD.encode(key.verifying_key().to_bytes())
        )),
        _ => None,
    }
}
