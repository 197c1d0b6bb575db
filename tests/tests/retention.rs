//! What is kept, and for how long; and what is erased before.

use std::time::Duration;

use tharsis_tests::{ALPHA, BETA, Database, Subscribe, World, on_both_databases, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Somebody, as events name her.
const ANN: &str = "0f4d1f2e-6f0b-4e57-9b1d-3c1f9a7e2b11";

on_both_databases! {
    what_is_kept_no_longer_is_told_and_goes,
    a_person_is_erased_and_the_audit_keeps_no_name,
    a_client_is_erased_while_a_worker_delivers,
}

fn what_is_kept_no_longer_is_told_and_goes(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").says("thank you").start();
    let held = world.receiver("held").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let id = world.subscribe(&Subscribe::new(BETA, &held)).id;
    world.ask(["subscription", "pause", &id]);
    let mut lines = world.predictions(ALPHA, 20);
    world.publish(&lines);
    world.publish(&world.predictions(BETA, 5));
    world.run_until_idle();
    let all = format!(
        "SELECT {} FROM {}",
        if on == Database::Sqlite { "seq" } else { "id" },
        world.table("event")
    );
    world.age(40, &all);
    let young = world.predictions(ALPHA, 3);
    world.publish(&young);

    let told = world.ask(["prune", "--dry-run"]);
    let events = (&told["events"], &told["held"]);
    assert_eq!(events, (&0.into(), &0.into()), "90 days are not over");
    assert_eq!(told["excerpts"], 20, "30 days are: {told}");
    // Which also makes the days' tables.
    world.run_until_idle();
    world.configure("[retention]\nhistory = '14d'");
    let told = world.ask(["prune", "--dry-run"]);
    assert_eq!(told["held"], 5, "{told}");
    // Whole days go on PostgreSQL, and there is but one.
    let (events, needed) = match on {
        Database::Sqlite => (20, 5),
        Database::Postgres => (0, 25),
    };
    let both = (&told["events"], &told["needed"]);
    assert_eq!(both, (&events.into(), &needed.into()));

    // Nobody but the owner ends what is held, and not before it was told.
    assert_eq!(world.ask(["prune"])["events"], events);
    let run = world.spawn_run();
    wait_until("it is told that they will end", SOON, || {
        let alerts = world.ask(["alert", "list"]);
        (alerts["alerts"][0]["type"] == "delivery.expiring").then_some(())
    });
    run.terminate();
    run.finish(SOON).ok();
    assert_eq!(world.statuses()["held"], 5);
    world.was_warned(&id, 8 * 24);
    let run = world.spawn_run();
    wait_until("they have ended", SOON, || {
        (!world.statuses().contains_key("held")).then_some(())
    });
    run.terminate();
    run.finish(SOON).ok();
    let gone = world.ask(["prune"]);
    let left = world.ask(["prune", "--dry-run"]);
    assert_eq!(left["events"], 0, "after {gone}: {left}");
    assert_eq!(world.statuses()["delivered"], 3);
    lines.extend(young);
    shop.assert_received_once(&lines);
    assert_eq!(world.integrity(), "ok");
}

fn a_person_is_erased_and_the_audit_keeps_no_name(on: Database) {
    let world = World::on(on);
    let (shop, app) = (
        world.receiver("shop").start(),
        world.receiver("app").start(),
    );
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &app));
    let about = |client, count| -> Vec<_> {
        let nudges = world.nudges(client, count).into_iter();
        nudges.map(|nudge| nudge.about(ANN)).collect()
    };
    let (ours, theirs) = (about(ALPHA, 3), about(BETA, 2));
    let others = world.nudges(ALPHA, 4);
    for lines in [&ours, &theirs, &others] {
        world.publish(lines);
    }
    world.run_until_idle();
    let later = about(ALPHA, 1);
    world.publish(&later);

    let asked = ["erase", "--recipient", ANN, "--client", ALPHA];
    assert_eq!(world.refused(asked)["code"], "not_confirmed");
    let erased = world.ask(asked.into_iter().chain(["--yes"]));
    assert_eq!(
        (&erased["events"], &erased["attempts"]),
        (&4.into(), &3.into()),
        "{erased}"
    );
    world.run_until_idle();
    assert_eq!(
        shop.count(),
        ours.len() + others.len(),
        "what was not sent is not"
    );
    assert_eq!(world.statuses()["delivered"], others.len() + theirs.len());
    let everywhere = ["erase", "--recipient", ANN, "--yes"];
    assert_eq!(world.ask(everywhere)["events"], 2);

    let mut entries = world.audit();
    assert!(!format!("{entries:?}").contains(ANN), "{entries:?}");
    entries.retain(|entry| entry["action"] == "recipient.erased");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["subject"], erased["subject"]);
    assert_eq!(entries[1]["detail"]["events"], 4);
    if on == Database::Sqlite {
        for file in ["outbox.db", "outbox.db-wal"] {
            let bytes = std::fs::read(world.path(file)).unwrap_or_default();
            let name = ANN.as_bytes();
            let is_there = bytes.windows(name.len()).any(|window| window == name);
            assert!(!is_there, "{file} is overwritten");
        }
    }
    assert_eq!(world.integrity(), "ok");
}

fn a_client_is_erased_while_a_worker_delivers(on: Database) {
    let world = World::on(on);
    let (shop, app) = (
        world.receiver("shop").start(),
        world.receiver("app").start(),
    );
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let kept = world.subscribe(&Subscribe::new(BETA, &app)).id;
    world.publish(&world.predictions(ALPHA, 2_000));
    let theirs = world.predictions(BETA, 500);
    world.publish(&theirs);
    let run = world.spawn_run();
    let erased = world.ask(["erase", "--client", ALPHA, "--yes"]);
    assert_eq!(
        (&erased["events"], &erased["subscriptions"]),
        (&2_000.into(), &1.into())
    );
    let sent = shop.count();
    run.terminate();
    run.finish(SOON).ok();
    world.run_until_idle();

    assert!(
        shop.count() <= sent + 256,
        "but for what was under way nothing more is sent"
    );
    app.assert_received(&theirs);
    let listed = world.ask(["subscription", "list"]);
    let listed = listed["subscriptions"].as_array().expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], kept.as_str());
    assert_eq!(world.statuses()["delivered"], theirs.len());
}
