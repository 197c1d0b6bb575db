//! Events are looked for, and found.

use tharsis_tests::{ALPHA, Api, Subscribe, World};

use crate::{signed_in, token};

#[test]
fn events_are_found_by_campaign_recipient_and_id() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    for (campaign, recipient) in [("spring", "ada"), ("spring", "bob"), ("autumn", "ada")] {
        let fields = format!(r#""campaign":"{campaign}","recipient":"{recipient}""#);
        let line = world.predictions(ALPHA, 1).remove(0);
        world.publish(&[line.in_envelope(&fields)]);
    }
    world.run_until_idle();
    let listed = world.deliveries(&[]);
    let id = listed[0]["event"].as_str().expect("an id");
    let viewer = token(&world, "viewer", None);
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &viewer);
    let finds = |found: [bool; 3]| {
        let table = chromium.text_of("tbody");
        let is_there = ["bob", "spring", "autumn"].map(|name| table.contains(name));
        assert_eq!(is_there, found, "{table}");
    };

    chromium.follow("Events");
    finds([true, true, true]);
    chromium.judge("events");
    chromium.fill("Campaign", "spring");
    chromium.press("Search");
    finds([true, true, false]);
    chromium.fill("Recipient", "ada");
    chromium.press("Search");
    finds([false, true, false]);
    chromium.fill("Recipient", "eve");
    chromium.press("Search");
    chromium.says("None matches. One that went to nobody is found by its id alone.");
    chromium.judge("events-none");

    chromium.fill("Event", "7");
    chromium.press("Search");
    chromium.says("is not a UUID");
    assert_eq!(chromium.value("Campaign"), "spring");
    chromium.judge("events-refused");
    chromium.fill("Event", id);
    chromium.press("Search");
    chromium.says("Its subscriptions, and why");
    assert_eq!(chromium.path(), format!("/events/{id}"));
}
