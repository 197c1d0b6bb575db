//! What is held for too long, and what is kept no longer: workers see to it in chunks.

use tharsis_tests::{
    ALPHA, BETA, Database, Subscribe, World, on_both_databases, pause, wait_until,
};

use crate::{
    KILLS, MOMENT, SOON, kill_at,
    point::{Leaves, Story, points},
    publish, rows,
};

on_both_databases! { a_worker_that_dies_while_it_forgets_takes_whole_chunks }

/// What is held for each kill: a chunk and more.
const HELD: usize = 600;
const CHUNK: usize = 500;

fn a_worker_that_dies_while_it_forgets_takes_whole_chunks(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let held = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    world.ask(["subscription", "pause", &held]);
    world.subscribe(&Subscribe::new(BETA, &shop));
    world.configure("[retention]\nhistory = '2d'");
    world.was_warned(&held, 36);
    let young = world.predictions(BETA, 3);
    publish(&world, &young);
    world.run_until_idle();
    for (point, leaves) in points(Story::Retention, on) {
        for kill in 0..KILLS {
            publish(&world, &world.predictions(ALPHA, HELD));
            world.run_until_idle();
            let held = format!("SELECT event FROM {}", world.table("delivery"));
            world.age(3, &held);
            let before = rows(&world, "delivery");
            // First a chunk of what is held ends, then something is forgotten.
            let nth = 1 + kill % 2;
            kill_at(&world, point, nth, &["run"], |_| pause(MOMENT));
            let done = nth - u32::from(leaves == Leaves::Nothing);
            let ended = before - rows(&world, "delivery");
            let expected = if done > 0 { CHUNK } else { 0 };
            assert_eq!(ended, expected, "{} x {nth}", point.as_str());
        }
    }

    let worker = world.spawn_run();
    // First the events, then their keys.
    wait_until("all that is old is forgotten", SOON, || {
        let left = rows(&world, "event").max(rows(&world, "idempotency"));
        (left <= young.len() + 1).then_some(())
    });
    worker.terminate();
    worker.finish(SOON).ok();
    assert_eq!(rows(&world, "delivery"), 0);
    shop.assert_received(&young);
    assert_eq!(shop.count(), young.len());
    let statuses = world.statuses();
    assert_eq!(statuses["delivered"], young.len(), "{statuses:?}");
    assert_eq!(world.integrity(), "ok");
}
