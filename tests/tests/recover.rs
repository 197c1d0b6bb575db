//! After an outage everything is brought back, once, though the worker that does it is killed.

use std::{collections::HashMap, time::Duration};

use serde_json::json;
use tharsis_tests::{
    ALPHA, BETA, Database, Inbox, Subscribe, World, on_both_databases, pause, wait_until,
};

on_both_databases! {
    after_an_outage_all_arrives_once,
    a_receiver_that_still_fails_is_left_as_it_is,
    a_replay_whose_worker_is_killed_five_times_sends_each_once_more,
    a_replay_is_held_and_called_off,
    who_came_later_gets_what_was_published_before,
    a_sandbox_gets_it_outside_of_health_and_history,
}

const SOON: Duration = Duration::from_secs(60);

fn delivered(world: &World) -> usize {
    world.statuses().get("delivered").copied().unwrap_or(0)
}

/// How often each body came, from one request on.
fn times(inbox: &Inbox, from: usize) -> HashMap<Vec<u8>, usize> {
    let mut times: HashMap<Vec<u8>, usize> = HashMap::new();
    for post in &inbox.posts()[from..] {
        *times.entry(post.body.to_vec()).or_default() += 1;
    }
    times
}

fn after_an_outage_all_arrives_once(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(503).start();
    let well = world.receiver("well").start();
    let id = world
        .subscribe(&Subscribe::new(ALPHA, &shop).retry("none"))
        .id;
    world.subscribe(&Subscribe::new(BETA, &well));
    let (lines, others) = (world.predictions(ALPHA, 2_000), world.predictions(BETA, 50));
    world.publish(&lines);
    world.publish(&others);
    world.run_until_idle();
    let statuses = world.statuses();
    let (dead, held) = (statuses["dead"], statuses["held"]);
    assert!(dead >= 20 && dead + held == 2_000, "{statuses:?}");

    shop.now_answers(200);
    let before = shop.count();
    let run = world.spawn_run();
    let recovered = world.ask(["subscription", "recover", &id, "--yes"]);
    assert_eq!(recovered["recovered"], true);
    assert_eq!(recovered["test"]["delivered"], true);
    assert_eq!(recovered["replay"]["expected"], dead);
    wait_until("all is delivered", SOON, || {
        (delivered(&world) == 2_050).then_some(())
    });
    run.terminate();
    run.finish(SOON).ok();
    let times = times(&shop, before);
    assert_eq!(times.len(), 2_001, "with the test event");
    assert!(times.values().all(|times| *times == 1));
    let missing = lines
        .iter()
        .find(|line| !times.contains_key(line.text.as_bytes()));
    assert!(missing.is_none(), "{missing:?}");
    well.assert_received_once(&others);
    shop.assert_all_verified();
    let audit = world.audit();
    assert_eq!(audit[0]["action"], "subscription.resumed");
    assert_eq!(audit[1]["action"], "replay.asked");
    assert_eq!(audit[1]["subject"], recovered["replay"]["id"]);
}

fn a_receiver_that_still_fails_is_left_as_it_is(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(500).start();
    let well = world.receiver("well").start();
    let id = world
        .subscribe(&Subscribe::new(ALPHA, &shop).retry("none"))
        .id;
    world.subscribe(&Subscribe::new(BETA, &well));
    world.publish(&[world.predictions(ALPHA, 15), world.predictions(BETA, 5)].concat());
    world.run_until_idle();
    let before = world.statuses();

    let asks = world.refused(["subscription", "recover", &id]);
    assert_eq!(asks["code"], "not_confirmed", "more than a few");
    let still = world
        .tharsis(["--json", "subscription", "recover", &id, "--yes"])
        .expect(1)
        .json();
    assert_eq!(
        (&still["recovered"], &still["replay"]),
        (&json!(false), &json!(null))
    );
    assert_eq!(still["test"]["answer"]["status"], 500);
    assert_eq!(world.ask(["replay", "list"])["replays"], json!([]));
    world.run_until_idle();
    assert_eq!(world.statuses(), before);
}

fn a_replay_whose_worker_is_killed_five_times_sends_each_once_more(on: Database) {
    const EACH: usize = 1_500;
    /// What a subscription has of a replay at a time: a quarter of a second's worth of its rate.
    const WINDOW: usize = 125;
    let world = World::on(on);
    world.lease("2s");
    let shop = world.receiver("shop").start();
    let well = world.receiver("well").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &well));
    let (lines, others) = (
        world.predictions(ALPHA, EACH),
        world.predictions(BETA, EACH),
    );
    world.publish(&lines);
    world.publish(&others);
    world.run_until_idle();
    assert_eq!((shop.count(), well.count()), (EACH, EACH));

    let asked = world.ask(["replay", "--client", ALPHA, "--rate", "500/s", "--yes"]);
    for kill in 1..=5 {
        let run = world.spawn_run();
        shop.wait_for(EACH + 200 * kill, SOON);
        run.kill9();
    }
    world.run_until_idle();
    let id = asked["id"].as_str().expect("an id");
    let done = world.ask(["replay", "show", id]);
    assert_eq!(done["state"], "done");
    assert_eq!(
        (&done["replayed"], &done["skipped"], &done["unfinished"]),
        (&json!(EACH), &json!(0), &json!(0))
    );
    let times = times(&shop, EACH);
    assert_eq!(times.len(), EACH, "each once more at least");
    let twice = shop.count() - 2 * EACH;
    assert!(twice <= 5 * WINDOW, "{twice} more than once more");
    shop.assert_received(&lines);
    well.assert_received_once(&others);
}

fn a_replay_is_held_and_called_off(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let well = world.receiver("well").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &well));
    world.publish(&[world.predictions(ALPHA, 200), world.predictions(BETA, 20)].concat());
    world.run_until_idle();

    let run = world.spawn_run();
    let replay = ["replay", "--client", ALPHA, "--rate", "20/s", "--yes"];
    let watching = world.spawn(["--json"].into_iter().chain(replay));
    let id = wait_until("it is asked for", SOON, || {
        let replays = world.ask(["replay", "list"]);
        replays["replays"][0]["id"].as_str().map(ToOwned::to_owned)
    });
    shop.wait_for(210, SOON);
    assert_eq!(world.ask(["replay", "pause", &id])["state"], "paused");
    // Who watches is not kept waiting.
    assert_eq!(watching.finish(SOON).ok().json()["state"], "paused");
    pause(Duration::from_millis(500));
    let held = shop.count();
    pause(Duration::from_millis(500));
    assert_eq!(shop.count(), held);

    world.ask(["replay", "resume", &id]);
    shop.wait_for(held + 10, SOON);
    assert_eq!(world.ask(["replay", "cancel", &id])["state"], "cancelled");
    assert_eq!(
        world.refused(["replay", "resume", &id])["code"],
        "replay_over"
    );
    run.terminate();
    run.finish(SOON).ok();
    world.run_until_idle();
    assert!(shop.count() < 400);
    assert_eq!(well.count(), 20);
    assert_eq!(world.statuses()["delivered"], 220);
}

fn who_came_later_gets_what_was_published_before(on: Database) {
    let world = World::on(on);
    let old = world.receiver("old").start();
    let well = world.receiver("well").start();
    world.subscribe(&Subscribe::new(ALPHA, &old));
    world.subscribe(&Subscribe::new(BETA, &well));
    let lines = world.predictions(ALPHA, 30);
    world.publish(&lines);
    world.publish(&world.predictions(BETA, 10));
    world.run_until_idle();

    let new = world.receiver("new").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &new)).id;
    let missing = ["replay", "--missing", "--subscription", &id];
    let would = world.ask(missing.into_iter().chain(["--since", "1h", "--dry-run"]));
    assert_eq!(would["count"], 30);
    for sent in [30, 0] {
        let asked = world.ask(missing.into_iter().chain(["--yes"]));
        world.run_until_idle();
        let done = world.ask(["replay", "show", asked["id"].as_str().expect("an id")]);
        assert_eq!(
            (&done["state"], &done["replayed"]),
            (&json!("done"), &json!(sent))
        );
    }
    new.assert_received_once(&lines);
    new.assert_all_verified();
    assert_eq!((old.count(), well.count()), (30, 10));
}

fn a_sandbox_gets_it_outside_of_health_and_history(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let well = world.receiver("well").start();
    let secret = shop.secret.clone();
    let sandbox = world.receiver("sandbox").with_secret(&secret).start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    world.subscribe(&Subscribe::new(BETA, &well));
    let lines = world.predictions(ALPHA, 20);
    world.publish(&lines);
    world.publish(&world.predictions(BETA, 5));
    world.run_until_idle();
    let history = world.deliveries(&["--subscription", &id]);

    let replay = [
        "replay",
        "--subscription",
        &id,
        "--to",
        &sandbox.url,
        "--yes",
    ];
    world.ask(replay);
    world.publish(&world.predictions(BETA, 5));
    world.run_until_idle();
    sandbox.assert_received_once(&lines);
    assert_eq!((shop.count(), well.count()), (20, 10));
    assert_eq!(world.deliveries(&["--subscription", &id]), history);
    // The same once more when it is asked for, and nothing by itself.
    world.ask(replay.into_iter().chain(["--fresh-key"]));
    world.run_until_idle();
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    assert_eq!((sandbox.count(), shop.count()), (40, 21));
    let all = world.ask(["subscription", "list"]);
    assert_eq!(all["subscriptions"].as_array().map(Vec::len), Some(3));
    sandbox.assert_received(&lines);
}
