//! A worker ends when it is asked to, loses nothing by it, and costs nothing while it waits.

use std::time::{Duration, Instant};

use tharsis_tests::{ALPHA, Running, Subscribe, World, pause, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// A worker that says that it owns the outbox.
fn owner(world: &World) -> Running {
    let mut run = world.spawn_run();
    wait_until("the worker owns the outbox", SOON, || {
        assert!(run.is_alive(), "{}", run.stderr());
        run.stderr().contains("Owns ").then_some(())
    });
    run
}

#[test]
fn an_idle_worker_ends_within_a_second() {
    let world = World::alone();
    world.subscribe(&Subscribe::new(ALPHA, &world.receiver("shop").start()));
    let run = owner(&world);
    pause(Duration::from_millis(500));
    let begin = Instant::now();
    run.terminate();
    run.finish(Duration::from_secs(1)).ok();
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn under_load_it_settles_what_was_in_flight_and_nothing_comes_twice() {
    let world = World::new();
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
        let settled = world
            .deliveries(&["--status", "delivered", "--limit=100000"])
            .len();
        assert_eq!(settled, shop.count(), "what was in flight is settled");
        assert!(settled < 600, "it was asked under load");
    }
    world.run_until_idle();
    shop.assert_received_once(&lines);
}

#[test]
fn it_waits_no_longer_than_its_grace_for_one_that_hangs() {
    let world = World::new();
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
    let run = owner(&world);
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

#[test]
fn an_idle_worker_costs_next_to_nothing() {
    let world = World::alone();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let run = owner(&world);
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
