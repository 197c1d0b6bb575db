//! What was not delivered is chosen, looked at, and sent again.

use tharsis_tests::{ALPHA, Api, Subscribe, World};

use crate::{signed_in, token};

#[test]
fn what_is_dead_is_looked_at_confirmed_and_sent_again() {
    let world = World::new();
    let shop = world.receiver("shop").answers(400).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("none"));
    world.publish(&world.predictions(ALPHA, 3));
    world.run_until_idle();
    assert_eq!(shop.count(), 3);
    shop.now_answers(200);
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &operator);

    chromium.follow("Replays");
    chromium.says("There is no replay.");
    chromium.judge("replays-none");
    chromium.follow("Deliveries");
    chromium.tick("dead");
    chromium.press("Search");
    chromium.follow("Replay these");
    chromium.says("New replay");
    assert!(
        chromium.path().contains("status=dead"),
        "{}",
        chromium.path()
    );
    chromium.judge("replay-new");
    chromium.press("Look what it would take");
    chromium.says("Up to 3 deliveries (3 dead) would be sent again");
    chromium.says("Some of them");
    chromium.judge("replay-look");
    chromium.press("Send them");
    chromium.says("The replay was asked for.");
    chromium.says("Nothing delivers at present: it goes on as soon as something does.");
    chromium.judge("replay");

    chromium.press("Pause");
    chromium.says("It is paused: nothing more of it becomes due.");
    chromium.judge("replay-paused");
    world.run_until_idle();
    assert_eq!(shop.count(), 3, "nothing of it came");
    chromium.press("Resume");
    chromium.says("It goes on.");
    world.run_until_idle();
    // The page is not loaded again.
    chromium.says("3 deliveries of at most 3 looked at: 3 due again, 0 skipped, 0 on their way.");
    assert_eq!(shop.count(), 6);
    chromium.judge("replay-done");

    chromium.follow("Replays");
    chromium.judge("replays");
    chromium.follow("New replay");
    chromium.tick("delivered");
    chromium.choose(
        "Idempotency key",
        "a fresh one: receivers take it all for new",
    );
    chromium.press("Look what it would take");
    chromium.says("Up to 3 deliveries (3 delivered) would be sent again");
    chromium.press("Send them");
    chromium.press("Cancel it");
    chromium.says("It is called off.");
    world.run_until_idle();
    chromium.says("cancelled");
    assert_eq!(shop.count(), 6, "nothing of what was called off came");
    chromium.judge("replay-cancelled");
}
