//! Any number of processes publish into the file that another one delivers from, and none of them waits for long.

use std::time::Duration;

use tharsis_tests::{ALPHA, Journal, Publisher, Subscribe, World};

const SOON: Duration = Duration::from_secs(60);
const PUBLISHERS: usize = 8;
const EACH: usize = 100;
/// So many that the worker has not drained them when the publishers are done.
const BACKLOG: usize = 120_000;

/// What 99 of 100 publishes stay under.
const LONG: Duration = Duration::from_millis(100);

/// The same where the disk is so slow that this is longer: four rounds of all of them, each as long as a publish takes with
/// nobody beside it.
const ROUNDS: u32 = 4;

#[test]
fn eight_processes_publish_beside_a_drain_and_none_of_them_waits_for_long() {
    let world = World::alone();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let backlog = world.predictions(ALPHA, BACKLOG);
    world.publish(&backlog);
    let how = format!("timed:{EACH}");
    let start = || Publisher::start(&world, &how, &[ALPHA]);
    let alone = start();
    alone.process.finish(SOON).ok();
    let alone = took(&alone.journal)[EACH / 2];

    let run = world.spawn_run();
    shop.wait_for(100, SOON);
    let publishers: Vec<Publisher> = (0..PUBLISHERS).map(|_| start()).collect();
    let mut marks = Vec::new();
    let mut waits = Vec::new();
    for publisher in publishers {
        publisher.process.finish(SOON).ok();
        assert_eq!(publisher.journal.steps("failed"), Vec::<String>::new());
        marks.extend(publisher.journal.steps("committed"));
        waits.extend(took(&publisher.journal));
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
    waits.sort();
    let p99 = waits[waits.len() * 99 / 100];
    let told = format!(
        "p50 {:?}, p99 {p99:?}, max {:?}, beside {delivered} deliveries; alone {alone:?}",
        waits[waits.len() / 2],
        waits[waits.len() - 1]
    );
    let round = alone * u32::try_from(PUBLISHERS).expect("few");
    assert!(p99 < LONG.max(round * ROUNDS), "{told}");
    world.run_until_idle();
    let received = shop.marks();
    assert!(marks.iter().all(|mark| received.contains(mark)));
}

/// How long each publish of a journal took, the shortest first.
fn took(journal: &Journal) -> Vec<Duration> {
    let mut took: Vec<Duration> = (journal.steps("took").iter())
        .map(|micros| micros.parse().expect("a publisher writes microseconds"))
        .map(Duration::from_micros)
        .collect();
    took.sort();
    took
}
