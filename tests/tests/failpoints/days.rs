//! The days' tables, which a worker makes ahead of time and drops when they are forgotten.

use tharsis_tests::{ALPHA, Database, Subscribe, World, pause, wait_until};

use crate::{
    KILLS, MOMENT, SOON, kill_at, number,
    point::{Leaves, Story, points},
    publish,
};

/// Yesterday's, today's and a week's, of events and of attempts.
const TABLES: usize = 18;

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
            let (last, before) = match kill % 5 {
                // A day that is forgotten goes as a whole.
                4 => {
                    whole(&world);
                    let day = newest(&world).remove(0);
                    world.execute(&format!("COMMENT ON TABLE {day} IS 'forgotten'"));
                    (-2, 1)
                }
                _ => {
                    for table in newest(&world).into_iter().take(2) {
                        let day = table.trim_start_matches("event_");
                        world.execute(&format!("DROP TABLE attempt_{day}, event_{day}"));
                    }
                    (1, 1 + kill % 5)
                }
            };
            let had = count(&world);
            kill_at(&world, point, before, &["run"], |_| pause(MOMENT));
            let done = before - u32::from(leaves == Leaves::Nothing);
            let expected = i64::try_from(had).expect("few") + last * i64::from(done);
            assert_eq!(
                i64::try_from(count(&world)),
                Ok(expected),
                "{}",
                point.as_str()
            );
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
    if count(world) == TABLES {
        return;
    }
    let worker = world.spawn_run();
    wait_until("all days are there", SOON, || {
        (count(world) == TABLES).then_some(())
    });
    worker.terminate();
    worker.finish(SOON).ok();
}

const DAYS: &str = "FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent IN (to_regclass('event'), to_regclass('attempt'))
      AND c.relname NOT LIKE '%default'";

fn count(world: &World) -> usize {
    number(world, &format!("SELECT count(*) {DAYS}"))
}

/// The days' tables of events, the last day's first.
fn newest(world: &World) -> Vec<String> {
    world.select(&format!(
        "SELECT c.relname::text {DAYS} AND c.relname LIKE 'event%' ORDER BY c.relname DESC"
    ))
}
