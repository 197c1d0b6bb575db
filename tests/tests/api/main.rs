//! The HTTP API: who may do what, and that what is published over it arrives.

mod campaigns;
mod doors;
mod egress;
mod openapi;
mod replays;
mod subscriptions;
mod tokens;

use std::time::Duration;

use serde_json::{Value, json};
use tharsis_tests::{ALPHA, Api, BETA, Database, Subscribe, World, on_both_databases, wait_until};

on_both_databases! {
    an_event_is_published_over_http_and_arrives_once,
    many_events_are_published_in_one_request_and_each_is_answered,
    a_token_ceases_to_count_when_it_is_revoked,
    what_is_asked_wrongly_is_told_by_its_place,
    what_is_changed_over_http_is_kept_with_who_did_it,
}

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A token of this role, for one client or for all.
pub(crate) fn token(world: &World, role: &str, client: Option<&str>) -> String {
    let name = format!("{role} of {}", client.unwrap_or("all"));
    let mut create = vec!["token", "create", "--name", &name, "--role", role];
    create.extend(client.into_iter().flat_map(|client| ["--client", client]));
    let made = world.ask(create);
    made["token"].as_str().expect("it is shown once").to_owned()
}

fn an_event_is_published_over_http_and_arrives_once(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &partner));
    let publisher = token(&world, "publisher", Some(ALPHA));
    let api = Api::start(&world, &[]);
    let lines = world.predictions(ALPHA, 1);
    let first = api.post(&publisher, "/v1/events", &lines[0].text);
    assert_eq!(
        (first.status, &first.json()["duplicate"]),
        (201, &json!(false))
    );
    shop.wait_for(1, SOON);
    let again = api.post(&publisher, "/v1/events", &lines[0].text);
    assert_eq!(
        (again.status, &again.json()["duplicate"]),
        (200, &json!(true))
    );
    assert_eq!(first.json()["id"], again.json()["id"]);

    // Of another client it publishes nothing.
    let theirs = world.predictions(BETA, 1);
    let refused = api.post(&publisher, "/v1/events", &theirs[0].text);
    assert_eq!(refused.refused(403), "client_not_allowed");
    assert_eq!(refused.json()["field"], "client");

    // A key that comes with the request is the event's.
    let keyed = |payload: u8| {
        let headers = [
            ("authorization", &*format!("Bearer {publisher}")),
            ("idempotency-key", "order-17"),
        ];
        let body = json!({"type": "order", "client": ALPHA, "payload": {"total": payload}});
        api.ask("POST", "/v1/events", &headers, body.to_string().as_bytes())
    };
    assert_eq!(keyed(1).status, 201);
    assert_eq!(keyed(1).status, 200);
    assert_eq!(keyed(2).refused(409), "idempotency_conflict");
    api.process.terminate();
    api.process.finish(SOON).ok();
    shop.assert_received_once(&lines);
    assert_eq!(partner.count(), 0);
}

fn many_events_are_published_in_one_request_and_each_is_answered(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let publisher = token(&world, "publisher", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let lines = world.predictions(ALPHA, 3);
    let theirs = world.predictions(BETA, 1);
    let body = [
        &*lines[0].text,
        "",
        "{",
        &*theirs[0].text,
        &*lines[1].text,
        &*lines[2].text,
    ]
    .join("\n");
    let headers = [
        ("authorization", &*format!("Bearer {publisher}")),
        ("content-type", "application/x-ndjson"),
    ];
    let answer = api
        .ask("POST", "/v1/events", &headers, body.as_bytes())
        .ok();
    let counts = ["published", "duplicates", "refused"].map(|key| answer[key].as_u64());
    assert_eq!(counts, [Some(3), Some(0), Some(2)], "{answer}");
    let told: Vec<(&Value, &Value)> = (answer["lines"].as_array().expect("a list").iter())
        .map(|line| (&line["line"], &line["error"]["code"]))
        .collect();
    let refused = |line: u64| {
        told.iter()
            .find(|(number, _)| **number == json!(line))
            .expect("it is told")
            .1
    };
    assert_eq!(told.len(), 5);
    assert_eq!(
        (refused(3), refused(4)),
        (&json!("json_syntax"), &json!("client_not_allowed")),
        "{answer}"
    );
    let again = api
        .ask("POST", "/v1/events", &headers, body.as_bytes())
        .ok();
    assert_eq!(
        (&again["published"], &again["duplicates"]),
        (&json!(0), &json!(3))
    );
    // Durable when it was answered: whoever comes next delivers it.
    api.process.kill9();
    world.run_until_idle();
    shop.assert_received_once(&lines);
}

fn a_token_ceases_to_count_when_it_is_revoked(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let [kept, revoked] = [ALPHA, BETA].map(|client| token(&world, "viewer", Some(client)));
    let api = Api::start(&world, &["--no-worker"]);
    for token in [&kept, &revoked] {
        api.get(token, "/v1/subscriptions").ok();
    }
    let listed = world.ask(["token", "list"]);
    let tokens = listed["tokens"].as_array().expect("a list");
    assert!(
        tokens.iter().all(|token| token["used_at"].is_string()),
        "{listed}"
    );
    assert!(
        [&kept, &revoked]
            .iter()
            .all(|token| !listed.to_string().contains(&***token))
    );
    let of_beta = tokens
        .iter()
        .find(|token| token["client"] == BETA)
        .expect("it is listed");
    world.ask(["token", "revoke", of_beta["id"].as_str().expect("an id")]);
    // By another process: this one knows it within a second.
    let refused = wait_until("it lets nobody in", SOON, || {
        let answer = api.get(&revoked, "/v1/subscriptions");
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.refused(401), "token_unknown");
    api.get(&kept, "/v1/subscriptions").ok();
}

fn what_is_asked_wrongly_is_told_by_its_place(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let (admin, viewer) = (
        token(&world, "admin", None),
        token(&world, "viewer", Some(ALPHA)),
    );
    let api = Api::start(&world, &["--no-worker"]);
    let field = |path: &str| api.get(&viewer, path).json()["field"].clone();
    assert_eq!(
        api.get(&viewer, "/v1/deliveries?colour=red").refused(400),
        "unknown_parameter"
    );
    assert_eq!(field("/v1/deliveries?colour=red"), "colour");
    assert_eq!(
        api.get(&viewer, "/v1/deliveries?status=lost").refused(422),
        "bad_status"
    );
    assert_eq!(
        api.get(&viewer, "/v1/deliveries?limit=0").refused(422),
        "out_of_range"
    );
    assert_eq!(field("/v1/deliveries?limit=0"), "limit");
    assert_eq!(
        api.get(&viewer, "/v1/deliveries?since=yesterday").status,
        422
    );
    assert_eq!(
        api.get(&viewer, "/v1/deliveries?after=x").refused(422),
        "bad_cursor"
    );
    assert_eq!(api.get(&viewer, "/v1/nothing").refused(404), "not_found");
    assert_eq!(
        api.post(&viewer, "/v1/deliveries", "").refused(405),
        "method_not_allowed"
    );
    assert_eq!(
        api.post(&admin, "/v1/events", "{").refused(422),
        "json_syntax"
    );
    let predictions = world.predictions(ALPHA, 1);
    let broken = predictions[0].text.replace("\"clientId\"", "\"client_id\"");
    assert_eq!(api.post(&admin, "/v1/events", &broken).status, 422);
    let headers = [
        ("authorization", &*format!("Bearer {admin}")),
        ("content-type", "text/plain"),
    ];
    assert_eq!(
        api.ask("POST", "/v1/events", &headers, b"x").refused(415),
        "content_type"
    );
    let large = vec![b' '; 9 * 1024 * 1024];
    let headers = [("authorization", &*format!("Bearer {admin}"))];
    let too_large = api.ask("POST", "/v1/events", &headers, &large);
    assert_eq!(too_large.refused(413), "body_too_large");
    let id = "019b2f70-91d2-7b35-8f06-3f1c5d0a7e42";
    let unheard = format!("/v1/subscriptions/{id}/resume?held=none");
    assert_eq!(
        api.post(&admin, &unheard, "").refused(400),
        "unknown_parameter"
    );
    let headers = [
        ("authorization", &*format!("Bearer {admin}")),
        ("content-type", "Application/X-NDJSON"),
        ("idempotency-key", "batch-1"),
    ];
    let keyed = api.ask("POST", "/v1/events", &headers, b"{}");
    assert_eq!(keyed.refused(422), "key_of_many");
    let head = api.ask("HEAD", "/v1/subscriptions", &headers[..1], b"");
    assert_eq!((head.status, &*head.body), (200, ""));
    let well = api.ask("GET", "/healthz", &[], b"");
    assert_eq!((well.status, &*well.body), (200, "ok\n"));
    assert_eq!(well.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(well.header("cache-control"), Some("no-store"));
}

fn what_is_changed_over_http_is_kept_with_who_did_it(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let other = world.subscribe(&Subscribe::new(BETA, &partner)).id;
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let paused = api
        .post(&operator, &format!("/v1/subscriptions/{id}/pause"), "")
        .ok();
    assert_eq!(paused["state"], "paused");
    let refused = api.post(
        &operator,
        &format!("/v1/subscriptions/{id}/resume"),
        r#"{"held":"some"}"#,
    );
    assert_eq!(
        (refused.refused(422), &refused.json()["field"]),
        ("bad_choice".to_owned(), &json!("held"))
    );
    let resumed = api.post(
        &operator,
        &format!("/v1/subscriptions/{id}/resume"),
        r#"{"held":"all"}"#,
    );
    assert_eq!(resumed.ok()["state"], "active");
    assert_eq!(
        api.post(&operator, &format!("/v1/subscriptions/{other}/pause"), "")
            .refused(404),
        "not_found"
    );

    let admin = token(&world, "admin", Some(ALPHA));
    let page = api.get(&admin, "/v1/audit?limit=2").ok();
    let entries = page["entries"].as_array().expect("a list");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["action"], "subscription.resumed", "{page}");
    assert_eq!(entries[1]["address"], "127.0.0.1");
    let actor = entries[1]["actor"].as_str().expect("somebody");
    assert!(
        actor.starts_with("token ") && actor.ends_with(&format!("operator of {ALPHA}")),
        "{actor}"
    );
    assert!(!page.to_string().contains(&operator));
    let next = page["next"].as_str().expect("there is more");
    let rest = api.get(&admin, &format!("/v1/audit?after={next}")).ok();
    let rest = rest["entries"].as_array().expect("a list");
    assert!(
        rest.iter().all(|entry| entry["client"] == ALPHA),
        "{rest:?}"
    );
    assert!(
        rest.iter()
            .any(|entry| entry["action"] == "subscription.added")
    );
}
