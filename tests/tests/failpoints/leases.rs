//! Taking the lease, renewing it and giving it back.

use tharsis::store::failpoint::Failpoint;
use tharsis_tests::{ALPHA, Database, Subscribe, World, on_both_databases, pause};

use crate::{
    KILLS, MOMENT, kill_at,
    point::{Story, points},
    publish,
};

on_both_databases! { a_worker_that_dies_at_its_lease_is_followed_and_nothing_comes_twice }

fn a_worker_that_dies_at_its_lease_is_followed_and_nothing_comes_twice(on: Database) {
    let world = World::on(on);
    world.lease("1s");
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let mut lines = Vec::new();
    for (point, _) in points(Story::Lease, on) {
        let is_end = matches!(point, Failpoint::ReleaseAsked | Failpoint::ReleaseCommitted);
        for kill in 0..KILLS {
            // On SQLite it is written once. On PostgreSQL with each renewal: the third comes a moment after the worker has
            // begun, with nothing to do, and before the others it has done nothing yet.
            let nth = match (on, is_end) {
                (Database::Postgres, false) => 3 - kill % 10 / 4,
                _ => 1,
            };
            if nth < 3 {
                let line = world.predictions(ALPHA, 1);
                publish(&world, &line);
                lines.extend(line);
            }
            let arguments: &[&str] = if is_end {
                &["run", "--until-idle"]
            } else {
                &["run"]
            };
            kill_at(&world, point, nth, arguments, |_| pause(MOMENT));
        }
        world.run_until_idle();
        shop.assert_received_once(&lines);
    }
    assert_eq!(
        world.statuses().into_iter().collect::<Vec<_>>(),
        [("delivered".to_owned(), lines.len())]
    );
    assert_eq!(world.integrity(), "ok");
}
