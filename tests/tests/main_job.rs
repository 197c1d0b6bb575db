//! The main job: an admin registers, an engine publishes, a worker delivers, an SRE looks.

use serde_json::{Value, json};
use tharsis_tests::{ALPHA, BETA, Database, Line, Subscribe, World, on_both_databases};

on_both_databases! {
    each_subscription_gets_what_it_wants_signed_and_byte_for_byte,
    lists_narrow_down_and_details_tell_all,
    the_same_event_again_is_not_sent_again,
}

fn each_subscription_gets_what_it_wants_signed_and_byte_for_byte(on: Database) {
    let world = World::on(on);
    let everything = world.receiver("everything").start();
    let nudges_only = world
        .receiver("nudges-only")
        .answers(503)
        .after(7, 204)
        .start();
    let beta = world.receiver("beta").start();
    world.subscribe(&Subscribe::new(ALPHA, &everything));
    world.subscribe(
        &Subscribe::new(ALPHA, &nudges_only)
            .event("nudge")
            .retry("20ms,20ms,20ms"),
    );
    world.subscribe(&Subscribe::new(BETA, &beta));

    let (predictions, nudges) = (world.predictions(ALPHA, 30), world.nudges(ALPHA, 20));
    let of_beta = [world.predictions(BETA, 10), world.nudges(BETA, 10)].concat();
    let of_alpha = [predictions, nudges.clone()].concat();
    let report = world.publish(&[of_alpha.clone(), of_beta.clone()].concat());
    assert_eq!((report.published, report.duplicates), (70, 0));
    let summary = world.run_until_idle().json();

    everything.assert_received_once(&of_alpha);
    nudges_only.assert_received(&nudges);
    beta.assert_received_once(&of_beta);
    assert_eq!(
        nudges_only.count(),
        27,
        "20 nudges, and 7 that were refused at first"
    );
    assert_eq!(summary["delivered"], 90);
    assert_eq!(summary["retried"], 7);
    assert_eq!(summary["ended"], 0);
    assert_eq!(
        summary["remaining"],
        json!({"unrouted": 0, "pending": 0, "held": 0, "scheduled": 0, "commands": 0})
    );
}

fn lists_narrow_down_and_details_tell_all(on: Database) {
    let world = World::on(on);
    let flaky = world
        .receiver("flaky")
        .says("try later")
        .answers(503)
        .then(200)
        .start();
    let beta = world.receiver("beta").start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &flaky).retry("20ms,20ms,20ms"));
    world.subscribe(&Subscribe::new(BETA, &beta));
    let line = world.nudges(ALPHA, 1).remove(0);
    world.publish(std::slice::from_ref(&line));
    world.run_until_idle();
    world.publish(&[world.predictions(ALPHA, 3), world.predictions(BETA, 4)].concat());
    world.run_until_idle();

    let count = |flags: &[&str]| world.deliveries(flags).len();
    assert_eq!(count(&[]), 8);
    assert_eq!(count(&["--client", ALPHA]), 4);
    assert_eq!(count(&["--client", BETA]), 4);
    assert_eq!(count(&["--event-type", "nudge"]), 1);
    assert_eq!(
        count(&[
            "--subscription",
            &subscription.id,
            "--event-type",
            "product_discount_recommendation"
        ]),
        3
    );
    assert_eq!(count(&["--campaign", &field(&line, "campaignId")]), 1);
    assert_eq!(count(&["--status", "delivered"]), 8);
    assert_eq!(count(&["--status", "dead", "--status", "retrying"]), 0);
    assert_eq!(count(&["--since", "1h"]), 8);
    assert_eq!(count(&["--until", "1h"]), 0);
    assert_eq!(count(&["--limit", "5"]), 5);

    let delivery = world.deliveries(&["--event-type", "nudge"]).remove(0);
    assert_eq!(delivery["status"], "delivered");
    assert_eq!(delivery["attempts"], 2);
    assert_eq!(delivery["reason"], "http_200");
    assert_eq!(delivery["subscription_name"], "flaky");
    let shown = world.ask(["delivery", "show", text(&delivery["id"])]);
    let history: Vec<_> = (shown["history"].as_array().expect("a history").iter())
        .map(|attempt| {
            (
                attempt["number"].clone(),
                attempt["reason"].clone(),
                attempt["excerpt"].clone(),
                attempt["end"].clone(),
            )
        })
        .collect();
    assert_eq!(
        history,
        [
            (json!(1), json!("http_503"), json!("try later"), json!(null)),
            (
                json!(2),
                json!("http_200"),
                json!("try later"),
                json!("delivered")
            ),
        ]
    );

    let event = world
        .tharsis(["--json", "event", "show", text(&delivery["event"])])
        .ok();
    assert!(
        event.stdout.contains(&format!("\"payload\":{}", line.text)),
        "{}",
        event.stdout
    );
    let event = event.json();
    assert_eq!(event["type"], "nudge");
    assert_eq!(event["client"], ALPHA);
    assert_eq!(event["campaign"], field(&line, "campaignId"));
    assert_eq!(event["expires_at"], "2099-12-31T23:59:59.999Z");
    assert_eq!(event["deliveries"].as_array().map(Vec::len), Some(1));
}

fn the_same_event_again_is_not_sent_again(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.predictions(ALPHA, 5);
    world.publish(&lines);
    world.run_until_idle();
    let report = world.publish(&lines);
    assert_eq!((report.published, report.duplicates), (0, 5));
    world.run_until_idle();
    shop.assert_received_once(&lines);

    // Another state of the same nudge is a new event.
    let nudge = world.nudges(ALPHA, 1).remove(0);
    let clicked = Line {
        text: nudge.text.replace("pristine", "clicked"),
        ..nudge.clone()
    };
    let report = world.publish(&[nudge, clicked]);
    assert_eq!((report.published, report.duplicates), (2, 0));
}

fn field(line: &Line, key: &str) -> String {
    let event: Value = serde_json::from_str(&line.text).expect("a line is JSON");
    text(&event[key]).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
