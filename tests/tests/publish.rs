//! What an engine hands over: good lines are durable, bad ones are told with their number.

use std::process::Stdio;

use serde_json::{Value, json};
use tharsis::Event;
use tharsis_tests::{ALPHA, Database, Report, Subscribe, World, on_both_databases};

on_both_databases! {
    bad_lines_are_told_with_their_number_and_the_good_ones_are_durable,
    the_answer_is_exactly_as_documented,
    a_payload_over_the_limit_is_refused_by_its_size,
    an_explicit_key_is_one_event_and_another_payload_under_it_is_refused,
    a_hundred_at_once_under_one_key_are_one_event,
    a_hundred_thousand_in_one_call_are_all_written,
}

fn bad_lines_are_told_with_their_number_and_the_good_ones_are_durable(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let good = world.predictions(ALPHA, 3);
    let text = &good[0].text;
    let bad = [
        ("{\"type\":", "json_syntax"),
        ("{\"type\":\"nudge\"} x", "json_trailing_data"),
        ("[1]", "wrong_type"),
        (r#"{"a":1}"#, "missing_field"),
        (r#"{"type":"nudge","type":"nudge"}"#, "json_duplicate_key"),
        (&*text.replace("\"min\":10", "\"min\":90"), "range_inverted"),
        (
            &*text.replace("\"max\":50", "\"max\":1e999"),
            "number_out_of_range",
        ),
        (
            &*text.replace(ALPHA, "{b4aeba4e-a4c0-4896-866a-56f8bcb372fc}"),
            "bad_uuid",
        ),
        (
            &*text.replacen("\"score\":0.5", "\"score\":9007199254740993", 1),
            "number_out_of_range",
        ),
    ];
    let mut input = String::new();
    let mut expected = Vec::new();
    for (index, (line, code)) in bad.iter().enumerate() {
        input.push_str(line);
        input.push_str("\n\n");
        expected.push((2 * index as u64 + 1, (*code).to_owned()));
    }
    for line in &good {
        input.push_str(&line.text);
        input.push('\n');
    }
    let answer = world.publish_text(&input).expect(1);
    let report = Report::read(&answer.json());
    assert_eq!((report.published, report.duplicates), (3, 0));
    let refused: Vec<(u64, String)> = (report.refused.iter())
        .map(|(line, error)| (*line, error["code"].as_str().expect("a code").to_owned()))
        .collect();
    assert_eq!(refused, expected);
    let imprecise = &report.refused[8].1;
    assert_eq!(imprecise["field"], "predictions[0].explanations[0].score");
    assert!(
        imprecise.to_string().contains("string"),
        "it advises a string: {imprecise}"
    );
    for (_, error) in &report.refused {
        let keys: Vec<&String> = error.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["code", "field", "hint", "message"]);
    }
    world.run_until_idle();
    shop.assert_received_once(&good);
}

fn the_answer_is_exactly_as_documented(on: Database) {
    let world = World::on(on);
    let line = world.nudges(ALPHA, 1).remove(0).text;
    let answer = world.publish_text(format!("{line}\n{line}")).ok();
    assert_eq!(
        answer.stdout,
        "{\"published\":1,\"duplicates\":1,\"refused\":[]}\n"
    );
    let answer = world.publish_text("").ok();
    assert_eq!(
        answer.stdout,
        "{\"published\":0,\"duplicates\":0,\"refused\":[]}\n"
    );
    let answer = world.publish_text("{").expect(1).json();
    assert_eq!(answer["refused"][0]["line"], 1);
    assert_eq!(answer["refused"][0]["error"]["code"], "json_syntax");
}

#[test]
fn a_file_is_read_as_well_as_a_pipe() {
    let world = World::new();
    let lines = world.predictions(ALPHA, 4);
    let text: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
    world.write("events.ndjson", text.join("\r\n"));
    let report = Report::read(&world.ask(["publish", "events.ndjson"]));
    assert_eq!(report.published, 4);
    let missing = world.tharsis(["--json", "publish", "nowhere.ndjson"]);
    assert!(
        missing.error()["message"]
            .to_string()
            .contains("nowhere.ndjson")
            || missing.error()["field"] == "nowhere.ndjson"
    );
}

#[test]
fn an_enormous_line_and_bytes_that_are_no_text_are_only_bad_lines() {
    let world = World::new();
    let good = world.predictions(ALPHA, 2);
    let mut input = good[0].text.clone().into_bytes();
    input.push(b'\n');
    input.extend(std::iter::repeat_n(b'x', 10 << 20));
    input.push(b'\n');
    input.extend(b"{\"type\":\"nudge\xff\xfe\"}\n");
    input.extend(b"[".repeat(500_000));
    input.push(b'\n');
    input.extend(good[1].text.as_bytes());
    let report = Report::read(&world.publish_text(&input).expect(1).json());
    assert_eq!(report.published, 2);
    let refused: Vec<(u64, &Value)> = report
        .refused
        .iter()
        .map(|(line, error)| (*line, &error["code"]))
        .collect();
    assert_eq!(
        refused,
        [
            (2, &json!("line_too_long")),
            (3, &json!("json_not_utf8")),
            (4, &json!("json_too_deep"))
        ]
    );
}

fn a_payload_over_the_limit_is_refused_by_its_size(on: Database) {
    let world = World::on(on);
    let line = &world.nudges(ALPHA, 1)[0];
    let large = line.text.replace(
        "pristine\",",
        &format!("pristine\",\"blob\":\"{}\",", "x".repeat(300_000)),
    );
    let report = Report::read(&world.publish_text(large).expect(1).json());
    assert_eq!(report.refused[0].1["code"], "payload_too_large");
}

fn an_explicit_key_is_one_event_and_another_payload_under_it_is_refused(on: Database) {
    let world = World::on(on);
    let [first, second] = &world.predictions(ALPHA, 2)[..] else {
        panic!("there are two");
    };
    let keyed = |line: &tharsis_tests::Line| line.in_envelope(r#""key":"order-17""#);
    let report = world.publish(&[keyed(first), keyed(first)]);
    assert_eq!((report.published, report.duplicates), (1, 1));
    // In another run too.
    let again = Report::read(&world.publish_text(keyed(second).text).expect(1).json());
    assert_eq!(again.refused[0].1["code"], "idempotency_conflict");
    let report = world.publish(&[keyed(first)]);
    assert_eq!((report.published, report.duplicates), (0, 1));
}

fn a_hundred_at_once_under_one_key_are_one_event(on: Database) {
    let world = World::on(on);
    let line = world.predictions(ALPHA, 1).remove(0);
    let emitters = [world.emitter(), world.emitter()];
    let event = Event::parse(line.text.as_bytes()).expect("a good event");
    let ids = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..20 {
            let (emitter, event, ids, world) = (&emitters[n % 2], &event, &ids, &world);
            scope.spawn(move || {
                for _ in 0..5 {
                    let published = world
                        .block_on(emitter.publish(event))
                        .expect("it is published, or was");
                    ids.lock().expect("nobody panics with it").push(published);
                }
            });
        }
    });
    let ids = ids.into_inner().expect("nobody panics with it");
    assert_eq!(ids.len(), 100);
    assert_eq!(
        ids.iter().filter(|published| !published.duplicate).count(),
        1
    );
    assert!(ids.iter().all(|published| published.id == ids[0].id));
}

fn a_hundred_thousand_in_one_call_are_all_written(on: Database) {
    let world = World::alone_on(on);
    let emitter = world.emitter();
    let events: Vec<Event> = (world.nudges(ALPHA, 100_000).iter())
        .map(|line| Event::parse(line.text.as_bytes()).expect("a good event"))
        .collect();
    let published = world
        .block_on(emitter.publish_all(&events))
        .expect("they are published");
    assert_eq!(published.len(), 100_000);
    assert!(published.iter().all(|published| {
        published
            .as_ref()
            .is_ok_and(|published| !published.duplicate)
    }));
    let remaining = world
        .block_on(emitter.remaining())
        .expect("the database answers");
    assert_eq!(remaining.unrouted, 100_000);
}

#[test]
fn the_command_line_is_strict() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let world = World::new();
    for wrong in [
        &["--nonsense"][..],
        &["nonsense"],
        &["run", "--nonsense"],
        &["replay", "--event", "not-a-uuid"],
        &["delivery", "show", "x"],
    ] {
        let refused = world.tharsis(wrong).expect(2);
        assert!(!refused.stderr.is_empty());
        assert_eq!(refused.stdout, "");
    }
    world
        .tharsis([
            OsStr::new("publish"),
            OsStr::from_bytes(b"\xff\xfe"),
            OsStr::from_bytes(b"\xff"),
        ])
        .expect(2);
    world.write("unknown.toml", "[egress]\ntls_verify = false\n");
    let refused = world
        .tharsis(["--json", "--config", "unknown.toml", "subscription", "list"])
        .expect(2);
    assert_eq!(
        refused.error_code(),
        "unknown_key",
        "there is no such switch"
    );
}

#[test]
fn a_reader_that_goes_away_does_no_harm() {
    let world = World::new();
    world.publish(&world.predictions(ALPHA, 100));
    let (reader, writer) = std::io::pipe().expect("there is a pipe");
    drop(reader);
    let listing = world.spawn_writing(["delivery", "list"], Stdio::from(writer));
    let ended = listing.finish(std::time::Duration::from_secs(20));
    assert!(!ended.stderr.contains("panic"), "{}", ended.stderr);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
