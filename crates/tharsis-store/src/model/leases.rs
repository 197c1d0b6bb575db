use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{Lease, SHARDS, Shard, Shards, StoreError};
use tharsis_core::{Timestamp, WorkerId};

/// How long a lease lasts.
const LENGTH: Duration = Duration::from_secs(15);

/// How often it is renewed, and how often while shards are to change hands.
const RENEWAL: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(500);

/// Who owns which shard, as the contract has it: live workers share them evenly, and who has more than its share is asked
/// to give the rest back.
#[derive(Debug, Clone)]
pub struct Leases {
    start: Instant,
    shards: BTreeMap<Shard, Owned>,
    workers: BTreeMap<WorkerId, Live>,
    epoch: i64,
    /// What each worker knows that it has.
    held: BTreeMap<WorkerId, Held>,
    /// Who has not heard yet that shards were given back.
    to_be_told: BTreeSet<WorkerId>,
    /// Shards whose lease had run out and that another worker took, and whose they were.
    pub taken_over: Vec<(WorkerId, Shard)>,
}

#[derive(Debug, Clone)]
struct Owned {
    owner: Option<WorkerId>,
    epoch: i64,
    until: Instant,
}

/// The epochs of the first lease of a worker and of its newest one, and what that is of.
#[derive(Debug, Clone, Copy)]
struct Held {
    since: i64,
    epoch: i64,
    owned: Shards,
}

#[derive(Debug, Clone)]
struct Live {
    epoch: i64,
    until: Instant,
    /// It counts for nobody's share any more.
    leaving: bool,
}

impl Live {
    fn new(epoch: i64, until: Instant) -> Self {
        Self {
            epoch,
            until,
            leaving: false,
        }
    }
}

impl Leases {
    /// All are nobody's.
    pub fn new(start: Instant) -> Self {
        let nobodys = |shard| {
            let owned = Owned {
                owner: None,
                epoch: 0,
                until: start,
            };
            (Shard(shard), owned)
        };
        Self {
            start,
            shards: (0..SHARDS).map(nobodys).collect(),
            workers: BTreeMap::new(),
            epoch: 0,
            held: BTreeMap::new(),
            to_be_told: BTreeSet::new(),
            taken_over: Vec::new(),
        }
    }

    // === what is asked of the store ===

    /// Takes the lease of a worker, or renews it, and takes back what of its surplus is given.
    ///
    /// # Errors
    /// `LeaseLost`, once, when all that it had is another's by now.
    pub fn hold(
        &mut self,
        worker: WorkerId,
        give: Shards,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Lease, StoreError> {
        self.workers
            .retain(|id, live| *id == worker || live.until > now);
        let before = self.held.get(&worker).copied();
        if let Some(before) = before
            && !before.owned.is_empty()
            && self.of(worker).within(before.owned).is_empty()
        {
            self.held.remove(&worker);
            return Err(StoreError::LeaseLost);
        }
        let epoch = self.workers.get(&worker).map(|live| live.epoch);
        let mut epoch = epoch.unwrap_or_else(|| self.next_epoch());
        let until = now + LENGTH;
        self.workers.insert(worker, Live::new(epoch, until));

        let share = self.share_of(worker);
        self.take_back(worker, give, share);
        if self.take(worker, share, now) {
            epoch = self.epoch;
            self.workers.insert(worker, Live::new(epoch, until));
        }
        for owned in self.shards.values_mut() {
            if owned.owner == Some(worker) {
                owned.until = until;
            }
        }
        let owned = self.of(worker);
        let since = before.map_or(epoch, |held| held.since);
        let held = Held {
            since,
            epoch,
            owned,
        };
        self.held.insert(worker, held);
        let surplus = surplus(owned, share);
        let settled = surplus.is_empty() && owned.count() == share;
        Ok(Lease {
            worker,
            shards: owned.without(surplus),
            surplus,
            epoch,
            clock,
            length: LENGTH,
            renew_after: if settled { RENEWAL } else { SOON },
        })
    }

    fn next_epoch(&mut self) -> i64 {
        self.epoch += 1;
        self.epoch
    }

    /// How many shards it should have. The first workers get one more where they cannot be split evenly.
    fn share_of(&self, worker: WorkerId) -> u32 {
        let stays = |(id, live): (&WorkerId, &Live)| (!live.leaving).then_some(*id);
        let stay: Vec<WorkerId> = self.workers.iter().filter_map(stays).collect();
        let place = stay.iter().filter(|id| **id < worker).count();
        let (each, more) = (64 / stay.len(), 64 % stay.len());
        u32::try_from(each + usize::from(place < more)).expect("at most 64")
    }

    /// Takes back what is given of what is more than the share.
    fn take_back(&mut self, worker: WorkerId, give: Shards, share: u32) {
        for shard in surplus(self.of(worker), share).within(give).iter() {
            self.shards.get_mut(&shard).expect("one of all").owner = None;
            self.to_be_told.extend(self.workers.keys());
        }
    }

    /// Lets the worker have what nobody has any more, up to its share; says whether there was something.
    fn take(&mut self, worker: WorkerId, share: u32, now: Instant) -> bool {
        let mut lacks = share.saturating_sub(self.of(worker).count());
        let epoch = self.epoch + 1;
        for (shard, owned) in &mut self.shards {
            let free = owned.owner != Some(worker) && (owned.owner.is_none() || owned.until <= now);
            if lacks == 0 || !free {
                continue;
            }
            if let Some(before) = owned.owner.replace(worker) {
                self.taken_over.push((before, *shard));
            }
            owned.epoch = epoch;
            self.epoch = epoch;
            lacks -= 1;
        }
        self.epoch == epoch
    }

    /// What of the lease is still the worker's.
    ///
    /// # Errors
    /// `LeaseLost` where the worker does not hold it, or nothing of it is left.
    pub fn check(&self, lease: &Lease) -> Result<Shards, StoreError> {
        let is_its = |shard: &Shard| {
            let owned = &self.shards[shard];
            owned.owner == Some(lease.worker) && owned.epoch <= lease.epoch
        };
        self.check_known(lease)?;
        let valid: Shards = lease.owned().iter().filter(is_its).collect();
        if valid.is_empty() && !lease.owned().is_empty() {
            return Err(StoreError::LeaseLost);
        }
        Ok(valid)
    }

    /// That the worker holds it, as far as its process knows.
    fn check_known(&self, lease: &Lease) -> Result<(), StoreError> {
        match self.held.get(&lease.worker) {
            Some(held) if (held.since..=held.epoch).contains(&lease.epoch) => Ok(()),
            _ => Err(StoreError::LeaseLost),
        }
    }

    /// A worker leaves, and goes on to own what is to be kept.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn release(
        &mut self,
        lease: &Lease,
        keep: Option<Shards>,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        // Who keeps nothing need not have anything any more.
        match keep {
            Some(_) => self.check(lease).map(drop)?,
            None => self.check_known(lease)?,
        }
        let until = now + LENGTH;
        for (shard, owned) in &mut self.shards {
            if owned.owner == Some(lease.worker) {
                owned.until = until;
                if !keep.is_some_and(|keep| keep.contains(*shard)) {
                    owned.owner = None;
                }
            }
        }
        let left = self.workers.remove(&lease.worker);
        self.to_be_told.extend(self.workers.keys());
        if keep.is_none() {
            self.held.remove(&lease.worker);
            return Ok(None);
        }
        let owned = self.of(lease.worker);
        if let Some(held) = self.held.get_mut(&lease.worker) {
            held.owned = owned;
        }
        let leaving = Live {
            leaving: true,
            ..Live::new(left.map_or(lease.epoch, |live| live.epoch), until)
        };
        self.workers.insert(lease.worker, leaving);
        Ok(Some(Lease {
            shards: Shards::default(),
            surplus: self.of(lease.worker),
            clock,
            renew_after: RENEWAL,
            ..*lease
        }))
    }

    /// Says it once to each who was there.
    pub fn were_given_back(&mut self, to: WorkerId) -> bool {
        self.to_be_told.remove(&to)
    }

    /// Leases end by the database's clock: one that is set forward brings their ends nearer.
    pub fn clock_set_by(&mut self, millis: i64) {
        let by = Duration::from_millis(millis.unsigned_abs());
        let shards = self.shards.values_mut().map(|owned| &mut owned.until);
        let workers = self.workers.values_mut().map(|live| &mut live.until);
        for until in shards.chain(workers) {
            if millis < 0 {
                *until += by;
            } else {
                // An instant that the monotonic clock does not know is past in any case.
                *until = until.checked_sub(by).unwrap_or(self.start);
            }
        }
    }

    /// The process of a worker is gone, and nobody knows of what it held until that runs out.
    pub fn forget(&mut self, worker: WorkerId) {
        self.held.remove(&worker);
    }

    /// The lease of a worker runs out now.
    pub fn run_out(&mut self, worker: WorkerId, now: Instant) {
        for owned in self.shards.values_mut() {
            if owned.owner == Some(worker) {
                owned.until = now;
            }
        }
        if let Some(live) = self.workers.get_mut(&worker) {
            live.until = now;
        }
    }

    // === what there is ===

    /// The shards of a worker.
    pub fn of(&self, worker: WorkerId) -> Shards {
        let its =
            |(shard, owned): (&Shard, &Owned)| (owned.owner == Some(worker)).then_some(*shard);
        self.shards.iter().filter_map(its).collect()
    }

    /// Whose this shard is, and until when if the lease is not renewed.
    pub fn owner(&self, shard: Shard) -> Option<(WorkerId, Instant)> {
        let owned = &self.shards[&shard];
        owned.owner.map(|owner| (owner, owned.until))
    }

    /// Somebody who owns something.
    pub fn any_owner(&self) -> Option<WorkerId> {
        self.shards.values().find_map(|owned| owned.owner)
    }

    /// When the last lease ends, if none is renewed.
    pub fn held_until(&self) -> Option<Instant> {
        let held = self.shards.values().filter(|owned| owned.owner.is_some());
        held.map(|owned| owned.until).max()
    }
}

/// What is more than the share: the highest, so that what remains of it after some were given back is still surplus.
fn surplus(all: Shards, share: u32) -> Shards {
    all.iter()
        .skip(usize::try_from(share).expect("at most 64"))
        .collect()
}
