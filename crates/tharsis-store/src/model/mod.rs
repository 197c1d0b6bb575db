//! The outbox as its contract describes it, in memory, for tests.

mod leases;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use tharsis_core::{
    DeliveryId, EventId, SubscriptionId, Timestamp, WorkerId,
    delivery::End,
    subscription::{State, Target},
};

pub use self::leases::Leases;
use crate::{
    Changed, Due, Fate, LaneRead, Lease, Pending, Pointer, Pointers, Position, Remaining, Routed,
    Rows, Settlement, Shard, Shards, Snapshot, StoreError, WorkedOff,
};

/// The outbox. Each of its methods is an operation of the traits, and is handed the instant.
#[derive(Debug)]
pub struct Model {
    revision: i64,
    /// The subscriptions that are not removed, by their short numbers.
    pub targets: BTreeMap<i64, Target>,
    /// The names of all subscriptions that there ever were.
    names: BTreeMap<i64, SubscriptionId>,
    events: BTreeMap<EventId, Pointer>,
    pointers: BTreeMap<i64, EventId>,
    /// The unfinished deliveries, in the order of routing.
    pub rows: Vec<Due>,
    /// How each delivery ended.
    pub ended: BTreeMap<DeliveryId, End>,
    /// The numbers of the attempts of each delivery.
    pub attempts: BTreeMap<DeliveryId, Vec<u32>>,
    commands: Vec<Command>,
    next_seq: i64,
    /// Who owns which shard.
    pub leases: Leases,
    /// Commits of others than workers so far, and those that each worker was told of.
    commits: u64,
    told: BTreeMap<WorkerId, u64>,
    /// Lanes into which another than their owner wrote, who was not told yet.
    foreign: BTreeMap<i64, Timestamp>,
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
    /// With these subscriptions, by their short numbers; `start` is before every other instant.
    pub fn new(start: Instant, targets: BTreeMap<i64, Target>) -> Self {
        Self {
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
        }
    }

    fn seq(&mut self) -> i64 {
        self.next_seq += 1;
        self.next_seq
    }

    // === what others do ===

    /// Publishes an event under the next number.
    pub fn publish(&mut self, pointer: impl FnOnce(i64) -> Pointer) -> EventId {
        let seq = self.seq();
        let pointer = pointer(seq);
        let event = pointer.event;
        self.events.insert(event, pointer);
        self.pointers.insert(seq, event);
        self.commits += 1;
        event
    }

    /// Pauses a subscription, lets it go again, or disables it.
    pub fn set_state(&mut self, lane: i64, state: State) {
        if let Some(target) = self.targets.get_mut(&lane) {
            target.subscription.state = state;
        }
        self.registry_written();
    }

    /// Removes a subscription.
    pub fn remove(&mut self, lane: i64) {
        self.targets.remove(&lane);
        let kind = Kind::Remains;
        self.commands.push(Command { lane, kind });
        self.registry_written();
    }

    /// Adds a subscription under this short number.
    pub fn add(&mut self, lane: i64, target: Target) {
        self.names.insert(lane, target.subscription.id);
        self.targets.insert(lane, target);
        self.registry_written();
    }

    /// Asks the owner to make an unfinished delivery due now.
    pub fn retry(&mut self, id: DeliveryId) {
        self.ask(Kind::Retry(id), id);
    }

    /// Asks the owner to end an unfinished delivery.
    pub fn cancel(&mut self, id: DeliveryId) {
        self.ask(Kind::Cancel(id), id);
    }

    fn ask(&mut self, kind: Kind, id: DeliveryId) {
        if let Some(row) = self.rows.iter().find(|row| row.id == id) {
            let lane = row.position.subscription;
            self.commands.push(Command { lane, kind });
            self.registry_written();
        }
    }

    fn registry_written(&mut self) {
        self.revision += 1;
        self.commits += 1;
    }

    /// A command ends a delivery, and we know of the command already.
    pub fn end(&mut self, n: usize) {
        let row = self.rows.remove(n);
        self.ended.insert(row.id, End::Cancelled);
    }

    /// Another worker takes over when the lease has run out, delivers all that is due, and gives the outbox back.
    pub fn take_over(&mut self, now: Instant, clock: Timestamp) -> Vec<DeliveryId> {
        assert!(
            self.leases.held_until().is_none_or(|until| now >= until),
            "nobody takes what is held"
        );
        self.leases.pass_through_other_hands();
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

    /// Nobody who asks what changed is told.
    pub fn hide_change(&mut self) {
        for told in self.told.values_mut() {
            *told = self.commits;
        }
        self.foreign.clear();
    }

    // === what there is ===

    /// Everything that is not routed yet, oldest first.
    pub fn unrouted(&self) -> Vec<Pointer> {
        let events = self.pointers.values();
        events.map(|id| self.events[id].clone()).collect()
    }

    /// Where the lane of a subscription lies.
    pub fn shard(&self, lane: i64) -> Shard {
        Shard::of_subscription(self.names[&lane])
    }

    /// Whether the deliveries of a subscription are held.
    pub fn is_paused(&self, lane: i64) -> bool {
        self.targets
            .get(&lane)
            .is_none_or(|target| target.subscription.state != State::Active)
    }

    /// The unfinished ones.
    pub fn deliveries(&self) -> BTreeSet<DeliveryId> {
        self.rows.iter().map(|row| row.id).collect()
    }

    /// Everything that was published has ended.
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty() && self.rows.is_empty()
    }

    /// What is not finished.
    pub fn remaining(&self, clock: Timestamp) -> Remaining {
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

    /// What may be worked with under this lease.
    fn ours(&self, lease: &Lease) -> Result<Shards, StoreError> {
        Ok(self.leases.check(lease)?.without(lease.surplus))
    }

    /// What the worker was not told of yet.
    pub fn changed(&mut self, lease: &Lease) -> Result<Changed, StoreError> {
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

    /// The registry.
    pub fn snapshot(&self) -> Snapshot {
        let targets = self.targets.iter();
        Snapshot {
            revision: self.revision,
            targets: targets
                .map(|(id, target)| (*id, Arc::new(target.clone())))
                .collect(),
        }
    }

    /// The first pointers of the shards of this lease.
    pub fn pointers(&self, lease: &Lease, limit: u32) -> Result<Pointers, StoreError> {
        let ours = self.ours(lease)?;
        let events = self.pointers.values().map(|id| &self.events[id]);
        let ours = events.filter(|event| ours.contains(Shard::of_client(event.client)));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Pointers {
            revision: self.revision,
            events: ours.take(limit).cloned().collect(),
        })
    }

    /// Writes what routing decided.
    pub fn route(&mut self, lease: &Lease, routed: &[Routed]) -> Result<(), StoreError> {
        let ours = self.ours(lease)?;
        self.write(ours, Some(lease.worker), routed);
        Ok(())
    }

    /// Another router writes everything, and nobody is told.
    pub fn route_unseen(&mut self, routed: &[Routed]) {
        self.write(Shards::ALL, None, routed);
        self.hide_change();
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
                let owner = self.leases.owner(self.shard(to.subscription));
                if owner.map(|(owner, _)| owner) != router {
                    let at = self.foreign.entry(to.subscription).or_insert(to.due_at);
                    *at = to.due_at.min(*at);
                }
            }
        }
    }

    /// Every lane with unfinished deliveries.
    pub fn lanes(&self, lease: &Lease) -> Result<Vec<Pending>, StoreError> {
        let ours = self.ours(lease)?;
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
        Ok(first.into_iter().map(pending).collect())
    }

    /// The due rows of these lanes.
    pub fn due(
        &self,
        lease: &Lease,
        lanes: &[LaneRead],
        now: Timestamp,
    ) -> Result<Rows, StoreError> {
        let ours = self.ours(lease)?;
        let is_ours = |lane: &&LaneRead| ours.contains(self.shard(lane.subscription));
        let lanes: Vec<LaneRead> = lanes.iter().filter(is_ours).copied().collect();
        Ok(read(&self.rows, &lanes, now))
    }

    /// Records attempts and moves or ends deliveries, also in what is surplus: it is owned until it is given back.
    pub fn settle(
        &mut self,
        lease: &Lease,
        settlements: &[Settlement],
    ) -> Result<Vec<Position>, StoreError> {
        let owned = self.leases.check(lease)?;
        let mut unchanged = Vec::new();
        for settlement in settlements {
            let lane = settlement.position.subscription;
            let success = settlement.fate == Fate::Ended(End::Delivered);
            let ours = owned.contains(self.shard(lane));
            let Some(n) = self.rows.iter().position(|row| {
                let as_read =
                    row.position == settlement.position && row.attempts == settlement.attempts;
                ours && as_read || success && row.position.seq == settlement.position.seq
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
        Ok(unchanged)
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
    pub fn work_off(&mut self, lease: &Lease, clock: Timestamp) -> Result<WorkedOff, StoreError> {
        let ours = self.ours(lease)?;
        let is_ours = |command: &Command| ours.contains(self.shard(command.lane));
        let Some(n) = self.commands.iter().rposition(is_ours) else {
            return Ok(WorkedOff::default());
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
        Ok(WorkedOff {
            lanes: touched.into_iter().map(pending).collect(),
            more,
        })
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

/// Answers a read as the contract of the store says, from rows in any order.
pub fn read(rows: &[Due], reads: &[LaneRead], now: Timestamp) -> Rows {
    let mut answer = Rows::default();
    for read in reads {
        let mut lane: Vec<&Due> = rows
            .iter()
            .filter(|row| row.position.subscription == read.subscription)
            .filter(|row| read.after.is_none_or(|after| row.position > after))
            .collect();
        lane.sort_by_key(|row| row.position);
        let limit = usize::try_from(read.limit).unwrap_or(usize::MAX);
        let due = lane.iter().filter(|row| row.position.due_at <= now);
        let before = answer.due.len();
        answer.due.extend(due.take(limit).map(|row| (*row).clone()));
        let later = lane.iter().find(|row| row.position.due_at > now);
        if answer.due.len() - before < limit
            && let Some(later) = later
        {
            answer.later.push(Pending {
                subscription: read.subscription,
                due_at: later.position.due_at,
            });
        }
    }
    answer
}
