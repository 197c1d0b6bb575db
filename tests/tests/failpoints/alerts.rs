//! What people are to be told.

use tharsis_tests::{
    ALPHA, Database, MailServer, Subscribe, Tls, World, on_both_databases, pause, wait_until,
};

use crate::{
    KILLS, MOMENT, SOON, kill_at, number,
    point::{Leaves, Story, points},
    publish,
};

on_both_databases! {
    what_a_worker_that_died_was_about_to_tell_is_told,
    what_tells_of_it_is_published_once_however_often_a_worker_dies,
}

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

fn what_tells_of_it_is_published_once_however_often_a_worker_dies(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(400).start();
    let ear = world.receiver("ear").start();
    let listens = Subscribe::new(ALPHA, &ear)
        .event("subscription.failing")
        .event("delivery.dead");
    world.subscribe(&listens);
    let wanted = Subscribe::new(ALPHA, &shop)
        .retry("none")
        .flag("--breaker=none");
    world.subscribe(&wanted);
    publish(&world, &world.predictions(ALPHA, 1));
    world.run_until_idle();
    let table = world.table("alert");
    // As if the time were over for which it was claimed.
    let release = format!(
        "UPDATE {table} SET due_at = raised_at WHERE due_at > raised_at AND ended_at IS NULL"
    );
    let published = || {
        let event = world.table("event");
        let own = format!(
            "SELECT count(*) FROM {event} WHERE type IN ('subscription.failing', 'delivery.dead')"
        );
        number(&world, &own)
    };
    for (point, leaves) in points(Story::Alert, on) {
        for kill in 0..KILLS {
            kill_at(&world, point, 1, &["run"], |_| pause(MOMENT));
            let (claimed, told) = if leaves == Leaves::Done {
                (2, 2)
            } else {
                (0, 0)
            };
            assert_eq!(world.execute(&release), claimed, "{point:?} {kill}");
            assert_eq!(published(), told, "{point:?} {kill}");
        }
    }
    let run = world.spawn_run();
    wait_until("both are told", SOON, || {
        let told = format!("SELECT count(*) FROM {table} WHERE outcome = 'told'");
        (number(&world, &told) == 2).then_some(())
    });
    drop(run);
    world.run_until_idle();
    assert_eq!(published(), 2);
    ear.assert_all_verified();
    // A request that was under way when its worker died comes again, as any does.
    let mut bodies: Vec<_> = ear.posts().into_iter().map(|post| post.body).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 2);
    assert_eq!(world.integrity(), "ok");
}
