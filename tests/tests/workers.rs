//! Several workers on one database share its work.

use std::{collections::HashMap, time::Duration};

use sqlx::Executor;
use tharsis_receiver::Received;
use tharsis_tests::{ALPHA, Database, Inbox, Line, Running, Subscribe, World, wait_until};

const SOON: Duration = Duration::from_secs(60);
const SHARDS: u32 = 64;

/// So many workers, once they share evenly; each writes what it did when it ends.
fn workers(world: &World, count: usize) -> Vec<Running> {
    let workers: Vec<Running> = (0..count).map(|_| world.spawn(["--json", "run"])).collect();
    wait_for_shares(world, count);
    workers
}

/// Waits until so many have all shards between them, each its even part, and gives the parts.
#[track_caller]
fn wait_for_shares(world: &World, count: usize) -> Vec<u32> {
    wait_until("the workers share evenly", SOON, || {
        let mut shares: Vec<u32> = world.workers().into_values().collect();
        shares.retain(|share| *share > 0);
        shares.sort_unstable();
        let even = shares.last()? - shares.first()? <= 1;
        let all = shares.iter().sum::<u32>() == SHARDS;
        (shares.len() == count && even && all).then_some(shares)
    })
}

/// What each of them delivered, as it says at its end.
#[track_caller]
fn end(workers: Vec<Running>) -> Vec<u64> {
    for worker in &workers {
        worker.terminate();
    }
    (workers.into_iter())
        .map(|worker| {
            let summary = worker.finish(SOON).ok().json();
            summary["delivered"].as_u64().expect("a number")
        })
        .collect()
}

#[test]
fn a_worker_that_asks_for_its_first_lease_in_vain_asks_again() {
    let world = World::on(Database::Postgres);
    world.lease("1s");
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.predictions(ALPHA, 3);
    world.publish(&lines);

    let mut holder = world.connect();
    world
        .block_on(holder.execute("BEGIN; SELECT shard FROM shard FOR UPDATE"))
        .expect("nobody else has them");
    let worker = world.spawn_run();
    wait_until("it says so", SOON, || {
        (!world.said("asked for in vain").is_empty()).then_some(())
    });
    assert_eq!(shop.count(), 0);
    world.block_on(holder.execute("COMMIT")).expect("it ends");
    shop.wait_for(3, SOON);
    worker.terminate();
    worker.finish(SOON).ok();
    shop.assert_received_once(&lines);
}

#[test]
fn three_share_the_shards_evenly_and_two_take_over_what_the_third_had_when_it_is_killed() {
    let world = World::on(Database::Postgres);
    world.lease("2s");
    let mut three = workers(&world, 3);
    assert_eq!(wait_for_shares(&world, 3), [21, 21, 22]);

    let killed = three.remove(1);
    let id = killed.id();
    killed.kill9();
    assert_eq!(wait_for_shares(&world, 2), [32, 32]);
    wait_until("nobody speaks of it any more", SOON, || {
        (!world.workers().contains_key(&id)).then_some(())
    });

    // What they are is there for people too.
    let listed = world.ask(["worker", "list"]);
    for worker in listed["workers"].as_array().expect("a list") {
        assert!(
            worker["host"].is_string() && worker["version"].is_string(),
            "{worker}"
        );
        assert!(worker["lease_age_ms"].as_u64() < Some(2_000), "{worker}");
    }
    let told = world.tharsis(["worker", "list"]).ok().stdout;
    assert!(told.contains(&three[0].id().to_string()), "{told}");

    // One that is ended says goodbye, and is not there from then on.
    end(vec![three.remove(0)]);
    assert_eq!(world.workers().len(), 1);
    assert_eq!(wait_for_shares(&world, 1), [SHARDS]);
    end(three);
    assert_eq!(world.workers(), [].into());
}

#[test]
fn one_client_with_many_subscriptions_keeps_all_workers_busy() {
    const SUBSCRIPTIONS: usize = 48;
    const EVENTS: usize = 40;
    let world = World::on(Database::Postgres);
    let shop = world.receiver("shop").start();
    subscribe_many(&world, &shop, SUBSCRIPTIONS);
    let three = workers(&world, 3);
    let lines = world.predictions(ALPHA, EVENTS);
    world.publish(&lines);
    shop.wait_for(SUBSCRIPTIONS * EVENTS, SOON);
    let delivered = end(three);
    assert_eq!(
        delivered.iter().sum::<u64>(),
        (SUBSCRIPTIONS * EVENTS) as u64
    );
    for part in &delivered {
        // By chance of their ids a third of 48 lanes is 16, give or take some.
        assert!(
            *part > (5 * EVENTS) as u64,
            "an even part is 640: {delivered:?}"
        );
    }
    shop.assert_received(&lines);
    assert_eq!(shop.count(), SUBSCRIPTIONS * EVENTS);
}

#[test]
fn limits_in_flight_hold_over_all_workers_also_while_they_come_and_go() {
    const DELAY: Duration = Duration::from_millis(40);
    const EVENTS: usize = 250;
    let world = World::on(Database::Postgres);
    world.lease("3s");
    let limits: [u32; 6] = [1, 2, 3, 4, 5, 6];
    let inboxes: Vec<Inbox> = limits
        .iter()
        .map(|limit| {
            let inbox = world
                .receiver(&format!("at-most-{limit}"))
                .delays(DELAY)
                .start();
            world.subscribe(&Subscribe::new(ALPHA, &inbox).max_in_flight(*limit));
            inbox
        })
        .collect();
    let lines = world.predictions(ALPHA, EVENTS);
    world.publish(&lines);
    let slowest = &inboxes[0];
    let goes_on = || slowest.wait_for(slowest.count() + 10, SOON);

    let mut running = Vec::new();
    for count in 1..=3 {
        running.push(world.spawn(["--json", "run"]));
        wait_for_shares(&world, count);
        goes_on();
    }
    end(vec![running.remove(0)]);
    wait_for_shares(&world, 2);
    assert!(slowest.count() < EVENTS, "all of that was under load");
    for inbox in &inboxes {
        inbox.wait_for(EVENTS, SOON);
    }
    end(running);

    for (inbox, limit) in inboxes.iter().zip(limits) {
        inbox.assert_received_once(&lines);
        let most = most_at_once(&inbox.posts(), DELAY);
        assert_eq!(most, limit as usize, "as many as there may be, and no more");
    }
}

/// The most requests that waited for their answer at one time. Each waits at least for the delay, so those that came
/// within one delay waited together.
fn most_at_once(posts: &[Received], delay: Duration) -> usize {
    // Both clocks count in milliseconds.
    let together = delay - Duration::from_millis(2);
    posts
        .iter()
        .enumerate()
        .map(|(n, first)| {
            let later = posts[n..].iter();
            later
                .take_while(|post| post.at.since(first.at) < together)
                .count()
        })
        .max()
        .unwrap_or(0)
}

#[test]
fn a_dead_one_with_thousands_waiting_delays_nobody_on_any_worker() {
    const BACKLOG: usize = 5_000;
    const HEALTHY: usize = 24;
    const EVENTS: usize = 40;
    /// The default limit in flight for one subscription.
    const IN_FLIGHT: usize = 8;
    let world = World::alone_on(Database::Postgres);
    let dead = world.receiver("dead").answers(500).start();
    let hanging = world
        .receiver("hanging")
        .delays(Duration::from_secs(3600))
        .start();
    world.subscribe(
        &Subscribe::new(ALPHA, &dead)
            .retry("1h,1h")
            .flag("--breaker=none"),
    );
    world.subscribe_unchecked(&Subscribe::new(ALPHA, &hanging));
    world.publish(&world.predictions(ALPHA, BACKLOG));
    let three = workers(&world, 3);
    dead.wait_for(BACKLOG, SOON);

    // One waits for its retries, the other for its answers, when healthy ones come to every worker.
    let healthy = world.receiver("healthy").start();
    subscribe_many(&world, &healthy, HEALTHY);
    let lines = world.predictions(ALPHA, EVENTS);
    let before = hanging.count();
    world.publish(&lines);
    healthy.wait_for(HEALTHY * EVENTS, SOON);
    let hung = hanging.count() - before;
    for worker in three {
        worker.kill9();
    }
    healthy.assert_received(&lines);
    assert_eq!(healthy.count(), HEALTHY * EVENTS);
    assert_eq!(
        per_mark(&healthy, &lines),
        HashMap::from([(HEALTHY, EVENTS)])
    );
    assert!(
        dead.count() <= BACKLOG + EVENTS,
        "it gets what is new, and nothing again within the hour"
    );
    assert!(
        hung <= 2 * IN_FLIGHT,
        "{hung} requests hung meanwhile, so somebody waited for their deadlines"
    );
}

/// How many events came so many times.
fn per_mark(inbox: &Inbox, lines: &[Line]) -> HashMap<usize, usize> {
    let mut times: HashMap<String, usize> = HashMap::new();
    for mark in inbox.marks() {
        *times.entry(mark).or_default() += 1;
    }
    let mut counts = HashMap::new();
    for line in lines {
        let came = times.get(&line.mark).copied().unwrap_or(0);
        *counts.entry(came).or_default() += 1;
    }
    counts
}

fn subscribe_many(world: &World, inbox: &Inbox, count: usize) {
    for n in 0..count {
        world.subscribe(&Subscribe::new(ALPHA, inbox).named(&format!("{} {n}", inbox.name)));
    }
}
