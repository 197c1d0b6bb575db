//! What an engine hands over: events of Mars as they are, anything in an envelope.

use std::fmt::Write as _;

use tharsis_core::{
    ClientId, Timestamp,
    event::{Event, IdempotencyKey, MAX_PAYLOAD},
};

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";
const NUDGE: &str = r#"{"nudgeUserId":"0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11","type":"nudge","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{"userId":"3594918"},"status":"pristine","trigger":"time","channel":"push","nudgeQueueDateTime":"2020-01-24T11:59:59.546+00:00","nudgeExpiryDateTime":"2020-01-24T13:59:59.546+00:00","content":{"title":"a","body":"b"}}"#;

#[test]
fn an_envelope_says_what_the_outbox_needs_and_never_goes_out() {
    let event = parse(&format!(
        r#"{{"type":"order","client":"{CLIENT}","payload":{{"drop_proba": 0.950, "2":2, "1":1}},"key":"order-7",
            "campaign":"spring","recipient":"3594918","not_before":"2026-01-01T00:00:00Z","expires_at":"2026-01-02T00:00:00+01:00"}}"#
    ));
    assert_eq!(event.event_type().as_str(), "order");
    assert_eq!(event.client().to_string(), CLIENT);
    assert_eq!(event.payload(), r#"{"1":1,"2":2,"drop_proba":0.95}"#);
    assert_eq!(event.key().map(IdempotencyKey::as_str), Some("order-7"));
    assert_eq!(event.campaign(), Some("spring"));
    assert_eq!(event.recipient(), Some("3594918"));
    assert_eq!(event.not_before(), Some(time("2026-01-01T00:00:00Z")));
    assert_eq!(event.expires_at(), Some(time("2026-01-01T23:00:00Z")));
}

#[test]
fn a_mars_event_says_the_same_in_an_envelope() {
    let bare = parse(NUDGE);
    let enveloped = parse(&envelope("nudge", NUDGE, ""));
    assert_eq!(enveloped, bare);

    let overruled = parse(&envelope(
        "nudge",
        NUDGE,
        r#","campaign":"spring","recipient":"7""#,
    ));
    assert_eq!(overruled.campaign(), Some("spring"));
    assert_eq!(overruled.recipient(), Some("7"));
    assert_eq!(overruled.payload(), bare.payload());
}

#[test]
fn the_earlier_expiry_counts() {
    let at = |time: &str| {
        parse(&envelope(
            "nudge",
            NUDGE,
            &format!(r#","expires_at":"{time}""#),
        ))
    };
    assert_eq!(
        at("2020-01-24T12:30:00Z").expires_at(),
        Some(time("2020-01-24T12:30:00Z"))
    );
    assert_eq!(
        at("2030-01-01T00:00:00Z").expires_at(),
        Some(time("2020-01-24T13:59:59.546Z"))
    );
}

#[test]
fn a_mars_event_may_hold_a_field_that_looks_like_an_envelopes() {
    let extended = NUDGE.replacen("{", r#"{"payload":{"a":1},"client":7,"#, 1);
    assert_eq!(parse(&extended).payload(), extended.as_str());
}

#[test]
fn what_is_no_event_is_refused_by_name() {
    let envelope_of =
        |fields: &str| format!(r#"{{"type":"order","client":"{CLIENT}","payload":{{}},{fields}}}"#);
    let other = "36011017-0e00-4e29-a054-7a1fbb8b60a2";
    let refused = [
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"type":7}"#.to_owned(),
        r#"{"type":"a b"}"#.to_owned(),
        r#"{"type":"order","drop_proba":0.95}"#.to_owned(),
        r#"{"type":"nudge"}"#.to_owned(),
        r#"{"type":"order","payload":{}}"#.to_owned(),
        r#"{"type":"order","client":"acme","payload":{}}"#.to_owned(),
        format!(r#"{{"type":"order","client":"{CLIENT}","payload":[]}}"#),
        format!(r#"{{"type":"order","clientId":"{CLIENT}","payload":{{}}}}"#),
        envelope_of(r#""idempotency_key":"1""#),
        envelope_of(r#""key":"""#),
        envelope_of(r#""key":"a b""#),
        envelope_of(r#""key":7"#),
        envelope_of(r#""campaign":"""#),
        envelope_of(r#""campaign":null"#),
        envelope_of(r#""recipient":"a\nb""#),
        envelope_of(r#""expires_at":"soon""#),
        envelope_of(r#""not_before":1"#),
        envelope_of(r#""not_before":"2026-01-01T00:00:00Z","expires_at":"2026-01-01T00:00:00Z""#),
        envelope("nudge", NUDGE, r#","not_before":"2020-01-24T14:00:00Z""#),
        envelope("nudge", &NUDGE.replace(CLIENT, other), ""),
        envelope("nudge", &NUDGE.replace(r#""type":"nudge","#, ""), ""),
        envelope("nudge", &NUDGE.replace(r#""nudge""#, r#""nudged""#), ""),
        envelope(
            "nudge",
            &NUDGE.replace(r#""channel":"push""#, r#""channel":7"#),
            "",
        ),
        envelope("order", r#"{"id":9007199254740993}"#, ""),
    ]
    .into_iter()
    .fold(String::new(), |mut told, text| {
        let error = Event::parse(text.as_bytes()).expect_err(&text);
        let _ = writeln!(told, "{} | {error}", error.code);
        told
    });
    insta::assert_snapshot!(refused, @r#"
    wrong_type | is an array, not an object
    missing_field | type: is missing
    wrong_type | type: is a number, not a string
    bad_event_type | type: is no event type (1 to 128 letters, digits, dots, underscores or hyphens)
    missing_field | payload: is missing (publish order in an envelope: {"type":"order","client":"…","payload":{…}})
    missing_field | nudgeUserId: is missing
    missing_field | client: is missing
    bad_uuid | client: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)
    wrong_type | payload: is an array, not an object
    unknown_field | clientId: is no field of an envelope (its fields are type, client, payload, key, campaign, recipient, expires_at, not_before)
    unknown_field | idempotency_key: is no field of an envelope (its fields are type, client, payload, key, campaign, recipient, expires_at, not_before)
    bad_idempotency_key | key: is not 1 to 255 visible ASCII characters
    bad_idempotency_key | key: is not 1 to 255 visible ASCII characters
    wrong_type | key: is a number, not a string
    empty | campaign: is empty
    wrong_type | campaign: is null (leave the field out)
    control_character | recipient: holds a control character
    bad_time | expires_at: is not a time as RFC 3339 writes it (write it like 2026-01-31T12:30:00.000+00:00)
    wrong_type | not_before: is a number, not a string
    expiry_before_queue | not_before: is not before the event expires
    expiry_before_queue | not_before: is not before the event expires
    client_mismatch | payload.clientId: is not the client it is published for
    missing_field | payload.type: is missing
    type_mismatch | payload.type: is not the type it is published as
    wrong_type | payload.channel: is a number, not a string
    number_out_of_range | payload.id: is an integer that JavaScript would read as another one (send it as a string)
    "#);
}

#[test]
fn types_are_names_and_keys_are_visible_ascii() {
    let type_of = |text: &str| tharsis_core::event::EventType::new(text).map_err(|e| e.code);
    for good in [
        "a",
        "reward.earned",
        "webhook.test",
        "A-1_b",
        &"x".repeat(128),
    ] {
        assert_eq!(type_of(good).unwrap().as_str(), good);
    }
    for bad in ["", " ", "a b", "a\nb", "\u{dc}nicode", &"x".repeat(129)] {
        assert_eq!(type_of(bad), Err("bad_event_type"));
    }
    let key_of = |text: &str| IdempotencyKey::new(text).map_err(|e| e.code);
    for bad in ["", " ", "a\tb", "\u{e9}", &"x".repeat(256)] {
        assert_eq!(key_of(bad), Err("bad_idempotency_key"));
    }
    assert!(key_of(&"~".repeat(255)).is_ok());
}

#[test]
fn a_payload_has_a_limit() {
    let of_size = |size: usize| {
        let padding = size - r#"{"p":""}"#.len();
        envelope(
            "order",
            &format!(r#"{{"p":"{}"}}"#, "x".repeat(padding)),
            "",
        )
    };
    assert_eq!(parse(&of_size(MAX_PAYLOAD)).payload().len(), MAX_PAYLOAD);
    let refused = Event::parse(of_size(MAX_PAYLOAD + 1).as_bytes()).unwrap_err();
    insta::assert_snapshot!(format!("{} | {refused}", refused.code), @"payload_too_large | payload: a body of 262145 bytes is over the limit of 262144");
}

#[test]
fn a_row_inserted_by_sql_is_frozen_like_any_other() {
    let client: ClientId = CLIENT.parse().unwrap();
    assert_eq!(
        Event::freeze("nudge", client, NUDGE.as_bytes()).unwrap(),
        parse(NUDGE)
    );
    let generic = Event::freeze("order", client, br#" {"a" : 1.0} "#).unwrap();
    assert_eq!(generic.payload(), r#"{"a":1}"#);

    let of = |event_type: &str, client: &str, payload: &str| {
        let error = Event::freeze(event_type, client.parse().unwrap(), payload.as_bytes());
        let error = error.unwrap_err();
        (error.code, error.field)
    };
    let other = "36011017-0e00-4e29-a054-7a1fbb8b60a2";
    assert_eq!(
        of("a b", CLIENT, "{}"),
        ("bad_event_type", Some("type".into()))
    );
    assert_eq!(of("order", CLIENT, "7"), ("wrong_type", None));
    assert_eq!(
        of("nudge", other, NUDGE),
        ("client_mismatch", Some("clientId".into()))
    );
}

#[test]
fn the_natural_key_tells_states_of_an_event_apart_and_nothing_else() {
    let first = parse(NUDGE).idempotency();
    assert!(!first.explicit);
    let same = parse(&NUDGE.replace(r#","type""#, r#" , "type""#)).idempotency();
    assert_eq!(same, first);
    let enveloped = parse(&envelope("nudge", NUDGE, r#","campaign":"spring""#)).idempotency();
    assert_eq!(enveloped, first);

    let read = parse(&NUDGE.replace("pristine", "read")).idempotency();
    assert_ne!(read.key, first.key);
    assert_ne!(read.payload, first.payload);

    let client: ClientId = CLIENT.parse().unwrap();
    let other: ClientId = "36011017-0e00-4e29-a054-7a1fbb8b60a2".parse().unwrap();
    let of = |event_type, client| {
        Event::freeze(event_type, client, b"{}")
            .unwrap()
            .idempotency()
    };
    assert_ne!(of("order", client).key, of("order", other).key);
    assert_ne!(of("order", client).key, of("orders", client).key);
}

#[test]
fn an_explicit_key_counts_within_its_client() {
    let of = |key: &str, payload: &str, client: &str| {
        Event::freeze("order", client.parse().unwrap(), payload.as_bytes())
            .unwrap()
            .with_key(IdempotencyKey::new(key).unwrap())
            .idempotency()
    };
    let first = of("order-7", "{}", CLIENT);
    assert!(first.explicit);
    assert_eq!(of("order-7", "{}", CLIENT), first);

    let conflict = of("order-7", r#"{"a":1}"#, CLIENT);
    assert_eq!(conflict.key, first.key);
    assert_ne!(conflict.payload, first.payload);

    assert_ne!(of("order-8", "{}", CLIENT).key, first.key);
    assert_ne!(
        of("order-7", "{}", "36011017-0e00-4e29-a054-7a1fbb8b60a2").key,
        first.key
    );
}

#[test]
fn digests_stay_what_they_are_for_the_rows_that_hold_them() {
    let natural = parse(NUDGE);
    let explicit = natural
        .clone()
        .with_key(IdempotencyKey::new("order-7").unwrap());
    let told = [natural, explicit].map(|event| {
        let idempotency = event.idempotency();
        format!(
            "{} {}\n",
            hex::encode(idempotency.key),
            hex::encode(idempotency.payload)
        )
    });
    insta::assert_snapshot!(told.concat(), @r"
    da3b3f0954ee1bd9443687756551b9a6 75e5877f7ca612ac01479e5b58b70dfe
    30bc0c111d412ca6de30dca545c73681 75e5877f7ca612ac01479e5b58b70dfe
    ");
}

fn parse(text: &str) -> Event {
    Event::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn envelope(event_type: &str, payload: &str, more: &str) -> String {
    format!(r#"{{"type":"{event_type}","client":"{CLIENT}","payload":{payload}{more}}}"#)
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}
