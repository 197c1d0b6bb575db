mod leases;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tharsis_core::{
    ClientId, DeliveryId, EventId, SubscriptionId, Timestamp, WorkerId,
    delivery::End,
    subscription::{State, Target},
};
use tharsis_store::{
    Changed, Due, Fate, LaneRead, Lease, Pending, Pointer, Pointers, Position, Remaining, Routed,
    Rows, Settlement, Shard, Shards, Snapshot, StoreError, WorkedOff,
};

use crate::engine::{
    samples,
    step::{Effect, Input},
};

use leases::Leases;

/// The outbox as its contract describes it, in memory.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Model {
    /// The database's clock is ahead of the monotonic one by this and by what is added to it.
    start: Instant,
    pub(in crate::engine) skew: i64,
    revision: i64,
    pub(in crate::engine) targets: BTreeMap<i64, Target>,
    /// The names of all subscriptions that there ever were.
    names: BTreeMap<i64, SubscriptionId>,
    events: BTreeMap<EventId, Pointer>,
    pointers: BTreeMap<i64, EventId>,
    rows: Vec<Due>,
    /// How each delivery ended, with the codes of its attempts.
    pub(in crate::engine) ended: BTreeMap<DeliveryId, End>,
    pub(in crate::engine) attempts: BTreeMap<DeliveryId, Vec<u32>>,
    commands: Vec<Command>,
    next_seq: i64,
    pub(in crate::engine) leases: Leases,
    /// Commits of others than workers so far, and those that each worker was told of.
    commits: u64,
    told: BTreeMap<WorkerId, u64>,
    /// Lanes into which another than their owner wrote, who was not told yet.
    foreign: BTreeMap<i64, Timestamp>,
    pub(in crate::engine) maintained: usize,
}

/// What to do in a lane.
#[derive(Debug, Clone, Copy)]
struct Command {
    lane: i64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Retry(DeliveryId),
    Cancel(DeliveryId),
    Remains,
}

impl Model {
    pub(in crate::engine) fn new(start: Instant, targets: BTreeMap<i64, Target>) -> Self {
        Self {
            start,
            skew: 1_000_000,
            revision: 1,
            names: targets
                .iter()
                .map(|(lane, target)| (*lane, target.subscription.id))
                .collect(),
            targets,
            events: BTreeMap::new(),
            pointers: BTreeMap::new(),
            rows: Vec::new(),
            ended: BTreeMap::new(),
            attempts: BTreeMap::new(),
            commands: Vec::new(),
            next_seq: 1,
            leases: Leases::new(start),
            commits: 0,
            told: BTreeMap::new(),
            foreign: BTreeMap::new(),
            maintained: 0,
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
        self.commits += 1;
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
        let kind = Kind::Remains;
        self.commands.push(Command { lane, kind });
        self.registry_written();
    }

    pub(in crate::engine) fn add(&mut self, lane: i64, target: Target) {
        self.names.insert(lane, target.subscription.id);
        self.targets.insert(lane, target);
        self.registry_written();
    }

    /// Asks for an unfinished delivery to be tried now.
    pub(in crate::engine) fn retry(&mut self, n: usize) {
        if let Some((lane, id)) = self.unfinished(n) {
            let kind = Kind::Retry(id);
            self.commands.push(Command { lane, kind });
            self.registry_written();
        }
    }

    pub(in crate::engine) fn cancel(&mut self, n: usize) -> Option<DeliveryId> {
        let (lane, id) = self.unfinished(n)?;
        let kind = Kind::Cancel(id);
        self.commands.push(Command { lane, kind });
        self.registry_written();
        Some(id)
    }

    fn unfinished(&self, n: usize) -> Option<(i64, DeliveryId)> {
        let row = self.rows.get(n % self.rows.len().max(1))?;
        Some((row.position.subscription, row.id))
    }

    fn registry_written(&mut self) {
        self.revision += 1;
        self.commits += 1;
    }

    /// A command ends a delivery, and we know of the command already.
    pub(in crate::engine) fn end(&mut self, n: usize) {
        let row = self.rows.remove(n);
        self.ended.insert(row.id, End::Cancelled);
    }

    /// Somebody sets the database's clock by so many milliseconds, and with it how long leases last.
    pub(in crate::engine) fn set_clock_by(&mut self, millis: i64) {
        self.skew += millis;
        self.leases.clock_set_by(millis);
    }

    /// All sessions end: what was to be told in them is not, and who comes back finds all new.
    pub(in crate::engine) fn end_sessions(&mut self) {
        self.told.clear();
        self.foreign.clear();
    }

    /// Nobody who asks what changed is told.
    pub(in crate::engine) fn hide_change(&mut self) {
        for told in self.told.values_mut() {
            *told = self.commits;
        }
        self.foreign.clear();
    }

    /// Another worker takes over when the lease has run out, delivers all that is due, and gives the outbox back.
    pub(in crate::engine) fn take_over(&mut self, now: Instant) -> Vec<DeliveryId> {
        assert!(
            self.leases.held_until().is_none_or(|until| now >= until),
            "nobody takes what is held"
        );
        self.leases.pass_through_other_hands();
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
        self.write(Shards::ALL, None, &routed);
        self.hide_change();
        event
    }

    // === what there is ===

    /// Where the lane of a subscription lies.
    pub(in crate::engine) fn shard(&self, lane: i64) -> Shard {
        Shard::of_subscription(self.names[&lane])
    }

    pub(in crate::engine) fn is_paused(&self, lane: i64) -> bool {
        self.targets
            .get(&lane)
            .is_none_or(|target| target.subscription.state != State::Active)
    }

    pub(in crate::engine) fn deliveries(&self) -> BTreeSet<DeliveryId> {
        self.rows.iter().map(|row| row.id).collect()
    }

    pub(in crate::engine) fn revision(&self) -> i64 {
        self.revision
    }

    /// The delivery of each row.
    pub(in crate::engine) fn rows(&self) -> impl Iterator<Item = DeliveryId> {
        self.rows.iter().map(|row| row.id)
    }

    pub(in crate::engine) fn has_row(&self, at: Position) -> bool {
        self.rows.iter().any(|row| row.position == at)
    }

    pub(in crate::engine) fn is_unrouted(&self, event: EventId) -> bool {
        let pointer = self.events.get(&event);
        pointer.is_some_and(|pointer| self.pointers.contains_key(&pointer.seq))
    }

    /// Everything that was published has ended.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.pointers.is_empty() && self.rows.is_empty()
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
            Effect::Hold(give) => {
                let clock = self.clock(now);
                Input::Hold(asked, Ok(self.leases.hold(worker, *give, now, clock)))
            }
            Effect::Poll(lease) => Input::Poll(self.changed(lease)),
            Effect::Load => Input::Load(Ok(self.snapshot())),
            Effect::Point(lease) => {
                Input::Point(self.ours(lease).map(|ours| self.first_pointers(ours)))
            }
            Effect::Route(lease, routes, pointers, now) => {
                let routed = crate::engine::routing::route(routes, pointers, *now);
                let done = crate::engine::routing::done(&routed);
                Input::Route(self.route(lease, &routed).map(|()| done))
            }
            Effect::Discover(lease) => {
                Input::Discover(self.ours(lease).map(|ours| self.lanes(ours)))
            }
            Effect::Read(lease, lanes, now) => Input::Read(self.ours(lease).map(|ours| {
                let lanes: Vec<LaneRead> = lanes
                    .iter()
                    .filter(|lane| ours.contains(self.shard(lane.subscription)))
                    .copied()
                    .collect();
                samples::read(&self.rows, &lanes, *now)
            })),
            Effect::Settle(lease, settlements) => {
                // Also what is surplus: it is owned until it is given back.
                let owned = self.leases.check(lease);
                Input::Settle(owned.map(|owned| self.settle(owned, settlements)))
            }
            Effect::WorkOff(lease, now) => {
                Input::WorkOff(self.ours(lease).map(|ours| self.work_off(ours, *now)))
            }
            Effect::Maintain(_) => {
                self.maintained += 1;
                Input::Maintain(Ok(()))
            }
            Effect::Count(_) => Input::Count(Ok(self.remaining(now))),
            Effect::Release(lease, keep) => {
                let clock = self.clock(now);
                Input::Release(asked, self.leases.release(lease, *keep, now, clock))
            }
            Effect::Send(_) | Effect::Abandon | Effect::Finish => {
                unreachable!("no operation of the store")
            }
        }
    }

    /// What may be worked with under this lease.
    fn ours(&self, lease: &Lease) -> Result<Shards, StoreError> {
        Ok(self.leases.check(lease)?.without(lease.surplus))
    }

    fn changed(&mut self, lease: &Lease) -> Result<Changed, StoreError> {
        let owned = self.leases.check(lease)?;
        let told = self.told.insert(lease.worker, self.commits);
        let names = &self.names;
        let (ours, others) = std::mem::take(&mut self.foreign)
            .into_iter()
            .partition(|(lane, _)| owned.contains(Shard::of_subscription(names[lane])));
        self.foreign = others;
        let ours: BTreeMap<i64, Timestamp> = ours;
        Ok(Changed {
            anything: told != Some(self.commits),
            shards: self.leases.were_given_back(lease.worker),
            lanes: ours.into_iter().map(pending).collect(),
        })
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

    fn first_pointers(&self, ours: Shards) -> Pointers {
        let events = self.pointers.values().map(|id| &self.events[id]);
        let ours = events.filter(|event| ours.contains(Shard::of_client(event.client)));
        Pointers {
            revision: self.revision,
            events: ours.take(20).cloned().collect(),
        }
    }

    pub(in crate::engine) fn route(
        &mut self,
        lease: &Lease,
        routed: &[Routed],
    ) -> Result<(), StoreError> {
        let ours = self.ours(lease)?;
        self.write(ours, Some(lease.worker), routed);
        Ok(())
    }

    /// Writes down what was routed of these shards; the owners of lanes in other shards will be told.
    fn write(&mut self, of: Shards, router: Option<WorkerId>, routed: &[Routed]) {
        for one in routed {
            // Routing the same pointer twice makes no second delivery.
            let Some(event) = self.pointers.get(&one.seq).copied() else {
                continue;
            };
            let pointer = self.events[&event].clone();
            if !of.contains(Shard::of_client(pointer.client)) {
                continue;
            }
            self.pointers.remove(&one.seq);
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
                self.rows.push(Due {
                    position: Position {
                        subscription: to.subscription,
                        lane: 0,
                        due_at: to.due_at,
                        seq: one.seq,
                    },
                    id,
                    event_type: pointer.event_type.clone(),
                    payload: Bytes::from_static(b"{\"type\":\"nudge\"}"),
                    published_at: pointer.published_at,
                    expires_at: pointer.expires_at,
                    attempts: 0,
                    tries: 0,
                });
                let owner = self.leases.owner(self.shard(to.subscription));
                if owner.map(|(owner, _)| owner) != router {
                    let at = self.foreign.entry(to.subscription).or_insert(to.due_at);
                    *at = to.due_at.min(*at);
                }
            }
        }
    }

    fn lanes(&self, ours: Shards) -> Vec<Pending> {
        let mut first: BTreeMap<i64, Timestamp> = BTreeMap::new();
        for Position {
            subscription,
            due_at,
            ..
        } in self.rows.iter().map(|row| row.position)
        {
            if ours.contains(self.shard(subscription)) {
                let at = first.entry(subscription).or_insert(due_at);
                *at = due_at.min(*at);
            }
        }
        first.into_iter().map(pending).collect()
    }

    fn settle(&mut self, owned: Shards, settlements: &[Settlement]) -> Vec<Position> {
        let mut unchanged = Vec::new();
        for settlement in settlements {
            let lane = settlement.position.subscription;
            let success = settlement.fate == Fate::Ended(End::Delivered);
            let ours = owned.contains(self.shard(lane));
            let Some(n) = self.rows.iter().position(|row| {
                let as_read =
                    row.position == settlement.position && row.attempts == settlement.attempts;
                (row.id.event, row.position.subscription) == (settlement.event, lane)
                    && (ours && as_read || success && row.position.seq == settlement.position.seq)
            }) else {
                if success {
                    self.succeed_late(settlement);
                } else {
                    unchanged.push(settlement.position);
                }
                continue;
            };
            let row = &mut self.rows[n];
            if let Some(attempt) = &settlement.attempt {
                let before = self.attempts.entry(row.id).or_default();
                let number = match attempt.number {
                    0 => 0,
                    number => number.max(next_number(before)),
                };
                before.push(number);
                row.attempts = row.attempts.max(number);
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

    /// The row is gone. If it ended otherwise than with a success, it has ended with this one now.
    fn succeed_late(&mut self, settlement: &Settlement) {
        let id = DeliveryId {
            event: settlement.event,
            subscription: self.names[&settlement.position.subscription],
        };
        if self.ended.insert(id, End::Delivered) != Some(End::Delivered) {
            let before = self.attempts.entry(id).or_default();
            before.push(next_number(before));
        }
    }

    /// One command at a time, so that there is often more.
    fn work_off(&mut self, ours: Shards, clock: Timestamp) -> WorkedOff {
        let is_ours = |command: &Command| ours.contains(self.shard(command.lane));
        let Some(n) = self.commands.iter().rposition(is_ours) else {
            return WorkedOff::default();
        };
        let more = self.commands[..n].iter().any(is_ours);
        let command = self.commands.remove(n);
        let mut touched = BTreeMap::new();
        let mut cancelled = Vec::new();
        for row in &mut self.rows {
            match command.kind {
                Kind::Retry(id) if id == row.id => row.position.due_at = clock,
                Kind::Cancel(id) if id == row.id => cancelled.push(id),
                Kind::Remains if command.lane == row.position.subscription => {
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
            lanes: touched.into_iter().map(pending).collect(),
            more,
        }
    }
}

fn pending((subscription, due_at): (i64, Timestamp)) -> Pending {
    Pending {
        subscription,
        due_at,
    }
}

/// The number of the attempt after these.
fn next_number(before: &[u32]) -> u32 {
    before.iter().max().map_or(1, |last| last + 1)
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
        Effect::WorkOff(..) => Input::WorkOff(error()),
        Effect::Maintain(_) => Input::Maintain(error()),
        Effect::Count(_) => Input::Count(error()),
        Effect::Release(..) => Input::Release(asked, error()),
        Effect::Send(_) | Effect::Abandon | Effect::Finish => {
            unreachable!("no operation of the store")
        }
    }
}
