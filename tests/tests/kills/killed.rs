//! Retries and replays whose worker is killed again and again.

use std::{collections::HashSet, time::Duration};

use tharsis_tests::{ALPHA, Database, Subscribe, World, on_both_databases, pause};

use crate::wait_for_a_share;

on_both_databases! { retries_and_replays_survive_kills_too }

/// Retries and a replay go on where they were, whatever was killed.
fn retries_and_replays_survive_kills_too(on: Database) {
    const EVENTS: usize = 400;
    const REFUSED_AT_FIRST: u32 = 700;
    let world = World::on(on);
    world.lease("1s");
    let shop = world
        .receiver("shop")
        .answers(503)
        .after(REFUSED_AT_FIRST, 200)
        .start();
    // Each is to be retried, not held.
    let wanted = Subscribe::new(ALPHA, &shop)
        .retry("30ms,60ms,60ms,60ms,60ms,60ms,60ms,60ms")
        .flag("--breaker=none");
    world.subscribe(&wanted);
    let lines = world.predictions(ALPHA, EVENTS);
    world.publish(&lines);
    let mut random = world.random();
    let mut kill = |times: usize| {
        for _ in 0..times {
            let worker = world.spawn_run();
            // One that follows a killed one has nothing to do before that one's lease is over.
            if on == Database::Postgres {
                wait_for_a_share(&world, &worker);
            }
            pause(Duration::from_millis(random.u64(20..250)));
            worker.kill9();
        }
    };
    kill(15);
    world.run_until_idle();
    assert_eq!(
        world
            .deliveries(&["--status=delivered", "--limit=1000"])
            .len(),
        EVENTS
    );

    let before = shop.count();
    let replay = world.ask(["replay", "--client", ALPHA, "--yes"]);
    kill(10);
    world.run_until_idle();
    let replay = world.ask(["replay", "show", replay["id"].as_str().expect("an id")]);
    assert_eq!(
        (&replay["state"], &replay["replayed"], &replay["skipped"]),
        (&"done".into(), &EVENTS.into(), &0.into())
    );
    shop.assert_received(&lines);
    let again: HashSet<String> = shop.marks().split_off(before).into_iter().collect();
    assert_eq!(again.len(), EVENTS, "each came again");
    for delivery in world.deliveries(&["--limit=1000"]) {
        let shown = world.ask(["delivery", "show", delivery["id"].as_str().expect("an id")]);
        let history = shown["history"].as_array().expect("a history");
        let ends = history
            .iter()
            .filter(|attempt| attempt["end"] == "delivered")
            .count();
        assert_eq!(ends, 2, "once by itself and once by the replay: {shown}");
    }
    assert_eq!(world.integrity(), "ok");
}
