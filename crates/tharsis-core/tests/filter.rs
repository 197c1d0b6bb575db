//! Which events a filter lets through, and what is told of one that is no filter.

use proptest::prelude::*;
use tharsis_core::{
    Invalid,
    filter::{Answer, Filter, MAX_DEPTH, MAX_LENGTH, MAX_STEPS, Why},
    json,
};

const NUDGE: &str = r##"{
    "nudgeUserId": "5f0c6b9e-6f2e-4a55-9f0a-6f2f4f5a1c11", "type": "nudge", "status": "pristine", "trigger": "time",
    "channel": "push", "userIdentities": {"clevertapId": "3594918", "email": "testuser@example.com"},
    "content": {"title": "Crème brûlée", "body": "", "image": null}, "event": {"name": "product_viewed"}
}"##;

const PREDICTIONS: &str = r#"{
    "type": "product_discount_recommendation", "userIdentities": {"userId": "3594918"},
    "predictions": [
        {"product_id": "a", "sku": "T-1", "discount": 10, "explanations": [{"step": "rank", "score": 0.5}]},
        {"product_id": "b", "discount": 30, "explanations": [{"step": "rank", "score": 0.25}, {"step": "user", "score": 0.1}]}
    ]
}"#;

const SMARTECH: &str = r#"{
    "channel": "custom_activity", "webhook_name": "SMS_CLICK", "msgid": "103", "custom_params": {},
    "att_params": {"CITY": "Thane", "AGE_BUCKET_APR17": "25 To <30_Yr", "odd name": 1, "in": 2},
    "event_params": {"ts": 181212120708, "linkid": -1},
    "payload_params": {"items": [{"prid_s": 157, "price_s": 9990.91, "category_s": "lifestyle"}]}
}"#;

const SIGNAL: &str = r#"{"drop_proba": 0.95, "num_events": 10, "num_loops": 2, "avg_loops": 2.3}"#;

fn answer(filter: &str, payload: &str) -> Answer {
    let filter = Filter::parse(filter).unwrap_or_else(|e| panic!("{filter}: {e}"));
    filter.wants(&json::parse(payload.as_bytes()).unwrap())
}

#[track_caller]
fn all_are(expected: bool, payload: &str, filters: &[&str]) {
    let expected = if expected { Answer::Yes } else { Answer::No };
    for filter in filters {
        assert_eq!(answer(filter, payload), expected, "{filter}");
    }
}

fn refused(filter: &str) -> Invalid {
    let error = Filter::parse(filter).expect_err(filter);
    assert_eq!(error.field.as_deref(), Some("filter"), "{filter}");
    error
}

fn code(filter: &str) -> &'static str {
    refused(filter).code
}

#[test]
fn a_subscription_gets_a_city_a_channel_or_a_high_discount() {
    let city = r#"event.att_params.CITY == "Thane""#;
    let push = r#"event.channel == "push" && event.content.title != """#;
    let high = "event.predictions.exists(p, p.discount > 20)";
    all_are(true, SMARTECH, &[city]);
    all_are(true, NUDGE, &[push]);
    all_are(true, PREDICTIONS, &[high]);
    all_are(false, SMARTECH, &[push]);
    all_are(false, r#"{"att_params":{"CITY":"Thane&Kalyan"}}"#, &[city]);
    all_are(false, r#"{"predictions":[{"discount":20}]}"#, &[high]);
    all_are(false, r#"{"predictions":[]}"#, &[high]);
}

#[test]
fn numbers_are_doubles_whichever_way_they_are_written() {
    all_are(
        true,
        SIGNAL,
        &[
            "event.num_events == 10",
            "event.num_events == 10.0",
            "event.num_events == 0xa",
            "event.num_events == 1e1",
            "event.num_events > 9.5",
            "event.drop_proba >= .95",
            "event.drop_proba < 1",
            "event.avg_loops * 2 + 0.4 - 1 == 4",
            "-event.num_loops == -2 && --event.num_loops == 2",
            "event.num_loops in [1, 2, 3]",
        ],
    );
    all_are(
        true,
        SMARTECH,
        &[
            "event.event_params.ts == 181212120708",
            "event.event_params.linkid == -1",
            "event.payload_params.items[0].price_s > 9990.9",
        ],
    );
}

#[test]
fn operators_bind_as_in_cel() {
    all_are(
        true,
        SIGNAL,
        &[
            "1 + 2 * 3 == 7",
            "10 - 2 - 3 == 5",
            "true || false && false",
            "(true || false) && true",
            "!false && !!true",
            "1 < 2 == true",
            "false ? true : true ? true : false",
            "1 + 1 in [2]",
            "-2 + 3 == 1",
        ],
    );
    all_are(false, SIGNAL, &["(true || false) && false", "!(1 < 2)"]);
}

#[test]
fn texts_can_be_searched_and_counted() {
    all_are(
        true,
        NUDGE,
        &[
            "event.content.title.startsWith('Crème')",
            "event.content.title.endsWith(\"brûlée\")",
            "event.content.title.contains('e b')",
            "event.content.title.contains('')",
            "size(event.content.title) == 12 && event.content.title.size() == 12",
            "event.content.body == ''",
            "event.content.title > 'Cake'",
            r"event.content.title == 'Cr\u00e8me br\xfbl\351e'",
            r#"r"\d" == "\\d" && 'it\'s' == "it's" && "\U0001F600" == "😀""#,
        ],
    );
    all_are(
        false,
        NUDGE,
        &[
            "event.content.title.contains('crème')",
            "event.channel == 'Push'",
        ],
    );
}

#[test]
fn membership_is_of_elements_and_of_keys() {
    all_are(
        true,
        SMARTECH,
        &[
            r#"event.att_params.CITY in ["Mumbai", "Thane"]"#,
            r#""CITY" in event.att_params"#,
            r#"event.att_params["odd name"] == 1 && event.att_params["in"] == 2"#,
            r#"event.att_params.exists(name, name.startsWith("AGE_"))"#,
            "size(event.custom_params) == 0",
        ],
    );
    all_are(
        false,
        SMARTECH,
        &[
            r#""STATE" in event.att_params"#,
            r#"event.att_params.CITY in []"#,
            "1 in event.att_params",
            r#""157" in event.payload_params.items.map(i, i.prid_s)"#,
        ],
    );
}

#[test]
fn every_element_one_element_or_some_of_them() {
    all_are(
        true,
        PREDICTIONS,
        &[
            "event.predictions.all(p, p.discount >= 10)",
            "event.predictions.exists_one(p, p.discount == 30)",
            "event.predictions.filter(p, p.discount > 20).size() == 1",
            "event.predictions.map(p, p.discount) == [10, 30]",
            "event.predictions.map(p, p.discount)[1] == 30",
            "event.predictions.exists(p, p.explanations.all(e, e.score < p.discount))",
            "event.predictions.map(p, p.explanations.map(e, e.step)) == [['rank'], ['rank', 'user']]",
            "event.predictions.filter(p, has(p.sku)).all(p, p.sku == 'T-1')",
            "[1, 2, 3,].all(x, [x].exists(x, x > 0))",
            "[].all(x, false) && ![].exists(x, true)",
        ],
    );
    all_are(
        false,
        PREDICTIONS,
        &[
            "event.predictions.all(p, p.discount > 10)",
            "event.predictions.exists_one(p, p.discount > 0)",
        ],
    );
}

#[test]
fn a_missing_field_cannot_be_told_unless_another_side_settles_it() {
    let missing = |column| Answer::CannotTell(Why::Missing { column });
    assert_eq!(answer("event.coupon.discount > 20", NUDGE), missing(7));
    assert_eq!(answer("event.coupon != 1", NUDGE), missing(7));
    assert_eq!(answer("!has(event.a.b)", NUDGE), missing(12));
    assert_eq!(
        answer("event.predictions[2].discount > 1", PREDICTIONS),
        missing(18)
    );
    assert_eq!(
        answer("event.predictions[0.5].discount > 1", PREDICTIONS),
        missing(18)
    );
    assert_eq!(
        answer("event.predictions[-1].discount > 1", PREDICTIONS),
        missing(18)
    );
    assert_eq!(answer("event.coupon == 1 && true", NUDGE), missing(7));
    // The first reason is told.
    assert_eq!(answer("event.a == 1 || event.b == 1", NUDGE), missing(7));
    assert_eq!(
        answer("event.predictions.all(p, p.sku == 'T-1')", PREDICTIONS),
        missing(28)
    );
    assert_eq!(
        answer("event.predictions.map(p, p.sku) == []", PREDICTIONS),
        missing(28)
    );

    all_are(
        true,
        NUDGE,
        &[
            "!has(event.coupon)",
            "has(event.content.image) && event.content.image == null",
            "event.coupon == 1 || true",
            "!has(event.coupon) || event.coupon.discount > 20",
            "has(event.coupon) ? event.coupon.discount > 20 : true",
        ],
    );
    all_are(
        false,
        NUDGE,
        &["event.coupon == 1 && false", "has(event.coupon)"],
    );
    all_are(
        true,
        PREDICTIONS,
        &["event.predictions.exists(p, p.sku == 'T-1')"],
    );
    all_are(
        false,
        r#"{"a":[{},{"b":2}]}"#,
        &["event.a.all(x, x.b == 1)"],
    );
}

#[test]
fn what_differs_in_kind_is_unequal_and_has_no_order() {
    let mismatch = |column| Answer::CannotTell(Why::TypeMismatch { column });
    all_are(
        false,
        SMARTECH,
        &["event.msgid == 103", "event == event.msgid"],
    );
    all_are(
        true,
        SMARTECH,
        &["event.msgid != 103", "event.msgid != null"],
    );
    assert_eq!(answer("event.msgid > 5", SMARTECH), mismatch(13));
    assert_eq!(answer("event.msgid + 1 == 104", SMARTECH), mismatch(13));
    assert_eq!(
        answer("event.msgid.exists(x, x == 1)", SMARTECH),
        mismatch(13)
    );
    assert_eq!(answer("event.msgid.x == 1", SMARTECH), mismatch(13));
    assert_eq!(answer("has(event.msgid.x)", SMARTECH), mismatch(17));
    assert_eq!(answer("event.msgid[0] == '1'", SMARTECH), mismatch(12));
    assert_eq!(answer("event.msgid", SMARTECH), mismatch(7));
    assert_eq!(answer("!event.msgid", SMARTECH), mismatch(8));
    assert_eq!(answer("1 in event.msgid", SMARTECH), mismatch(3));
    assert_eq!(answer("null in event.att_params", SMARTECH), mismatch(6));
    assert_eq!(
        answer("event.event_params.ts.contains('1')", SMARTECH),
        mismatch(23)
    );
    assert_eq!(
        answer("size(event.event_params.ts) == 1", SMARTECH),
        mismatch(1)
    );
    all_are(
        true,
        SMARTECH,
        &[
            "event.msgid > 5 || true",
            "event.payload_params == event.payload_params",
        ],
    );
    // Objects are equal by their fields, in whatever order.
    all_are(
        true,
        r#"{"a":{"x":1,"y":[2]},"b":{"y":[2],"x":1}}"#,
        &["event.a == event.b && event.a in [event.b]"],
    );
    assert_eq!(answer("event.x == 1", "[1]"), mismatch(7));
}

#[test]
fn what_is_no_filter_is_told_with_its_place_and_a_way_out() {
    let told = |filter: &str| {
        let error = refused(filter);
        format!("{}: {error}", error.code)
    };
    let all: Vec<_> = [
        "",
        "event.a =",
        "event.a = 1",
        "event.a == ",
        "event.a == 'Thane",
        "event.a == “Thane”",
        "(event.a == 1",
        "event.a == 1)",
        "event.a 1",
        "event.a ? 1",
        "channel == 'push'",
        "lower(event.a) == 'x'",
        "event.a.lower() == 'x'",
        "event.a.matches('x+')",
        "event.a / 2 == 1",
        "event.a == {}",
        "event.a == b'x'",
        "event.a == 1u",
        "event.a == 9007199254740993",
        "event.a == 1e999",
        r"event.a == '\q'",
        "event",
        "event.a + 1",
        "size(event)",
        "'a' && true",
        "event.a.exists(x, 1)",
        "event.a.exists(1, true)",
        "event.a.exists(x)",
        "size(event) == '3'",
        "'a' < event.b + 1",
        "'a' + 'b' == event.c",
        "has(event)",
        "size() == 1",
        "event.true",
        "event.a\n== 1",
    ]
    .into_iter()
    .map(told)
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r##"
    empty: filter: is empty
    filter_syntax: filter: column 9: this character has no meaning here (compare with ==)
    filter_syntax: filter: column 9: this character has no meaning here (compare with ==)
    filter_syntax: filter: column 12: a value is expected
    filter_syntax: filter: column 12: a text is not closed
    filter_syntax: filter: column 12: this character has no meaning here (text stands in straight quotes)
    filter_syntax: filter: column 14: a closing parenthesis is expected
    filter_syntax: filter: column 13: an operator is expected
    filter_syntax: filter: column 9: an operator is expected
    filter_syntax: filter: column 12: a colon is expected, as in condition ? this : that
    filter_unknown_name: filter: column 1: channel is not known (the event is called event: event.channel)
    filter_unknown_name: filter: column 1: there is no function lower (there are has, size, startsWith, endsWith, contains, exists, all, exists_one, filter and map)
    filter_unknown_name: filter: column 9: there is no function lower (there are has, size, startsWith, endsWith, contains, exists, all, exists_one, filter and map)
    filter_not_allowed: filter: column 9: regular expressions are not understood in a filter (use startsWith, endsWith, contains or in)
    filter_not_allowed: filter: column 9: / is not understood in a filter (multiply the other side instead)
    filter_not_allowed: filter: column 12: { is not understood in a filter (objects can be asked, but not written)
    filter_not_allowed: filter: column 12: an event holds no bytes
    filter_not_allowed: filter: column 13: a number has no suffix, for all of them are doubles
    filter_syntax: filter: column 12: a double cannot hold this number
    filter_syntax: filter: column 12: a double cannot hold this number
    filter_syntax: filter: column 13: an unknown escape
    filter_not_boolean: filter: column 1: an object stands where true or false is asked for (compare it with something)
    filter_not_boolean: filter: column 9: a number stands where true or false is asked for (compare it with something)
    filter_not_boolean: filter: column 1: a number stands where true or false is asked for (compare it with something)
    filter_not_boolean: filter: column 1: a string stands where true or false is asked for (compare it with something)
    filter_not_boolean: filter: column 19: a number stands where true or false is asked for (compare it with something)
    filter_syntax: filter: column 16: exists begins with a name for the element (write exists(x, …) and ask of x what is to be asked)
    filter_syntax: filter: column 17: a comma is expected behind the name of the element
    filter_type_mismatch: filter: column 13: == compares a number with a string
    filter_type_mismatch: filter: column 5: < compares a string with a number
    filter_type_mismatch: filter: column 5: + cannot take a string
    filter_syntax: filter: column 1: has asks for a field (write has(event.name), or "odd name" in event)
    filter_syntax: filter: column 1: size takes one value in its parentheses
    filter_syntax: filter: column 7: the name of a field is expected
    control_character: filter: holds a control character
    "##);
}

#[test]
fn a_filter_is_its_text() {
    let filter = Filter::parse(" event.a  == 1").unwrap();
    assert_eq!(filter.text(), " event.a  == 1");
    assert_eq!(filter.to_string(), filter.text());
    assert_eq!(format!("{filter:?}"), r#"Filter(" event.a  == 1")"#);
    assert_eq!(filter, filter.clone());
    assert_ne!(filter, Filter::parse("event.a == 1").unwrap());
    fn is_shared<T: Send + Sync>(_: &T) {}
    is_shared(&filter);
}

#[test]
fn the_bounds_are_what_they_say() {
    let long = |n: usize| format!("event.{} == 1", "a".repeat(n - "event. == 1".len()));
    assert!(Filter::parse(&long(MAX_LENGTH)).is_ok());
    assert_eq!(code(&long(MAX_LENGTH + 1)), "too_long");

    let parentheses = |n| format!("{}true{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&parentheses(MAX_DEPTH - 1)).is_ok());
    assert_eq!(code(&parentheses(MAX_DEPTH)), "filter_too_deep");

    let chain = |n| format!("event{}", ".a".repeat(n));
    assert!(Filter::parse(&chain(MAX_DEPTH - 1)).is_ok());
    assert_eq!(code(&chain(MAX_DEPTH)), "filter_too_deep");

    let loops = |n| format!("{}true{}", "event.a.all(x, ".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&loops(3)).is_ok());
    assert_eq!(code(&loops(4)), "filter_too_deep");

    // One behind the other they do not lie in one another.
    assert!(Filter::parse(&vec!["event.a.all(x, x)"; 80].join(" && ")).is_ok());
    assert!(Filter::parse(&vec!["event.a"; 180].join(" || ")).is_ok());
    let nots = format!("{}event.a", "!".repeat(2_001));
    assert_eq!(answer(&nots, r#"{"a":false}"#), Answer::Yes);
}

#[test]
fn hostile_expressions_are_refused_and_nothing_falls_over() {
    for mark in [
        "(",
        "[",
        "!",
        "-",
        "a.",
        "[[(",
        "!(",
        "event.a.all(x,",
        "a?",
        "true?true:",
        "\"",
        "\\",
        "0x",
        "é",
        "\0",
        "😀",
    ] {
        for times in [1, 10, 100, 600, 100_000] {
            code(&mark.repeat(times));
        }
    }
    for chain in [
        "+1",
        "*1",
        "-1",
        "==1",
        "<1",
        ".a",
        "[0]",
        "&&1",
        "||1",
        " in [1]",
        ".size()",
        ".map(x,x)",
        "?1:1",
    ] {
        for times in [100, 300, 10_000] {
            let _ = Filter::parse(&format!("event.a{}", chain.repeat(times)));
        }
    }
    assert_eq!(
        code(&format!("event.a == {}", "9".repeat(1_000))),
        "filter_syntax"
    );
    assert_eq!(
        code(&format!("event.a == 0x{}", "f".repeat(1_000))),
        "filter_syntax"
    );
    assert_eq!(code("event.a == '\0'"), "control_character");
    assert_eq!(code("event.a == '\u{202e}'"), "control_character");
    assert_eq!(code(r"event.a == '\ud800'"), "filter_syntax");
    assert_eq!(code(r"event.a == '\U00110000'"), "filter_syntax");
    assert_eq!(code("évent.a == 1"), "filter_syntax");
}

/// A payload of at most 262,144 bytes, the most that any profile takes.
fn large(field: &str, element: &str) -> String {
    let count = (262_144 - field.len() - 8) / (element.len() + 1);
    format!(r#"{{"{field}":[{}]}}"#, vec![element; count].join(","))
}

#[test]
fn a_usual_filter_tells_of_the_largest_event() {
    let predictions = large("predictions", r#"{"product_id":"a","discount":10}"#);
    all_are(
        false,
        &predictions,
        &[
            "event.predictions.exists(p, p.discount > 20 && p.product_id != '')",
            "event.predictions.exists(p, p.discount > 20 || p.discount < 0 || p.product_id == 'b')",
            "size(event.predictions.filter(p, p.discount == 10)) == 0",
        ],
    );
}

#[test]
fn what_would_take_too_long_is_told_apart_even_beside_a_side_that_settles_it() {
    let ones = large("a", "1");
    let wide = format!(
        "{{{}}}",
        (0..16_000)
            .map(|i| format!("\"k{i}\":1"))
            .collect::<Vec<_>>()
            .join(",")
    );
    let long = format!(
        r#"{{"a":"{}","b":[{}]}}"#,
        "a".repeat(131_072),
        vec!["1"; 60_000].join(",")
    );
    let costly = Answer::CannotTell(Why::TooCostly);
    for (filter, payload) in [
        ("event.a.all(x, event.a.exists(y, x + y == 3))", &ones),
        (
            "event.a.all(x, event.a.exists(y, x + y == 3)) || true",
            &ones,
        ),
        ("event.a.exists(x, event.a.all(y, x == y) && false)", &ones),
        (
            "size(event.a.map(x, event.a)) > 1 && event.a.map(x, event.a) == event.a.map(x, event.a)",
            &ones,
        ),
        ("event.a.all(x, event.a == event.a)", &ones),
        ("event.a.all(x, !(2 in event.a))", &ones),
        (
            "event.a.map(x, event.a.map(y, event.a.map(z, [x, y, z]))) == []",
            &ones,
        ),
        ("event == event", &wide),
        ("event.all(x, event[x] == 1)", &wide),
        ("event.b.all(x, !event.a.contains('aaab'))", &long),
        ("event.b.all(x, size(event.a) > 1)", &long),
        ("event.b.all(x, event.a <= event.a)", &long),
    ] {
        assert_eq!(answer(filter, payload), costly, "{filter}");
    }
    assert_eq!(Why::TooCostly.code(), "filter_too_costly");
    assert_eq!(
        Why::TooCostly.to_string(),
        format!("the answer takes more than {MAX_STEPS} steps")
    );
}

#[test]
fn the_deepest_payload_is_compared() {
    let deepest = json::MAX_DEPTH - 1;
    let payload = format!(r#"{{"a":{}1{}}}"#, "[".repeat(deepest), "]".repeat(deepest));
    all_are(
        true,
        &payload,
        &["event == event", "[[event.a]] == [event].map(x, [x.a])"],
    );
}

/// Words of the language, put together without sense.
fn tokens() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "event",
        "event.a",
        "event.b",
        "x",
        "true",
        "false",
        "null",
        "1",
        "2.5",
        "0",
        "'t'",
        "\"a\"",
        "[",
        "]",
        "(",
        ")",
        "[1,2]",
        ",",
        ".",
        "!",
        "-",
        "+",
        "*",
        "&&",
        "||",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        " in ",
        "?",
        ":",
        "size(",
        "has(",
        ".a",
        ".size()",
        ".exists(x,",
        ".all(x,",
        ".map(x,",
        ".filter(x,",
        ".exists_one(x,",
        ".contains(",
        ".startsWith(",
        "[0]",
        "['a']",
        " ",
        "/",
        "{",
        "é",
    ];
    proptest::collection::vec(proptest::sample::select(WORDS), 0..40)
        .prop_map(|words| words.concat())
}

const PAYLOADS: &[&str] = &[
    r#"{"a":1,"b":[1,2,{"a":[1]}]}"#,
    r#"{"a":[true,false],"b":{"a":"t"}}"#,
    r#"{"a":"text","b":null}"#,
    "[]",
    "null",
];

fn ask(filter: &str) {
    if let Ok(filter) = Filter::parse(filter) {
        for payload in PAYLOADS {
            filter.wants(&json::parse(payload.as_bytes()).unwrap());
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_a_filter_or_refused(text in any::<String>()) {
        ask(&text);
    }

    #[test]
    fn nearly_a_filter_is_one_or_refused(text in r#"[\[\]()!<>=&|?:.,'"\\a-ex0-9u+* -]{0,60}"#) {
        ask(&text);
    }

    #[test]
    fn words_without_sense_are_a_filter_or_refused(text in tokens()) {
        ask(&text);
    }

    #[test]
    fn any_text_can_be_asked_for(text in any::<String>().prop_filter("shown", |t| !t.chars().any(|c| c.is_control() || "\u{200e}\u{200f}\u{61c}\u{2028}\u{2029}\u{feff}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".contains(c)))) {
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let payload = json::Value::from(json::Object::new(vec![("a".into(), json::Value::from(text.as_str()))]).unwrap());
        prop_assert_eq!(Filter::parse(&format!("event.a == {quoted}")).unwrap().wants(&payload), Answer::Yes);
    }

    #[test]
    fn numbers_compare_as_they_do_elsewhere(a in -1e6..1e6_f64, b in -1000..1000_i32) {
        let payload = json::Value::from(json::Object::new(vec![("a".into(), json::Value::from(a))]).unwrap());
        for (operation, expected) in [("<", a < b.into()), ("<=", a <= b.into()), (">", a > b.into()), (">=", a >= b.into()), ("==", a == b.into()), ("!=", a != b.into())] {
            let filter = Filter::parse(&format!("event.a {operation} {b}")).unwrap();
            prop_assert_eq!(filter.wants(&payload), if expected { Answer::Yes } else { Answer::No }, "{}", filter);
        }
    }
}
