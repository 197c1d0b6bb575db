//! A slow, dead or hostile receiver costs the others nothing.

use std::time::Duration;

use tharsis_tests::{ALPHA, Database, Inbox, Subscribe, World, on_both_databases};

on_both_databases! {
    one_that_hangs_keeps_its_own_slots_and_nobody_elses,
    one_that_always_fails_does_not_come_before_the_others,
    with_both_of_them_and_few_slots_the_third_is_still_served,
    forty_that_hang_leave_slots_for_one_that_does_not,
    a_backlog_of_thousands_for_a_dead_one_is_not_in_the_way,
}

const SOON: Duration = Duration::from_secs(60);
const EVENTS: usize = 400;

/// The default limit in flight for one subscription.
const IN_FLIGHT: usize = 8;

/// How many requests `other` had got when `healthy` had them all. Nothing that is measured here depends on how fast the
/// machine is, but on whether one waits for the other: a request to one that hangs ends after its deadline of 3 s.
fn requests_until_done(world: &World, healthy: &Inbox, other: &Inbox) -> usize {
    let lines = world.predictions(ALPHA, EVENTS);
    world.publish(&lines);
    let run = world.spawn_run();
    healthy.wait_for(EVENTS, SOON);
    let count = other.count();
    run.kill9();
    healthy.assert_received_once(&lines);
    count
}

fn one_that_hangs_keeps_its_own_slots_and_nobody_elses(on: Database) {
    let world = World::alone_on(on);
    let healthy = world.receiver("healthy").start();
    let hanging = world
        .receiver("hanging")
        .delays(Duration::from_secs(3600))
        .start();
    // The one that hangs comes first wherever there is an order.
    world.subscribe_unchecked(&Subscribe::new(ALPHA, &hanging));
    world.subscribe(&Subscribe::new(ALPHA, &healthy));
    let hung = requests_until_done(&world, &healthy, &hanging);
    assert!(
        (1..=IN_FLIGHT).contains(&hung),
        "it got {hung} requests, so the healthy one waited for a deadline"
    );
}

fn one_that_always_fails_does_not_come_before_the_others(on: Database) {
    let world = World::alone_on(on);
    let healthy = world.receiver("healthy").start();
    let failing = world.receiver("failing").answers(500).start();
    world.subscribe(
        &Subscribe::new(ALPHA, &failing)
            .retry("1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms")
            .flag("--breaker=none"),
    );
    world.subscribe(&Subscribe::new(ALPHA, &healthy));
    let failed = requests_until_done(&world, &healthy, &failing);
    // Turn by turn they are even; with failures first it would be 9 for 1.
    assert!(
        failed < 3 * EVENTS,
        "{failed} failures before {EVENTS} deliveries"
    );
}

fn with_both_of_them_and_few_slots_the_third_is_still_served(on: Database) {
    let world = World::alone_on(on);
    let healthy = world.receiver("healthy").start();
    let hanging = world
        .receiver("hanging")
        .delays(Duration::from_secs(3600))
        .start();
    let failing = world.receiver("failing").answers(503).start();
    world.subscribe_unchecked(&Subscribe::new(ALPHA, &hanging));
    world.subscribe(&Subscribe::new(ALPHA, &failing).retry("50ms,1h"));
    world.subscribe(&Subscribe::new(ALPHA, &healthy));
    let lines = world.predictions(ALPHA, EVENTS);
    world.publish(&lines);
    let run = world.spawn(["run", "--max-in-flight=12"]);
    healthy.wait_for(EVENTS, SOON);
    let hung = hanging.count();
    run.kill9();
    assert!(hung <= IN_FLIGHT, "it got {hung} requests");
    healthy.assert_received_once(&lines);
}

/// More requests than there are slots, all of them hanging.
fn forty_that_hang_leave_slots_for_one_that_does_not(on: Database) {
    const HANGING: usize = 40;
    /// All slots of a worker, unless it is told otherwise.
    const SLOTS: usize = 256;
    let world = World::alone_on(on);
    let healthy = world.receiver("healthy").start();
    let hanging = world
        .receiver("hanging")
        .delays(Duration::from_secs(3600))
        .start();
    for n in 0..HANGING {
        let name = format!("hanging {n}");
        world.subscribe_unchecked(&Subscribe::new(ALPHA, &hanging).named(&name));
    }
    world.subscribe(&Subscribe::new(ALPHA, &healthy));
    let hung = requests_until_done(&world, &healthy, &hanging);
    assert!(
        hung <= SLOTS,
        "{hung} requests hung before the healthy one was done"
    );
}

fn a_backlog_of_thousands_for_a_dead_one_is_not_in_the_way(on: Database) {
    let world = World::alone_on(on);
    let dead = world.receiver("dead").answers(500).start();
    world.subscribe(
        &Subscribe::new(ALPHA, &dead)
            .retry("1h,1h")
            .flag("--breaker=none"),
    );
    world.publish(&world.predictions(ALPHA, 5_000));
    let run = world.spawn_run();
    dead.wait_for(5_000, SOON);
    run.terminate();
    run.finish(SOON).ok();

    // All of them wait for their retry when a healthy one comes.
    let healthy = world.receiver("healthy").start();
    world.subscribe(&Subscribe::new(ALPHA, &healthy));
    let lines = world.predictions(ALPHA, EVENTS);
    world.publish(&lines);
    let run = world.spawn_run();
    healthy.wait_for(EVENTS, SOON);
    run.kill9();
    healthy.assert_received_once(&lines);
    assert!(
        dead.count() <= 5_000 + EVENTS,
        "it gets what is new, and nothing again within the hour"
    );
}
