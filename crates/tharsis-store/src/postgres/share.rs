//! Who is to own which shards: decided by what the tables say, alone.

use tharsis_core::{Timestamp, WorkerId};

use crate::{SHARDS, Shard, Shards};

/// Who owns a shard, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) shard: Shard,
    pub(super) owner: WorkerId,
    pub(super) until: Timestamp,
}

/// What one worker asks with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) me: WorkerId,
    /// The others that live.
    pub(super) others: &'a [WorkerId],
    /// What of its surplus it has nothing under way in any more.
    pub(super) give: Shards,
    pub(super) now: Timestamp,
}

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Share {
    /// Free ones, or of somebody whose lease is over, that become this worker's.
    pub(super) take: Shards,
    /// Its own that it goes on to own.
    pub(super) keep: Shards,
    /// Of these: more than its share, to be given back when nothing of them is under way.
    pub(super) surplus: Shards,
    /// Its own that are free from now on.
    pub(super) free: Shards,
    /// It has what it should have.
    pub(super) right: bool,
}

/// Live workers have the same number of shards, but for one where that does not come out even: the first by their ids
/// have it. Whoever has more keeps the excess, its highest shards, until it gives them; whoever has less takes what
/// nobody has.
pub(super) fn share(rows: &[Owned], claim: Claim<'_>) -> Share {
    let mine = of(rows.iter().filter(|row| row.owner == claim.me));
    let held = of(rows
        .iter()
        .filter(|row| row.owner != claim.me && row.until > claim.now));
    let target = target(&claim);

    let free = last(mine, excess(mine, target)).within(claim.give);
    let keep = mine.without(free);
    let takable = Shards::ALL.without(mine).without(held);
    let take = first(takable, target.saturating_sub(keep.count()));
    let surplus = last(keep, excess(keep, target));
    Share {
        take,
        keep,
        surplus,
        free,
        right: keep.count() + take.count() == target,
    }
}

fn target(claim: &Claim<'_>) -> u32 {
    let shards = u32::from(SHARDS);
    let workers = u32::try_from(claim.others.len()).map_or(shards, |n| n.saturating_add(1));
    let before = claim.others.iter().filter(|id| **id < claim.me).count();
    let has_one_more = u32::try_from(before).is_ok_and(|before| before < shards % workers);
    shards / workers + u32::from(has_one_more)
}

fn excess(shards: Shards, target: u32) -> u32 {
    shards.count().saturating_sub(target)
}

fn of<'a>(rows: impl Iterator<Item = &'a Owned>) -> Shards {
    rows.map(|row| row.shard).collect()
}

fn first(shards: Shards, count: u32) -> Shards {
    shards
        .iter()
        .zip(0..count)
        .map(|(shard, _)| shard)
        .collect()
}

fn last(shards: Shards, count: u32) -> Shards {
    shards.without(first(shards, shards.count().saturating_sub(count)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEASE: i64 = 15_000;

    fn worker(n: usize) -> WorkerId {
        let n = u8::try_from(n).expect("few workers");
        WorkerId::new(Timestamp::from_millis(1_700_000_000_000), [n; 10])
    }

    /// The tables, and what each worker believes.
    #[derive(Debug, Default)]
    struct World {
        now: i64,
        rows: Vec<Owned>,
        /// Until when each worker lives.
        lives: Vec<(WorkerId, i64)>,
    }

    impl World {
        fn at(&self) -> Timestamp {
            Timestamp::from_millis(self.now)
        }

        fn others(&self, me: WorkerId) -> Vec<WorkerId> {
            self.lives
                .iter()
                .filter(|(id, until)| *id != me && *until > self.now)
                .map(|(id, _)| *id)
                .collect()
        }

        /// As `hold` writes it.
        fn hold(&mut self, me: WorkerId, give: Shards) -> Share {
            let others = self.others(me);
            let claim = Claim {
                me,
                others: &others,
                give,
                now: self.at(),
            };
            let share = share(&self.rows, claim);
            self.check(me, &share);
            let owned = share.keep.with(share.take);
            self.rows
                .retain(|row| row.owner != me && !share.take.contains(row.shard));
            let until = Timestamp::from_millis(self.now + LEASE);
            self.rows.extend(owned.iter().map(|shard| Owned {
                shard,
                owner: me,
                until,
            }));
            self.lives.retain(|(id, _)| *id != me);
            self.lives.push((me, self.now + LEASE));
            share
        }

        /// Nothing is taken that is not free or expired, and nothing is given that is not its own.
        fn check(&self, me: WorkerId, share: &Share) {
            for row in &self.rows {
                if row.owner != me && row.until > self.at() {
                    assert!(!share.take.contains(row.shard), "{row:?} is somebody's");
                }
            }
            let mine = of(self.rows.iter().filter(|row| row.owner == me));
            assert_eq!(share.keep.with(share.free), mine);
            assert_eq!(share.keep.0 & share.free.0, 0);
            assert_eq!(share.take.0 & mine.0, 0);
            assert_eq!(share.surplus.without(share.keep), Shards::default());
        }

        fn of(&self, me: WorkerId) -> Shards {
            of(self.rows.iter().filter(|row| row.owner == me))
        }
    }

    #[test]
    fn a_sole_worker_gets_all_at_once() {
        let mut world = World::default();
        let share = world.hold(worker(1), Shards::default());
        assert_eq!((share.take, share.right), (Shards::ALL, true));
    }

    #[test]
    fn a_second_one_gets_half_as_it_is_given() {
        let mut world = World::default();
        world.hold(worker(1), Shards::default());
        let second = world.hold(worker(2), Shards::default());
        assert_eq!((second.take.count(), second.right), (0, false));
        let first = world.hold(worker(1), Shards::default());
        assert_eq!((first.surplus.count(), first.keep.count()), (32, 64));
        // One is still busy: the rest goes.
        let quiet = first.surplus.without(Shards(1 << 63));
        let first = world.hold(worker(1), quiet);
        assert_eq!(first.surplus, Shards(1 << 63));
        assert_eq!(first.free, quiet);
        assert_eq!(world.hold(worker(2), Shards::default()).take, quiet);
        // Asked again after a lost answer, it gives nothing more.
        let first = world.hold(worker(1), quiet);
        assert_eq!(
            (first.free, first.surplus),
            (Shards::default(), Shards(1 << 63))
        );
    }

    #[test]
    fn what_is_no_surplus_any_more_is_not_given() {
        let mut world = World::default();
        world.hold(worker(1), Shards::default());
        world.hold(worker(2), Shards::default());
        let first = world.hold(worker(1), Shards::default());
        world.now += LEASE;
        let again = world.hold(worker(1), first.surplus);
        assert_eq!((again.keep, again.right), (Shards::ALL, true));
    }

    #[test]
    fn what_a_dead_one_had_is_free_when_its_lease_is_over() {
        let mut world = World::default();
        world.hold(worker(1), Shards::default());
        world.now = LEASE - 1;
        assert_eq!(
            world.hold(worker(2), Shards::default()).take,
            Shards::default()
        );
        world.now = LEASE;
        assert_eq!(world.hold(worker(2), Shards::default()).take, Shards::ALL);
        let zombie = world.hold(worker(1), Shards::default());
        assert_eq!(
            (zombie.keep, zombie.take),
            (Shards::default(), Shards::default())
        );
    }

    proptest! {
        /// Whatever holds, sleeps and dies, in whatever order: a shard has one owner, and those who are left come to have
        /// the same number within one.
        #[test]
        fn shares_become_even(
            steps in prop::collection::vec((0usize..9, 0i64..20_000, any::<u64>()), 0..60),
            left in 1usize..9,
        ) {
            let mut world = World::default();
            for (who, after, give) in steps {
                world.now += after;
                world.hold(worker(who), Shards(give));
                let mut owned: Vec<_> = world.rows.iter().map(|row| row.shard).collect();
                owned.sort();
                owned.dedup();
                prop_assert_eq!(owned.len(), world.rows.len(), "one owner each");
            }
            // The others are gone; these hold in turn and give what they are asked for.
            world.now += LEASE;
            let mut asked = vec![Shards::default(); left];
            for _ in 0..3 {
                for (who, give) in asked.iter_mut().enumerate() {
                    world.now += 1;
                    *give = world.hold(worker(who), *give).surplus;
                }
            }
            for who in 0..left {
                let count = world.of(worker(who)).count() as usize;
                prop_assert!(count == 64 / left || count == 64_usize.div_ceil(left), "{count} of {left}");
            }
            prop_assert_eq!(world.rows.len(), 64);
        }
    }
}
