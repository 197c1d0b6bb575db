//! Any number of processes publish into the file that another one delivers from, and none of them waits for long.

use std::time::Duration;

use tharsis_tests::{ALPHA, Publisher, Subscribe, World};

const SOON: Duration = Duration::from_secs(60);
const PUBLISHERS: usize = 8;
const EACH: usize = 100;
/// So many that the worker has not drained them when the publishers are done.
const BACKLOG: usize = 120_000;

/// What 99 of 100 publishes stay under.
const LONG: Duration = Duration::from_millis(100);

#[test]
fn eight_processes_publish_beside_a_drain_and_none_of_them_waits_for_long() {
    let world = World::alone();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let backlog = world.predictions(ALPHA, BACKLOG);
    world.publish(&backlog);
    let run = world.spawn_run();
    shop.wait_for(100, SOON);

    let how = format!("timed:{EACH}");
    let publishers: Vec<Publisher> = (0..PUBLISHERS)
        .map(|_| Publisher::start(&world, &how, &[ALPHA]))
        .collect();
    let mut marks = Vec::new();
    let mut took = Vec::new();
    for publisher in publishers {
        publisher.process.finish(SOON).ok();
        assert_eq!(publisher.journal.steps("failed"), Vec::<String>::new());
        marks.extend(publisher.journal.steps("committed"));
        took.extend(publisher.journal.steps("took").iter().map(|micros| {
            Duration::from_micros(micros.parse().expect("a publisher writes microseconds"))
        }));
    }
    let delivered = shop.count();
    assert!(
        delivered < BACKLOG,
        "the worker was done before the publishers were"
    );
    run.terminate();
    let log = run.finish(SOON).ok();
    assert!(!log.stderr.contains("locked"), "{}", log.stderr);

    assert_eq!(marks.len(), PUBLISHERS * EACH);
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    assert!(
        p99 < LONG,
        "p50 {:?}, p99 {p99:?}, max {:?}, beside {delivered} deliveries",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    world.run_until_idle();
    let received = shop.marks();
    assert!(marks.iter().all(|mark| received.contains(mark)));
}
