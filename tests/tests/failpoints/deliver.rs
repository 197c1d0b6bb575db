//! From the pointer to the settled attempt.

use tharsis::store::failpoint::Failpoint;
use tharsis_tests::{
    ALPHA, BETA, Database, Inbox, Line, Running, Subscribe, World, on_both_databases,
};

use crate::{
    KILLS, kill_at, number,
    point::{Leaves, Story, points},
    publish, wait_for_quiet, wait_unless_dead,
};

on_both_databases! { a_worker_that_dies_while_it_delivers_loses_nothing_and_doubles_what_was_on_its_way }

/// ALPHA has one subscription, so that one request at most is under way; BETA has three, so that routing has something to
/// lose.
struct House<'w> {
    world: &'w World,
    inboxes: [Inbox; 2],
    lines: [Vec<Line>; 2],
}

fn a_worker_that_dies_while_it_delivers_loses_nothing_and_doubles_what_was_on_its_way(
    on: Database,
) {
    let world = World::on(on);
    let mut house = House::new(&world);
    for (point, leaves) in points(Story::Deliver, on) {
        for kill in 0..KILLS {
            // The first time, and later in the life of a worker.
            let (nth, before) = (1 + kill % 4, house.unrecorded());
            kill_at(&world, point, nth, &["run"], |worker| {
                wait_for_quiet(&world, worker);
                if worker.is_alive() {
                    house.go_on(point, worker);
                }
            });
            let came_again = house.unrecorded() - before;
            let may_come_again = match leaves {
                Leaves::Unsettled => 1..=1,
                Leaves::NothingBesideRequests => 0..=1,
                Leaves::Nothing | Leaves::Done => 0..=0,
            };
            let name = point.as_str();
            assert!(
                may_come_again.contains(&came_again),
                "{name} x {nth}: {came_again}"
            );
        }
    }
    let unsettled = house.unrecorded();
    world.run_until_idle();
    house.assert_kept(unsettled);
}

impl<'w> House<'w> {
    fn new(world: &'w World) -> Self {
        let inboxes = [
            world.receiver("shop").start(),
            world.receiver("chain").start(),
        ];
        let [shop, chain] = &inboxes;
        let retry = "50ms,100ms,200ms,400ms,1s,1s,1s,1s";
        world.subscribe(&Subscribe::new(ALPHA, shop).retry(retry));
        for branch in ["north", "south", "west"] {
            world.subscribe(&Subscribe::new(BETA, chain).named(branch));
        }
        Self {
            world,
            inboxes,
            lines: [Vec::new(), Vec::new()],
        }
    }

    /// The next event; of ALPHA's every third is refused at first.
    fn go_on(&mut self, point: Failpoint, worker: &mut Running) {
        let of_beta = point.as_str().starts_with("route.");
        let client = if of_beta { BETA } else { ALPHA };
        let lines = self.world.predictions(client, 1);
        let its = &mut self.lines[usize::from(of_beta)];
        its.extend_from_slice(&lines);
        if of_beta || !its.len().is_multiple_of(3) {
            publish(self.world, &lines);
            return;
        }
        self.inboxes[0].now_answers(503);
        let before = attempts(self.world);
        publish(self.world, &lines);
        wait_unless_dead(worker, "it is refused", || attempts(self.world) > before);
        self.inboxes[0].now_answers(200);
    }

    /// Requests that came and are not written down.
    fn unrecorded(&self) -> usize {
        let came: usize = self.inboxes.iter().map(Inbox::count).sum();
        came - attempts(self.world)
    }

    #[track_caller]
    fn assert_kept(&self, unsettled: usize) {
        let world = self.world;
        for (inbox, lines) in self.inboxes.iter().zip(&self.lines) {
            inbox.assert_received(lines);
        }
        let [alphas, betas] = self.lines.each_ref().map(Vec::len);
        assert_eq!(
            self.inboxes[1].count(),
            3 * betas,
            "nothing of BETA's came twice"
        );
        assert_eq!(world.statuses()["delivered"], alphas + 3 * betas);
        assert_eq!(world.statuses().len(), 1);
        assert_eq!(self.unrecorded(), unsettled);
        let ends = format!(
            "SELECT count(*) FROM {} WHERE ended = 'delivered'",
            world.table("attempt")
        );
        assert_eq!(number(world, &ends), alphas + 3 * betas, "each ended once");
        assert_eq!(world.integrity(), "ok");
    }
}

/// Requests that are written down.
fn attempts(world: &World) -> usize {
    let query = format!(
        "SELECT count(*) FROM {} WHERE number > 0",
        world.table("attempt")
    );
    number(world, &query)
}
