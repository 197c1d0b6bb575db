//! Senders whose receivers are in every language already. What they sign and how is documented by each; limits are ours.

use std::{borrow::Cow, time::Duration};

use super::{
    Algorithm, Check, Content, DigestText, Encoding, Header, HeaderValue, KeyKind, Profile,
    Requirement, Signature, Success,
};
use crate::{event::MAX_PAYLOAD, retry::MAX_RETRIES};

/// Standard Webhooks (specification 1.0): `webhook-id`, `webhook-timestamp`, and in `webhook-signature` one or more of
/// `v1,` (HMAC-SHA256) and `v1a,` (Ed25519) over `id.timestamp.body`.
pub fn standard() -> Profile {
    Profile {
        name: Cow::Borrowed("standard"),
        signature: Some(Signature {
            header: Cow::Borrowed("webhook-signature"),
            content: Content::IdTimestampBody,
            algorithm: Algorithm::HmacSha256,
            key: KeyKind::Standard,
            prefix: Cow::Borrowed("v1,"),
            text: DigestText::Base64,
            timestamp: None,
            separator: Some(' '),
        }),
        headers: Cow::Borrowed(&[
            Header {
                name: Cow::Borrowed("webhook-id"),
                value: HeaderValue::EventId,
            },
            Header {
                name: Cow::Borrowed("webhook-timestamp"),
                value: HeaderValue::Timestamp,
            },
        ]),
        timeout: Duration::from_secs(15),
        ..general()
    }
}

/// As GitHub signs: `X-Hub-Signature-256: sha256=…`, hex of HMAC-SHA256 over the body.
pub fn github() -> Profile {
    Profile {
        name: Cow::Borrowed("github"),
        signature: Some(Signature {
            header: Cow::Borrowed("x-hub-signature-256"),
            prefix: Cow::Borrowed("sha256="),
            ..sha256_of_body()
        }),
        headers: Cow::Borrowed(&[
            Header {
                name: Cow::Borrowed("x-github-event"),
                value: HeaderValue::EventType,
            },
            Header {
                name: Cow::Borrowed("x-github-delivery"),
                value: HeaderValue::EventId,
            },
        ]),
        timeout: Duration::from_secs(10),
        ..general()
    }
}

/// As Shopify signs: `X-Shopify-Hmac-Sha256`, base64 of HMAC-SHA256 over the body.
pub fn shopify() -> Profile {
    Profile {
        name: Cow::Borrowed("shopify"),
        signature: Some(Signature {
            header: Cow::Borrowed("x-shopify-hmac-sha256"),
            text: DigestText::Base64,
            ..sha256_of_body()
        }),
        headers: Cow::Borrowed(&[
            Header {
                name: Cow::Borrowed("x-shopify-topic"),
                value: HeaderValue::EventType,
            },
            Header {
                name: Cow::Borrowed("x-shopify-event-id"),
                value: HeaderValue::EventId,
            },
        ]),
        timeout: Duration::from_secs(5),
        ..general()
    }
}

/// As Stripe signs: `Stripe-Signature: t=…,v1=…`, hex of HMAC-SHA256 over `timestamp.body`.
pub fn stripe() -> Profile {
    Profile {
        name: Cow::Borrowed("stripe"),
        signature: Some(Signature {
            header: Cow::Borrowed("stripe-signature"),
            content: Content::TimestampBody,
            prefix: Cow::Borrowed("v1="),
            timestamp: Some(Cow::Borrowed("t=")),
            separator: Some(','),
            ..sha256_of_body()
        }),
        timeout: Duration::from_secs(10),
        ..general()
    }
}

fn sha256_of_body() -> Signature {
    Signature {
        header: Cow::Borrowed(""),
        content: Content::Body,
        algorithm: Algorithm::HmacSha256,
        key: KeyKind::Text,
        prefix: Cow::Borrowed(""),
        text: DigestText::Hex,
        timestamp: None,
        separator: None,
    }
}

/// Any event, as it is, with a secret.
pub(super) fn general() -> Profile {
    Profile {
        name: Cow::Borrowed(""),
        content_type: Cow::Borrowed("application/json"),
        encoding: Encoding::Json,
        signature: None,
        headers: Cow::Borrowed(&[]),
        secret: Requirement::Required,
        check: Check::Head,
        success: Success::Any2xx,
        timeout: Duration::from_secs(10),
        most_retries: MAX_RETRIES,
        payload_limit: MAX_PAYLOAD,
        events: Cow::Borrowed(&[]),
        batch: None,
        settings: Cow::Borrowed(&[]),
    }
}
