//! What workers count, for clients and for subscriptions.

use tharsis_tests::{ALPHA, Database, Subscribe, World, on_both_databases, pause};

use crate::{
    KILLS, MOMENT, kill_at, number,
    point::{Leaves, Story, points},
    publish,
};

on_both_databases! { a_worker_that_dies_while_it_writes_figures_down_has_written_all_of_them_or_none }

fn a_worker_that_dies_while_it_writes_figures_down_has_written_all_of_them_or_none(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let (mut lines, mut counted) = (Vec::new(), 0);
    for (point, leaves) in points(Story::Figures, on) {
        for _ in 0..KILLS {
            let new = world.predictions(ALPHA, 1);
            publish(&world, &new);
            lines.extend(new);
            // They are written down at the end of a run.
            kill_at(&world, point, 1, &["run", "--until-idle"], |_| {
                pause(MOMENT)
            });
            shop.assert_received(&lines);
            counted += usize::from(leaves == Leaves::Done);
            for table in ["minute", "quarter"] {
                assert_eq!(
                    delivered(&world, table),
                    counted,
                    "{} {table}",
                    point.as_str()
                );
            }
        }
    }
    assert_eq!(world.integrity(), "ok");
}

/// How many deliveries its rows count.
fn delivered(world: &World, table: &str) -> usize {
    let table = world.table(table);
    number(
        world,
        &format!("SELECT coalesce(sum(delivered), 0) FROM {table}"),
    )
}
