mod engine;
mod ledger;
mod oracle;
mod people;
mod receiver;
mod store;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tharsis_core::{ClientId, DeliveryId, EventId, Timestamp};

use super::model::Model;
use crate::engine::{
    Options, Summary,
    random::Random,
    step::{Flight, Input},
};
use engine::Engine;
pub(super) use engine::Life;
use ledger::{Cause, Ledger};
pub(super) use receiver::Receiver;
pub(super) use store::Faults;
use store::{Asked, Server};

/// Engines, their store, their receivers and the time, all in one thread and repeatable from a seed.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) random: Random,
    pub(super) model: Model,
    pub(super) receivers: BTreeMap<i64, Receiver>,
    pub(super) faults: Faults,
    server: Server,
    /// When it crashed last.
    crashed: Option<Instant>,
    /// When the database's clock was last set forward so far that a lease may have ended for it.
    set_forward: Option<Instant>,
    /// It was set back, and what is published later may be due before what waits.
    set_back: bool,
    pub(super) options: Options,
    engines: BTreeMap<Life, Engine>,
    lives: Life,
    agenda: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    /// Every request that reached its receiver.
    pub(super) received: Vec<Received>,
    /// Why deliveries may be received once more than they should be.
    pub(super) excused: BTreeMap<DeliveryId, Vec<Cause>>,
    pub(super) published: Vec<(EventId, ClientId)>,
    ledger: Ledger,
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
    Store(Asked),
    /// A request reaches its receiver, who answers.
    Request {
        life: Life,
        flight: Flight,
    },
    Input {
        life: Life,
        input: Input,
    },
    /// The database server loses what is not on its disk.
    Crash,
    /// It is there again.
    Recovery,
}

impl Happening {
    fn is_of(&self, of: Life) -> bool {
        match self {
            Self::Store(Asked { life, .. })
            | Self::Request { life, .. }
            | Self::Input { life, .. } => *life == of,
            Self::Crash | Self::Recovery => false,
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
            server: Server::Up,
            crashed: None,
            set_forward: None,
            set_back: false,
            options: Options::default(),
            engines: BTreeMap::new(),
            lives: 0,
            agenda: BTreeMap::new(),
            next: 0,
            received: Vec::new(),
            excused: BTreeMap::new(),
            published: Vec::new(),
            ledger: Ledger::default(),
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
            Happening::Store(asked) => self.carry_out(&asked),
            Happening::Request { life, flight } => self.receive(life, flight),
            Happening::Input { life, input } => {
                if let Input::Send(flight, _) = &input
                    && let Some(engine) = self.engines.get_mut(&life)
                {
                    for due in flight.dues() {
                        if let Some(open) = engine.open.get_mut(&due.id) {
                            open.in_flight = false;
                        }
                    }
                }
                self.tell(life, input);
            }
            Happening::Crash => self.crash(),
            Happening::Recovery => self.server = Server::Up,
        }
    }

    // === what happens to the only engine of a story ===

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
        for id in self.model.take_over(self.now) {
            let open = self.engines.values_mut().find_map(|e| e.open.get_mut(&id));
            if self.ledger.is_taken(id) || open.as_ref().is_some_and(|open| open.in_flight) {
                self.excused.entry(id).or_default().push(Cause::TakenOver);
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
            self.take(id);
        }
    }
}
