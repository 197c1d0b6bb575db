//! What an admin may register.

use std::time::Duration;

use proptest::prelude::*;
use tharsis_core::{
    Invalid,
    egress::Policy,
    event::EventType,
    profile::{MARS, Profiles, Requirement},
    secret::Secret,
    subscription::{Draft, MAX_IN_FLIGHT, Settings, State, name_key},
};

fn draft() -> Draft {
    Draft {
        client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".into(),
        name: "Orders of the day".into(),
        url: "https://Hooks.example.com/in?token=1".into(),
        ..Draft::default()
    }
}

fn smartech() -> Draft {
    Draft {
        profile: Some("smartech".into()),
        profile_settings: [("panel".to_owned(), "Shop".to_owned())].into(),
        ..draft()
    }
}

fn settings(draft: &Draft) -> Result<Settings, Invalid> {
    draft.settings(&Policy::default(), &Profiles::default())
}

fn refusal(change: impl FnOnce(&mut Draft)) -> String {
    let mut draft = draft();
    change(&mut draft);
    let e = settings(&draft).expect_err("this draft is wrong");
    format!("{}: {e}", e.code)
}

#[test]
fn what_is_left_out_takes_the_profiles_default() {
    let settings = settings(&draft()).expect("a good draft");
    assert_eq!(*settings.profile, MARS);
    assert_eq!(settings.payload_limit, 102_400);
    assert!(settings.fields.is_all());
    assert_eq!(settings.url.given(), "https://Hooks.example.com/in?token=1");
    assert_eq!(settings.events, []);
    assert_eq!(settings.content_type, "application/json");
    assert_eq!(settings.timeout, Duration::from_secs(3));
    assert_eq!(settings.retry.to_string(), "5s,1m,10m");
    assert_eq!(settings.max_in_flight, MAX_IN_FLIGHT);
}

#[test]
fn what_is_chosen_is_taken_and_can_be_typed_again() {
    let full = Draft {
        profile: Some("mars".into()),
        events: vec!["nudge".into(), "nudge".into()],
        content_type: Some("application/vnd.shop.v1+json; charset=utf-8".into()),
        timeout: Some("1s500ms".into()),
        retry: Some("none".into()),
        max_in_flight: Some(1),
        ..draft()
    };
    let first = settings(&full).expect("a good draft");
    assert_eq!(first.events, [EventType::new("nudge").expect("a type")]);
    assert_eq!(first.timeout, Duration::from_millis(1_500));
    assert_eq!(settings(&Draft::from(&first)), Ok(first));

    let mut full = smartech();
    full.batch_items = Some(7);
    full.linger = Some("2s".into());
    full.payload_limit = Some(50_000);
    full.fields = vec![
        "event_params.foreignkey".into(),
        "msgid".into(),
        "msgid".into(),
    ];
    full.profile_settings
        .insert("label".into(), "Activity".into());
    full.traceparent = true;
    full.filter = Some(r#"event.channel == "sms""#.into());
    let first = settings(&full).expect("a good draft");
    assert_eq!(first.fields.to_string(), "event_params.foreignkey, msgid");
    assert_eq!(settings(&Draft::from(&first)), Ok(first));
}

#[test]
fn the_limits_of_a_documented_sender_are_lowered_never_raised() {
    let refused = |profile: &str, change: &dyn Fn(&mut Draft)| {
        let mut draft = if profile == "smartech" {
            smartech()
        } else {
            draft()
        };
        draft.profile = Some(profile.into());
        change(&mut draft);
        settings(&draft).map_or_else(|e| e.to_string(), |_| "taken".into())
    };
    assert_eq!(
        refused("nudge", &|d| d.payload_limit = Some(2_048)),
        "taken"
    );
    assert_eq!(refused("nudge", &|d| d.retry = Some("1s".into())), "taken");
    insta::assert_snapshot!(refused("nudge", &|d| d.payload_limit = Some(4_097)), @"payload_limit: is not between 1024 and 4096 (leave it out for 4096)");
    insta::assert_snapshot!(refused("nudge", &|d| d.retry = Some("1s,1s,1s,1s".into())), @"retry: has more than 3, the most of the profile nudge");
    insta::assert_snapshot!(refused("nudge", &|d| d.timeout = Some("4s".into())), @"timeout: is not between 100ms and 3s, the profile's (a receiver that needs longer should answer first and work afterwards)");
    insta::assert_snapshot!(refused("smartech", &|d| d.batch_items = Some(101)), @"batch_items: is not between 1 and 100 (leave it out for 100)");
    insta::assert_snapshot!(refused("smartech", &|d| d.linger = Some("2m".into())), @"linger: is longer than 1m");
    insta::assert_snapshot!(refused("mars", &|d| d.batch_items = Some(1)), @"batch_items: is of no use: the profile mars sends one event a request");
    insta::assert_snapshot!(refused("smartech", &|d| d.profile_settings.clear()), @"profile_settings.panel: is required by the profile smartech (give it with --set panel=…)");
    insta::assert_snapshot!(refused("smartech", &|d| drop(d.profile_settings.insert("hue".into(), "x".into()))), @"profile_settings.hue: the profile smartech has no such setting (choose among: panel, label, name, id)");
    insta::assert_snapshot!(refused("mars", &|d| drop(d.profile_settings.insert("panel".into(), "x".into()))), @"profile_settings.panel: the profile mars has no such setting (leave it out: it has none)");
    insta::assert_snapshot!(refused("mars", &|d| d.fields = vec!["type".into(), "a..b".into()]), @"fields[1]: is no path of a field (write the names on the way to it, with dots: content.title)");
}

#[test]
fn every_refusal_names_the_field_and_what_to_do() {
    insta::assert_snapshot!(refusal(|d| d.client = "36011017".into()), @"bad_uuid: client: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)");
    insta::assert_snapshot!(refusal(|d| d.name = "  ".into()), @"empty: name: is empty");
    insta::assert_snapshot!(refusal(|d| d.url = "http://hooks.example.com/".into()), @"scheme_not_https: url: the URL is not an https:// URL (serve the receiver over HTTPS and give the whole URL: https://host/path)");
    insta::assert_snapshot!(refusal(|d| d.profile = Some("moon".into())), @"unknown_profile: profile: there is no such profile (choose one of: mars, insightarc, smartech, nudge, standard, github, shopify, stripe)");
    insta::assert_snapshot!(refusal(|d| d.events = vec!["nudge".into(), "order".into()]), @"unknown_event_type: events[1]: the profile mars has no event of this type (choose among: product_discount_recommendation, nudge)");
    insta::assert_snapshot!(refusal(|d| d.events = vec!["a b".into()]), @"bad_event_type: events[0]: is no event type (1 to 128 letters, digits, dots, underscores or hyphens)");
    insta::assert_snapshot!(refusal(|d| d.content_type = Some("text/plain".into())), @"bad_content_type: content_type: is no media type of what the profile sends (use application/json, or a type that ends in +json)");
    insta::assert_snapshot!(refusal(|d| d.timeout = Some("3001ms".into())), @"timeout_out_of_range: timeout: is not between 100ms and 3s, the profile's (a receiver that needs longer should answer first and work afterwards)");
    insta::assert_snapshot!(refusal(|d| d.timeout = Some("99ms".into())), @"timeout_out_of_range: timeout: is not between 100ms and 3s, the profile's (a receiver that needs longer should answer first and work afterwards)");
    insta::assert_snapshot!(refusal(|d| d.timeout = Some("3".into())), @"bad_duration: timeout: is no length of time (write a number and its unit: 500ms, 3s, 1m30s, 24h)");
    insta::assert_snapshot!(refusal(|d| d.retry = Some("5s,1".into())), @"bad_duration: retry[1]: is no length of time (write a number and its unit: 500ms, 3s, 1m30s, 24h)");
    insta::assert_snapshot!(refusal(|d| d.max_in_flight = Some(0)), @"out_of_range: max_in_flight: is not between 1 and 1024 (leave it out for 8)");
}

#[test]
fn only_media_types_of_json_are_taken() {
    let taken = |text: &str| {
        let mut draft = draft();
        draft.content_type = Some(text.into());
        settings(&draft).is_ok()
    };
    for good in [
        "application/json",
        "Application/JSON",
        "text/json",
        "application/json; charset=utf-8",
        "application/cloudevents+json",
    ] {
        assert!(taken(good), "{good}");
    }
    for bad in [
        "",
        "json",
        "/json",
        "application/",
        "application/jsonp",
        "image/json",
        "application/json;",
        "application/json; charset",
        "application/json\r\nx: y",
        "application/json, text/json",
        "\u{e9}/x+json",
        "+json",
        "application/json; a=\"b",
    ] {
        assert!(!taken(bad), "{bad:?}");
    }
    assert!(!taken(&format!("application/{}+json", "x".repeat(200))));
}

#[test]
fn a_name_is_as_long_as_its_characters() {
    let named = |n: usize| {
        settings(&Draft {
            name: "\u{fc}".repeat(n),
            ..draft()
        })
        .map_err(|e| e.code)
    };
    assert!(named(128).is_ok());
    assert_eq!(named(129).unwrap_err(), "too_long");
}

#[test]
fn names_that_look_alike_share_a_key() {
    for (a, b) in [
        ("Orders", "ORDERS"),
        ("Caf\u{e9}", "CAFE\u{301}"),
        ("STRASSE", "stra\u{df}e"),
        ("\u{3a3}\u{391}\u{3a3}", "\u{3c3}\u{3b1}\u{3c2}"),
        // Folding before composing would see the marks in another order.
        ("\u{3b1}\u{345}\u{301}", "\u{1fb4}"),
        ("a  b ", "a b"),
    ] {
        assert_eq!(name_key(a), name_key(b), "{a} {b}");
    }
    assert_ne!(name_key("orders 1"), name_key("orders 2"));
    assert_ne!(name_key("cafe"), name_key("caf\u{e9}"));
}

#[test]
fn a_profile_may_demand_a_secret() {
    let mut strict = MARS.clone();
    strict.secret = Requirement::Required;
    let secret = Secret::generate([1; 20]);
    let relaxed = settings(&draft()).expect("a good draft");
    assert_eq!(relaxed.accepts(None), Ok(()));
    assert_eq!(relaxed.accepts(Some(&secret)), Ok(()));
    let strict = Settings {
        profile: strict.into(),
        ..relaxed
    };
    assert_eq!(strict.accepts(Some(&secret)), Ok(()));
    insta::assert_snapshot!(strict.accepts(None).unwrap_err(), @"secret: is required by the profile mars (give one, or have one generated)");
}

#[test]
fn a_state_is_a_word_and_a_reason() {
    let suspended = State::Suspended {
        reason: "http_410".into(),
    };
    for (state, word, reason) in [
        (State::Active, "active", None),
        (State::Paused, "paused", None),
        (suspended, "suspended", Some("http_410")),
    ] {
        assert_eq!((state.as_str(), state.reason()), (word, reason));
        assert_eq!(state.to_string(), word);
        assert_eq!(State::parse(word, reason), Some(state));
    }
    assert_eq!(State::parse("Active", None), None);
}

#[test]
fn an_order_is_by_something_and_says_what_a_dead_one_does() {
    let order = |order: &str, on_dead: Option<&str>| {
        settings(&Draft {
            order: Some(order.to_owned()),
            on_dead: on_dead.map(str::to_owned),
            ..draft()
        })
    };
    let told = |given: &str, on_dead| {
        let settings = order(given, on_dead).expect("it is right");
        let again = Draft::from(&settings);
        (again.order, again.on_dead)
    };
    let some = |by: &str, on_dead: &str| (Some(by.to_owned()), Some(on_dead.to_owned()));
    assert_eq!(told(" none ", None), (None, None));
    assert_eq!(told("none", Some("give_up")), (None, None));
    assert_eq!(told("strict", None), some("strict", "give_up"));
    assert_eq!(told("recipient", Some("hold")), some("recipient", "hold"));
    assert_eq!(
        told("key:order.id", Some("give_up")),
        some("key:order.id", "give_up")
    );
    for (by, on_dead, field, code) in [
        ("fifo", None, "order", "bad_order"),
        ("key:", None, "order", "bad_order"),
        ("key:a..b", None, "order", "bad_order"),
        ("key:a\u{7}", None, "order", "control_character"),
        ("strict", Some("drop"), "on_dead", "bad_on_dead"),
        ("none", Some("hold"), "on_dead", "order_missing"),
    ] {
        let refused = order(by, on_dead).expect_err("it is wrong");
        assert_eq!(
            (refused.field.as_deref(), refused.code),
            (Some(field), code),
            "{by}"
        );
    }
}

#[test]
fn a_key_is_the_same_number_for_ever() {
    use tharsis_core::order::{By, OrderKey};

    let field = By::Field("a.b".into());
    let key = |payload: &str| field.key(None, payload.as_bytes());
    assert_eq!(By::Strict.key(None, b"no JSON"), Some(OrderKey(0)));
    // The first eight bytes of the SHA-256 of `ann`.
    let ann = Some(OrderKey(0x4991_5e0d_7d4b_402e));
    assert_eq!(By::Recipient.key(Some("ann"), b"{}"), ann);
    assert_eq!(key(r#"{"a":{"b":"ann"}}"#), ann);
    assert_eq!(By::Recipient.key(None, b"{}"), None);
    assert_eq!(key(r#"{"a":{"b":7}}"#), key(r#"{"a":{"b":7.0}}"#));
    assert_eq!(key(r#"{"a":{"b":7}}"#), key(r#"{"a":{"b":"7"}}"#));
    assert_ne!(key(r#"{"a":{"b":true}}"#), key(r#"{"a":{"b":false}}"#));
    for without in [
        r#"{"a":{}}"#,
        r#"{"a":[{"b":1}]}"#,
        r#"{"a":{"b":null}}"#,
        r#"{"a":{"b":{}}}"#,
        "{",
    ] {
        assert_eq!(key(without), None, "{without}");
    }
}

proptest! {
    #[test]
    fn no_draft_makes_it_panic(
        client in ".{0,40}", name in ".{0,140}", url in ".{0,60}", text in ".{0,30}", n: u32,
    ) {
        let random = Draft {
            client: client.clone(), name, url, profile: Some(text.clone()), events: vec![text.clone()],
            content_type: Some(text.clone()), timeout: Some(text.clone()), retry: Some(text.clone()), retry_window: Some(text.clone()), breaker: Some(text.clone()), suspend_after: Some(text.clone()), alert_mail: vec![text.clone()], alert_every: Some(text.clone()), max_in_flight: Some(n), rate: Some(text.clone()), order: Some(text.clone()), on_dead: Some(text.clone()),
            payload_limit: usize::try_from(n).ok(), batch_items: Some(n), linger: Some(text.clone()),
            profile_settings: [(text.clone(), text.clone())].into(), fields: vec![text.clone()], filter: Some(text), traceparent: true,
        };
        prop_assert!(settings(&random).is_err());
        // One wrong field at a time reaches the later checks.
        let _ = settings(&Draft { client, ..draft() });
        let _ = settings(&Draft { name: random.name.clone(), ..draft() });
        let _ = settings(&Draft { events: random.events.clone(), ..draft() });
        let _ = settings(&Draft { content_type: random.content_type.clone(), ..draft() });
        let _ = settings(&Draft { timeout: random.timeout.clone(), retry: random.retry.clone(), ..draft() });
        let _ = settings(&Draft { retry_window: random.retry_window.clone(), ..draft() });
        let _ = settings(&Draft { breaker: random.breaker.clone(), ..draft() });
        let _ = settings(&Draft { suspend_after: random.suspend_after.clone(), ..draft() });
        let _ = settings(&Draft { order: random.order.clone(), ..draft() });
        let _ = settings(&Draft { on_dead: random.on_dead.clone(), ..draft() });
        let _ = settings(&Draft { alert_mail: random.alert_mail.clone(), ..draft() });
        let _ = settings(&Draft { alert_every: random.alert_every.clone(), ..draft() });
        let _ = settings(&Draft { fields: random.fields.clone(), ..draft() });
        let _ = settings(&Draft { filter: random.filter.clone(), ..draft() });
        let _ = settings(&Draft { profile_settings: random.profile_settings.clone(), linger: random.linger, ..smartech() });
    }

    #[test]
    fn a_name_key_is_its_own_key(name in ".{0,40}") {
        let key = name_key(&name);
        prop_assert_eq!(name_key(&key), key);
    }

    #[test]
    fn case_makes_no_other_name(name in "[ -~\u{c0}-\u{24f}\u{391}-\u{3c9}]{0,40}") {
        prop_assert_eq!(name_key(&name.to_uppercase()), name_key(&name));
    }
}
