//! What workers do, but for settling.

use std::collections::{BTreeMap, BTreeSet};

use tharsis_core::{
    EventId, Timestamp,
    delivery::{End, codes},
    event::Event,
};
use tharsis_store::{
    Due, LaneRead, Lease, Outbox, Pointer, Position, RouteTo, Routed, Shards, Snapshot,
};

use super::{ALL, Both, Read, Story, give_up};
use crate::{
    answer::{Told, failed, in_order, pair, plain, same},
    command::How,
    database::Database,
    harness::client,
};

/// Every second shard.
const HALF: Shards = Shards(0x5555_5555_5555_5555);

impl<D: Database> Story<'_, D> {
    pub(super) async fn hold(&mut self, n: usize, gives: bool) -> Told {
        let worker = &mut self.workers[n];
        let surplus = worker.lease.as_ref().map(|lease| lease.store.surplus);
        let give = surplus.filter(|_| gives).unwrap_or_default();
        let answer = worker.store.hold(worker.id, give).await;
        let clock = answer.as_ref().map_or(self.now, |lease| lease.clock);
        let expected = self.model.hold(worker.id, give, self.start, clock);
        let says = |lease: &Lease| (lease.worker, lease.shards, lease.surplus);
        same(
            "lease",
            &plain(answer.as_ref().map(says)),
            &plain(expected.as_ref().map(says)),
        )?;
        worker.lease = answer
            .ok()
            .zip(expected.ok())
            .map(|(store, model)| Both { store, model });
        Ok(())
    }

    pub(super) async fn leave(&mut self, n: usize, keeps: bool) -> Told {
        let worker = &mut self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        // Half of what it has; where one process owns all or nothing, all.
        let some = if D::WORKERS == 1 { Shards::ALL } else { HALF };
        let keep = keeps.then_some(some.within(lease.store.owned()));
        let answer = worker.store.release(&lease.store, keep).await;
        let expected = self.model.release(&lease.model, keep, self.start, self.now);
        let says = |lease: &Option<Lease>| lease.map(|lease| (lease.shards, lease.surplus));
        same(
            "left",
            &plain(answer.as_ref().map(says)),
            &plain(expected.as_ref().map(says)),
        )?;
        worker.lease = match (answer, expected) {
            (Ok(Some(store)), Ok(Some(model))) => Some(Both { store, model }),
            _ => None,
        };
        Ok(())
    }

    /// Reads pointers and decides, as the engine does.
    pub(super) async fn plan(&mut self, n: usize, limit: u32) -> Told {
        let worker = &self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        let Ok(expected) = self.model.pointers(&lease.model, ALL) else {
            return Ok(());
        };
        let found = worker.store.pointers(&lease.store, limit).await;
        let found = found.map_err(failed)?;
        let snapshot = worker.store.snapshot().await.map_err(failed)?;
        same("revision", &snapshot.revision, &found.revision)?;
        self.compare_pointers(&found.events, &expected.events, limit)?;
        let numbers: BTreeMap<EventId, i64> = expected
            .events
            .iter()
            .map(|pointer| (pointer.event, pointer.seq))
            .collect();
        let plan = found.events.iter().map(|pointer| {
            let routed = decide(&snapshot, pointer, self.now);
            let model = Routed {
                seq: numbers[&pointer.event],
                ..routed.clone()
            };
            Both {
                store: routed,
                model,
            }
        });
        self.workers[n].plan = plan.collect();
        Ok(())
    }

    /// The first of each client, in order of publication.
    fn compare_pointers(&self, found: &[Pointer], all: &[Pointer], limit: u32) -> Told {
        let limit = usize::try_from(limit).expect("small");
        if all.len() <= limit || D::WORKERS == 1 {
            let first: Vec<String> = all.iter().take(limit).map(facts).collect();
            let found: Vec<String> = found.iter().map(facts).collect();
            return same("pointers", &found, &first);
        }
        if found.is_empty() || found.len() > limit {
            return Err(format!("{} pointers where {limit} are wanted", found.len()));
        }
        for of in [client(1), client(2)] {
            let of = |pointer: &&Pointer| pointer.client == of;
            let found: Vec<String> = found.iter().filter(of).map(facts).collect();
            let first = all.iter().filter(of).take(found.len());
            same("pointers", &found, &first.map(facts).collect())?;
        }
        Ok(())
    }

    pub(super) async fn route(&mut self, how: How, n: usize) -> Told {
        if self.workers[n].plan.is_empty() {
            self.plan(n, ALL).await?;
        }
        let worker = &self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        let store: Vec<Routed> = worker.plan.iter().map(|one| one.store.clone()).collect();
        let model: Vec<Routed> = worker.plan.iter().map(|one| one.model.clone()).collect();
        if store.is_empty() {
            return Ok(());
        }
        for once in how.times() {
            if let Some(micros) = once {
                give_up(micros, worker.store.route(&lease.store, &store)).await;
            }
            let answer = worker.store.route(&lease.store, &store).await;
            let expected = self.model.route(&lease.model, &model);
            same("routed", &plain(answer), &plain(expected))?;
        }
        self.workers[n].plan.clear();
        Ok(())
    }

    pub(super) async fn read(&mut self, n: usize, limit: u32) -> Told {
        let worker = &self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        let whole = self.lanes(ALL);
        let Ok(expected) = self.model.due(&lease.model, &whole, self.now) else {
            return Ok(());
        };
        let all = worker.store.due(&lease.store, &whole, self.now).await;
        let all = all.map_err(failed)?;
        let pairs = pair(&all.due, &expected.due)?;
        same(
            "what is due later",
            &in_order(&all.later),
            &in_order(&expected.later),
        )?;
        let first = self.lanes(limit);
        let some = worker.store.due(&lease.store, &first, self.now).await;
        let some = some.map_err(failed)?;
        self.compare_read(&all.due, &some.due, limit)?;
        self.read_on(n, &all.due).await?;
        for due in some.due {
            let both = pairs.iter().find(|both| both.store.id == due.id);
            let due = both.expect("it is among all").clone();
            self.reads.push(Read { due, at: self.now });
        }
        Ok(())
    }

    /// Of each lane the first.
    fn compare_read(&self, all: &[Due], some: &[Due], limit: u32) -> Told {
        let limit = usize::try_from(limit).expect("small");
        let mut seen: BTreeMap<i64, usize> = BTreeMap::new();
        let first = all.iter().filter(|due| {
            let seen = seen.entry(due.position.subscription).or_default();
            *seen += 1;
            *seen <= limit
        });
        let first: Vec<Position> = first.map(|due| due.position).collect();
        let some: Vec<Position> = some.iter().map(|due| due.position).collect();
        same("the first that are due", &some, &first)
    }

    /// After each position comes what comes after it.
    pub(super) async fn read_on(&self, n: usize, all: &[Due]) -> Told {
        let worker = &self.workers[n];
        let (Some(lease), Some(middle)) = (&worker.lease, all.get(all.len() / 2)) else {
            return Ok(());
        };
        let after = middle.position;
        let lane = LaneRead {
            subscription: after.subscription,
            after: Some(after),
            limit: ALL,
            named: false,
        };
        let rest = worker.store.due(&lease.store, &[lane], self.now).await;
        let rest: Vec<Position> = rest
            .map_err(failed)?
            .due
            .iter()
            .map(|due| due.position)
            .collect();
        let expected = all.iter().map(|due| due.position);
        let expected = expected.filter(|at| at.subscription == after.subscription && *at > after);
        same("what comes after", &rest, &expected.collect())
    }

    pub(crate) fn lanes(&self, limit: u32) -> Vec<LaneRead> {
        let numbers = self
            .subscriptions
            .iter()
            .filter_map(|id| self.model.number(*id));
        let lane = |subscription| LaneRead {
            subscription,
            after: None,
            limit,
            named: false,
        };
        numbers.map(lane).collect()
    }

    pub(super) async fn work_off(&mut self, how: How, n: usize) -> Told {
        let worker = &self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        let has_work = self.model.has_work(&lease.model);
        for once in how.times() {
            if let Some(micros) = once {
                give_up(micros, worker.store.work_off(&lease.store, self.now)).await;
            }
            let store = &worker.store;
            let mut touched = BTreeSet::new();
            let mut chunks = 0..1_000;
            let answer = loop {
                chunks.next().ok_or("there is always more")?;
                match store.work_off(&lease.store, self.now).await {
                    Ok(done) => {
                        touched.extend(done.lanes.iter().map(|lane| lane.subscription));
                        if !done.more {
                            break Ok(());
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            let mut wanted = BTreeSet::new();
            let expected = loop {
                match self.model.work_off(&lease.model, self.now) {
                    Ok(done) => {
                        wanted.extend(done.lanes.iter().map(|lane| lane.subscription));
                        if !done.more {
                            break Ok(());
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            // Where there is nothing to do, it need not be known that the lease is lost.
            if has_work || answer.is_err() {
                same("worked off", &plain(answer), &plain(expected))?;
            }
            if once.is_none() {
                same("lanes that were touched", &touched, &wanted)?;
            }
        }
        Ok(())
    }
}

/// Whom an event goes to, and from when on.
fn decide(snapshot: &Snapshot, pointer: &Pointer, now: Timestamp) -> Routed {
    let due_at = pointer.not_before.map_or(now, |at| at.max(now));
    let ends = pointer
        .expires_at
        .filter(|at| *at <= due_at)
        .map(|_| (End::Expired, codes::EXPIRED));
    let frozen = pointer
        .unfrozen
        .as_ref()
        .map(|text| Event::freeze(&pointer.event_type, pointer.client, text).map(Box::new));
    let wanting = snapshot
        .targets
        .iter()
        .filter(|(_, target)| target.wants(pointer.client, &pointer.event_type));
    let to = wanting.map(|(subscription, _)| RouteTo {
        subscription: *subscription,
        due_at,
        ends,
    });
    Routed {
        seq: pointer.seq,
        to: to.collect(),
        frozen,
    }
}

fn facts(pointer: &Pointer) -> String {
    let pointer = Pointer {
        seq: 0,
        ..pointer.clone()
    };
    format!("{pointer:?}")
}
