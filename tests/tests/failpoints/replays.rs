//! Replays that the owner works off in chunks.

use tharsis::{
    Registry,
    store::{DeliveryFilter, ReplayChoice, ReplayDraft},
    system_now,
};
use tharsis_tests::{ALPHA, Database, Subscribe, World, on_both_databases, pause};

use crate::{
    KILLS, MOMENT, kill_at, number, numbers,
    point::{Leaves, Story, points},
    publish,
};

on_both_databases! { a_replay_whose_owner_dies_takes_each_delivery_once }

/// Three chunks: as many as two kills let through, of which the first dies at its first chunk and
/// the second at its second. And few enough that the subscription may have all of them on their way.
const EVENTS: usize = 990;

fn a_replay_whose_owner_dies_takes_each_delivery_once(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let id = world
        .subscribe(&Subscribe::new(ALPHA, &shop).max_in_flight(1_024))
        .id;
    let lines = world.predictions(ALPHA, EVENTS);
    publish(&world, &lines);
    world.run_until_idle();
    let mut sent = EVENTS;
    for (point, leaves) in points(Story::Replay, on) {
        for _ in 0..KILLS / 2 {
            // What a replay has made due stays there until all of it is.
            world.ask(["subscription", "pause", &id]);
            ask(&world);
            for nth in 1..=2 {
                let before = progress(&world);
                kill_at(&world, point, nth, &["run"], |_| pause(MOMENT));
                let name = point.as_str();
                let has_moved = progress(&world) != before;
                let done = nth - u32::from(leaves == Leaves::Nothing);
                assert_eq!(has_moved, done > 0, "{name} x {nth}");
                let [replayed, due] = replayed_and_due(&world);
                assert_eq!(EVENTS + replayed, shop.count() + due, "{name} x {nth}");
            }
            // What was asked for is done before anything is sent.
            world.run_until_idle();
            assert!(is_done(&world));
            world.ask(["subscription", "resume", &id]);
            world.run_until_idle();
            sent += EVENTS;
            assert_eq!(shop.count(), sent, "each came once more");
        }
    }

    shop.assert_received(&lines);
    let ended = format!(
        "SELECT count(*) FROM {} WHERE ended = 'delivered'",
        world.table("attempt")
    );
    assert_eq!(number(&world, &ended), sent);
    assert_eq!(replayed_and_due(&world), [sent - EVENTS, 0]);
    assert_eq!(world.integrity(), "ok");
}

fn ask(world: &World) {
    let mut filter = DeliveryFilter::default();
    filter.client = Some(ALPHA.parse().expect("a client"));
    let choice = ReplayChoice::Filter(filter);
    let emitter = world.emitter();
    let asked = world.block_on(
        emitter
            .registry()
            .replay(&ReplayDraft::new(choice), system_now()),
    );
    asked.expect("it can be asked for");
}

/// How far each replay is, oldest first.
fn progress(world: &World) -> Vec<String> {
    let text = ["examined", "replayed", "finished_at"]
        .map(|column| format!("coalesce(CAST({column} AS TEXT), '-')"))
        .join(" || ' ' || ");
    world.select(&format!(
        "SELECT {text} FROM {} ORDER BY seq",
        world.table("replay")
    ))
}

/// Deliveries that were made due again so far, and those that are not sent.
fn replayed_and_due(world: &World) -> [usize; 2] {
    let replayed = format!(
        "SELECT coalesce(sum(replayed), 0) FROM {}",
        world.table("replay")
    );
    let due = format!("SELECT count(*) FROM {}", world.table("delivery"));
    numbers(world, [&replayed, &due])
}

fn is_done(world: &World) -> bool {
    let open = format!(
        "SELECT count(*) FROM {} WHERE finished_at IS NULL",
        world.table("replay")
    );
    number(world, &open) == 0
}
