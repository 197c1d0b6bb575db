//! What becomes of a subscription whose receiver fails, and of what waits for it.

use std::time::Duration;

use serde_json::{Value, json};
use tharsis_tests::{ALPHA, BETA, Database, Line, Subscribe, World, on_both_databases, wait_until};

on_both_databases! {
    what_waits_for_a_dead_receiver_is_held_and_comes_whole_when_it_is_back,
    one_that_is_gone_is_suspended_and_probed_before_the_rest_when_it_is_resumed,
    a_change_of_a_subscription_probes_it_at_once,
    what_a_receiver_has_been_through_is_told,
    a_retry_window_ends_what_retries_would_not,
    who_was_paused_with_a_backlog_goes_on_with_the_latest_only,
}

const SOON: Duration = Duration::from_secs(20);

fn health(world: &World, id: &str) -> Value {
    world.ask(["subscription", "health", id])
}

fn conditions(world: &World, id: &str) -> Vec<Value> {
    let all = health(world, id);
    let all = all["transitions"].as_array().expect("a list");
    // Oldest first.
    all.iter().rev().map(|t| t["became"].clone()).collect()
}

fn what_waits_for_a_dead_receiver_is_held_and_comes_whole_when_it_is_back(on: Database) {
    let world = World::on(on);
    let dead = world.receiver("dead").answers(500).start();
    let well = world.receiver("well").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &dead)).id;
    world.subscribe(&Subscribe::new(BETA, &well));
    let lines = world.predictions(ALPHA, 300);
    world.publish(&lines);
    let others = world.predictions(BETA, 50);
    world.publish(&others);

    // It does not wait for who is not to be asked yet.
    let summary = world.run_until_idle().json();
    assert_eq!(summary["remaining"]["held"], 300, "{summary}");
    assert_eq!(summary["ended"], 0);
    well.assert_received_once(&others);
    // 20 in a row, and what was under way beside the last.
    let tried = dead.count();
    assert!((20..28).contains(&tried), "{tried}");
    assert_eq!(world.deliveries(&["--status", "held"]).len(), 50, "a page");
    let said = health(&world, &id);
    assert_eq!(
        (
            &said["state"],
            &said["health"]["condition"],
            &said["health"]["cause"]
        ),
        (&json!("active"), &json!("open"), &json!("http_500"))
    );

    dead.now_answers(200);
    let run = world.spawn_run();
    wait_until("all is delivered", SOON, || {
        (world.statuses().get("delivered") == Some(&350)).then_some(())
    });
    drop(run);
    assert!(dead.count() >= tried + 300);
    dead.assert_received(&lines);
    assert_eq!(conditions(&world, &id), ["open", "half_open", "throttled"]);
}

fn one_that_is_gone_is_suspended_and_probed_before_the_rest_when_it_is_resumed(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(410).start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let lines = world.predictions(ALPHA, 20);
    world.publish(&lines);
    world.run_until_idle();
    let gone = shop.count();
    assert_eq!(conditions(&world, &id), ["suspended"]);
    assert_eq!(health(&world, &id)["reason"], "http_410");

    // It is still gone.
    world.ask(["subscription", "resume", &id]);
    assert_eq!(health(&world, &id)["health"]["condition"], "half_open");
    world.run_until_idle();
    assert_eq!(shop.count(), gone + 1, "one shows it");
    assert_eq!(
        conditions(&world, &id),
        ["suspended", "half_open", "suspended"]
    );

    shop.now_answers(200);
    world.ask(["subscription", "resume", &id]);
    world.run_until_idle();
    let left = 20 - gone - 1;
    assert_eq!(shop.count(), gone + 1 + left);
    assert_eq!(world.statuses()["delivered"], left);
}

fn a_change_of_a_subscription_probes_it_at_once(on: Database) {
    let world = World::on(on);
    let moved = world.receiver("moved").answers(404).start();
    let there = world.receiver("there").with_secret(&moved.secret).start();
    let id = world
        .subscribe(&Subscribe::new(ALPHA, &moved).flag("--breaker=3"))
        .id;
    let lines = world.predictions(ALPHA, 40);
    world.publish(&lines);
    world.run_until_idle();
    assert_eq!(health(&world, &id)["health"]["condition"], "open");
    let tried = world
        .deliveries(&["--limit=100"])
        .iter()
        .filter(|d| d["attempts"] != 0)
        .count();

    let url = format!("--url={}", there.url);
    world.ask([
        "subscription",
        "set",
        &id,
        &url,
        "--retry=none",
        "--max-in-flight=2",
    ]);
    // What was tried is due in five seconds.
    let summary = world.run_until_idle().json();
    there.assert_received_once(&lines);
    assert_eq!(summary["delivered"], 40, "{tried} were tried before");
    assert_eq!(conditions(&world, &id), ["open", "half_open", "throttled"]);
}

fn what_a_receiver_has_been_through_is_told(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(503).start();
    let well = world.receiver("well").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let other = world.subscribe(&Subscribe::new(BETA, &well)).id;
    assert_eq!(health(&world, &id)["health"]["condition"], "healthy");
    world.publish(&world.predictions(ALPHA, 60));
    world.publish(&world.predictions(BETA, 3));
    world.run_until_idle();

    assert_eq!(conditions(&world, &id), ["throttled", "open"]);
    assert_eq!(conditions(&world, &other), Vec::<Value>::new());
    let told = world.tharsis(["subscription", "health", &id]).ok().stdout;
    assert!(told.contains("open: http_503, since"), "{told}");
    let shown = world.tharsis(["subscription", "show", &id]).ok().stdout;
    assert!(shown.contains("open: http_503, since"), "{shown}");
    assert!(
        shown.contains("opens after 20 failures in a row; suspended after 5d"),
        "{shown}"
    );
    let listed = world.tharsis(["subscription", "list"]).ok().stdout;
    assert!(listed.contains("open: http_503"), "{listed}");
}

fn a_retry_window_ends_what_retries_would_not(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(500).start();
    let wanted = Subscribe::new(ALPHA, &shop)
        .retry("20x100ms..1m")
        .flag("--retry-window=1s");
    world.subscribe(&wanted);
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();

    // After 0.1, 0.2 and 0.4 s, each ±20 %; 0.8 s more would be too long.
    assert_eq!(shop.count(), 4);
    assert_eq!(world.statuses()["dead"], 1);
}

fn who_was_paused_with_a_backlog_goes_on_with_the_latest_only(on: Database) {
    let world = World::on(on);
    let [shop, other] = ["shop", "other"].map(|name| world.receiver(name).start());
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    world.subscribe(&Subscribe::new(BETA, &other));
    world.ask(["subscription", "pause", &id]);
    let recipients = [ALPHA, BETA];
    let lines: Vec<Line> = (0..)
        .zip(world.predictions(ALPHA, 1_200))
        .map(|(n, line)| line.about(recipients[n % 2]))
        .collect();
    world.publish(&lines);
    let others = world.predictions(BETA, 5);
    world.publish(&others);
    let summary = world.run_until_idle().json();
    assert_eq!(summary["remaining"]["held"], 1_200);

    let resumed = world.ask(["subscription", "resume", &id, "--held", "latest"]);
    assert_eq!(
        (&resumed["state"], &resumed["resuming"]),
        (&json!("paused"), &json!("latest"))
    );
    world.run_until_idle();
    shop.assert_received_once(&lines[1_198..]);
    other.assert_received_once(&others);
    let one = world.deliveries(&["--client", ALPHA, "--status", "cancelled", "--limit", "1"]);
    assert_eq!(one[0]["reason"], "superseded");
    assert_eq!(world.ask(["subscription", "show", &id])["state"], "active");
}
