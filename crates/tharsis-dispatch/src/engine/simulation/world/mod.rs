use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tharsis_core::{
    ClientId, DeliveryId, EventId, Timestamp, WorkerId,
    delivery::{End, Fault, Outcome},
};

use super::model::{Model, failed};
use crate::engine::{
    Options, Progress, Summary,
    random::Random,
    state::State,
    step::{Effect, Flight, Input},
};

/// What a receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiver {
    /// Takes it.
    Healthy,
    /// Answers 500, always.
    Broken,
    /// Takes one of three, answers 503 to the others.
    Flaky,
    /// Takes it, but never answers before the timeout.
    Hangs,
    /// Is gone for good.
    Gone,
    /// We run out of descriptors for every second request.
    Ours,
    /// We never have a descriptor for it.
    Never,
}

/// How often the store fails, in percent of its operations.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// Nothing was done.
    pub(super) lost: u64,
    /// It was done, but the answer was lost.
    pub(super) ambiguous: u64,
    /// Nothing is ever settled.
    pub(super) no_settling: bool,
}

/// One engine, its store, its receivers and the time, all in one thread and repeatable from a seed.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) random: Random,
    pub(super) model: Model,
    pub(super) receivers: BTreeMap<i64, Receiver>,
    pub(super) faults: Faults,
    pub(super) options: Options,
    state: Option<State>,
    worker: WorkerId,
    /// Which start of the engine this is: what an earlier one began is not answered to a later one.
    life: u32,
    /// When the engine wants to be called, if nothing happens before.
    wait: Option<Instant>,
    agenda: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    /// Every request that reached its receiver.
    pub(super) received: Vec<Received>,
    /// Deliveries that may be received once more than it should be, because we lost what came of a request.
    pub(super) excused: BTreeMap<DeliveryId, usize>,
    flying: BTreeMap<DeliveryId, usize>,
    pub(super) published: Vec<(EventId, ClientId)>,
    pub(super) finished: Option<Result<Summary, String>>,
    /// Operations of the store so far.
    pub(super) operations: usize,
    paused_since: BTreeMap<i64, Instant>,
}

#[derive(Debug)]
pub(super) struct Received {
    pub(super) id: DeliveryId,
    pub(super) lane: i64,
    pub(super) at: Instant,
    pub(super) published_at: Timestamp,
    /// The receiver took it.
    pub(super) taken: bool,
}

#[derive(Debug)]
enum Happening {
    /// The store carries out an operation, and answers.
    Store {
        life: u32,
        asked: Instant,
        effect: Effect,
    },
    /// A request reaches its receiver, who answers.
    Request {
        life: u32,
        flight: Flight,
    },
    Input {
        life: u32,
        input: Input,
    },
}

impl World {
    pub(super) fn new(
        seed: u64,
        receivers: BTreeMap<i64, Receiver>,
        model: impl FnOnce(Instant) -> Model,
    ) -> Self {
        let start = Instant::now();
        Self {
            now: start,
            random: Random::new(seed),
            model: model(start),
            receivers,
            faults: Faults::default(),
            options: Options::default(),
            state: None,
            worker: WorkerId::new(Timestamp::from_millis(1), [0; 10]),
            life: 0,
            wait: None,
            agenda: BTreeMap::new(),
            next: 0,
            received: Vec::new(),
            excused: BTreeMap::new(),
            flying: BTreeMap::new(),
            published: Vec::new(),
            finished: None,
            operations: 0,
            paused_since: BTreeMap::new(),
        }
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.random.next() % n
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(1_000 * from + self.below(1_000 * (to - from)))
    }

    // === the engine's life ===

    pub(super) fn start_engine(&mut self) {
        self.life += 1;
        self.worker = WorkerId::new(Timestamp::from_millis(i64::from(self.life)), [1; 10]);
        let seed = self.random.next();
        let options = Options {
            progress: Arc::new(Progress::default()),
            ..self.options.clone()
        };
        self.finished = None;
        self.state = Some(State::new(options, seed, self.now));
        self.act();
    }

    /// `kill -9`. What the store was doing is done, or is not.
    pub(super) fn kill(&mut self) {
        self.state = None;
        self.wait = None;
        self.excuse_all();
        for (_, happening) in std::mem::take(&mut self.agenda) {
            if let Happening::Store { asked, effect, .. } = happening
                && self.below(2) == 0
            {
                self.model.perform(&effect, self.worker, asked, self.now);
            }
        }
    }

    /// What is in flight, or taken but not settled, may be sent once more.
    fn excuse_all(&mut self) {
        let unfinished = self.model.deliveries();
        let unsettled = self
            .received
            .iter()
            .filter(|r| r.taken && unfinished.contains(&r.id))
            .map(|r| r.id);
        let all: BTreeSet<DeliveryId> = unsettled.chain(self.flying.keys().copied()).collect();
        for id in all {
            *self.excused.entry(id).or_default() += 1;
        }
        self.flying.clear();
    }

    pub(super) fn is_running(&self) -> bool {
        self.state.is_some()
    }

    pub(super) fn input(&mut self, input: Input) {
        if let Some(state) = &mut self.state {
            state.take(input, self.now);
            self.act();
        }
    }

    fn act(&mut self) {
        let Some(state) = &mut self.state else {
            return;
        };
        let mut effects = Vec::new();
        self.wait = state.act(self.now, &mut effects);
        assert!(
            self.wait.is_none_or(|at| at > self.now),
            "the engine wants to be called again at once, for ever"
        );
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let life = self.life;
        match effect {
            Effect::Send(flight) => {
                let id = flight.due.id;
                let flying = self.flying.entry(id).or_default();
                *flying += 1;
                assert_eq!(*flying, 1, "{id} is in flight twice");
                assert!(
                    self.now + Duration::from_secs(2) <= self.model.held_until,
                    "a request starts {:?} before another worker may take over",
                    self.model.held_until.saturating_duration_since(self.now)
                );
                let lane = flight.due.position.subscription;
                if let Some(since) = self.paused_since.get(&lane) {
                    // A poll, a read of pointers and of the registry, each of which may take 20 ms.
                    let late = self.now - *since;
                    let seen = self.faults.lost + self.faults.ambiguous > 0
                        || late < Duration::from_millis(250 + 60);
                    assert!(seen, "sent {late:?} after the pause");
                }
                let after = self.millis(0, 3);
                self.schedule(after, Happening::Request { life, flight });
            }
            Effect::Abandon => {
                self.excuse_all();
                self.agenda.retain(|_, h| {
                    !matches!(
                        h,
                        Happening::Request { .. }
                            | Happening::Input {
                                input: Input::Send(..),
                                ..
                            }
                    )
                });
            }
            Effect::Finish => {
                let state = self.state.take().expect("it has just acted");
                self.finished = Some(state.result().map_err(|e| e.to_string()));
                self.wait = None;
            }
            effect => {
                self.operations += 1;
                let after = self.millis(0, 10);
                let asked = self.now;
                self.schedule(
                    after,
                    Happening::Store {
                        life,
                        asked,
                        effect,
                    },
                );
            }
        }
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.next += 1;
        self.agenda.insert((self.now + after, self.next), happening);
    }

    // === time ===

    /// Lets time pass until then, and everything happen that is due.
    pub(super) fn run_until(&mut self, end: Instant) {
        loop {
            let next = self.agenda.keys().next().map(|(at, _)| *at);
            let at = next.into_iter().chain(self.wait).min();
            let Some(at) = at.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = at.max(self.now);
            if next == Some(at) {
                if let Some((_, happening)) = self.agenda.pop_first() {
                    self.happen(happening);
                }
            } else {
                self.act();
            }
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Store {
                life,
                asked,
                effect,
            } => {
                let percent = self.below(100);
                let (lost, ambiguous) = (self.faults.lost, self.faults.ambiguous);
                let refused = self.faults.no_settling && matches!(effect, Effect::Settle(..));
                let input = if percent < lost || refused {
                    failed(&effect, asked)
                } else {
                    let input = self.model.perform(&effect, self.worker, asked, self.now);
                    if percent < lost + ambiguous {
                        failed(&effect, asked)
                    } else {
                        input
                    }
                };
                let after = self.millis(0, 10);
                self.schedule(after, Happening::Input { life, input });
            }
            Happening::Request { life, flight } => self.receive(life, flight),
            Happening::Input { life, input } => {
                if life == self.life {
                    if let Input::Send(flight, _) = &input {
                        self.flying.remove(&flight.due.id);
                    }
                    self.input(input);
                }
            }
        }
    }

    fn receive(&mut self, life: u32, flight: Flight) {
        let lane = flight.due.position.subscription;
        let receiver = self.receivers[&lane];
        let quick = self.millis(1, 30);
        let chance = self.below(6);
        let (status, code, took) = match receiver {
            Receiver::Flaky if chance < 4 => (Some(503), "http_503", quick),
            Receiver::Healthy | Receiver::Flaky => (Some(200), "http_200", quick),
            Receiver::Broken => (Some(500), "http_500", quick),
            Receiver::Hangs => (None, "timeout_response_headers", Duration::from_secs(3)),
            Receiver::Gone => (Some(410), "http_410", quick),
            Receiver::Never => (None, "local_resource", Duration::ZERO),
            Receiver::Ours if chance < 3 => (None, "local_resource", Duration::ZERO),
            Receiver::Ours => (Some(200), "http_200", quick),
        };
        let fault = match (status, code) {
            (Some(200), _) => Fault::None,
            (_, "local_resource") => Fault::Ours,
            _ => Fault::Theirs,
        };
        if fault != Fault::Ours {
            self.received.push(Received {
                id: flight.due.id,
                lane,
                at: self.now,
                published_at: flight.due.published_at,
                taken: fault == Fault::None,
            });
        }
        let outcome = Outcome {
            code: code.into(),
            fault,
            status,
            retry_after: None,
            excerpt: Vec::new(),
            detail: None,
            duration: took,
        };
        let input = Input::Send(flight, Ok(outcome));
        self.schedule(took, Happening::Input { life, input });
    }

    // === what people do ===

    pub(super) fn publish(&mut self, client: ClientId) -> EventId {
        self.publish_with(client, None, None)
    }

    pub(super) fn publish_with(
        &mut self,
        client: ClientId,
        expires_in: Option<Duration>,
        starts_in: Option<Duration>,
    ) -> EventId {
        let event = self.model.publish(client, expires_in, starts_in, self.now);
        self.published.push((event, client));
        event
    }

    pub(super) fn pause(&mut self, lane: i64) {
        self.model
            .set_state(lane, tharsis_core::subscription::State::Paused);
        self.paused_since.entry(lane).or_insert(self.now);
    }

    pub(super) fn resume(&mut self, lane: i64) {
        self.model
            .set_state(lane, tharsis_core::subscription::State::Active);
        self.paused_since.remove(&lane);
    }

    /// We are cut off from the store for so long that another worker takes over.
    pub(super) fn cut_off(&mut self, time: Duration) {
        let faults = self.faults;
        self.faults.lost = 100;
        self.run_for(time);
        self.others_take_over();
        self.faults = faults;
    }

    /// Our process is stopped for so long that another worker takes over.
    pub(super) fn freeze(&mut self, time: Duration) {
        self.now += time;
        self.others_take_over();
    }

    /// What came of our requests then, and was not settled, is lost.
    fn others_take_over(&mut self) {
        if self.now < self.model.held_until {
            return;
        }
        let ours: BTreeSet<DeliveryId> = self
            .received
            .iter()
            .filter(|r| r.taken)
            .map(|r| r.id)
            .chain(self.flying.keys().copied())
            .collect();
        for id in self.model.take_over(self.now) {
            if ours.contains(&id) {
                *self.excused.entry(id).or_default() += 1;
            }
            self.received.push(Received {
                id,
                lane: 0,
                at: self.now,
                published_at: Timestamp::default(),
                taken: true,
            });
        }
    }

    // === what must hold ===

    /// A receiver takes a delivery once, and once more for each time that we lost what came of a request.
    pub(super) fn assert_duplicates_are_explained(&self) {
        let mut taken: BTreeMap<DeliveryId, usize> = BTreeMap::new();
        for received in self.received.iter().filter(|r| r.taken) {
            *taken.entry(received.id).or_default() += 1;
        }
        for (id, times) in taken {
            let excused = self.excused.get(&id).copied().unwrap_or_default();
            assert!(
                times <= 1 + excused,
                "{id} was taken {times} times, {excused} excused"
            );
        }
    }

    /// Each delivery that ended `delivered` was taken; each that was taken ended so, unless an admin was faster, or we
    /// lost what came of the request.
    pub(super) fn assert_ends_are_true(&self) {
        let taken: BTreeSet<DeliveryId> = self
            .received
            .iter()
            .filter(|r| r.taken)
            .map(|r| r.id)
            .collect();
        let unfinished = self.model.deliveries();
        for (id, end) in &self.model.ended {
            let taken = taken.contains(id);
            match end {
                End::Delivered => assert!(taken, "{id} was never taken"),
                End::Dead | End::Refused | End::Expired => {
                    let lost = self.excused.contains_key(id);
                    assert!(!taken || lost, "{id} was taken and ended {end:?}");
                }
                End::Cancelled => {}
            }
            assert!(!unfinished.contains(id), "{id} has ended twice");
        }
        for (id, numbers) in &self.model.attempts {
            // An end without a request is number 0, whatever attempts were made before it.
            let requests: Vec<_> = numbers.iter().copied().filter(|&n| n != 0).collect();
            let mut sorted = requests.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(
                sorted, requests,
                "attempts of {id} are numbered in order, each once"
            );
        }
    }

    /// Each request that reached its receiver is in the history.
    pub(super) fn assert_attempts_are_recorded(&self) {
        let mut received: BTreeMap<DeliveryId, usize> = BTreeMap::new();
        for request in &self.received {
            *received.entry(request.id).or_default() += 1;
        }
        for (id, times) in received {
            let recorded = self.model.attempts.get(&id).map_or(0, Vec::len);
            assert_eq!(times, recorded, "requests and attempts of {id}");
        }
    }
}
