//! One run of the engine in the world, and what it may do at each moment.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tharsis_core::{DeliveryId, WorkerId};
use tharsis_store::{Lease, Settlement, Shard, Shards};

use super::{Faults, Happening, World};
use crate::engine::{
    Options, Progress,
    simulation::model::Model,
    state::State,
    step::{Effect, Flight, Input},
};

/// Which start of the engine it is. What an earlier one began is not answered to a later one.
pub(in crate::engine::simulation) type Life = u32;

pub(super) struct Engine {
    pub(super) state: State,
    pub(super) worker: WorkerId,
    /// When it wants to be called, if nothing happens before.
    pub(super) wait: Option<Instant>,
    /// What came while its process was stopped; none while it runs.
    pub(super) stopped: Option<Vec<Input>>,
    /// Nothing that it asks reaches the store.
    pub(super) cut_off: bool,
    /// It was stopped or cut off before.
    pub(super) troubled: bool,
    /// Deliveries that are in flight, or of which it is not yet known that they are settled.
    pub(super) open: BTreeMap<DeliveryId, Open>,
    /// The lease that it was told of last.
    lease: Option<Lease>,
    /// What operations under way change or read, by their kind.
    under_way: BTreeMap<&'static str, Shards>,
    settling: Option<Arc<Vec<Settlement>>>,
}

pub(super) struct Open {
    pub(super) lane: i64,
    pub(super) in_flight: bool,
    /// Another worker took the lane over since.
    pub(super) lost: bool,
}

impl Engine {
    /// Takes in that the engine is about to be told this.
    fn note(&mut self, input: &Input) {
        match input {
            Input::Hold(_, Ok(lease)) => self.lease = Some(*lease),
            Input::Release(_, Ok(left)) => self.lease = *left,
            Input::Route(_) => drop(self.under_way.remove("route")),
            Input::WorkOff(_) => drop(self.under_way.remove("work_off")),
            Input::Read(_) => drop(self.under_way.remove("read")),
            Input::Settle(result) => {
                let settling = self.settling.take();
                if result.is_ok() {
                    let settled = settling.iter().flat_map(|batch| batch.iter());
                    for settlement in settled {
                        self.open.retain(|id, open| {
                            id.event != settlement.event
                                || open.lane != settlement.position.subscription
                        });
                    }
                }
            }
            _ => {}
        }
    }

    /// Checks what the engine asks of the store against what it was told.
    fn asks(&mut self, effect: &Effect, model: &Model) {
        let told = self.lease.map_or(Shards::default(), |lease| lease.shards);
        match effect {
            Effect::Hold(give) => {
                let kept = give.without(self.surplus());
                assert!(kept.is_empty(), "gives what is no surplus");
                self.gives(*give, model);
            }
            Effect::Release(lease, keep) => {
                self.gives(lease.owned().without(keep.unwrap_or_default()), model);
            }
            Effect::Route(lease, _, pointers, _) => {
                for pointer in pointers {
                    let shard = Shard::of_client(pointer.client);
                    assert!(
                        told.contains(shard),
                        "routes in {shard:?}, which is not its"
                    );
                }
                self.under_way.insert("route", lease.shards);
            }
            Effect::Read(_, lanes, _) => {
                let shards: Shards = lanes.iter().map(|l| model.shard(l.subscription)).collect();
                assert!(shards.without(told).is_empty(), "reads what is not its");
                self.under_way.insert("read", shards);
            }
            Effect::WorkOff(lease, _) => drop(self.under_way.insert("work_off", lease.shards)),
            Effect::Settle(_, settlements) => self.settling = Some(Arc::clone(settlements)),
            _ => {}
        }
        if let Effect::Poll(lease)
        | Effect::Point(lease)
        | Effect::Route(lease, ..)
        | Effect::Discover(lease)
        | Effect::Read(lease, ..)
        | Effect::WorkOff(lease, _) = effect
        {
            assert_eq!(Some(lease.shards), self.lease.map(|lease| lease.shards));
        }
    }

    /// Nothing of what it gives back is under way.
    fn gives(&self, give: Shards, model: &Model) {
        for shard in self.at_work(model).iter() {
            assert!(
                !give.contains(shard),
                "gives {shard:?} while it is at work in it"
            );
        }
    }

    fn surplus(&self) -> Shards {
        self.lease.map_or(Shards::default(), |lease| lease.surplus)
    }

    /// The shards in which something of it is under way.
    fn at_work(&self, model: &Model) -> Shards {
        let open = self.open.values().map(|open| model.shard(open.lane));
        let under_way = self.under_way.values().flat_map(|shards| shards.iter());
        open.chain(under_way).collect()
    }
}

impl World {
    // === lives ===

    pub(in crate::engine::simulation) fn start_engine(&mut self) -> Life {
        self.lives += 1;
        let seed = self.random.next();
        let options = Options {
            progress: Arc::new(Progress::default()),
            ..self.options.clone()
        };
        self.finished = None;
        let engine = Engine {
            state: State::new(options, seed, self.now),
            worker: WorkerId::new(
                tharsis_core::Timestamp::from_millis(i64::from(self.lives)),
                [1; 10],
            ),
            wait: None,
            stopped: None,
            cut_off: false,
            troubled: false,
            open: BTreeMap::new(),
            lease: None,
            under_way: BTreeMap::new(),
            settling: None,
        };
        self.engines.insert(self.lives, engine);
        self.act(self.lives);
        self.lives
    }

    /// The engine of a story with one only.
    pub(super) fn only(&self) -> Option<Life> {
        assert!(self.engines.len() <= 1, "which one?");
        self.engines.keys().next().copied()
    }

    pub(in crate::engine::simulation) fn living(&self) -> Vec<Life> {
        self.engines.keys().copied().collect()
    }

    pub(in crate::engine::simulation) fn worker(&self, life: Life) -> WorkerId {
        self.engines[&life].worker
    }

    /// What an engine could give back, and has not yet.
    pub(in crate::engine::simulation) fn idle_surplus(&self, life: Life) -> Shards {
        let engine = &self.engines[&life];
        engine.surplus().without(engine.at_work(&self.model))
    }

    /// `kill -9`. What the store was doing is done, or is not.
    pub(in crate::engine::simulation) fn kill(&mut self, life: Life) {
        let Some(engine) = self.engines.remove(&life) else {
            return;
        };
        self.excuse_open(&engine);
        for happening in self.take_from_agenda(|happening| happening.life() == life) {
            if let Happening::Store { asked, effect, .. } = happening
                && !engine.cut_off
                && self.below(2) == 0
            {
                self.perform_in_store(&effect, engine.worker, asked);
            }
        }
    }

    /// What is in flight, or taken but not settled, may be sent once more.
    fn excuse_open(&mut self, engine: &Engine) {
        let unfinished = self.model.deliveries();
        for (id, open) in &engine.open {
            if !open.lost && (open.in_flight || unfinished.contains(id)) {
                *self.excused.entry(*id).or_default() += 1;
            }
        }
    }

    /// Stops a process, as a debugger or a machine that sleeps does.
    pub(in crate::engine::simulation) fn stop(&mut self, life: Life) {
        let Some(engine) = self.engines.get_mut(&life) else {
            return;
        };
        engine.troubled = true;
        engine.stopped.get_or_insert_default();
    }

    /// Lets a process that was stopped go on; what came meanwhile is there, and its timers may have been first.
    pub(in crate::engine::simulation) fn go_on(&mut self, life: Life) {
        let timers_first = self.below(2) == 0;
        let Some(engine) = self.engines.get_mut(&life) else {
            return;
        };
        let inputs = engine.stopped.take().unwrap_or_default();
        if timers_first {
            self.act(life);
        }
        for input in inputs {
            self.tell(life, input);
        }
        self.act(life);
    }

    /// Cuts an engine off from the store, or lets it reach the store again.
    pub(in crate::engine::simulation) fn set_cut_off(&mut self, life: Life, cut_off: bool) {
        if let Some(engine) = self.engines.get_mut(&life) {
            engine.cut_off = cut_off;
            engine.troubled = true;
        }
    }

    // === what it is told, and what it does ===

    pub(in crate::engine::simulation) fn tell(&mut self, life: Life, input: Input) {
        let Some(engine) = self.engines.get_mut(&life) else {
            return;
        };
        if let Some(inputs) = &mut engine.stopped {
            inputs.push(input);
            return;
        }
        engine.note(&input);
        engine.state.take(input, self.now);
        self.act(life);
    }

    pub(super) fn act(&mut self, life: Life) {
        let Some(engine) = self.engines.get_mut(&life) else {
            return;
        };
        if engine.stopped.is_some() {
            return;
        }
        let mut effects = Vec::new();
        engine.wait = engine.state.act(self.now, &mut effects);
        assert!(
            engine.wait.is_none_or(|at| at > self.now),
            "the engine wants to be called again at once, for ever"
        );
        for effect in effects {
            self.perform(life, effect);
        }
    }

    fn perform(&mut self, life: Life, effect: Effect) {
        match effect {
            Effect::Send(flight) => {
                self.check_flight(life, &flight);
                let after = self.millis(0, 3);
                self.schedule(after, Happening::Request { life, flight });
            }
            Effect::Abandon => {
                if let Some(mut engine) = self.engines.remove(&life) {
                    self.excuse_open(&engine);
                    engine.open.retain(|_, open| !open.in_flight);
                    self.engines.insert(life, engine);
                }
                self.take_from_agenda(|happening| {
                    happening.life() == life && happening.is_of_a_request()
                });
            }
            Effect::Finish => {
                let engine = self.engines.remove(&life).expect("it has just acted");
                // It ended without the store, so it may not have settled all.
                self.excuse_open(&engine);
                self.finished = Some(engine.state.result().map_err(|e| e.to_string()));
            }
            effect => {
                self.operations += 1;
                if let Some(engine) = self.engines.get_mut(&life) {
                    engine.asks(&effect, &self.model);
                }
                let after = self.way();
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

    /// Carries an operation out. What others took over with it is lost for those who had it.
    pub(super) fn perform_in_store(
        &mut self,
        effect: &Effect,
        worker: WorkerId,
        asked: Instant,
    ) -> Input {
        let input = self.model.perform(effect, worker, asked, self.now);
        for (before, shard) in std::mem::take(&mut self.model.leases.taken_over) {
            let engine = self.engines.values_mut().find(|e| e.worker == before);
            for (id, open) in engine.into_iter().flat_map(|e| &mut e.open) {
                if !open.lost && self.model.shard(open.lane) == shard {
                    open.lost = true;
                    *self.excused.entry(*id).or_default() += 1;
                }
            }
        }
        input
    }

    /// A request starts: its lane is the engine's and will be for a while, and the limit holds over all workers.
    fn check_flight(&mut self, life: Life, flight: &Flight) {
        let (id, lane) = (flight.due.id, flight.due.position.subscription);
        let shard = self.model.shard(lane);
        let engine = self.engines.get_mut(&life).expect("it has just acted");
        let told = engine.lease.expect("it has a lease").shards;
        assert!(told.contains(shard), "{id} is in {shard:?}, not told of");
        let (owner, until) = self.model.leases.owner(shard).expect("it has an owner");
        assert_eq!(owner, engine.worker, "{id} is in the shard of another");
        assert!(
            self.now + Duration::from_secs(2) <= until,
            "a request starts {:?} before another worker may take over",
            until.saturating_duration_since(self.now)
        );
        let open = Open {
            lane,
            in_flight: true,
            lost: false,
        };
        let before = engine.open.insert(id, open);
        assert!(before.is_none(), "{id} is in flight or unsettled already");
        let Faults {
            lost,
            ambiguous,
            slow,
            ..
        } = self.faults;
        let troubled = engine.troubled || lost + ambiguous + slow > 0;
        if let Some(since) = self.paused_since.get(&lane) {
            // A poll, a read of pointers and of the registry, each of which may take 20 ms.
            let late = self.now - *since;
            let seen = troubled || late < Duration::from_millis(250 + 60);
            assert!(seen, "sent {late:?} after the pause");
        }
        let open = self
            .engines
            .values()
            .flat_map(|engine| engine.open.values());
        let flying = open.filter(|open| open.lane == lane && open.in_flight && !open.lost);
        let limit = flight.target.subscription.settings.max_in_flight;
        assert!(
            flying.count() <= usize::try_from(limit).expect("small"),
            "more than {limit} requests to subscription {lane} at once"
        );
    }
}
