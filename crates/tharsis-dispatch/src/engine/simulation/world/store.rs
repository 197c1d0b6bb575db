//! What the store and the server of its database do wrong.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tharsis_core::WorkerId;
use tharsis_store::StoreError;

use super::{Cause, Happening, Life, World};
use crate::engine::{
    doing::patience,
    simulation::model::{Model, failed},
    step::{Effect, Input},
};

/// How often the store fails, in percent of its operations.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::engine::simulation) struct Faults {
    /// Nothing was done.
    pub(in crate::engine::simulation) lost: u64,
    /// It was done, but the answer was lost.
    pub(in crate::engine::simulation) ambiguous: u64,
    /// It takes up to a minute, and may be done long after the engine has given it up.
    pub(in crate::engine::simulation) slow: u64,
    /// Nothing is ever settled.
    pub(in crate::engine::simulation) no_settling: bool,
    /// Maintenance fails, in a way that would end the run if anything else failed so.
    pub(in crate::engine::simulation) no_maintenance: bool,
}

/// The database's server.
#[derive(Debug)]
pub(super) enum Server {
    Up,
    /// It will crash. Of what is committed from now on only this will be on its disk.
    Doomed(Box<Model>),
    Down,
}

/// Connections that a worker keeps. Whoever gets one first after its server has crashed finds it dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pool {
    Engine,
    Leases,
}

fn pool(effect: &Effect) -> Option<Pool> {
    match effect {
        Effect::Hold(_) | Effect::Release(..) => Some(Pool::Leases),
        Effect::Maintain(_) | Effect::NoteDepth(_) | Effect::Count(_) => None,
        _ => Some(Pool::Engine),
    }
}

/// Whether what is committed with this operation is on the disk when it is answered.
fn is_durable(effect: &Effect) -> bool {
    matches!(effect, Effect::Hold(_) | Effect::Release(..))
}

/// An operation on its way to the store.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) life: Life,
    worker: WorkerId,
    at: Instant,
    effect: Effect,
    /// How long the way back takes; nobody waits there any more if it is none.
    back: Option<Duration>,
}

impl World {
    /// How long the way to the store takes, or back.
    fn way(&mut self) -> Duration {
        if self.faults.slow > 0 && self.below(200) < self.faults.slow {
            self.millis(0, 30_000)
        } else {
            self.millis(0, 10)
        }
    }

    /// Sends an operation on its way. Whoever waits for too long takes it for failed; it may be done even so.
    pub(super) fn ask(&mut self, life: Life, worker: WorkerId, effect: Effect) {
        self.operations += 1;
        let (there, back) = (self.way(), self.way());
        let patience = patience(&effect);
        let given_up = there + back > patience;
        if given_up {
            let input = failed(&effect, self.now);
            self.schedule(patience, Happening::Input { life, input });
        }
        let asked = Asked {
            life,
            worker,
            at: self.now,
            effect,
            back: (!given_up).then_some(back),
        };
        self.schedule(there, Happening::Store(asked));
    }

    /// The store carries out what it was asked for, or not.
    pub(super) fn carry_out(&mut self, asked: &Asked) {
        let (life, effect) = (asked.life, &asked.effect);
        let percent = self.below(100);
        let (lost, ambiguous) = (self.faults.lost, self.faults.ambiguous);
        let refused = self.faults.no_settling && matches!(effect, Effect::Settle(..));
        let input = if self.faults.no_maintenance && matches!(effect, Effect::Maintain(_)) {
            Input::Maintain(Err(unusable()))
        } else if !self.reaches_store(asked) || percent < lost || refused {
            failed(effect, asked.at)
        } else {
            self.in_order(asked);
            let input = self.perform_in_store(effect, asked.worker, asked.at);
            if percent < lost + ambiguous {
                failed(effect, asked.at)
            } else {
                input
            }
        };
        if let Some(back) = asked.back {
            self.schedule(back, Happening::Input { life, input });
        }
    }

    /// Carries an operation out. What others took over with it is lost for those who had it.
    fn perform_in_store(&mut self, effect: &Effect, worker: WorkerId, asked: Instant) -> Input {
        let input = self.model.perform(effect, worker, asked, self.now);
        if is_durable(effect) {
            self.flush();
        }
        for (before, shard) in std::mem::take(&mut self.model.leases.taken_over) {
            let engine = self.engines.values_mut().find(|e| e.worker == before);
            for (id, open) in engine.into_iter().flat_map(|e| &mut e.open) {
                if !open.lost && self.model.shard(open.lane) == shard {
                    open.lost = true;
                    self.excused.entry(*id).or_default().push(Cause::TakenOver);
                }
            }
        }
        self.check_after(effect, &input);
        input
    }

    /// Each worker's share is decided while the shards are locked, so it is in the order of asking.
    fn in_order(&mut self, asked: &Asked) {
        let is_of_shares =
            |effect: &Effect| matches!(effect, Effect::Hold(_) | Effect::Release(..));
        if !is_of_shares(&asked.effect) {
            return;
        }
        let earlier = self.take_from_agenda(|happening| {
            matches!(happening, Happening::Store(other)
                if is_of_shares(&other.effect) && other.worker == asked.worker && other.at < asked.at)
        });
        for happening in earlier {
            self.happen(happening);
        }
    }

    fn reaches_store(&mut self, asked: &Asked) -> bool {
        if matches!(self.server, Server::Down) {
            return false;
        }
        // Its session ended with the crash.
        if self.crashed.is_some_and(|crashed| asked.at <= crashed) {
            return false;
        }
        let Some(engine) = self.engines.get_mut(&asked.life) else {
            return true;
        };
        let stale = pool(&asked.effect).is_some_and(|pool| engine.stale.remove(&pool));
        !engine.cut_off && !stale
    }

    // === a crash of the server ===

    /// From now on the server writes to its disk only what waits for that, and in so long it crashes.
    pub(in crate::engine::simulation) fn doom(&mut self, crash: Duration, recovery: Duration) {
        if !matches!(self.server, Server::Up) {
            return;
        }
        self.server = Server::Doomed(Box::new(self.model.clone()));
        self.schedule(crash, Happening::Crash);
        self.schedule(crash + recovery, Happening::Recovery);
    }

    pub(in crate::engine::simulation) fn is_down(&self) -> bool {
        matches!(self.server, Server::Down)
    }

    /// All that is committed by now is on the disk.
    pub(super) fn flush(&mut self) {
        if let Server::Doomed(disk) = &mut self.server {
            **disk = self.model.clone();
        }
    }

    /// What is not on the disk is lost, also what was acknowledged; so are all sessions, and most answers under way.
    pub(super) fn crash(&mut self) {
        let Server::Doomed(mut disk) = std::mem::replace(&mut self.server, Server::Down) else {
            return;
        };
        disk.skew = self.model.skew;
        disk.maintained = self.model.maintained;
        disk.end_sessions();
        let before = std::mem::replace(&mut self.model, *disk);
        self.note_lost_commits(&before);
        self.crashed = Some(self.now);
        for engine in self.engines.values_mut() {
            engine.troubled = true;
            engine.is_unaware = true;
            engine.stale = BTreeSet::from([Pool::Engine, Pool::Leases]);
        }
        for (at, happening) in std::mem::take(&mut self.agenda) {
            let happening = match happening {
                Happening::Input { life, input } if self.below(2) == 0 => Happening::Input {
                    life,
                    input: lost_on_the_way(input),
                },
                other => other,
            };
            self.agenda.insert(at, happening);
        }
    }

    // === its clock ===

    /// The database's clock is set forward or back.
    pub(in crate::engine::simulation) fn set_clock_by(&mut self, millis: i64) {
        self.model.set_clock_by(millis);
        if let Server::Doomed(disk) = &mut self.server {
            disk.set_clock_by(millis);
        }
        if millis > 0 {
            self.set_forward = Some(self.now);
        } else {
            self.set_back = true;
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

/// An answer whose connection ends before it has arrived.
fn lost_on_the_way(input: Input) -> Input {
    fn error<T>() -> Result<T, StoreError> {
        Err(StoreError::Database("the connection was closed".into()))
    }
    match input {
        Input::Hold(asked, _) => Input::Hold(asked, error()),
        Input::Poll(_) => Input::Poll(error()),
        Input::Load(_) => Input::Load(error()),
        Input::Point(_) => Input::Point(error()),
        Input::Route(_) => Input::Route(error()),
        Input::Discover(_) => Input::Discover(error()),
        Input::Read(_) => Input::Read(error()),
        Input::Settle(_) => Input::Settle(error()),
        Input::Look(asked, _) => Input::Look(asked, error()),
        Input::LetGo(asked, _) => Input::LetGo(asked, error()),
        Input::Transition(_) => Input::Transition(error()),
        Input::WorkOff(_) => Input::WorkOff(error()),
        Input::Tell(_) => Input::Tell(error()),
        Input::Weigh(_) => Input::Weigh(error()),
        Input::AddFigures(_) => Input::AddFigures(error()),
        Input::NoteDepth(_) => Input::NoteDepth(error()),
        Input::Forget(_) => Input::Forget(error()),
        Input::Maintain(_) => Input::Maintain(error()),
        Input::Count(_) => Input::Count(error()),
        Input::Release(asked, _) => Input::Release(asked, error()),
        Input::Send(..) | Input::Woken | Input::Shutdown => input,
    }
}
