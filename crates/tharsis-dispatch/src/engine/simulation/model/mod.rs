use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tharsis_core::{
    ClientId, DeliveryId, EventId, Timestamp, WorkerId,
    delivery::End,
    subscription::{State, Target},
};
use tharsis_store::{
    Due, Fate, Lease, Pending, Pointer, Pointers, Position, Remaining, Routed, Rows, Settlement,
    Shards, Snapshot, StoreError, WorkedOff,
};

use crate::engine::{
    samples,
    step::{Effect, Input},
};

/// How long a lease lasts.
const LENGTH: Duration = Duration::from_secs(15);

/// The outbox as its contract describes it, in memory.
#[derive(Debug)]
pub(in crate::engine) struct Model {
    /// The database's clock is ahead of the monotonic one by this and by what is added to it.
    start: Instant,
    pub(in crate::engine) skew: i64,
    revision: i64,
    pub(in crate::engine) targets: BTreeMap<i64, Target>,
    events: BTreeMap<EventId, Pointer>,
    pointers: BTreeMap<i64, EventId>,
    rows: Vec<Due>,
    /// How each delivery ended, with the codes of its attempts.
    pub(in crate::engine) ended: BTreeMap<DeliveryId, End>,
    pub(in crate::engine) attempts: BTreeMap<DeliveryId, Vec<u32>>,
    commands: Vec<Command>,
    next_seq: i64,
    epoch: i64,
    owner: Option<WorkerId>,
    /// When the owner's lease ends, if it is not renewed.
    pub(in crate::engine) held_until: Instant,
    /// Somebody else has committed something since it was last asked.
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Command {
    Retry(DeliveryId),
    Cancel(DeliveryId),
    Remains(i64),
}

impl Model {
    pub(in crate::engine) fn new(start: Instant, targets: BTreeMap<i64, Target>) -> Self {
        Self {
            start,
            skew: 1_000_000,
            revision: 1,
            targets,
            events: BTreeMap::new(),
            pointers: BTreeMap::new(),
            rows: Vec::new(),
            ended: BTreeMap::new(),
            attempts: BTreeMap::new(),
            commands: Vec::new(),
            next_seq: 1,
            epoch: 0,
            owner: None,
            held_until: start,
            changed: false,
        }
    }

    pub(in crate::engine) fn clock(&self, now: Instant) -> Timestamp {
        Timestamp::from_millis(self.skew) + now.duration_since(self.start)
    }

    fn seq(&mut self) -> i64 {
        self.next_seq += 1;
        self.next_seq
    }

    // === what others do ===

    pub(in crate::engine) fn publish(
        &mut self,
        client: ClientId,
        expires_in: Option<Duration>,
        starts_in: Option<Duration>,
        now: Instant,
    ) -> EventId {
        let seq = self.seq();
        let clock = self.clock(now);
        let mut name = [0; 10];
        name[..8].copy_from_slice(&seq.to_be_bytes());
        let event = EventId::new(clock, name);
        let pointer = Pointer {
            seq,
            event,
            client,
            event_type: "nudge".into(),
            published_at: clock,
            not_before: starts_in.map(|wait| clock + wait),
            expires_at: expires_in.map(|wait| clock + wait),
            size: 100,
            unfrozen: None,
        };
        self.events.insert(event, pointer);
        self.pointers.insert(seq, event);
        self.changed = true;
        event
    }

    pub(in crate::engine) fn set_state(&mut self, lane: i64, state: State) {
        if let Some(target) = self.targets.get_mut(&lane) {
            target.subscription.state = state;
        }
        self.registry_written();
    }

    pub(in crate::engine) fn remove(&mut self, lane: i64) {
        self.targets.remove(&lane);
        self.commands.push(Command::Remains(lane));
        self.registry_written();
    }

    pub(in crate::engine) fn add(&mut self, lane: i64, target: Target) {
        self.targets.insert(lane, target);
        self.registry_written();
    }

    /// Asks for an unfinished delivery to be tried now.
    pub(in crate::engine) fn retry(&mut self, n: usize) {
        if let Some(id) = self.unfinished(n) {
            self.commands.push(Command::Retry(id));
            self.registry_written();
        }
    }

    pub(in crate::engine) fn cancel(&mut self, n: usize) -> Option<DeliveryId> {
        let id = self.unfinished(n)?;
        self.commands.push(Command::Cancel(id));
        self.registry_written();
        Some(id)
    }

    fn unfinished(&self, n: usize) -> Option<DeliveryId> {
        (!self.rows.is_empty()).then(|| self.rows[n % self.rows.len()].id)
    }

    fn registry_written(&mut self) {
        self.revision += 1;
        self.changed = true;
    }

    /// A command ends a delivery, and we know of the command already.
    pub(in crate::engine) fn end(&mut self, n: usize) {
        let row = self.rows.remove(n);
        self.ended.insert(row.id, End::Cancelled);
    }

    /// Nobody who asks what changed is told.
    pub(in crate::engine) fn hide_change(&mut self) {
        self.changed = false;
    }

    /// Another worker takes over when the lease has run out, delivers all that is due, and gives the outbox back.
    pub(in crate::engine) fn take_over(&mut self, now: Instant) -> Vec<DeliveryId> {
        assert!(now >= self.held_until, "nobody takes what is held");
        self.epoch += 1;
        self.owner = None;
        let clock = self.clock(now);
        let (due, left) = std::mem::take(&mut self.rows).into_iter().partition(|row| {
            row.position.due_at <= clock && !self.is_paused(row.position.subscription)
        });
        self.rows = left;
        let due: Vec<Due> = due;
        for row in &due {
            self.ended.insert(row.id, End::Delivered);
            self.attempts
                .entry(row.id)
                .or_default()
                .push(row.attempts + 1);
        }
        due.into_iter().map(|row| row.id).collect()
    }

    /// Another router writes a delivery into a lane of ours, and nobody tells us.
    pub(in crate::engine) fn write_unseen(&mut self, lane: i64, now: Instant) -> EventId {
        let client = self.targets[&lane].subscription.settings.client;
        let event = self.publish(client, None, None, now);
        let pointers = self
            .pointers
            .values()
            .map(|id| self.events[id].clone())
            .collect::<Vec<_>>();
        let routes = crate::engine::routing::Routes::new(&self.snapshot());
        let routed = crate::engine::routing::route(&routes, &pointers, self.clock(now));
        self.route(&routed);
        self.hide_change();
        event
    }

    // === what there is ===

    pub(in crate::engine) fn owner(&self) -> Option<WorkerId> {
        self.owner
    }

    pub(in crate::engine) fn is_paused(&self, lane: i64) -> bool {
        self.targets
            .get(&lane)
            .is_none_or(|target| target.subscription.state != State::Active)
    }

    pub(in crate::engine) fn deliveries(&self) -> BTreeSet<DeliveryId> {
        self.rows.iter().map(|row| row.id).collect()
    }

    pub(in crate::engine) fn remaining(&self, now: Instant) -> Remaining {
        let clock = self.clock(now);
        let mut remaining = Remaining {
            unrouted: u64::try_from(self.pointers.len()).expect("few"),
            commands: u64::try_from(self.commands.len()).expect("few"),
            ..Remaining::default()
        };
        for row in &self.rows {
            if self.is_paused(row.position.subscription) {
                remaining.held += 1;
            } else if self.events[&row.id.event].not_before > Some(clock) {
                // Not: never attempted and due later. A fault of ours puts off without an attempt, and is waited for.
                remaining.scheduled += 1;
            } else {
                remaining.pending += 1;
            }
        }
        remaining
    }

    // === the operations ===

    /// Carries out one operation, all or nothing.
    pub(in crate::engine) fn perform(
        &mut self,
        effect: &Effect,
        worker: WorkerId,
        asked: Instant,
        now: Instant,
    ) -> Input {
        match effect {
            Effect::Hold => Input::Hold(asked, Ok(self.hold(worker, now))),
            Effect::Poll => Input::Poll(Ok(std::mem::take(&mut self.changed))),
            Effect::Load => Input::Load(Ok(self.snapshot())),
            Effect::Point(lease) => Input::Point(self.owned(lease).map(|()| self.first_pointers())),
            Effect::Route(lease, routes, pointers, now) => {
                Input::Route(self.owned(lease).map(|()| {
                    let routed = crate::engine::routing::route(routes, pointers, *now);
                    self.route(&routed);
                    crate::engine::routing::done(&routed)
                }))
            }
            Effect::Discover(lease) => Input::Discover(self.owned(lease).map(|()| self.lanes())),
            Effect::Read(lease, lanes, now) => Input::Read(
                self.owned(lease)
                    .map(|()| samples::read(&self.rows, lanes, *now)),
            ),
            Effect::Settle(lease, settlements) => {
                Input::Settle(self.owned(lease).map(|()| self.settle(settlements)))
            }
            Effect::WorkOff(lease, now) => {
                Input::WorkOff(self.owned(lease).map(|()| self.work_off(*now)))
            }
            Effect::Count(_) => Input::Count(Ok(self.remaining(now))),
            Effect::Release(lease) => Input::Release(self.owned(lease).map(|()| self.owner = None)),
            Effect::Send(_) | Effect::Abandon | Effect::Finish => {
                unreachable!("no operation of the store")
            }
        }
    }

    fn owned(&self, lease: &Lease) -> Result<(), StoreError> {
        if self.owner == Some(lease.worker) && self.epoch == lease.epoch {
            Ok(())
        } else {
            Err(StoreError::LeaseLost)
        }
    }

    fn hold(&mut self, worker: WorkerId, now: Instant) -> Lease {
        if self.owner != Some(worker) {
            self.owner = Some(worker);
            self.epoch += 1;
        }
        self.held_until = now + LENGTH;
        Lease {
            worker,
            shards: Shards::ALL,
            epoch: self.epoch,
            clock: self.clock(now),
            length: LENGTH,
        }
    }

    fn snapshot(&self) -> Snapshot {
        let targets = self.targets.iter();
        Snapshot {
            revision: self.revision,
            targets: targets
                .map(|(id, target)| (*id, Arc::new(target.clone())))
                .collect(),
        }
    }

    fn first_pointers(&self) -> Pointers {
        let events = self.pointers.values().take(20);
        Pointers {
            revision: self.revision,
            events: events.map(|id| self.events[id].clone()).collect(),
        }
    }

    pub(in crate::engine) fn route(&mut self, routed: &[Routed]) {
        for one in routed {
            // Routing the same pointer twice makes no second delivery.
            let Some(event) = self.pointers.remove(&one.seq) else {
                continue;
            };
            let pointer = self.events[&event].clone();
            for to in &one.to {
                let Some(target) = self.targets.get(&to.subscription) else {
                    continue;
                };
                let id = DeliveryId {
                    event,
                    subscription: target.subscription.id,
                };
                if let Some((end, _)) = to.ends {
                    self.ended.insert(id, end);
                    continue;
                }
                let seq = self.seq();
                self.rows.push(Due {
                    position: Position {
                        subscription: to.subscription,
                        lane: 0,
                        due_at: to.due_at,
                        seq,
                    },
                    id,
                    event_type: pointer.event_type.clone(),
                    payload: Bytes::from_static(b"{\"type\":\"nudge\"}"),
                    published_at: pointer.published_at,
                    expires_at: pointer.expires_at,
                    attempts: 0,
                    tries: 0,
                });
            }
        }
    }

    fn lanes(&self) -> Vec<Pending> {
        let mut first: BTreeMap<i64, Timestamp> = BTreeMap::new();
        for Position {
            subscription,
            due_at,
            ..
        } in self.rows.iter().map(|row| row.position)
        {
            let at = first.entry(subscription).or_insert(due_at);
            *at = due_at.min(*at);
        }
        let pending = |(subscription, due_at)| Pending {
            subscription,
            due_at,
        };
        first.into_iter().map(pending).collect()
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Position> {
        let mut unchanged = Vec::new();
        for settlement in settlements {
            let success = settlement.fate == Fate::Ended(End::Delivered);
            let Some(n) = self.rows.iter().position(|row| {
                row.position == settlement.position && row.attempts == settlement.attempts
                    || success && row.position.seq == settlement.position.seq
            }) else {
                unchanged.push(settlement.position);
                continue;
            };
            let row = &mut self.rows[n];
            if let Some(attempt) = &settlement.attempt {
                self.attempts
                    .entry(row.id)
                    .or_default()
                    .push(attempt.number);
                row.attempts = row.attempts.max(attempt.number);
            }
            match settlement.fate {
                Fate::Ended(end) => {
                    self.ended.insert(row.id, end);
                    self.rows.remove(n);
                }
                Fate::Again { due_at, tries } => {
                    row.position.due_at = due_at;
                    row.tries = tries;
                }
            }
            if let Some(reason) = settlement.disable
                && let Some(target) = self.targets.get_mut(&settlement.position.subscription)
            {
                target.subscription.state = State::Disabled {
                    reason: reason.to_owned(),
                };
                self.revision += 1;
            }
        }
        unchanged
    }

    /// One command at a time, so that there is often more.
    fn work_off(&mut self, clock: Timestamp) -> WorkedOff {
        let Some(command) = self.commands.pop() else {
            return WorkedOff::default();
        };
        let mut touched = BTreeMap::new();
        let mut cancelled = Vec::new();
        for row in &mut self.rows {
            match command {
                Command::Retry(id) if id == row.id => row.position.due_at = clock,
                Command::Cancel(id) if id == row.id => cancelled.push(id),
                Command::Remains(lane) if lane == row.position.subscription => {
                    cancelled.push(row.id);
                }
                _ => continue,
            }
            touched.insert(row.position.subscription, clock);
        }
        for id in cancelled {
            self.rows.retain(|row| row.id != id);
            self.ended.insert(id, End::Cancelled);
        }
        WorkedOff {
            lanes: touched
                .into_iter()
                .map(|(subscription, due_at)| Pending {
                    subscription,
                    due_at,
                })
                .collect(),
            more: !self.commands.is_empty(),
        }
    }
}

/// The answer to an operation that failed, or whose answer was lost.
pub(in crate::engine) fn failed(effect: &Effect, asked: Instant) -> Input {
    fn error<T>() -> Result<T, StoreError> {
        Err(StoreError::Database("there is no connection".into()))
    }
    match effect {
        Effect::Hold => Input::Hold(asked, error()),
        Effect::Poll => Input::Poll(error()),
        Effect::Load => Input::Load(error()),
        Effect::Point(_) => Input::Point(error()),
        Effect::Route(..) => Input::Route(error()),
        Effect::Discover(_) => Input::Discover(error()),
        Effect::Read(..) => Input::Read(error::<Rows>()),
        Effect::Settle(..) => Input::Settle(error()),
        Effect::WorkOff(..) => Input::WorkOff(error()),
        Effect::Count(_) => Input::Count(error()),
        Effect::Release(_) => Input::Release(error()),
        Effect::Send(_) | Effect::Abandon | Effect::Finish => {
            unreachable!("no operation of the store")
        }
    }
}
