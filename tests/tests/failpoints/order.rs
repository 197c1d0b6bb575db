//! Deliveries that wait for one before them.

use tharsis_tests::{ALPHA, Database, Line, Subscribe, World, on_both_databases, pause};

use crate::{
    KILLS, MOMENT, kill_at,
    point::{Story, points},
    publish,
};

on_both_databases! { what_waits_for_one_before_it_goes_in_order_whenever_its_owner_dies }

const ANN: &str = "11111111-1111-4111-8111-111111111111";

/// So many wait each time.
const EACH: usize = 3;

fn what_waits_for_one_before_it_goes_in_order_whenever_its_owner_dies(on: Database) {
    let world = World::on(on);
    let kills = points(Story::Order, on).count() * usize::try_from(KILLS).expect("few");
    let lines: Vec<Line> = (world.predictions(ALPHA, kills * EACH).into_iter())
        .map(|line| line.about(ANN))
        .collect();
    let mut shop = world.receiver("shop");
    for line in lines.iter().step_by(EACH) {
        shop = shop.refuses(&line.mark, 1);
    }
    let shop = shop.start();
    let wanted = Subscribe::new(ALPHA, &shop)
        .flag("--order=recipient")
        .retry("20x50ms..100ms");
    world.subscribe(&wanted);
    let mut told = lines.chunks(EACH);
    for (point, _) in points(Story::Order, on) {
        for _ in 0..KILLS {
            publish(&world, told.next().expect("enough"));
            kill_at(&world, point, 1, &["run"], |_| pause(MOMENT));
            // What it left behind may be let go again.
            world.run_until_idle();
        }
    }
    shop.assert_received(&lines);
    let (mut latest, mut come) = (0, shop.marks());
    come.dedup();
    for mark in come {
        let at = lines
            .iter()
            .position(|line| line.mark == mark)
            .expect("its own");
        assert!(at <= latest + 1, "{at} came after {latest}");
        latest = latest.max(at);
    }
    assert_eq!(world.integrity(), "ok");
}
