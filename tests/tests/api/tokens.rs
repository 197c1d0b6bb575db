//! Tokens over HTTP: nobody gives away more than they have.

use serde_json::json;
use tharsis_tests::{ALPHA, Api, BETA, Database, World, on_both_databases};

use crate::token;

on_both_databases! { an_admin_of_one_client_makes_tokens_of_that_client }

fn an_admin_of_one_client_makes_tokens_of_that_client(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let [admin, of_beta, master] =
        [Some(ALPHA), Some(BETA), None].map(|client| token(&world, "admin", client));
    let api = Api::start(&world, &["--no-worker"]);
    let create =
        |token: &str, body: serde_json::Value| api.post(token, "/v1/tokens", &body.to_string());
    let made = create(
        &admin,
        json!({"name": "till", "role": "publisher", "expires": "90d"}),
    );
    let document = made.ok();
    assert_eq!((made.status, &document["client"]), (201, &json!(ALPHA)));
    let secret = document["token"]
        .as_str()
        .expect("it is shown once")
        .to_owned();
    let theirs = create(
        &admin,
        json!({"name": "x", "role": "viewer", "client": BETA}),
    );
    assert_eq!(theirs.refused(404), "not_found");
    assert_eq!(
        create(&admin, json!({"name": "", "role": "viewer"})).refused(422),
        "empty"
    );
    let odd = create(&admin, json!({"name": "x", "role": "king"}));
    assert_eq!((odd.status, &odd.json()["field"]), (422, &json!("role")));

    let listed = api.get(&admin, "/v1/tokens").ok();
    let tokens = listed["tokens"].as_array().expect("a list");
    assert!(
        tokens.iter().all(|token| token["client"] == ALPHA),
        "{listed}"
    );
    assert!(!listed.to_string().contains(&secret));
    let id = document["id"].as_str().expect("an id");
    let revoke = |token: &str, id: &str| {
        let bearer = format!("Bearer {token}");
        let path = format!("/v1/tokens/{id}");
        api.ask("DELETE", &path, &[("authorization", &bearer)], b"")
    };
    assert_eq!(revoke(&of_beta, id).refused(404), "not_found");
    let everybodys = api.get(&master, "/v1/tokens").ok();
    let everybodys = everybodys["tokens"].as_array().expect("a list").iter();
    let masters = everybodys.filter(|token| token["client"].is_null());
    for token in masters {
        let id = token["id"].as_str().expect("an id");
        assert_eq!(revoke(&admin, id).refused(404), "not_found");
    }
    let order = json!({"type": "order", "client": ALPHA, "payload": {"n": 1}}).to_string();
    api.post(&secret, "/v1/events", &order).ok();
    assert_eq!(revoke(&admin, id).ok()["state"], "revoked");
    assert_eq!(
        api.post(&secret, "/v1/events", &order).refused(401),
        "token_unknown"
    );
}
