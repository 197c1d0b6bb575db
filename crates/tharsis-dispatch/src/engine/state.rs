use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tharsis_core::{
    Invalid,
    delivery::{End, Fault, Outcome, Verdict, classify, verdict},
    profile::Success,
    subscription::Target,
};
use tharsis_store::{
    Fate, Lease, Pending, Pointers, Position, Remaining, Rows, Shard, Snapshot, StoreError,
    WorkedOff,
};
use tracing::{debug, info, warn};

use super::{
    Options, Summary, Until,
    lanes::{Lanes, Pick},
    now::{Alarm, Now},
    operation::Operation,
    ownership::Ownership,
    polling::Polling,
    random::Random,
    routing::{self, Routes},
    settling::{self, Settling},
    step::{Effect, Flight, Input},
};

/// Pointers of one read, routed in one transaction.
pub(super) const POINTERS: u32 = 512;

/// Pointers and commands are looked for this often, also when nothing is said to have changed.
const SAFETY: Duration = Duration::from_secs(5);

/// All lanes are discovered this often: rows written by another router may be in lanes that we think empty.
const DISCOVERY: Duration = Duration::from_secs(60);

/// Lanes that hang are looked for this often.
const REVIEW: Duration = Duration::from_millis(250);

/// What is not finished is counted this often while only time is waited for, and at most this often after work.
const COUNT: Duration = Duration::from_secs(2);
const COUNT_AFTER_WORK: Duration = Duration::from_millis(200);

/// Settlements that may wait for the store, beside one for each slot. No request starts when there are more: this is the
/// back-pressure.
const UNSETTLED: usize = 2048;

/// How long settling and releasing may take once the grace period has passed.
const LAST: Duration = Duration::from_secs(2);

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
    lanes: Lanes,
    settling: Settling,
    /// Read, but not yet routed: a newer registry must be loaded first.
    unrouted: Option<Pointers>,
    polling: Polling,
    does: Operations,
    safety_at: Instant,
    discover_at: Instant,
    review_at: Instant,
    count_at: Instant,
    counted_at: Option<Instant>,
    /// Rows were written for a subscription that is not known here (yet).
    orphans: bool,
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
    work_off: Operation,
    count: Operation,
    release: Operation,
}

/// The end of a run.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    /// Requests in flight may take until then.
    grace: Instant,
    counted: bool,
    released: bool,
}

impl State {
    pub(super) fn new(options: Options, seed: u64, now: Instant) -> Self {
        let mut state = Self {
            random: Random::new(seed),
            ownership: Ownership::default(),
            routes: None,
            lanes: Lanes::new(options.max_in_flight, options.cache_bytes),
            options,
            settling: Settling::default(),
            unrouted: None,
            polling: Polling::new(now),
            does: Operations::default(),
            safety_at: now + SAFETY,
            discover_at: now + DISCOVERY,
            review_at: now + REVIEW,
            count_at: now,
            counted_at: None,
            orphans: false,
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

    // === what happened ===

    /// Takes in what happened.
    pub(super) fn take(&mut self, input: Input, now: Instant) {
        match input {
            Input::Hold(asked, result) => self.held(asked, result, now),
            Input::Poll(result) => self.polled(result, now),
            Input::Load(result) => self.loaded(result, now),
            Input::Point(result) => self.pointed(result, now),
            Input::Route(result) => self.routed(result, now),
            Input::Discover(result) => self.discovered(result, now),
            Input::Read(result) => self.rows_read(result, now),
            Input::Send(flight, result) => self.sent(&flight, result, now),
            Input::Settle(result) => self.settled(result, now),
            Input::WorkOff(result) => self.worked_off(result, now),
            Input::Count(result) => self.counted(result, now),
            Input::Release(result) => self.released(result, now),
            Input::Woken => {
                self.polling.worked(now);
                self.does.point.want();
            }
            Input::Shutdown => self.stop(now),
        }
    }

    fn held(&mut self, asked: Instant, result: Result<Lease, StoreError>, now: Instant) {
        let Some(lease) = self.answer(|does| &mut does.hold, result, now) else {
            return;
        };
        if self.ownership.hold(lease, asked) {
            info!(epoch = lease.epoch, "the outbox is ours");
            self.lanes.forget();
            self.read_all_again();
        }
    }

    fn polled(&mut self, result: Result<bool, StoreError>, now: Instant) {
        if self.answer(|does| &mut does.poll, result, now) == Some(true) {
            self.polling.worked(now);
            self.does.point.want();
        }
    }

    fn loaded(&mut self, result: Result<Snapshot, StoreError>, now: Instant) {
        let Some(snapshot) = self.answer(|does| &mut does.load, result, now) else {
            return;
        };
        let (Some(moment), Some(lease)) = (self.ownership.now(now), self.ownership.lease(now))
        else {
            self.does.load.want();
            return;
        };
        // Commands are written into the registry too, so a new revision may mean one.
        if self.routes.as_ref().map(|routes| routes.revision) != Some(snapshot.revision) {
            self.does.work_off.want();
        }
        if std::mem::take(&mut self.orphans) {
            self.does.discover.want();
        }
        let routes = Routes::new(&snapshot);
        let ours = |(_, target): &&(i64, Arc<Target>)| {
            lease
                .shards
                .contains(Shard::of_subscription(target.subscription.id))
        };
        self.lanes.load(routes.targets().filter(ours), moment);
        self.routes = Some(Arc::new(routes));
    }

    fn pointed(&mut self, result: Result<Pointers, StoreError>, now: Instant) {
        let Some(pointers) = self.answer(|does| &mut does.point, result, now) else {
            return;
        };
        if self
            .routes
            .as_ref()
            .is_none_or(|routes| routes.revision < pointers.revision)
        {
            self.polling.worked(now);
            self.does.load.want();
        }
        if !pointers.events.is_empty() {
            self.polling.worked(now);
            self.unrouted = Some(pointers);
        }
    }

    fn routed(&mut self, result: Result<routing::Done, StoreError>, now: Instant) {
        if let Some(done) = self.answer(|does| &mut does.route, result, now) {
            self.note(&done.lanes, now);
            self.summary.ended += done.ended;
            self.options.progress.ended.fetch_add(done.ended, Relaxed);
            self.does.point.want();
            self.worked(now);
        }
    }

    fn discovered(&mut self, result: Result<Vec<Pending>, StoreError>, now: Instant) {
        if let Some(lanes) = self.answer(|does| &mut does.discover, result, now) {
            self.note(&lanes, now);
        }
    }

    fn rows_read(&mut self, result: Result<Rows, StoreError>, now: Instant) {
        let rows = self.answer(|does| &mut does.read, result, now);
        let Some(moment) = self.ownership.now(now) else {
            self.lanes.forget();
            return;
        };
        match rows {
            Some(rows) => self.lanes.rows(rows, moment),
            None => self.lanes.read_failed(moment),
        }
    }

    fn worked_off(&mut self, result: Result<WorkedOff, StoreError>, now: Instant) {
        let Some(done) = self.answer(|does| &mut does.work_off, result, now) else {
            return;
        };
        for lane in &done.lanes {
            self.lanes.invalidate(lane.subscription);
        }
        self.note(&done.lanes, now);
        if done.more {
            self.does.work_off.want();
        }
        self.worked(now);
    }

    fn sent(&mut self, flight: &Flight, result: Result<Outcome, Invalid>, now: Instant) {
        let due = &flight.due;
        let lane = due.position.subscription;
        let clock = self.ownership.clock(now);
        let moment = Now {
            instant: now,
            clock,
        };
        let settings = &flight.target.subscription.settings;
        let outcome = match result {
            Ok(outcome) => judged(outcome, settings.profile.success),
            Err(why) => {
                warn!(delivery.id = %due.id, error = %why, "no request can be made of this delivery");
                self.lanes.answered(lane, Duration::ZERO, moment);
                let end = settling::refused(due, &why, clock);
                self.settling.add(due.id.event, end, now);
                return;
            }
        };
        self.lanes.answered(lane, outcome.duration, moment);
        let jitter = self.random.jitter();
        let (retry, expires_at) = (&settings.retry, due.expires_at);
        let verdict = verdict(&outcome, retry, due.tries, expires_at, clock, jitter);
        log(flight, &outcome, verdict);
        let settlement = match (verdict, outcome.fault) {
            // What is ours counts as no attempt, so this is an end without one.
            (Verdict::Expired, Fault::Ours) => settling::expired(due, clock),
            _ => settling::attempted(flight, outcome, verdict),
        };
        if settlement.disable.is_some() {
            // The registry will say so too, but only once this is settled.
            self.lanes.hold(lane);
        }
        self.settling.add(due.id.event, settlement, now);
    }

    fn settled(&mut self, result: Result<Vec<Position>, StoreError>, now: Instant) {
        let unchanged = self.answer(|does| &mut does.settle, result, now);
        let Some(unchanged) = unchanged else {
            self.settling.failed();
            return;
        };
        let moment = Now {
            instant: now,
            clock: self.ownership.clock(now),
        };
        let (lanes, summary, load) = (&mut self.lanes, &mut self.summary, &mut self.does.load);
        let before = *summary;
        self.settling.done(unchanged, |settled| {
            let lane = settled.settlement.position.subscription;
            // A success is recorded wherever its row has moved meanwhile.
            let success = settled.settlement.fate == Fate::Ended(End::Delivered);
            let unchanged = settled.unchanged && !success;
            lanes.settled(lane, settled.event, unchanged);
            if unchanged {
                return;
            }
            match settled.settlement.fate {
                Fate::Ended(End::Delivered) => summary.delivered += 1,
                Fate::Ended(_) => summary.ended += 1,
                Fate::Again { due_at, .. } => {
                    summary.retried += u64::from(settled.settlement.attempt.is_some());
                    lanes.note(lane, due_at, moment);
                }
            }
            if settled.settlement.disable.is_some() {
                load.want();
            }
        });
        let progress = &self.options.progress;
        progress
            .delivered
            .fetch_add(summary.delivered - before.delivered, Relaxed);
        progress
            .retried
            .fetch_add(summary.retried - before.retried, Relaxed);
        progress
            .ended
            .fetch_add(summary.ended - before.ended, Relaxed);
        self.worked(now);
    }

    fn counted(&mut self, result: Result<Remaining, StoreError>, now: Instant) {
        self.counted_at = Some(now);
        self.count_at = now + COUNT;
        let remaining = self.answer(|does| &mut does.count, result, now);
        if let Some(stopping) = &mut self.stopping {
            // Also when it failed: nobody waits for a figure.
            stopping.counted = true;
        }
        let Some(remaining) = remaining else {
            return;
        };
        self.summary.remaining = remaining;
        if remaining.unrouted > 0 {
            self.does.point.want();
        }
        if remaining.commands > 0 {
            self.does.work_off.want();
        }
        if remaining.pending > 0 && !self.lanes.has_timers() {
            self.does.discover.want();
        }
        let Remaining {
            unrouted: 0,
            pending: 0,
            commands: 0,
            ..
        } = remaining
        else {
            return;
        };
        if self.stopping.is_none() && self.is_at_rest() {
            self.stop(now);
        }
    }

    fn released(&mut self, result: Result<(), StoreError>, now: Instant) {
        let released = self.answer(|does| &mut does.release, result, now).is_some();
        if released {
            self.ownership.lose();
        }
        if let Some(stopping) = &mut self.stopping {
            stopping.released = released;
        }
    }

    fn stop(&mut self, now: Instant) {
        self.stopping.get_or_insert(Stopping {
            grace: now + self.options.grace,
            counted: false,
            released: false,
        });
    }

    // === what follows from it ===

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
                warn!("the lease is lost: another worker owns the outbox, or did");
                self.ownership.lose();
                self.lanes.forget();
            }
            _ => {
                let error: &dyn std::error::Error = &error;
                warn!(error, "the store failed; it will be tried again");
                self.lanes.suspect();
            }
        }
        self.read_all_again();
        None
    }

    fn read_all_again(&mut self) {
        self.unrouted = None;
        self.does.load.want();
        self.does.point.want();
        self.does.discover.want();
        self.does.work_off.want();
    }

    /// Rows were written that are due then.
    fn note(&mut self, lanes: &[Pending], now: Instant) {
        let Some(now) = self.ownership.now(now) else {
            // A new lease discovers all lanes.
            return;
        };
        for lane in lanes {
            self.orphans |= !self.lanes.note(lane.subscription, lane.due_at, now);
        }
    }

    /// Something was done, so something else may be left.
    fn worked(&mut self, now: Instant) {
        self.count_at = self
            .counted_at
            .map_or(now, |at| now.max(at + COUNT_AFTER_WORK));
    }

    /// What is to be done now, and when to come back if nothing happens before.
    pub(super) fn act(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Option<Instant> {
        if self.finished {
            return None;
        }
        let mut alarm = Alarm::new(now);
        if self.failure.is_some() {
            self.finish(effects);
            return None;
        }
        match self.stopping {
            None => self.go_on(now, &mut alarm, effects),
            Some(stopping) => self.wind_up(stopping, now, &mut alarm, effects),
        }
        let in_flight = u64::try_from(self.lanes.in_flight()).unwrap_or(u64::MAX);
        self.options.progress.in_flight.store(in_flight, Relaxed);
        alarm.next()
    }

    fn go_on(&mut self, now: Instant, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        self.keep_lease(now, alarm, effects);
        let (Some(lease), Some(moment)) = (self.ownership.lease(now), self.ownership.now(now))
        else {
            return;
        };
        self.look_around(lease, moment, alarm, effects);
        if self.routes.is_none() {
            return;
        }
        self.route(lease, moment, alarm, effects);
        self.lanes.ring(moment, alarm);
        self.send(moment, alarm, effects);
        self.read(lease, moment, alarm, effects);
        self.settle(lease, now, alarm, effects);
        self.see_whether_idle(moment, alarm, effects);
    }

    fn keep_lease(&mut self, now: Instant, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        let hold = &mut self.does.hold;
        if !hold.is_under_way() && alarm.rings(self.ownership.renew_at(now)) {
            hold.want();
        }
        if hold.starts(alarm) {
            effects.push(Effect::Hold);
        }
    }

    /// Asks what others did: events, subscriptions, commands, lanes.
    fn look_around(
        &mut self,
        lease: Lease,
        now: Now,
        alarm: &mut Alarm,
        effects: &mut Vec<Effect>,
    ) {
        let does = &mut self.does;
        if !does.poll.is_under_way() && alarm.rings(self.polling.next()) {
            does.poll.want();
        }
        if does.poll.starts(alarm) {
            self.polling.polled(now.instant);
            effects.push(Effect::Poll);
        }
        if alarm.rings_every(SAFETY, &mut self.safety_at) {
            does.point.want();
            does.work_off.want();
        }
        if alarm.rings_every(DISCOVERY, &mut self.discover_at) {
            does.discover.want();
        }
        if does.load.starts(alarm) {
            effects.push(Effect::Load);
        }
        if self.routes.is_some() && does.discover.starts(alarm) {
            effects.push(Effect::Discover(lease));
        }
        if does.work_off.starts(alarm) {
            effects.push(Effect::WorkOff(lease, now.clock));
        }
    }

    fn route(&mut self, lease: Lease, now: Now, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        let does = &mut self.does;
        // Until these are routed, the next read would bring them again.
        if self.unrouted.is_none() && !does.route.is_under_way() && does.point.starts(alarm) {
            effects.push(Effect::Point(lease));
        }
        let routes = self.routes.as_ref().filter(|routes| {
            let needed = self.unrouted.as_ref().map(|pointers| pointers.revision);
            needed.is_some_and(|needed| routes.revision >= needed)
        });
        if let Some(routes) = routes
            && does.route.may_start(alarm)
            && let Some(pointers) = self.unrouted.take()
        {
            does.route.begin();
            let routes = Arc::clone(routes);
            effects.push(Effect::Route(lease, routes, pointers.events, now.clock));
        }
    }

    fn send(&mut self, now: Now, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        if self.lanes.in_flight() > 0 && alarm.rings_every(REVIEW, &mut self.review_at) {
            self.lanes.review(now);
        }
        if !self.ownership.may_start(now.instant) {
            return;
        }
        let room = UNSETTLED + self.options.max_in_flight;
        while self.lanes.in_flight() + self.settling.len() < room {
            match self.lanes.pick(now) {
                Some(Pick::Send(due, target)) => effects.push(Effect::Send(Flight {
                    due,
                    target,
                    at: now.clock,
                })),
                Some(Pick::Expired(due)) => {
                    let end = settling::expired(&due, now.clock);
                    self.settling.add(due.id.event, end, now.instant);
                }
                None => break,
            }
        }
    }

    fn read(&mut self, lease: Lease, now: Now, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        if !self.does.read.may_start(alarm) {
            return;
        }
        let lanes = self.lanes.read(now);
        if !lanes.is_empty() {
            self.does.read.begin();
            effects.push(Effect::Read(lease, lanes, now.clock));
        }
    }

    fn settle(&mut self, lease: Lease, now: Instant, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        let more_come = self.lanes.in_flight() > 0;
        if self.does.settle.may_start(alarm) && self.settling.is_ready(more_come, alarm) {
            self.does.settle.begin();
            effects.push(Effect::Settle(lease, self.settling.begin(now)));
        }
    }

    fn see_whether_idle(&mut self, now: Now, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        if self.options.until != Until::Idle || !self.is_at_rest() || self.does.count.is_under_way()
        {
            return;
        }
        if alarm.rings(self.count_at) {
            self.does.count.want();
        }
        if self.does.count.starts(alarm) {
            effects.push(Effect::Count(now.clock));
        }
    }

    /// Nothing is under way or wanted; only time, or somebody else, can bring something to do.
    fn is_at_rest(&self) -> bool {
        let does = &self.does;
        self.lanes.is_at_rest()
            && self.settling.is_empty()
            && self.unrouted.is_none()
            && [
                &does.load,
                &does.point,
                &does.route,
                &does.discover,
                &does.work_off,
            ]
            .into_iter()
            .all(Operation::is_at_rest)
    }

    /// No request starts any more; those in flight end or are dropped, all is settled, and the lease is given back.
    fn wind_up(
        &mut self,
        stopping: Stopping,
        now: Instant,
        alarm: &mut Alarm,
        effects: &mut Vec<Effect>,
    ) {
        if alarm.rings(stopping.grace) && self.lanes.in_flight() > 0 {
            warn!(
                requests = self.lanes.in_flight(),
                "the grace period is over; requests in flight are dropped and will be sent again"
            );
            self.lanes.abandon();
            effects.push(Effect::Abandon);
        }
        if alarm.rings(stopping.grace + LAST) {
            self.finish(effects);
            return;
        }
        let unsettled = self.lanes.in_flight() > 0 || !self.settling.is_empty();
        if unsettled {
            self.keep_lease(now, alarm, effects);
            if let Some(lease) = self.ownership.lease(now) {
                self.settle(lease, now, alarm, effects);
            }
            return;
        }
        if self.does.any_under_way() {
            return;
        }
        match self.ownership.lease(now) {
            None => self.finish(effects),
            Some(_) if !stopping.counted => {
                self.does.count.want();
                if self.does.count.starts(alarm) {
                    effects.push(Effect::Count(self.ownership.clock(now)));
                }
            }
            Some(lease) if !stopping.released => {
                self.does.release.want();
                if self.does.release.starts(alarm) {
                    effects.push(Effect::Release(lease));
                }
            }
            Some(_) => self.finish(effects),
        }
    }

    fn finish(&mut self, effects: &mut Vec<Effect>) {
        self.finished = true;
        effects.push(Effect::Finish);
    }
}

impl Operations {
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
            &self.work_off,
            &self.count,
            &self.release,
        ]
        .into_iter()
        .any(Operation::is_under_way)
    }
}

/// The client takes any 2xx for a success; the profile may want exactly 200.
fn judged(mut outcome: Outcome, success: Success) -> Outcome {
    if let (Fault::None, Some(status)) = (outcome.fault, outcome.status) {
        outcome.fault = classify(status, success).1;
    }
    outcome
}

/// Says what came of an attempt, to whoever reads the log.
fn log(flight: &Flight, outcome: &Outcome, verdict: Verdict) {
    let (id, code) = (flight.due.id, &*outcome.code);
    let duration_ms = outcome.duration.as_millis();
    let detail = outcome.detail.as_deref();
    match verdict {
        Verdict::Delivered => debug!(delivery.id = %id, code, duration_ms, "delivered"),
        Verdict::Retry { due_at } => {
            debug!(delivery.id = %id, code, detail, duration_ms, %due_at, "failed, will be tried again");
        }
        Verdict::Postpone { due_at } => {
            warn!(delivery.id = %id, code, detail, %due_at, "postponed by a fault of ours");
        }
        Verdict::Dead => {
            info!(delivery.id = %id, code, detail, duration_ms, "dead: its retries are used up")
        }
        Verdict::Gone => {
            warn!(delivery.id = %id, code, "the receiver is gone for good: its subscription is disabled");
        }
        Verdict::Expired => info!(delivery.id = %id, code, detail, duration_ms, "expired"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_wants_exactly_200_takes_no_other_2xx() {
        let accepted = |status, success| {
            let outcome = Outcome {
                code: format!("http_{status}").into(),
                fault: Fault::None,
                status: Some(status),
                retry_after: None,
                excerpt: Vec::new(),
                detail: None,
                duration: Duration::ZERO,
            };
            judged(outcome, success).fault == Fault::None
        };
        assert!(accepted(200, Success::Exactly200));
        assert!(!accepted(202, Success::Exactly200));
        assert!(accepted(202, Success::Any2xx));
    }
}
