//! Shards that change hands, at the lease as it comes.

use std::time::{Duration, Instant};

use tharsis_tests::{Database, Running, World};

use crate::{House, SOON, assert_settled_once, stopped, wait_for_shares};

/// How long a lease is unless it is said otherwise.
const LEASE: Duration = Duration::from_secs(15);
/// Shards that are given back find their next owner so soon: long before any lease ends.
const AT_ONCE: Duration = Duration::from_secs(7);

#[test]
fn a_worker_that_is_killed_is_followed_within_its_lease_and_nothing_is_lost() {
    let world = World::on(Database::Postgres);
    let house = House::new(&world);
    let (one, other) = (world.spawn_run(), world.spawn_run());
    wait_for_shares(&world, 2, SOON);
    let publisher = house.publisher(&world);
    house.go_on(20);
    let begin = Instant::now();
    let stood = one.kill9();
    wait_for_shares(&world, 1, LEASE + AT_ONCE);
    let took = begin.elapsed();
    let journal = publisher.stop();
    other.terminate();
    other.finish(SOON).ok();
    assert!(took < LEASE + Duration::from_secs(2), "{took:?}");

    world.run_until_idle();
    house.assert_promises_are_kept(&world, journal, stopped([(stood, None)]));
    assert_settled_once(&world);
}

#[test]
fn of_workers_that_are_ended_in_turn_nothing_comes_twice_and_their_shards_are_taken_over_at_once() {
    let world = World::on(Database::Postgres);
    let house = House::new(&world);
    let mut random = world.random();
    let publisher = house.publisher(&world);
    let mut workers: Vec<Running> = (0..3).map(|_| world.spawn_run()).collect();
    for _ in 0..3 {
        wait_for_shares(&world, 3, SOON);
        house.go_on(1);
        let ended = workers.remove(random.usize(0..3));
        ended.terminate();
        ended.finish(SOON).ok();
        let begin = Instant::now();
        wait_for_shares(&world, 2, SOON);
        let took = begin.elapsed();
        assert!(took < AT_ONCE, "its shards lay still for {took:?}");
        workers.push(world.spawn_run());
    }
    let journal = publisher.stop();
    wait_for_shares(&world, 3, SOON);
    for worker in workers {
        worker.terminate();
        worker.finish(SOON).ok();
    }
    world.run_until_idle();
    let figures = house.assert_promises_are_kept(&world, journal, stopped([]));
    assert_eq!(figures.duplicates, 0);
    assert_settled_once(&world);
}

#[test]
fn of_workers_that_are_added_to_one_at_work_nothing_comes_twice() {
    let world = World::on(Database::Postgres);
    let house = House::new(&world);
    let publisher = house.publisher(&world);
    let mut workers = Vec::new();
    for count in 1..=4 {
        workers.push(world.spawn_run());
        house.go_on(50);
        wait_for_shares(&world, count, SOON);
    }
    let journal = publisher.stop();
    for worker in workers {
        worker.terminate();
        worker.finish(SOON).ok();
    }
    world.run_until_idle();
    let figures = house.assert_promises_are_kept(&world, journal, stopped([]));
    assert_eq!(figures.duplicates, 0);
    assert_settled_once(&world);
}
