//! What happened.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tharsis_core::{
    Invalid, Timestamp,
    delivery::{End, Fault, Outcome, Standing, Verdict, classify, verdict},
    health::{Condition, Failure},
    order::{OnDead, OrderKey},
    profile::Success,
};
use tharsis_store::{
    Blocked, Changed, Due, Fate, Lease, LetGo, Pending, Pointers, Position, Remaining, Rows, Shard,
    Shards, Snapshot, StoreError, Transition, WorkedOff,
};
use tracing::{debug, info, warn};

use super::{COUNT, FORGET_PAUSE, MAINTENANCE_AGAIN, State, Stopping, Trust};
use crate::engine::{
    lanes::{Answer, Heard},
    now::Now,
    routing::{self, Routes},
    settling,
    step::{Flight, Input},
};

impl State {
    /// Takes in what happened.
    pub(in crate::engine) fn take(&mut self, input: Input, now: Instant) {
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
            Input::Look(asked, result) => self.looked(&asked, result, now),
            Input::LetGo(asked, result) => self.let_go(&asked, result, now),
            Input::Transition(result) => self.turned(result, now),
            Input::Tell(result) => self.told(result, now),
            Input::WorkOff(result) => self.worked_off(result, now),
            Input::Weigh(result) => self.weighed(result, now),
            Input::AddFigures(result) => self.added_figures(result, now),
            Input::NoteDepth(result) => self.noted_depth(result, now),
            Input::Forget(result) => self.forgot(result, now),
            Input::Maintain(result) => self.maintained(result, now),
            Input::Count(result) => self.counted(result, now),
            Input::Release(asked, result) => self.released(asked, result, now),
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
        let metrics = Arc::clone(&self.options.metrics);
        metrics.renewed();
        let before = self.ownership.shards().unwrap_or_default();
        let kept = self.ownership.lease(now);
        let kept = kept.map_or(Shards::default(), |lease| lease.owned());
        let lost = before.without(lease.owned());
        if !lost.is_empty() {
            let shards = lost.count();
            metrics.lost(shards);
            warn!(
                shards,
                "part of the lease is lost: other workers have these shards, or had"
            );
        }
        if self.ownership.hold(lease, asked, now) {
            let (shards, surplus) = (lease.shards.count(), lease.surplus.count());
            info!(
                epoch = lease.epoch,
                shards, surplus, "a lease of other shards"
            );
            self.read_all_again();
            let new = lease.owned().without(kept);
            metrics.took_over(new.count());
            self.lanes.take_over(new, now);
            self.take_lanes(false, now);
        }
    }

    fn polled(&mut self, result: Result<Changed, StoreError>, now: Instant) {
        let Some(changed) = self.answer(|does| &mut does.poll, result, now) else {
            return;
        };
        self.note(&changed.lanes, now);
        if changed.anything {
            self.does.point.want();
        }
        if changed.shards {
            self.ownership.hurry(now);
        }
        if changed != Changed::default() {
            self.polling.worked(now);
        }
    }

    fn loaded(&mut self, result: Result<Snapshot, StoreError>, now: Instant) {
        let Some(snapshot) = self.answer(|does| &mut does.load, result, now) else {
            return;
        };
        // Commands are written into the registry too, so a new revision may mean one.
        if self.routes.as_ref().map(|routes| routes.revision) != Some(snapshot.revision) {
            self.does.work_off.want();
        }
        let routes = Routes::new(&snapshot);
        let former = self.routes.as_deref().map(|routes| &routes.unreadable);
        let is_known = |id: &i64| former.is_some_and(|former| former.contains(id));
        if !routes.unreadable.iter().all(is_known) {
            // People are told of it by whoever sees to what has to be done now and then.
            self.maintain_at = now;
        }
        self.lanes.stop(&routes.stops);
        self.routes = Some(Arc::new(routes));
        if self.trust == Trust::Soon {
            self.trust = Trust::Full;
        }
        // One that began before all was given up may be older than what was written since.
        self.take_lanes(self.trust == Trust::Full, now);
    }

    fn pointed(&mut self, result: Result<Pointers, StoreError>, now: Instant) {
        let Some(mut pointers) = self.answer(|does| &mut does.point, result, now) else {
            return;
        };
        // Some may be for another worker to route by now.
        let shards = self.ownership.shards().unwrap_or_default();
        pointers
            .events
            .retain(|pointer| shards.contains(Shard::of_client(pointer.client)));
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
            let ended = u64::try_from(done.ended.len()).unwrap_or(u64::MAX);
            self.summary.ended += ended;
            self.options.progress.ended.fetch_add(ended, Relaxed);
            let clock = self.ownership.clock(now);
            for (subscription, end) in done.ended {
                self.options.metrics.ended(end);
                let routes = self.routes.as_deref();
                if let Some(client) = routes.and_then(|routes| routes.client(subscription)) {
                    self.counting.ended(client, subscription, end, clock);
                }
            }
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
        // Also without the lease, else no lane would be read again. What was read before it was lost is stale.
        let moment = Now {
            instant: now,
            clock: self.ownership.clock(now),
        };
        match rows {
            Some(rows) => {
                self.lanes.rows(rows, moment);
                self.park(moment);
            }
            None => self.lanes.read_failed(moment),
        }
    }

    fn looked(&mut self, asked: &[i64], result: Result<Vec<Blocked>, StoreError>, now: Instant) {
        if let Some(blocked) = self.answer(|does| &mut does.look, result, now) {
            let moment = Now {
                instant: now,
                clock: self.ownership.clock(now),
            };
            self.lanes.looked(asked, &blocked, moment);
        }
    }

    fn let_go(
        &mut self,
        asked: &[(i64, OrderKey)],
        result: Result<Vec<LetGo>, StoreError>,
        now: Instant,
    ) {
        let done = self.answer(|does| &mut does.let_go, result, now);
        self.lanes.let_go(asked, &done.unwrap_or_default());
        self.worked(now);
    }

    fn worked_off(&mut self, result: Result<WorkedOff, StoreError>, now: Instant) {
        let Some(done) = self.answer(|does| &mut does.work_off, result, now) else {
            return;
        };
        self.touched(&done.lanes, now);
        if done.more {
            self.does.work_off.want();
        }
        let moment = self.ownership.now(now);
        self.work_off_at = (done.next.zip(moment)).map(|(at, now)| now.instant_of(at));
        self.worked(now);
    }

    fn sent(&mut self, flight: &Flight, result: Result<Outcome, Invalid>, now: Instant) {
        let lane = flight.due.position.subscription;
        let clock = self.ownership.clock(now);
        let moment = Now {
            instant: now,
            clock,
        };
        let took = result.as_ref().map_or(Duration::ZERO, |o| o.duration);
        let settings = &flight.target.subscription.settings;
        let result = result.map(|outcome| judged(outcome, settings.profile.success));
        let random = self.random.jitter();
        let answer = Answer {
            deliveries: flight.deliveries(),
            took,
            heard: (result.as_ref()).map_or(Heard::Nothing, |outcome| {
                heard(flight, outcome, clock, random)
            }),
        };
        let probe = self.lanes.answered(lane, &answer, moment);
        match result {
            Ok(outcome) => {
                self.attempted(flight, &outcome);
                // One for all of them, so that what failed together comes due together.
                let after = After {
                    probe,
                    jitter: self.random.jitter(),
                    now: moment,
                };
                for due in &flight.more {
                    self.judge(flight, due, outcome.clone(), after);
                }
                self.judge(flight, &flight.due, outcome, after);
            }
            Err(why) if settling::is_ours(&why) => {
                warn!(error = %why, "requests to a subscription cannot be signed");
                let outcome = settling::unsigned(&why);
                self.attempted(flight, &outcome);
                let after = After {
                    probe,
                    jitter: self.random.jitter(),
                    now: moment,
                };
                for due in flight.dues() {
                    self.judge(flight, due, outcome.clone(), after);
                }
            }
            Err(why) if flight.more.is_empty() => self.refuse(&flight.due, &why, moment),
            // The others are not to suffer for it.
            Err(_) => {
                for due in flight.dues() {
                    match flight.request_of(due) {
                        Ok(_) => self.add(settling::again(due, clock), moment),
                        Err(why) => self.refuse(due, &why, moment),
                    }
                }
            }
        }
    }

    fn attempted(&self, flight: &Flight, outcome: &Outcome) {
        let profile = &flight.target.subscription.settings.profile;
        let deliveries = flight.deliveries();
        self.options.metrics.attempted(profile, outcome, deliveries);
    }

    /// What follows from an outcome for one delivery.
    fn judge(&mut self, flight: &Flight, due: &Due, outcome: Outcome, after: After) {
        let retry = &flight.target.subscription.settings.retry;
        let After { probe, jitter, now } = after;
        let standing = Standing {
            spent: due.spent,
            expires_at: due.expires_at,
            probe,
        };
        let verdict = verdict(&outcome, retry, standing, now.clock, jitter);
        log(due, &outcome, verdict);
        if verdict == Verdict::Delivered && due.position.replay == 0 {
            let after = now.clock.since(due.id.event.at());
            self.options.metrics.received(after);
        }
        let settlement = match (verdict, outcome.fault) {
            // What is ours counts as no attempt, so this is an end without one.
            (Verdict::Expired, Fault::Ours) => settling::expired(due, now.clock),
            _ => settling::attempted(due, flight.at, outcome, verdict, holds(flight)),
        };
        if settlement.suspend.is_some() {
            // The registry will say so too, but only once this is settled.
            self.lanes.hold(due.position.subscription);
        }
        self.add(settlement, now);
    }

    fn refuse(&mut self, due: &Due, why: &Invalid, now: Now) {
        warn!(delivery.id = %due.id, error = %why, "no request can be made of this delivery");
        let end = settling::refused(due, why, now.clock);
        self.add(end, now);
    }

    fn settled(&mut self, result: Result<Vec<Position>, StoreError>, now: Instant) {
        let left_alone = self.answer(|does| &mut does.settle, result, now);
        let Some(left_alone) = left_alone else {
            self.settling.failed();
            return;
        };
        let moment = Now {
            instant: now,
            clock: self.ownership.clock(now),
        };
        let (lanes, summary, load) = (&mut self.lanes, &mut self.summary, &mut self.does.load);
        let (counting, routes) = (&mut self.counting, self.routes.as_deref());
        let metrics = &self.options.metrics;
        let before = *summary;
        let mut rows = 0;
        self.settling.done(left_alone, |settlement, left_alone| {
            rows += 1;
            let lane = settlement.position.subscription;
            // A success is recorded wherever its row has moved meanwhile.
            let success = settlement.fate == Fate::Ended(End::Delivered);
            let unchanged = left_alone && !success;
            lanes.settled(settlement, unchanged, moment);
            if settlement.suspend.is_some() {
                // The lane is held; only the registry knows whether the subscription was suspended indeed.
                load.want();
            }
            if unchanged {
                return;
            }
            if let Some(client) = routes.and_then(|routes| routes.client(lane)) {
                counting.settled(client, settlement);
            }
            if let Fate::Ended(end) = settlement.fate {
                metrics.ended(end);
            }
            match settlement.fate {
                Fate::Ended(End::Delivered) => summary.delivered += 1,
                Fate::Ended(_) => summary.ended += 1,
                Fate::Aside | Fate::Parked { .. } | Fate::Kept { .. } => {}
                Fate::Again { due_at, .. } => {
                    summary.retried += u64::from(settlement.attempt.is_some());
                    lanes.note(lane, due_at, moment);
                }
            }
        });
        metrics.settled(rows);
        metrics.retried(summary.retried - before.retried);
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

    fn turned(&mut self, result: Result<Vec<i64>, StoreError>, now: Instant) {
        let Some(left_alone) = self.answer(|does| &mut does.transition, result, now) else {
            return;
        };
        let written = self.transitions.take().unwrap_or_default();
        let moment = Now {
            instant: now,
            clock: self.ownership.clock(now),
        };
        for transition in &*written {
            self.lanes.trust(transition.subscription, moment);
        }
        for id in &left_alone {
            self.lanes.doubt(*id);
        }
        // What an admin, or another owner, has written is newer.
        let is_suspended = |t: &Transition| t.health.condition == Condition::Suspended;
        if !left_alone.is_empty() || written.iter().any(is_suspended) {
            self.does.load.want();
        }
        self.worked(now);
    }

    /// Whatever came of it, deliveries go on. It may be all that is heard of a server that crashed.
    fn told(&mut self, result: Result<(), StoreError>, now: Instant) {
        match result {
            Ok(()) => self.does.tell.succeeded(),
            Err(error) => {
                self.does.tell.failed(now, self.random.next());
                let error: &dyn std::error::Error = &error;
                warn!(error, "people could not be told; it will be tried again");
                self.read_all_again();
            }
        }
    }

    /// Whatever came of it, deliveries go on.
    fn weighed(&mut self, result: Result<(), StoreError>, now: Instant) {
        match result {
            Ok(()) => self.does.weigh.succeeded(),
            Err(error) => {
                self.does.weigh.failed(now, self.random.next());
                let error: &dyn std::error::Error = &error;
                warn!(
                    error,
                    "backlogs could not be looked at; it will be tried again"
                );
                self.read_all_again();
            }
        }
    }

    /// Whatever came of it, deliveries go on, and lanes are as they were read: figures say nothing of them.
    fn added_figures(&mut self, result: Result<(), StoreError>, now: Instant) {
        match result {
            Ok(()) => {
                self.does.add_figures.succeeded();
                if self.counting.done() {
                    self.does.add_figures.want();
                }
            }
            Err(error) => {
                self.does.add_figures.failed(now, self.random.next());
                if let Some(rows) = self.counting.failed() {
                    let error: &dyn std::error::Error = &error;
                    warn!(
                        error,
                        rows, "figures could not be written down, and are lost"
                    );
                }
            }
        }
    }

    /// As of figures.
    fn noted_depth(&mut self, result: Result<(), StoreError>, now: Instant) {
        match result {
            Ok(()) => self.does.note_depth.succeeded(),
            Err(error) => {
                self.does.note_depth.failed(now, self.random.next());
                let error: &dyn std::error::Error = &error;
                warn!(
                    error,
                    "it could not be noted how much waits; it will be tried again"
                );
            }
        }
    }

    /// Whatever came of it, deliveries go on.
    fn forgot(&mut self, result: Result<WorkedOff, StoreError>, now: Instant) {
        self.does.forget.succeeded();
        match result {
            Ok(done) => {
                self.touched(&done.lanes, now);
                if done.more {
                    self.forget_at = self.forget_at.min(now + FORGET_PAUSE);
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                warn!(
                    error,
                    "what is kept no longer stays; it will be tried again"
                );
                self.read_all_again();
                self.forget_at = self.forget_at.min(now + MAINTENANCE_AGAIN);
            }
        }
    }

    /// Whatever came of it, deliveries go on.
    fn maintained(&mut self, result: Result<(), StoreError>, now: Instant) {
        self.does.maintain.succeeded();
        if let Err(error) = result {
            let error: &dyn std::error::Error = &error;
            warn!(error, "maintenance failed; it will be tried again");
            self.maintain_at = self.maintain_at.min(now + MAINTENANCE_AGAIN);
        }
    }

    /// These lanes are not as they were read.
    fn touched(&mut self, lanes: &[Pending], now: Instant) {
        for lane in lanes {
            self.lanes.invalidate(lane.subscription);
        }
        self.note(lanes, now);
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
        if remaining.pending > 0 {
            // What is waited for may be in a lane that nobody told us of.
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

    fn released(
        &mut self,
        asked: Instant,
        result: Result<Option<Lease>, StoreError>,
        now: Instant,
    ) {
        match self.answer(|does| &mut does.release, result, now) {
            Some(Some(left)) => {
                self.ownership.hold(left, asked, now);
            }
            Some(None) => self.ownership.lose(),
            None => {}
        }
    }

    fn stop(&mut self, now: Instant) {
        self.stopping.get_or_insert(Stopping {
            grace: now + self.options.grace,
            count_until: None,
            counted: false,
        });
        self.take_lanes(false, now);
    }
}

/// Whether a delivery whose retries are used up is kept, so that those after it wait.
fn holds(flight: &Flight) -> bool {
    let order = flight.target.subscription.settings.order.as_ref();
    order.is_some_and(|order| order.on_dead == OnDead::Hold)
}

/// The client takes any 2xx for a success; the profile may want exactly 200.
fn judged(mut outcome: Outcome, success: Success) -> Outcome {
    if let (Fault::None, Some(status)) = (outcome.fault, outcome.status) {
        outcome.fault = classify(status, success).1;
    }
    outcome
}

/// What the verdicts of one request have in common.
#[derive(Debug, Clone, Copy)]
struct After {
    /// When the next probe is due, where it was one that failed.
    probe: Option<Timestamp>,
    jitter: u16,
    now: Now,
}

/// What an outcome says of the receiver.
fn heard<'a>(flight: &Flight, outcome: &'a Outcome, now: Timestamp, random: u16) -> Heard<'a> {
    match outcome.fault {
        Fault::None => Heard::Success,
        Fault::Ours => Heard::Nothing,
        Fault::Theirs if outcome.is_gone() => Heard::Gone(&outcome.code),
        Fault::Theirs => Heard::Failure {
            failure: Failure {
                event: flight.due.id.event,
                code: &outcome.code,
                asked_for: outcome.asks_for(now),
                at: now,
                random,
            },
            is_overload: outcome.is_overload(),
        },
    }
}

/// Says what came of an attempt, to whoever reads the log.
fn log(due: &Due, outcome: &Outcome, verdict: Verdict) {
    let (id, code) = (due.id, &*outcome.code);
    let duration_ms = outcome.duration.as_millis();
    let detail = outcome.detail.as_deref();
    match verdict {
        Verdict::Delivered => debug!(delivery.id = %id, code, duration_ms, "delivered"),
        Verdict::Retry { due_at } => {
            debug!(delivery.id = %id, code, detail, duration_ms, %due_at, "failed, will be tried again");
        }
        Verdict::Hold { due_at } => {
            info!(delivery.id = %id, code, detail, duration_ms, %due_at, "failed as a probe, and is held");
        }
        Verdict::Postpone { due_at } => {
            warn!(delivery.id = %id, code, detail, %due_at, "postponed by a fault of ours");
        }
        Verdict::Dead => {
            info!(delivery.id = %id, code, detail, duration_ms, "dead: its retries are used up")
        }
        Verdict::Gone => {
            warn!(delivery.id = %id, code, "the receiver is gone for good: its subscription is suspended");
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
                certificate: None,
            };
            judged(outcome, success).fault == Fault::None
        };
        assert!(accepted(200, Success::Exactly200));
        assert!(!accepted(202, Success::Exactly200));
        assert!(accepted(202, Success::Any2xx));
    }
}
