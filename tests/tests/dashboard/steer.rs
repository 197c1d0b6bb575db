//! What is steered from the pages: subscriptions and deliveries.

use serde_json::json;
use tharsis_tests::{
    ALPHA, Api, BETA, Database, Subscribe, World, is_signed_with, on_both_databases,
};

use crate::{
    Browser,
    browser::{assert_told, between},
    token,
};

on_both_databases! {
    a_subscription_is_paused_and_goes_on_with_what_is_chosen,
    a_delivery_is_looked_at_tried_again_and_cancelled,
    a_subscription_is_tested_rotated_and_removed,
    what_needs_somebody_comes_first,
}

fn a_subscription_is_paused_and_goes_on_with_what_is_chosen(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let operator = token(&world, "operator", Some(ALPHA));
    let viewer = token(&world, "viewer", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &operator);
    let path = format!("/subscriptions/{id}");

    let paused = browser.post(&format!("{path}/pause"), &[]);
    assert_eq!(
        (paused.status, paused.header("location")),
        (303, Some(&*path))
    );
    // What was done is said once.
    let page = browser.page(&path);
    assert!(
        page.contains("It is paused") && page.contains("</span> paused</span>"),
        "{page}"
    );
    assert!(!browser.page(&path).contains("It is paused"));

    world.publish(&world.predictions(ALPHA, 2));
    world.run_until_idle();
    assert_eq!(shop.count(), 0);
    let held = browser.page("/deliveries?status=held");
    assert_eq!(held.matches("</span> held</span>").count(), 2, "{held}");
    // Whoever may only look has no button, and gets no further without one.
    let onlooker = Browser::signed_in(&api, &viewer);
    let page = onlooker.page(&path);
    assert!(
        !page.contains("/resume\"") && !page.contains("/rotate\""),
        "{page}"
    );
    let refused = onlooker.post(&format!("{path}/resume"), &[("held", "all")]);
    assert_told(&refused, 403, "not_allowed");

    let odd = browser.post(&format!("{path}/resume"), &[("held", "some")]);
    assert_told(&odd, 422, "is none of all, latest and none");
    let resumed = browser.post(&format!("{path}/resume"), &[("held", "none")]);
    assert_eq!(resumed.status, 303, "{resumed:?}");
    let lines = world.predictions(ALPHA, 1);
    world.publish(&lines);
    world.run_until_idle();
    shop.assert_received_once(&lines);
    let never =
        browser.page("/deliveries?status=dead&status=expired&status=refused&status=cancelled");
    assert_eq!(
        never.matches("</span> cancelled</span>").count(),
        2,
        "{never}"
    );
}

fn a_delivery_is_looked_at_tried_again_and_cancelled(on: Database) {
    let world = World::on(on);
    let shop = world
        .receiver("shop")
        .answers(503)
        .says("closed for today")
        .start();
    let id = world
        .subscribe(&Subscribe::new(ALPHA, &shop).retry("1h,1h"))
        .id;
    let operator = token(&world, "operator", Some(ALPHA));
    let lines = world.predictions(ALPHA, 1);
    world.publish(&lines);
    let run = world.spawn_run();
    shop.wait_for(1, crate::SOON);
    run.terminate();
    run.finish(crate::SOON).ok();
    let listed = world.ask(["delivery", "list"]);
    let event = listed["deliveries"][0]["event"].as_str().expect("an id");

    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &operator);
    let list = browser.page("/deliveries");
    let path = format!("/deliveries/{event}/{id}");
    assert!(list.contains(&format!("href=\"{path}\"")), "{list}");
    assert!(list.contains("</span> retrying</span>"), "{list}");
    let page = browser.page(&path);
    for told in [
        "Attempt 1 <code>http_503</code>",
        "What it means: the receiver is not available.",
        "What to do: nothing, it is tried again.",
        "<code>closed for today</code>",
        "due again <time",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    let event_page = browser.page(&format!("/events/{event}"));
    assert!(
        event_page.contains("It waits to be sent to shop again"),
        "{event_page}"
    );
    assert!(
        event_page.contains(&format!("href=\"{path}\"")),
        "{event_page}"
    );
    assert!(event_page.contains("predictionId"), "{event_page}");

    let tried = browser.post(&format!("{path}/retry"), &[]);
    assert_eq!(
        (tried.status, tried.header("location")),
        (303, Some(&*path))
    );
    assert!(browser.page(&path).contains("nothing does at present"));
    let run = world.spawn_run();
    shop.wait_for(2, crate::SOON);
    run.terminate();
    run.finish(crate::SOON).ok();
    let cancelled = browser.post(&format!("{path}/cancel"), &[]);
    assert_eq!(cancelled.status, 303, "{cancelled:?}");
    world.run_until_idle();
    let page = browser.page(&path);
    assert!(page.contains("</span> cancelled</span>"), "{page}");
    assert!(
        page.contains(&format!("tharsis replay {event}/{id}")),
        "{page}"
    );
    assert_told(
        &browser.post(&format!("{path}/cancel"), &[]),
        409,
        "delivery_ended",
    );
    assert_eq!(shop.count(), 2);

    // What is looked for wrongly is told beside what was typed.
    let refused = browser.get("/deliveries?since=yesterday&campaign=spring+sale");
    assert_told(&refused, 422, "is not a time as RFC 3339 writes it");
    assert!(
        refused.body.contains("value=\"spring sale\""),
        "{refused:?}"
    );
    let none = browser.page("/deliveries?type=nudge");
    assert!(none.contains("None matches"), "{none}");
}

fn a_subscription_is_tested_rotated_and_removed(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(202).start();
    let partner = world.receiver("partner").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    world.subscribe(&Subscribe::new(BETA, &partner));
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &admin);
    let path = format!("/subscriptions/{id}");

    let tested = browser.post(&format!("{path}/test"), &[]);
    assert_told(&tested, 200, "The receiver took it.");
    assert!(tested.body.contains("<code>http_202</code>"), "{tested:?}");
    assert!(tested.body.contains("x-mars-signature"), "{tested:?}");
    assert!(tested.body.contains("webhook.test"), "{tested:?}");
    assert!(!tested.body.contains(&shop.secret));
    assert_eq!((shop.count(), partner.count()), (1, 0));

    let rotate = format!("{path}/rotate");
    let form = browser.page(&rotate);
    let version = between(&form, "name=\"version\" value=\"", "\"");
    let this = ("version", version);
    let weak = browser.post(&rotate, &[this, ("secret", "open sesame")]);
    assert_told(&weak, 422, "is shorter than");
    assert!(!weak.body.contains("sesame"), "{weak:?}");
    let reused = browser.post(&rotate, &[this, ("secret", &shop.secret)]);
    assert_eq!(reused.status, 422, "{reused:?}");
    assert!(!reused.body.contains(&shop.secret));
    let rotated = browser.post(&rotate, &[this]);
    assert_told(&rotated, 200, "was rotated");
    // Sent once more, as a browser does that loads the page again, it changes nothing.
    let again = browser.post(&rotate, &[this]);
    assert_told(
        &again,
        412,
        "somebody has changed it since this form was made",
    );
    let secret = between(&rotated.body, "<code class=\"secret\">", "</code>").to_owned();
    let tested = browser.post(&format!("{path}/test"), &[]);
    assert_eq!(tested.status, 200, "{tested:?}");
    let posts = shop.posts();
    let last = posts.last().expect("the test");
    assert!(is_signed_with(last, &secret));
    assert!(!browser.page(&path).contains(&secret));

    let remove = format!("{path}/remove");
    let asked = browser.page(&remove);
    assert!(
        asked.contains("0 unfinished deliveries would end"),
        "{asked}"
    );
    let removed = browser.post(&remove, &[]);
    assert_eq!(
        removed.header("location"),
        Some("/subscriptions"),
        "{removed:?}"
    );
    assert!(browser.page("/subscriptions").contains("shop was removed"));
    assert_told(&browser.get(&path), 404, "there is no such subscription");
    let audit = world.audit();
    assert_eq!(audit[0]["action"], json!("subscription.removed"));
    assert_eq!(audit[0]["address"], json!("127.0.0.1"));
}

fn what_needs_somebody_comes_first(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(500).start();
    let gone = world.receiver("gone").answers(410).start();
    let theirs = world.receiver("theirs").answers(410).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("none"));
    world.subscribe(&Subscribe::new(ALPHA, &gone));
    world.subscribe(&Subscribe::new(BETA, &theirs));
    let [one, all] = [Some(ALPHA), None].map(|client| token(&world, "viewer", client));
    let api = Api::start(&world, &["--no-worker"]);
    let calm = Browser::signed_in(&api, &all).page("/");
    assert!(calm.contains("None delivers at present"), "{calm}");
    assert!(calm.contains("<strong>No worker</strong>"), "{calm}");

    for client in [ALPHA, BETA] {
        world.publish(&world.predictions(client, 1));
    }
    world.run_until_idle();
    let own = Browser::signed_in(&api, &one).page("/");
    assert!(
        own.contains("<strong>gone</strong> suspended: http_410"),
        "{own}"
    );
    assert!(
        own.contains("<strong>Dead</strong> 2 deliveries of the last 24 h were given up"),
        "{own}"
    );
    assert!(!own.contains("theirs"), "{own}");
    // Who delivers is told to those who see all clients.
    assert!(!own.contains("<h2 id=\"workers\">"), "{own}");
    let everybodys = Browser::signed_in(&api, &all).page("/");
    assert!(
        everybodys.contains("<strong>theirs</strong> suspended"),
        "{everybodys}"
    );
    assert!(
        everybodys.contains("3 deliveries of the last 24 h"),
        "{everybodys}"
    );
}
