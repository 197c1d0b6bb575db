use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tharsis_core::{
    EventId, Timestamp,
    health::{Breaker, Condition, Failure, Health},
    order::{By, OrderKey},
    rate::Rate,
    subscription::{State, Target},
};
use tharsis_store::{Blocked, Due, LaneRead, LetGo, Position, Settlement, StopState};

use super::order::{Admitted, MOST_BEHIND, Next, Order};
use crate::engine::{now::Now, stops::Stops};

/// A receiver that takes longer than this to answer is slow.
const SLOW: Duration = Duration::from_millis(500);

/// The first read of a lane: few rows, for nothing is known of their size.
const FIRST_ROWS: usize = 16;

/// The most rows that one lane has in memory.
const MOST_ROWS: usize = 1024;

/// A lane that is read again sooner than this takes more rows at once, and one that is not for so long fewer: what lies in
/// memory is read again with every look from the start, and is not there for others.
const SOON: Duration = Duration::from_millis(250);
const LATE: Duration = Duration::from_secs(2);

/// A request that was late for its turn, by a timer, a full engine or for want of anything to send, does not delay those
/// after it, up to this. So of a lane with a rate no more begin in any time than the rate allows in that time and this, and
/// one.
const LATENESS: Duration = Duration::from_millis(100);

/// One of so many parts of the limit is what the window grows by in a round, and one at least.
const GROWTH: usize = 64;

/// What has failed so often goes alone: it may be what its batch failed for.
const ALONE: u32 = 2;

/// What a row is reckoned at until some have been seen.
const USUAL_BYTES: usize = 2 * 1024;

/// How fast a receiver answers, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It answers.
    Quick,
    /// It takes long, or does not answer at all. All slow lanes together get a part of the slots only.
    Slow,
}

/// What an answer says of how much the receiver can do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// It took what it got.
    Fine,
    /// It has too much to do.
    Over,
    /// Nothing.
    Unknown,
}

/// What came of a request.
#[derive(Debug)]
pub(in crate::engine) struct Answer<'a> {
    /// The deliveries that it carried.
    pub(in crate::engine) deliveries: usize,
    pub(in crate::engine) took: Duration,
    pub(in crate::engine) heard: Heard<'a>,
}

/// What an answer says of the receiver.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) enum Heard<'a> {
    /// It took what it got.
    Success,
    /// It did not, perhaps because it has too much to do.
    Failure {
        failure: Failure<'a>,
        is_overload: bool,
    },
    /// It is gone for good.
    Gone(&'a str),
    /// Nothing: what went wrong was ours.
    Nothing,
}

impl Heard<'_> {
    fn load(&self) -> Load {
        match self {
            Self::Success => Load::Fine,
            Self::Failure {
                is_overload: true, ..
            } => Load::Over,
            Self::Failure { .. } | Self::Gone(_) | Self::Nothing => Load::Unknown,
        }
    }
}

/// Where a lane waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: it has nothing to send, or may not.
    Out,
    /// In the turns.
    Turns,
    /// Aside, until the slots that it lacks are given back.
    Aside(Lacks),
}

/// Which slots a lane lacks that has something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacks {
    /// One of those that slow lanes share.
    Slow,
    /// One of those that are for everybody; it has a request under way, so the rest is not for it.
    Common,
}

/// The unfinished deliveries of one subscription, as far as they are in memory.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) target: Arc<Target>,
    /// The campaigns of which nothing is sent.
    pub(super) stops: Arc<Stops>,
    /// Paused, suspended or removed: its rows stay where they are.
    pub(super) held: bool,
    /// Which of its deliveries go one after the other.
    order: Option<Box<Order>>,
    /// The head of the lane: rows that were read and not yet sent.
    cache: VecDeque<Due>,
    cached_bytes: usize,
    /// Events whose row is in the cache, in flight or being settled: not to be read a second time.
    known: HashSet<EventId>,
    /// Settled while a read was under way, whose answer may still show them as they were.
    settled: Vec<EventId>,
    /// Rows after this one are not read yet. A hint: rows may appear behind it.
    after: Option<Position>,
    /// Something may be due that is not in the cache.
    pub(super) wanted: bool,
    /// It waits to be read.
    pub(super) queued: bool,
    pub(super) reading: Option<Reading>,
    /// It will be read from the start again.
    pub(super) rewinding: bool,
    /// When something will be due that is not in the cache.
    pub(super) timer: Option<Timestamp>,
    /// The largest payload of the last read.
    row_bytes: usize,
    /// How many rows it likes to have in the cache: enough to keep all its requests busy while it is read again.
    appetite: usize,
    /// When it was last read on.
    fed: Option<Instant>,
    pub(super) in_flight: usize,
    /// How many requests may be under way as the receiver bears it: one half when it has too much to do, more when it has
    /// taken as many as that. As large as can be until then.
    window: usize,
    /// How many it has taken since the window was changed.
    borne: usize,
    /// So many answers more are to requests from before it slowed down, about, and say nothing new.
    deaf: usize,
    /// Whether it may send at all.
    pub(super) breaker: Breaker,
    /// When it sends a probe, as far as somebody was told to wake it then.
    pub(super) probing: Option<Timestamp>,
    /// The request under way is a probe: there is no other.
    is_probe: bool,
    pub(super) pace: Pace,
    /// A request has ended. Until then it gets one at a time: a thousand dead receivers that come due in the same moment,
    /// as after a restart, must not take eight slots each.
    tried: bool,
    /// Since when it has been asked without an answer.
    since: Instant,
    pub(super) place: Place,
    /// When its next request may begin, where it has a rate. As nobody knows what another owner sent just before, the first
    /// has to wait too.
    pub(super) next_at: Instant,
    /// Until then it waits for that, as far as somebody was told to wake it then.
    pub(super) spaced: Option<Instant>,
    /// Until when its next request waits for more deliveries, as far as somebody was told to wake it then.
    pub(super) lingering: Option<Timestamp>,
}

/// What became of a row that was read.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// So many bytes are in memory for it.
    pub(super) bytes: usize,
    /// It is to be parked.
    pub(super) parks: Option<Due>,
    /// It waits for one that is not where it was.
    pub(super) is_astray: bool,
}

/// What follows for a lane from what became of one of its deliveries.
#[derive(Debug, Default)]
pub(super) struct Freed {
    /// So many bytes are not in memory any more.
    pub(super) bytes: usize,
    /// These are to be parked.
    pub(super) parks: VecDeque<Due>,
    /// It is to be looked at who comes first.
    pub(super) is_doubted: bool,
}

/// A read that is under way.
#[derive(Debug)]
pub(super) struct Reading {
    read: LaneRead,
    /// Rows that may be taken into the cache.
    room: usize,
    /// Rows that came.
    came: u32,
    /// A row found no room any more, so those after it are left for the next read.
    full: bool,
    /// What is known of the lane was given up meanwhile, so the answer is worth nothing.
    stale: bool,
    /// The earliest row that was written meanwhile, which the answer may not show.
    noted: Option<Timestamp>,
}

impl Lane {
    pub(super) fn new(target: Arc<Target>, stops: &Arc<Stops>, now: Instant) -> Self {
        Self {
            stops: Arc::clone(stops),
            held: target.subscription.state != State::Active,
            breaker: doubted(&target),
            probing: None,
            is_probe: false,
            next_at: now + interval(&target),
            spaced: None,
            order: order(&target),
            target,
            cache: VecDeque::new(),
            cached_bytes: 0,
            known: HashSet::new(),
            settled: Vec::new(),
            after: None,
            wanted: false,
            queued: false,
            reading: None,
            rewinding: false,
            timer: None,
            row_bytes: USUAL_BYTES,
            appetite: FIRST_ROWS,
            fed: None,
            in_flight: 0,
            window: usize::MAX,
            borne: 0,
            deaf: 0,
            pace: Pace::Quick,
            tried: false,
            since: now,
            place: Place::Out,
            lingering: None,
        }
    }

    // === what it may do ===

    /// How many of its requests may be under way.
    pub(super) fn limit(&self) -> usize {
        match self.breaker.condition() {
            _ if self.breaker.is_doubted() || self.is_order_doubted() => 0,
            Condition::Open | Condition::Suspended => 0,
            Condition::HalfOpen => 1,
            Condition::Healthy | Condition::Throttled if !self.tried => 1,
            Condition::Healthy | Condition::Throttled => self.allowed().min(self.window),
        }
    }

    /// It is not known which of its deliveries wait for others.
    pub(super) fn is_order_doubted(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.is_doubted())
    }

    fn allowed(&self) -> usize {
        usize::try_from(self.target.subscription.settings.max_in_flight)
            .unwrap_or(usize::MAX)
            .max(1)
    }

    /// The cost of its next delivery in bytes, if it has one and may send it.
    pub(super) fn cost(&self) -> Option<usize> {
        // What a request costs beside its payload: headers, bookkeeping, a row of the history.
        const REQUEST: usize = 512;
        let ready = !self.held && self.in_flight < self.limit();
        self.cache
            .front()
            .filter(|_| ready)
            .map(|due| due.payload.len() + REQUEST)
    }

    /// Until when its next request waits for its turn by the lane's rate. What ends, or goes aside, without a request does not
    /// wait.
    pub(super) fn waits(&self, now: Now) -> Option<Instant> {
        self.target.subscription.settings.rate?;
        let next = self.cache.front()?;
        let ends = is_expired(next, now) || !self.knows(next) || self.stopped(next).is_some();
        if self.next_at <= now.instant || ends {
            return None;
        }
        let expires = next.expires_at.map(|at| now.instant_of(at));
        Some(expires.map_or(self.next_at, |at| at.min(self.next_at)))
    }

    /// It is what the registry says now. What has to be waited for is by the rate of now. Where it is of
    /// [another order](Self::is_of_other_order), what is in memory is to be given up before.
    pub(super) fn set_target(&mut self, target: &Arc<Target>, now: Instant) {
        self.target = Arc::clone(target);
        self.next_at = self.next_at.min(now + interval(target));
        if self.order.as_ref().map(|order| order.by()) != by(target) {
            self.order = order(target);
        }
    }

    /// Whether this says otherwise than was said before which deliveries wait for each other.
    pub(super) fn is_of_other_order(&self, target: &Target) -> bool {
        self.target.subscription.settings.order != target.subscription.settings.order
    }

    /// Somebody else may have sent meanwhile.
    pub(super) fn take_over(&mut self, now: Instant) {
        self.next_at = now + interval(&self.target);
    }

    /// Until when its next request waits for more deliveries: it is not full, and the first has not waited long enough.
    pub(super) fn lingers(&self, now: Timestamp) -> Option<Timestamp> {
        let settings = &self.target.subscription.settings;
        let batch = settings.batch?;
        let first = self.cache.front()?;
        let is_alone = self.order.as_ref().is_some_and(|order| order.goes_alone());
        if is_alone || self.goes_alone(first) || self.stopped(first).is_some() {
            return None;
        }
        let bytes = match &self.order {
            // What waits behind these is not for this request.
            Some(_) => self.cache.iter().map(|due| due.payload.len()).sum(),
            None => self.cached_bytes,
        };
        let is_full = self.cache.len() >= self.batch_items()
            || settings.most_bytes(bytes) >= settings.payload_limit;
        let until = first.position.due_at + batch.linger;
        let expires = |due: &Due| due.expires_at.is_some_and(|at| at <= until);
        let waits = !is_full && until > now && !self.cache.iter().any(expires);
        waits.then_some(until)
    }

    /// How many deliveries one request may carry.
    fn batch_items(&self) -> usize {
        let batch = self.target.subscription.settings.batch;
        batch.map_or(1, |batch| {
            usize::try_from(batch.items).unwrap_or(usize::MAX)
        })
    }

    /// What has failed twice, or so often that it has one retry left, goes alone: it may be what its batch failed for.
    fn goes_alone(&self, due: &Due) -> bool {
        let retries = self.target.subscription.settings.retry.delays().len();
        due.spent.tries >= ALONE.min(u32::try_from(retries).unwrap_or(ALONE)).max(1)
    }

    /// What stops this delivery.
    pub(super) fn stopped(&self, due: &Due) -> Option<StopState> {
        let client = self.target.subscription.settings.client;
        self.stops.of(client, due.named.as_deref()?)
    }

    /// Whether this delivery is of a type that the profile knows, or that was chosen.
    pub(super) fn knows(&self, due: &Due) -> bool {
        let settings = &self.target.subscription.settings;
        !settings.events.is_empty() || settings.profile.knows(&due.event_type)
    }

    /// Whether it should be read: something may be due, and less than half of what it likes to have is in the cache.
    pub(super) fn hungers(&self) -> bool {
        // What waits for company is read on until it is a batch.
        let lacks = self.cache.len() <= self.appetite / 2
            || (self.lingering.is_some() || self.spaced.is_some())
                && self.cache.len() < self.batch_items();
        // What has given its cache back is read when its turn comes.
        let waits = self.spaced.is_some() && self.cache.is_empty();
        let is_on = self
            .order
            .as_ref()
            .is_none_or(|order| order.hungers(self.cache.len(), self.appetite));
        self.wanted
            && !self.held
            && self.limit() > 0
            && !waits
            && self.reading.is_none()
            && lacks
            && is_on
    }

    /// It is read on now. Its appetite follows from how soon that is.
    fn feed(&mut self, now: Instant) {
        let before = self.fed.replace(now);
        let Some(since) = before.map(|at| now.saturating_duration_since(at)) else {
            return;
        };
        if since < SOON {
            self.appetite = (self.appetite * 2).min(MOST_ROWS);
        } else if since > LATE {
            self.appetite = (self.appetite / 2).max(FIRST_ROWS);
        }
    }

    // === reading ===

    /// What a row of it is reckoned at.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Begins a read of at most so many rows. Rows that are known are read over, so they come on top.
    pub(super) fn begin_read(
        &mut self,
        subscription: i64,
        rows: usize,
        now: Instant,
    ) -> (LaneRead, usize) {
        if self.after.is_some() {
            self.feed(now);
        }
        let head = self.order.as_ref().and_then(|order| order.before_head());
        let appetite = self.appetite.max(self.batch_items());
        let (room, over) = match (head, self.after) {
            // Only the one that all others wait for.
            (Some(_), _) => (1, 0),
            (None, None) => (appetite, self.known.len()),
            (None, Some(_)) => (appetite, 0),
        };
        let alone = self.order.as_ref().filter(|order| order.goes_alone());
        let there = self.cache.len() + alone.map_or(0, |order| order.behind());
        let room = rows.min(room.saturating_sub(there)).max(1);
        let read = LaneRead {
            subscription,
            after: head.or(self.after),
            limit: u32::try_from(room + over).unwrap_or(u32::MAX),
            named: by(&self.target) == Some(&By::Recipient),
        };
        self.wanted = false;
        self.reading = Some(Reading {
            read,
            room,
            came: 0,
            full: false,
            stale: false,
            noted: None,
        });
        (read, room)
    }

    /// Takes a row that the read brought.
    pub(super) fn take(&mut self, due: Due) -> Taken {
        let Some(reading) = &mut self.reading else {
            return Taken::default();
        };
        reading.came = reading.came.saturating_add(1);
        if reading.stale || reading.full {
            return Taken::default();
        }
        if self.known.contains(&due.id.event) {
            self.after = Some(due.position);
            return Taken::default();
        }
        if reading.room == 0 {
            reading.full = true;
            return Taken::default();
        }
        let (event, position, bytes) = (due.id.event, due.position, due.payload.len());
        let mut parks = None;
        match self.admit(due) {
            Admitted::Goes(due) => self.cache.push_back(due),
            Admitted::Waits => {}
            Admitted::Parks(due) => parks = Some(due),
            Admitted::Stays => {
                self.fill();
                return Taken::default();
            }
            Admitted::Astray => {
                self.fill();
                return Taken {
                    is_astray: true,
                    ..Taken::default()
                };
            }
        }
        if let Some(reading) = &mut self.reading {
            reading.room -= 1;
        }
        self.after = Some(position);
        self.known.insert(event);
        self.row_bytes = self.row_bytes.max(bytes);
        let bytes = if parks.is_some() { 0 } else { bytes };
        self.cached_bytes += bytes;
        Taken {
            bytes,
            parks,
            is_astray: false,
        }
    }

    /// What follows in the read is left where it is.
    fn fill(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.full = true;
        }
    }

    fn admit(&mut self, due: Due) -> Admitted {
        let Some(order) = &mut self.order else {
            return Admitted::Goes(due);
        };
        let recipient = due
            .named
            .as_deref()
            .and_then(|named| named.recipient.as_deref());
        let Some(key) = order.by().key(recipient, &due.payload) else {
            return Admitted::Goes(due);
        };
        let due = Due {
            key: Some(key),
            ..due
        };
        let room = if order.goes_alone() {
            self.appetite
        } else {
            MOST_BEHIND
        };
        order.admit(key, due, room)
    }

    /// Ends the read. Says when the earliest row is due that was written meanwhile.
    pub(super) fn end_read(&mut self, answered: bool) -> Option<Timestamp> {
        let reading = self.reading.take()?;
        if let Some(order) = &mut self.order {
            order.has_let_go = false;
        }
        for event in self.settled.drain(..) {
            self.known.remove(&event);
        }
        if reading.stale || !answered {
            self.after = None;
            self.wanted = true;
        } else if reading.full || reading.came >= reading.read.limit {
            self.wanted = true;
        }
        // The next reads show whether payloads are still as large.
        self.row_bytes = (self.row_bytes / 2).max(USUAL_BYTES / 4).max(
            self.cache
                .iter()
                .rev()
                .take(FIRST_ROWS)
                .map(|due| due.payload.len())
                .max()
                .unwrap_or(0),
        );
        reading.noted
    }

    /// A row was written that is due then.
    pub(super) fn note(&mut self, due_at: Timestamp, now: Timestamp) {
        if let Some(reading) = &mut self.reading {
            reading.noted = Some(reading.noted.map_or(due_at, |noted| noted.min(due_at)));
        } else if due_at <= now {
            // It may lie behind the cursor: another row that was due later was read before this one was written.
            if self
                .after
                .is_some_and(|after| after.lane != 0 || due_at <= after.due_at)
            {
                self.after = None;
            }
            self.wanted = true;
        }
    }

    /// Reads from the start next time.
    pub(super) fn rewind(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.noted = Some(Timestamp::from_millis(i64::MIN));
        } else {
            self.after = None;
            self.wanted = true;
        }
    }

    /// Whether it was read on from some row, so that something may have appeared behind it.
    pub(super) fn has_cursor(&self) -> bool {
        self.after.is_some()
    }

    /// Gives up what is in the cache and what a read under way brings; says how many bytes that freed. Requests in flight
    /// and settlements stay known.
    pub(super) fn drop_cache(&mut self) -> usize {
        let waiting = (self.order.as_mut())
            .map(|order| order.give_up(self.cache.iter()))
            .unwrap_or_default();
        for due in self.cache.drain(..).chain(waiting) {
            self.known.remove(&due.id.event);
        }
        self.after = None;
        self.wanted = true;
        if let Some(reading) = &mut self.reading {
            reading.stale = true;
        }
        std::mem::take(&mut self.cached_bytes)
    }

    #[cfg(test)]
    pub(super) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Nothing of it is in memory or under way.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.reading.is_none()
    }

    // === order ===

    /// This becomes of one of its deliveries.
    pub(super) fn decided(&mut self, settlement: &Settlement) -> Freed {
        let order = self.order.as_mut().zip(settlement.key);
        let next = order.map(|(order, key)| order.decided(key, settlement));
        next.map_or_else(Freed::default, |next| self.go_on(next))
    }

    fn go_on(&mut self, next: Next) -> Freed {
        let Next {
            goes,
            parks,
            stay,
            is_from_start,
            is_doubted,
        } = next;
        self.cache.extend(goes);
        for due in &stay {
            self.known.remove(&due.id.event);
        }
        if is_from_start {
            self.after = None;
            self.wanted = true;
        }
        let bytes = parks.iter().chain(&stay).map(|due| due.payload.len()).sum();
        self.cached_bytes -= bytes;
        Freed {
            bytes,
            parks,
            is_doubted,
        }
    }

    /// It is not known any more which of its deliveries wait for others. Returns whether any do.
    pub(super) fn doubt_order(&mut self) -> bool {
        if let Some(order) = &mut self.order {
            order.doubt();
        }
        self.order.is_some()
    }

    /// Begins to look which of its deliveries wait in the store, if that can be known now.
    pub(super) fn look(&mut self) -> bool {
        match &mut self.order {
            Some(order) if !order.may_be_looked_at() => false,
            Some(order) => {
                order.looked_at();
                true
            }
            None => true,
        }
    }

    /// These wait in the store. Returns the keys of those that wait for nobody.
    pub(super) fn looked(&mut self, blocked: &[Blocked]) -> Vec<OrderKey> {
        match &mut self.order {
            Some(order) => order.known(blocked),
            None => (blocked.iter())
                .filter(|one| one.parked.is_some())
                .map(|one| one.key)
                .collect(),
        }
    }

    /// The next of its keys are let go from now on, unless it is being read: that may show them or not. What was let go before
    /// is read first. Returns whether they are.
    pub(super) fn begin_to_let_go(&mut self) -> bool {
        let has_let_go = self.order.as_ref().is_some_and(|order| order.has_let_go);
        let may = self.reading.is_none() && !(has_let_go && self.hungers());
        if let Some(order) = &mut self.order {
            order.letting_go |= may;
        }
        may
    }

    /// Whether the next of a key may be let go.
    pub(super) fn may_let_go(&self, key: OrderKey) -> bool {
        self.order
            .as_ref()
            .is_none_or(|order| order.may_let_go(key))
    }

    /// This came of letting the next of a key go. Returns whether more of it are to be.
    pub(super) fn let_go(&mut self, done: &LetGo) -> bool {
        if let Some(order) = &mut self.order {
            order.let_go(done);
        }
        done.upto.is_some() && !done.waits && self.may_let_go(done.key)
    }

    /// All that it has in memory waits for what is under way.
    pub(super) fn waits_behind_what_flies(&self) -> bool {
        let waits = self.order.as_ref().is_some_and(|order| order.behind() > 0);
        waits && self.cache.is_empty() && self.in_flight > 0
    }

    /// What was let go is read from now on.
    pub(super) fn end_letting_go(&mut self) {
        if let Some(order) = &mut self.order {
            order.letting_go = false;
            order.has_let_go = true;
        }
        self.rewind();
    }

    // === sending ===

    /// Takes the next delivery out of the cache; it stays known until it is settled.
    pub(super) fn pop(&mut self) -> Option<Due> {
        let due = self.cache.pop_front()?;
        self.cached_bytes -= due.payload.len();
        Some(due)
    }

    /// Takes out of the cache what goes with the first delivery of a request: as many as its batch may have, none larger
    /// than what is left of the body's limit, none that has failed twice, none that has expired and none that is stopped.
    pub(super) fn pop_with(&mut self, first: &Due, most: usize, now: Timestamp) -> Vec<Due> {
        let most = most.min(self.batch_items());
        if most < 2 || self.goes_alone(first) {
            return Vec::new();
        }
        let target = Arc::clone(&self.target);
        let settings = &target.subscription.settings;
        let once = settings.bytes_beside();
        let mut left = (settings.payload_limit)
            .saturating_sub(once + settings.most_bytes(first.payload.len()));
        let mut more = Vec::new();
        while more.len() + 1 < most
            && let Some(next) = self.cache.front()
            && !self.goes_alone(next)
            && next.expires_at.is_none_or(|at| at > now)
            && self.knows(next)
            && self.stopped(next).is_none()
            && let Some(rest) = left.checked_sub(settings.most_bytes(next.payload.len()))
            && let Some(next) = self.pop()
        {
            left = rest;
            more.push(next);
        }
        more
    }

    pub(super) fn depart(&mut self, now: Instant) {
        if self.in_flight == 0 {
            self.since = now;
        }
        self.in_flight += 1;
        self.is_probe = self.breaker.probes();
        let earliest = now.checked_sub(LATENESS).unwrap_or(now);
        self.next_at = self.next_at.max(earliest) + interval(&self.target);
    }

    /// What an answer says of its receiver. Where it was that of a probe, says when the next one is due if it failed.
    pub(super) fn hear(&mut self, heard: Heard<'_>, now: Timestamp) -> Option<Timestamp> {
        let is_probe = std::mem::take(&mut self.is_probe);
        let limits = self.target.subscription.settings.limits;
        let breaker = &mut self.breaker;
        match heard {
            Heard::Success => {
                if breaker.succeeded(now) {
                    // It could not take all that waits at once.
                    self.window = 1;
                    self.borne = 0;
                    self.deaf = self.in_flight;
                } else if breaker.calmed(now) {
                    self.window = usize::MAX;
                }
            }
            Heard::Nothing => {}
            Heard::Failure {
                failure,
                is_overload,
            } => {
                if is_overload {
                    breaker.overloaded(failure.code, now);
                }
                breaker.failed(failure, is_probe, limits);
            }
            Heard::Gone(code) => {
                breaker.suspended(code, now);
            }
        }
        is_probe.then(|| breaker.probe_at().unwrap_or(now))
    }

    /// This is written down of how its receiver does. Returns whether it may do otherwise than it did.
    pub(super) fn adopt(&mut self, health: &Health) -> bool {
        let was_doubted = self.breaker.is_doubted();
        let is_other = self.breaker.adopt(health);
        if is_other {
            // A probe that is under way was of what it was before.
            self.is_probe = false;
        }
        is_other || was_doubted
    }

    /// A request of it has ended. Says how many it may have under way from now on if that became fewer.
    pub(super) fn arrive(
        &mut self,
        took: Duration,
        heard: &Heard<'_>,
        now: Instant,
    ) -> Option<usize> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.since = now;
        self.tried = true;
        self.pace = if took > SLOW { Pace::Slow } else { Pace::Quick };
        self.bear(heard.load())
    }

    /// Its requests were dropped.
    pub(super) fn abandon(&mut self) {
        self.in_flight = 0;
        self.is_probe = false;
        self.deaf = 0;
    }

    /// More for each round that was taken, one half for each that was too much. Says what is left of the window when it
    /// became smaller.
    fn bear(&mut self, load: Load) -> Option<usize> {
        if self.deaf > 0 {
            self.deaf -= 1;
            return None;
        }
        let allowed = self.allowed();
        match load {
            Load::Over => {
                self.window = (allowed.min(self.window) / 2).max(1);
                self.borne = 0;
                self.deaf = self.in_flight;
                return Some(self.window);
            }
            Load::Fine if self.window < allowed => {
                self.borne += 1;
                if self.borne >= self.window {
                    self.borne = 0;
                    self.window += (allowed / GROWTH).max(1);
                }
                if self.window >= allowed {
                    self.window = usize::MAX;
                }
            }
            Load::Fine | Load::Unknown => {}
        }
        None
    }

    /// How many of the slots for slow lanes it holds.
    pub(super) fn slow_in_flight(&self) -> usize {
        if self.pace == Pace::Slow {
            self.in_flight
        } else {
            0
        }
    }

    /// Whether requests are under way and none was answered for long.
    pub(super) fn hangs(&self, now: Instant) -> bool {
        self.in_flight > 0 && now.saturating_duration_since(self.since) > SLOW
    }

    /// A delivery was settled, so its row is no longer what was read: it may be read again where it lies now.
    pub(super) fn settled(&mut self, settlement: &Settlement) -> Freed {
        let event = settlement.event;
        if self.reading.is_some() {
            self.settled.push(event);
        } else {
            self.known.remove(&event);
        }
        let order = self.order.as_mut().zip(settlement.key);
        let next = order.map(|(order, key)| order.settled(key, settlement));
        next.map_or_else(Freed::default, |next| self.go_on(next))
    }
}

pub(super) fn is_expired(due: &Due, now: Now) -> bool {
    due.expires_at.is_some_and(|at| at <= now.clock)
}

/// What is read next of how its receiver does counts.
fn doubted(target: &Target) -> Breaker {
    let mut breaker = Breaker::new(target.subscription.health.clone());
    breaker.doubt();
    breaker
}

/// From the beginning of one request to that of the next; nothing without a rate.
fn interval(target: &Target) -> Duration {
    let rate = target.subscription.settings.rate;
    rate.map_or(Duration::ZERO, Rate::interval)
}

fn by(target: &Target) -> Option<&By> {
    let order = target.subscription.settings.order.as_ref();
    order.map(|order| &order.by)
}

fn order(target: &Target) -> Option<Box<Order>> {
    by(target).map(|by| Box::new(Order::new(by.clone())))
}
