//! A subscription is edited by the form, and its filter is tried.

use tharsis_tests::{ALPHA, Api, Subscribe, World};

use crate::{signed_in, token};

#[test]
fn a_subscription_is_edited_as_long_as_it_is_what_was_read() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &admin);

    chromium.follow("Subscriptions");
    chromium.follow("shop");
    chromium.follow("Edit");
    chromium.says("Edit shop");
    chromium.judge("edit");
    // Somebody else was faster.
    world.ask(["subscription", "set", &id, "--name=till"]);
    chromium.fill("Name", "Shop of spring");
    chromium.press("Save");
    chromium.says("somebody has changed it since this form was made");
    assert_eq!(chromium.value("Name"), "Shop of spring");
    chromium.judge("edit-stale");

    chromium.follow("Look at what it is now");
    assert_eq!(chromium.value("Name"), "till");
    chromium.fill("Name", "Shop of spring");
    chromium.fill("Rate", "often");
    chromium.press("Save");
    assert_eq!(chromium.value("Rate"), "often");
    chromium.judge("edit-refused");
    chromium.fill("Rate", "5/s");
    chromium.press("Save");
    chromium.says("It was changed.");
    assert_eq!(chromium.text_of("h1"), "Shop of spring");
    // It was asked when it was registered, and no more.
    assert_eq!(shop.heads().len(), 1);
}

#[test]
fn a_filter_is_tried_on_the_last_events() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.publish(&world.predictions(ALPHA, 2));
    world.publish(&world.nudges(ALPHA, 1));
    world.run_until_idle();
    let viewer = token(&world, "viewer", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &viewer);

    chromium.follow("Subscriptions");
    chromium.follow("shop");
    chromium.follow("Try a filter");
    chromium.judge("filter");
    chromium.fill("Filter", "event.");
    chromium.press("Try it");
    chromium.says("column ");
    chromium.judge("filter-refused");
    chromium.fill("Filter", "event.channel == \"push\"");
    chromium.press("Try it");
    chromium.says("1 of the last 3 events of its client match.");
    chromium.judge("filter-tried");
    chromium.follow("Back to shop");
    chromium.says("Latest deliveries");
}
