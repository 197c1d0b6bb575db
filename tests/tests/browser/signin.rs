//! Signing in and out.

use tharsis_tests::{Api, Chromium, World};

use crate::token;

#[test]
fn somebody_signs_in_looks_around_and_signs_out() {
    let world = World::new();
    world.ask(["migrate"]);
    let viewer = token(&world, "viewer", None);
    let api = Api::start(&world, &[]);
    let chromium = Chromium::start(&world, &api);

    chromium.open("/deliveries?status=dead");
    chromium.says("Access token");
    chromium.judge("sign-in");
    chromium.fill("Access token", "open sesame");
    chromium.press("Sign in");
    chromium.says("the token is none that counts");
    chromium.judge("sign-in-refused");
    chromium.fill("Access token", &viewer);
    chromium.press("Sign in");
    // It goes on where it was wanted.
    chromium.says("None matches");
    assert_eq!(chromium.path(), "/deliveries?status=dead");

    chromium.follow("Overview");
    // Its worker is known by then.
    chromium.comes_to_say("Heard of");
    chromium.judge("overview");
    chromium.open("/nothing");
    chromium.says("there is nothing at this path");
    chromium.judge("nothing");

    chromium.open("/subscriptions");
    chromium.says("There is no subscription.");
    chromium.press("Sign out");
    chromium.says("Access token");
    chromium.open("/subscriptions");
    chromium.says("Access token");
}
