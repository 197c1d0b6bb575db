//! Taking the lease, renewing it and giving it back.

use std::ops::RangeInclusive;

use tharsis::store::failpoint::Failpoint;
use tharsis_tests::{ALPHA, Database, Subscribe, World, on_both_databases, pause};

use crate::{
    KILLS, MOMENT, kill_at, number,
    point::{Leaves, Story, points},
    publish,
};

on_both_databases! { a_worker_that_dies_at_its_lease_is_followed_and_nothing_comes_twice }

fn a_worker_that_dies_at_its_lease_is_followed_and_nothing_comes_twice(on: Database) {
    let world = World::on(on);
    world.lease("1s");
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let mut lines = Vec::new();
    for (point, leaves) in points(Story::Lease, on) {
        let is_end = matches!(point, Failpoint::ReleaseAsked | Failpoint::ReleaseCommitted);
        // Nothing may be on its way when a lease is renewed; it is given back when nothing is.
        if !is_end {
            world.ask(["subscription", "pause", &id]);
        }
        for kill in 0..KILLS {
            // On SQLite it is written once, on PostgreSQL with each renewal.
            let nth = match on {
                Database::Postgres if !is_end => 1 + kill % 3,
                _ => 1,
            };
            let line = world.predictions(ALPHA, 1);
            publish(&world, &line);
            lines.extend(line);
            let arguments: &[&str] = if is_end {
                &["run", "--until-idle"]
            } else {
                &["run"]
            };
            let before = epoch(&world);
            let process = kill_at(&world, point, nth, arguments, |_| pause(MOMENT));
            let written = match on {
                Database::Sqlite => epoch(&world) - before,
                Database::Postgres => written(&world, process),
            };
            let done = nth - u32::from(leaves == Leaves::Nothing);
            let expected = expected(point, on, done);
            let name = point.as_str();
            assert!(
                expected.contains(&written),
                "{name} x {nth}: {written}, and not {expected:?}"
            );
        }
        world.ask(["subscription", "resume", &id]);
        world.run_until_idle();
        shop.assert_received_once(&lines);
    }
    assert_eq!(
        world.statuses().into_iter().collect::<Vec<_>>(),
        [("delivered".to_owned(), lines.len())]
    );
    assert_eq!(world.integrity(), "ok");
}

/// How often a lease may have been written when this was `done` so often; more than twice is twice.
fn expected(point: Failpoint, on: Database, done: u32) -> RangeInclusive<usize> {
    match (point, on, done) {
        // A renewal writes nothing there, and the lock goes with its process, given back or not.
        (
            Failpoint::LeaseRenewed | Failpoint::ReleaseAsked | Failpoint::ReleaseCommitted,
            Database::Sqlite,
            _,
        ) => 1..=1,
        (Failpoint::ReleaseAsked | Failpoint::ReleaseCommitted, Database::Postgres, 0) => 1..=2,
        (Failpoint::ReleaseAsked | Failpoint::ReleaseCommitted, Database::Postgres, _) => 0..=0,
        (Failpoint::LeaseRenewed, Database::Postgres, 1..) | (_, _, 2..) => 2..=2,
        (_, _, 1) | (Failpoint::LeaseRenewed, Database::Postgres, 0) => 1..=1,
        (_, _, 0) => 0..=0,
    }
}

/// Goes up on SQLite with each lease that is taken.
fn epoch(world: &World) -> usize {
    match world.is_on(Database::Sqlite) {
        true => number(world, "SELECT coalesce(max(epoch), 0) FROM tharsis_owner"),
        false => 0,
    }
}

/// How often the lease of a worker on PostgreSQL was written that it still has; more than twice is twice.
fn written(world: &World, process: u32) -> usize {
    let [worker, shard] = ["worker", "shard"].map(|table| world.table(table));
    number(
        world,
        &format!(
            "SELECT coalesce(max(CASE WHEN renewed_at > started_at THEN 2 ELSE 1 END), 0) FROM {worker} w
             WHERE pid = {process} AND EXISTS (SELECT FROM {shard} s WHERE s.owner = w.id)"
        ),
    )
}
