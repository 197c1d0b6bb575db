//! Commands that the owner carries out.

use tharsis::{DeliveryId, Registry, system_now};
use tharsis_tests::{ALPHA, Database, Line, Running, Subscribe, World, on_both_databases};

use crate::{
    KILLS, kill_at,
    point::{Leaves, Story, points},
    publish, rows, wait_unless_dead,
};

on_both_databases! { a_command_whose_owner_dies_is_carried_out_once }

/// Deliveries of each subscription.
const DELIVERIES: usize = 60;
/// Subscriptions that are removed.
const LEAVING: usize = 14;

fn a_command_whose_owner_dies_is_carried_out_once(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let kept = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let leaving: Vec<String> = (0..LEAVING)
        .map(|n| Subscribe::new(ALPHA, &shop).named(&format!("leaving {n}")))
        .map(|subscribe| world.subscribe_unchecked(&subscribe).id)
        .collect();
    let later = r#""not_before":"2099-01-01T00:00:00Z""#;
    let lines: Vec<Line> = (world.predictions(ALPHA, DELIVERIES).iter())
        .map(|line| line.in_envelope(later))
        .collect();
    publish(&world, &lines);
    world.ask(["subscription", "pause", &kept]);
    world.run_until_idle();
    let flags = [&format!("--subscription={kept}"), "--limit=1000"];
    let mut asking = Asking {
        world: &world,
        untouched: (world.deliveries(&flags).iter())
            .map(|delivery| delivery["id"].as_str().expect("an id").to_owned())
            .collect(),
        leaving,
        retried: 0,
        cancelled: 0,
    };
    assert_eq!(rows(&world, "delivery"), DELIVERIES * (1 + LEAVING));

    for (point, leaves) in points(Story::Command, on) {
        for kill in 0..KILLS {
            let (nth, before) = (1 + kill % 2, asking.carried_out());
            kill_at(&world, point, nth, &["run"], |worker| {
                asking.ask(kill, worker)
            });
            // One at a time is asked for, and so each is a chunk.
            let done = nth - u32::from(leaves == Leaves::Nothing);
            let carried_out = u32::try_from(asking.carried_out() - before);
            assert_eq!(carried_out, Ok(done), "{}", point.as_str());
        }
    }
    while !asking.untouched.is_empty() {
        asking.cancel();
    }
    world.ask(["subscription", "resume", &kept]);
    world.run_until_idle();

    let Asking {
        leaving,
        retried,
        cancelled,
        ..
    } = asking;
    assert!(retried > 5 && cancelled > 5 && leaving.len() < LEAVING);
    assert_eq!(shop.count(), retried, "each that was retried came once");
    let removed = DELIVERIES * (LEAVING - leaving.len());
    let statuses = world.statuses();
    assert_eq!(statuses["delivered"], retried);
    assert_eq!(statuses["cancelled"], cancelled + removed);
    assert_eq!(rows(&world, "delivery"), DELIVERIES * leaving.len());
    assert_eq!(world.integrity(), "ok");
}

struct Asking<'w> {
    world: &'w World,
    untouched: Vec<String>,
    leaving: Vec<String>,
    retried: usize,
    cancelled: usize,
}

impl Asking<'_> {
    /// How many of those that were asked for are carried out.
    fn carried_out(&self) -> usize {
        let removed = LEAVING - self.leaving.len();
        self.retried + self.cancelled + removed - rows(self.world, "command")
    }

    /// Asks for one thing after the other, each once the one before is done.
    fn ask(&mut self, kill: u32, worker: &mut Running) {
        let world = self.world;
        wait_unless_dead(worker, "commands are carried out", || {
            rows(world, "command") == 0
        });
        if !worker.is_alive() {
            return;
        }
        match kill % 3 {
            0 => self.retry(),
            1 => self.cancel(),
            _ => self.remove(),
        }
        wait_unless_dead(worker, "it is carried out", || rows(world, "command") == 0);
    }

    fn retry(&mut self) {
        let id = self.next();
        let emitter = self.world.emitter();
        let asked = self
            .world
            .block_on(emitter.registry().retry(id, system_now()));
        asked.expect("it is unfinished");
        self.retried += 1;
    }

    fn cancel(&mut self) {
        let id = self.next();
        let emitter = self.world.emitter();
        let asked = self
            .world
            .block_on(emitter.registry().cancel(id, system_now()));
        asked.expect("it is unfinished");
        self.cancelled += 1;
    }

    fn remove(&mut self) {
        let id = self.leaving.pop().expect("there are enough");
        let id = id.parse().expect("an id");
        let emitter = self.world.emitter();
        let asked = self
            .world
            .block_on(emitter.registry().remove(id, system_now()));
        assert_eq!(asked.expect("it is there").unfinished, DELIVERIES as u64);
    }

    fn next(&mut self) -> DeliveryId {
        let id = self.untouched.pop().expect("there are enough");
        id.parse().expect("an id")
    }
}
