//! What was not delivered is found, looked at and tried again.

use tharsis_tests::{ALPHA, Api, Subscribe, World};

use crate::{SOON, signed_in, token};

#[test]
fn a_delivery_is_found_looked_at_and_tried_again() {
    let world = World::new();
    let shop = world
        .receiver("shop")
        .answers(503)
        .says("closed for today")
        .start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("1h,1h"));
    let operator = token(&world, "operator", Some(ALPHA));
    world.publish(&world.predictions(ALPHA, 1));
    let run = world.spawn_run();
    shop.wait_for(1, SOON);
    run.terminate();
    run.finish(SOON).ok();
    let listed = world.deliveries(&[]);
    let event = listed[0]["event"].as_str().expect("an id");
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &operator);

    chromium.follow("Deliveries");
    chromium.judge("deliveries");
    chromium.fill("Event type", "nudge");
    chromium.press("Search");
    chromium.says("None matches.");
    chromium.fill("Event type", "");
    chromium.tick("retrying");
    chromium.choose("Subscription", "shop");
    chromium.press("Search");
    assert!(
        chromium.path().contains("status=retrying"),
        "{}",
        chromium.path()
    );
    chromium.judge("deliveries-found");

    // A list shows the two ends of its id.
    chromium.follow(&format!("{}…{}", &event[..8], &event[28..]));
    chromium.says("closed for today");
    chromium.says("the receiver is not available");
    chromium.judge("delivery");
    chromium.follow(event);
    chromium.says("It waits to be sent to shop again");
    chromium.judge("event");
    chromium.follow("Its attempts");
    chromium.follow("See the request");
    chromium.says("The header x-mars-signature holds the HMAC-SHA1 of the body");
    let sent = &shop.posts()[0];
    let signature = sent.headers["x-mars-signature"].to_str();
    chromium.says(signature.expect("it is text"));
    chromium.judge("delivery-request");
    chromium.follow("the delivery");

    chromium.press("Try it now");
    chromium.says("nothing does at present");
    shop.now_answers(200);
    let run = world.spawn_run();
    shop.wait_for(2, SOON);
    chromium.comes_to_say("delivered");
    run.terminate();
    run.finish(SOON).ok();
    chromium.judge("delivery-delivered");
}
