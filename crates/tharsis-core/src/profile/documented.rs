//! The four senders whose receivers need no change.

use std::{borrow::Cow, time::Duration};

use super::{
    Algorithm, Batch, Check, Content, DigestText, Encoding, Fallback, Header, HeaderValue, KeyKind,
    PANEL, Place, Profile, Requirement, Setting, Signature, Success,
};
use crate::{
    payload::{nudge, product_discount_recommendation},
    retry::MAX_RETRIES,
};

/// Mars, the default: HMAC-SHA1 over the body in `X-Mars-Signature: sha1=…`.
pub static MARS: Profile = Profile {
    name: Cow::Borrowed("mars"),
    content_type: Cow::Borrowed("application/json"),
    encoding: Encoding::Json,
    signature: Some(Signature {
        header: Cow::Borrowed("x-mars-signature"),
        content: Content::Body,
        algorithm: Algorithm::HmacSha1,
        key: KeyKind::Text,
        prefix: Cow::Borrowed("sha1="),
        text: DigestText::Hex,
        timestamp: None,
        separator: None,
    }),
    headers: Cow::Borrowed(&[]),
    secret: Requirement::Optional,
    check: Check::Head,
    success: Success::Any2xx,
    timeout: Duration::from_secs(3),
    most_retries: MAX_RETRIES,
    payload_limit: 102_400,
    events: Cow::Borrowed(&[
        Cow::Borrowed(product_discount_recommendation::TYPE),
        Cow::Borrowed(nudge::TYPE),
    ]),
    batch: None,
    settings: Cow::Borrowed(&[]),
};

/// InsightArc: base64 of HMAC-SHA1 over the body and the URL in `x-insightarc-signature`.
pub static INSIGHTARC: Profile = Profile {
    name: Cow::Borrowed("insightarc"),
    content_type: Cow::Borrowed("application/json"),
    encoding: Encoding::Json,
    signature: Some(Signature {
        header: Cow::Borrowed("x-insightarc-signature"),
        content: Content::BodyUrl,
        algorithm: Algorithm::HmacSha1,
        key: KeyKind::Text,
        prefix: Cow::Borrowed(""),
        text: DigestText::Base64,
        timestamp: None,
        separator: None,
    }),
    headers: Cow::Borrowed(&[]),
    secret: Requirement::Required,
    check: Check::HeadAlone,
    success: Success::Any2xx,
    timeout: Duration::from_secs(3),
    most_retries: MAX_RETRIES,
    payload_limit: 102_400,
    events: Cow::Borrowed(&[Cow::Borrowed("signal")]),
    batch: None,
    settings: Cow::Borrowed(&[]),
};

/// Smartech: a form whose `data` is JSON under the panel's name, several items a request; 200 alone is a success. It signs
/// nothing; receivers may ask for Basic credentials.
pub static SMARTECH: Profile = Profile {
    name: Cow::Borrowed("smartech"),
    content_type: Cow::Borrowed("application/x-www-form-urlencoded"),
    encoding: Encoding::Form {
        field: Cow::Borrowed("data"),
    },
    signature: None,
    headers: Cow::Borrowed(&[]),
    secret: Requirement::Useless,
    check: Check::TestEvent,
    success: Success::Exactly200,
    timeout: Duration::from_secs(3),
    most_retries: MAX_RETRIES,
    payload_limit: 102_400,
    events: Cow::Borrowed(&[
        Cow::Borrowed("channel_activity"),
        Cow::Borrowed("custom_activity"),
    ]),
    batch: Some(Batch {
        items: 100,
        linger: Duration::from_millis(500),
    }),
    settings: Cow::Borrowed(&[
        Setting {
            name: Cow::Borrowed(PANEL),
            fallback: Fallback::Required,
            places: Cow::Borrowed(&[]),
        },
        Setting {
            name: Cow::Borrowed("label"),
            fallback: Fallback::SubscriptionName,
            places: Cow::Borrowed(&[Place {
                event_type: Cow::Borrowed("custom_activity"),
                path: Cow::Borrowed(&[Cow::Borrowed("webhook_name")]),
            }]),
        },
        Setting {
            name: Cow::Borrowed("name"),
            fallback: Fallback::SubscriptionName,
            places: Cow::Borrowed(&[Place {
                event_type: Cow::Borrowed("custom_activity"),
                path: Cow::Borrowed(&[Cow::Borrowed("event_params"), Cow::Borrowed("asset_name")]),
            }]),
        },
        Setting {
            name: Cow::Borrowed("id"),
            fallback: Fallback::SubscriptionId,
            places: Cow::Borrowed(&[Place {
                event_type: Cow::Borrowed("custom_activity"),
                path: Cow::Borrowed(&[Cow::Borrowed("event_params"), Cow::Borrowed("asset_id")]),
            }]),
        },
    ]),
};

/// Nudge: `{"event":…,"payload":…}`, HMAC-SHA256 over the body in `x-nudge-signature`, at most 4 KB and 3 seconds.
pub static NUDGE: Profile = Profile {
    name: Cow::Borrowed("nudge"),
    content_type: Cow::Borrowed("application/json"),
    encoding: Encoding::Enveloped,
    signature: Some(Signature {
        header: Cow::Borrowed("x-nudge-signature"),
        content: Content::Body,
        algorithm: Algorithm::HmacSha256,
        key: KeyKind::Text,
        prefix: Cow::Borrowed(""),
        text: DigestText::Hex,
        timestamp: None,
        separator: None,
    }),
    headers: Cow::Borrowed(&[Header {
        name: Cow::Borrowed("x-idempotent-key"),
        value: HeaderValue::EventId,
    }]),
    secret: Requirement::Required,
    check: Check::Head,
    success: Success::Any2xx,
    timeout: Duration::from_secs(3),
    most_retries: 3,
    payload_limit: 4_096,
    events: Cow::Borrowed(&[Cow::Borrowed("reward.earned")]),
    batch: None,
    settings: Cow::Borrowed(&[]),
};
