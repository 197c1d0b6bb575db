//! Replays that the owner works off in chunks.

use tharsis::{
    Registry,
    store::{DeliveryFilter, ReplayChoice},
    system_now,
};
use tharsis_tests::{ALPHA, Database, Running, Subscribe, World, on_both_databases};

use crate::{
    KILLS, kill_at, number,
    point::{Story, points},
    publish, unfinished, wait_unless_dead,
};

on_both_databases! { a_replay_whose_owner_dies_takes_each_delivery_once }

/// Three chunks.
const EVENTS: usize = 1_100;

fn a_replay_whose_owner_dies_takes_each_delivery_once(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let lines = world.predictions(ALPHA, EVENTS);
    publish(&world, &lines);
    world.run_until_idle();
    let mut rounds = 1;
    for (point, _) in points(Story::Replay, on) {
        for kill in 0..KILLS {
            // What a replay has made due stays there until all of it is.
            if is_done(&world) {
                if unfinished(&world) > 0 {
                    world.ask(["subscription", "resume", &id]);
                    world.run_until_idle();
                    assert_eq!(shop.count(), rounds * EVENTS, "each came once more");
                }
                world.ask(["subscription", "pause", &id]);
                ask(&world);
                rounds += 1;
            }
            kill_at(&world, point, 1 + kill % 2, &["run"], |worker| {
                work_off(&world, worker);
            });
        }
    }
    world.ask(["subscription", "resume", &id]);
    world.run_until_idle();

    assert!(rounds > 3, "there were several replays");
    shop.assert_received(&lines);
    assert_eq!(shop.count(), rounds * EVENTS);
    let ended = format!(
        "SELECT count(*) FROM {} WHERE ended = 'delivered'",
        world.table("attempt")
    );
    assert_eq!(number(&world, &ended), rounds * EVENTS);
    let replayed = format!("SELECT sum(replayed) FROM {}", world.table("replay"));
    assert_eq!(number(&world, &replayed), (rounds - 1) * EVENTS);
    assert!(is_done(&world));
    assert_eq!(world.integrity(), "ok");
}

/// Waits until the replay is done, and asks for another that finds nothing to do.
fn work_off(world: &World, worker: &mut Running) {
    wait_unless_dead(worker, "a replay is done", || is_done(world));
    if worker.is_alive() {
        ask(world);
    }
}

fn ask(world: &World) {
    let mut filter = DeliveryFilter::default();
    filter.client = Some(ALPHA.parse().expect("a client"));
    let choice = ReplayChoice::Filter(filter);
    let emitter = world.emitter();
    let asked = world.block_on(emitter.registry().replay(&choice, system_now()));
    asked.expect("it can be asked for");
}

fn is_done(world: &World) -> bool {
    let open = format!(
        "SELECT count(*) FROM {} WHERE finished_at IS NULL",
        world.table("replay")
    );
    number(world, &open) == 0
}
