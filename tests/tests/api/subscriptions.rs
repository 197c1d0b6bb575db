//! Subscriptions over HTTP: registered, changed, rotated, tried and removed.

use serde_json::{Value, json};
use tharsis_tests::{ALPHA, Answer, Api, BETA, Database, Subscribe, World, on_both_databases};

use crate::{SOON, token};

on_both_databases! {
    a_url_is_registered_over_http_and_gets_what_is_published,
    what_was_changed_meanwhile_is_not_changed,
    a_new_url_proves_that_it_is_there,
    a_secret_is_rotated_and_the_former_one_signs_on,
    what_is_refused_is_told_by_its_field,
    a_subscription_is_tried_before_anything_is_published,
}

/// Asks for a change with these conditions.
fn patch(api: &Api, token: &str, id: &str, tag: Option<&str>, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![
        ("authorization", &*bearer),
        ("content-type", "application/merge-patch+json"),
    ];
    headers.extend(tag.map(|tag| ("if-match", tag)));
    let path = format!("/v1/subscriptions/{id}");
    api.ask("PATCH", &path, &headers, body.to_string().as_bytes())
}

fn id(of: &Value) -> String {
    of["id"].as_str().expect("an id").to_owned()
}

fn a_url_is_registered_over_http_and_gets_what_is_published(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    world.subscribe(&Subscribe::new(BETA, &partner));
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &[]);
    let body = json!({
        "name": "Shop", "url": shop.url, "secret": shop.secret, "retry": "1s,1m",
        "headers": [{"name": "X-Till", "value": "7"}], "breaker": null, "rate": "100/s",
    });
    let made = api.post(&admin, "/v1/subscriptions", &body.to_string());
    assert_eq!((made.status, shop.heads().len()), (201, 1), "{made:?}");
    let document = made.json();
    let id = id(&document);
    assert_eq!(
        made.header("location"),
        Some(&*format!("/v1/subscriptions/{id}"))
    );
    assert_eq!(
        (
            &document["client"],
            &document["retry"],
            &document["breaker"],
            &document["headers"]
        ),
        (
            &json!(ALPHA),
            &json!("1s,1m"),
            &Value::Null,
            &json!(["x-till"])
        ),
        "{document}"
    );
    // It was given, so nobody is told it.
    assert_eq!(document["secret"], Value::Null);
    let got = api.get(&admin, &format!("/v1/subscriptions/{id}"));
    assert_eq!(got.header("etag"), made.header("etag"));

    let lines = world.predictions(ALPHA, 2);
    for line in &lines {
        api.post(&admin, "/v1/events", &line.text).ok();
    }
    shop.wait_for(2, SOON);
    shop.assert_received_once(&lines);
    shop.assert_all_verified();
    let till = shop.posts()[0].headers.get("x-till").cloned();
    assert_eq!(
        till.map(|value| value.as_bytes().to_vec()),
        Some(b"7".to_vec())
    );

    let removed = api.ask(
        "DELETE",
        &format!("/v1/subscriptions/{id}"),
        &[
            ("authorization", &format!("Bearer {admin}")),
            ("if-match", "\"99\""),
        ],
        b"",
    );
    assert_eq!(removed.refused(412), "changed_meanwhile");
    let bearer = format!("Bearer {admin}");
    let path = format!("/v1/subscriptions/{id}");
    let removed = api.ask("DELETE", &path, &[("authorization", &bearer)], b"");
    assert_eq!(removed.ok()["id"], *id);
    assert_eq!(api.get(&admin, &path).refused(404), "not_found");
    assert_eq!(partner.count(), 0);
}

fn what_was_changed_meanwhile_is_not_changed(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let other = world.subscribe(&Subscribe::new(BETA, &partner)).id;
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let got = api.get(&admin, &format!("/v1/subscriptions/{id}"));
    let tag = got.header("etag").expect("a tag").to_owned();
    let renamed = json!({"name": "Shop of spring", "filter": "event.maraxId != \"\""});

    let bare = patch(&api, &admin, &id, None, &renamed);
    assert_eq!(bare.refused(428), "if_match_missing");
    let odd = patch(&api, &admin, &id, Some("7"), &renamed);
    assert_eq!(odd.refused(400), "bad_if_match");
    let changed = patch(&api, &admin, &id, Some(&tag), &renamed);
    let document = changed.ok();
    assert_eq!(
        (&document["name"], &document["retry"]),
        (&json!("Shop of spring"), &got.json()["retry"])
    );
    assert_eq!(document["filter"], renamed["filter"]);
    assert_ne!(changed.header("etag"), Some(&*tag));

    let late = patch(
        &api,
        &admin,
        &id,
        Some(&tag),
        &json!({"name": "Shop of summer"}),
    );
    assert_eq!(late.refused(412), "changed_meanwhile");
    let whatever = patch(&api, &admin, &id, Some("*"), &json!({"filter": null}));
    assert_eq!(whatever.ok()["filter"], Value::Null);
    // A pause in between is a change too.
    let tag = whatever.header("etag").expect("a tag").to_owned();
    api.post(&admin, &format!("/v1/subscriptions/{id}/pause"), "")
        .ok();
    let late = patch(&api, &admin, &id, Some(&tag), &renamed);
    assert_eq!(late.refused(412), "changed_meanwhile");

    let theirs = patch(&api, &admin, &other, Some("*"), &renamed);
    assert_eq!(theirs.refused(404), "not_found");
    let moved = patch(&api, &admin, &id, Some("*"), &json!({"client": BETA}));
    assert_eq!(moved.refused(409), "not_changeable");
    // Nor is anything of it noted with the other client, were its secret a weak one for another host.
    let elsewhere = json!({
        "client": BETA, "url": format!("https://hooks.elsewhere.com:{}/", shop.port()), "secret": "opensesame1", "accept_weak_secret": true,
    });
    let moved = patch(&api, &admin, &id, Some("*"), &elsewhere);
    assert_eq!(moved.refused(409), "not_changeable");
    let of_beta = token(&world, "admin", Some(BETA));
    let audit = api.get(&of_beta, "/v1/audit").ok();
    let actions: Vec<&Value> = (audit["entries"].as_array().expect("a list").iter())
        .map(|entry| &entry["action"])
        .collect();
    assert!(
        !actions.is_empty() && !actions.contains(&&json!("secret.weak")),
        "{audit}"
    );
    // What else changes it heeds the version too, where one is named.
    let bearer = format!("Bearer {admin}");
    for change in ["pause", "resume", "rotate"] {
        let path = format!("/v1/subscriptions/{id}/{change}");
        let headers = [("authorization", &*bearer), ("if-match", &*tag)];
        let late = api.ask("POST", &path, &headers, b"");
        assert_eq!(late.refused(412), "changed_meanwhile", "{change}");
    }
    // The receiver was asked when it was registered, and no more.
    assert_eq!(shop.heads().len(), 1);
}

fn a_new_url_proves_that_it_is_there(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let moved = world.receiver("moved").with_secret(&shop.secret).start();
    let gone = world.receiver("gone").answers_head(404).start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let admin = token(&world, "admin", None);
    let api = Api::start(&world, &["--no-worker"]);
    let changed = patch(&api, &admin, &id, Some("*"), &json!({"url": moved.url}));
    assert_eq!(changed.ok()["url"], *moved.url, "{changed:?}");
    assert_eq!((shop.heads().len(), moved.heads().len()), (1, 1));
    let lines = world.predictions(ALPHA, 1);
    world.publish(&lines);
    world.run_until_idle();
    moved.assert_received_once(&lines);
    moved.assert_all_verified();
    assert_eq!(shop.count(), 0);

    // Its host is the same, so its secret is replaced by itself.
    let same = patch(
        &api,
        &admin,
        &id,
        Some("*"),
        &json!({"secret": world.secret()}),
    );
    assert_eq!(same.refused(422), "same_host");
    // What does not answer changes nothing.
    let refused = patch(&api, &admin, &id, Some("*"), &json!({"url": gone.url}));
    assert_eq!(refused.refused(422), "status_not_200");
    assert_eq!(refused.json()["field"], "url");
    let kept = api.get(&admin, &format!("/v1/subscriptions/{id}")).ok();
    assert_eq!(kept["url"], *moved.url);
}

fn a_secret_is_rotated_and_the_former_one_signs_on(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    world.subscribe(&Subscribe::new(BETA, &partner));
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let path = format!("/v1/subscriptions/{id}/rotate");
    let before = api.get(&admin, &format!("/v1/subscriptions/{id}")).ok();

    let reused = api.post(&admin, &path, &json!({"secret": shop.secret}).to_string());
    assert_eq!(reused.refused(422), "secret_reused");
    let weak = api.post(&admin, &path, r#"{"secret": "opensesame"}"#);
    assert_eq!(weak.refused(422), "secret_too_short");
    assert!(!weak.body.contains("opensesame"), "{weak:?}");
    let both = api.post(&admin, &path, r#"{"overlap": "1d"}"#);
    assert_eq!(both.refused(409), "one_signature");
    let made = api.post(&admin, &path, "").ok();
    let secret = made["secret"].as_str().expect("it is shown once");
    assert_ne!(made["secret_fingerprint"], before["secret_fingerprint"]);
    let shown = api.get(&admin, &format!("/v1/subscriptions/{id}"));
    assert!(!shown.body.contains(secret));
    let audit = api.get(&admin, "/v1/audit").ok();
    assert_eq!(audit["entries"][0]["action"], "subscription.rotated");
    assert!(!audit.to_string().contains(secret));
    let none = api.post(&admin, &path, r#"{"secret": null}"#).ok();
    assert_eq!(
        (&none["secret"], &none["secret_fingerprint"]),
        (&Value::Null, &Value::Null)
    );
}

fn what_is_refused_is_told_by_its_field(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let shop = world.receiver("shop").start();
    let [admin, of_alpha] = [None, Some(ALPHA)].map(|client| token(&world, "admin", client));
    let api = Api::start(&world, &["--no-worker"]);
    let create = |token: &str, body: Value| {
        let answer = api.post(token, "/v1/subscriptions", &body.to_string());
        let field = answer.json()["field"].clone();
        (answer.status, answer.json()["code"].clone(), field)
    };
    let with = |field: &str, value: Value| {
        let mut body = json!({"client": ALPHA, "name": "Shop", "url": shop.url});
        body[field] = value;
        body
    };
    for (body, status, code, field) in [
        (
            json!({"name": "Shop", "url": shop.url}),
            422,
            "missing_field",
            "client",
        ),
        (with("name", Value::Null), 422, "missing_field", "name"),
        (
            with("url", json!("http://shop.example/")),
            422,
            "scheme_not_https",
            "url",
        ),
        (
            with("profile", json!("pluto")),
            422,
            "unknown_profile",
            "profile",
        ),
        (with("colour", json!("red")), 422, "bad_json", "colour"),
        (
            with("max_in_flight", json!("many")),
            422,
            "bad_json",
            "max_in_flight",
        ),
        (
            with("filter", json!("event.")),
            422,
            "filter_syntax",
            "filter",
        ),
        (
            with("secret", json!("opensesame")),
            422,
            "secret_too_short",
            "secret",
        ),
        (with("client", json!("alpha")), 422, "bad_uuid", "client"),
    ] {
        let told = create(&admin, body.clone());
        assert_eq!(told, (status, json!(code), json!(field)), "{body}");
    }
    let theirs = create(&of_alpha, with("client", json!(BETA)));
    assert_eq!((theirs.0, theirs.1), (404, json!("not_found")));
    assert_eq!(shop.heads().len(), 0, "nothing was asked");
    assert_eq!(create(&of_alpha, with("client", Value::Null)).0, 201);
    assert_eq!(create(&admin, with("url", json!(shop.url))).1, "name_taken");
    let listed = api.get(&admin, "/v1/subscriptions").ok();
    assert_eq!(listed["subscriptions"].as_array().map(Vec::len), Some(1));
}

fn a_subscription_is_tried_before_anything_is_published(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(202).start();
    let partner = world.receiver("partner").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    world.subscribe(&Subscribe::new(BETA, &partner));
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let tried = api
        .post(&operator, &format!("/v1/subscriptions/{id}/test"), "")
        .ok();
    assert_eq!((shop.count(), partner.count()), (1, 0));
    shop.assert_all_verified();
    assert_eq!(tried["answer"]["status"], 202, "{tried}");
    assert!(!tried.to_string().contains(&shop.secret));

    let lines = world.predictions(ALPHA, 1);
    world.publish(&lines);
    world.run_until_idle();
    let path = format!("/v1/subscriptions/{id}/filter-test");
    let ask = |body: Value| api.post(&operator, &path, &body.to_string());
    let event: Value = serde_json::from_str(&lines[0].text).expect("an event");
    let judged =
        ask(json!({"filter": "event.maraxId == \"nobody\"", "events": [event], "last": 5}));
    let events = judged.ok()["events"].as_array().expect("a list").clone();
    assert_eq!(events.len(), 2, "{judged:?}");
    assert_eq!(ask(json!({"events": [event]})).refused(422), "no_filter");
    assert_eq!(ask(json!({"filter": "true"})).refused(422), "missing_field");
    let theirs = world.predictions(BETA, 1);
    world.publish(&theirs);
    world.run_until_idle();
    let listed = world.ask(["delivery", "list", "--client", BETA]);
    let foreign = &listed["deliveries"][0]["event"];
    let refused = ask(json!({"filter": "true", "events": [foreign]}));
    assert_eq!(refused.refused(404), "not_found");
}
