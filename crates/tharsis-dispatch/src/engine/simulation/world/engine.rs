//! One run of the engine in the world, and what it may do at each moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use tharsis_core::{DeliveryId, WorkerId, delivery::End};
use tharsis_store::{Fate, Lease, Settlement, Shard, Shards, Stop};

use super::{Cause, Happening, World, store::Pool};
use crate::engine::{
    Options, Progress,
    simulation::model::Model,
    state::State,
    step::{Effect, Input},
};

/// Which start of the engine it is. What an earlier one began is not answered to a later one.
pub(in crate::engine::simulation) type Life = u32;

/// No start: nothing is answered to it.
const NOBODY: Life = 0;

pub(super) struct Engine {
    pub(super) state: State,
    pub(super) worker: WorkerId,
    /// When it wants to be called, if nothing happens before.
    pub(super) wait: Option<Instant>,
    /// What came while its process was stopped; none while it runs.
    pub(super) stopped: Option<Vec<Input>>,
    /// Nothing that it asks reaches the store.
    pub(super) cut_off: bool,
    /// Connections that its server's crash has left dead.
    pub(super) stale: BTreeSet<Pool>,
    /// Its server has crashed, and none of its operations has failed since.
    pub(super) is_unaware: bool,
    /// It was stopped or cut off before, or its server crashed.
    pub(super) troubled: bool,
    /// It was asked to end: it begins nothing any more.
    leaves: bool,
    /// Deliveries that are in flight, or of which it is not yet known that they are settled.
    pub(super) open: BTreeMap<DeliveryId, Open>,
    /// The lease that it was told of last, and when it was asked for.
    lease: Option<Lease>,
    pub(super) asked: Instant,
    /// What operations under way change or read, by their kind.
    under_way: BTreeMap<&'static str, Shards>,
    settling: Option<Arc<Vec<Settlement>>>,
    /// The campaigns of which nothing is sent, as it was told last.
    pub(super) stops: Vec<Stop>,
}

pub(super) struct Open {
    pub(super) lane: i64,
    pub(super) in_flight: bool,
    /// The engine was told what came of it, which one that is stopped is only when it goes on.
    pub(super) answered: bool,
    /// It stands for its request: of several in one the first.
    pub(super) leads: bool,
    /// Another worker took the lane over since.
    pub(super) lost: bool,
}

impl Engine {
    /// Takes in that the engine is about to be told this. Returns the deliveries of which it learns that they have ended
    /// with a success.
    fn note(&mut self, input: &Input) -> Vec<DeliveryId> {
        match input {
            Input::Hold(asked, Ok(lease)) => (self.lease, self.asked) = (Some(*lease), *asked),
            Input::Release(asked, Ok(left)) => (self.lease, self.asked) = (*left, *asked),
            Input::Load(Ok(snapshot)) => self.stops.clone_from(&snapshot.stops),
            Input::Send(flight, _) => {
                for due in flight.dues() {
                    if let Some(open) = self.open.get_mut(&due.id) {
                        open.answered = true;
                    }
                }
            }
            Input::Shutdown => self.leaves = true,
            Input::Route(_) => drop(self.under_way.remove("route")),
            Input::WorkOff(_) => drop(self.under_way.remove("work_off")),
            Input::Read(_) => drop(self.under_way.remove("read")),
            Input::Settle(result) => {
                let settling = self.settling.take();
                if result.is_ok() {
                    return self.close(&settling.unwrap_or_default());
                }
            }
            _ => {}
        }
        Vec::new()
    }

    /// These are settled.
    fn close(&mut self, settled: &[Settlement]) -> Vec<DeliveryId> {
        let mut succeeded = Vec::new();
        for settlement in settled {
            let lane = settlement.position.subscription;
            let is_it = |(id, open): (&DeliveryId, &Open)| {
                (id.event == settlement.event && open.lane == lane).then_some(*id)
            };
            let Some(id) = self.open.iter().find_map(is_it) else {
                continue;
            };
            self.open.remove(&id);
            if settlement.fate == Fate::Ended(End::Delivered) {
                succeeded.push(id);
            }
        }
        succeeded
    }

    /// What it was told to work with.
    pub(super) fn told(&self) -> Shards {
        self.lease.map_or(Shards::default(), |lease| lease.shards)
    }

    /// What it may begin something in, as far as it knows.
    pub(super) fn believes(&self, now: Instant) -> Shards {
        let lasts = |lease: &Lease| !self.leaves && now < self.asked + lease.length;
        self.lease
            .filter(lasts)
            .map_or(Shards::default(), |lease| lease.shards)
    }

    /// Checks what the engine asks of the store against what it was told.
    fn asks(&mut self, effect: &Effect, model: &Model) {
        let told = self.told();
        match effect {
            Effect::Hold(give) => {
                let kept = give.without(self.surplus());
                assert!(kept.is_empty(), "gives what is no surplus");
                self.gives(*give, model);
            }
            Effect::Release(lease, keep) => {
                self.leaves = true;
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
            stale: BTreeSet::new(),
            is_unaware: false,
            troubled: false,
            leaves: false,
            open: BTreeMap::new(),
            lease: None,
            asked: self.now,
            under_way: BTreeMap::new(),
            settling: None,
            stops: Vec::new(),
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

    pub(in crate::engine::simulation) fn is_living(&self, life: Life) -> bool {
        self.engines.contains_key(&life)
    }

    pub(in crate::engine::simulation) fn worker(&self, life: Life) -> WorkerId {
        self.engines[&life].worker
    }

    /// What an engine could give back, and has not yet.
    pub(in crate::engine::simulation) fn idle_surplus(&self, life: Life) -> Shards {
        let engine = &self.engines[&life];
        engine.surplus().without(engine.at_work(&self.model))
    }

    /// `kill -9`. What is on its way to the store or to a receiver arrives, or does not.
    pub(in crate::engine::simulation) fn kill(&mut self, life: Life) {
        let Some(engine) = self.engines.remove(&life) else {
            return;
        };
        self.excuse_open(&engine, Cause::Killed);
        self.drop_requests(life);
        for (at, happening) in std::mem::take(&mut self.agenda) {
            let arrives = match &happening {
                Happening::Store(_) => !engine.cut_off && self.below(2) == 0,
                _ => false,
            };
            if !happening.is_of(life) || arrives {
                self.agenda.insert(at, happening);
            }
        }
    }

    /// Nobody waits for these requests any more. Some are on the wire already.
    fn drop_requests(&mut self, life: Life) {
        for (at, happening) in std::mem::take(&mut self.agenda) {
            let is_dropped = happening.is_of(life) && happening.is_of_a_request();
            let happening = match happening {
                Happening::Request { flight, .. } if is_dropped && self.below(2) == 0 => {
                    Happening::Request {
                        life: NOBODY,
                        flight,
                    }
                }
                _ if is_dropped => continue,
                other => other,
            };
            self.agenda.insert(at, happening);
        }
    }

    /// What is in flight, or taken but not settled, may be sent once more.
    fn excuse_open(&mut self, engine: &Engine, cause: Cause) {
        let unfinished = self.model.deliveries();
        for (id, open) in &engine.open {
            if !open.lost && (open.in_flight || unfinished.contains(id)) {
                self.excuse(*id, cause);
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
        engine.is_unaware &= !is_failure(&input);
        let told = engine.note(&input);
        self.excuse_told_in_vain(told);
        let engine = self.engines.get_mut(&life).expect("it is there");
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
                    self.excuse_open(&engine, Cause::Dropped);
                    engine.open.retain(|_, open| open.answered);
                    self.engines.insert(life, engine);
                }
                self.drop_requests(life);
            }
            Effect::Finish => {
                let engine = self.engines.remove(&life).expect("it has just acted");
                // It ended without the store, so it may not have settled all.
                self.excuse_open(&engine, Cause::NotSettled);
                self.finished = Some(engine.state.result().map_err(|e| e.to_string()));
            }
            effect => {
                let engine = self.engines.get_mut(&life).expect("it has just acted");
                engine.asks(&effect, &self.model);
                let worker = engine.worker;
                self.ask(life, worker, effect);
            }
        }
    }
}

/// Whether an operation of the store failed.
fn is_failure(input: &Input) -> bool {
    match input {
        Input::Hold(_, result) => result.is_err(),
        Input::Poll(result) => result.is_err(),
        Input::Load(result) => result.is_err(),
        Input::Point(result) => result.is_err(),
        Input::Route(result) => result.is_err(),
        Input::Discover(result) => result.is_err(),
        Input::Read(result) => result.is_err(),
        Input::Settle(result) => result.is_err(),
        Input::Look(_, result) => result.is_err(),
        Input::LetGo(_, result) => result.is_err(),
        Input::Transition(result) => result.is_err(),
        Input::WorkOff(result) | Input::Forget(result) => result.is_err(),
        Input::Tell(result) | Input::Weigh(result) => result.is_err(),
        Input::Count(result) => result.is_err(),
        Input::Release(_, result) => result.is_err(),
        // Of these nothing is concluded.
        Input::Maintain(_)
        | Input::AddFigures(_)
        | Input::NoteDepth(_)
        | Input::Send(..)
        | Input::Woken
        | Input::Shutdown => false,
    }
}
