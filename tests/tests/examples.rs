//! The examples do what they say.

use std::time::Duration;

use tharsis_tests::{Subscribe, World};

const BOUND: Duration = Duration::from_secs(30);

#[test]
fn publish_in_transaction_tells_of_the_decision_that_was_committed_and_of_no_other() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    // It works in `engine.db` of its folder, for this client.
    world.use_database("engine.db");
    world.subscribe(&Subscribe::new(
        "b4aeba4e-a4c0-4896-866a-56f8bcb372fc",
        &shop,
    ));
    let example = || {
        world
            .spawn_other(world.example("publish_in_transaction"))
            .finish(BOUND)
            .ok()
    };
    assert!(example().stdout.contains("1 to be routed"));
    world.run_until_idle();
    // The same decision is published again by a second run, and is no second event.
    assert!(example().stdout.contains("which was there already"));
    world.run_until_idle();
    let posts = shop.posts();
    assert_eq!(posts.len(), 1);
    shop.assert_all_verified();
    let body = String::from_utf8_lossy(&posts[0].body);
    assert!(body.contains("T-WTTBL-1"), "{body}");
}
