mod engine;
mod oracle;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tharsis_core::{
    ClientId, DeliveryId, EventId, Timestamp,
    delivery::{Fault, Outcome},
};
use tharsis_store::StoreError;

use super::model::{Model, failed};
use crate::engine::{
    Options, Summary,
    random::Random,
    step::{Effect, Flight, Input},
};
use engine::Engine;
pub(super) use engine::Life;

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
    /// It takes up to twenty seconds.
    pub(super) slow: u64,
    /// Nothing is ever settled.
    pub(super) no_settling: bool,
    /// Maintenance fails, in a way that would end the run if anything else failed so.
    pub(super) no_maintenance: bool,
}

/// Engines, their store, their receivers and the time, all in one thread and repeatable from a seed.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) random: Random,
    pub(super) model: Model,
    pub(super) receivers: BTreeMap<i64, Receiver>,
    pub(super) faults: Faults,
    pub(super) options: Options,
    engines: BTreeMap<Life, Engine>,
    lives: Life,
    agenda: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    /// Every request that reached its receiver.
    pub(super) received: Vec<Received>,
    /// Deliveries that may be received once more than it should be, because we lost what came of a request.
    pub(super) excused: BTreeMap<DeliveryId, usize>,
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
        life: Life,
        asked: Instant,
        effect: Effect,
    },
    /// A request reaches its receiver, who answers.
    Request {
        life: Life,
        flight: Flight,
    },
    Input {
        life: Life,
        input: Input,
    },
}

impl Happening {
    fn life(&self) -> Life {
        match self {
            Self::Store { life, .. } | Self::Request { life, .. } | Self::Input { life, .. } => {
                *life
            }
        }
    }

    fn is_of_a_request(&self) -> bool {
        matches!(
            self,
            Self::Request { .. }
                | Self::Input {
                    input: Input::Send(..),
                    ..
                }
        )
    }
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
            engines: BTreeMap::new(),
            lives: 0,
            agenda: BTreeMap::new(),
            next: 0,
            received: Vec::new(),
            excused: BTreeMap::new(),
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

    /// How long the way to the store takes, or back.
    fn way(&mut self) -> Duration {
        if self.faults.slow > 0 && self.below(200) < self.faults.slow {
            self.millis(0, 20_000)
        } else {
            self.millis(0, 10)
        }
    }

    // === the only engine of a story ===

    pub(super) fn is_running(&self) -> bool {
        self.only().is_some()
    }

    pub(super) fn input(&mut self, input: Input) {
        if let Some(life) = self.only() {
            self.tell(life, input);
        }
    }

    pub(super) fn kill_it(&mut self) {
        if let Some(life) = self.only() {
            self.kill(life);
        }
    }

    // === time ===

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.next += 1;
        self.agenda.insert((self.now + after, self.next), happening);
    }

    /// What was to happen, and does not.
    fn take_from_agenda(&mut self, which: impl Fn(&Happening) -> bool) -> Vec<Happening> {
        let (taken, left): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.agenda)
            .into_iter()
            .partition(|(_, happening)| which(happening));
        self.agenda = left;
        taken.into_values().collect()
    }

    /// Lets time pass until then, and everything happen that is due.
    pub(super) fn run_until(&mut self, end: Instant) {
        loop {
            let next = self.agenda.keys().next().map(|(at, _)| *at);
            let rings = self.rings();
            let at = next.into_iter().chain(rings.map(|(at, _)| at)).min();
            let Some(at) = at.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = at.max(self.now);
            if next == Some(at) {
                if let Some((_, happening)) = self.agenda.pop_first() {
                    self.happen(happening);
                }
            } else if let Some((_, life)) = rings {
                self.act(life);
            }
        }
    }

    /// The engine that wants to be called first if nothing happens before.
    fn rings(&self) -> Option<(Instant, Life)> {
        let running = self.engines.iter().filter(|(_, e)| e.stopped.is_none());
        running.filter_map(|(life, e)| Some((e.wait?, *life))).min()
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
                let Some(engine) = self.engines.get(&life) else {
                    return;
                };
                let (worker, cut_off) = (engine.worker, engine.cut_off);
                let percent = self.below(100);
                let (lost, ambiguous) = (self.faults.lost, self.faults.ambiguous);
                let refused = self.faults.no_settling && matches!(effect, Effect::Settle(..));
                let input = if self.faults.no_maintenance && matches!(effect, Effect::Maintain(_)) {
                    Input::Maintain(Err(unusable()))
                } else if percent < lost || refused || cut_off {
                    failed(&effect, asked)
                } else {
                    let input = self.perform_in_store(&effect, worker, asked);
                    if percent < lost + ambiguous {
                        failed(&effect, asked)
                    } else {
                        input
                    }
                };
                let after = self.way();
                self.schedule(after, Happening::Input { life, input });
            }
            Happening::Request { life, flight } => self.receive(life, flight),
            Happening::Input { life, input } => {
                if let Input::Send(flight, _) = &input
                    && let Some(engine) = self.engines.get_mut(&life)
                    && let Some(open) = engine.open.get_mut(&flight.due.id)
                {
                    open.in_flight = false;
                }
                self.tell(life, input);
            }
        }
    }

    fn receive(&mut self, life: Life, flight: Flight) {
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
        self.model.pause(lane);
        self.paused_since.entry(lane).or_insert(self.now);
    }

    pub(super) fn resume(&mut self, lane: i64) {
        self.model.resume(lane);
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
        let held_until = self.model.leases.held_until();
        if held_until.is_some_and(|until| self.now < until) {
            return;
        }
        let taken = self.received.iter().filter(|r| r.taken).map(|r| r.id);
        let taken: BTreeSet<DeliveryId> = taken.collect();
        for id in self.model.take_over(self.now) {
            let open = self.engines.values_mut().find_map(|e| e.open.get_mut(&id));
            if taken.contains(&id) || open.as_ref().is_some_and(|open| open.in_flight) {
                *self.excused.entry(id).or_default() += 1;
            }
            if let Some(open) = open {
                open.lost = true;
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
}

fn unusable() -> StoreError {
    StoreError::Unusable {
        code: "no_partition",
        message: "there is no room for another partition".to_owned(),
        hint: "make some".to_owned(),
    }
}
