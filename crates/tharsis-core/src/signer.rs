//! Making the request of a delivery, signing it, and verifying what was received.

mod verify;

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

pub use verify::{Change, Rejected, verify};

use crate::{
    Invalid, Timestamp,
    egress::PayloadUrl,
    event,
    payload::test_event,
    profile::{Algorithm, DigestText, Signature},
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
/// let secret = Secret::generate([7; 20]);
/// let signature = MARS.signature.as_ref().expect("Mars signs");
/// assert_eq!(
///     signer::sign(signature, &secret, br#"{"type":"nudge","score":0.5}"#),
///     "sha1=f62f54d3ec7da5bb8c609e1da3024c0a839cf076"
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
