//! What people are to be told.

use tharsis_tests::{
    ALPHA, Database, MailServer, Subscribe, Tls, World, on_both_databases, pause, wait_until,
};

use crate::{
    KILLS, MOMENT, SOON, kill_at,
    point::{Leaves, Story, points},
    publish,
};

on_both_databases! { what_a_worker_that_died_was_about_to_tell_is_told }

fn what_a_worker_that_died_was_about_to_tell_is_told(on: Database) {
    let world = World::on(on);
    let server = MailServer::up(&world, Tls::None);
    let shop = world.receiver("shop").answers(400).start();
    let wanted = Subscribe::new(ALPHA, &shop)
        .retry("none")
        .flag("--breaker=none")
        .flag("--alert-mail=hooks@shop.example");
    world.subscribe(&wanted);
    publish(&world, &world.predictions(ALPHA, 1));
    world.run_until_idle();
    let table = world.table("alert");
    // As if the time were over for which it was claimed.
    let release = format!(
        "UPDATE {table} SET due_at = raised_at WHERE due_at > raised_at AND ended_at IS NULL"
    );
    for (point, leaves) in points(Story::Alert, on) {
        for kill in 0..KILLS {
            kill_at(&world, point, 1, &["run"], |_| pause(MOMENT));
            let claimed = if leaves == Leaves::Done { 2 } else { 0 };
            assert_eq!(world.execute(&release), claimed, "{point:?} {kill}");
        }
    }
    assert_eq!(server.letters(), []);
    let run = world.spawn_run();
    wait_until("it is told", SOON, || {
        (server.letters().len() == 1).then_some(())
    });
    drop(run);
    assert_eq!(world.integrity(), "ok");
}
