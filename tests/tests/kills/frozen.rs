//! Workers that stand still beyond their lease, as on a machine that is suspended, and then go on.

use std::time::Duration;

use serde_json::{Value, json};
use tharsis::system_now;
use tharsis_tests::{ALPHA, Database, Inbox, Running, Subscribe, World, wait_until};

use crate::{House, SOON, stopped, wait_for_a_share, wait_for_shares};

#[test]
fn workers_that_stand_still_beyond_their_lease_lose_nothing_and_every_duplicate_is_explained() {
    const PAUSES: usize = 10;
    let world = World::on(Database::Postgres);
    world.lease("1s");
    let house = House::new(&world);
    let mut random = world.random();
    let publisher = house.publisher(&world);
    let mut workers: Vec<Running> = (0..3).map(|_| world.spawn_run()).collect();
    let mut paused = Vec::new();
    for _ in 0..PAUSES {
        wait_for_shares(&world, 3, SOON);
        house.go_on(1);
        let zombie = &mut workers[random.usize(0..3)];
        let stood = zombie.freeze();
        wait_until("the others have its shards", SOON, || {
            (world.share_of(zombie) == 0).then_some(())
        });
        house.go_on(20);
        let thawed = system_now();
        zombie.thaw();
        paused.push((stood, Some(thawed)));
    }
    let journal = publisher.stop();
    for worker in workers {
        worker.terminate();
        worker.finish(SOON).ok();
    }
    world.run_until_idle();

    let figures = house.assert_promises_are_kept(&world, journal, stopped(paused));
    assert!(figures.events > 20 * PAUSES);
}

/// Eight requests of a worker are under way when it is frozen. They are answered with `first` while it stands still; then
/// another worker takes over, makes the same requests and is answered with `second`, and then the first one wakes.
fn woken_after_another_took_over(world: &World, first: u16, second: u16) -> Inbox {
    const IN_FLIGHT: usize = 8;
    world.lease("1s");
    let shop = world
        .receiver("shop")
        .answers(first)
        .delays(Duration::from_millis(500))
        .start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("none"));
    let mut zombie = world.spawn_run();
    wait_for_a_share(world, &zombie);
    // A lane has one request under way until it was answered once.
    world.publish(&world.predictions(ALPHA, 1));
    wait_until("the first one is settled", SOON, || {
        let statuses = world.statuses();
        (statuses.contains_key("delivered") || statuses.contains_key("dead")).then_some(())
    });
    world.publish(&world.predictions(ALPHA, IN_FLIGHT));
    shop.wait_for(1 + IN_FLIGHT, SOON);
    zombie.freeze();

    // Those under way are answered as it was said when they came.
    shop.now_answers(second);
    let other = world.spawn_run();
    wait_until("the other one has settled them all", SOON, || {
        let statuses = world.statuses();
        let ended = if second == 200 { "delivered" } else { "dead" };
        (statuses.get(ended) == Some(&IN_FLIGHT)).then_some(())
    });
    assert_eq!(shop.count(), 1 + 2 * IN_FLIGHT);

    zombie.thaw();
    wait_for_shares(world, 2, SOON);
    for worker in [zombie, other] {
        worker.terminate();
        worker.finish(SOON).ok();
    }
    world.run_until_idle();
    assert_eq!(shop.count(), 1 + 2 * IN_FLIGHT, "and nothing more was sent");
    assert_eq!(world.integrity(), "ok");
    shop
}

/// The history of each delivery but the first as `[number, reason, end]`.
fn histories(world: &World) -> Vec<Vec<Value>> {
    let history = |delivery: &Value| {
        let id = delivery["id"].as_str().expect("a delivery has an id");
        let shown = world.ask(["delivery", "show", id]);
        (shown["history"].as_array().expect("a history").iter())
            .map(|attempt| json!([attempt["number"], attempt["reason"], attempt["end"]]))
            .collect()
    };
    let mut deliveries = world.deliveries(&[]);
    // The newest come first.
    deliveries.pop();
    deliveries.iter().map(history).collect()
}

#[test]
fn one_that_wakes_with_a_failure_does_not_end_what_was_delivered_meanwhile() {
    let world = World::on(Database::Postgres);
    // Not 503, which would let fewer be under way.
    woken_after_another_took_over(&world, 500, 200);
    for history in histories(&world) {
        assert_eq!(history, [json!([1, "http_200", "delivered"])]);
    }
}

#[test]
fn one_that_wakes_with_a_success_has_delivered_whatever_came_of_it_meanwhile() {
    let world = World::on(Database::Postgres);
    woken_after_another_took_over(&world, 200, 500);
    for history in histories(&world) {
        assert_eq!(
            history,
            [
                json!([1, "http_500", "dead"]),
                json!([2, "http_200", "delivered"])
            ]
        );
    }
    for delivery in world.deliveries(&[]) {
        assert_eq!(delivery["status"], "delivered");
    }
}
