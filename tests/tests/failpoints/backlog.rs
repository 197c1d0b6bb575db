//! Backlogs that are full, which workers write down.

use tharsis::Event;
use tharsis_tests::{
    ALPHA, BETA, Database, Line, Subscribe, World, on_both_databases, pause, wait_until,
};

use crate::{
    KILLS, MOMENT, SOON, kill_at,
    point::{Leaves, Story, points},
    publish, rows,
};

on_both_databases! { a_worker_that_dies_while_it_looks_at_backlogs_refuses_nobody_else }

fn a_worker_that_dies_while_it_looks_at_backlogs_refuses_nobody_else(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let held = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    world.subscribe(&Subscribe::new(BETA, &shop));
    world.ask(["subscription", "pause", &held]);
    world.configure("[engine]\nbacklog_limit = 5");
    let mut lines = world.predictions(ALPHA, 5);
    publish(&world, &lines);
    for (point, leaves) in points(Story::Backlog, on) {
        for _ in 0..KILLS {
            let full = world.table("full_backlog");
            world.execute(&format!("DELETE FROM {full}"));
            kill_at(&world, point, 1, &["run"], |_| pause(MOMENT));
            let expected = usize::from(leaves == Leaves::Done);
            assert_eq!(rows(&world, "full_backlog"), expected, "{}", point.as_str());
        }
    }

    // Of the one nothing more is taken, in one go with what is taken of the other.
    let worker = world.spawn_run();
    wait_until("its backlog is full", SOON, || {
        (rows(&world, "full_backlog") == 1).then_some(())
    });
    let (ours, theirs) = (world.predictions(ALPHA, 1), world.predictions(BETA, 1));
    let both: Vec<Line> = ours.iter().chain(&theirs).cloned().collect();
    let answers = answers(&world, &both);
    assert_eq!(answers, [Err("backlog_full"), Ok(false)]);
    // What was published before is known all the same.
    assert_eq!(self::answers(&world, &lines[..1]), [Ok(true)]);
    lines.extend(theirs);

    world.ask(["subscription", "resume", &held]);
    wait_until("it has gone down", SOON, || {
        (rows(&world, "full_backlog") == 0).then_some(())
    });
    assert_eq!(self::answers(&world, &ours), [Ok(false)]);
    lines.extend(ours);
    wait_until("all is delivered", SOON, || {
        (world.statuses().get("delivered") == Some(&lines.len())).then_some(())
    });
    worker.terminate();
    worker.finish(SOON).ok();
    shop.assert_received(&lines);
    assert_eq!(world.integrity(), "ok");
}

/// Whether each was known already, or why it is refused.
fn answers(world: &World, lines: &[Line]) -> Vec<Result<bool, &'static str>> {
    let events: Vec<Event> = (lines.iter())
        .map(|line| Event::parse(line.text.as_bytes()).expect("a good event"))
        .collect();
    let emitter = world.emitter();
    let published = world.block_on(emitter.publish_all(&events));
    (published.expect("it can be asked").into_iter())
        .map(|one| one.map(|one| one.duplicate).map_err(|refused| refused.code))
        .collect()
}
