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
#[derive(Debug)]
pub struct Leases {
    shards: BTreeMap<Shard, Owned>,
    workers: BTreeMap<WorkerId, Live>,
    epoch: i64,
    /// Who has not heard yet that shards were given back.
    to_be_told: BTreeSet<WorkerId>,
    /// Shards whose lease had run out and that another worker took, and whose they were.
    pub taken_over: Vec<(WorkerId, Shard)>,
}

#[derive(Debug)]
struct Owned {
    owner: Option<WorkerId>,
    epoch: i64,
    until: Instant,
}

#[derive(Debug)]
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
            shards: (0..SHARDS).map(nobodys).collect(),
            workers: BTreeMap::new(),
            epoch: 0,
            to_be_told: BTreeSet::new(),
            taken_over: Vec::new(),
        }
    }

    // === what is asked of the store ===

    /// Takes the lease of a worker, or renews it, and takes back what is given.
    pub fn hold(
        &mut self,
        worker: WorkerId,
        give: Shards,
        now: Instant,
        clock: Timestamp,
    ) -> Lease {
        self.workers.retain(|_, live| live.until > now);
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
        let all = self.of(worker);
        let surplus = surplus(all, share);
        let settled = surplus.is_empty() && all.count() == share;
        Lease {
            worker,
            shards: all.without(surplus),
            surplus,
            epoch,
            clock,
            length: LENGTH,
            renew_after: if settled { RENEWAL } else { SOON },
        }
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

    /// Takes back what is given, as long as it is more than the share.
    fn take_back(&mut self, worker: WorkerId, give: Shards, share: u32) {
        for shard in give.iter() {
            let too_many = self.of(worker).count() > share;
            if let Some(owned) = self.shards.get_mut(&shard)
                && owned.owner == Some(worker)
                && too_many
            {
                owned.owner = None;
                self.to_be_told.extend(self.workers.keys());
            }
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
    pub fn check(&self, lease: &Lease) -> Result<Shards, StoreError> {
        let is_its = |shard: &Shard| {
            let owned = &self.shards[shard];
            owned.owner == Some(lease.worker) && owned.epoch <= lease.epoch
        };
        let valid: Shards = lease.owned().iter().filter(is_its).collect();
        if valid.is_empty() && !lease.owned().is_empty() {
            return Err(StoreError::LeaseLost);
        }
        Ok(valid)
    }

    /// A worker leaves, and goes on to own what is to be kept.
    pub fn release(
        &mut self,
        lease: &Lease,
        keep: Option<Shards>,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        self.check(lease)?;
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
            return Ok(None);
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

    /// Another worker has had all of them, and is gone again.
    pub fn pass_through_other_hands(&mut self) {
        let epoch = self.next_epoch();
        for owned in self.shards.values_mut() {
            owned.owner = None;
            owned.epoch = epoch;
        }
        self.workers.clear();
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

/// What is more than the share: scattered over all shards, and the same ones each time, so that what remains of it after
/// some were given back is still surplus.
fn surplus(all: Shards, share: u32) -> Shards {
    let mut scattered: Vec<Shard> = all.iter().collect();
    scattered.sort_by_key(|shard| (u32::from(shard.0) * 37) % 64);
    let share = usize::try_from(share).expect("at most 64");
    scattered.into_iter().skip(share).collect()
}
