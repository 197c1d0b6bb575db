//! A subscription is steered from its page.

use tharsis_tests::{ALPHA, Api, Subscribe, World, is_signed_with};

use crate::{signed_in, token};

#[test]
fn a_subscription_is_tested_paused_resumed_rotated_and_removed() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &admin);

    chromium.follow("Subscriptions");
    chromium.judge("subscriptions");
    chromium.follow("shop");
    chromium.judge("subscription");
    chromium.press("Send a test");
    chromium.says("The receiver took it.");
    chromium.follow("Back to shop");

    chromium.press("Pause");
    chromium.says("It is paused");
    world.publish(&world.predictions(ALPHA, 2));
    world.run_until_idle();
    assert_eq!(shop.count(), 1, "only the test came");
    chromium.follow("All its deliveries");
    chromium.judge("deliveries-held");
    chromium.follow("shop");
    chromium.judge("subscription-paused");
    chromium.choose("Resume with", "none of what was held");
    chromium.press("Resume");
    chromium.says("It goes on, without what was held.");
    world.run_until_idle();
    chromium.comes_to_say("cancelled");
    assert_eq!(shop.count(), 1, "nothing of what was held came");

    chromium.follow("Rotate the secret");
    chromium.judge("rotate");
    chromium.press("Rotate");
    chromium.says("The secret of shop was rotated");
    let secret = chromium.text_of("code.secret");
    assert_eq!(secret.len(), 40, "{secret}");
    chromium.judge("rotated");
    chromium.follow("Back to shop");
    assert!(!chromium.text().contains(&secret));
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    let posts = shop.posts();
    let last = posts.last().expect("it was delivered");
    assert!(is_signed_with(last, &secret));

    chromium.follow("Remove");
    chromium.says("Remove shop?");
    chromium.judge("remove");
    chromium.press("Remove it");
    chromium.says("shop was removed");
    chromium.says("There is no subscription.");
}
