use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;
use tharsis_core::{
    DeliveryId, EventId, Timestamp,
    delivery::{End, Spent},
    health::{Condition, Failure},
    profile::Batch,
    subscription::{State, Target},
};
use tharsis_store::{
    Campaign, Due, Fate, LaneRead, Named, Position, Rows, Settlement, Stop, StopState,
};

use super::{Alarm, Answer, Heard, Lanes, Now, Pick, Shards};
use crate::engine::{
    samples::{self, target},
    stops::Stops,
};

const QUICK: Duration = Duration::from_millis(10);
const TIMEOUT: Duration = Duration::from_secs(3);

/// Deliveries that one request may carry.
const MOST: usize = 1_000;

/// A batch is as its subscription allows, and what failed twice is alone.
fn check_batch(target: &Target, dues: &[Due]) {
    let settings = &target.subscription.settings;
    let allowed = settings.batch.map_or(1, |batch| batch.items);
    assert!(dues.len() <= usize::try_from(allowed).expect("small"));
    assert!(dues.len() == 1 || dues.iter().all(|due| due.spent.tries < 2));
    assert!(
        dues.iter()
            .all(|due| settings.profile.knows(&due.event_type))
    );
    let bytes: usize = (dues.iter())
        .map(|due| settings.most_bytes(due.payload.len()))
        .sum();
    assert!(dues.len() == 1 || bytes + settings.bytes_beside() <= settings.payload_limit);
}

/// What a receiver says of how much it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Fine,
    Over,
    /// It fails, whatever it can do.
    Fails,
    Unknown,
}

fn settlement(due: &Due, fate: Fate) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: None,
        fate,
        key: due.key,
        suspend: None,
        certificate_ends: None,
    }
}

/// A request that is under way.
struct Flying {
    lane: i64,
    dues: Vec<Due>,
    since: Instant,
}

/// Lanes over a table of rows in memory, with hands that do what the engine would have done.
struct Table {
    now: Now,
    lanes: Lanes,
    targets: BTreeMap<i64, Target>,
    /// Whose lanes lie in our shards.
    ours: BTreeSet<i64>,
    rows: Vec<Due>,
    next_seq: i64,
    flying: Vec<Flying>,
    /// Answered or expired, not yet settled.
    unsettled: Vec<Due>,
    reading: Vec<LaneRead>,
    /// What the table showed when the read began.
    seen: Rows,
    picks: usize,
    /// When requests began of lanes that have a rate.
    begun: BTreeMap<i64, Vec<Instant>>,
    /// What answers say.
    load: Load,
}

impl Table {
    fn new(max_in_flight: usize, cache_bytes: usize, subscriptions: u8) -> Self {
        let now = Now {
            instant: Instant::now(),
            clock: Timestamp::from_millis(1_000_000),
        };
        let mut table = Self {
            now,
            lanes: Lanes::new(max_in_flight, cache_bytes),
            // Two subscriptions to a client.
            targets: (1..=subscriptions)
                .map(|n| (i64::from(n), target(n.div_ceil(2), n)))
                .collect(),
            ours: (1..=i64::from(subscriptions)).collect(),
            rows: Vec::new(),
            next_seq: 1,
            flying: Vec::new(),
            unsettled: Vec::new(),
            reading: Vec::new(),
            seen: Rows::default(),
            picks: 0,
            begun: BTreeMap::new(),
            load: Load::Unknown,
        };
        table.load();
        table
    }

    fn load(&mut self) {
        let targets: Vec<_> = self
            .targets
            .iter()
            .filter(|(id, _)| self.ours.contains(id))
            .map(|(id, target)| (*id, Arc::new(target.clone())))
            .collect();
        self.lanes
            .load(targets.iter(), true, &HashSet::new(), self.now);
        // Nothing waits in the store for what comes before it.
        let (looked, _) = self.lanes.look();
        self.lanes.looked(&looked, &[], self.now);
    }

    /// A new lease, of the shards in which these lanes lie.
    fn lease(&mut self, ours: BTreeSet<i64>) {
        self.ours = ours;
        self.lanes.forget();
        self.lanes.take_over(Shards::ALL, self.now.instant);
        self.load();
        for row in &self.rows {
            self.lanes
                .note(row.position.subscription, row.position.due_at, self.now);
        }
    }

    fn set_state(&mut self, lane: i64, state: State) {
        self.targets
            .get_mut(&lane)
            .expect("there")
            .subscription
            .state = state;
        self.load();
    }

    fn set_rate(&mut self, lane: i64, rate: Option<&str>) {
        let target = self.targets.get_mut(&lane).expect("there");
        target.subscription.settings.rate = rate.map(|rate| rate.parse().expect("a rate"));
        self.begun.remove(&lane);
        self.load();
    }

    /// A row that is due `wait` ms from now (or was, if negative).
    fn write(&mut self, lane: i64, wait: i64, bytes: usize) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let mut name = [0; 10];
        name[..8].copy_from_slice(&seq.to_be_bytes());
        let due_at = Timestamp::from_millis(self.now.clock.as_millis() + wait);
        self.rows.push(Due {
            position: Position {
                subscription: lane,
                lane: 0,
                due_at,
                seq,
                replay: 0,
            },
            id: DeliveryId {
                event: EventId::new(self.now.clock, name),
                subscription: self.targets[&lane].subscription.id,
            },
            event_type: "nudge".into(),
            payload: Bytes::from(vec![b'x'; bytes]),
            published_at: self.now.clock,
            expires_at: None,
            attempts: 0,
            spent: Spent::default(),
            fresh: None,
            named: None,
            key: None,
            is_waited_for: false,
        });
        self.lanes.note(lane, due_at, self.now);
    }

    fn write_many(&mut self, lane: i64, rows: usize) {
        for _ in 0..rows {
            self.write(lane, 0, 1_200);
        }
    }

    fn begin_read(&mut self) {
        if self.reading.is_empty() {
            self.reading = self.lanes.read(self.now);
            self.seen = samples::read(&self.rows, &self.reading, self.now.clock);
        }
    }

    /// The answer shows the table as it is now, or as it was when the read began.
    fn end_read(&mut self, stale: bool) {
        let reads = std::mem::take(&mut self.reading);
        if reads.is_empty() {
            return;
        }
        let rows = if stale {
            std::mem::take(&mut self.seen)
        } else {
            samples::read(&self.rows, &reads, self.now.clock)
        };
        self.lanes.rows(rows, self.now);
    }

    fn read(&mut self) {
        self.begin_read();
        self.end_read(false);
    }

    fn pick(&mut self) -> Option<i64> {
        match self.lanes.pick(MOST, self.now)? {
            Pick::Send(due, more, target) => {
                let lane = due.position.subscription;
                assert_eq!(self.targets[&lane].subscription.state, State::Active);
                assert!(self.ours.contains(&lane), "{} is not ours", due.id);
                let mut dues = vec![due];
                dues.extend(more);
                for due in &dues {
                    assert_eq!(due.position.subscription, lane);
                    assert!(
                        self.rows.iter().any(|row| row.id == due.id),
                        "{} is sent after it has ended",
                        due.id
                    );
                    let mut known = self.under_way();
                    assert!(
                        known.all(|other| other.id != due.id),
                        "{} is sent while it is in flight or unsettled",
                        due.id
                    );
                }
                check_batch(&target, &dues);
                self.check_rate(lane, &target);
                self.picks += 1;
                self.flying.push(Flying {
                    lane,
                    dues,
                    since: self.now.instant,
                });
                Some(lane)
            }
            Pick::Expired(due) | Pick::Unknown(due) | Pick::Stopped(due, _) => {
                let lane = due.position.subscription;
                self.unsettled.push(due);
                Some(lane)
            }
        }
    }

    /// In no time more requests begin than the rate allows in it and a tenth of a second, and one.
    fn check_rate(&mut self, lane: i64, target: &Target) {
        let Some(rate) = target.subscription.settings.rate else {
            return;
        };
        let begun = self.begun.entry(lane).or_default();
        begun.push(self.now.instant);
        for (n, before) in (0..).zip(begun.iter().rev()) {
            let passed = self.now.instant - *before + Duration::from_millis(100);
            assert!(passed >= rate.interval() * n, "{n} in {passed:?}");
        }
    }

    fn answer(&mut self, n: usize) {
        let Flying { lane, dues, since } = self.flying.remove(n);
        let failure = Failure {
            event: dues[0].id.event,
            code: "http_503",
            asked_for: Duration::ZERO,
            at: self.now.clock,
            random: u16::MAX / 2 + 1,
        };
        let failed = |is_overload| Heard::Failure {
            failure,
            is_overload,
        };
        let answer = Answer {
            deliveries: dues.len(),
            took: self.now.instant - since,
            heard: match self.load {
                Load::Fine => Heard::Success,
                Load::Over => failed(true),
                Load::Fails => failed(false),
                Load::Unknown => Heard::Nothing,
            },
        };
        self.lanes.answered(lane, &answer, self.now);
        self.unsettled.extend(dues);
    }

    /// In flight, or answered and not settled.
    fn under_way(&self) -> impl Iterator<Item = &Due> {
        let flying = self.flying.iter().flat_map(|flying| &flying.dues);
        flying.chain(&self.unsettled)
    }

    /// What was answered is delivered: its row goes.
    fn settle(&mut self) {
        for due in std::mem::take(&mut self.unsettled) {
            let before = self.rows.len();
            self.rows.retain(|row| row.position != due.position);
            let unchanged = self.rows.len() == before;
            let ended = settlement(&due, Fate::Ended(End::Delivered));
            self.lanes.settled(&ended, unchanged, self.now);
        }
    }

    /// What became of a receiver since it was last asked.
    fn conditions(&mut self, lane: i64) -> Vec<Condition> {
        let transitions = std::mem::take(&mut self.lanes.transitions);
        let of_lane = transitions.iter().filter(|t| t.subscription == lane);
        of_lane.map(|t| t.health.condition).collect()
    }

    fn ring(&mut self) {
        self.lanes.ring(self.now, &mut Alarm::new(self.now.instant));
    }

    /// What was answered is put off.
    fn retry(&mut self, wait: Duration) {
        for due in std::mem::take(&mut self.unsettled) {
            let due_at = self.now.clock + wait;
            let row = self
                .rows
                .iter_mut()
                .find(|row| row.position == due.position);
            let unchanged = row.is_none();
            if let Some(row) = row {
                row.position.due_at = due_at;
            }
            let lane = due.position.subscription;
            let spent = due.spent;
            let again = settlement(&due, Fate::Again { due_at, spent });
            self.lanes.settled(&again, unchanged, self.now);
            if !unchanged {
                self.lanes.note(lane, due_at, self.now);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.clock = self.now.clock + time;
        self.lanes.ring(self.now, &mut Alarm::new(self.now.instant));
        self.lanes.review(self.now);
    }

    /// Lets receivers answer that take so long: `None` never answers before its timeout.
    fn serve(&mut self, time: Duration, takes: impl Fn(i64) -> Duration) -> BTreeMap<i64, usize> {
        let mut served = BTreeMap::new();
        let end = self.now.instant + time;
        while self.now.instant < end {
            self.read();
            while self.pick().is_some() {
                self.check();
            }
            self.pass(QUICK);
            let mut n = 0;
            while n < self.flying.len() {
                let Flying { lane, since, .. } = self.flying[n];
                if self.now.instant - since >= takes(lane) {
                    *served.entry(lane).or_default() += 1;
                    self.answer(n);
                } else {
                    n += 1;
                }
            }
            self.settle();
            self.check();
        }
        served
    }

    fn check(&self) {
        assert!(self.flying.len() <= self.lanes.slots.all);
        assert_eq!(self.flying.len(), self.lanes.in_flight());
        let mut slow = 0;
        let mut cached = 0;
        for (id, lane) in &self.lanes.lanes {
            let flying = self.flying.iter().filter(|flying| flying.lane == *id);
            let flying = flying.count();
            assert_eq!(flying, lane.in_flight);
            let allowed = lane.target.subscription.settings.max_in_flight;
            assert!(flying <= usize::try_from(allowed).expect("small"));
            slow += lane.slow_in_flight();
            cached += lane.cached_bytes();
            assert!(
                lane.queued
                    || lane.place != super::Place::Out
                    || lane.reading.is_some()
                    || flying > 0
                    || lane.held
                    || lane.lingering.is_some()
                    || lane.spaced.is_some()
                    || !(lane.wanted || lane.cost().is_some()),
                "lane {id} has something to do and waits for nothing"
            );
        }
        let spaced: BTreeSet<_> = (self.lanes.lanes.iter())
            .filter_map(|(id, lane)| Some((lane.spaced?, *id)))
            .collect();
        assert_eq!(spaced, self.lanes.spaced);
        for (until, id) in spaced {
            let lane = &self.lanes.lanes[&id];
            assert!(!lane.held && lane.place == super::Place::Out && until <= lane.next_at);
        }
        let deliveries: usize = self.flying.iter().map(|flying| flying.dues.len()).sum();
        assert_eq!(deliveries, self.lanes.under_way());
        let under_way = self.under_way().map(|due| due.position.subscription);
        let leaving: BTreeSet<i64> = under_way
            .chain(self.reading.iter().map(|read| read.subscription))
            .filter(|lane| !self.ours.contains(lane))
            .collect();
        assert_eq!(leaving, self.lanes.leaving);
        let known: BTreeSet<i64> = self.lanes.lanes.keys().copied().collect();
        assert_eq!(known, &leaving | &self.ours);
        assert_eq!(slow, self.lanes.slots.taken_by_slow);
        assert_eq!(cached, self.lanes.cached_bytes);
    }

    /// Lets everything be delivered at once, until nothing is left.
    fn drain(&mut self) {
        let lanes: Vec<i64> = self.targets.keys().copied().collect();
        self.lease(lanes.iter().copied().collect());
        for lane in lanes {
            self.set_state(lane, State::Active);
        }
        let end = self.now.instant + Duration::from_secs(120);
        while !self.rows.is_empty() || !self.flying.is_empty() {
            assert!(
                self.now.instant < end,
                "{} rows are never sent",
                self.rows.len()
            );
            self.serve(Duration::from_secs(1), |_| QUICK);
        }
        assert_eq!(self.lanes.cached_bytes, 0);
    }
}

/// Of client 1, which has the first two lanes.
fn stopped(state: StopState) -> Arc<Stops> {
    Arc::new(Stops::new(&[Stop {
        seq: 1,
        campaign: Campaign {
            client: samples::client(1),
            name: "spring".to_owned(),
            recipient: None,
        },
        state,
        since: Timestamp::from_millis(1),
    }]))
}

/// Whatever is in memory or on its way there does not say of which campaign it is.
#[test]
fn nothing_of_a_stopped_campaign_begins_once_the_stop_is_known() {
    for state in [StopState::Paused, StopState::Cancelled] {
        for is_reading in [false, true] {
            let mut table = Table::new(64, 1 << 20, 3);
            table.write_many(1, 40);
            table.write_many(3, 40);
            table.begin_read();
            if !is_reading {
                table.end_read(false);
            }
            for row in &mut table.rows {
                row.named = Named::of(Some("spring".into()), None);
            }
            table.lanes.stop(&stopped(state));
            if is_reading {
                table.end_read(true);
            }
            for _ in 0..200 {
                table.read();
                let _ = table.pick();
            }
            assert!(table.flying.iter().all(|flying| flying.lane == 3));
            assert_eq!(table.flying.len(), 1, "theirs is another campaign");
            let of_one = table.unsettled.iter().map(|due| due.position.subscription);
            assert_eq!(of_one.collect::<Vec<_>>(), [1; 40]);
        }
    }
}

#[test]
fn a_lane_that_has_not_answered_yet_gets_one_request() {
    let mut table = Table::new(256, 1 << 25, 2);
    table.write_many(1, 20);
    table.read();
    assert_eq!(table.pick(), Some(1));
    assert_eq!(table.pick(), None);
    table.pass(QUICK);
    table.answer(0);
    table.settle();
    for _ in 0..8 {
        assert_eq!(table.pick(), Some(1));
    }
    assert_eq!(table.pick(), None, "eight are the subscription's limit");
}

#[test]
fn ten_rows_do_not_wait_behind_a_million() {
    // The million is as many rows as are ever in memory: the rest is in the table and in nobody's way.
    let mut table = Table::new(16, 1 << 25, 3);
    for lane in [1, 3] {
        table.write_many(lane, 1);
    }
    table.serve(Duration::from_millis(100), |_| QUICK);
    table.write_many(1, 3_000);
    table.serve(Duration::from_millis(200), |_| QUICK);
    table.write_many(3, 10);
    let before = table.picks;
    let mut left = 10;
    while left > 0 {
        table.read();
        while let Some(lane) = table.pick() {
            left -= usize::from(lane == 3);
        }
        table.pass(QUICK);
        while !table.flying.is_empty() {
            table.answer(0);
        }
        table.settle();
    }
    assert!(table.picks - before <= 60, "{} picks", table.picks - before);
}

#[test]
fn receivers_that_hang_delay_nobody() {
    // Forty receivers with eight slots each could hold 320 requests; there are 64 slots.
    let mut table = Table::new(64, 1 << 25, 42);
    let hangs = |lane: i64| if lane <= 40 { TIMEOUT } else { QUICK };
    for lane in 1..=42 {
        table.write_many(lane, 20);
    }
    table.serve(Duration::from_secs(8), hangs);
    for _ in 0..20 {
        for lane in 1..=40 {
            table.write_many(lane, 3);
        }
        table.write_many(41, 8);
        let served = table.serve(Duration::from_millis(100), hangs);
        assert_eq!(served.get(&41), Some(&8));
    }
}

#[test]
fn a_lane_with_a_rate_gets_as_many_requests_as_that_and_waits_for_the_first_too() {
    for (rate, served_in_ten_seconds) in [("20/s", 200), ("60/m", 10), ("5/h", 0)] {
        let mut table = Table::new(64, 1 << 25, 2);
        let settings = &mut table
            .targets
            .get_mut(&1)
            .expect("there")
            .subscription
            .settings;
        settings.rate = Some(rate.parse().expect("a rate"));
        table.lanes = Lanes::new(64, 1 << 25);
        table.load();
        table.write_many(1, 400);
        table.write_many(2, 400);
        table.read();
        assert_eq!(table.pick(), Some(2), "the other one does not wait");
        assert_eq!(table.pick(), None);
        assert!(!table.lanes.is_at_rest());
        let served = table.serve(Duration::from_secs(10), |_| QUICK);
        let of_it = served.get(&1).copied().unwrap_or(0);
        assert!(
            of_it.abs_diff(served_in_ten_seconds) <= 2,
            "{rate}: {of_it}"
        );
        assert_eq!(served[&2], 400);
    }
}

#[test]
fn a_rate_that_is_raised_or_taken_away_counts_at_once() {
    let mut table = Table::new(64, 1 << 25, 1);
    table.write_many(1, 40);
    table.set_rate(1, Some("1/h"));
    // It had none before, so nothing has to be waited for.
    assert_eq!(table.serve(Duration::from_secs(5), |_| QUICK)[&1], 1);
    table.set_rate(1, Some("10/s"));
    let served = table.serve(Duration::from_secs(1), |_| QUICK)[&1];
    assert!((8..=11).contains(&served), "{served}");
    // What it had in memory is given up meanwhile, as by a command.
    table.lanes.invalidate(1);
    table.set_rate(1, Some("1/h"));
    table.read();
    table.lanes.invalidate(1);
    table.set_rate(1, None);
    table.serve(Duration::from_secs(1), |_| QUICK);
    assert!(table.rows.is_empty() && table.lanes.is_at_rest());
}

#[test]
fn what_is_held_or_has_expired_does_not_wait_for_its_turn() {
    let mut table = Table::new(64, 1 << 25, 1);
    table.set_rate(1, Some("1/h"));
    table.write_many(1, 2);
    let expires_at = table.now.clock + Duration::from_secs(60);
    table.rows[0].expires_at = Some(expires_at);
    table.serve(Duration::from_secs(2), |_| QUICK);
    assert_eq!(
        table.rows.len(),
        1,
        "it was sent at once: it had no rate before"
    );
    table.write_many(1, 2);
    table.rows[1].expires_at = Some(table.now.clock + Duration::from_secs(60));
    table.rows.remove(0);
    table.lanes.invalidate(1);
    table.serve(Duration::from_secs(61), |_| QUICK);
    assert_eq!(table.rows.len(), 1, "the one that expired has ended");
    assert!(!table.lanes.is_at_rest());
    table.set_state(1, State::Paused);
    assert!(table.lanes.is_at_rest());
}

#[test]
fn a_limit_that_is_raised_counts_at_once_for_who_never_had_too_much_to_do() {
    let mut table = Table::new(256, 1 << 25, 1);
    table.write_many(1, 400);
    table.read();
    table.pick();
    assert_eq!(round(&mut table, Load::Fine), 8);
    assert_eq!(round(&mut table, Load::Fine), 8);
    table
        .targets
        .get_mut(&1)
        .expect("there")
        .subscription
        .settings
        .max_in_flight = 12;
    table.load();
    assert_eq!(round(&mut table, Load::Fine), 12);
    assert_eq!(round(&mut table, Load::Over), 6);
}

/// All that is under way is answered so, and as much as may be is begun.
fn round(table: &mut Table, load: Load) -> usize {
    table.load = load;
    table.pass(QUICK);
    while !table.flying.is_empty() {
        table.answer(0);
    }
    table.settle();
    table.read();
    while table.pick().is_some() {}
    table.flying.len()
}

#[test]
fn who_has_too_much_to_do_gets_half_as_many_and_one_more_for_each_round_that_it_takes() {
    let mut table = Table::new(256, 1 << 25, 2);
    table.write_many(1, 400);
    table.read();
    assert_eq!(table.pick(), Some(1));
    let mut rounds = |load, times: usize| -> Vec<usize> {
        (0..times).map(|_| round(&mut table, load)).collect()
    };
    assert_eq!(rounds(Load::Fine, 2), [8, 8], "its limit");
    // However many say it at once.
    assert_eq!(rounds(Load::Over, 5), [4, 2, 1, 1, 1]);
    assert_eq!(
        rounds(Load::Fails, 2),
        [1, 1],
        "another failure says nothing"
    );
    assert_eq!(rounds(Load::Fine, 9), [2, 3, 4, 5, 6, 7, 8, 8, 8]);
    assert_eq!(rounds(Load::Over, 1), [4]);
}

#[test]
fn what_was_sent_before_it_slowed_down_does_not_slow_it_again() {
    let mut table = Table::new(256, 1 << 25, 1);
    table.write_many(1, 100);
    table.read();
    table.pick();
    assert_eq!(round(&mut table, Load::Fine), 8);
    table.load = Load::Over;
    for left in (4..8).rev() {
        table.pass(QUICK);
        table.answer(0);
        table.settle();
        assert_eq!((table.pick(), table.flying.len()), (None, left));
    }
    // One of the first eight has ended, and the fifth place is not to be had.
    table.pass(QUICK);
    table.answer(0);
    assert_eq!(table.pick(), Some(1));
    assert_eq!(table.pick(), None, "four at once");
}

#[test]
fn an_open_breaker_holds_all_but_one_probe_at_a_time_and_forgets_nothing() {
    let mut table = Table::new(256, 1 << 25, 2);
    let limits = |table: &mut Table, breaker| {
        let target = table.targets.get_mut(&1).expect("there");
        target.subscription.settings.limits.breaker = breaker;
        table.load();
    };
    limits(&mut table, Some(20));
    table.write_many(1, 100);
    table.read();
    table.pick();
    assert_eq!(round(&mut table, Load::Fine), 8);
    assert_eq!(round(&mut table, Load::Fails), 8, "8 in a row");
    assert_eq!(round(&mut table, Load::Fails), 8, "16 in a row");
    assert_eq!(round(&mut table, Load::Fails), 0, "24 in a row");
    assert_eq!(table.conditions(1), [Condition::Open]);
    assert!(table.lanes.is_at_rest(), "nothing to do but to wait");
    assert_eq!(table.lanes.cached_bytes, 0);
    let left = table.rows.len();

    table.write_many(2, 1);
    table.read();
    assert_eq!(table.pick(), Some(2), "the other does not notice");
    table.answer(0);
    table.settle();
    for after in [5, 10, 20, 40, 80, 160, 300, 300] {
        table.pass(Duration::from_millis(after * 1_000 - 1));
        table.ring();
        table.read();
        assert_eq!(table.pick(), None);
        table.pass(Duration::from_millis(1));
        table.ring();
        assert!(!table.lanes.is_at_rest());
        table.read();
        assert_eq!(table.pick(), Some(1));
        assert_eq!(table.pick(), None, "one at a time");
        table.load = Load::Fails;
        table.answer(0);
        table.retry(Duration::from_secs(after));
        assert_eq!(table.conditions(1), [Condition::Open]);
    }
    table.pass(Duration::from_secs(300));
    table.ring();
    table.read();
    table.pick();
    assert_eq!(round(&mut table, Load::Fine), 1, "gently at first");
    assert_eq!(
        table.conditions(1),
        [Condition::HalfOpen, Condition::Throttled]
    );
    assert_eq!(round(&mut table, Load::Fine), 2);
    assert!(table.rows.len() >= left - 3);
    table.serve(Duration::from_secs(120), |_| QUICK);
    assert_eq!(table.rows.len(), 0);
    table.write_many(1, 1);
    table.serve(Duration::from_secs(1), |_| QUICK);
    assert_eq!(table.conditions(1), [Condition::Healthy]);

    // An admin who takes the breaker away, or has it asked anew, need not wait.
    table.write_many(1, 100);
    table.read();
    table.pick();
    while round(&mut table, Load::Fails) > 0 {}
    assert_eq!(table.conditions(1), [Condition::Open]);
    let target = table.targets.get_mut(&1).expect("there");
    target.subscription.health = tharsis_core::health::Health {
        condition: Condition::HalfOpen,
        version: 1_000,
        ..target.subscription.health.clone()
    };
    table.load();
    table.read();
    assert_eq!((table.pick(), table.pick()), (Some(1), None));
}

#[test]
fn greedy_receivers_that_begin_to_hang_leave_a_quarter_and_soon_a_half() {
    let mut table = Table::new(64, 1 << 25, 6);
    for lane in 1..=4 {
        let settings = &mut table
            .targets
            .get_mut(&lane)
            .expect("there")
            .subscription
            .settings;
        settings.max_in_flight = 1_000;
        table.write_many(lane, 1);
    }
    table.load();
    table.write_many(5, 1);
    table.serve(Duration::from_millis(100), |_| QUICK);

    let hangs = |lane: i64| if lane <= 4 { TIMEOUT } else { QUICK };
    for lane in 1..=4 {
        table.write_many(lane, 500);
    }
    table.serve(Duration::from_millis(400), hangs);
    // Three quarters, and one for each that came too late for those.
    assert!((48..=52).contains(&table.flying.len()));
    table.write_many(5, 20);
    let served = table.serve(Duration::from_millis(300), hangs);
    assert_eq!(served[&5], 20, "one at a time, but at once");

    table.serve(TIMEOUT, hangs);
    assert_eq!(table.flying.len(), 32);
    table.write_many(5, 80);
    let served = table.serve(Duration::from_millis(150), hangs);
    assert_eq!(served[&5], 80, "eight at a time");
}

#[test]
fn a_slow_receiver_alone_still_has_all_its_requests() {
    let mut table = Table::new(64, 1 << 25, 2);
    table.write_many(1, 100);
    table.serve(Duration::from_millis(2_500), |_| Duration::from_secs(1));
    assert_eq!(table.flying.len(), 8);
}

#[test]
fn what_is_paused_leaves_the_memory_and_what_is_resumed_comes_back() {
    let mut table = Table::new(1, 1 << 25, 2);
    table.write_many(1, 12);
    table.read();
    assert_eq!(table.pick(), Some(1));
    table.set_state(1, State::Paused);
    assert_eq!(table.lanes.cached_bytes, 0);
    table.pass(QUICK);
    table.answer(0);
    table.settle();
    table.read();
    assert_eq!(table.pick(), None);
    assert!(table.lanes.is_at_rest(), "what is held is no work");
    table.set_state(1, State::Active);
    table.drain();
    assert_eq!(table.picks, 12);
}

#[test]
fn a_row_that_appears_behind_the_cursor_is_found_within_two_seconds() {
    let mut table = Table::new(8, 1 << 25, 2);
    table.write_many(1, 5);
    table.read();
    // Another router: its row is older than what was read, and nobody tells us.
    let row = {
        table.write(1, -50, 10);
        table.rows.pop().expect("just written")
    };
    table.read();
    table.rows.push(row);
    table.serve(Duration::from_millis(2_100), |_| QUICK);
    assert_eq!(table.picks, 6);
}

#[test]
fn what_is_written_behind_the_cursor_is_read_at_once_when_we_are_told() {
    let mut table = Table::new(8, 1 << 25, 2);
    table.write_many(1, 5);
    table.read();
    table.write(1, -50, 10);
    table.serve(Duration::from_millis(50), |_| QUICK);
    assert_eq!(table.picks, 6);
}

#[test]
fn what_is_written_while_a_read_is_under_way_is_read_at_once_after_it() {
    let mut table = Table::new(8, 1 << 25, 2);
    table.write_many(1, 1);
    table.begin_read();
    table.write_many(1, 1);
    table.end_read(true);
    table.serve(Duration::from_millis(50), |_| QUICK);
    assert_eq!(table.picks, 2);
}

#[test]
fn a_row_that_was_changed_by_someone_else_is_read_again_at_once() {
    let mut table = Table::new(8, 1 << 25, 2);
    table.write_many(1, 1);
    table.read();
    table.pick();
    table.rows[0].position.due_at = table.now.clock - QUICK;
    table.pass(QUICK);
    table.answer(0);
    table.settle();
    table.serve(Duration::from_millis(50), |_| QUICK);
    assert_eq!(table.picks, 2);
    assert!(table.rows.is_empty());
}

#[test]
fn a_row_settled_while_a_read_is_under_way_is_not_sent_again() {
    let mut table = Table::new(8, 1 << 25, 2);
    table.write_many(1, 1);
    table.read();
    table.pick();
    table.write_many(1, 1);
    table.begin_read();
    table.pass(QUICK);
    table.answer(0);
    table.settle();
    table.end_read(true);
    table.serve(Duration::from_secs(3), |_| QUICK);
    assert_eq!(table.picks, 2, "one for each row");
}

#[test]
fn a_retry_is_sent_when_it_is_due_and_not_before() {
    let mut table = Table::new(8, 1 << 25, 2);
    table.write_many(1, 1);
    table.read();
    table.pick();
    table.pass(QUICK);
    table.answer(0);
    table.retry(Duration::from_secs(5));
    table.serve(Duration::from_millis(4_900), |_| QUICK);
    assert_eq!(table.picks, 1);
    table.serve(Duration::from_millis(200), |_| QUICK);
    assert_eq!(table.picks, 2);
}

#[test]
fn what_expired_while_it_waited_is_not_sent() {
    let mut table = Table::new(8, 1 << 25, 2);
    table.write_many(1, 3);
    table.rows[1].expires_at = Some(table.now.clock + QUICK);
    table.read();
    table.serve(Duration::from_secs(1), |_| QUICK);
    assert_eq!(table.picks, 2);
    assert!(table.rows.is_empty());
}

#[test]
fn payloads_in_memory_stay_within_the_bound_whatever_hangs() {
    let cache = 4 * 1024 * 1024;
    let mut table = Table::new(64, cache, 60);
    for lane in 1..=60 {
        for _ in 0..30 {
            table.write(lane, 0, 100_000);
        }
    }
    let hangs = |lane: i64| if lane <= 58 { TIMEOUT } else { QUICK };
    let mut served = BTreeMap::new();
    for _ in 0..80 {
        for (lane, n) in table.serve(Duration::from_millis(100), hangs) {
            *served.entry(lane).or_default() += n;
        }
        // A first read may bring rows that are larger than was reckoned.
        assert!(
            table.lanes.cached_bytes <= 2 * cache,
            "{}",
            table.lanes.cached_bytes
        );
    }
    assert_eq!((served[&59], served[&60]), (30, 30));
}

impl Table {
    /// One subscription of client 1, which takes up to `items` deliveries a request and waits 300 ms for them.
    fn batching(items: u32) -> Self {
        let mut table = Self::new(8, 1_000_000, 1);
        let target = table.targets.get_mut(&1).expect("there");
        target.subscription.settings.batch = Some(Batch {
            items,
            linger: Duration::from_millis(300),
        });
        table.load();
        table
    }

    /// How many deliveries go out now, request by request.
    fn requests(&mut self) -> Vec<usize> {
        self.read();
        let before = self.flying.len();
        while self.pick().is_some() {
            self.check();
        }
        let requests = self.flying[before..].iter();
        requests.map(|flying| flying.dues.len()).collect()
    }
}

#[test]
fn a_full_batch_goes_at_once_and_others_wait_for_company_but_not_for_long() {
    let mut table = Table::batching(3);
    table.write_many(1, 1);
    assert_eq!(table.requests(), [0_usize; 0]);
    table.pass(Duration::from_millis(299));
    table.write_many(1, 1);
    assert_eq!(table.requests(), [0_usize; 0]);
    table.pass(Duration::from_millis(1));
    assert_eq!(table.requests(), [2]);
    table.answer(0);
    table.settle();

    table.write_many(1, 8);
    assert_eq!(table.requests(), [3, 3], "the rest waits");
    table.pass(Duration::from_millis(300));
    assert_eq!(table.requests(), [2]);
    table.drain();
}

#[test]
fn what_has_waited_long_already_does_not_wait_again() {
    let mut table = Table::batching(3);
    for _ in 0..4 {
        table.write(1, -1_000, 100);
    }
    assert_eq!(
        table.requests(),
        [3],
        "one at a time, until it has answered"
    );
    table.answer(0);
    assert_eq!(table.requests(), [1]);
    table.drain();
}

#[test]
fn no_batch_is_over_the_limit_of_the_body() {
    let mut table = Table::batching(100);
    let target = table.targets.get_mut(&1).expect("there");
    target.subscription.settings.payload_limit = 10_000;
    table.load();
    table.write(1, -1_000, 1_000);
    table.write(1, -1_000, 1_000);
    assert_eq!(table.requests(), [2]);
    table.answer(0);
    for _ in 0..10 {
        table.write(1, -1_000, 3_000);
    }
    assert_eq!(table.requests()[..3], [3, 3, 3]);
    table.drain();
}

#[test]
fn nothing_expires_while_it_waits_for_company() {
    let mut table = Table::batching(10);
    table.write(1, 0, 100);
    table.rows[0].expires_at = Some(table.now.clock + Duration::from_millis(200));
    assert_eq!(table.requests(), [1]);
    table.drain();
}

#[test]
fn a_batch_that_is_larger_than_what_a_lane_likes_to_read_fills_up_and_goes() {
    let mut table = Table::batching(40);
    table.write_many(1, 40);
    table.read();
    assert_eq!(table.requests(), [40]);
    table.drain();
}

#[test]
fn the_last_retry_of_a_batch_is_made_one_by_one() {
    for (retry, requests) in [
        ("1s,1s", [2].as_slice()),
        ("1s", &[1, 1]),
        ("none", &[1, 1]),
    ] {
        let mut table = Table::batching(10);
        let target = table.targets.get_mut(&1).expect("there");
        target.subscription.settings.retry = retry.parse().expect("a policy");
        table.load();
        for _ in 0..2 {
            table.write(1, -1_000, 100);
        }
        table.rows.iter_mut().for_each(|row| row.spent.tries = 1);
        let mut sent = table.requests();
        table.answer(0);
        sent.extend(table.requests());
        assert_eq!(sent, requests, "{retry}");
        table.drain();
    }
}

#[test]
fn what_somebody_routed_who_did_not_know_the_profile_is_not_sent() {
    let mut table = Table::batching(10);
    for _ in 0..3 {
        table.write(1, -1_000, 100);
    }
    table.rows[1].event_type = "salary.slip".into();
    assert_eq!(table.requests(), [1]);
    table.answer(0);
    assert_eq!(table.requests(), [1]);
    let of: Vec<&str> = table.unsettled.iter().map(|due| &*due.event_type).collect();
    assert!(of.contains(&"salary.slip"), "it ends unsent");
    let types = table.flying.iter().flat_map(|flying| &flying.dues);
    assert!(types.into_iter().all(|due| &*due.event_type == "nudge"));
    table.drain();
}

#[test]
fn what_failed_twice_goes_alone() {
    let mut table = Table::batching(10);
    for _ in 0..4 {
        table.write(1, -1_000, 100);
    }
    table.rows[1].spent.tries = 2;
    assert_eq!(table.requests(), [1]);
    table.answer(0);
    assert_eq!(table.requests(), [1, 2]);
    table.drain();
}

#[test]
fn what_expired_is_no_part_of_a_batch() {
    let mut table = Table::batching(10);
    for _ in 0..3 {
        table.write(1, -1_000, 100);
    }
    table.rows[1].expires_at = Some(table.now.clock);
    assert_eq!(table.requests(), [1]);
    table.answer(0);
    assert_eq!(table.requests(), [1]);
    assert!(table.unsettled.len() >= 2, "one has expired, one was sent");
    table.drain();
}

#[derive(Debug, Clone)]
enum Step {
    Write {
        lane: i64,
        wait: i64,
        bytes: usize,
    },
    /// A row appears and nobody tells us.
    Appear {
        lane: i64,
        wait: i64,
    },
    BeginRead,
    EndRead {
        stale: bool,
    },
    FailRead,
    Pick(usize),
    Answer(usize),
    Settle,
    Retry(u64),
    /// Somebody else moves a row.
    Move {
        row: usize,
        wait: i64,
    },
    /// Somebody else ends a delivery.
    Cancel(usize),
    Pass(u64),
    Pause(i64),
    Resume(i64),
    Invalidate(i64),
    /// Somebody sets its rate.
    Rate(i64, Option<&'static str>),
    /// What answers say from now on.
    Load(Load),
    LoseLease,
    /// A lease of other shards.
    Lease(Vec<i64>),
}

fn step() -> impl Strategy<Value = Step> {
    let lane = || 1_i64..=6;
    prop_oneof![
        6 => (lane(), -200_i64..3_000, 0_usize..5_000).prop_map(|(lane, wait, bytes)| Step::Write { lane, wait, bytes }),
        1 => (lane(), -200_i64..3_000).prop_map(|(lane, wait)| Step::Appear { lane, wait }),
        4 => Just(Step::BeginRead),
        4 => any::<bool>().prop_map(|stale| Step::EndRead { stale }),
        1 => Just(Step::FailRead),
        6 => (1_usize..12).prop_map(Step::Pick),
        6 => any::<usize>().prop_map(Step::Answer),
        4 => Just(Step::Settle),
        2 => (0_u64..3_000).prop_map(Step::Retry),
        1 => (any::<usize>(), -200_i64..3_000).prop_map(|(row, wait)| Step::Move { row, wait }),
        1 => any::<usize>().prop_map(Step::Cancel),
        3 => (1_u64..2_000).prop_map(Step::Pass),
        1 => lane().prop_map(Step::Pause),
        1 => lane().prop_map(Step::Resume),
        1 => lane().prop_map(Step::Invalidate),
        1 => (lane(), prop::sample::select(vec![None, Some("3/s"), Some("200/s")]))
            .prop_map(|(lane, rate)| Step::Rate(lane, rate)),
        1 => prop::sample::select(vec![Load::Fine, Load::Over, Load::Fails, Load::Unknown]).prop_map(Step::Load),
        1 => Just(Step::LoseLease),
        2 => prop::collection::vec(lane(), 0..6).prop_map(Step::Lease),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever happens in whatever order: limits hold, no row is under way twice, nothing is left behind.
    #[test]
    fn nothing_is_sent_twice_at_once_and_everything_is_sent(
        steps in prop::collection::vec(step(), 1..200),
        max_in_flight in 1_usize..12,
        cache in 1_000_usize..40_000,
    ) {
        let mut table = Table::new(max_in_flight, cache, 6);
        for lane in [2, 5] {
            let target = table.targets.get_mut(&lane).expect("there");
            target.subscription.settings.batch = Some(Batch {
                items: 3,
                linger: Duration::from_millis(150),
            });
            target.subscription.settings.payload_limit = 9_000;
        }
        for lane in [2, 3] {
            let target = table.targets.get_mut(&lane).expect("there");
            target.subscription.settings.rate = Some("20/s".parse().expect("a rate"));
        }
        table.load();
        for step in steps {
            match step {
                Step::Write { lane, wait, bytes } => table.write(lane, wait, bytes),
                Step::Appear { lane, wait } => {
                    // Known to the table alone: the lane finds it by its rewind, or by the discovery below.
                    table.lanes.hold(lane);
                    table.write(lane, wait, 100);
                    table.load();
                }
                Step::BeginRead => table.begin_read(),
                Step::EndRead { stale } => table.end_read(stale),
                Step::FailRead => if !std::mem::take(&mut table.reading).is_empty() {
                    table.lanes.read_failed(table.now);
                },
                Step::Pick(n) => for _ in 0..n { table.pick(); },
                Step::Answer(n) => if !table.flying.is_empty() {
                    table.answer(n % table.flying.len());
                },
                Step::Settle => table.settle(),
                Step::Retry(wait) => table.retry(Duration::from_millis(wait)),
                Step::Move { row, wait } => if !table.rows.is_empty() {
                    let n = row % table.rows.len();
                    let due_at = Timestamp::from_millis(table.now.clock.as_millis() + wait);
                    table.rows[n].position.due_at = due_at;
                    let lane = table.rows[n].position.subscription;
                    table.lanes.invalidate(lane);
                    table.lanes.note(lane, due_at, table.now);
                },
                Step::Cancel(row) => if !table.rows.is_empty() {
                    let row = table.rows.swap_remove(row % table.rows.len());
                    table.lanes.invalidate(row.position.subscription);
                },
                Step::Pass(wait) => table.pass(Duration::from_millis(wait)),
                Step::Pause(lane) => table.set_state(lane, State::Paused),
                Step::Resume(lane) => table.set_state(lane, State::Active),
                Step::Rate(lane, rate) => table.set_rate(lane, rate),
                Step::Load(load) => table.load = load,
                Step::Invalidate(lane) => table.lanes.invalidate(lane),
                Step::LoseLease => table.lease(table.ours.clone()),
                Step::Lease(lanes) => table.lease(lanes.into_iter().collect()),
            }
            table.check();
        }
        table.end_read(true);
        table.drain();
    }
}
