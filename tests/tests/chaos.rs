//! Chaos, the short form of it: 200 kills in eight worlds, of workers, publishers and servers, beside everything else that
//! goes wrong. `make chaos` tells it by the thousand.

use std::{env, path::Path, sync::atomic::AtomicBool};

use tharsis_tests::{
    Database, Server,
    chaos::{Plan, tell},
};

/// Kills in each world.
const KILLS: usize = 25;

fn promises_are_kept(database: Database, workers: usize, fan_out: usize) {
    let seed = match env::var("THARSIS_TEST_SEED") {
        Ok(seed) => seed.parse().expect("THARSIS_TEST_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    let plan = Plan::draw_with(seed, database, workers, fan_out, KILLS);
    // Where the next run finds it, should this one be cut short.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join(format!("../target/chaos/test-{workers}-{fan_out}"));
    let server = (database == Database::Postgres).then(|| Server::start(&folder));
    let told = tell(&plan, server.as_ref(), &AtomicBool::new(false));
    let told = told.expect("nobody stops it");
    assert_eq!(
        told.findings,
        Vec::<String>::new(),
        "with THARSIS_TEST_SEED={seed}: {:?}",
        told.figures
    );
    assert!(
        told.figures.events > 10 * KILLS,
        "the publishers were at work"
    );
}

#[test]
fn on_sqlite_with_a_fan_out_of_1() {
    promises_are_kept(Database::Sqlite, 1, 1);
}

#[test]
fn on_sqlite_with_a_fan_out_of_5() {
    promises_are_kept(Database::Sqlite, 1, 5);
}

#[test]
fn with_one_worker_and_a_fan_out_of_1() {
    promises_are_kept(Database::Postgres, 1, 1);
}

#[test]
fn with_one_worker_and_a_fan_out_of_5() {
    promises_are_kept(Database::Postgres, 1, 5);
}

#[test]
fn with_two_workers_and_a_fan_out_of_5() {
    promises_are_kept(Database::Postgres, 2, 5);
}

#[test]
fn with_three_workers_and_a_fan_out_of_1() {
    promises_are_kept(Database::Postgres, 3, 1);
}

#[test]
fn with_four_workers_and_a_fan_out_of_1() {
    promises_are_kept(Database::Postgres, 4, 1);
}

#[test]
fn with_four_workers_and_a_fan_out_of_5() {
    promises_are_kept(Database::Postgres, 4, 5);
}
