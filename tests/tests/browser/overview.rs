//! The overview, while something is delivered.

use tharsis_tests::{ALPHA, Api, Subscribe, World, wait_until};

use crate::{SOON, signed_in, token};

/// Where it says how many deliveries arrived.
const DELIVERED: &str = "a[href='/deliveries?status=delivered&since=24h']";

#[test]
fn what_is_delivered_is_seen_on_the_overview_that_is_open() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let viewer = token(&world, "viewer", None);
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &viewer);
    assert_eq!(chromium.text_of(DELIVERED), "0");
    chromium.says("No figures yet.");
    chromium.judge("overview-empty");

    world.publish(&world.predictions(ALPHA, 200));
    world.run_until_idle();
    assert_eq!(shop.count(), 200);
    // The page is not loaded again, neither here nor below.
    wait_until("the overview counts what was delivered", SOON, || {
        (chromium.text_of(DELIVERED) == "200").then_some(())
    });
    chromium.says("100.00 % of what was tried was delivered.");

    // Charts show minutes that are over, as it is two minutes later.
    let minutes = world.table("minute");
    world.execute(&format!("UPDATE {minutes} SET at = at - 120000"));
    chromium.says("Delivered, of what was tried in figures");
    chromium.says("Receivers answer within in figures");
    chromium.unfold("Throughput in figures");
    // 200 in the quarter of an hour of a row.
    chromium.says("13.3 a minute");
    chromium.judge("overview-figures");
    chromium.follow("24h");
    chromium.says("Receivers answer within in figures");
    chromium.judge("overview-figures-day");
}
