//! A file that has no room left.

use std::collections::HashSet;

use tharsis_tests::{ALPHA, Publisher, Subscribe, World, mark_of, wait_until};

use crate::{SOON, number, publish, rows, unfinished};

/// What a process may fill of the file, in pages.
const LIMIT: &str = "sqlite.pages=600";

#[test]
fn whoever_finds_the_file_full_says_so_and_goes_on_when_there_is_room_again() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    // Some wait to be settled and some to be routed when there is no room for either.
    world.ask(["subscription", "pause", &id]);
    let mut lines = world.predictions(ALPHA, 150);
    publish(&world, &lines);
    world.run_until_idle();
    // So many that routing them takes pages of its own, whatever room the others have left.
    let unrouted = world.nudges(ALPHA, 1_000);
    publish(&world, &unrouted);
    lines.extend(unrouted);
    world.ask(["subscription", "resume", &id]);
    fill(&world);

    let mut worker = world.spawn_armed(LIMIT, ["run"]);
    let said = wait_until("the worker says what is wrong", SOON, || {
        world.said("database or disk is full").pop()
    });
    assert!(
        said.contains("the store failed; it will be tried again"),
        "{said}"
    );
    assert!(said.contains("the database has no room left"), "{said}");

    let refused = world.predictions(ALPHA, 50);
    let text: Vec<&str> = refused.iter().map(|line| &*line.text).collect();
    let path = world.write("refused.ndjson", text.join("\n"));
    let path = path.to_str().expect("a path of ours is UTF-8");
    let failed = world
        .spawn_armed(LIMIT, ["--json", "publish", path])
        .finish(SOON);
    let error = failed.error();
    assert_eq!(error["code"], "database_full");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("database or disk is full"), "{error}");
    assert!(
        error["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("make room")),
        "{error}"
    );

    let publisher = Publisher::start_armed(&world, LIMIT, "mixed", &[ALPHA]);
    let journal = publisher.journal;
    publisher.process.finish(SOON).expect(1);
    let failed = journal.steps("failed");
    assert!(failed[0].contains("database or disk is full"), "{failed:?}");

    assert!(worker.is_alive(), "it waits");
    assert!(unfinished(&world) > 0, "for there was no room");
    let before = shop.count();
    empty(&world);
    wait_until("all is delivered", SOON, || {
        (unfinished(&world) == 0).then_some(())
    });
    assert!(before < shop.count());

    // What could not be published is published only now.
    let committed: HashSet<String> = journal.steps("committed").into_iter().collect();
    let promised: HashSet<String> = (lines.iter().map(|line| line.mark.clone()))
        .chain(committed)
        .collect();
    let received = || -> HashSet<String> {
        let posts = shop.posts();
        posts.iter().map(|post| mark_of(&post.body)).collect()
    };
    assert_eq!(received(), promised);
    let again = world.tharsis(["--json", "publish", path]).ok().json();
    assert_eq!(
        (&again["published"], &again["duplicates"]),
        (&50.into(), &0.into())
    );
    shop.wait_for(promised.len() + refused.len(), SOON);
    worker.terminate();
    worker.finish(SOON).ok();
    world.run_until_idle();
    assert_eq!(shop.count(), received().len(), "nothing came twice");
    assert_eq!(received().len(), promised.len() + refused.len());
    assert_eq!(world.statuses()["delivered"], rows(&world, "event"));
    assert_eq!(world.said("panicked"), Vec::<String>::new());
    assert_eq!(world.integrity(), "ok");
}

/// Somebody else takes all the room that there is.
fn fill(world: &World) {
    world.execute("CREATE TABLE filler (x BLOB)");
    world.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
         INSERT INTO filler SELECT zeroblob(4000) FROM n",
    );
    let free = number(world, "SELECT freelist_count FROM pragma_freelist_count");
    assert_eq!(free, 0, "there is no page left");
}

/// And gives it back.
fn empty(world: &World) {
    world.execute("DELETE FROM filler");
}
