//! A worker ends when it is asked to, loses nothing by it, and costs nothing while it waits.

use std::time::{Duration, Instant};

use tharsis_tests::{
    ALPHA, Database, Running, Subscribe, World, on_both_databases, pause, wait_until,
};

on_both_databases! {
    an_idle_worker_ends_within_a_second,
    under_load_it_settles_what_was_in_flight_and_nothing_comes_twice,
    it_waits_no_longer_than_its_grace_for_one_that_hangs,
    an_idle_worker_costs_next_to_nothing,
}

const SOON: Duration = Duration::from_secs(20);

/// A worker that says that it is at work.
fn at_work(world: &World) -> Running {
    let mut run = world.spawn_run();
    wait_until("the worker is at work", SOON, || {
        assert!(run.is_alive(), "{}", run.stderr());
        run.stderr().contains("Ctrl-C ends it").then_some(())
    });
    run
}

fn an_idle_worker_ends_within_a_second(on: Database) {
    let world = World::alone_on(on);
    world.subscribe(&Subscribe::new(ALPHA, &world.receiver("shop").start()));
    let run = at_work(&world);
    pause(Duration::from_millis(500));
    let begin = Instant::now();
    run.terminate();
    run.finish(Duration::from_secs(1)).ok();
    assert!(begin.elapsed() < Duration::from_secs(1));
}

fn under_load_it_settles_what_was_in_flight_and_nothing_comes_twice(on: Database) {
    let world = World::on(on);
    let shop = world
        .receiver("shop")
        .delays(Duration::from_millis(30))
        .start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.predictions(ALPHA, 600);
    world.publish(&lines);
    for share in 1..=3 {
        let run = world.spawn_run();
        shop.wait_for(share * 100, SOON);
        run.terminate();
        run.finish(SOON).ok();
        let settled = world.all_deliveries(&["--status", "delivered"]).len();
        assert_eq!(settled, shop.count(), "what was in flight is settled");
        assert!(settled < 600, "it was asked under load");
    }
    world.run_until_idle();
    shop.assert_received_once(&lines);
}

fn it_waits_no_longer_than_its_grace_for_one_that_hangs(on: Database) {
    let world = World::on(on);
    let hanging = world
        .receiver("hanging")
        .delays(Duration::from_secs(3600))
        .start();
    world.subscribe_unchecked(&Subscribe::new(ALPHA, &hanging));
    world.publish(&world.predictions(ALPHA, 1));
    let run = world.spawn(["run", "--grace=300ms"]);
    hanging.wait_for(1, SOON);
    let begin = Instant::now();
    run.terminate();
    run.finish(SOON).ok();
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "its deadline is 3 s, the grace 300 ms: {:?}",
        begin.elapsed()
    );
    assert_eq!(
        world.deliveries(&["--status", "delivered"]).len(),
        0,
        "it is still owed"
    );
}

#[test]
fn a_second_worker_says_who_owns_the_outbox_and_ends() {
    let world = World::new();
    let run = at_work(&world);
    let second = world.tharsis(["--json", "run"]).expect(1);
    assert_eq!(second.error_code(), "already_owned");
    let error = second.error();
    assert!(
        error["message"].to_string().contains(&run.id().to_string()),
        "it names the process: {error}"
    );
    run.terminate();
    run.finish(SOON).ok();
    world.run_until_idle();
}

fn an_idle_worker_costs_next_to_nothing(on: Database) {
    let world = World::alone_on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let run = at_work(&world);
    world.publish(&world.predictions(ALPHA, 500));
    shop.wait_for(500, SOON);
    // It looks often for two seconds after the last work.
    pause(Duration::from_secs(4));

    let (begin, used) = (Instant::now(), run.processor_time());
    pause(Duration::from_secs(5));
    let (passed, used) = (begin.elapsed(), run.processor_time() - used);
    let memory = run.resident_memory();
    assert!(
        used < passed / 100,
        "{used:?} of processor time in {passed:?}"
    );
    assert!(memory < 40 << 20, "{memory} bytes");
    run.terminate();
    run.finish(SOON).ok();
}
