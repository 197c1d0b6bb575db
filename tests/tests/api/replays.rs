//! Replays over HTTP.

use serde_json::json;
use tharsis_tests::{ALPHA, Api, BETA, Database, Subscribe, World, on_both_databases, wait_until};

use crate::{SOON, token};

on_both_databases! { a_client_replays_its_own_and_nothing_of_another }

fn a_client_replays_its_own_and_nothing_of_another(on: Database) {
    let world = World::on(on);
    let [shop, partner] = ["shop", "partner"].map(|name| world.receiver(name).answers(400).start());
    let ours = world
        .subscribe(&Subscribe::new(ALPHA, &shop).retry("none"))
        .id;
    let theirs = world
        .subscribe(&Subscribe::new(BETA, &partner).retry("none"))
        .id;
    let [of_alpha, of_beta] = [ALPHA, BETA].map(|client| world.predictions(client, 3));
    world.publish(&[of_alpha.clone(), of_beta].concat());
    world.run_until_idle();
    shop.now_answers(200);
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &[]);
    let listed = world.ask(["delivery", "list", "--client", BETA]);
    let delivery = &listed["deliveries"][0];
    let event = delivery["event"].as_str().expect("an id");

    // What is another's is not there.
    let ask = |body: serde_json::Value| api.post(&operator, "/v1/replays", &body.to_string());
    let foreign = ask(json!({"deliveries": [format!("{event}/{theirs}")]}));
    assert_eq!(foreign.refused(404), "not_found");
    assert_eq!(
        ask(json!({"filter": {}, "client": BETA})).refused(404),
        "not_found"
    );
    assert_eq!(
        ask(json!({"filter": {"status": "dead"}, "to": theirs})).refused(404),
        "not_found"
    );
    assert_eq!(
        ask(json!({"missing": {"subscription": theirs}})).refused(404),
        "not_found"
    );
    assert_eq!(ask(json!({})).refused(422), "bad_choice");

    let dry = ask(json!({"filter": {"status": "dead"}, "dry_run": true})).ok();
    assert_eq!(
        (&dry["count"], &dry["subscriptions"][0]["id"]),
        (&json!(3), &json!(ours))
    );
    let made = ask(json!({"filter": {"status": "dead"}, "rate": "1000/s"}));
    assert_eq!((made.status, &made.json()["client"]), (201, &json!(ALPHA)));
    let path = made.header("location").expect("where it is").to_owned();
    wait_until("the replay is through", SOON, || {
        (api.get(&operator, &path).ok()["state"] == "done").then_some(())
    });
    shop.wait_for(6, SOON);
    api.process.terminate();
    api.process.finish(SOON).ok();
    assert_eq!((shop.count(), partner.count()), (6, 3));
    let listed = world.ask(["delivery", "list", "--status", "delivered"]);
    assert_eq!(
        listed["deliveries"].as_array().map(Vec::len),
        Some(of_alpha.len())
    );
}
