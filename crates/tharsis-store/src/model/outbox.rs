//! From publishing to what is due.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bytes::Bytes;
use tharsis_core::{
    DeliveryId, EventId, Invalid, Timestamp, WorkerId,
    alert::is_own,
    delivery::{End, Spent, codes},
    event::Event,
    health::Condition,
    subscription::State,
};

use super::{Model, Stored, count};
use crate::{
    Attempt, Changed, Due, LaneRead, Lease, Pending, Pointer, Pointers, Position, Published,
    Refusal, Remaining, Replay, ReplayKey, RouteTo, Routed, Rows, Shard, Shards, Snapshot,
    StoreError,
};

/// What a database gives an event that is new to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// Its name.
    pub id: EventId,
    /// By the database's clock.
    pub published_at: Timestamp,
}

impl Model {
    // === publishing ===

    /// Publishes a batch; `given` says what the event at a place has if it is new.
    pub fn publish(
        &mut self,
        events: &[Event],
        given: impl Fn(usize) -> Given,
    ) -> Vec<Result<Published, Invalid>> {
        let one = |(place, event)| self.publish_one(event, given(place));
        events.iter().enumerate().map(one).collect()
    }

    fn publish_one(&mut self, event: &Event, given: Given) -> Result<Published, Invalid> {
        let is_writable = |at: Timestamp| (0..=253_402_300_799_999).contains(&at.as_millis());
        let mut instants = event.not_before().into_iter().chain(event.expires_at());
        if !instants.all(is_writable) {
            return Err(Invalid::new("bad_time", "is beyond what can be written"));
        }
        let idempotency = event.idempotency();
        if let Some((id, payload)) = self.keys.get(&idempotency.key) {
            if payload.is_some_and(|first| first != idempotency.payload) {
                return Err(Invalid::new("idempotency_conflict", "has another payload"));
            }
            return Ok(Published {
                id: *id,
                duplicate: true,
            });
        }
        let payload = idempotency.explicit.then_some(idempotency.payload);
        self.keys.insert(idempotency.key, (given.id, payload));
        let pointer = |seq| Pointer {
            seq,
            event: given.id,
            client: event.client(),
            event_type: event.event_type().as_str().into(),
            published_at: given.published_at,
            not_before: event.not_before(),
            expires_at: event.expires_at(),
            size: event.payload().len(),
            unfrozen: None,
            named: None,
        };
        self.insert(event.payload().clone(), pointer);
        let stored = self.events.get_mut(&given.id).expect("it was inserted");
        stored.campaign = event.campaign().map(str::to_owned);
        stored.recipient = event.recipient().map(str::to_owned);
        Ok(Published {
            id: given.id,
            duplicate: false,
        })
    }

    /// Publishes an event under the next number, without a key, as plain SQL does.
    pub fn insert(&mut self, payload: Bytes, pointer: impl FnOnce(i64) -> Pointer) -> EventId {
        let seq = self.seq();
        let pointer = pointer(seq);
        let event = pointer.event;
        let stored = Stored {
            pointer,
            campaign: None,
            recipient: None,
            payload,
            refused: None,
        };
        self.events.insert(event, stored);
        self.pointers.insert(seq, event);
        self.commits += 1;
        event
    }

    // === ownership ===

    /// Takes the lease, or renews it, and takes back what of its surplus is given. `clock` is the database's.
    ///
    /// # Errors
    /// `LeaseLost`, once, when all that this worker had is another's by now.
    pub fn hold(
        &mut self,
        worker: WorkerId,
        give: Shards,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Lease, StoreError> {
        self.leases.hold(worker, give, now, clock)
    }

    /// A worker leaves, and goes on to own what is to be kept.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn release(
        &mut self,
        lease: &Lease,
        keep: Option<Shards>,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        self.leases.release(lease, keep, now, clock)
    }

    /// What may be worked with under this lease.
    pub(super) fn ours(&self, lease: &Lease) -> Result<Shards, StoreError> {
        let owned = self.leases.check(lease)?;
        Ok(owned.within(lease.shards))
    }

    /// What the worker was not told of yet.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn changed(&mut self, lease: &Lease) -> Result<Changed, StoreError> {
        let owned = self.leases.check(lease)?;
        let told = self.told.insert(lease.worker, self.commits);
        let (ours, others) = std::mem::take(&mut self.foreign)
            .into_iter()
            .partition(|(lane, _)| owned.contains(self.shard(*lane)));
        self.foreign = others;
        let ours: BTreeMap<i64, Timestamp> = ours;
        Ok(Changed {
            anything: told != Some(self.commits),
            shards: self.leases.were_given_back(lease.worker),
            lanes: ours.into_iter().map(pending).collect(),
        })
    }

    /// Nobody who asks what changed is told.
    pub fn hide_change(&mut self) {
        for told in self.told.values_mut() {
            *told = self.commits;
        }
        self.foreign.clear();
    }

    // === routing ===

    /// The registry.
    pub fn snapshot(&self) -> Snapshot {
        let targets = self.targets.iter();
        Snapshot {
            revision: self.revision,
            targets: targets
                .map(|(number, target)| (*number, Arc::new(target.clone())))
                .collect(),
            stops: self.stops.clone(),
        }
    }

    /// The first pointers of the shards of this lease.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn pointers(&self, lease: &Lease, limit: u32) -> Result<Pointers, StoreError> {
        let ours = self.ours(lease)?;
        let events = self.unrouted().into_iter();
        let ours = events.filter(|event| ours.contains(Shard::of_client(event.client)));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Pointers {
            revision: self.revision,
            events: ours.take(limit).collect(),
        })
    }

    /// Everything that is not routed yet, oldest first.
    pub fn unrouted(&self) -> Vec<Pointer> {
        let events = self.pointers.values();
        let pointer = |id: &EventId| {
            let pointer = self.events[id].pointer.clone();
            let named = if is_own(&pointer.event_type) {
                self.bears(*id)
            } else {
                self.named(*id)
            };
            Pointer { named, ..pointer }
        };
        events.map(pointer).collect()
    }

    /// Writes what routing decided.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn route(&mut self, lease: &Lease, routed: &[Routed]) -> Result<(), StoreError> {
        let ours = self.ours(lease)?;
        for one in routed {
            self.route_one(ours, Some(lease.worker), one);
        }
        Ok(())
    }

    /// Another router writes everything, and nobody is told.
    pub fn route_unseen(&mut self, routed: &[Routed]) {
        for one in routed {
            self.route_one(Shards::ALL, None, one);
        }
        self.hide_change();
    }

    /// The owners of lanes in other shards will be told.
    fn route_one(&mut self, of: Shards, router: Option<WorkerId>, routed: &Routed) {
        // Routing the same pointer twice makes no second delivery.
        let Some(event) = self.pointers.get(&routed.seq).copied() else {
            return;
        };
        if !of.contains(Shard::of_client(self.events[&event].pointer.client)) {
            return;
        }
        self.pointers.remove(&routed.seq);
        match &routed.frozen {
            Some(Ok(frozen)) => self.freeze(event, frozen),
            Some(Err(why)) => self.refuse(event, why),
            None => {}
        }
        for to in &routed.to {
            self.deliver(event, to, router);
        }
    }

    /// What the publisher gave in columns goes before what the payload says; of two expiries the earlier counts.
    fn freeze(&mut self, event: EventId, frozen: &Event) {
        let stored = self.events.get_mut(&event).expect("its pointer was there");
        let campaign = frozen.campaign().map(str::to_owned);
        let recipient = frozen.recipient().map(str::to_owned);
        let pointer = &mut stored.pointer;
        stored.campaign = stored.campaign.take().or(campaign);
        stored.recipient = stored.recipient.take().or(recipient);
        stored.payload = frozen.payload().clone();
        pointer.unfrozen = None;
        pointer.not_before = pointer.not_before.or(frozen.not_before());
        let both = pointer.expires_at.into_iter().chain(frozen.expires_at());
        pointer.expires_at = both.min();
    }

    fn refuse(&mut self, event: EventId, why: &Invalid) {
        let stored = self.events.get_mut(&event).expect("its pointer was there");
        stored.refused = Some(Refusal {
            code: why.code.to_owned(),
            field: why.field.clone(),
            message: why.message.clone().into_owned(),
        });
    }

    fn deliver(&mut self, event: EventId, to: &RouteTo, router: Option<WorkerId>) {
        let known = &self.known[&to.subscription];
        let id = DeliveryId {
            event,
            subscription: known.id,
        };
        let ends = match (to.ends, known.removed_at) {
            (Some((end, code)), _) => Some((end, code, to.due_at)),
            (None, Some(at)) => Some((End::Cancelled, codes::SUBSCRIPTION_REMOVED, at)),
            (None, None) => None,
        };
        if let Some((end, code, at)) = ends {
            self.record(id, unsent(code, at), Some(end), None);
            return;
        }
        let seq = self.seq();
        self.make_due(id, to.subscription, seq, to.due_at, None);
        let owner = self.leases.owner(self.shard(to.subscription));
        if owner.map(|(owner, _)| owner) != router {
            self.tell(to.subscription, to.due_at);
        }
    }

    /// A row of its own, with a new retry budget; of a replay, by its number, or of routing.
    pub(super) fn make_due(
        &mut self,
        id: DeliveryId,
        number: i64,
        seq: i64,
        due_at: Timestamp,
        replay: Option<(u32, &Replay)>,
    ) {
        let stored = &self.events[&id.event];
        self.ended.remove(&id);
        self.rows.push(Due {
            position: Position {
                subscription: number,
                lane: 0,
                due_at,
                seq,
                replay: replay.map_or(0, |(number, _)| number),
            },
            id,
            event_type: stored.pointer.event_type.clone(),
            payload: stored.payload.clone(),
            published_at: stored.pointer.published_at,
            expires_at: stored.pointer.expires_at,
            attempts: self.made(id),
            spent: Spent::default(),
            named: None,
            key: None,
            is_waited_for: false,
            fresh: replay
                .filter(|(_, replay)| replay.key == ReplayKey::Fresh)
                .map(|(_, replay)| Box::new(replay.id)),
        });
    }

    /// The owner of a lane is to be told that another wrote into it.
    pub(super) fn tell(&mut self, number: i64, due_at: Timestamp) {
        let at = self.foreign.entry(number).or_insert(due_at);
        *at = due_at.min(*at);
    }

    // === reading ===

    /// Every lane with unfinished deliveries, but for those of removed subscriptions.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn lanes(&self, lease: &Lease) -> Result<Vec<Pending>, StoreError> {
        let ours = self.ours(lease)?;
        let mut first: BTreeMap<i64, Timestamp> = BTreeMap::new();
        for row in &self.rows {
            let number = row.position.subscription;
            let is_live = row.position.lane == 0;
            if is_live && ours.contains(self.shard(number)) && self.targets.contains_key(&number) {
                let at = first.entry(number).or_insert(row.position.due_at);
                *at = row.position.due_at.min(*at);
            }
        }
        Ok(first.into_iter().map(pending).collect())
    }

    /// The due rows of these lanes, and what comes after them.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn due(
        &self,
        lease: &Lease,
        lanes: &[LaneRead],
        now: Timestamp,
    ) -> Result<Rows, StoreError> {
        let ours = self.ours(lease)?;
        let is_ours = |lane: &&LaneRead| ours.contains(self.shard(lane.subscription));
        let lanes: Vec<LaneRead> = lanes.iter().filter(is_ours).copied().collect();
        let mut rows = read(&self.rows, &lanes, now);
        for due in &mut rows.due {
            let is_asked =
                |lane: &LaneRead| lane.named && lane.subscription == due.position.subscription;
            due.is_waited_for = due.key.take().is_some();
            due.named = if lanes.iter().any(is_asked) {
                self.bears(due.id.event)
            } else {
                self.named(due.id.event)
            };
        }
        Ok(rows)
    }

    /// What is not finished.
    pub fn remaining(&self, now: Timestamp) -> Remaining {
        let jobs = self.jobs.iter().filter(|job| job.is_open()).count();
        let mut remaining = Remaining {
            unrouted: count(self.pointers.len()),
            commands: count(self.commands.len() + jobs),
            ..Remaining::default()
        };
        for row in &self.rows {
            let not_before = self.events[&row.id.event].pointer.not_before;
            // Not: never attempted and due later. A fault of ours puts off without an attempt, and is waited for.
            let is_scheduled =
                row.spent.tries == 0 && row.position.due_at > now && not_before > Some(now);
            // One whose probe is due is waited for.
            let target = self.targets.get(&row.position.subscription);
            let is_held = self.is_kept_back(row)
                || target.is_some_and(|target| {
                    let health = &target.subscription.health;
                    target.subscription.state != State::Active
                        || health.condition == Condition::Open && health.probe_at > Some(now)
                });
            if is_held {
                remaining.held += 1;
            } else if is_scheduled {
                remaining.scheduled += 1;
            } else {
                remaining.pending += 1;
            }
        }
        remaining
    }
}

/// An end without a request.
pub(super) fn unsent(code: &str, at: Timestamp) -> Attempt {
    Attempt {
        number: 0,
        at,
        duration: std::time::Duration::ZERO,
        code: code.to_owned(),
        status: None,
        excerpt: Vec::new(),
        detail: None,
    }
}

pub(super) fn pending((subscription, due_at): (i64, Timestamp)) -> Pending {
    Pending {
        subscription,
        due_at,
    }
}

/// Answers a read as the contract of the store says, from rows in any order.
pub fn read(rows: &[Due], reads: &[LaneRead], now: Timestamp) -> Rows {
    let mut answer = Rows::default();
    for read in reads {
        let mut lane: Vec<&Due> = rows
            .iter()
            .filter(|row| row.position.subscription == read.subscription && row.position.lane == 0)
            .collect();
        lane.sort_by_key(|row| row.position);
        let limit = usize::try_from(read.limit).unwrap_or(usize::MAX);
        let due = lane
            .iter()
            .filter(|row| row.position.due_at <= now)
            .filter(|row| read.after.is_none_or(|after| row.position > after));
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
