//! `kill -9` of workers and publishers.

use std::{collections::HashSet, env, time::Duration};

use tharsis_tests::{
    ALPHA, Database, Publisher, Running, Subscribe, World, on_both_databases, pause,
};

use crate::{
    House, SOON,
    fault::{Fault, assert_duplicates_are_explained, lost_leases},
    promised::{Promised, assert_settled_once},
    wait_for_a_share, wait_for_shares,
};

on_both_databases! {
    fifty_kills_of_the_worker_lose_nothing_and_every_duplicate_is_explained,
    retries_and_replays_survive_kills_too,
}

fn fifty_kills_of_the_worker_lose_nothing_and_every_duplicate_is_explained(on: Database) {
    kills_lose_nothing(on, 1, 50);
}

#[test]
fn fifty_kills_among_two_workers_lose_nothing_and_every_duplicate_is_explained() {
    kills_lose_nothing(Database::Postgres, 2, 50);
}

#[test]
fn fifty_kills_among_three_workers_lose_nothing_and_every_duplicate_is_explained() {
    kills_lose_nothing(Database::Postgres, 3, 50);
}

/// In each round the oldest of so many workers is killed and another takes its place, and often a publisher dies too.
fn kills_lose_nothing(on: Database, workers: usize, kills: usize) {
    let kills =
        env::var("THARSIS_TEST_KILLS").map_or(kills, |kills| kills.parse().expect("a number"));
    let world = World::on(on);
    world.lease("1s");
    let house = House::new(&world);
    let mut random = world.random();
    let mut publishers = [house.publisher(&world), house.publisher(&world)];
    let mut journals = Vec::new();
    let mut alive: Vec<Running> = (0..workers).map(|_| world.spawn_run()).collect();
    let mut killed = Vec::new();
    for round in 0..kills {
        // Most die while something is delivered, some long before or after.
        if round % 4 != 3 {
            house.go_on(1);
        }
        let longest = if round % 10 == 9 { 2_000 } else { 400 };
        pause(Duration::from_millis(random.u64(0..longest)));
        // One publisher in three rounds dies too: at any moment, or surely inside a transaction.
        match round % 6 {
            2 => {
                let other = house.publisher(&world);
                let publisher = std::mem::replace(&mut publishers[random.usize(0..2)], other);
                publisher.process.kill9();
                journals.push(publisher.journal);
            }
            5 => {
                let mut publisher = Publisher::start(&world, "held", &house.clients);
                publisher.wait_until_it("holds");
                pause(Duration::from_millis(random.u64(0..100)));
                publisher.process.kill9();
                journals.push(publisher.journal);
            }
            _ => {}
        }
        killed.push(Fault::kill(alive.remove(0).kill9()));
        alive.push(world.spawn_run());
    }
    journals.extend(publishers.map(Publisher::stop));
    wait_for_shares(&world, workers, SOON);
    for worker in alive {
        worker.terminate();
        worker.finish(SOON).ok();
    }
    world.run_until_idle();

    let promised = Promised::read(&journals);
    assert!(
        promised.committed.len() > 10 * kills,
        "the publishers were at work: {}",
        promised.committed.len()
    );
    assert!(
        promised.doomed.len() > kills,
        "and rolled back: {}",
        promised.doomed.len()
    );
    let posts = house.inboxes[0].posts();
    let delivered = |fault: &&Fault| posts.iter().any(|post| fault.made(post));
    let at_work = killed.iter().filter(delivered).count();
    assert!(
        2 * at_work > kills,
        "most workers lived to deliver: {at_work} of {kills}"
    );
    promised.assert_kept(&world, &house.inboxes);
    assert_duplicates_are_explained(&world, &house.inboxes, &killed);
    if lost_leases(&world).is_empty() {
        assert_settled_once(&world);
    }
}

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
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("30ms,60ms,60ms,60ms,60ms,60ms,60ms,60ms"));
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
