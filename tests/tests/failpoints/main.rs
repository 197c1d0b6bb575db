//! A process that ends between two steps, at any of its failpoints, loses nothing and doubles nothing but what was on its
//! way: at each point, on each database, ten times and more.
//!
//! `Failpoint::ALL` is gone through, so one that is never reached fails here by its name, and one that nobody has put
//! into a story does not compile.

mod alerts;
mod backlog;
mod commands;
mod days;
mod deliver;
mod figures;
mod full;
mod health;
mod keys;
mod leases;
mod migrations;
mod order;
mod point;
mod publish;
mod registry;
mod replays;
mod retention;

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use tharsis::store::failpoint::Failpoint;
use tharsis_tests::{Line, Running, World, wait_until};

/// What a machine under load may need for anything that takes milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// How long to look away from a process that dies soon.
const MOMENT: Duration = Duration::from_millis(2);

/// How often a process dies at each point.
const KILLS: u32 = 10;

/// A process that ends by itself at `point` when it comes there for this time.
fn armed(point: Failpoint, nth: u32) -> String {
    // What such an end leaves behind is no accident to be looked into.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).expect("a limit can be lowered");
    format!("{}:{nth}", point.as_str())
}

/// Starts the program, takes steps until it has died at `point`, and expects that it has. What a worker had is free then.
/// Returns the id that its process had.
#[track_caller]
fn kill_at(
    world: &World,
    point: Failpoint,
    nth: u32,
    arguments: &[&str],
    mut step: impl FnMut(&mut Running),
) -> u32 {
    let mut process = world.spawn_armed(&armed(point, nth), arguments);
    let id = process.id();
    let begin = Instant::now();
    while process.is_alive() && begin.elapsed() < SOON {
        step(&mut process);
    }
    assert_died_at(process, point);
    if arguments[0] == "run" {
        free(world);
    }
    id
}

/// It has died at this point: by the signal of an abort, and that was the last that it said.
#[track_caller]
fn assert_died_at(mut process: Running, point: Failpoint) {
    let name = point.as_str();
    let begin = Instant::now();
    while process.is_alive() {
        assert!(begin.elapsed() < SOON, "{name} was never reached");
        tharsis_tests::pause(Duration::from_millis(2));
    }
    let finished = process.finish(SOON);
    let said = &finished.stderr;
    assert!(
        said.ends_with(&format!("{name} was reached\n")),
        "{name} was never reached: {} ended with {:?} and said\n{}{said}",
        finished.command,
        finished.code,
        finished.stdout,
    );
    assert_eq!(finished.signal, Some(SIGABRT), "{name}: {said}");
}

const SIGABRT: i32 = rustix::process::Signal::ABORT.as_raw();

/// A worker on PostgreSQL that has died counts as alive until its lease is over: that time is over now.
fn free(world: &World) {
    if world.is_on(tharsis_tests::Database::Postgres) {
        world.execute("UPDATE worker SET until = clock_timestamp()");
    }
}

/// Publishes, here and at once, and leaves the database alone again.
#[track_caller]
fn publish(world: &World, lines: &[Line]) {
    let events: Vec<tharsis::Event> = lines
        .iter()
        .map(|line| tharsis::Event::parse(line.text.as_bytes()).expect("a good event"))
        .collect();
    let emitter = world.emitter();
    for published in world
        .block_on(emitter.publish_all(&events))
        .expect("it can be published")
    {
        published.expect("a good event");
    }
}

/// A number that SQL past the program counts.
#[track_caller]
fn number(world: &World, query: &str) -> usize {
    let [number] = numbers(world, [query]);
    number
}

/// Several of them, at one look.
#[track_caller]
fn numbers<const N: usize>(world: &World, queries: [&str; N]) -> [usize; N] {
    let texts = queries.map(|query| format!("CAST(({query}) AS TEXT)"));
    let rows = world.select(&format!("SELECT {}", texts.join(" || ' ' || ")));
    let numbers: Vec<usize> = (rows[0].split(' '))
        .map(|text| text.parse().expect("a count is a number"))
        .collect();
    numbers.try_into().expect("one for each")
}

/// How many rows a table of the outbox has.
#[track_caller]
fn rows(world: &World, table: &str) -> usize {
    number(
        world,
        &format!("SELECT count(*) FROM {}", world.table(table)),
    )
}

/// How many events are not routed, and deliveries not finished.
#[track_caller]
fn unfinished(world: &World) -> usize {
    let [outbox, delivery] = ["outbox", "delivery"].map(|table| world.table(table));
    number(
        world,
        &format!("(SELECT count(*) FROM {outbox}) + (SELECT count(*) FROM {delivery})"),
    )
}

/// Waits until this is so, or the process has died.
#[track_caller]
fn wait_unless_dead(process: &mut Running, what: &str, mut is_so: impl FnMut() -> bool) {
    wait_until(what, SOON, || {
        (!process.is_alive() || is_so()).then_some(())
    });
}

/// Waits until all that was published is delivered and settled, or the process has died.
#[track_caller]
fn wait_for_quiet(world: &World, process: &mut Running) {
    wait_unless_dead(process, "all is settled", || unfinished(world) == 0);
}

#[test]
fn a_failpoint_that_is_not_known_is_refused() {
    let world = World::new();
    let run = world.spawn_armed("settle.comitted:3", ["--json", "run"]);
    let refused = run.finish(SOON).expect(2).error();
    assert_eq!(refused["code"], "bad_failpoint");
    let hint = refused["hint"].as_str().expect("a hint");
    assert!(hint.contains("settle.committed"), "{refused}");
    assert!(!world.path("outbox.db").exists(), "nothing was begun");
}
