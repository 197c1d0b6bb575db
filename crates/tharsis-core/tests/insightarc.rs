//! The signal of InsightArc: what is built is what is documented, and both ways in are judged alike.

use tharsis_core::{ClientId, Invalid, event::Event, payload::Signal};

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";
const SIGNAL: &str = r#"{"drop_proba":0.95,"perfomance":1.2,"num_events":10,"num_loops":2,"num_broken_buttons":1,"avg_loops":2.3,"avg_broken_buttons":1,"relevant_events":[{"name":"add_to_cart"}]}"#;

#[test]
fn a_built_signal_is_the_enveloped_one() {
    let event = signal().relevant_event("add_to_cart").event().unwrap();
    assert_eq!(event.payload(), SIGNAL);
    assert_eq!(event, publish(SIGNAL).unwrap());

    assert_eq!(event.event_type().as_str(), "signal");
    assert_eq!(event.client(), CLIENT.parse::<ClientId>().unwrap());
    assert_eq!((event.campaign(), event.recipient()), (None, None));
    assert_eq!(event.expires_at(), None);
}

#[test]
fn a_signal_names_no_client_and_so_needs_its_envelope() {
    let bare = SIGNAL.replacen('{', r#"{"type":"signal","#, 1);
    let refused = Event::parse(bare.as_bytes()).unwrap_err();
    insta::assert_snapshot!(format!("{} | {refused}", refused.code), @r#"missing_field | payload: is missing (publish signal in an envelope: {"type":"signal","client":"…","payload":{…}})"#);
}

#[test]
fn relevant_events_may_be_absent_and_be_pages() {
    let without = SIGNAL.replace(r#","relevant_events":[{"name":"add_to_cart"}]"#, "");
    assert_eq!(signal().event().unwrap().payload(), without.as_str());

    let page = format!("https://shop.example.com/{}", "p".repeat(1_000));
    let event = signal()
        .relevant_event("add_to_cart")
        .relevant_event(&*page)
        .event()
        .unwrap();
    let listed = format!(r#""relevant_events":[{{"name":"add_to_cart"}},{{"name":"{page}"}}]}}"#);
    assert!(event.payload().ends_with(listed.as_bytes()));
}

#[test]
fn the_ends_of_each_range_belong_to_it() {
    for (from, to) in [
        (r#""drop_proba":0.95"#, r#""drop_proba":0"#),
        (r#""drop_proba":0.95"#, r#""drop_proba":1"#),
        (r#""num_events":10"#, r#""num_events":0"#),
        (r#""num_events":10"#, r#""num_events":10.0"#),
        (r#""avg_loops":2.3"#, r#""avg_loops":0"#),
        (r#""perfomance":1.2"#, r#""perfomance":120"#),
        (r#"[{"name":"add_to_cart"}]"#, "[]"),
        (r#""num_loops":2"#, r#""more":{"a":null},"num_loops":2"#),
    ] {
        publish(&changed(from, to)).unwrap_or_else(|e| panic!("{to}: {e}"));
    }
}

#[test]
fn a_bad_signal_is_refused_by_the_name_of_its_field() {
    let refused = [
        (r#""drop_proba":0.95,"#, ""),
        (r#""drop_proba":0.95"#, r#""drop_proba":1.000001"#),
        (r#""drop_proba":0.95"#, r#""drop_proba":-0.1"#),
        (r#""drop_proba":0.95"#, r#""drop_proba":"0.95""#),
        ("perfomance", "performance"),
        (r#""num_events":10"#, r#""num_events":10.5"#),
        (r#""num_events":10"#, r#""num_events":-1"#),
        (r#""num_loops":2"#, r#""num_loops":null"#),
        (r#""num_broken_buttons":1"#, r#""num_broken_buttons":true"#),
        (r#""avg_loops":2.3"#, r#""avg_loops":-2.3"#),
        (r#","avg_broken_buttons":1"#, ""),
        (r#"[{"name":"add_to_cart"}]"#, r#"{"name":"add_to_cart"}"#),
        (r#"[{"name":"add_to_cart"}]"#, r#"["add_to_cart"]"#),
        (r#"[{"name":"add_to_cart"}]"#, r#"[{"name":"a"},{}]"#),
        (r#"[{"name":"add_to_cart"}]"#, "null"),
        ("add_to_cart", r"add\nto\ncart"),
    ]
    .map(|(from, to)| refusal(to, publish(&changed(from, to))));
    insta::assert_snapshot!(refused.concat(), @r#"
     => missing_field | payload.drop_proba: is missing
    "drop_proba":1.000001 => out_of_range | payload.drop_proba: is not from 0 to 1
    "drop_proba":-0.1 => out_of_range | payload.drop_proba: is not from 0 to 1
    "drop_proba":"0.95" => wrong_type | payload.drop_proba: is a string, not a number
    performance => missing_field | payload.perfomance: is missing
    "num_events":10.5 => wrong_type | payload.num_events: is a fraction, not an integer
    "num_events":-1 => out_of_range | payload.num_events: is negative
    "num_loops":null => wrong_type | payload.num_loops: is null, not a number
    "num_broken_buttons":true => wrong_type | payload.num_broken_buttons: is a boolean, not a number
    "avg_loops":-2.3 => out_of_range | payload.avg_loops: is negative
     => missing_field | payload.avg_broken_buttons: is missing
    {"name":"add_to_cart"} => wrong_type | payload.relevant_events: is an object, not an array
    ["add_to_cart"] => wrong_type | payload.relevant_events[0]: is a string, not an object
    [{"name":"a"},{}] => missing_field | payload.relevant_events[1].name: is missing
    null => wrong_type | payload.relevant_events: is null (leave the field out)
    add\nto\ncart => control_character | payload.relevant_events[0].name: holds a control character
    "#);
}

#[test]
fn a_builder_is_judged_like_text() {
    let refused = [
        Signal::new(),
        signal().client_id("acme"),
        Signal::new().client_id(CLIENT),
        signal().drop_proba(1.5),
        signal().drop_proba(f64::NAN),
        signal().performance(f64::INFINITY),
        signal().avg_loops(-1.0),
        signal().relevant_event("a\u{7}"),
    ]
    .map(|built| refusal("built", built.event()));
    insta::assert_snapshot!(refused.concat(), @"
    built => missing_field | client: is missing
    built => bad_uuid | client: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)
    built => missing_field | drop_proba: is missing
    built => out_of_range | drop_proba: is not from 0 to 1
    built => number_out_of_range | drop_proba: is not a finite number
    built => number_out_of_range | perfomance: is not a finite number
    built => out_of_range | avg_loops: is negative
    built => control_character | relevant_events[0].name: holds a control character
    ");
}

fn signal() -> Signal {
    Signal::new()
        .client_id(CLIENT)
        .drop_proba(0.95)
        .performance(1.2)
        .num_events(10)
        .num_loops(2)
        .num_broken_buttons(1)
        .avg_loops(2.3)
        .avg_broken_buttons(1.0)
}

fn publish(payload: &str) -> Result<Event, Invalid> {
    let envelope = format!(r#"{{"type":"signal","client":"{CLIENT}","payload":{payload}}}"#);
    Event::parse(envelope.as_bytes())
}

fn changed(from: &str, to: &str) -> String {
    assert!(SIGNAL.contains(from), "{from} is not in the sample");
    SIGNAL.replacen(from, to, 1)
}

fn refusal(change: &str, refused: Result<Event, Invalid>) -> String {
    let error = refused.expect_err(change);
    format!("{change} => {} | {error}\n", error.code)
}
