use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tharsis_core::{Timestamp, subscription::Target};
use tharsis_store::{Pending, Pointers, Settlement, Shard, Shards, StoreError, Transition};
use tracing::warn;

use super::{
    Options, Summary,
    counting::Counting,
    lanes::Lanes,
    now::Now,
    operation::Operation,
    ownership::Ownership,
    polling::Polling,
    random::Random,
    routing::Routes,
    settling::{self, Settling},
};

mod act;
mod take;

pub(super) use act::POINTERS;
#[cfg(test)]
pub(super) use act::UNSETTLED;

/// Pointers and commands are looked for this often, also when nothing is said to have changed.
const SAFETY: Duration = Duration::from_secs(5);

/// All lanes are discovered this often: rows written by another router may be in lanes that we think empty.
const DISCOVERY: Duration = Duration::from_secs(60);

/// A registry of which this process cannot read all is read again this often: it may have been given a key since.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Lanes that hang are looked for this often.
const REVIEW: Duration = Duration::from_millis(250);

/// Whether people are to be told something is looked at this often.
const TELLING: Duration = Duration::from_secs(5);

/// Figures are written down this often; what was counted since is lost with the worker.
const COUNTED: Duration = Duration::from_secs(10);

/// Whether it is noted how much waits in the present minute is looked at this often, so that none is missed.
const DEPTH: Duration = Duration::from_secs(20);

/// What has to be done now and then is seen to this often, and sooner where it failed.
const MAINTENANCE: Duration = Duration::from_secs(60 * 60);
const MAINTENANCE_AGAIN: Duration = Duration::from_secs(60);
/// Between two chunks, so that most of the database's time is for deliveries.
const FORGET_PAUSE: Duration = Duration::from_millis(50);

/// What is not finished is counted this often while only time is waited for, and at most this often after work.
const COUNT: Duration = Duration::from_secs(2);
const COUNT_AFTER_WORK: Duration = Duration::from_millis(200);

/// All that the engine knows and decides, without I/O, clock or randomness of its own: [`State::take`] what happened, then
/// [`State::act`].
///
/// After any failure of the store all is read again: a lost answer does not say whether the commit was lost too.
#[derive(Debug)]
pub(super) struct State {
    options: Options,
    random: Random,
    ownership: Ownership,
    routes: Option<Arc<Routes>>,
    trust: Trust,
    lanes: Lanes,
    settling: Settling,
    counting: Counting,
    /// How receivers do, as it is being written down, or was and is to be written again.
    transitions: Option<Arc<Vec<Transition>>>,
    /// Read, but not yet routed: a newer registry must be loaded first.
    unrouted: Option<Pointers>,
    /// The instant that was routed with last.
    routed_at: Timestamp,
    polling: Polling,
    does: Operations,
    safety_at: Instant,
    /// There is more to work off then.
    work_off_at: Option<Instant>,
    discover_at: Instant,
    read_again_at: Instant,
    tell_at: Instant,
    weigh_at: Instant,
    counting_at: Instant,
    depth_at: Instant,
    maintain_at: Instant,
    forget_at: Instant,
    review_at: Instant,
    count_at: Instant,
    counted_at: Option<Instant>,
    summary: Summary,
    stopping: Option<Stopping>,
    failure: Option<StoreError>,
    finished: bool,
}

#[derive(Debug, Default)]
struct Operations {
    hold: Operation,
    poll: Operation,
    load: Operation,
    point: Operation,
    route: Operation,
    discover: Operation,
    read: Operation,
    settle: Operation,
    look: Operation,
    let_go: Operation,
    transition: Operation,
    tell: Operation,
    weigh: Operation,
    add_figures: Operation,
    note_depth: Operation,
    work_off: Operation,
    maintain: Operation,
    forget: Operation,
    count: Operation,
    release: Operation,
}

/// Whether the revision of the registry that was loaded last says how new it is. A server that crashed may have lost its
/// newest revisions, and have given others under the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// It does not: the store has failed since.
    None,
    /// It will when the load that is under way has ended, which began later than that.
    Soon,
    /// It does.
    Full,
}

/// The end of a run.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    /// Requests in flight may take until then.
    grace: Instant,
    /// Then the count is not waited for any longer; known once all is settled.
    count_until: Option<Instant>,
    counted: bool,
}

impl State {
    pub(super) fn new(options: Options, seed: u64, now: Instant) -> Self {
        let mut state = Self {
            random: Random::new(seed),
            ownership: Ownership::default(),
            routes: None,
            trust: Trust::None,
            lanes: Lanes::new(options.max_in_flight, options.cache_bytes),
            options,
            settling: Settling::default(),
            counting: Counting::default(),
            transitions: None,
            unrouted: None,
            routed_at: Timestamp::default(),
            polling: Polling::new(now),
            does: Operations::default(),
            safety_at: now + SAFETY,
            work_off_at: None,
            discover_at: now + DISCOVERY,
            read_again_at: now,
            tell_at: now,
            weigh_at: now,
            counting_at: now + COUNTED,
            depth_at: now + DEPTH,
            maintain_at: now,
            forget_at: now,
            review_at: now + REVIEW,
            count_at: now,
            counted_at: None,
            summary: Summary::default(),
            stopping: None,
            failure: None,
            finished: false,
        };
        state.read_all_again();
        state
    }

    /// What the run did, or why it ended.
    pub(super) fn result(self) -> Result<Summary, StoreError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.summary),
        }
    }

    /// Nothing is under way or wanted; only time, or somebody else, can bring something to do.
    fn is_at_rest(&self) -> bool {
        let does = &self.does;
        self.lanes.is_at_rest()
            && self.settling.is_empty()
            && !self.has_transitions()
            && self.unrouted.is_none()
            && [
                &does.load,
                &does.point,
                &does.route,
                &does.discover,
                &does.look,
                &does.let_go,
                &does.work_off,
            ]
            .into_iter()
            .all(Operation::is_at_rest)
    }

    /// Something was sent of which it is not yet written down what came of it.
    fn is_unsettled(&self) -> bool {
        self.lanes.in_flight() > 0 || !self.settling.is_empty() || self.has_transitions()
    }

    /// Some receiver does otherwise than is written down.
    fn has_transitions(&self) -> bool {
        self.transitions.is_some() || !self.lanes.transitions.is_empty()
    }

    /// The answer of an operation; after a failure it waits, and all is read again.
    fn answer<T>(
        &mut self,
        operation: impl FnOnce(&mut Operations) -> &mut Operation,
        result: Result<T, StoreError>,
        now: Instant,
    ) -> Option<T> {
        let operation = operation(&mut self.does);
        let error = match result {
            Ok(value) => {
                operation.succeeded();
                return Some(value);
            }
            Err(error) => error,
        };
        operation.failed(now, self.random.next());
        match error {
            StoreError::Unusable { .. } => {
                self.failure = Some(error);
                return None;
            }
            StoreError::LeaseLost => {
                warn!("the lease is lost: other workers have its shards, or had");
                let lost = self.ownership.shards().unwrap_or_default();
                self.options.metrics.lost(lost.count());
                self.ownership.lose();
            }
            _ => {
                let error: &dyn std::error::Error = &error;
                warn!(error, "the store failed; it will be tried again");
            }
        }
        self.read_all_again();
        None
    }

    /// What was read may not be so any more. Requests in flight and settlements stay known.
    fn read_all_again(&mut self) {
        self.lanes.forget();
        self.unrouted = None;
        self.trust = Trust::None;
        self.does.load.want();
        self.does.point.want();
        self.does.discover.want();
        self.does.work_off.want();
    }

    /// The instant to route with. Each renewal tells the database's clock a little differently, and what is published later
    /// must not be due earlier for that; a clock that was set back is followed.
    fn routing_at(&mut self, clock: Timestamp) -> Timestamp {
        const ASTRAY: Duration = Duration::from_secs(1);
        if self.routed_at <= clock || self.routed_at.since(clock) > ASTRAY {
            self.routed_at = clock;
        }
        self.routed_at
    }

    /// The lanes of our shards are worked with; those of others begin nothing any more, and none does at the end of a run.
    fn take_lanes(&mut self, is_fresh: bool, now: Instant) {
        let shards = match self.stopping {
            Some(_) => Some(Shards::default()),
            None => self.ownership.shards(),
        };
        let (Some(routes), Some(shards), Some(moment)) =
            (&self.routes, shards, self.ownership.now(now))
        else {
            return;
        };
        let ours = |(_, target): &&(i64, Arc<Target>)| {
            shards.contains(Shard::of_subscription(target.subscription.id))
        };
        // Another router may have written rows for it before we knew it.
        let written = self.transitions.iter().flat_map(|all| all.iter());
        let unwritten = written.chain(&self.lanes.transitions);
        let unwritten: HashSet<i64> = unwritten.map(|t| t.subscription).collect();
        let targets = routes.targets().filter(ours);
        if self.lanes.load(targets, is_fresh, &unwritten, moment) {
            self.does.discover.want();
        }
    }

    /// What is not to be given back yet, though nothing begins in it any more: something of it is under way.
    fn leaving(&self) -> Shards {
        self.lanes
            .leaving()
            .with(self.does.route.occupies())
            .with(self.does.work_off.occupies())
            .with(self.does.let_go.occupies())
            .with(self.does.transition.occupies())
            .with(self.lanes.turned())
    }

    /// This becomes of a delivery: it is to be written down, and others may go now or have to wait.
    fn add(&mut self, settlement: Settlement, now: Now) {
        self.lanes.decided(&settlement, now);
        self.settling.add(settlement, now.instant);
        self.park(now);
    }

    /// What waits for one before it is parked.
    fn park(&mut self, now: Now) {
        while let Some(due) = self.lanes.park() {
            let parked = settling::parked(&due);
            self.lanes.decided(&parked, now);
            self.settling.add(parked, now.instant);
        }
    }

    /// Rows were written that are due then.
    fn note(&mut self, lanes: &[Pending], now: Instant) {
        let Some(now) = self.ownership.now(now) else {
            // A new lease discovers all lanes.
            return;
        };
        for lane in lanes {
            self.lanes.note(lane.subscription, lane.due_at, now);
        }
    }

    /// Something was done, so something else may be left.
    fn worked(&mut self, now: Instant) {
        self.count_at = self
            .counted_at
            .map_or(now, |at| now.max(at + COUNT_AFTER_WORK));
    }
}

impl Operations {
    /// Whether something is under way that the end of a run waits for: neither a figure nor maintenance nor a
    /// message is worth a wait.
    fn any_under_way(&self) -> bool {
        [
            &self.hold,
            &self.poll,
            &self.load,
            &self.point,
            &self.route,
            &self.discover,
            &self.read,
            &self.settle,
            &self.look,
            &self.let_go,
            &self.transition,
            &self.work_off,
            &self.release,
        ]
        .into_iter()
        .any(Operation::is_under_way)
    }
}
