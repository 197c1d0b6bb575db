//! What the program says to bad input: the rows of the corpus that are given to it, each with its code.

use std::{collections::BTreeSet, ffi::OsStr, os::unix::ffi::OsStrExt};

use tharsis_receiver::Answer;

use crate::{
    Desk, Said, command,
    corpus::{self, Row},
    judge,
    subscription::Local,
};

const CLIENT: &str = "36011017-0e00-4e29-a054-7a1fbb8b60a2";
const NUDGE: &str = r#"{"nudgeUserId":"0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11","type":"nudge","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{"userId":"3594918"},"status":"pristine","trigger":"time","channel":"push","nudgeQueueDateTime":"2036-01-24T11:59:59+00:00","nudgeExpiryDateTime":"EXPIRY","content":{"title":"a","body":"b"}}"#;

/// Where the program gives another answer than the row names, and why that is right.
const OTHERWISE: &[(&str, &str, &str)] = &[
    (
        "I013",
        "json_too_deep, line_too_long",
        "the whole line is over its bound before it is read",
    ),
    (
        "I017",
        "line_too_long, payload_too_large",
        "the same: a line of publish holds 1 MiB at most, a payload 262,144 bytes",
    ),
    (
        "I030",
        "exit 2",
        "wrong usage of the command line has an exit code; a list tells 10,000 at most",
    ),
    ("I032", "filter_not_allowed", "filters are expressions"),
    ("I033", "exit 2", "no list is sorted by what a caller names"),
    (
        "I054",
        "duplicate",
        "publish counts what was there already; its id is the first one's",
    ),
    (
        "I083",
        "too_long",
        "a name of 10 MB is as much too long as one of 256 characters",
    ),
    (
        "I090",
        "accepted",
        "one URL may have several subscriptions: other events, another filter; their names differ",
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
    (
        "I094",
        "bad_header_name, exit 2",
        "NAME=FILE without a name is wrong usage of the command line",
    ),
    ("I114", "unknown_key", "no such option exists"),
];

#[test]
fn bad_input_is_answered_as_the_corpus_says() {
    let ours: BTreeSet<String> = corpus::rows("inputs_run.tsv")
        .iter()
        .filter(|row| row.get("by").split(' ').any(|by| by == "program"))
        .map(|row| row.get("id").to_owned())
        .collect();
    for (id, ..) in OTHERWISE {
        assert!(ours.contains(*id), "{id} is answered otherwise");
    }
    let rows = corpus::rows("inputs_bad.tsv");
    let given = rows.iter().filter(|row| ours.contains(row.get("id")));
    judge::each("inputs_bad.tsv, program", given, |row| {
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

fn expect(row: &Row, answers: &BTreeSet<String>) {
    let expected = row.get("expected");
    assert!(!answers.is_empty());
    for answer in answers {
        assert!(
            expected.contains(answer.as_str()),
            "{}: {answer} for {expected}",
            row.get("id")
        );
    }
}

fn answers(id: &str) -> Vec<String> {
    let utf16 = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "{\"a\":1}".encode_utf16().flat_map(unit).collect()
    };
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    match id {
        "I002" => {
            let desk = Desk::new();
            let said = desk.feed("publish", b"{\"a\":1, hunter2}");
            assert!(said.stderr.contains("column 9"), "{}", said.stderr);
            assert!(!said.all().contains("hunter2"), "{}", said.all());
            published(["{\"a\":", "{\"a\":1, hunter2}", "a=1&b=2"])
        }
        "I004" => published(["{} x"]),
        "I005" => published(["{}{}", "{} {}"]),
        "I007" => published([utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)]),
        "I009" => published([r#"{"a":"\ud800"}"#, r#"{"a":"\udc00\ud800"}"#]),
        "I011" => published([order(r#"{"a":"\u0000"}"#, "")]),
        "I013" => published([nested(1_000_000), nested(400_000)]),
        "I015" => published([r#"{"url":"a","url":"b"}"#]),
        "I017" => {
            let large = |size| order(&format!("{{\"a\":\"{}\"}}", "x".repeat(size)), "");
            published([large(1 << 20), large(1 << 19)])
        }
        "I030" => ["-1", "0", "1000000000", "abc"]
            .map(|limit| asked(&["delivery", "list", "--limit", limit]))
            .into(),
        "I031" => {
            let forged = [
                "x",
                "",
                "0",
                "6e8bc430-9c3a-11d9-9669-0800200c9a66",
                "'; DROP TABLE tharsis_event; --",
                "\u{1f43c}\u{1f43c}\u{1f43c}\u{1f43c}\u{1f43c}",
                &"f".repeat(10_000),
            ];
            forged
                .map(|after| asked(&["delivery", "list", "--after", after]))
                .into()
        }
        "I032" => vec![added(&["--filter", r#"event.name.matches("^(a+)+$")"#])],
        "I033" => vec![asked(&["delivery", "list", "--sort", "name;drop table"])],
        "I046" => identified(&[
            "{6e8bc430-9c3a-11d9-9669-0800200c9a66}",
            "00000000-0000-0000-0000-000000000000",
        ]),
        "I048" => published([of_client("12345")]),
        "I049" => published([of_client("null")]),
        "I050" => identified(&[""]),
        "I052" => {
            let types = ["", " ", &"x".repeat(300), "a b", "a\nb", "\u{dc}nicode"];
            let mut said = published(types.map(|text| {
                let quoted = serde_json::to_string(text).unwrap();
                format!(r#"{{"type":{quoted},"client":"{CLIENT}","payload":{{}}}}"#)
            }));
            said.extend(types.map(|text| added(&["--event", text])));
            said
        }
        "I054" => {
            let line = order("{}", r#","key":"k-1""#);
            let (first, again) = (published([&line]), published_twice(&line, &line));
            assert_eq!(first, ["accepted"]);
            vec![again]
        }
        "I055" => vec![published_twice(
            &order(r#"{"a":1}"#, r#","key":"k-1""#),
            &order(r#"{"a":2}"#, r#","key":"k-1""#),
        )],
        "I058" => published(
            ["", &"k".repeat(300), "a\tb", "a\u{7f}", "\u{e9}"].map(|key| {
                let quoted = serde_json::to_string(key).unwrap();
                order("{}", &format!(",\"key\":{quoted}"))
            }),
        ),
        "I060" => published([recommended("NaN", "0", "1")]),
        "I061" => published(["Infinity", "-Infinity"].map(|n| recommended(n, "0", "1"))),
        "I063" => published([recommended("1e999", "0", "1")]),
        "I067" => published([recommended("20", "30", "10")]),
        "I069" => published([recommended("10.0000000001", "0", "10")]),
        "I070" => published([
            recommended("-5", "-10", "10"),
            recommended("101", "0", "200"),
        ]),
        "I072" => published(["1.5", "-1", "9223372036854775808", "9007199254740993"].map(earned)),
        "I073" => published([NUDGE.replace("EXPIRY", "2036-01-24T11:59:58+00:00")]),
        "I074" => published([NUDGE.replace("EXPIRY", "2036-01-24T11:59:59+00:00")]),
        "I077" => published([NUDGE.replace("EXPIRY", "2037-02-30T00:00:00Z")]),
        "I078" => {
            let leap = published([NUDGE.replace("EXPIRY", "2036-12-31T23:59:60Z")]);
            assert_eq!(leap, ["accepted"]);
            published([NUDGE.replace("EXPIRY", "2037-01-01T24:00:00Z")])
        }
        "I083" => {
            let long = ["n".repeat(129), "n".repeat(256)];
            let mut said: Vec<_> = long.iter().map(|name| named(name)).collect();
            // No argument is as long as that, so it comes as a document.
            let desk = Desk::with_outbox();
            let line = format!(
                r#"{{"client":"{CLIENT}","name":"{}","url":"https://hooks.shop.com/in"}}"#,
                "n".repeat(1 << 19)
            );
            let import = desk.feed("subscription import - --json", line.as_bytes());
            said.push(all_codes(&import.json()).remove(0));
            said
        }
        "I084" => ["a\nb", "\u{1b}[31mred", "abc\u{202e}txt", "\u{2066}x"]
            .map(named)
            .into(),
        "I085" => ["=HYPERLINK(\"https://example.com\")", "+1+1"]
            .map(named)
            .into(),
        "I086" => vec![named("<script>alert(1)</script>")],
        "I090" => {
            let local = Local::new(Answer::default());
            assert_eq!(local.add("").code, Some(0));
            let url = local.receiver.url("/hooks");
            let again = ["--client", CLIENT, "--name", "Other", "--url", &url];
            vec![code(&local.desk.exec(
                &[&["--json", "subscription", "add"], &again[..]].concat(),
                b"",
            ))]
        }
        "I092" => [
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "webhook-signature",
            ":path",
        ]
        .map(|name| sent_along(name, b"x"))
        .into(),
        "I093" => [
            &b"a\r\nb: c"[..],
            b"a\nb",
            b"a\rb",
            b"a\0b",
            "\u{e9}".as_bytes(),
        ]
        .map(|value| sent_along("X-Shop", value))
        .into(),
        "I094" => ["X Y", "", &"x".repeat(10 << 10)]
            .map(|name| sent_along(name, b"x"))
            .into(),
        "I114" => ["tls_verify = false", "[egress]\ntls_verify = false"]
            .map(|file| {
                let desk = Desk::new();
                desk.write("tharsis.toml", file);
                code(&desk.run("subscription list --json"))
            })
            .into(),
        "I116" => {
            let wrong = ["--nonsense", "nonsense", "run --nonsense", ""].map(|line| {
                let said = Desk::new().run(line);
                assert!(said.stderr.contains("Usage"), "{}", said.all());
                assert_eq!(said.stdout, "");
                exit(&said)
            });
            wrong.into()
        }
        "I117" => vec![asked(&["replay", "--event", "not-a-uuid"])],
        "I125" => {
            let desk = Desk::new();
            [&b"publish"[..], b"subscription"]
                .map(|name| {
                    let output = command(desk.0.path())
                        .args([OsStr::from_bytes(name), OsStr::from_bytes(b"--\xff")])
                        .output()
                        .unwrap();
                    let told = String::from_utf8_lossy(&output.stderr);
                    assert!(!told.contains("panicked"), "{told}");
                    format!("exit {}", output.status.code().unwrap())
                })
                .into()
        }
        other => panic!("inputs_run.tsv gives {other} to the program, whose tests do not know it"),
    }
}

fn exit(said: &Said) -> String {
    format!("exit {}", said.code.unwrap())
}

/// The code of what was refused, or `accepted`; wrong usage that has none is told by its exit code.
fn code(said: &Said) -> String {
    match said.code {
        Some(0) => "accepted".to_owned(),
        _ if said.stdout.is_empty() => exit(said),
        _ => match said.json()["error"]["code"].as_str().unwrap() {
            "usage" => exit(said),
            code => code.to_owned(),
        },
    }
}

/// Each line, published by itself.
fn published<L: AsRef<[u8]>, const N: usize>(lines: [L; N]) -> Vec<String> {
    let desk = Desk::with_outbox();
    lines
        .map(|line| {
            let said = desk.feed("publish --json", line.as_ref());
            match said.json()["refused"].as_array().unwrap().as_slice() {
                [] => "accepted".to_owned(),
                [one] => one["error"]["code"].as_str().unwrap().to_owned(),
                more => panic!("{more:?}"),
            }
        })
        .into()
}

/// What is said to the second.
fn published_twice(first: &str, second: &str) -> String {
    let desk = Desk::with_outbox();
    let said = desk.feed("publish --json", format!("{first}\n{second}").as_bytes());
    let said = said.json();
    assert_eq!(said["published"], 1);
    match said["refused"][0]["error"]["code"].as_str() {
        Some(code) => code.to_owned(),
        None => {
            assert_eq!(said["duplicates"], 1);
            "duplicate".to_owned()
        }
    }
}

fn order(payload: &str, more: &str) -> String {
    format!(r#"{{"type":"order","client":"{CLIENT}","payload":{payload}{more}}}"#)
}

fn of_client(client: &str) -> String {
    format!(r#"{{"type":"order","client":{client},"payload":{{}}}}"#)
}

/// As the client of an event, and as whom a command is about.
fn identified(texts: &[&str]) -> Vec<String> {
    (texts.iter())
        .flat_map(|text| {
            let [published] = published([of_client(&format!("\"{text}\""))])
                .try_into()
                .unwrap();
            let shown = Desk::with_outbox().exec(&["event", "show", text], b"");
            // Wrong usage, before anything is opened.
            assert_eq!(exit(&shown), "exit 2");
            let subscription = [
                "--json",
                "subscription",
                "add",
                "--name",
                "Shop",
                "--url",
                "https://hooks.shop.com/in",
                "--client",
                text,
            ];
            [published, code(&Desk::new().exec(&subscription, b""))]
        })
        .collect()
}

fn recommended(discount: &str, min: &str, max: &str) -> String {
    format!(
        r#"{{"predictionId":"a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9","type":"product_discount_recommendation","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"{CLIENT}","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{{"userId":"3594918"}},"predictions":[{{"product_id":"1","name":"Tank Top","type":"percentage","discount":{discount},"min":{min},"max":{max},"step":1}}]}}"#
    )
}

fn earned(quantity: &str) -> String {
    format!(
        r#"{{"type":"reward.earned","client":"{CLIENT}","payload":{{"rewards":[{{"id":"1","reward_id":"1","reward_name":"10 Rs Off","nudge_id":"1","ext_id":"1","task_id":"1","quantity":{quantity},"coin":{{"value":1}},"created_at":"2024-07-04T12:53:58.129Z"}}]}}}}"#
    )
}

/// A command on an empty outbox.
fn asked(arguments: &[&str]) -> String {
    let desk = Desk::with_outbox();
    code(&desk.exec(&[&["--json"], arguments].concat(), b""))
}

/// A subscription, to a port that nobody listens at: what gets as far as the check of its URL was accepted.
fn added(more: &[&str]) -> String {
    let desk = Desk::new();
    let settings = [
        "--json",
        "--egress-allow-address",
        "127.0.0.0/8",
        "--egress-allow-host",
        "localhost",
        "--egress-allow-port",
        "1",
        "subscription",
        "add",
        "--client",
        CLIENT,
        "--name",
        "Shop",
        "--profile",
        "standard",
        "--url",
        "https://localhost:1/in",
        "--check",
        "head",
    ];
    let mut arguments = settings.to_vec();
    match more {
        ["--name", name] => arguments[12] = name,
        more => arguments.extend(more),
    }
    match code(&desk.exec(&arguments, b"")).as_str() {
        "connect_refused" => "accepted".to_owned(),
        code => code.to_owned(),
    }
}

fn named(name: &str) -> String {
    added(&["--name", name])
}

/// A header of its own, whose value lies in a file.
fn sent_along(name: &str, value: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("value");
    std::fs::write(&file, value).unwrap();
    added(&["--header-file", &format!("{name}={}", file.display())])
}

/// Every code in a document.
fn all_codes(document: &serde_json::Value) -> Vec<String> {
    match document {
        serde_json::Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(code) if name == "code" => vec![code.to_owned()],
                _ => all_codes(value),
            })
            .collect(),
        serde_json::Value::Array(items) => items.iter().flat_map(all_codes).collect(),
        _ => Vec::new(),
    }
}
