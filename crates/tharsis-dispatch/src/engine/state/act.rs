//! What is to be done now.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tharsis_store::{Lease, StopState, Traffic};
use tracing::warn;

use super::{
    COUNTED, DEPTH, DISCOVERY, MAINTENANCE, READ_AGAIN, REVIEW, SAFETY, State, Stopping, TELLING,
    Trust,
};
use crate::engine::{
    Options, Until,
    lanes::Pick,
    now::{Alarm, Now},
    routing::Routes,
    settling,
    step::{Effect, Flight},
};

/// Pointers of one read, routed in one transaction.
pub(in crate::engine) const POINTERS: u32 = 512;

/// Settlements that may wait for the store, beside one for each slot; deliveries under way count as such. No request starts when there are more: this is the
/// back-pressure.
pub(in crate::engine) const UNSETTLED: usize = 2048;

/// How long settling and releasing may take once the grace period has passed.
const LAST: Duration = Duration::from_secs(2);

/// How long the last count may take, and the last figures to be written down: the count goes through the whole backlog, and
/// nobody waits for a figure.
const LAST_COUNT: Duration = Duration::from_millis(300);

impl State {
    /// What is to be done now, and when to come back if nothing happens before.
    pub(in crate::engine) fn act(
        &mut self,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) -> Option<Instant> {
        if self.finished {
            return None;
        }
        let mut alarm = Alarm::new(now);
        if self.failure.is_some() {
            self.finish(effects);
            return None;
        }
        let until = self.ownership.until().unwrap_or(now);
        self.options.progress.note_lease(Some(until));
        match self.stopping {
            None => self.go_on(now, &mut alarm, effects),
            Some(stopping) => self.wind_up(stopping, now, &mut alarm, effects),
        }
        let in_flight = self.lanes.in_flight();
        let Options {
            progress, metrics, ..
        } = &self.options;
        let requests = u64::try_from(in_flight).unwrap_or(u64::MAX);
        progress.in_flight.store(requests, Relaxed);
        if !self.finished {
            let lease = self.ownership.lease(now);
            metrics.in_flight(in_flight);
            metrics.owned(lease.map_or(0, |lease| lease.owned().count()));
        }
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
        self.keep_order(lease, alarm, effects);
        self.read(lease, moment, alarm, effects);
        self.settle(lease, now, alarm, effects);
        self.write_transitions(lease, alarm, effects);
        self.write_figures(moment, alarm, effects);
        self.see_whether_idle(moment, alarm, effects);
    }

    /// Renews the lease in time, or at once where a surplus can be given back: somebody waits for it.
    fn keep_lease(&mut self, now: Instant, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        let give = self.ownership.surplus(now).without(self.leaving());
        let hold = &mut self.does.hold;
        if !hold.is_under_way() && (!give.is_empty() || alarm.rings(self.ownership.renew_at(now))) {
            hold.want();
        }
        if hold.starts(alarm) {
            effects.push(Effect::Hold(give));
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
            effects.push(Effect::Poll(lease));
        }
        if alarm.rings_every(SAFETY, &mut self.safety_at) {
            does.point.want();
            does.work_off.want();
        }
        if self.work_off_at.is_some_and(|at| alarm.rings(at)) {
            self.work_off_at = None;
            does.work_off.want();
        }
        if alarm.rings_every(DISCOVERY, &mut self.discover_at) {
            does.discover.want();
            self.lanes.look_at_all();
        }
        let is_unreadable = |routes: &Arc<Routes>| !routes.unreadable.is_empty();
        if self.routes.as_ref().is_some_and(is_unreadable)
            && alarm.rings_every(READ_AGAIN, &mut self.read_again_at)
        {
            does.load.want();
        }
        if does.load.starts(alarm) {
            if self.trust == Trust::None {
                self.trust = Trust::Soon;
            }
            effects.push(Effect::Load);
        }
        if self.routes.is_some() && does.discover.starts(alarm) {
            effects.push(Effect::Discover(lease));
        }
        if does.work_off.starts(alarm) {
            does.work_off.occupy(lease.shards);
            effects.push(Effect::WorkOff(lease, now.clock));
        }
        if let Some(routes) = &self.routes {
            if alarm.rings_every(TELLING, &mut self.tell_at) {
                does.tell.want();
            }
            if does.tell.starts(alarm) {
                effects.push(Effect::Tell(lease, Arc::clone(routes), now.clock));
            }
        }
        let limit = self.options.backlog_limit;
        // Without a limit all that there may be to do is to forget what was written down under one.
        let every = limit.map_or(MAINTENANCE, |_| TELLING);
        if alarm.rings_every(every, &mut self.weigh_at) {
            does.weigh.want();
        }
        if does.weigh.starts(alarm) {
            effects.push(Effect::Weigh(lease, limit, now.clock));
        }
        if alarm.rings_every(MAINTENANCE, &mut self.maintain_at) {
            does.maintain.want();
        }
        // One after the other: on PostgreSQL whoever comes second to the lock of both leaves it.
        if !does.forget.is_under_way() && does.maintain.starts(alarm) {
            effects.push(Effect::Maintain(now.clock));
        }
        if alarm.rings_every(MAINTENANCE, &mut self.forget_at) {
            does.forget.want();
        }
        if !does.maintain.is_under_way() && does.forget.starts(alarm) {
            effects.push(Effect::Forget(lease, self.options.retention, now.clock));
        }
    }

    fn route(&mut self, lease: Lease, now: Now, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        let routing_at = self.routing_at(now.clock);
        let does = &mut self.does;
        // Until these are routed, the next read would bring them again.
        if self.unrouted.is_none() && !does.route.is_under_way() && does.point.starts(alarm) {
            effects.push(Effect::Point(lease));
        }
        if let Some(routes) = &self.routes
            && self.trust == Trust::Full
            && let Some(needed) = self.unrouted.as_ref().map(|pointers| pointers.revision)
            && routes.revision >= needed
            && does.route.may_start(alarm)
            && let Some(pointers) = self.unrouted.take()
        {
            does.route.begin();
            does.route.occupy(lease.shards);
            let routes = Arc::clone(routes);
            effects.push(Effect::Route(lease, routes, pointers.events, routing_at));
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
        loop {
            let under_way = self.lanes.under_way() + self.settling.len();
            let Some(most) = room.checked_sub(under_way).filter(|most| *most > 0) else {
                break;
            };
            match self.lanes.pick(most, now) {
                Some(Pick::Send(due, more, target)) => effects.push(Effect::Send(Flight {
                    due,
                    more,
                    target,
                    at: now.clock,
                })),
                Some(Pick::Expired(due)) => {
                    self.add(settling::expired(&due, now.clock), now);
                }
                Some(Pick::Stopped(due, StopState::Paused)) => {
                    self.add(settling::aside(&due), now);
                }
                Some(Pick::Stopped(due, StopState::Cancelled)) => {
                    self.add(settling::cancelled(&due, now.clock), now);
                }
                Some(Pick::Unknown(due)) => {
                    self.add(settling::of_unknown_type(&due, now.clock), now);
                }
                None => break,
            }
        }
    }

    /// Looks who waits for whom where that is not known, and lets those go that wait for nobody any more.
    fn keep_order(&mut self, lease: Lease, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        if self.does.look.may_start(alarm) {
            let (lanes, is_all) = self.lanes.look();
            if !lanes.is_empty() {
                self.does.look.begin();
                effects.push(Effect::Look(lease, lanes.into(), is_all));
            }
        }
        if self.does.let_go.may_start(alarm) {
            let keys = self.lanes.begin_to_let_go();
            if !keys.is_empty() {
                self.does.let_go.begin();
                self.does.let_go.occupy(lease.shards);
                effects.push(Effect::LetGo(lease, keys.into()));
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

    /// Those of one commit after those of the one before.
    fn write_transitions(&mut self, lease: Lease, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        if self.has_transitions() && self.does.transition.may_start(alarm) {
            let turned = self.lanes.turned();
            self.does.transition.begin();
            self.does.transition.occupy(turned);
            let new = &mut self.lanes.transitions;
            let batch = (self.transitions).get_or_insert_with(|| Arc::new(std::mem::take(new)));
            effects.push(Effect::Transition(lease, Arc::clone(batch)));
        }
    }

    fn write_figures(&mut self, now: Now, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        if alarm.rings_every(COUNTED, &mut self.counting_at) && !self.counting.is_empty() {
            self.does.add_figures.want();
        }
        self.write_counted(alarm, effects);
        if alarm.rings_every(DEPTH, &mut self.depth_at) {
            self.does.note_depth.want();
        }
        if self.does.note_depth.starts(alarm) {
            effects.push(Effect::NoteDepth(Traffic::start_of_minute(now.clock)));
        }
    }

    fn write_counted(&mut self, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        if !self.counting.is_empty() && self.does.add_figures.starts(alarm) {
            effects.push(Effect::AddFigures(self.counting.begin()));
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

    /// No request starts any more; those in flight end or are dropped, all is settled, and the lease is given back: each
    /// shard as soon as nothing of it is under way, for its deliveries wait for another worker.
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
        let unsettled = self.is_unsettled();
        if !unsettled && !self.does.add_figures.is_under_way() {
            self.does.add_figures.want();
            self.write_counted(alarm, effects);
        }
        match self.ownership.lease(now) {
            Some(lease) => {
                self.leave(lease, now, alarm, effects);
                self.settle(lease, now, alarm, effects);
                self.write_transitions(lease, alarm, effects);
                return;
            }
            // To write down what came of the rest.
            None if unsettled => {
                self.keep_lease(now, alarm, effects);
                return;
            }
            None => {}
        }
        if self.does.any_under_way() {
            return;
        }
        let count_until = stopping.count_until.unwrap_or(now + LAST_COUNT);
        self.stopping = Some(Stopping {
            count_until: Some(count_until),
            ..stopping
        });
        let is_all = stopping.counted && self.counting.is_empty();
        if is_all || alarm.rings(count_until) {
            self.finish(effects);
            return;
        }
        if !stopping.counted {
            self.does.count.want();
        }
        if self.does.count.starts(alarm) {
            effects.push(Effect::Count(self.ownership.clock(now)));
        }
    }

    /// Gives back what nothing is under way in any more, and goes on to own the rest.
    fn leave(&mut self, lease: Lease, now: Instant, alarm: &mut Alarm, effects: &mut Vec<Effect>) {
        // They are of shards that are ours still, and soon written.
        if self.has_transitions() {
            return;
        }
        let keep = if self.is_unsettled() {
            // A renewal that is under way may bring more than what is owned now.
            if self.does.hold.is_under_way() || self.does.release.is_under_way() {
                return;
            }
            Some(lease.owned().within(self.leaving()))
        } else {
            if self.does.any_under_way() {
                return;
            }
            None
        };
        let does = &mut self.does;
        let is_to_change = keep.is_none_or(|keep| keep != lease.owned());
        if is_to_change || alarm.rings(self.ownership.renew_at(now)) {
            does.release.want();
        }
        if does.release.starts(alarm) {
            effects.push(Effect::Release(lease, keep));
        }
    }

    fn finish(&mut self, effects: &mut Vec<Effect>) {
        self.finished = true;
        self.options.metrics.in_flight(0);
        self.options.metrics.owned(0);
        self.options.progress.note_lease(None);
        effects.push(Effect::Finish);
    }
}
