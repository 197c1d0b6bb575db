//! The judge of an outbox finds what it is there to find: else no story that asks it would prove anything.

use std::time::Duration;

use tharsis_tests::{ALPHA, Database, Subscribe, World, on_both_databases};

on_both_databases! {
    what_was_tampered_with_is_found,
}

const SOON: Duration = Duration::from_secs(20);

fn what_was_tampered_with_is_found(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(500).then(200).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("1h"));
    let held = world.subscribe(&Subscribe::new(ALPHA, &shop).named("held"));
    world.ask(["subscription", "pause", &held.id]);
    world.publish(&world.predictions(ALPHA, 3));
    let run = world.spawn_run();
    shop.wait_for(3, SOON);
    run.terminate();
    run.finish(SOON).ok();
    assert_eq!(world.integrity(), "ok");

    // One delivery waits for its second attempt, two are delivered, three have never been tried.
    let [event, outbox, delivery, attempt, subscription] =
        ["event", "outbox", "delivery", "attempt", "subscription"].map(|name| world.table(name));
    let pointer = match on {
        Database::Sqlite => format!("INSERT INTO {outbox} (event) SELECT min(seq) FROM {event}"),
        Database::Postgres => format!(
            "INSERT INTO {outbox} (shard, event, client, type, published_at, size, frozen)
             SELECT 0, id, client, type, published_at, 1, true FROM {event} LIMIT 1"
        ),
    };
    let assert_finds = |tampering: &str, words: &[&str]| {
        let before = world.integrity();
        assert!(world.execute(tampering) > 0, "{tampering}");
        let after = world.integrity();
        for words in words {
            assert!(
                !before.contains(words),
                "{words} was there before: {before}"
            );
            assert!(after.contains(words), "{tampering} is not found: {after}");
        }
    };
    assert_finds(
        &format!("UPDATE {delivery} SET attempts = 5 WHERE attempts = 0"),
        &["counts other attempts"],
    );
    assert_finds(
        &format!("UPDATE {attempt} SET number = 3 WHERE ended = 'delivered'"),
        &["a gap in its numbers"],
    );
    assert_finds(
        &format!("UPDATE {attempt} SET ended = 'dead' WHERE ended IS NULL"),
        &["unfinished delivery that has ended"],
    );
    assert_finds(
        &format!("UPDATE {event} SET frozen = (1 = 0)"),
        &["without being frozen"],
    );
    assert_finds(&pointer, &["pointer to an event that was routed"]);
    assert_finds(
        &format!("DELETE FROM {event}"),
        &[
            "a delivery of no event",
            "a history of no event",
            "a pointer to no event",
            "a key of no event",
        ],
    );
    assert_finds(
        &format!("DELETE FROM {subscription}"),
        &["a delivery or an attempt of no subscription"],
    );
    if on == Database::Postgres {
        let shard = world.table("shard");
        assert_finds(
            &format!("DELETE FROM {shard} WHERE shard = 63"),
            &["another number of shards"],
        );
        assert_finds(
            &format!(
                "INSERT INTO {event} (id, type, client, frozen, payload)
                 VALUES ('00000000-0000-7000-8000-000000000000', 'old', gen_random_uuid(), true, '{{}}')"
            ),
            &["in no partition of its time"],
        );
    }
}
