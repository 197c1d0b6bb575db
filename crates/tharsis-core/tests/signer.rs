//! What goes on the wire for each sender, and what a receiver makes of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use tharsis_core::{
    DeliveryId, EventId, Invalid, ReplayId, SubscriptionId, Timestamp,
    egress::{PayloadUrl, Policy},
    json::{self, Value},
    profile::{Declaration, KeyKind, MARS, Profiles},
    secret::Secret,
    signer::{self, Change, Incoming, Item, Method, Rejected, Request, Signed},
    subscription::{Credentials, Draft, Retiring, Settings, header::OwnHeader},
};

const CORPUS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/corpus/signatures.json"
);
const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";
const BODY: &[u8] = br#"{"type":"nudge","score":0.5}"#;

/// Vectors of one profile, computed elsewhere.
fn vectors(profile: &str) -> Vec<serde_json::Value> {
    let rows: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(CORPUS).unwrap()).unwrap();
    let rows: Vec<_> = (rows.into_iter())
        .filter(|row| row["profile"] == profile)
        .collect();
    assert_eq!(rows.len(), 12, "{profile}");
    rows
}

fn field<'v>(row: &Value<'v>, name: &str) -> Option<Value<'v>> {
    match row {
        Value::Object(row) => row.get(name).cloned(),
        _ => None,
    }
}

/// Each vector's body under its secret and URL: the header must be the vector's, and be believed.
fn signs_as_its_vectors(profile: &str) {
    for row in vectors(profile) {
        let settings = of(profile);
        let signature = settings.profile.signature.clone().unwrap();
        let secret = Secret::of(signature.key, row["secret"].as_str().unwrap()).unwrap();
        let expected = row["headers"].as_object().unwrap();
        let given = |name: &str| expected.get(name).and_then(|value| value.as_str());
        let body = row["body"].as_str().unwrap().as_bytes();
        let signed = Signed {
            id: given("webhook-id").unwrap_or(""),
            seconds: given("webhook-timestamp").map_or(0, |text| text.parse().unwrap()),
            url: row["url"].as_str().unwrap(),
            body,
        };
        let value = signer::sign(&signature, [&secret], &signed).unwrap();
        let (_, right) = (expected.iter())
            .find(|(name, _)| name.eq_ignore_ascii_case(&signature.header))
            .unwrap();
        assert_eq!(value, *right);

        let headers: Vec<_> = (expected.iter())
            .map(|(name, value)| (&**name, value.as_str().unwrap().as_bytes()))
            .collect();
        let incoming = Incoming {
            headers: &headers,
            body,
            url: Some(signed.url),
            now: None,
        };
        let verified = signer::verify(&settings.profile, Some(&secret), &incoming);
        assert_eq!(verified, Ok(()));
        // The bodies are what JavaScript would write, so receivers that parse first agree.
        assert_eq!(json::parse(body).unwrap().to_vec(), body);
    }
}

#[test]
fn mars_signs_as_its_vectors() {
    signs_as_its_vectors("mars");
}

#[test]
fn insightarc_signs_as_its_vectors() {
    signs_as_its_vectors("insightarc");
}

#[test]
fn nudge_signs_as_its_vectors() {
    signs_as_its_vectors("nudge");
}

#[test]
fn standard_signs_as_its_vectors() {
    signs_as_its_vectors("standard");
}

#[test]
fn smartech_encodes_as_its_vectors() {
    // Our own reader keeps the fields in their order.
    let text = std::fs::read(CORPUS).unwrap();
    let Value::Array(rows) = json::parse(&text).unwrap() else {
        panic!("a list");
    };
    let smartech = |row: &&Value<'_>| field(row, "profile") == Some("smartech".into());
    let mut seen = 0;
    for row in rows.iter().filter(smartech) {
        let panel = field(&field(row, "object").unwrap(), "panel").unwrap();
        let Value::Array(items) = panel else {
            panic!("a list");
        };
        let items: Vec<Bytes> = items.iter().map(|item| item.to_vec().into()).collect();
        let items: Vec<_> = (items.iter())
            .map(|payload| item("channel_activity", payload))
            .collect();
        let credentials = Credentials::default();
        let request = signer::request(&of("smartech"), &credentials, &items, now()).unwrap();
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        assert_eq!(field(row, "body"), Some(Value::from(body)));
        seen += 1;
    }
    assert_eq!(seen, 12);
}

#[test]
fn a_delivery_is_a_signed_post() {
    let request = request(&settings(), Some(secret()), BODY).unwrap();
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
    let request = request(&settings(), None, BODY).unwrap();
    assert_eq!(header(&request, "x-mars-signature"), None);
}

#[test]
fn the_content_type_is_the_subscriptions_own() {
    let settings = Settings {
        content_type: "application/vnd.acme+json".to_owned(),
        ..settings()
    };
    let request = request(&settings, None, BODY).unwrap();
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
    let request = signer::test(&settings(), &secret().into(), id(), now()).unwrap();
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
    let at_the_limit = vec![b'1'; MARS.payload_limit];
    assert!(request(&settings(), None, &at_the_limit).is_ok());
    let over_it = vec![b'1'; MARS.payload_limit + 1];
    let refused = request(&settings(), None, &over_it).unwrap_err();
    insta::assert_snapshot!(format!("{} | {refused}", refused.code), @"payload_too_large | a body of 102401 bytes is over the limit of 102400");
}

#[test]
fn whatever_is_not_the_signature_is_rejected_with_its_reason() {
    let right = mars_signature(&secret(), BODY);
    assert_eq!(verify(&secret(), &right, BODY), Ok(()));

    let (prefix, digest) = right.split_at("sha1=".len());
    let last = if digest.ends_with('0') { "1" } else { "0" };
    let other_secret = Secret::new("correct-horse-battery-staple-42").unwrap();
    let rejected = [
        signer::verify(
            &MARS,
            None,
            &incoming(&[("x-mars-signature", right.as_bytes())], BODY),
        ),
        signer::verify(&MARS, Some(&secret()), &incoming(&[], BODY)),
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
    signature_missing | there is no header x-mars-signature
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
        signer::verify(
            &MARS,
            Some(&secret()),
            &incoming(&[("x-mars-signature", &header)], BODY)
        ),
        Err(Rejected::NotHex)
    );
}

#[test]
fn a_body_that_was_changed_on_the_way_is_told_apart_from_a_forged_one() {
    let right = mars_signature(&secret(), BODY);
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
    let headers = [("X-Mars-Signature", header.as_bytes())];
    signer::verify(&MARS, Some(secret), &incoming(&headers, body))
}

fn incoming<'a>(headers: &'a [(&'a str, &'a [u8])], body: &'a [u8]) -> Incoming<'a> {
    Incoming {
        headers,
        body,
        url: None,
        now: None,
    }
}

fn mars_signature(secret: &Secret, body: &[u8]) -> String {
    let signature = MARS.signature.as_ref().unwrap();
    signer::sign(signature, [secret], &Signed::body(body)).unwrap()
}

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

fn now() -> Timestamp {
    Timestamp::parse("2026-01-31T12:30:00Z").unwrap()
}

fn id() -> DeliveryId {
    DeliveryId {
        event: EventId::new(now(), [2; 10]),
        subscription: SubscriptionId::new(now(), [3; 10]),
    }
}

fn item<'a>(event_type: &'a str, payload: &'a Bytes) -> Item<'a> {
    Item {
        id: id(),
        event_type,
        payload,
        fresh: None,
    }
}

fn request(settings: &Settings, secret: Option<Secret>, body: &[u8]) -> Result<Request, Invalid> {
    let credentials = Credentials {
        secret,
        ..Credentials::default()
    };
    let payload = Bytes::copy_from_slice(body);
    signer::request(settings, &credentials, &[item("nudge", &payload)], now())
}

fn settings() -> Settings {
    of("mars")
}

fn draft(profile: &str) -> Draft {
    let panel = ("panel".to_owned(), "panel".to_owned());
    Draft {
        client: "b4aeba4e-a4c0-4896-866a-56f8bcb372fc".to_owned(),
        name: "orders".to_owned(),
        url: "https://Hooks.example.com/in?token=1".to_owned(),
        profile: Some(profile.to_owned()),
        profile_settings: (profile == "smartech")
            .then_some(panel)
            .into_iter()
            .collect(),
        ..Draft::default()
    }
}

fn of(profile: &str) -> Settings {
    checked(&draft(profile))
}

fn checked(draft: &Draft) -> Settings {
    draft
        .settings(&Policy::default(), &Profiles::default())
        .unwrap()
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let mut values = request.headers.iter().filter(|h| h.name == name);
    let value = values.next().map(|header| header.value.as_ref());
    assert_eq!(values.next(), None, "{name} is there twice");
    value
}

fn shown(request: &Request) -> String {
    let method = match request.method {
        Method::Post => "POST",
        Method::Head => "HEAD",
    };
    let headers: String = (request.headers.iter())
        .map(|header| format!("{}: {}\n", header.name, header.value))
        .collect();
    format!(
        "{method} {}\n{headers}\n{}",
        request.url.canonical(),
        String::from_utf8_lossy(&request.body)
    )
}

/// A request of a profile, as its receivers would verify it now.
fn received(
    settings: &Settings,
    secret: &Secret,
    request: &Request,
    at: Timestamp,
) -> Result<(), Rejected> {
    let headers: Vec<_> = (request.headers.iter())
        .map(|header| (&*header.name, header.value.as_bytes()))
        .collect();
    let incoming = Incoming {
        headers: &headers,
        body: &request.body,
        url: Some(settings.url.given()),
        now: Some(at),
    };
    signer::verify(&settings.profile, Some(secret), &incoming)
}

#[test]
fn the_url_is_signed_as_the_admin_gave_it() {
    let settings = of("insightarc");
    let sent = request(&settings, Some(secret()), br#"{"num_events":1}"#).unwrap();
    insta::assert_snapshot!(shown(&sent), @r#"
    POST https://hooks.example.com/in?token=1
    content-type: application/json
    user-agent: Tharsis/0.1.0
    x-insightarc-signature: 9Q5SwtEhG8PWzxx8hIunrKaA6v0=

    {"num_events":1}
    "#);
    assert_eq!(received(&settings, &secret(), &sent, now()), Ok(()));
    let canonical = Settings {
        url: PayloadUrl::stored("https://hooks.example.com/in?token=1").unwrap(),
        ..settings.clone()
    };
    let elsewhere = received(&canonical, &secret(), &sent, now());
    assert_eq!(elsewhere, Err(Rejected::Mismatch(None)));
}

#[test]
fn a_reward_goes_out_in_an_envelope_under_a_key() {
    let payload = Bytes::from_static(br#"{"rewards":[]}"#);
    let items = [item("reward.earned", &payload)];
    let sent = signer::request(&of("nudge"), &secret().into(), &items, now()).unwrap();
    insta::assert_snapshot!(shown(&sent), @r#"
    POST https://hooks.example.com/in?token=1
    content-type: application/json
    user-agent: Tharsis/0.1.0
    x-idempotent-key: 019c1408-1540-7202-8202-020202020202
    x-nudge-signature: 8e8261b0386ff870bd4c24957030862c0c531456b699e68db214d10324d905b1

    {"event":"reward.earned","payload":{"rewards":[]}}
    "#);
    assert_eq!(received(&of("nudge"), &secret(), &sent, now()), Ok(()));
}

/// The value was computed elsewhere: with Python's `hashlib`.
#[test]
fn a_fresh_key_takes_the_place_of_the_events_id_and_is_signed() {
    let payload = Bytes::from_static(BODY);
    let item = Item {
        fresh: Some(ReplayId::new(now(), [9; 10])),
        ..item("nudge", &payload)
    };
    let secret = Secret::generate_standard([7; 32]);
    let of_standard = of("standard");
    let sent = signer::request(&of_standard, &secret.clone().into(), &[item], now()).unwrap();
    let key = sent
        .headers
        .iter()
        .find(|h| h.name == "webhook-id")
        .unwrap();
    assert_eq!(key.value, "9c5596ed-fb11-8e52-b421-50b79d995647");
    assert_eq!(received(&of_standard, &secret, &sent, now()), Ok(()));
    let events_own = request(&of_standard, Some(secret), BODY).unwrap();
    let signature = |sent: &Request| {
        let mut headers = sent.headers.iter();
        headers.find(|h| h.name == "webhook-signature").cloned()
    };
    assert_ne!(signature(&sent), signature(&events_own));
}

#[test]
fn each_preset_is_as_its_receivers_expect() {
    let mut all = String::new();
    for profile in ["standard", "github", "shopify", "stripe"] {
        let settings = of(profile);
        let secret = match settings.profile.signature.as_ref().unwrap().key {
            KeyKind::Standard => Secret::generate_standard([7; 32]),
            _ => secret(),
        };
        let sent = request(&settings, Some(secret.clone()), BODY).unwrap();
        all.push_str(&format!("# {profile}\n{}\n", shown(&sent)));
        assert_eq!(
            received(&settings, &secret, &sent, now()),
            Ok(()),
            "{profile}"
        );
    }
    insta::assert_snapshot!(all, @r#"
    # standard
    POST https://hooks.example.com/in?token=1
    content-type: application/json
    user-agent: Tharsis/0.1.0
    webhook-id: 019c1408-1540-7202-8202-020202020202
    webhook-timestamp: 1769862600
    webhook-signature: v1,9kJE7SAKKTvpxMBQnR9jA6m9y0G2twGITCsC3lKs468=

    {"type":"nudge","score":0.5}
    # github
    POST https://hooks.example.com/in?token=1
    content-type: application/json
    user-agent: Tharsis/0.1.0
    x-github-event: nudge
    x-github-delivery: 019c1408-1540-7202-8202-020202020202
    x-hub-signature-256: sha256=3ecd03fe4ff48f1433bc27a7687cd5d26703d1b31ae6b7d2a5f409165ad6a6d0

    {"type":"nudge","score":0.5}
    # shopify
    POST https://hooks.example.com/in?token=1
    content-type: application/json
    user-agent: Tharsis/0.1.0
    x-shopify-topic: nudge
    x-shopify-event-id: 019c1408-1540-7202-8202-020202020202
    x-shopify-hmac-sha256: Ps0D/k/0jxQzvCenaHzV0mcD0bMa5rfSpfQJFlrWptA=

    {"type":"nudge","score":0.5}
    # stripe
    POST https://hooks.example.com/in?token=1
    content-type: application/json
    user-agent: Tharsis/0.1.0
    stripe-signature: t=1769862600,v1=7940224c851d8f82db88cbce6118cab61de0a0882faa748508d5d836895ebb28

    {"type":"nudge","score":0.5}
    "#);
}

#[test]
fn the_test_event_of_each_profile_names_nobody() {
    let mut all = String::new();
    for profile in Profiles::default().iter() {
        let settings = of(&profile.name);
        let secret = match profile.signature.as_ref().map(|signature| signature.key) {
            Some(KeyKind::Standard) => Some(Secret::generate_standard([7; 32])),
            Some(_) => Some(secret()),
            None => None,
        };
        let credentials = Credentials {
            secret,
            ..Credentials::default()
        };
        let sent = signer::test(&settings, &credentials, id(), now()).unwrap();
        let body = String::from_utf8(sent.body.to_vec()).unwrap();
        all.push_str(&format!("{}: {body}\n", profile.name));
    }
    insta::assert_snapshot!(all, @r#"
    mars: {"type":"webhook.test","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","sentAt":"2026-01-31T12:30:00.000+00:00"}
    insightarc: {"type":"webhook.test","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","sentAt":"2026-01-31T12:30:00.000+00:00"}
    smartech: data=%7B%22panel%22%3A%5B%7B%22webhook_name%22%3A%22webhook.test%22%2C%22event_params%22%3A%7B%7D%2C%22custom_params%22%3A%7B%7D%2C%22att_params%22%3A%7B%7D%7D%5D%7D
    nudge: {"event":"webhook.test","payload":{"rewards":[]}}
    standard: {"type":"webhook.test","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","sentAt":"2026-01-31T12:30:00.000+00:00"}
    github: {"type":"webhook.test","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","sentAt":"2026-01-31T12:30:00.000+00:00"}
    shopify: {"type":"webhook.test","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","sentAt":"2026-01-31T12:30:00.000+00:00"}
    stripe: {"type":"webhook.test","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","sentAt":"2026-01-31T12:30:00.000+00:00"}
    "#);
}

#[test]
fn a_custom_activity_gets_what_is_the_subscriptions_own() {
    let payload = Bytes::from_static(
        br#"{"msgid":"103","webhook_name":null,"event_params":{"activity_id":103,"asset_name":"x"}}"#,
    );
    let mut draft = draft("smartech");
    let sent = |draft: &Draft, event_type| {
        let items = [item(event_type, &payload)];
        let sent = signer::request(&checked(draft), &Credentials::default(), &items, now());
        decoded(&sent.unwrap().body)
    };
    insta::assert_snapshot!(sent(&draft, "custom_activity"), @r#"{"panel":[{"msgid":"103","webhook_name":"orders","event_params":{"activity_id":103,"asset_name":"orders","asset_id":"019c1408-1540-7303-8303-030303030303"}}]}"#);
    let chosen = [
        ("label", "My \"hook\""),
        ("name", "Diwali & more"),
        ("id", "17"),
    ];
    draft
        .profile_settings
        .extend(chosen.map(|(name, value)| (name.to_owned(), value.to_owned())));
    insta::assert_snapshot!(sent(&draft, "custom_activity"), @r#"{"panel":[{"msgid":"103","webhook_name":"My \"hook\"","event_params":{"activity_id":103,"asset_name":"Diwali & more","asset_id":"17"}}]}"#);
    assert_eq!(
        sent(&draft, "channel_activity"),
        format!(r#"{{"panel":[{}]}}"#, String::from_utf8_lossy(&payload))
    );
}

#[test]
fn a_subscription_gets_the_fields_that_it_chose() {
    let mut draft = draft("mars");
    draft.fields = vec!["type".into(), "predictions.name".into()];
    let body =
        br#"{"type":"x","predictions":[{"name":"a","discount":30},{"discount":1}],"typed":1}"#;
    let sent = request(&checked(&draft), Some(secret()), body).unwrap();
    assert_eq!(sent.body, r#"{"type":"x","predictions":[{"name":"a"}]}"#);
    assert_eq!(received(&settings(), &secret(), &sent, now()), Ok(()));
}

#[test]
fn while_a_secret_is_replaced_both_sign_where_the_header_has_room() {
    let old = Secret::new("an-older-secret-of-this-shop-77").unwrap();
    let credentials = Credentials {
        secret: Some(secret()),
        retiring: vec![Retiring {
            secret: old.clone(),
            until: Timestamp::from_millis(now().as_millis() + 1),
        }],
        headers: Vec::new(),
    };
    let payload = Bytes::from_static(BODY);
    for (profile, both) in [("stripe", true), ("github", false)] {
        let settings = of(profile);
        let items = [item("nudge", &payload)];
        let sent = |at| signer::request(&settings, &credentials, &items, at).unwrap();
        assert_eq!(received(&settings, &secret(), &sent(now()), now()), Ok(()));
        let by_old = received(&settings, &old, &sent(now()), now());
        assert_eq!(by_old.is_ok(), both, "{profile}");
        let later = Timestamp::from_millis(now().as_millis() + 1);
        assert!(received(&settings, &old, &sent(later), later).is_err());
    }
}

#[test]
fn a_pair_signs_with_its_private_key_and_is_verified_with_the_public_one() {
    let seed = base64(&[9; 32]);
    let private = Secret::of(KeyKind::Standard, &format!("whsk_{seed}")).unwrap();
    let public = signer::public_key(&private).unwrap();
    let settings = of("standard");
    assert_eq!(settings.accepts(Some(&private)), Ok(()));
    let sent = request(&settings, Some(private.clone()), BODY).unwrap();
    assert!(
        header(&sent, "webhook-signature")
            .unwrap()
            .starts_with("v1a,")
    );
    let public = Secret::of(KeyKind::Standard, &public).unwrap();
    assert_eq!(received(&settings, &public, &sent, now()), Ok(()));
    assert_eq!(settings.accepts(Some(&public)).unwrap_err().code, "bad_key");
    let other = Secret::of(KeyKind::Standard, &format!("whsk_{}", base64(&[8; 32]))).unwrap();
    let by_other = received(&settings, &other, &sent, now());
    assert_eq!(by_other, Err(Rejected::Mismatch(None)));
}

/// As Standard Webhooks says, and not by what verifies here.
#[test]
fn a_pair_signs_the_id_the_time_and_the_body() {
    use ed25519_dalek::{Signature, Signer as _, SigningKey};

    let private = format!("whsk_{}", base64(&[9; 32]));
    let private = Secret::of(KeyKind::Standard, &private).unwrap();
    let sent = request(&of("standard"), Some(private), BODY).unwrap();
    let given = |name: &str| header(&sent, name).unwrap();
    let signed = [
        given("webhook-id").as_bytes(),
        b".",
        given("webhook-timestamp").as_bytes(),
        b".",
        BODY,
    ]
    .concat();
    let expected: Signature = SigningKey::from_bytes(&[9; 32]).sign(&signed);
    let expected = format!("v1a,{}", base64(&expected.to_bytes()));
    assert_eq!(given("webhook-signature"), expected);
    assert!(!given("webhook-id").is_empty());
}

#[test]
fn two_events_in_a_form_are_a_list() {
    let payloads = [
        Bytes::from_static(br#"{"a":1}"#),
        Bytes::from_static(br#"{"b":2}"#),
    ];
    let items: Vec<_> = (payloads.iter())
        .map(|payload| item("channel_activity", payload))
        .collect();
    let sent = signer::request(&of("smartech"), &Credentials::default(), &items, now()).unwrap();
    let panel = of("smartech").profile_settings["panel"].clone();
    let expected = format!(r#"{{"{panel}":[{{"a":1}},{{"b":2}}]}}"#);
    assert_eq!(decoded(&sent.body), expected);
}

#[test]
fn where_the_url_is_signed_it_has_to_be_told() {
    let settings = of("insightarc");
    let sent = request(&settings, Some(secret()), BODY).unwrap();
    let headers: Vec<_> = (sent.headers.iter())
        .map(|header| (&*header.name, header.value.as_bytes()))
        .collect();
    let judged = |url| {
        let incoming = Incoming {
            headers: &headers,
            body: &sent.body,
            url,
            now: None,
        };
        signer::verify(&settings.profile, Some(&secret()), &incoming)
    };
    assert_eq!(judged(None), Err(Rejected::NoUrl));
    assert_eq!(judged(Some(settings.url.given())), Ok(()));
}

/// A receiver may get signatures of keys that it does not know beside its own.
#[test]
fn one_signature_of_several_is_enough_and_none_is_told_by_what_is_wrong_with_it() {
    let settings = of("standard");
    let secret = Secret::generate_standard([7; 32]);
    let sent = request(&settings, Some(secret.clone()), BODY).unwrap();
    let good = header(&sent, "webhook-signature").unwrap().to_owned();
    let judged = |value: &str| {
        let mut sent = sent.clone();
        for header in &mut sent.headers {
            if header.name == "webhook-signature" {
                header.value = value.to_owned().into();
            }
        }
        received(&settings, &secret, &sent, now())
    };
    assert_eq!(judged(&good), Ok(()));
    assert_eq!(judged(&format!("v2,whatever {good}")), Ok(()));
    assert_eq!(judged(&format!("{good} v1,short")), Ok(()));
    let code = |value: &str| judged(value).unwrap_err().code();
    assert_eq!(code("v1,short v1,short"), "signature_length");
}

#[test]
fn a_rejection_says_what_to_do_where_that_is_known() {
    let hint = |rejected: Rejected| rejected.hint().map(std::borrow::Cow::into_owned);
    let told = [
        (
            Rejected::Mismatch(None),
            "compare the secret with the one of the subscription",
        ),
        (Rejected::NoUrl, "give the URL exactly as it was registered"),
        (
            Rejected::TooOld,
            "set the clock; to judge an old request say when it came",
        ),
        (
            Rejected::TooNew,
            "set the clock; to judge an old request say when it came",
        ),
        (
            Rejected::Mismatch(Some(Change::NewlineAdded)),
            "take the body's bytes as they came, without adding a line break",
        ),
        (
            Rejected::Mismatch(Some(Change::Reserialised)),
            "verify the body's bytes as they came, before any parser reads them",
        ),
    ];
    for (rejected, expected) in told {
        assert_eq!(hint(rejected).as_deref(), Some(expected));
    }
    assert_eq!(hint(Rejected::NotHex), None);
}

#[test]
fn a_declared_form_is_tried_out_with_its_panel() {
    let form = Declaration {
        encoding: Some("form".into()),
        signature_header: Some("X-Acme-Signature".into()),
        ..Declaration::default()
    };
    let declared = form.profile("acme").map(|profile| profile.settings.len());
    assert_eq!(declared, Ok(1));
}

#[test]
fn what_is_no_key_of_standard_webhooks_is_refused() {
    for text in [
        "whsec_",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        &format!("whsec_{}", base64(&[1; 23])),
        &format!("whsec_{}", base64(&[1; 65])),
        &format!("whsec_{}!", base64(&[1; 32])),
        &format!("whsec_{}", base64(&[1; 32])),
        &format!("whsk_{}", base64(&[1; 31])),
        &format!("whsk_{}", base64(&[1; 64])),
        SECRET,
    ] {
        let refused = Secret::of(KeyKind::Standard, text).unwrap_err();
        assert!(
            ["bad_key", "secret_known", "secret_low_entropy"].contains(&refused.code),
            "{text}"
        );
        assert_eq!(refused.field.as_deref(), Some("secret"));
    }
}

#[test]
fn a_timestamp_is_judged_by_the_receivers_clock() {
    let settings = of("stripe");
    let sent = request(&settings, Some(secret()), BODY).unwrap();
    let after = |seconds: i64| Timestamp::from_millis(now().as_millis() + 1_000 * seconds);
    let judged = |at| received(&settings, &secret(), &sent, at);
    assert_eq!(judged(after(300)), Ok(()));
    assert_eq!(judged(after(301)), Err(Rejected::TooOld));
    assert_eq!(judged(after(-300)), Ok(()));
    assert_eq!(judged(after(-301)), Err(Rejected::TooNew));
}

#[test]
fn a_time_in_another_spelling_and_a_header_twice_are_rejected() {
    let settings = of("standard");
    let secret = Secret::generate_standard([7; 32]);
    let sent = request(&settings, Some(secret.clone()), BODY).unwrap();
    type Headers = Vec<(String, String)>;
    let with = |change: &dyn Fn(&mut Headers)| {
        let mut headers: Headers = (sent.headers.iter())
            .map(|header| (header.name.to_string(), header.value.to_string()))
            .collect();
        change(&mut headers);
        let headers: Vec<_> = (headers.iter())
            .map(|(name, value)| (&**name, value.as_bytes()))
            .collect();
        let incoming = Incoming {
            headers: &headers,
            body: &sent.body,
            url: None,
            now: Some(now()),
        };
        signer::verify(&settings.profile, Some(&secret), &incoming)
    };
    let time = |value: &str| {
        with(&|headers| {
            let time = headers
                .iter_mut()
                .find(|(name, _)| name == "webhook-timestamp");
            time.unwrap().1 = value.to_owned();
        })
    };
    assert_eq!(time("1769862600"), Ok(()));
    for other in [
        "+1769862600",
        "01769862600",
        " 1769862600",
        "1769862600.0",
        "-1",
        "",
        "x",
    ] {
        assert_eq!(time(other), Err(Rejected::BadTimestamp), "{other}");
    }
    let twice = |name: &str| {
        with(&|headers| headers.insert(0, (name.to_owned(), "x".to_owned())))
            .map_err(|rejected| rejected.code())
    };
    for name in ["webhook-id", "Webhook-Timestamp", "webhook-signature"] {
        assert_eq!(twice(name), Err("header_twice"), "{name}");
    }
    assert_eq!(twice("x-other"), Ok(()));
}

#[test]
fn the_test_event_says_what_it_is_whatever_fields_are_chosen() {
    let mut draft = draft("mars");
    draft.fields = vec!["content.title".into()];
    let credentials = Credentials::default();
    let sent = signer::test(&checked(&draft), &credentials, id(), now()).unwrap();
    let body = String::from_utf8(sent.body.to_vec()).unwrap();
    assert!(body.starts_with(r#"{"type":"webhook.test""#), "{body}");
}

#[test]
fn an_overlap_has_bounds() {
    let settings = of("stripe");
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let none = Credentials::default();
    let refusal = |credentials: &Credentials, until| {
        let accepted = settings.accepts_overlap(credentials, Some(until), now());
        accepted.map_err(|error| error.code)
    };
    assert_eq!(refusal(&none, now() + 30 * day), Ok(()));
    assert_eq!(refusal(&none, now() + 31 * day), Err("overlap_too_long"));
    let retiring = |until: Timestamp| Retiring {
        secret: secret(),
        until,
    };
    let mut many = Credentials {
        retiring: vec![retiring(now() + day); 4],
        ..Credentials::default()
    };
    assert_eq!(refusal(&many, now() + day), Err("too_many_secrets"));
    many.retiring[0].until = now();
    assert_eq!(refusal(&many, now() + day), Ok(()), "one has retired");
    let one = of("mars").accepts_overlap(&none, Some(now() + day), now());
    assert_eq!(one.unwrap_err().code, "one_signature");
    assert_eq!(of("mars").accepts_overlap(&none, None, now()), Ok(()));
}

#[test]
fn what_a_profile_asks_for_has_to_be_there() {
    let fits = |profile: &str, credentials: &Credentials| {
        of(profile).fits(credentials).map_err(|error| error.code)
    };
    let none = Credentials::default();
    assert_eq!(fits("mars", &none), Ok(()));
    assert_eq!(fits("nudge", &none), Err("secret_required"));
    assert_eq!(fits("nudge", &secret().into()), Ok(()));
    assert_eq!(fits("standard", &secret().into()), Err("bad_key"));
    assert_eq!(fits("smartech", &secret().into()), Err("secret_useless"));
    let mut bare = of("smartech");
    bare.profile_settings.clear();
    assert_eq!(bare.fits(&none).unwrap_err().code, "missing_setting");
}

#[test]
fn who_wants_it_gets_a_traceparent_of_the_event() {
    let mut draft = draft("mars");
    draft.traceparent = true;
    let sent = request(&checked(&draft), None, BODY).unwrap();
    let value = header(&sent, "traceparent").unwrap();
    let parts: Vec<&str> = value.split('-').collect();
    assert_eq!(parts[..2], ["00", "019c1408154072028202020202020202"]);
    assert_eq!((parts[2].len(), parts[3], parts.len()), (16, "00", 4));
}

#[test]
fn headers_of_its_own_go_out_and_are_not_shown() {
    let credentials = Credentials {
        headers: vec![
            OwnHeader::basic("shop", "a:b").unwrap(),
            OwnHeader::new("X-Shop-Token", "t0ken").unwrap(),
        ],
        ..Credentials::default()
    };
    let payload = Bytes::from_static(b"{}");
    let items = [item("channel_activity", &payload)];
    let sent = signer::request(&of("smartech"), &credentials, &items, now()).unwrap();
    assert_eq!(header(&sent, "authorization"), Some("Basic c2hvcDphOmI="));
    assert_eq!(header(&sent, "x-shop-token"), Some("t0ken"));
    let debugged = format!("{sent:?} {credentials:?}");
    assert!(
        !debugged.contains("c2hvcDphOmI") && !debugged.contains("t0ken"),
        "{debugged}"
    );
    let own = |name: &str| {
        let header = sent.headers.iter().find(|header| header.name == name);
        header.expect("it is sent")
    };
    assert_eq!(own("x-shop-token").shown(), "[REDACTED]");
    let kind = own("content-type");
    assert_eq!(kind.shown(), "application/x-www-form-urlencoded");
    let written = format!("{kind:?}");
    assert_eq!(written, "content-type: application/x-www-form-urlencoded");
}

#[test]
fn headers_that_requests_live_by_are_refused() {
    let refusal = |name: &str, value: &str| OwnHeader::new(name, value).unwrap_err().code;
    for name in [
        "Host",
        "Content-Length",
        "Content-Type",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Via",
        "Proxy-Authorization",
        "User-Agent",
        "Accept-Encoding",
    ] {
        assert_eq!(refusal(name, "x"), "reserved_header", "{name}");
    }
    for name in ["", ":path", "X Y", "x\r\ny", "\u{dc}", &"x".repeat(10_240)] {
        assert_eq!(refusal(name, "x"), "bad_header_name", "{name:?}");
    }
    for value in [
        "",
        " x",
        "x ",
        "a\r\nb",
        "a\0b",
        "\u{e9}",
        &"x".repeat(5_000),
    ] {
        assert_eq!(refusal("x-y", value), "bad_header_value", "{value:?}");
    }
    let own = |name| vec![OwnHeader::new(name, "x").unwrap()];
    for (profile, name) in [
        ("standard", "webhook-signature"),
        ("standard", "webhook-id"),
        ("mars", "x-mars-signature"),
        ("nudge", "x-idempotent-key"),
        ("mars", "traceparent"),
    ] {
        let refused = of(profile).accepts_headers(&own(name)).unwrap_err();
        assert_eq!(refused.code, "reserved_header", "{name}");
    }
    assert_eq!(of("mars").accepts_headers(&own("webhook-id")), Ok(()));
    let twice = [own("x-a"), own("x-a")].concat();
    assert_eq!(
        of("mars").accepts_headers(&twice).unwrap_err().code,
        "header_twice"
    );
}

#[test]
fn a_declared_profile_that_cannot_work_is_refused_with_a_reason() {
    let good = Declaration {
        signature_header: Some("X-Acme-Signature".into()),
        signed: Some("id.timestamp.body".into()),
        algorithm: Some("hmac-sha512".into()),
        digest: Some("base64".into()),
        headers: vec![
            ("X-Acme-Id".into(), "{id}".into()),
            ("X-Acme-Time".into(), "{timestamp}".into()),
            ("X-Acme-Source".into(), "tharsis".into()),
        ],
        ..Declaration::default()
    };
    assert!(good.profile("acme").is_ok());
    let refusal = |change: &dyn Fn(&mut Declaration)| {
        let mut bad = good.clone();
        change(&mut bad);
        let error = bad.profile("acme").unwrap_err();
        format!("{}: {error}\n", error.code)
    };
    let refusals = [
        refusal(&|d| d.algorithm = Some("md5".into())),
        refusal(&|d| drop(d.headers.remove(0))),
        refusal(&|d| drop(d.headers.remove(1))),
        refusal(&|d| d.signature_header = None),
        refusal(&|d| d.signature_header = Some("Host".into())),
        refusal(&|d| d.headers.push(("x-acme-id".into(), "1".into()))),
        refusal(&|d| d.prefix = Some("a b".into())),
        refusal(&|d| d.timestamp_prefix = Some("t=".into())),
        refusal(&|d| d.separator = Some("ab".into())),
        refusal(&|d| d.timeout = Some("2m".into())),
        refusal(&|d| d.payload_limit = Some(1 << 20)),
        refusal(&|d| d.events = vec!["a b".into()]),
        refusal(&|d| d.batch_items = Some(2)),
        refusal(&|d| {
            d.batch_items = Some(2);
            d.encoding = Some("form".into());
        }),
        refusal(&|d| d.content_type = Some("text\nplain".into())),
        refusal(&|d| {
            d.signed = None;
            d.timestamp_prefix = Some("t=".into());
            d.separator = Some(",".into());
        }),
        refusal(&|d| {
            d.key = Some("standard".into());
            d.separator = Some(",".into());
        }),
        refusal(&|d| d.headers.push(("Authorization".into(), "Bearer x".into()))),
    ];
    insta::assert_snapshot!(refusals.concat(), @r#"
    unknown_choice: profiles.acme.algorithm: is no such choice (choose one of: hmac-sha256, hmac-sha1, hmac-sha512)
    profile_unverifiable: profiles.acme: no receiver could verify this: what is signed beside the body is in no header (send along in headers what is signed beside the body: {id}, {timestamp})
    profile_unverifiable: profiles.acme: no receiver could verify this: what is signed beside the body is in no header (send along in headers what is signed beside the body: {id}, {timestamp})
    useless_field: profiles.acme.signed: is of no use without a signature_header
    reserved_header: profiles.acme.signature_header: is a header that requests live by (take a name of your own: X-Shop-Token)
    header_twice: profiles.acme.headers.x-acme-id: is there twice
    bad_prefix: profiles.acme.prefix: is not at most 64 visible ASCII characters
    missing_field: profiles.acme.separator: is needed between the time and the signature
    bad_separator: profiles.acme.separator: is none of: space, comma, semicolon, bar
    out_of_range: profiles.acme.timeout: is not between 100ms and 1m
    out_of_range: profiles.acme.payload_limit: is not between 1024 and 262144
    bad_event_type: profiles.acme.events[0]: is no event type (1 to 128 letters, digits, dots, underscores or hyphens)
    batch_without_list: profiles.acme.batch_items: is for forms: their panel holds a list, the other encodings hold one payload
    batch_of_one_event: profiles.acme.batch_items: cannot be, where a header or the signature is of a single event
    bad_header_value: profiles.acme.content_type: is no value of a header (1 to 4096 visible ASCII characters, without a space at either end)
    useless_field: profiles.acme.timestamp_prefix: is of no use where the time is not signed (sign it too: signed = "timestamp.body")
    bad_separator: profiles.acme.separator: is part of what keys of Standard Webhooks sign
    reserved_header: profiles.acme.headers.Authorization: is a header that subscriptions have of their own (give credentials to the subscription: --basic-user, --bearer-file)
    "#);
    let named = |name| good.profile(name).map_err(|e| e.code);
    assert_eq!(named("Acme").unwrap_err(), "bad_profile_name");
    assert_eq!(named("mars").unwrap_err(), "profile_taken");
}

#[test]
fn every_profile_is_one_that_could_have_been_declared() {
    for profile in Profiles::default().iter() {
        let names: BTreeMap<_, _> = (profile.headers.iter()).map(|h| (&h.name, ())).collect();
        assert_eq!(names.len(), profile.headers.len(), "{}", profile.name);
        assert!(profile.batch.is_none() || !profile.is_of_one_event());
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};

    BASE64_STANDARD.encode(bytes)
}

/// The JSON of a form.
fn decoded(body: &[u8]) -> String {
    let form = body.strip_prefix(b"data=").expect("one field");
    percent_encoding::percent_decode(form)
        .decode_utf8()
        .expect("text")
        .into_owned()
}
