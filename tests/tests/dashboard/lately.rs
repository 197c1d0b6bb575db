//! How it went lately with a subscription, on its page.

use tharsis_tests::{ALPHA, Api, BETA, Database, Subscribe, World, on_both_databases};

use crate::{Browser, token};

on_both_databases! { a_subscription_shows_its_rate_and_latency_and_nobody_elses }

fn a_subscription_shows_its_rate_and_latency_and_nobody_elses(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let theirs = world.subscribe(&Subscribe::new(BETA, &partner)).id;
    let [one, all] = [Some(ALPHA), None].map(|client| token(&world, "viewer", client));
    let api = Api::start(&world, &["--no-worker"]);
    let [one, all] = [one, all].map(|token| Browser::signed_in(&api, &token));
    let [ours, theirs] = [&id, &theirs].map(|id| format!("/subscriptions/{id}"));

    let page = one.page(&ours);
    assert!(page.contains(&requests(0)), "{page}");
    assert!(page.contains("No figures yet."), "{page}");

    for (client, count) in [(ALPHA, 3), (BETA, 5)] {
        world.publish(&world.predictions(client, count));
    }
    world.run_until_idle();
    for (browser, path, count) in [(&one, &ours, 3), (&all, &ours, 3), (&all, &theirs, 5)] {
        let page = browser.page(path);
        for told in [
            &*requests(count),
            "<dt>Delivered, of what was tried</dt><dd>100.00 %</dd>",
            "<dt>Half answered within</dt>",
            "<dt>95 of 100 within</dt>",
        ] {
            assert!(page.contains(told), "{told}: {page}");
        }
    }
    assert_eq!(one.get(&theirs).status, 404);

    // Charts show quarters of an hour that are over, as it is one later.
    let quarters = world.table("quarter");
    let earlier = match on {
        Database::Sqlite => "at - 900000",
        Database::Postgres => "at - interval '15 minutes'",
    };
    world.execute(&format!("UPDATE {quarters} SET at = {earlier}"));
    for (path, rate) in [(&ours, "0.2"), (&theirs, "0.3")] {
        let page = all.page(path);
        let told = format!("{rate} a minute at most; delivered");
        assert!(page.contains(&told), "{told}: {page}");
        assert!(page.contains("100.00 % at most"), "{page}");
        assert!(!page.contains("No figures yet."), "{page}");
    }

    // What was counted of it goes with it.
    world.ask(["subscription", "remove", &id, "--yes"]);
    let left = world.select(&format!(
        "SELECT CAST(sum(attempts) AS TEXT) FROM {quarters}"
    ));
    assert_eq!(left, ["5"]);
}

fn requests(count: u32) -> String {
    format!("<dt>Requests</dt><dd>{count}</dd>")
}
