//! What the library says to bad input: the rows of the corpus that are given to it, each with its code.

mod corpus;
mod judge;

use std::{collections::BTreeSet, path::Path};

use corpus::Row;
use tharsis_core::{
    ClientId, Invalid, Timestamp,
    egress::Policy,
    event::{Event, EventType, IdempotencyKey, MAX_PAYLOAD},
    filter::Filter,
    json,
    payload::{
        ProductDiscountRecommendation, identity, product_discount_recommendation::Prediction,
    },
    profile::Profiles,
    subscription::{Draft, header::OwnHeader},
};

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";

/// Where we give another answer than the row names, and why ours is right.
const OTHERWISE: &[(&str, &str, &str)] = &[
    (
        "I032",
        "filter_not_allowed",
        "filters have become expressions; a regular expression is still none of them",
    ),
    (
        "I057",
        "same, other",
        "payloads are frozen before they are compared: white space is none of them, the order of keys is",
    ),
    (
        "I064",
        "number_out_of_range",
        "the code that a number too large in JSON has: neither is a number there",
    ),
    (
        "I066",
        "0",
        "negative zero is written as JavaScript writes it",
    ),
    (
        "I072",
        "wrong_type, out_of_range, number_out_of_range",
        "an integer that JavaScript would read as another one is refused wherever it stands",
    ),
    (
        "I092",
        "reserved_header, bad_header_name",
        "`:path` is no name of a header at all",
    ),
];

#[test]
fn every_row_of_the_corpus_is_run_by_somebody() {
    let ids = |file: &str| -> Vec<String> {
        let rows = corpus::rows(file);
        rows.iter().map(|row| row.get("id").to_owned()).collect()
    };
    let (all, run) = (ids("inputs_bad.tsv"), ids("inputs_run.tsv"));
    assert_eq!(run, all, "each row, once, in the same order");
    for row in corpus::rows("inputs_run.tsv") {
        let (id, by, what) = (row.get("id"), row.get("by"), row.get("what"));
        match by {
            "library" | "program" | "library program" => assert_eq!(what, "-", "{id}"),
            "secrets" | "http" => assert!(what.len() > 10, "{id} says what it waits for"),
            "test" => what.split(' ').for_each(|test| is_there(id, test)),
            other => panic!("{id} is run by {other}"),
        }
    }
    for (id, ..) in OTHERWISE {
        assert!(given_to_us().contains(*id), "{id} is answered otherwise");
    }
}

/// `FILE::FUNCTION`: a test of this name, in a file that exists.
fn is_there(id: &str, test: &str) {
    let (file, function) = test.split_once("::").expect("FILE::FUNCTION");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{id}: {file}: {e}"));
    assert!(
        text.contains(&format!("fn {function}(")) || text.contains(&format!("fn {function}<")),
        "{id}: {file} has no test {function}"
    );
}

fn given_to_us() -> BTreeSet<String> {
    (corpus::rows("inputs_run.tsv").iter())
        .filter(|row| row.get("by").split(' ').any(|by| by == "library"))
        .map(|row| row.get("id").to_owned())
        .collect()
}

#[test]
fn bad_input_is_answered_as_the_corpus_says() {
    let ours = given_to_us();
    let rows = corpus::rows("inputs_bad.tsv");
    let given = rows.iter().filter(|row| ours.contains(row.get("id")));
    judge::each("inputs_bad.tsv, library", given, |row| {
        let id = row.get("id");
        let answers: BTreeSet<String> = answers(id).into_iter().collect();
        match OTHERWISE.iter().find(|(other, ..)| *other == id) {
            Some((_, codes, _)) => {
                let codes = codes.split(", ").map(str::to_owned).collect();
                assert_eq!(answers, codes, "{id}");
            }
            None => expect(row, &answers),
        }
    });
}

/// Each answer is a word of what the row expects.
fn expect(row: &Row, answers: &BTreeSet<String>) {
    let expected = row.get("expected");
    let words: BTreeSet<&str> = expected
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    assert!(!answers.is_empty());
    for answer in answers {
        assert!(
            words.contains(answer.as_str()),
            "{}: {answer} for {expected}",
            row.get("id")
        );
    }
}

/// What is said to the inputs of a row: codes, or `accepted`.
fn answers(id: &str) -> Vec<String> {
    let utf16 = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "{\"a\":1}".encode_utf16().flat_map(unit).collect()
    };
    match id {
        "I001" => said(["", " \r\n"].map(read)),
        "I002" => {
            let told = read("{\"a\":").unwrap_err().to_string();
            assert!(told.starts_with("line 1 column 6: "), "{told}");
            let told = read("{\"a\":1, hunter2}").unwrap_err();
            assert!(!told.to_string().contains("hunter2"), "{told}");
            said(["{\"a\":", "{\"a\":1, hunter2}", "a=1&b=2"].map(read))
        }
        "I004" => said(["{} x"].map(read)),
        "I005" => said(["{}{}", "{}\n{}", "{} {}"].map(read)),
        "I007" => {
            let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
            let marked = [&[0xff, 0xfe][..], &little].concat();
            said([little, big, marked].map(|text| Event::parse(&text)))
        }
        "I009" => said([r#""\ud800""#, r#""\udc00\ud800""#, r#""\ud800\u0041""#].map(read)),
        "I011" => {
            let event = published(r#"{"a":"\u0000"}"#, "").expect("it is bytes");
            assert_eq!(event.payload(), r#"{"a":"\u0000"}"#);
            said([published(r#"{"a":"\u0000"}"#, "")])
        }
        "I013" => said([
            read(&"[".repeat(1_000_000)),
            read(&format!(
                "{}{}",
                "[".repeat(1_000_000),
                "]".repeat(1_000_000)
            )),
            read(&r#"{"a":"#.repeat(1_000_000)),
        ]),
        "I014" => {
            let keys: Vec<_> = (0..100_000).map(|i| format!("\"{i:x}\":0")).collect();
            said([json::parse(format!("{{{}}}", keys.join(",")).as_bytes())])
        }
        "I015" => said([
            read(r#"{"url":"a","url":"b"}"#),
            read(r#"{"type":"nudge","\u0074ype":"order"}"#),
        ]),
        "I017" => {
            let refused = published(&format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20)), "");
            let told = refused.as_ref().unwrap_err().to_string();
            assert!(told.contains(&MAX_PAYLOAD.to_string()), "{told}");
            said([refused])
        }
        "I032" => said(
            [
                r#"event.name.matches("^(a+)+$")"#,
                r#"matches(event.name, "a")"#,
            ]
            .map(Filter::parse),
        ),
        "I046" => [
            "{6e8bc430-9c3a-11d9-9669-0800200c9a66}",
            "00000000-0000-0000-0000-000000000000",
            "6e8bc4309c3a11d996690800200c9a66",
        ]
        .into_iter()
        .flat_map(identified)
        .collect(),
        "I048" => {
            assert_eq!(code("12345".parse::<ClientId>()), "bad_uuid");
            said([of_client("12345")])
        }
        "I049" => {
            assert_eq!(code("null".parse::<ClientId>()), "bad_uuid");
            said([of_client("null")])
        }
        "I050" => identified(""),
        "I052" => ["", " ", &"x".repeat(300), "a b", "a\nb", "\u{dc}nicode"]
            .into_iter()
            .flat_map(|text| {
                let quoted = serde_json::to_string(text).expect("a string");
                let event = format!(r#"{{"type":{quoted},"client":"{CLIENT}","payload":{{}}}}"#);
                [code(EventType::new(text)), code(read(&event))]
            })
            .collect(),
        "I057" => {
            let key = |payload: &str| {
                let event = published(payload, r#","key":"k-1""#).expect("a good event");
                event.idempotency()
            };
            let first = key(r#"{"a":1,"b":2}"#);
            let compared = |payload| {
                let second = key(payload);
                assert_eq!(second.key, first.key);
                let same = second.payload == first.payload;
                if same { "same" } else { "other" }.to_owned()
            };
            vec![
                compared(r#"{ "a" : 1.0 , "b" : 2 }"#),
                compared(r#"{"b":2,"a":1}"#),
            ]
        }
        "I058" => ["", &"k".repeat(300), "a\tb", "a\u{7f}", "\u{e9}"]
            .into_iter()
            .flat_map(|text| {
                let quoted = serde_json::to_string(text).expect("a string");
                let event = published("{}", &format!(",\"key\":{quoted}"));
                [code(IdempotencyKey::new(text)), code(event)]
            })
            .collect(),
        "I060" => said([recommended("NaN", "0", "1")]),
        "I061" => said(["Infinity", "-Infinity"].map(|n| recommended(n, "0", "1"))),
        "I063" => said([recommended("1e999", "0", "1")]),
        "I064" => said([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(built)),
        "I066" => {
            let event = built(-0.0).expect("a zero");
            let payload = std::str::from_utf8(event.payload()).expect("JSON");
            vec![after(payload, "\"discount\":").to_owned()]
        }
        "I067" => said([recommended("20", "30", "10")]),
        "I069" => said([recommended("10.0000000001", "0", "10")]),
        "I070" => said([
            recommended("-5", "-10", "10"),
            recommended("101", "0", "200"),
        ]),
        "I072" => said(["1.5", "-1", "9223372036854775808", "9007199254740993"].map(earned)),
        "I073" => said([
            nudge("12:00:01", "12:00:00"),
            published(
                "{}",
                r#","not_before":"2026-01-01T00:00:01Z","expires_at":"2026-01-01T00:00:00Z""#,
            ),
        ]),
        "I074" => said([
            nudge("12:00:00", "12:00:00"),
            published(
                "{}",
                r#","not_before":"2026-01-01T00:00:00Z","expires_at":"2026-01-01T00:00:00Z""#,
            ),
        ]),
        "I077" => at("2026-02-30T00:00:00Z"),
        "I078" => {
            let leap = Timestamp::parse("2026-12-31T23:59:60Z").expect("it is accepted as :59");
            assert_eq!(leap.to_string(), "2026-12-31T23:59:59.999Z");
            at("2026-01-01T24:00:00Z")
        }
        "I083" => ["n".repeat(129), "n".repeat(256), "n".repeat(10 << 20)]
            .iter()
            .map(|text| named(text))
            .collect(),
        "I084" => ["a\nb", "\u{1b}[31mred", "abc\u{202e}txt", "\u{2066}x"]
            .map(named)
            .into(),
        "I085" => ["=HYPERLINK(\"https://example.com\")", "+1+1"]
            .map(named)
            .into(),
        "I086" => vec![named("<script>alert(1)</script>")],
        "I092" => [
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "webhook-signature",
            ":path",
        ]
        .map(|name| sent_along(name, "x"))
        .into(),
        "I093" => ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\u{e9}", ""]
            .map(|value| sent_along("X-Shop", value))
            .into(),
        "I094" => ["X Y", "", &"x".repeat(10 << 10), "X\r\nY", "X:"]
            .map(|name| sent_along(name, "x"))
            .into(),
        other => panic!("inputs_run.tsv gives {other} to the library, which does not know it"),
    }
}

fn code<T>(result: Result<T, Invalid>) -> String {
    result
        .map_or_else(|refused| refused.code, |_| "accepted")
        .to_owned()
}

fn said<T, const N: usize>(results: [Result<T, Invalid>; N]) -> Vec<String> {
    results.map(code).into()
}

fn read(text: &str) -> Result<Event, Invalid> {
    Event::parse(text.as_bytes())
}

/// In an envelope, with more fields of it.
fn published(payload: &str, more: &str) -> Result<Event, Invalid> {
    read(&format!(
        r#"{{"type":"order","client":"{CLIENT}","payload":{payload}{more}}}"#
    ))
}

fn of_client(client: &str) -> Result<Event, Invalid> {
    read(&format!(
        r#"{{"type":"order","client":{client},"payload":{{}}}}"#
    ))
}

/// As text, and as the client of an event.
fn identified(text: &str) -> Vec<String> {
    vec![
        code(text.parse::<ClientId>()),
        code(of_client(&format!("\"{text}\""))),
    ]
}

fn recommended(discount: &str, min: &str, max: &str) -> Result<Event, Invalid> {
    read(&format!(
        r#"{{"predictionId":"a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9","type":"product_discount_recommendation","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"{CLIENT}","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{{"userId":"3594918"}},"predictions":[{{"product_id":"1","name":"Tank Top","type":"percentage","discount":{discount},"min":{min},"max":{max},"step":1}}]}}"#
    ))
}

fn built(discount: f64) -> Result<Event, Invalid> {
    ProductDiscountRecommendation::new()
        .prediction_id("a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9")
        .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
        .client_id(CLIENT)
        .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::USER_ID, "3594918")
        .prediction(
            Prediction::new("1", "Tank Top")
                .discount(discount)
                .range(0.0, 50.0, 1.0),
        )
        .event()
}

fn earned(quantity: &str) -> Result<Event, Invalid> {
    let payload = format!(
        r#"{{"rewards":[{{"id":"1","reward_id":"1","reward_name":"10 Rs Off","nudge_id":"1","ext_id":"1","task_id":"1","quantity":{quantity},"coin":{{"value":1}},"created_at":"2024-07-04T12:53:58.129Z"}}]}}"#
    );
    Event::freeze(
        "reward.earned",
        CLIENT.parse().expect("an id"),
        payload.as_bytes(),
    )
}

fn nudge(queued: &str, expires: &str) -> Result<Event, Invalid> {
    read(&format!(
        r#"{{"nudgeUserId":"0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11","type":"nudge","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"{CLIENT}","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{{"userId":"3594918"}},"status":"pristine","trigger":"time","channel":"push","nudgeQueueDateTime":"2020-01-24T{queued}+00:00","nudgeExpiryDateTime":"2020-01-24T{expires}+00:00","content":{{"title":"a","body":"b"}}}}"#
    ))
}

/// As text, and as the expiry of an event.
fn at(time: &str) -> Vec<String> {
    vec![
        code(Timestamp::parse(time)),
        code(published("{}", &format!(",\"expires_at\":\"{time}\""))),
    ]
}

fn draft() -> Draft {
    Draft {
        client: CLIENT.into(),
        name: "Orders of the day".into(),
        url: "https://hooks.example.com/in".into(),
        profile: Some("standard".into()),
        ..Draft::default()
    }
}

fn named(name: &str) -> String {
    let draft = Draft {
        name: name.to_owned(),
        ..draft()
    };
    code(draft.settings(&Policy::default(), &Profiles::default()))
}

/// Beside the headers of Standard Webhooks.
fn sent_along(name: &str, value: &str) -> String {
    let settings = draft()
        .settings(&Policy::default(), &Profiles::default())
        .expect("a good draft");
    code(OwnHeader::new(name, value).and_then(|header| settings.accepts_headers(&[header])))
}

/// What stands between this and the next comma.
fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    let (_, rest) = text.split_once(mark).expect("it is there");
    rest.split(',').next().unwrap_or(rest)
}
