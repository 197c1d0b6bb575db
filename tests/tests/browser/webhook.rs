//! A webhook is added by the form, and gets what is published.

use tharsis_tests::{ALPHA, Api, World, is_signed_with};

use crate::{SOON, signed_in, token};

#[test]
fn a_webhook_is_added_tested_and_gets_what_is_published() {
    let world = World::new();
    world.ask(["migrate"]);
    let shop = world.receiver("shop").start();
    let gone = world.receiver("gone").answers_head(404).start();
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &[]);
    let chromium = signed_in(&world, &api, &admin);

    chromium.follow("Subscriptions");
    chromium.says("There is no subscription.");
    chromium.judge("subscriptions-none");
    chromium.follow("Add webhook");
    chromium.judge("add-webhook");

    chromium.fill("Name", "Shop");
    chromium.fill("Payload URL", &gone.url);
    chromium.press("Check and save");
    chromium.says("HEAD was answered 404, not 200");
    chromium.judge("add-webhook-refused");
    // What was typed stays, but for what is typed anew.
    chromium.fill("Payload URL", &shop.url);
    chromium.press("Check and save");
    chromium.says("Shop was added");
    assert_eq!((shop.heads().len(), gone.heads().len()), (1, 1));

    let secret = chromium.text_of("code.secret");
    assert_eq!(secret.len(), 40, "{secret}");
    chromium.press_here("Copy");
    chromium.says("Copied");
    chromium.unfold("Node");
    chromium.says("timingSafeEqual");
    chromium.judge("webhook-added");

    chromium.press("Send a test");
    chromium.says("The receiver took it.");
    chromium.judge("test");
    chromium.follow("Back to Shop");
    chromium.says("Latest deliveries");
    assert!(!chromium.text().contains(&secret));

    let line = world.predictions(ALPHA, 1).remove(0);
    api.post(&admin, "/v1/events", &line.text).ok();
    shop.wait_for(2, SOON);
    let posts = shop.posts();
    assert!(posts.iter().all(|post| is_signed_with(post, &secret)));
    chromium.comes_to_say("delivered");
}

#[test]
fn a_secret_that_is_generated_in_the_form_signs() {
    let world = World::new();
    world.ask(["migrate"]);
    let shop = world.receiver("shop").start();
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &[]);
    let chromium = signed_in(&world, &api, &admin);

    chromium.follow("Subscriptions");
    chromium.follow("Add webhook");
    chromium.follow("Cancel");
    chromium.says("There is no subscription.");
    chromium.follow("Add webhook");
    chromium.fill("Name", "Shop");
    chromium.fill("Payload URL", &shop.url);
    let [first, secret] = [(), ()].map(|()| {
        chromium.press_here("Generate");
        chromium.value("Secret")
    });
    assert_ne!(first, secret);
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    assert!(secret.len() == 40 && secret.chars().all(is_hex), "{secret}");
    chromium.judge("add-webhook-generated");
    chromium.press("Check and save");
    chromium.says("Shop was added");
    // Whoever gave it has it already.
    assert_eq!(chromium.text_of("code.secret"), "");
    assert!(!chromium.text().contains(&secret));

    let line = world.predictions(ALPHA, 1).remove(0);
    api.post(&admin, "/v1/events", &line.text).ok();
    shop.wait_for(1, SOON);
    let posts = shop.posts();
    assert!(posts.iter().all(|post| is_signed_with(post, &secret)));
}
