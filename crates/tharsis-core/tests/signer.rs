//! What goes on the wire for Mars, and what a receiver makes of it.

use bytes::Bytes;
use tharsis_core::{
    Timestamp,
    egress::Policy,
    profile::MARS,
    secret::Secret,
    signer::{self, Change, Method, Rejected, Request},
    subscription::{Draft, Settings},
};

const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";
const BODY: &[u8] = br#"{"type":"nudge","score":0.5}"#;

#[test]
fn mars_vectors_are_signed_and_verified() {
    let corpus = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/corpus/signatures.json"
    );
    let rows: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(corpus).unwrap()).unwrap();
    let mars: Vec<_> = rows.iter().filter(|row| row["profile"] == "mars").collect();
    assert_eq!(mars.len(), 12);
    for row in mars {
        let secret = Secret::new(row["secret"].as_str().unwrap()).unwrap();
        let settings = Settings {
            url: tharsis_core::egress::PayloadUrl::stored(row["url"].as_str().unwrap()).unwrap(),
            ..settings()
        };
        let body = Bytes::from(row["body"].as_str().unwrap().to_owned());
        let request = signer::request(&settings, Some(&secret), &body).unwrap();
        let signature = header(&request, "x-mars-signature").unwrap();
        assert_eq!(signature, row["headers"]["X-Mars-Signature"]);
        assert_eq!(request.url.given(), row["url"]);
        assert_eq!(request.body, body);
        assert_eq!(verify(&secret, signature, &body), Ok(()));
        // The bodies are what JavaScript would write, so receivers that parse first agree.
        assert_eq!(tharsis_core::json::parse(&body).unwrap().to_vec(), body);
    }
}

#[test]
fn a_delivery_is_a_signed_post() {
    let request = signer::request(&settings(), Some(&secret()), &Bytes::from_static(BODY)).unwrap();
    insta::assert_snapshot!(shown(&request), @r#"
    POST https://hooks.example.com/in?token=1
    content-type: application/json
    user-agent: Tharsis/0.1.0
    x-mars-signature: sha1=a521799d5c9034cc385da0993254e5ad16676d73

    {"type":"nudge","score":0.5}
    "#);
}

#[test]
fn without_a_secret_there_is_no_signature() {
    let request = signer::request(&settings(), None, &Bytes::from_static(BODY)).unwrap();
    assert_eq!(header(&request, "x-mars-signature"), None);
}

#[test]
fn the_content_type_is_the_subscriptions_own() {
    let settings = Settings {
        content_type: "application/vnd.acme+json".to_owned(),
        ..settings()
    };
    let request = signer::request(&settings, None, &Bytes::from_static(BODY)).unwrap();
    assert_eq!(
        header(&request, "content-type"),
        Some("application/vnd.acme+json")
    );
}

#[test]
fn a_check_is_a_bare_head() {
    insta::assert_snapshot!(shown(&signer::head(&settings())), @r"
    HEAD https://hooks.example.com/in?token=1
    user-agent: Tharsis/0.1.0
    ");
}

#[test]
fn the_test_event_is_signed_and_means_nothing() {
    let now = Timestamp::parse("2026-01-31T12:30:00Z").unwrap();
    let request = signer::test(&settings(), Some(&secret()), now).unwrap();
    insta::assert_snapshot!(shown(&request), @r#"
    POST https://hooks.example.com/in?token=1
    content-type: application/json
    user-agent: Tharsis/0.1.0
    x-mars-signature: sha1=80dab5e4460a0ec115774156207cbb222d2706db

    {"type":"webhook.test","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","sentAt":"2026-01-31T12:30:00.000+00:00"}
    "#);
}

#[test]
fn a_body_over_the_limit_of_the_profile_is_no_request() {
    let at_the_limit = Bytes::from(vec![b'1'; MARS.payload_limit]);
    assert!(signer::request(&settings(), None, &at_the_limit).is_ok());
    let over_it = Bytes::from(vec![b'1'; MARS.payload_limit + 1]);
    let refused = signer::request(&settings(), None, &over_it).unwrap_err();
    insta::assert_snapshot!(format!("{} | {refused}", refused.code), @"payload_too_large | a body of 102401 bytes is over the limit of 102400");
}

#[test]
fn whatever_is_not_the_signature_is_rejected_with_its_reason() {
    let right = signer::sign(MARS.signature.as_ref().unwrap(), &secret(), BODY);
    assert_eq!(verify(&secret(), &right, BODY), Ok(()));

    let (prefix, digest) = right.split_at("sha1=".len());
    let last = if digest.ends_with('0') { "1" } else { "0" };
    let other_secret = Secret::new("correct-horse-battery-staple-42").unwrap();
    let rejected = [
        signer::verify(&MARS, None, Some(right.as_bytes()), BODY),
        signer::verify(&MARS, Some(&secret()), None, BODY),
        verify(&secret(), "", BODY),
        verify(&secret(), digest, BODY),
        verify(&secret(), &right.replace("sha1=", "SHA1="), BODY),
        verify(&secret(), &right.replace("sha1=", "sha256="), BODY),
        verify(&secret(), prefix, BODY),
        verify(&secret(), &right[..right.len() - 1], BODY),
        verify(&secret(), &format!("{right}0"), BODY),
        verify(&secret(), &format!("{prefix}{}", "g".repeat(40)), BODY),
        verify(
            &secret(),
            &format!("{prefix}{}", digest.to_uppercase()),
            BODY,
        ),
        verify(
            &secret(),
            &format!("{}{last}", &right[..right.len() - 1]),
            BODY,
        ),
        verify(&other_secret, &right, BODY),
        verify(&secret(), &right, br#"{"type":"nudge","score":0.6}"#),
        verify(&secret(), &right, b""),
    ]
    .map(|verdict| {
        let reason = verdict.unwrap_err();
        format!("{} | {reason}\n", reason.code())
    });
    insta::assert_snapshot!(rejected.concat(), @r"
    secret_missing | there is no secret to verify with
    signature_missing | there is no signature header
    signature_prefix | the signature does not begin with sha1=
    signature_prefix | the signature does not begin with sha1=
    signature_prefix | the signature does not begin with sha1=
    signature_prefix | the signature does not begin with sha1=
    signature_length | the signature has 0 characters after its prefix, not 40
    signature_length | the signature has 39 characters after its prefix, not 40
    signature_length | the signature has 41 characters after its prefix, not 40
    signature_not_hex | the signature is not lower-case hexadecimal
    signature_not_hex | the signature is not lower-case hexadecimal
    signature_mismatch | the signature is of another body or another secret
    signature_mismatch | the signature is of another body or another secret
    signature_mismatch | the signature is of another body or another secret
    signature_mismatch | the signature is of another body or another secret
    ");
}

#[test]
fn a_header_of_any_bytes_is_rejected_without_a_panic() {
    let header: Vec<u8> = b"sha1=".iter().copied().chain([0xff; 40]).collect();
    assert_eq!(
        signer::verify(&MARS, Some(&secret()), Some(&header), BODY),
        Err(Rejected::NotHex)
    );
}

#[test]
fn a_body_that_was_changed_on_the_way_is_told_apart_from_a_forged_one() {
    let right = signer::sign(MARS.signature.as_ref().unwrap(), &secret(), BODY);
    for (received, change) in [
        (
            &b"{\"type\":\"nudge\",\"score\":0.5}\n"[..],
            Change::NewlineAdded,
        ),
        (
            b"{\"type\":\"nudge\",\"score\":0.5}\r\n",
            Change::NewlineAdded,
        ),
        (br#"{"type": "nudge", "score": 0.5}"#, Change::Reserialised),
        (
            b"{\n  \"type\": \"n\\u0075dge\",\n  \"score\": 0.50\n}\n",
            Change::Reserialised,
        ),
    ] {
        let rejected = verify(&secret(), &right, received).unwrap_err();
        assert_eq!(rejected, Rejected::Mismatch(Some(change)));
        assert!(rejected.hint().is_some());
    }
    // Another order is another document.
    assert_eq!(
        verify(&secret(), &right, br#"{"score":0.5,"type":"nudge"}"#),
        Err(Rejected::Mismatch(None))
    );
}

fn verify(secret: &Secret, header: &str, body: &[u8]) -> Result<(), Rejected> {
    signer::verify(&MARS, Some(secret), Some(header.as_bytes()), body)
}

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

fn settings() -> Settings {
    Draft {
        client: "b4aeba4e-a4c0-4896-866a-56f8bcb372fc".to_owned(),
        name: "orders".to_owned(),
        url: "https://Hooks.example.com/in?token=1".to_owned(),
        ..Draft::default()
    }
    .settings(&Policy::default())
    .unwrap()
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let mut values = request.headers.iter().filter(|(n, _)| *n == name);
    let value = values.next().map(|(_, value)| value.as_ref());
    assert_eq!(values.next(), None, "{name} is there twice");
    value
}

fn shown(request: &Request) -> String {
    let method = match request.method {
        Method::Post => "POST",
        Method::Head => "HEAD",
    };
    let headers: String = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    format!(
        "{method} {}\n{headers}\n{}",
        request.url.canonical(),
        String::from_utf8_lossy(&request.body)
    )
}
