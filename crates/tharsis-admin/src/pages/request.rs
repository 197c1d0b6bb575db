//! A request as it is on the wire, and what of it is signed.

use tharsis::{
    profile::{Algorithm, Content},
    signer::Request,
    subscription::Subscription,
    text::excerpt,
};

/// So much of a body is shown, in characters.
const BODY: usize = 16_000;

/// A request, without what is secret of it.
pub(crate) struct Shown {
    pub(crate) url: String,
    pub(crate) headers: Vec<Line>,
    /// In bytes.
    pub(crate) length: usize,
    pub(crate) body: String,
}

/// A header, without the value of one that is secret.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Shown {
    pub(crate) fn of(request: &Request) -> Self {
        let headers = request.headers.iter().map(|header| Line {
            name: header.name.to_string(),
            value: header.shown().to_owned(),
        });
        Self {
            url: request.url.given().to_owned(),
            headers: headers.collect(),
            length: request.body.len(),
            body: excerpt(&request.body, BODY),
        }
    }
}

/// What is signed of its requests and how, for people; `None` where nothing is.
pub(crate) fn signed(subscription: &Subscription) -> Option<String> {
    let signature = subscription.settings.profile.signature.as_ref()?;
    subscription.secret_fingerprint.as_ref()?;
    let (hash, key) = match (&subscription.public_key, signature.algorithm) {
        (Some(_), _) => ("the Ed25519 signature", "made with the private key"),
        (None, Algorithm::HmacSha1) => ("the HMAC-SHA1", "keyed with the secret"),
        (None, Algorithm::HmacSha256) => ("the HMAC-SHA256", "keyed with the secret"),
        (None, Algorithm::HmacSha512) => ("the HMAC-SHA512", "keyed with the secret"),
        (None, _) => ("the signature", "made with the secret"),
    };
    let content = match signature.content {
        Content::Body => "the body",
        Content::BodyUrl => "the body and then the URL, as it was registered",
        Content::TimestampBody => "the time in seconds, a dot and the body",
        Content::IdTimestampBody => "the id, a dot, the time in seconds, a dot and the body",
        _ => "what the profile says",
    };
    Some(format!(
        "The header {} holds {hash} of {content}, {key}.",
        signature.header
    ))
}
