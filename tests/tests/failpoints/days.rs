//! The days' tables, which a worker makes ahead of time and drops when they are forgotten.

use std::collections::BTreeSet;

use tharsis_tests::{ALPHA, Database, Subscribe, World, pause, wait_until};

use crate::{
    KILLS, MOMENT, SOON, kill_at,
    point::{Leaves, Story, points},
    publish,
};

#[test]
fn a_worker_that_dies_while_it_makes_days_leaves_whole_ones() {
    let world = World::on(Database::Postgres);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let mut lines = Vec::new();
    for (point, leaves) in points(Story::Days, Database::Postgres) {
        for kill in 0..KILLS {
            let line = world.predictions(ALPHA, 1);
            publish(&world, &line);
            lines.extend(line);
            let before = match kill % 5 {
                // A day that is forgotten goes as a whole.
                4 => {
                    whole(&world);
                    let day = newest(&world).pop().expect("there are days");
                    world.execute(&format!("COMMENT ON TABLE {day} IS 'forgotten'"));
                    1
                }
                _ => {
                    for table in newest(&world).into_iter().rev().take(2) {
                        let day = table.trim_start_matches("event_");
                        world.execute(&format!("DROP TABLE attempt_{day}, event_{day}"));
                    }
                    1 + kill % 5
                }
            };
            let had = days(&world);
            kill_at(&world, point, before, &["run"], |_| pause(MOMENT));
            let done = before - u32::from(leaves == Leaves::Nothing);
            let done = usize::try_from(done).expect("few");
            // First each table that is wanted is made, at midnight those of another day, and then a day is dropped.
            let expected = match wanted(&world).difference(&had).count() {
                to_make if done <= to_make => had.len() + done,
                to_make => had.len() + to_make - 2,
            };
            assert_eq!(days(&world).len(), expected, "{}", point.as_str());
            whole(&world);
        }
    }
    world.run_until_idle();
    shop.assert_received(&lines);
    assert_eq!(world.statuses()["delivered"], lines.len());
    assert_eq!(world.integrity(), "ok");
}

/// Lets a worker make all that is to be there.
fn whole(world: &World) {
    let is_whole = || wanted(world).is_subset(&days(world));
    if is_whole() {
        return;
    }
    let worker = world.spawn_run();
    wait_until("all days are there", SOON, || is_whole().then_some(()));
    worker.terminate();
    worker.finish(SOON).ok();
}

/// The tables of yesterday, today and a week ahead, as it is now.
fn wanted(world: &World) -> BTreeSet<String> {
    let wanted = world.select(
        "SELECT name || to_char(clock_timestamp() AT TIME ZONE 'UTC' + day * interval '1 day', '_YYYYMMDD')
         FROM unnest(ARRAY['event', 'attempt']) name, generate_series(-1, 7) day",
    );
    wanted.into_iter().collect()
}

/// The tables of days that there are.
fn days(world: &World) -> BTreeSet<String> {
    let days = world.select(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent IN (to_regclass('event'), to_regclass('attempt'))
           AND c.relname NOT LIKE '%default'",
    );
    days.into_iter().collect()
}

/// The days' tables of events, the last day's last.
fn newest(world: &World) -> Vec<String> {
    let mut days = days(world);
    days.retain(|table| table.starts_with("event"));
    days.into_iter().collect()
}
