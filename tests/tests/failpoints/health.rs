//! Breakers that open and probe.

use tharsis_tests::{ALPHA, Database, Subscribe, World, on_both_databases, pause};

use crate::{
    KILLS, MOMENT, kill_at,
    point::{Leaves, Story, points},
    publish,
};

on_both_databases! { a_breaker_whose_owner_dies_is_as_it_was_written_down_and_holds_all }

fn a_breaker_whose_owner_dies_is_as_it_was_written_down_and_holds_all(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(500).start();
    let wanted = Subscribe::new(ALPHA, &shop)
        .retry("20x1ms..1ms")
        .flag("--breaker=2");
    let id = world.subscribe(&wanted).id;
    let lines = world.predictions(ALPHA, 4);
    publish(&world, &lines);
    for (point, leaves) in points(Story::Health, on) {
        for kill in 0..KILLS {
            let before = transitions(&world);
            kill_at(&world, point, 1, &["run"], |_| pause(MOMENT));
            let (name, became) = (point.as_str(), transitions(&world));
            match leaves {
                Leaves::Done => {
                    assert_eq!(became[before.len()..], ["open"], "{name} {kill}");
                    world.ask(["subscription", "resume", &id]);
                    assert_eq!(transitions(&world).last().expect("one"), "half_open");
                }
                _ => assert_eq!(became, before, "{name} {kill}"),
            }
        }
    }
    shop.now_answers(200);
    world.run_until_idle();
    shop.assert_received(&lines);
    assert_eq!(world.integrity(), "ok");
}

/// What the receiver has been through, oldest first.
fn transitions(world: &World) -> Vec<String> {
    let table = world.table("transition");
    world.select(&format!("SELECT became FROM {table} ORDER BY seq"))
}
