//! What must hold at each moment.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tharsis_core::{ClientId, DeliveryId, EventId, delivery::End, order::OrderKey};
use tharsis_store::{Due, Stop};

use super::{
    World,
    engine::{Engine, Life, Open},
};
use crate::engine::{
    simulation::model::Model,
    state::UNSETTLED,
    step::{Effect, Flight, Input},
    stops::Stops,
};

/// Why a receiver may get a delivery once more than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::simulation) enum Cause {
    /// Its worker was killed while it was in flight or not settled.
    Killed,
    /// Its request was dropped when the grace period was over.
    Dropped,
    /// Its worker ended before it was settled.
    NotSettled,
    /// Another worker took its lane over while it was in flight or not settled.
    TakenOver,
    /// The database server lost what was settled.
    CommitLost,
    /// The receiver took it, and its answer was lost.
    AnswerLost,
}

/// What was promised, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Who is to get each event that was published, and in which lane.
    promised: BTreeMap<EventId, Vec<(i64, DeliveryId)>>,
    /// How often each delivery was taken.
    taken: BTreeMap<DeliveryId, usize>,
    /// What goes in order, by lane and key, in the order of publication, but for what has been seen to be over.
    ordered: BTreeMap<(i64, OrderKey), VecDeque<(i64, DeliveryId)>>,
    /// Ends that the database server lost.
    lost_ends: BTreeSet<DeliveryId>,
    /// Events that are to be routed again, for the database server lost that they were.
    routed_again: BTreeSet<EventId>,
}

impl Ledger {
    pub(super) fn is_taken(&self, id: DeliveryId) -> bool {
        self.taken.contains_key(&id)
    }
}

impl World {
    // === what is noted ===

    /// An event is published: from here on every subscription that wants it is to get it.
    pub(super) fn promise(&mut self, event: EventId, client: ClientId) {
        let wants = self
            .model
            .targets
            .iter()
            .filter(|(_, target)| target.wants(client, "nudge"));
        let promised = wants.map(|(lane, target)| {
            let subscription = target.subscription.id;
            (
                *lane,
                DeliveryId {
                    event,
                    subscription,
                },
            )
        });
        let promised: Vec<(i64, DeliveryId)> = promised.collect();
        let (seq, payload) = self.model.content(event);
        for (lane, id) in &promised {
            let order = self.model.targets[lane]
                .subscription
                .settings
                .order
                .as_ref();
            if let Some(key) = order.and_then(|order| order.by.key(None, &payload)) {
                let of = self.ledger.ordered.entry((*lane, key)).or_default();
                of.push_back((seq, *id));
            }
        }
        self.ledger.promised.insert(event, promised);
    }

    /// A receiver takes a delivery: once, and once more for each time that there was a cause.
    pub(super) fn take(&mut self, id: DeliveryId) {
        let known = self.ledger.promised.contains_key(&id.event);
        assert!(
            known,
            "{id} was taken, though its event was never published"
        );
        let times = self.ledger.taken.entry(id).or_default();
        *times += 1;
        let causes = self.excused.get(&id).map_or(&[][..], Vec::as_slice);
        assert!(
            *times <= 1 + causes.len(),
            "{id} was taken {times} times, for which there are no causes but {causes:?}"
        );
    }

    /// A receiver may take this delivery once more.
    pub(super) fn excuse(&mut self, id: DeliveryId, cause: Cause) {
        self.excused.entry(id).or_default().push(cause);
    }

    /// The database server lost commits: what it showed before is gone. What is in flight or not settled is settled all
    /// the same, unless its row is gone too.
    pub(super) fn note_lost_commits(&mut self, before: &Model) {
        let is_lost =
            |event: &&EventId| !before.is_unrouted(**event) && self.model.is_unrouted(**event);
        let lost: BTreeSet<EventId> = self
            .ledger
            .promised
            .keys()
            .filter(is_lost)
            .copied()
            .collect();
        let open = self.engines.values().flat_map(|engine| &engine.open);
        let open: BTreeSet<DeliveryId> = open
            .filter(|(_, open)| !open.lost)
            .map(|(id, _)| *id)
            .collect();
        let settled = before
            .ended
            .keys()
            .filter(|id| !self.model.ended.contains_key(id) && !open.contains(id));
        let again = open.iter().filter(|id| lost.contains(&id.event));
        for id in settled.chain(again) {
            self.excused.entry(*id).or_default().push(Cause::CommitLost);
        }
        self.ledger.routed_again.extend(lost);
        let ends = before.ended.keys();
        let lost_ends = ends.filter(|id| !self.model.ended.contains_key(id));
        self.ledger.lost_ends.extend(lost_ends);
    }

    /// An engine is told what is so no more: the answer was on its way when the database server crashed.
    pub(super) fn excuse_told_in_vain(&mut self, told: Vec<DeliveryId>) {
        if self.crashed.is_some() {
            for id in told {
                if !self.model.ended.contains_key(&id) {
                    self.excuse(id, Cause::CommitLost);
                }
            }
        }
    }

    // === what was published ===

    /// Looks at what an operation has changed.
    pub(super) fn check_after(&self, effect: &Effect, answer: &Input) {
        match (effect, answer) {
            (Effect::Route(_, _, pointers, _), _) => {
                self.check(pointers.iter().map(|pointer| pointer.event));
            }
            (Effect::Settle(_, settlements), _) => {
                self.check(settlements.iter().map(|settlement| settlement.event));
            }
            (Effect::WorkOff(..), Input::WorkOff(Ok(done))) if !done.lanes.is_empty() => {
                self.check_events();
            }
            (Effect::Hold(_) | Effect::Release(..), _) => self.check_owners(),
            _ => {}
        }
    }

    pub(in crate::engine::simulation) fn check_events(&self) {
        self.check(self.ledger.promised.keys().copied());
    }

    fn check(&self, events: impl ExactSizeIterator<Item = EventId>) {
        // To look once through all rows costs less than to look once for each of many.
        const MANY: usize = 8;
        let mut rows: BTreeMap<DeliveryId, usize> = BTreeMap::new();
        if events.len() < MANY {
            let events: Vec<EventId> = events.collect();
            let touched = self.model.rows.iter().map(|row| row.id);
            let touched = touched.filter(|id| events.contains(&id.event));
            touched.for_each(|id| *rows.entry(id).or_default() += 1);
            events
                .into_iter()
                .for_each(|event| self.check_event(event, &rows));
        } else {
            let all = self.model.rows.iter().map(|row| row.id);
            all.for_each(|id| *rows.entry(id).or_default() += 1);
            events.for_each(|event| self.check_event(event, &rows));
        }
    }

    /// An event is a pointer, or has for each subscription that wanted it a row or an end: never both, never neither.
    fn check_event(&self, event: EventId, rows: &BTreeMap<DeliveryId, usize>) {
        let is_unrouted = self.model.is_unrouted(event);
        for (lane, id) in self.ledger.promised.get(&event).into_iter().flatten() {
            let rows = rows.get(id).copied().unwrap_or_default();
            let end = self.model.ended.get(id);
            let found = rows + usize::from(end.is_some());
            // Of a subscription that was removed nothing need be left.
            let least = usize::from(!is_unrouted && self.model.targets.contains_key(lane));
            // What was settled after its row was lost has an end, and will have a row again.
            let most =
                usize::from(!is_unrouted) + usize::from(self.ledger.routed_again.contains(&event));
            assert!(
                (least..=most).contains(&found),
                "{id} has {rows} rows and the end {end:?}; unrouted: {is_unrouted}"
            );
            self.check_end(*id, end.copied());
        }
    }

    /// Whatever ended `delivered` was taken. What was taken ended so, unless an admin was faster or we lost what came of a
    /// request.
    fn check_end(&self, id: DeliveryId, end: Option<End>) {
        let is_taken = self.ledger.is_taken(id);
        match end {
            Some(End::Delivered) => assert!(is_taken, "{id} ended delivered, and nobody took it"),
            Some(End::Dead | End::Refused | End::Expired) => {
                let is_lost = self.excused.contains_key(&id);
                assert!(!is_taken || is_lost, "{id} was taken and ended {end:?}");
            }
            Some(End::Cancelled) | None => {}
        }
        // An end without a request is number 0, whatever attempts were made before it.
        let attempts = self.model.attempts.get(&id).into_iter().flatten();
        let numbers = attempts.map(|one| one.attempt.number);
        let numbers: Vec<u32> = numbers.filter(|number| *number != 0).collect();
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "attempts of {id} are not numbered in order, each once: {numbers:?}"
        );
    }

    // === who owns what ===

    /// Whoever believes to own a shard does.
    fn check_owners(&self) {
        for engine in self.engines.values() {
            let owned = self.model.leases.of(engine.worker);
            let lost = engine.believes(self.now).without(owned);
            assert!(
                lost.is_empty() || self.is_outrun(engine),
                "{lost:?} are not its worker's any more, who does not know it"
            );
        }
    }

    /// The database's clock was set forward since it asked for its lease, which ends earlier than it can know.
    fn is_outrun(&self, engine: &Engine) -> bool {
        self.set_forward.is_some_and(|at| engine.asked <= at)
    }

    // === what is in flight ===

    /// A request starts: its lane is the engine's and will be for a while, and the limits hold.
    pub(super) fn check_flight(&mut self, life: Life, flight: &Flight) {
        let settings = &flight.target.subscription.settings;
        let most = settings.batch.map_or(1, |batch| batch.items);
        assert!(
            flight.deliveries() <= usize::try_from(most).expect("small"),
            "{} deliveries in one request",
            flight.deliveries()
        );
        for due in flight.dues() {
            self.check_due(life, flight, due);
        }
        let lane = flight.due.position.subscription;
        let limit = settings.max_in_flight;
        self.check_limit(lane, usize::try_from(limit).expect("small"));
    }

    /// Nothing begins of a campaign that its worker knows to be stopped, unless that was lifted meanwhile.
    fn check_stops(&self, engine: &Engine, flight: &Flight, id: DeliveryId) {
        let client = flight.target.subscription.settings.client;
        let stands = |stop: &&Stop| self.model.stops.iter().any(|other| other.seq == stop.seq);
        let stops: Vec<Stop> = engine.stops.iter().filter(stands).cloned().collect();
        let named = self.model.bears(id.event);
        let stop = named.and_then(|named| Stops::new(&stops).of(client, &named));
        assert_eq!(stop, None, "{id} is sent though its campaign is stopped");
    }

    /// All that go before it were taken, or have ended. Out of the order is what stepped aside with its campaign, what was to
    /// be sent later, and what had ended before a crash that its worker has not heard of yet.
    fn check_order(&mut self, life: Life, flight: &Flight, due: &Due) {
        let lane = due.position.subscription;
        let order = flight.target.subscription.settings.order.as_ref();
        let Some(key) = order.and_then(|order| order.by.key(None, &due.payload)) else {
            return;
        };
        assert_eq!(due.key, Some(key), "{} has another key", due.id);
        if self.set_back {
            return;
        }
        let (taken, ended) = (&self.ledger.taken, &self.model.ended);
        let Some(of) = self.ledger.ordered.get_mut(&(lane, key)) else {
            return;
        };
        of.retain(|(_, id)| !taken.contains_key(id) && !ended.contains_key(id));
        let Some(seq) = of.iter().find(|(_, id)| *id == due.id).map(|(seq, _)| *seq) else {
            return;
        };
        let is_unaware = self
            .engines
            .get(&life)
            .is_some_and(|engine| engine.is_unaware);
        for (_, id) in of.iter().take_while(|(before, _)| *before < seq) {
            assert!(
                self.model.bears(id.event).is_some()
                    || self.model.is_for_later(id.event)
                    || is_unaware && self.ledger.lost_ends.contains(id),
                "{} is sent though {id} comes before it",
                due.id
            );
        }
    }

    fn check_due(&mut self, life: Life, flight: &Flight, due: &Due) {
        let (id, lane) = (due.id, due.position.subscription);
        let leads = id == flight.due.id;
        assert_eq!(lane, flight.due.position.subscription, "of one lane");
        assert!(
            due.spent.tries < 2 || flight.more.is_empty(),
            "{id} failed twice and is not alone"
        );
        let expires_at = due.expires_at;
        assert!(
            expires_at.is_none_or(|at| at > flight.at),
            "{id} is sent though it has expired"
        );
        self.check_order(life, flight, due);
        let engine = self.engines.get(&life).expect("it has just acted");
        self.check_stops(engine, flight, id);
        let lost = self.check_lane(engine, lane, id);
        self.check_pause(engine, lane);
        if lost {
            self.excuse(id, Cause::TakenOver);
        }
        if self.ledger.routed_again.contains(&id.event) && !self.model.has_row(due.position) {
            self.excuse(id, Cause::CommitLost);
        }
        let engine = self.engines.get_mut(&life).expect("it has just acted");
        let open = Open {
            lane,
            in_flight: true,
            answered: false,
            leads,
            lost,
        };
        let before = engine.open.insert(id, open);
        assert!(before.is_none(), "{id} is in flight or unsettled already");
        let (open, room) = (engine.open.len(), self.options.max_in_flight + UNSETTLED);
        assert!(
            open <= room,
            "{open} deliveries are in flight or not settled"
        );
    }

    /// Says whether the lane is another's, which the engine cannot know.
    fn check_lane(&self, engine: &Engine, lane: i64, id: DeliveryId) -> bool {
        let shard = self.model.shard(lane);
        assert!(
            engine.told().contains(shard),
            "{id} is in {shard:?}, not told of"
        );
        let owner = self.model.leases.owner(shard);
        let is_its = owner.is_some_and(|(owner, _)| owner == engine.worker);
        if self.is_outrun(engine) {
            return !is_its;
        }
        assert!(is_its, "{id} is in the shard of another");
        let until = owner.map_or(self.now, |(_, until)| until);
        assert!(
            self.now + Duration::from_secs(2) <= until,
            "a request starts {:?} before another worker may take over",
            until.saturating_duration_since(self.now)
        );
        false
    }

    /// A poll, a read of pointers and of the registry, each of which may take 20 ms.
    fn check_pause(&self, engine: &Engine, lane: i64) {
        let faults = self.faults;
        if engine.troubled || faults.lost + faults.ambiguous + faults.slow > 0 {
            return;
        }
        if let Some(since) = self.paused_since.get(&lane) {
            let late = self.now - *since;
            assert!(
                late < Duration::from_millis(250 + 60),
                "sent {late:?} after the pause"
            );
        }
    }

    /// All who own the lane, and each one that did, have at most so many requests under way: together the limit, and that
    /// once more for each worker whose requests are still open though its lease was lost.
    fn check_limit(&self, lane: i64, limit: usize) {
        let mut owners = 0;
        for engine in self.engines.values() {
            let flying = engine
                .open
                .values()
                .filter(|open| open.lane == lane && open.in_flight && open.leads);
            let (lost, kept): (Vec<_>, Vec<_>) = flying.partition(|open| open.lost);
            owners += kept.len();
            let all = lost.len() + kept.len();
            assert!(
                all <= limit,
                "{all} requests of one worker to subscription {lane} at once"
            );
        }
        assert!(
            owners <= limit,
            "{owners} requests to subscription {lane} at once"
        );
    }
}
