//! The store of the simulation: the model of the outbox behind what the engine asks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tharsis_core::{
    ClientId, DeliveryId, EventId, SubscriptionId, Timestamp, WorkerId,
    delivery::End,
    subscription::{State, Target as Subscribed},
};
use tharsis_store::{
    Attempt, Due, Fate, LaneRead, Pointer, Position, Remaining, Rows, Settlement, Shards,
    StoreError, Traffic, WorkedOff, model,
};

use crate::engine::{
    routing,
    step::{Effect, Input},
};

/// So many pointers are read at once: few, so that there are often more.
const POINTERS: u32 = 20;

/// The model, and the database's clock.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Model {
    model: model::Model,
    /// The clock is ahead of the monotonic one by this and by what is added to it.
    start: Instant,
    pub(in crate::engine) skew: i64,
    pub(in crate::engine) maintained: usize,
    /// What was done for all clients.
    pub(in crate::engine) figures: Traffic,
    /// What was done for all subscriptions.
    pub(in crate::engine) of_subscriptions: Traffic,
    published: usize,
}

impl Deref for Model {
    type Target = model::Model;

    fn deref(&self) -> &model::Model {
        &self.model
    }
}

impl DerefMut for Model {
    fn deref_mut(&mut self) -> &mut model::Model {
        &mut self.model
    }
}

impl Model {
    pub(in crate::engine) fn new(start: Instant, targets: BTreeMap<i64, Subscribed>) -> Self {
        Self {
            model: model::Model::new(start, targets),
            start,
            skew: 1_000_000,
            maintained: 0,
            figures: Traffic::default(),
            of_subscriptions: Traffic::default(),
            published: 0,
        }
    }

    pub(in crate::engine) fn clock(&self, now: Instant) -> Timestamp {
        Timestamp::from_millis(self.skew) + now.duration_since(self.start)
    }

    /// Somebody sets the database's clock by so many milliseconds, and with it how long leases last.
    pub(in crate::engine) fn set_clock_by(&mut self, millis: i64) {
        self.skew += millis;
        self.leases.clock_set_by(millis);
    }

    pub(in crate::engine) fn publish(
        &mut self,
        client: ClientId,
        expires_in: Option<Duration>,
        starts_in: Option<Duration>,
        now: Instant,
    ) -> EventId {
        let clock = self.clock(now);
        let payload = payload(self.published);
        self.published += 1;
        self.model.insert(payload, |seq| {
            let mut name = [0; 10];
            name[..8].copy_from_slice(&seq.to_be_bytes());
            Pointer {
                seq,
                event: EventId::new(clock, name),
                client,
                event_type: "nudge".into(),
                published_at: clock,
                not_before: starts_in.map(|wait| clock + wait),
                expires_at: expires_in.map(|wait| clock + wait),
                size: 100,
                unfrozen: None,
                named: None,
            }
        })
    }

    /// Asks for an unfinished delivery to be tried now.
    pub(in crate::engine) fn retry(&mut self, n: usize) {
        if let Some(id) = self.nth(n) {
            self.model.retry(id).expect("it is unfinished");
        }
    }

    pub(in crate::engine) fn cancel(&mut self, n: usize) -> Option<DeliveryId> {
        let id = self.nth(n)?;
        self.model.cancel(id).expect("it is unfinished");
        Some(id)
    }

    fn nth(&self, n: usize) -> Option<DeliveryId> {
        let row = self.rows.get(n % self.rows.len().max(1))?;
        Some(row.id)
    }

    pub(in crate::engine) fn deliveries(&self) -> BTreeSet<DeliveryId> {
        self.unfinished()
    }

    pub(in crate::engine) fn has_row(&self, at: Position) -> bool {
        self.rows.iter().any(|row| row.position == at)
    }

    pub(in crate::engine) fn remaining(&self, now: Instant) -> Remaining {
        self.model.remaining(self.clock(now))
    }

    pub(in crate::engine) fn add(&mut self, lane: i64, target: Subscribed) {
        self.model.admit(lane, target);
    }

    pub(in crate::engine) fn remove(&mut self, lane: i64) {
        if let Some(id) = self.name(lane) {
            let removed = self.model.remove(id, Timestamp::default());
            removed.expect("it is there");
        }
    }

    pub(in crate::engine) fn pause(&mut self, lane: i64) {
        if let Some(id) = self.name(lane) {
            let paused = self.model.pause(id, Timestamp::default());
            paused.expect("it is there");
        }
    }

    pub(in crate::engine) fn resume(&mut self, lane: i64) {
        if let Some(id) = self.name(lane) {
            let resumed = self.model.resume(id, Timestamp::default());
            resumed.expect("it is there");
        }
    }

    fn name(&self, lane: i64) -> Option<SubscriptionId> {
        let target = self.targets.get(&lane)?;
        Some(target.subscription.id)
    }

    /// A command ends a delivery, and we know of the command already.
    pub(in crate::engine) fn end(&mut self, n: usize) {
        let row = self.rows.remove(n);
        self.ended.insert(row.id, End::Cancelled);
    }

    /// Another worker takes over when the lease has run out, delivers all that is due, and gives the outbox back.
    pub(in crate::engine) fn take_over(&mut self, now: Instant) -> Vec<DeliveryId> {
        let clock = self.clock(now);
        let another = WorkerId::new(Timestamp::default(), [9; 10]);
        let taken = self.model.hold(another, Shards::default(), now, clock);
        let lease = taken.expect("it is new");
        assert_eq!(lease.shards, Shards::ALL, "nobody takes what is held");
        self.leases.taken_over.clear();
        let active = |target: &Subscribed| target.subscription.state == State::Active;
        let lanes = self.targets.iter().filter(|(_, target)| active(target));
        let reads: Vec<LaneRead> = lanes.map(|(lane, _)| whole(*lane)).collect();
        let rows = self.due(&lease, &reads, clock).expect("it is held").due;
        let delivered: Vec<Settlement> = rows.iter().map(|due| delivered(due, clock)).collect();
        self.settle(&lease, &delivered).expect("it is held");
        let left = self.release(&lease, None, now, clock);
        assert_eq!(left.expect("it is held"), None);
        rows.into_iter().map(|due| due.id).collect()
    }

    /// Another router writes a delivery into a lane of ours, and nobody tells us.
    pub(in crate::engine) fn write_unseen(&mut self, lane: i64, now: Instant) -> EventId {
        let client = self.targets[&lane].subscription.settings.client;
        let event = self.publish(client, None, None, now);
        let routes = routing::Routes::new(&self.snapshot());
        let routed = routing::route(&routes, &self.unrouted(), &HashMap::new(), self.clock(now));
        self.route_unseen(&routed);
        event
    }

    /// Carries out one operation, all or nothing.
    pub(in crate::engine) fn perform(
        &mut self,
        effect: &Effect,
        worker: WorkerId,
        asked: Instant,
        now: Instant,
    ) -> Input {
        match effect {
            Effect::Hold(give) => {
                let clock = self.clock(now);
                Input::Hold(asked, self.hold(worker, *give, now, clock))
            }
            Effect::Poll(lease) => Input::Poll(self.changed(lease)),
            Effect::Load => Input::Load(Ok(self.snapshot())),
            Effect::Point(lease) => Input::Point(self.pointers(lease, POINTERS)),
            Effect::Route(lease, routes, pointers, now) => {
                let routed = routing::route(routes, pointers, &HashMap::new(), *now);
                let done = routing::done(&routed);
                Input::Route(self.route(lease, &routed).map(|()| done))
            }
            Effect::Discover(lease) => Input::Discover(self.lanes(lease)),
            Effect::Read(lease, lanes, now) => Input::Read(self.due(lease, lanes, *now)),
            Effect::Settle(lease, settlements) => Input::Settle(self.settle(lease, settlements)),
            Effect::Look(lease, lanes, is_all) => {
                let named: &[i64] = if *is_all { &[] } else { lanes };
                Input::Look(lanes.clone(), self.blocked(lease, named))
            }
            Effect::LetGo(lease, keys) => {
                Input::LetGo(keys.clone(), self.model.let_go(lease, keys))
            }
            Effect::Transition(lease, all) => Input::Transition(self.transition(lease, all)),
            Effect::WorkOff(lease, now) => Input::WorkOff(self.work_off(lease, *now)),
            Effect::Tell(..) => Input::Tell(Ok(())),
            Effect::Weigh(..) => Input::Weigh(Ok(())),
            Effect::AddFigures(figures) => {
                for (_, traffic) in &figures.minutes {
                    self.figures.merge(traffic);
                }
                for (_, traffic) in &figures.quarters {
                    self.of_subscriptions.merge(traffic);
                }
                Input::AddFigures(Ok(()))
            }
            Effect::NoteDepth(_) => Input::NoteDepth(Ok(())),
            Effect::Forget(..) => Input::Forget(Ok(WorkedOff::default())),
            Effect::Maintain(_) => {
                self.maintained += 1;
                Input::Maintain(Ok(()))
            }
            Effect::Count(_) => Input::Count(Ok(self.remaining(now))),
            Effect::Release(lease, keep) => {
                let clock = self.clock(now);
                Input::Release(asked, self.model.release(lease, *keep, now, clock))
            }
            Effect::Send(_) | Effect::Abandon | Effect::Finish => {
                unreachable!("no operation of the store")
            }
        }
    }
}

/// That of the event that was published after so many others: of one of three keys in turn, or of none.
fn payload(n: usize) -> Bytes {
    match n % 4 {
        3 => Bytes::from_static(b"{\"type\":\"nudge\"}"),
        key => format!("{{\"type\":\"nudge\",\"key\":{key}}}").into(),
    }
}

fn whole(lane: i64) -> LaneRead {
    LaneRead {
        subscription: lane,
        after: None,
        limit: u32::MAX,
        named: false,
    }
}

fn delivered(due: &Due, at: Timestamp) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: Some(Attempt {
            number: due.attempts + 1,
            at,
            duration: Duration::ZERO,
            code: "http_200".to_owned(),
            status: Some(200),
            excerpt: Vec::new(),
            detail: None,
        }),
        fate: Fate::Ended(End::Delivered),
        key: None,
        suspend: None,
        certificate_ends: None,
    }
}

/// The answer to an operation that failed, or whose answer was lost.
pub(in crate::engine) fn failed(effect: &Effect, asked: Instant) -> Input {
    fn error<T>() -> Result<T, StoreError> {
        Err(StoreError::Database("there is no connection".into()))
    }
    match effect {
        Effect::Hold(_) => Input::Hold(asked, error()),
        Effect::Poll(_) => Input::Poll(error()),
        Effect::Load => Input::Load(error()),
        Effect::Point(_) => Input::Point(error()),
        Effect::Route(..) => Input::Route(error()),
        Effect::Discover(_) => Input::Discover(error()),
        Effect::Read(..) => Input::Read(error::<Rows>()),
        Effect::Settle(..) => Input::Settle(error()),
        Effect::Look(_, lanes, _) => Input::Look(lanes.clone(), error()),
        Effect::LetGo(_, keys) => Input::LetGo(keys.clone(), error()),
        Effect::Transition(..) => Input::Transition(error()),
        Effect::WorkOff(..) => Input::WorkOff(error()),
        Effect::Tell(..) => Input::Tell(error()),
        Effect::Weigh(..) => Input::Weigh(error()),
        Effect::AddFigures(_) => Input::AddFigures(error()),
        Effect::NoteDepth(_) => Input::NoteDepth(error()),
        Effect::Forget(..) => Input::Forget(error()),
        Effect::Maintain(_) => Input::Maintain(error()),
        Effect::Count(_) => Input::Count(error()),
        Effect::Release(..) => Input::Release(asked, error()),
        Effect::Send(_) | Effect::Abandon | Effect::Finish => {
            unreachable!("no operation of the store")
        }
    }
}
