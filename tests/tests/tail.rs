//! Whoever follows sees each attempt once, as it is settled.

use std::time::Duration;

use tharsis_tests::{
    ALPHA, BETA, Database, Running, Subscribe, World, on_both_databases, wait_until,
};

on_both_databases! {
    each_attempt_of_a_client_is_told_once,
    what_fails_is_told_from_now_on,
    what_is_no_state_of_an_attempt_is_refused,
}

const SOON: Duration = Duration::from_secs(30);

/// Waits until it has told so many lines.
#[track_caller]
fn wait_for_lines(tail: &Running, count: usize) {
    wait_until("it is told", SOON, || {
        (tail.stdout().lines().count() >= count).then_some(())
    });
}

/// Ends as it does when somebody has seen enough, and says what it told.
#[track_caller]
fn end(tail: Running) -> tharsis_tests::Finished {
    tail.interrupt();
    tail.finish(SOON).ok()
}

#[track_caller]
fn wait_until_settled(world: &World, status: &str, count: usize) {
    wait_until("all is settled", SOON, || {
        (world.all_deliveries(&["--status", status]).len() == count).then_some(())
    });
}

fn each_attempt_of_a_client_is_told_once(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let theirs = world.receiver("theirs").answers(503).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &theirs).retry("1h"));
    let early = world.spawn(["tail", "--json", "--client", ALPHA]);
    let worker = world.spawn_run();
    world.publish(&[world.predictions(ALPHA, 3), world.predictions(BETA, 1)].concat());
    wait_until_settled(&world, "delivered", 3);
    wait_until_settled(&world, "retrying", 1);
    wait_for_lines(&early, 3);

    let late = world.spawn(["tail", "--json", "--client", ALPHA, "--last", "2"]);
    wait_for_lines(&late, 2);
    world.publish(&[world.predictions(ALPHA, 2), world.predictions(BETA, 1)].concat());
    wait_until_settled(&world, "retrying", 2);
    wait_for_lines(&early, 5);
    wait_for_lines(&late, 4);
    for (tail, count) in [(early, 5), (late, 4)] {
        let told = end(tail).json_lines();
        let mut names: Vec<&str> = told
            .iter()
            .map(|one| one["delivery"].as_str().expect("a name"))
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((told.len(), names.len()), (count, count), "{told:?}");
        for one in &told {
            assert_eq!(
                (&one["client"], &one["subscription_name"]),
                (&ALPHA.into(), &"shop".into())
            );
            assert_eq!(
                (&one["number"], &one["reason"], &one["end"]),
                (&1.into(), &"http_200".into(), &"delivered".into())
            );
        }
    }
    drop(worker);
}

fn what_fails_is_told_from_now_on(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let theirs = world.receiver("theirs").answers(503).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &theirs).retry("1h"));
    let worker = world.spawn_run();
    world.publish(&world.predictions(BETA, 1));
    wait_until_settled(&world, "retrying", 1);

    let tail = world.spawn(["tail", "--failed", "--last", "0"]);
    wait_until("it follows", SOON, || {
        tail.stderr().contains("Ctrl-C ends it").then_some(())
    });
    world.publish(&[world.predictions(ALPHA, 1), world.predictions(BETA, 2)].concat());
    wait_until_settled(&world, "delivered", 1);
    wait_for_lines(&tail, 2);
    let told = end(tail).stdout;
    assert_eq!(told.lines().count(), 2, "{told}");
    for line in told.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words.get(1..3),
            Some(&["http_503", "retrying"][..]),
            "{line}"
        );
        assert!(line.contains("theirs"), "{line}");
    }
    drop(worker);
}

fn what_is_no_state_of_an_attempt_is_refused(on: Database) {
    let world = World::on(on);
    for (arguments, code) in [
        (
            &["tail", "--json", "--status", "held"][..],
            "no_such_attempt",
        ),
        (
            &["tail", "--json", "--failed", "--status", "dead"][..],
            "usage",
        ),
    ] {
        let refused = world.tharsis(arguments).expect(2);
        assert_eq!(refused.error_code(), code);
    }
}
