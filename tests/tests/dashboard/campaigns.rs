//! A campaign on its page: it is held, let go, and ended.

use sqlx::Executor;
use tharsis_tests::{ALPHA, Api, BETA, Database, Line, Subscribe, World, on_both_databases};

use crate::{
    Browser,
    browser::{assert_told, between},
    token,
};

on_both_databases! {
    a_campaign_is_held_goes_on_and_is_cancelled,
    a_campaign_of_two_clients_is_told_apart,
}

/// Publishes so many events of a campaign whose name no path bears as it is.
fn spring(world: &World, client: &str, count: usize) -> Vec<Line> {
    let fields = r#""campaign":"spring & co/1","recipient":"ann""#;
    let lines = world.predictions(client, count);
    let enveloped: Vec<Line> = lines.iter().map(|line| line.in_envelope(fields)).collect();
    world.publish(&enveloped);
    lines
}

const PATH: &str = "/campaigns/spring%20%26%20co%2F1";

fn a_campaign_is_held_goes_on_and_is_cancelled(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let [operator, viewer] = ["operator", "viewer"].map(|role| token(&world, role, Some(ALPHA)));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &operator);
    let client = format!("client={ALPHA}");
    let page_of = format!("{PATH}?{client}");

    // Whose it is, the token says; it is found by its name.
    let form = browser.page("/campaigns");
    assert!(!form.contains("name=\"client\""), "{form}");
    let found = browser.get("/campaigns?campaign=spring+%26+co%2F1&recipient=");
    assert_eq!(found.status, 303, "{found:?}");
    let place = found.header("location").expect("where it is").to_owned();
    assert!(place.starts_with(PATH), "{place}");
    let page = browser.page(&place);
    assert!(page.contains("There is no delivery of it so far"), "{page}");
    assert!(page.contains("</span> running</span>"), "{page}");

    let paused = browser.post(&format!("{PATH}/pause"), &[("client", ALPHA)]);
    assert_eq!(
        (paused.status, paused.header("location")),
        (303, Some(&*page_of))
    );
    let page = browser.page(&page_of);
    assert!(
        page.contains("It is paused") && page.contains("</span> paused</span> since <time"),
        "{page}"
    );
    assert!(!page.contains("/pause\""), "{page}");
    let lines = spring(&world, ALPHA, 3);
    world.run_until_idle();
    assert_eq!(shop.count(), 0);
    let page = browser.page(&page_of);
    assert!(page.contains("0 of 3 deliveries have ended."), "{page}");
    assert!(page.contains("max=\"3\" value=\"0\""), "{page}");
    // Whoever may only look has no button, and gets no further without one.
    let onlooker = Browser::signed_in(&api, &viewer);
    let page = onlooker.page(&page_of);
    assert!(!page.contains("/resume\""), "{page}");
    let refused = onlooker.post(&format!("{PATH}/resume"), &[]);
    assert_told(&refused, 403, "not_allowed");

    let resumed = browser.post(&format!("{PATH}/resume"), &[]);
    assert_eq!(resumed.status, 303, "{resumed:?}");
    assert!(browser.page(&page_of).contains("with what was held"));
    world.run_until_idle();
    shop.assert_received_once(&lines);
    let page = browser.page(&page_of);
    assert!(page.contains("3 of 3 deliveries have ended."), "{page}");

    // It is asked first whether it is meant.
    let asked = browser.page(&format!("{PATH}/cancel?{client}"));
    assert!(
        asked.contains("<h1>Cancel spring &#38; co/1?</h1>"),
        "{asked}"
    );
    spring(&world, ALPHA, 2);
    let cancelled = browser.post(&format!("{PATH}/cancel"), &[("client", ALPHA)]);
    assert_eq!(cancelled.status, 303, "{cancelled:?}");
    world.run_until_idle();
    shop.assert_received_once(&lines);
    let page = browser.page(&page_of);
    assert!(page.contains("</span> cancelled</span> since"), "{page}");
    assert!(page.contains("5 of 5 deliveries have ended."), "{page}");
    assert!(!page.contains("/cancel?"), "{page}");
    let again = browser.post(&format!("{PATH}/pause"), &[]);
    assert_told(&again, 409, "resume it first");

    // A delivery leads to its campaign.
    let list = browser.page("/deliveries?status=cancelled");
    let delivery = between(&list, "<th scope=\"row\"><a href=\"", "\"");
    let page = browser.page(delivery);
    assert!(page.contains(&format!("href=\"{page_of}\"")), "{page}");
}

fn a_campaign_of_two_clients_is_told_apart(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &partner));
    spring(&world, ALPHA, 1);
    spring(&world, BETA, 2);
    world.run_until_idle();
    let all = token(&world, "operator", None);
    let one = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);

    let browser = Browser::signed_in(&api, &all);
    let several = browser.get(PATH);
    assert_told(&several, 409, "2 clients have a campaign");
    // What was asked for stays, and it is said beside the field how it is told apart.
    assert!(
        several
            .body
            .contains("value=\"spring &#38; co/1\" spellcheck"),
        "{several:?}"
    );
    assert_told(&browser.get("/campaigns/summer"), 404, "check the name");
    let page = browser.page(&format!("{PATH}?client={BETA}"));
    assert!(page.contains("2 of 2 deliveries have ended."), "{page}");

    // One recipient is stopped by itself, and the campaign says so.
    let fields = [("client", BETA), ("recipient", "ann")];
    let paused = browser.post(&format!("{PATH}/pause"), &fields);
    let of_ann = format!("{PATH}?client={BETA}&recipient=ann");
    assert_eq!(
        (paused.status, paused.header("location")),
        (303, Some(&*of_ann))
    );
    let page = browser.page(&of_ann);
    assert!(page.contains("</span> paused</span>"), "{page}");
    let page = browser.page(&format!("{PATH}?client={BETA}"));
    assert!(page.contains("</span> running</span>"), "{page}");
    assert!(page.contains(">ann</a>"), "{page}");

    // What is another client's is not there.
    let own = Browser::signed_in(&api, &one);
    let page = own.page(PATH);
    assert!(page.contains("1 of 1 delivery has ended."), "{page}");
    let path = format!("{PATH}?client={BETA}");
    assert_told(&own.get(&path), 404, "there is no such client");
    let foreign = own.post(&format!("{PATH}/cancel"), &[("client", BETA)]);
    assert_told(&foreign, 404, "there is no such client");
    assert_eq!((shop.count(), partner.count()), (1, 2));

    let resumed = browser.post(&format!("{PATH}/resume"), &fields);
    assert_eq!(resumed.status, 303, "{resumed:?}");
    let page = browser.page(&of_ann);
    assert!(page.contains("</span> running</span>"), "{page}");
    let cancel = browser.page(&format!("{PATH}/cancel?client={BETA}&recipient=ann"));
    assert!(cancel.contains(" for ann?</h1>"), "{cancel}");
    assert!(!cancel.contains(ALPHA), "{cancel}");
    world.run_until_idle();
    assert_eq!(partner.count(), 2);
}

#[test]
fn what_takes_long_to_count_is_told_when_it_is_counted() {
    let world = World::on(Database::Postgres);
    let [shop, partner] = ["shop", "partner"].map(|name| world.receiver(name).start());
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &partner));
    spring(&world, ALPHA, 3);
    spring(&world, BETA, 2);
    world.run_until_idle();
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &operator);

    // Nobody can look at attempts.
    let mut held = world.connect();
    let hold = "BEGIN; LOCK TABLE attempt IN ACCESS EXCLUSIVE MODE";
    world.block_on(held.execute(hold)).expect("it is held");
    let look = "/replays/new?status=delivered&look=1";
    for path in [PATH, look] {
        let page = browser.get(path);
        assert_eq!((page.status, page.header("refresh")), (200, Some("1")));
        assert!(page.body.contains("It is being counted"), "{page:?}");
    }
    // What is wrong is said all the same.
    let wrong = browser.get("/replays/new?status=delivered&rate=fast&look=1");
    assert_eq!(wrong.status, 422, "{wrong:?}");

    world
        .block_on(held.execute("ROLLBACK"))
        .expect("it is free");
    let page = browser.page(PATH);
    assert!(page.contains("3 of 3 deliveries have ended."), "{page}");
    let page = browser.page(look);
    assert!(page.contains("Up to 3 deliveries (3 delivered)"), "{page}");
}
