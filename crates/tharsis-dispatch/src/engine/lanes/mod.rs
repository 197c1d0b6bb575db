mod lane;
mod order;
mod slots;
#[cfg(test)]
mod tests;
mod turns;

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tharsis_core::{
    SubscriptionId, Timestamp,
    health::{Condition, Health},
    order::OrderKey,
    subscription::{State, Target},
};
use tharsis_store::{
    Blocked, Due, LaneRead, LetGo, Rows, Settlement, Shard, Shards, StopState, Transition,
};
use tracing::{debug, info, warn};

pub(super) use lane::{Answer, Heard};
use lane::{Freed, Lacks, Lane, Pace, Place, is_expired};
use slots::{Aside, Slots};
use turns::Turns;

use super::{
    now::{Alarm, Now},
    stops::Stops,
};

/// How long rows that appeared behind a lane's cursor may stay unseen, if nobody told of them.
const REWIND: Duration = Duration::from_secs(2);

/// To read from the start takes long where many rows lie dead that some old transaction can still see. It may take one part
/// of so many, but is not put off for longer than this.
const REWIND_PART: u32 = 20;
const LONGEST_REWIND: Duration = Duration::from_secs(300);

/// The most lanes of one read.
const LANES: usize = 256;

/// The most rows of one read, so that no lane waits long for another's.
const ROWS: usize = 2048;

/// The most keys whose next deliveries are let go at once.
const LET_GO: usize = 256;

/// How often lanes that cannot send give their cache back, at most.
const GIVE_BACK: Duration = Duration::from_millis(50);

/// All lanes in memory: what is read, what is sent next, and what has to wait.
///
/// # Slots
/// `max_in_flight` requests may be under way at once. Were they first come, first served, then thirty receivers that never
/// answer would hold them all within seconds, and everybody else would wait for their timeouts. So a lane that has not
/// answered yet has one request under way at most; lanes that are slow to answer share one half of the slots; and the last
/// quarter of the slots is for lanes that have no request under way. So a few receivers that begin to hang take three
/// quarters at most, however many requests they are allowed, and once they are known to be slow, one half. (If a hundred
/// receivers that answered until now hang from one moment to the next, they can hold all slots for one timeout.)
///
/// # Memory
/// At most `cache_bytes` of payloads are read ahead, split evenly among the lanes that are read together. A lane whose
/// requests all hang may have filled its share; when memory runs short, such lanes give theirs back.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: HashMap<i64, Lane>,
    /// Those that are not ours any more, as long as something of them is under way.
    leaving: BTreeSet<i64>,
    turns: Turns,
    aside: Aside,
    /// Lanes that want to be read, first come, first served.
    queue: VecDeque<i64>,
    /// Lanes of the read that is under way, and since when.
    reading: Vec<i64>,
    reading_since: Option<Instant>,
    timers: BTreeSet<(Timestamp, i64)>,
    /// Lanes whose next request waits for more deliveries, and until when.
    lingering: BTreeSet<(Timestamp, i64)>,
    /// Lanes whose next request waits for its turn by their rate, and until when.
    spaced: BTreeSet<(Instant, i64)>,
    rewinds: BTreeSet<(Instant, i64)>,
    /// Lanes whose breaker is open, and when each sends a probe.
    probes: BTreeSet<(Timestamp, i64)>,
    /// The campaigns of which nothing is sent.
    stops: Arc<Stops>,
    /// Rows that wait for one before them, to be parked.
    parking: VecDeque<Due>,
    /// Lanes of which it is to be looked at which of their deliveries wait in the store.
    to_look: BTreeSet<i64>,
    looks_at_all: bool,
    /// Keys, by their lanes, whose next deliveries are to be let go.
    to_let_go: BTreeSet<(i64, OrderKey)>,
    /// How receivers do from now on, not yet written down.
    pub(super) transitions: Vec<Transition>,
    slots: Slots,
    under_way: usize,
    cache_bytes: usize,
    cached_bytes: usize,
    gave_back: Option<Instant>,
}

/// What is to be done with a delivery.
#[derive(Debug)]
pub(super) enum Pick {
    /// It is sent, with these if there are any. They are in flight until [`Lanes::answered`], and known until
    /// [`Lanes::settled`].
    Send(Due, Box<[Due]>, Arc<Target>),
    /// Its event expired while it waited: it ends without a request. It is known until [`Lanes::settled`].
    Expired(Due),
    /// Its subscription's profile has no event of this type, and no types were chosen: somebody who did not know the
    /// profile routed it. It ends without a request. It is known until [`Lanes::settled`].
    Unknown(Due),
    /// Its campaign is stopped, or its recipient in it: it goes aside, or ends without a request. It is known until
    /// [`Lanes::settled`].
    Stopped(Due, StopState),
}

impl Lanes {
    pub(super) fn new(max_in_flight: usize, cache_bytes: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            leaving: BTreeSet::new(),
            turns: Turns::default(),
            aside: Aside::default(),
            queue: VecDeque::new(),
            reading: Vec::new(),
            reading_since: None,
            timers: BTreeSet::new(),
            lingering: BTreeSet::new(),
            spaced: BTreeSet::new(),
            rewinds: BTreeSet::new(),
            probes: BTreeSet::new(),
            parking: VecDeque::new(),
            to_look: BTreeSet::new(),
            looks_at_all: false,
            to_let_go: BTreeSet::new(),
            stops: Arc::default(),
            transitions: Vec::new(),
            slots: Slots::new(max_in_flight),
            under_way: 0,
            cache_bytes,
            cached_bytes: 0,
            gave_back: None,
        }
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.taken
    }

    /// Deliveries under way: of a request that is a batch each one.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Nothing is to be sent, read or waited for but timers.
    pub(super) fn is_at_rest(&self) -> bool {
        self.slots.taken == 0
            && self.queue.is_empty()
            && self.reading.is_empty()
            && self.turns.is_empty()
            && self.lingering.is_empty()
            && self.spaced.is_empty()
            && self.parking.is_empty()
            && self.to_look.is_empty()
            && !self.looks_at_all
            && self.to_let_go.is_empty()
    }

    // === what the registry says ===

    /// Takes over the subscriptions whose lanes are ours; says whether there is a new one. What is held meanwhile is
    /// dropped from memory. Lanes of other subscriptions, which were removed or are in another's shard, begin nothing
    /// any more, and go once nothing of them is under way. How receivers do counts only where it has just been read, and of
    /// none that is in `unwritten`: of those it is not written down yet.
    pub(super) fn load<'a>(
        &mut self,
        targets: impl Iterator<Item = &'a (i64, Arc<Target>)>,
        is_fresh: bool,
        unwritten: &HashSet<i64>,
        now: Now,
    ) -> bool {
        let (mut new, mut adopted) = (false, Vec::new());
        let mut absent: BTreeSet<i64> = self.lanes.keys().copied().collect();
        for (id, target) in targets {
            absent.remove(id);
            self.leaving.remove(id);
            let held = target.subscription.state != State::Active;
            let lane = self.lanes.entry(*id).or_insert_with(|| {
                new = true;
                self.looks_at_all = true;
                Lane::new(Arc::clone(target), &self.stops, now.instant)
            });
            let counts = is_fresh && !unwritten.contains(id);
            if lane.is_of_other_order(target) {
                self.cached_bytes -= lane.drop_cache();
                self.to_look.insert(*id);
            }
            lane.set_target(target, now.instant);
            if counts && lane.adopt(&target.subscription.health)
                || lane.probing.is_none() && lane.breaker.probe_at().is_some()
            {
                adopted.push(*id);
            }
            let was_spaced = unspace(&mut self.spaced, *id, lane);
            match (std::mem::replace(&mut lane.held, held), held) {
                (false, true) => self.cached_bytes -= lane.drop_cache(),
                (true, false) => self.enter(*id, now),
                // What it waits for may be another by now.
                (false, false) if lane.lingering.is_some() || was_spaced => {
                    self.enter(*id, now);
                }
                (false, false) | (true, true) => {}
            }
        }
        for id in adopted {
            self.shut(id);
            self.enter(id, now);
        }
        for id in absent {
            self.hold(id);
            self.leaving.insert(id);
            self.drop_if_left(id);
        }
        new
    }

    /// Of these campaigns nothing is sent from now on. What is in memory, or on its way there, is given up where they are
    /// others than before: rows that were read while nothing was stopped do not tell what they are of.
    pub(super) fn stop(&mut self, stops: &Arc<Stops>) {
        if self.stops == *stops {
            return;
        }
        self.stops = Arc::clone(stops);
        // In an order, so that the same always leads to the same.
        let all: BTreeSet<i64> = self.lanes.keys().copied().collect();
        for id in all {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.stops = Arc::clone(stops);
            }
            self.invalidate(id);
        }
    }

    /// Drops a lane that leaves, if nothing of it is under way.
    fn drop_if_left(&mut self, id: i64) {
        if self.leaving.contains(&id) && self.lanes.get(&id).is_none_or(Lane::is_empty) {
            self.leaving.remove(&id);
            self.lanes.remove(&id);
        }
    }

    /// The shards that are not ours any more though something in them is in flight, unsettled or being read.
    pub(super) fn leaving(&self) -> Shards {
        let lanes = self.leaving.iter().filter_map(|id| self.lanes.get(id));
        lanes
            .map(|lane| Shard::of_subscription(lane.target.subscription.id))
            .collect()
    }

    /// Holds a lane until the registry says otherwise.
    pub(super) fn hold(&mut self, id: i64) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.held = true;
        }
        self.put_away(id);
    }

    /// Drops what is in memory of a lane that may not send.
    fn put_away(&mut self, id: i64) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            self.cached_bytes -= lane.drop_cache();
            if let Some(until) = lane.lingering.take() {
                self.lingering.remove(&(until, id));
            }
            unspace(&mut self.spaced, id, lane);
        }
    }

    /// Gives up all that was read, and what is known of receivers: it may have been changed by another owner, or lost. Requests in flight and settlements stay
    /// known, so nothing of ours is sent twice.
    pub(super) fn forget(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.breaker.doubt();
            lane.drop_cache();
            lane.doubt_order();
            lane.wanted = false;
            lane.queued = false;
            lane.rewinding = false;
            lane.timer = None;
            lane.lingering = None;
            lane.spaced = None;
            lane.place = Place::Out;
        }
        self.cached_bytes = 0;
        self.look_at_all();
        self.to_let_go.clear();
        self.turns.clear();
        self.aside = Aside::default();
        self.queue.clear();
        self.timers.clear();
        self.lingering.clear();
        self.spaced.clear();
        self.rewinds.clear();
    }

    /// Lanes in these shards were another's.
    pub(super) fn take_over(&mut self, shards: Shards, now: Instant) {
        for lane in self.lanes.values_mut() {
            if shards.contains(Shard::of_subscription(lane.target.subscription.id)) {
                lane.take_over(now);
            }
        }
    }

    // === what is known of rows ===

    /// A row of this lane is due then.
    pub(super) fn note(&mut self, id: i64, due_at: Timestamp, now: Now) {
        if self.leaving.contains(&id) {
            return;
        }
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        lane.note(due_at, now.clock);
        if due_at > now.clock && lane.timer.is_none_or(|timer| due_at < timer) {
            if let Some(later) = lane.timer.replace(due_at) {
                self.timers.remove(&(later, id));
            }
            self.timers.insert((due_at, id));
        }
        self.feed(id);
    }

    /// The rows of this lane were changed by someone else: what was read of them is worth nothing.
    pub(super) fn invalidate(&mut self, id: i64) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            self.cached_bytes -= lane.drop_cache();
            unspace(&mut self.spaced, id, lane);
            self.doubt_order(id);
            self.feed(id);
        }
    }

    /// Wakes the lanes whose time has come.
    pub(super) fn ring(&mut self, now: Now, alarm: &mut Alarm) {
        while let Some(&(at, id)) = self.timers.first() {
            if !alarm.rings(now.instant_of(at)) {
                break;
            }
            self.timers.pop_first();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.timer = None;
                lane.note(at, now.clock);
                self.feed(id);
            }
        }
        while let Some(&(at, id)) = self.lingering.first() {
            if !alarm.rings(now.instant_of(at)) {
                break;
            }
            self.lingering.pop_first();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.lingering = None;
                self.enter(id, now);
            }
        }
        while let Some(&(at, id)) = self.spaced.first() {
            if !alarm.rings(at) {
                break;
            }
            self.spaced.pop_first();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.spaced = None;
                self.enter(id, now);
            }
        }
        while let Some(&(at, id)) = self.probes.first() {
            if !alarm.rings(now.instant_of(at)) {
                break;
            }
            self.probes.pop_first();
            self.probe(id, at, now);
        }
        while let Some(&(at, id)) = self.rewinds.first() {
            if !alarm.rings(at) {
                break;
            }
            self.rewinds.pop_first();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.rewinding = false;
                if lane.has_cursor() {
                    lane.rewind();
                    self.feed(id);
                }
            }
        }
    }

    /// One delivery of it shows whether its receiver is back.
    fn probe(&mut self, id: i64, at: Timestamp, now: Now) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if lane.probing != Some(at) {
            return;
        }
        lane.probing = None;
        // An admin who lets it go again has it probed.
        if !lane.held && lane.breaker.half_open(now.clock) {
            self.enter(id, now);
        }
    }

    // === reading ===

    /// Queues a lane that should be read.
    fn feed(&mut self, id: i64) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && !lane.queued
            && lane.hungers()
        {
            lane.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Which lanes to read now; none while a read is under way.
    pub(super) fn read(&mut self, now: Now) -> Vec<LaneRead> {
        if !self.reading.is_empty() || self.queue.is_empty() {
            return Vec::new();
        }
        if self.cached_bytes > self.cache_bytes / 4 * 3 {
            self.give_back(now);
        }
        let mut free = self.cache_bytes.saturating_sub(self.cached_bytes);
        let share = free / self.queue.len().min(LANES);
        let mut rows = ROWS;
        let mut reads = Vec::new();
        for _ in 0..self.queue.len() {
            if reads.len() == LANES || rows == 0 {
                break;
            }
            let Some(id) = self.queue.pop_front() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            lane.queued = false;
            if !lane.hungers() {
                continue;
            }
            let wanted = (share / lane.row_bytes()).clamp(1, rows);
            // One row is read even if it is larger than the whole cache, once that is empty.
            let nothing_else = reads.is_empty() && self.cached_bytes == 0;
            if lane.row_bytes() > free && !nothing_else {
                lane.queued = true;
                self.queue.push_front(id);
                break;
            }
            let (read, room) = lane.begin_read(id, wanted, now.instant);
            free = free.saturating_sub(room * lane.row_bytes());
            rows -= room.min(rows);
            self.reading.push(id);
            reads.push(read);
        }
        self.reading_since = Some(now.instant);
        reads
    }

    /// Takes the rows that came.
    pub(super) fn rows(&mut self, rows: Rows, now: Now) {
        for due in rows.due {
            let id = due.position.subscription;
            if let Some(lane) = self.lanes.get_mut(&id) {
                let taken = lane.take(due);
                self.cached_bytes += taken.bytes;
                self.parking.extend(taken.parks);
                if taken.is_astray {
                    self.doubt_order(id);
                }
            }
        }
        self.end_read(true, now);
        for later in rows.later {
            self.note(later.subscription, later.due_at, now);
        }
    }

    /// The read failed; its lanes are read from the start.
    pub(super) fn read_failed(&mut self, now: Now) {
        self.end_read(false, now);
    }

    fn end_read(&mut self, answered: bool, now: Now) {
        let since = self.reading_since.take();
        let took = since.map_or(Duration::ZERO, |at| {
            now.instant.saturating_duration_since(at)
        });
        let rewind = now.instant + REWIND.max((took * REWIND_PART).min(LONGEST_REWIND));
        for id in std::mem::take(&mut self.reading) {
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            let noted = lane.end_read(answered);
            if lane.has_cursor() && !lane.rewinding {
                lane.rewinding = true;
                self.rewinds.insert((rewind, id));
            }
            if let Some(due_at) = noted {
                self.note(id, due_at, now);
            }
            self.enter(id, now);
            self.drop_if_left(id);
        }
    }

    /// Lanes that cannot send now give their share of the cache back.
    fn give_back(&mut self, now: Now) {
        // It goes through all lanes, so it must not be done at every step.
        if self
            .gave_back
            .is_some_and(|at| now.instant < at + GIVE_BACK)
        {
            return;
        }
        self.gave_back = Some(now.instant);
        for lane in self.lanes.values_mut() {
            let waits = matches!(lane.place, Place::Aside(_))
                || lane.waits_behind_what_flies()
                || lane.lingering.is_some()
                || lane.spaced.is_some();
            if waits || lane.in_flight >= lane.limit() {
                self.cached_bytes -= lane.drop_cache();
            }
        }
    }

    // === order ===

    /// This becomes of a delivery, before it is written down: another may go, or others are to be parked.
    pub(super) fn decided(&mut self, settlement: &Settlement, now: Now) {
        let id = settlement.position.subscription;
        if let Some(lane) = self.lanes.get_mut(&id)
            && settlement.key.is_some()
        {
            let freed = lane.decided(settlement);
            self.free(id, freed);
            self.enter(id, now);
        }
    }

    fn free(&mut self, id: i64, freed: Freed) {
        self.cached_bytes -= freed.bytes;
        self.parking.extend(freed.parks);
        if freed.is_doubted {
            self.to_look.insert(id);
        }
    }

    /// The next row that is to be parked.
    pub(super) fn park(&mut self) -> Option<Due> {
        self.parking.pop_front()
    }

    /// It is not known any more which deliveries of a lane wait for others, if any do.
    fn doubt_order(&mut self, id: i64) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && lane.doubt_order()
        {
            self.cached_bytes -= lane.drop_cache();
            self.to_look.insert(id);
        }
    }

    /// All lanes are looked at, whatever is known of them.
    pub(super) fn look_at_all(&mut self) {
        self.looks_at_all = true;
    }

    /// The lanes of which it is looked at now which of their deliveries wait in the store, and whether that is asked of all
    /// that there are.
    pub(super) fn look(&mut self) -> (Vec<i64>, bool) {
        let is_all = std::mem::take(&mut self.looks_at_all);
        if is_all {
            self.to_look = self.lanes.keys().copied().collect();
        }
        let all = std::mem::take(&mut self.to_look).into_iter();
        let known = all.filter(|id| self.lanes.contains_key(id));
        let known: Vec<i64> = known.collect();
        let looks = |id: &i64| self.lanes.get_mut(id).is_some_and(Lane::look);
        let (now, later) = known.into_iter().partition(looks);
        let later: Vec<i64> = later;
        self.to_look.extend(later);
        (now, is_all)
    }

    /// Of the deliveries of these lanes these wait in the store.
    pub(super) fn looked(&mut self, looked: &[i64], blocked: &[Blocked], now: Now) {
        let mut of: HashMap<i64, Vec<Blocked>> = HashMap::new();
        for one in blocked {
            of.entry(one.subscription).or_default().push(*one);
        }
        for id in looked {
            let Some(lane) = self.lanes.get_mut(id) else {
                continue;
            };
            let keys = lane.looked(of.get(id).map_or(&[], Vec::as_slice));
            let is_doubted = lane.is_order_doubted();
            self.to_let_go
                .extend(keys.into_iter().map(|key| (*id, key)));
            if is_doubted {
                // Something was decided meanwhile, and is newer than this answer.
                self.to_look.insert(*id);
            }
            self.enter(*id, now);
        }
    }

    /// The keys whose next deliveries are let go now.
    pub(super) fn begin_to_let_go(&mut self) -> Vec<(i64, OrderKey)> {
        let (mut keys, mut later) = (Vec::new(), Vec::new());
        while keys.len() < LET_GO
            && let Some((id, key)) = self.to_let_go.pop_first()
        {
            let lane = self.lanes.get_mut(&id).filter(|lane| lane.may_let_go(key));
            let Some(lane) = lane.filter(|_| !self.leaving.contains(&id)) else {
                continue;
            };
            if lane.begin_to_let_go() {
                keys.push((id, key));
            } else {
                later.push((id, key));
            }
        }
        self.to_let_go.extend(later);
        keys
    }

    /// This came of letting these go.
    pub(super) fn let_go(&mut self, asked: &[(i64, OrderKey)], done: &[LetGo]) {
        for one in done {
            let id = one.subscription;
            if let Some(lane) = self.lanes.get_mut(&id)
                && lane.let_go(one)
            {
                self.to_let_go.insert((id, one.key));
            }
        }
        for (id, _) in asked {
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.end_letting_go();
                if lane.is_order_doubted() {
                    self.to_look.insert(*id);
                }
                self.feed(*id);
            }
        }
    }

    // === sending ===

    /// Puts a lane that has something to send in line, and queues it if it should be read.
    fn enter(&mut self, id: i64, now: Now) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && lane.place == Place::Out
            && lane.cost().is_some()
        {
            if let Some(until) = lane.lingers(now.clock) {
                linger(&mut self.lingering, id, lane, until);
            } else if let Some(until) = lane.waits(now) {
                space(&mut self.spaced, id, lane, until);
            } else {
                unspace(&mut self.spaced, id, lane);
                lane.place = Place::Turns;
                self.turns
                    .enter(lane.target.subscription.settings.client, id);
            }
        }
        self.feed(id);
    }

    /// What to send next, if something may be sent: at most so many deliveries in one request.
    pub(super) fn pick(&mut self, most: usize, now: Now) -> Option<Pick> {
        if self.slots.taken >= self.slots.all {
            return None;
        }
        let (lanes, slots) = (&mut self.lanes, &self.slots);
        let (aside, lingering, spaced) = (&mut self.aside, &mut self.lingering, &mut self.spaced);
        let id = self.turns.next(|id| {
            let lane = lanes.get_mut(&id)?;
            let Some(cost) = lane.cost() else {
                lane.place = Place::Out;
                return None;
            };
            if let Some(until) = lane.lingers(now.clock) {
                lane.place = Place::Out;
                linger(lingering, id, lane, until);
                return None;
            }
            if let Some(until) = lane.waits(now) {
                lane.place = Place::Out;
                space(spaced, id, lane, until);
                return None;
            }
            if let Some(lacks) = slots.lacking(lane) {
                aside.put(id, lane, lacks);
                return None;
            }
            Some(cost)
        })?;
        let lane = self.lanes.get_mut(&id)?;
        let due = lane.pop()?;
        self.cached_bytes -= due.payload.len();
        let pick = if is_expired(&due, now) {
            Pick::Expired(due)
        } else if let Some(stop) = lane.stopped(&due) {
            Pick::Stopped(due, stop)
        } else if !lane.knows(&due) {
            Pick::Unknown(due)
        } else {
            // One delivery is enough to show it.
            let most = if lane.breaker.probes() { 1 } else { most };
            let more = lane.pop_with(&due, most, now.clock);
            let bytes: usize = more.iter().map(|due| due.payload.len()).sum();
            self.cached_bytes -= bytes;
            // What went with the first is to be paid for too.
            if !more.is_empty() {
                let client = lane.target.subscription.settings.client;
                self.turns.charge(client, id, bytes);
            }
            self.under_way += 1 + more.len();
            lane.depart(now.instant);
            self.slots.taken += 1;
            self.slots.taken_by_slow += usize::from(lane.pace == Pace::Slow);
            Pick::Send(due, more.into(), Arc::clone(&lane.target))
        };
        self.feed(id);
        Some(pick)
    }

    /// A request has ended. Where it was a probe that failed, says when the next one is due.
    pub(super) fn answered(&mut self, id: i64, answer: &Answer<'_>, now: Now) -> Option<Timestamp> {
        let Answer {
            deliveries,
            took,
            heard,
        } = *answer;
        self.under_way = self.under_way.saturating_sub(deliveries);
        let lane = self.lanes.get_mut(&id)?;
        self.slots.taken = self.slots.taken.saturating_sub(1);
        self.slots.taken_by_slow -= lane.slow_in_flight();
        if let Some(window) = lane.arrive(took, &heard, now.instant) {
            let id = lane.target.subscription.id;
            debug!(subscription.id = %id, window, "it has too much to do and gets fewer requests at once");
        }
        self.slots.taken_by_slow += lane.slow_in_flight();
        let before = lane.breaker.health().condition;
        let due_again = lane.hear(heard, now.clock);
        note(&mut self.transitions, id, lane, now.clock);
        if before != lane.breaker.condition() {
            tell(lane.target.subscription.id, lane.breaker.health());
        }
        let condition = lane.breaker.condition();
        if matches!(lane.place, Place::Aside(_)) && self.slots.lacking(lane).is_none() {
            lane.place = Place::Out;
        }
        self.enter(id, now);
        self.bring_back(Lacks::Slow, self.slots.free_for_slow(), now);
        self.bring_back(Lacks::Common, self.slots.free_for_all(), now);
        match condition {
            Condition::Open => self.shut(id),
            Condition::Suspended => self.hold(id),
            Condition::Healthy | Condition::Throttled | Condition::HalfOpen => {}
        }
        due_again
    }

    /// Its breaker is open: nothing of it is kept in memory, and it sends a probe in time.
    fn shut(&mut self, id: i64) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let probe_at = lane.breaker.probe_at();
        if lane.probing == probe_at {
            return;
        }
        if let Some(before) = std::mem::replace(&mut lane.probing, probe_at) {
            self.probes.remove(&(before, id));
        }
        self.probes.extend(probe_at.map(|at| (at, id)));
        self.put_away(id);
    }

    /// What is written down of how a receiver does is newer than what its lane knew, and decided since.
    pub(super) fn doubt(&mut self, id: i64) {
        self.transitions.retain(|other| other.subscription != id);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.breaker.doubt();
        }
    }

    /// How its receiver does is written down as its lane knows it.
    pub(super) fn trust(&mut self, id: i64, now: Now) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && lane.breaker.is_doubted()
        {
            lane.breaker.trust();
            self.enter(id, now);
        }
    }

    /// The shards in which receivers do otherwise than is written down.
    pub(super) fn turned(&self) -> Shards {
        let lanes = (self.transitions.iter()).filter_map(|t| self.lanes.get(&t.subscription));
        lanes
            .map(|lane| Shard::of_subscription(lane.target.subscription.id))
            .collect()
    }

    /// Brings as many lanes back in line as there are slots for them now.
    fn bring_back(&mut self, lacked: Lacks, mut slots: usize, now: Now) {
        while slots > 0 {
            let Some(id) = self.aside.queue(lacked).pop_front() else {
                return;
            };
            // It may have left meanwhile, because it became quick or has nothing under way any more.
            if let Some(lane) = self.lanes.get_mut(&id)
                && lane.place == Place::Aside(lacked)
            {
                lane.place = Place::Out;
                slots -= usize::from(lane.cost().is_some());
                self.enter(id, now);
            }
        }
    }

    /// Finds lanes that hang; asked now and then.
    pub(super) fn review(&mut self, now: Now) {
        for lane in self.lanes.values_mut() {
            if lane.pace != Pace::Slow && lane.hangs(now.instant) {
                lane.pace = Pace::Slow;
                self.slots.taken_by_slow += lane.in_flight;
            }
        }
    }

    /// A delivery was settled. When its row was not as it was read, it is read again.
    pub(super) fn settled(&mut self, settlement: &Settlement, unchanged: bool, now: Now) {
        let id = settlement.position.subscription;
        if let Some(lane) = self.lanes.get_mut(&id) {
            let freed = lane.settled(settlement);
            let key = settlement.key.filter(|key| lane.may_let_go(*key));
            self.to_let_go.extend(key.map(|key| (id, key)));
            self.free(id, freed);
        }
        if unchanged && let Some(lane) = self.lanes.get_mut(&id) {
            lane.rewind();
            self.doubt_order(id);
        }
        self.enter(id, now);
        self.drop_if_left(id);
    }

    /// The requests in flight were dropped at the end of a run.
    pub(super) fn abandon(&mut self) {
        self.slots = Slots::new(self.slots.all);
        self.under_way = 0;
        for lane in self.lanes.values_mut() {
            lane.abandon();
        }
    }
}

/// What a lane's receiver has been through is to be written down.
fn note(transitions: &mut Vec<Transition>, id: i64, lane: &mut Lane, now: Timestamp) {
    let passed = lane.breaker.passed().into_iter();
    transitions.extend(passed.map(|health| Transition {
        subscription: id,
        health,
        at: now,
    }));
}

/// Says how a receiver does from now on, to whoever reads the log.
fn tell(id: SubscriptionId, health: &Health) {
    let (condition, cause) = (health.condition.as_str(), health.cause.as_deref());
    match health.condition {
        Condition::Open | Condition::Suspended => {
            let probe_at = health.probe_at.map(tracing::field::display);
            warn!(subscription.id = %id, condition, cause, probe_at, "its deliveries are held");
        }
        Condition::Healthy | Condition::Throttled | Condition::HalfOpen => {
            info!(subscription.id = %id, condition, cause, "its receiver does otherwise");
        }
    }
}

/// The next request of a lane waits until then.
fn linger(lingering: &mut BTreeSet<(Timestamp, i64)>, id: i64, lane: &mut Lane, until: Timestamp) {
    match lane.lingering.replace(until) {
        Some(before) if before == until => {}
        before => {
            lingering.extend(Some((until, id)));
            if let Some(before) = before {
                lingering.remove(&(before, id));
            }
        }
    }
}

/// The next request of a lane waits until then for its turn.
fn space(spaced: &mut BTreeSet<(Instant, i64)>, id: i64, lane: &mut Lane, until: Instant) {
    unspace(spaced, id, lane);
    lane.spaced = Some(until);
    spaced.insert((until, id));
}

/// It does not, or what it would send is not in memory any more. Says whether it did.
fn unspace(spaced: &mut BTreeSet<(Instant, i64)>, id: i64, lane: &mut Lane) -> bool {
    let before = lane.spaced.take();
    before.is_some_and(|before| spaced.remove(&(before, id)))
}
