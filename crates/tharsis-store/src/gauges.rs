//! What lies in the database at a moment, as somebody asks who draws it over time.

use std::{collections::BTreeMap, time::Duration};

use tharsis_core::Timestamp;

use crate::Shard;

/// A certificate that no request has met for so long may have been replaced.
const MET: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// What a look finds that takes a bounded time: nothing is counted beyond [`MOST_COUNTED`](crate::MOST_COUNTED).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gauges {
    /// The database's clock.
    pub clock: Timestamp,
    /// What is unfinished, of each shard that has something.
    pub shards: BTreeMap<Shard, Backlog>,
    /// Events that are not routed yet.
    pub unrouted: u64,
    /// Deliveries that are held.
    pub held: u64,
    /// Commands and replays that are not carried out yet.
    pub commands: u64,
    /// Workers that deliver at present.
    pub workers: u64,
    /// When the certificates of receivers end that people were told of, one of each subscription.
    pub certificates: Vec<Timestamp>,
}

/// What is unfinished in a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Deliveries, held or not.
    pub deliveries: u64,
    /// When the first of them was due that nothing holds.
    pub due_since: Option<Timestamp>,
}

/// Connections to the database that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// What they are for.
    pub name: &'static str,
    /// Those that wait for somebody.
    pub idle: u64,
    /// Those that somebody has.
    pub used: u64,
}

impl Gauges {
    /// How long the first delivery that nothing holds has been due.
    pub fn overdue(&self) -> Option<Duration> {
        let first = self.shards.values().filter_map(|of| of.due_since).min();
        first.map(|due| self.clock.since(due))
    }
}

/// What was counted, and what is due by now, each shard once.
pub(crate) fn by_shard(
    counted: impl IntoIterator<Item = (Shard, u64)>,
    due: impl IntoIterator<Item = (Shard, Timestamp)>,
    clock: Timestamp,
) -> BTreeMap<Shard, Backlog> {
    let mut shards: BTreeMap<Shard, Backlog> = BTreeMap::new();
    for (shard, deliveries) in counted {
        shards.entry(shard).or_default().deliveries += deliveries;
    }
    for (shard, due_at) in due.into_iter().filter(|(_, due_at)| *due_at <= clock) {
        let first = &mut shards.entry(shard).or_default().due_since;
        *first = Some(first.map_or(due_at, |first| first.min(due_at)));
    }
    shards
}

/// Since when a certificate must have been met to count.
pub(crate) fn met_since(clock: Timestamp) -> Timestamp {
    clock - MET
}

pub(crate) fn pool<D: sqlx::Database>(name: &'static str, pool: &sqlx::Pool<D>) -> Pool {
    let idle = u64::try_from(pool.num_idle()).unwrap_or(u64::MAX);
    Pool {
        name,
        idle,
        used: u64::from(pool.size()).saturating_sub(idle),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_is_told_once_with_what_is_due_first() {
        let at = Timestamp::from_millis;
        let [one, other] = [3, 7].map(Shard);
        let shards = by_shard(
            [(one, 2), (other, 1), (one, 3)],
            [(one, at(50)), (one, at(40)), (other, at(101))],
            at(100),
        );
        let told = |shard| shards.get(&shard).map(|of| (of.deliveries, of.due_since));
        assert_eq!(told(one), Some((5, Some(at(40)))));
        assert_eq!(told(other), Some((1, None)), "it is due later");
        assert_eq!(shards.len(), 2);
    }
}
