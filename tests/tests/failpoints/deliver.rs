//! From the pointer to the settled attempt.

use tharsis::store::failpoint::Failpoint;
use tharsis_tests::{
    ALPHA, BETA, Database, Inbox, Line, Running, Subscribe, World, on_both_databases,
};

use crate::{
    KILLS, kill_at, number, numbers,
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
            let (nth, before) = (1 + kill % 4, house.seen());
            kill_at(&world, point, nth, &["run"], |worker| {
                wait_for_quiet(&world, worker);
                if worker.is_alive() {
                    house.go_on(point, worker);
                }
            });
            let after = house.seen();
            let came_again = after.unrecorded - before.unrecorded;
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
            let nth = usize::try_from(nth).expect("small");
            let done = match leaves {
                Leaves::Nothing | Leaves::Unsettled => Some(nth - 1),
                Leaves::Done => Some(nth),
                Leaves::NothingBesideRequests => None,
            };
            assert_eq!(after.done_since(&before, point), done, "{name} x {nth}");
        }
        // So that one thing at most is under way at the next point, too.
        world.run_until_idle();
    }
    let unsettled = house.seen().unrecorded;
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

    fn seen(&self) -> Seen {
        let outbox = format!("SELECT count(*) FROM {}", self.world.table("outbox"));
        let [recorded, unrouted] = numbers(self.world, [&recorded(self.world), &outbox]);
        let published: usize = self.lines.iter().map(Vec::len).sum();
        let came: usize = self.inboxes.iter().map(Inbox::count).sum();
        Seen {
            routed: published - unrouted,
            recorded,
            unrecorded: came - recorded,
        }
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
        assert_eq!(self.seen().unrecorded, unsettled);
        let ends = format!(
            "SELECT count(*) FROM {} WHERE ended = 'delivered'",
            world.table("attempt")
        );
        assert_eq!(number(world, &ends), alphas + 3 * betas, "each ended once");
        assert_eq!(world.integrity(), "ok");
    }
}

/// What is done.
struct Seen {
    /// Events.
    routed: usize,
    /// Requests that are written down, and those that came and are not.
    recorded: usize,
    unrecorded: usize,
}

impl Seen {
    /// How often what the point is about was done; of a read nothing is left that could be counted.
    fn done_since(&self, before: &Self, point: Failpoint) -> Option<usize> {
        match point.as_str().split('.').next() {
            Some("route") => Some(self.routed - before.routed),
            Some("send" | "settle") => Some(self.recorded - before.recorded),
            _ => None,
        }
    }
}

/// The count of requests that are written down.
fn recorded(world: &World) -> String {
    let attempt = world.table("attempt");
    format!("SELECT count(*) FROM {attempt} WHERE number > 0")
}

fn attempts(world: &World) -> usize {
    number(world, &recorded(world))
}
