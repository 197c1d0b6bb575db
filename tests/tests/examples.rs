//! The examples do what they say.

use std::{process::Command, time::Duration};

use tharsis_tests::{ALPHA, Line, Subscribe, World, node_example, python_example};

const BOUND: Duration = Duration::from_secs(30);

#[test]
fn publish_in_transaction_tells_of_the_decision_that_was_committed_and_of_no_other() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    // It works in `engine.db` of its folder, for this client.
    world.use_file("engine.db");
    world.subscribe(&Subscribe::new(
        "b4aeba4e-a4c0-4896-866a-56f8bcb372fc",
        &shop,
    ));
    let example = || {
        world
            .spawn_other(world.example("publish_in_transaction"))
            .finish(BOUND)
            .ok()
    };
    assert!(example().stdout.contains("1 to be routed"));
    world.run_until_idle();
    // The same decision is published again by a second run, and is no second event.
    assert!(example().stdout.contains("which was there already"));
    world.run_until_idle();
    let posts = shop.posts();
    assert_eq!(posts.len(), 1);
    shop.assert_all_verified();
    let body = String::from_utf8_lossy(&posts[0].body);
    assert!(body.contains("T-WTTBL-1"), "{body}");
}

#[test]
fn python_publishes_in_its_own_transaction() {
    tells_of_what_was_committed(|| python_example("publish.py"));
}

#[test]
fn node_publishes_in_its_own_transaction() {
    tells_of_what_was_committed(|| node_example("publish.js"));
}

/// It reads an event a line and writes the id of each; `--rollback` takes them back.
fn tells_of_what_was_committed(example: impl Fn() -> Command) {
    let world = World::in_its_own_database();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let publish = |lines: &[Line], flags: &[&str]| {
        let mut command = example();
        command
            .env("DATABASE_URL", world.database_url())
            .args(flags);
        let text: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
        let told = world.other_reading(command, &(text.join("\n") + "\n")).ok();
        let ids: Vec<String> = told.stdout.lines().map(ToOwned::to_owned).collect();
        ids
    };
    let lines = [world.nudges(ALPHA, 3), world.predictions(ALPHA, 4)].concat();
    let (doomed, decided) = lines.split_at(2);
    let run = world.spawn_run();
    publish(doomed, &["--rollback"]);
    let ids = publish(decided, &[]);
    shop.wait_for(decided.len(), BOUND);
    run.terminate();
    run.finish(BOUND).ok();
    shop.assert_received_once(decided);

    assert_eq!(ids.len(), decided.len(), "{ids:?}");
    for (id, line) in ids.iter().zip(decided) {
        let shown = world.tharsis(["--json", "event", "show", id]).ok().stdout;
        assert!(shown.contains(&line.mark), "{shown}");
    }
    // What the engine decides twice is one event.
    assert_eq!(publish(decided, &[]), ids);
    world.run_until_idle();
    shop.assert_received_once(decided);
}
