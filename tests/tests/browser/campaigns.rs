//! A campaign is found, held, let go and ended.

use tharsis_tests::{ALPHA, Api, Line, Subscribe, World};

use crate::{signed_in, token};

const NAME: &str = "spring sale";

/// Publishes so many events of it.
fn spring(world: &World, count: usize) {
    let fields = format!(r#""campaign":"{NAME}","recipient":"ann""#);
    let lines = world.predictions(ALPHA, count);
    let lines: Vec<Line> = (lines.iter())
        .map(|line| line.in_envelope(&fields))
        .collect();
    world.publish(&lines);
}

#[test]
fn a_campaign_is_found_paused_resumed_and_cancelled() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    spring(&world, 3);
    world.run_until_idle();
    let operator = token(&world, "operator", None);
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &operator);

    chromium.follow("Campaigns");
    chromium.judge("campaigns");
    chromium.fill("Campaign", "autumn sale");
    chromium.press("Show it");
    chromium.says("check the name");
    chromium.judge("campaigns-unknown");
    chromium.fill("Campaign", NAME);
    chromium.press("Show it");
    chromium.says("3 of 3 deliveries have ended.");
    chromium.says("Slowest subscriptions");
    chromium.judge("campaign");

    chromium.press("Pause");
    chromium.says("It is paused: what is queued is held");
    spring(&world, 2);
    world.run_until_idle();
    // The page is not loaded again.
    chromium.says("3 of 5 deliveries have ended.");
    assert_eq!(shop.count(), 3);
    chromium.judge("campaign-paused");
    chromium.press("Resume");
    chromium.says("It goes on, with what was held.");
    world.run_until_idle();
    chromium.says("5 of 5 deliveries have ended.");
    assert_eq!(shop.count(), 5);

    chromium.follow("Cancel");
    chromium.says("Cancel spring sale?");
    chromium.judge("campaign-cancel");
    chromium.follow("Keep it");
    chromium.says("5 of 5 deliveries have ended.");
    spring(&world, 2);
    chromium.follow("Cancel");
    chromium.press("Cancel it");
    chromium.says("It is cancelled: what is queued ends");
    world.run_until_idle();
    chromium.says("7 of 7 deliveries have ended.");
    assert_eq!(shop.count(), 5, "nothing of what was cancelled came");
    chromium.judge("campaign-cancelled");
    chromium.follow("Its deliveries");
    assert!(
        chromium.path().contains("campaign=spring"),
        "{}",
        chromium.path()
    );
}
