use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tharsis::Timestamp;

use super::ledger::{Connection, Receipt};
use crate::Clock;

/// What came of a request is written down at the latest so long after it was answered: the longest wait for a group.
const FLUSH_WINDOW: Duration = Duration::from_millis(20);
/// What a busy machine, or a publisher that holds the database, may add.
const ALLOWANCE: Duration = Duration::from_secs(1);
/// A store that failed is asked again after so long at the latest.
const ASKED_AGAIN: Duration = Duration::from_secs(4);
/// What the engine commits is flushed by the server after so long: three times `wal_writer_delay`, as it comes.
const NOT_FLUSHED: Duration = Duration::from_millis(600);
/// A process opens its database so long after it was started at the latest.
const SETTING_OUT: Duration = Duration::from_secs(5);
/// A request that was on its way when its worker was stopped is read a little later.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

/// How long leases are in a world of chaos, and how long a request may take.
pub(super) const LEASE: Duration = Duration::from_secs(1);
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);

/// Something that happened, and that may be why a delivery came twice. Workers are known by their numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// A worker was killed.
    Killed {
        /// Which.
        worker: usize,
        /// When.
        at: Timestamp,
    },
    /// A worker stood still.
    Frozen {
        /// Which.
        worker: usize,
        /// From when on.
        from: Timestamp,
        /// Until then.
        until: Timestamp,
    },
    /// A worker said that it had lost shards.
    Lost {
        /// Which, where that is known.
        worker: Option<usize>,
        /// When it said so.
        at: Timestamp,
    },
    /// The database did not answer, or ended sessions.
    Down {
        /// From when on.
        from: Timestamp,
        /// Until then.
        until: Timestamp,
        /// Whether what was not flushed was lost.
        crashed: bool,
    },
}

/// All that happened in a world.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    /// In the order in which they were over.
    pub all: Vec<Trouble>,
    /// Which workers had a connection when they were looked at. One that came and went between two looks is anybody's.
    pub makers: HashMap<Connection, HashSet<usize>>,
    /// When workers were started, where that is known.
    pub started: HashMap<usize, Timestamp>,
}

impl Troubles {
    /// This worker has these connections.
    pub fn saw(&mut self, worker: usize, connections: &HashSet<Connection>) {
        for connection in connections {
            self.makers.entry(*connection).or_default().insert(worker);
        }
    }

    /// The first of them that explains why a delivery that was taken came again.
    pub(super) fn explain(&self, first: &Receipt, again: &Receipt) -> Option<usize> {
        self.all
            .iter()
            .position(|trouble| self.explains(trouble, first, Some(again)))
    }

    /// Whether one of them explains why nobody knows that a delivery was taken.
    pub(super) fn hide(&self, taken: &Receipt) -> bool {
        self.all
            .iter()
            .any(|trouble| self.explains(trouble, taken, None))
    }

    fn explains(&self, trouble: &Trouble, first: &Receipt, again: Option<&Receipt>) -> bool {
        let answered = first.until.unwrap_or(first.at);
        let later = |at: Timestamp| again.is_none_or(|again| at <= again.at);
        // It was answered, and could not be written down any more.
        let cut_short = |worker: usize, at: Timestamp| {
            self.may_be_of(first, worker)
                && first.at <= at + ON_ITS_WAY
                && self.unsettled_since(at) <= answered
                && later(at)
        };
        match trouble {
            Trouble::Killed { worker, at } => cut_short(*worker, *at),
            Trouble::Frozen {
                worker,
                from,
                until,
            } => {
                // It did not know yet what had become of its lease.
                let belated = |receipt: &Receipt| {
                    self.may_be_of(receipt, *worker)
                        && *until <= receipt.at
                        && receipt.at <= *until + ALLOWANCE
                };
                cut_short(*worker, *from) || belated(first) || again.is_some_and(belated)
            }
            // Another worker may have had the shard for a lease before this one noticed.
            Trouble::Lost { worker, at } => {
                let made = |receipt: &Receipt| worker.is_none_or(|n| self.may_be_of(receipt, n));
                (made(first) || again.is_some_and(made))
                    && first.at <= *at + ALLOWANCE
                    && self.unsettled_since(before(*at, LEASE)) <= answered
                    && later(before(*at, LEASE))
            }
            // It was written down, and that was lost.
            Trouble::Down {
                from,
                until,
                crashed,
            } => {
                *crashed
                    && self.unsettled_since(before(*from, NOT_FLUSHED)) <= answered
                    && first.at <= *until
                    && later(*from)
            }
        }
    }

    fn may_be_of(&self, receipt: &Receipt, worker: usize) -> bool {
        let mut makers = self.makers_of(receipt).peekable();
        makers.peek().is_none() || makers.any(|maker| maker == worker)
    }

    /// Who may have sent it, as far as that is known: those who lived then, for the ports of one that was killed may be
    /// another's soon.
    pub(super) fn makers_of(&self, receipt: &Receipt) -> impl Iterator<Item = usize> {
        let makers = self.makers.get(&receipt.connection);
        let lived = |maker: &usize| {
            let was_there = self.started.get(maker).is_none_or(|at| *at <= receipt.at);
            was_there
                && !self.all.iter().any(|trouble| {
                    matches!(trouble, Trouble::Killed { worker, at }
                    if worker == maker && *at + ON_ITS_WAY < receipt.at)
                })
        };
        makers.into_iter().flatten().copied().filter(lived)
    }

    /// What was answered before then was written down at this instant, if its worker lived.
    fn unsettled_since(&self, at: Timestamp) -> Timestamp {
        let mut since = before(at, FLUSH_WINDOW + ALLOWANCE);
        // Back through all times without a database that touch each other.
        while let Some(earlier) = self.downs().find_map(|(from, until)| {
            let earlier = before(from, FLUSH_WINDOW + ALLOWANCE);
            (earlier < since && from <= at && since <= until + ASKED_AGAIN).then_some(earlier)
        }) {
            since = earlier;
        }
        since
    }

    /// Workers that stand still or have lost a lease, until their requests have ended: a subscription may have its limit under
    /// way for each of them, beside that of its owner.
    pub(super) fn out_of_step(&self, at: Timestamp) -> usize {
        let workers = self.all.iter().filter_map(|trouble| {
            let (worker, from, until) = match trouble {
                Trouble::Killed { .. } | Trouble::Down { .. } => return None,
                Trouble::Frozen {
                    worker,
                    from,
                    until,
                } => (Some(*worker), *from, *until),
                // It may have asked in vain for a while before it was told.
                Trouble::Lost { worker, at } => (*worker, before(*at, LEASE + ASKED_AGAIN), *at),
            };
            (from <= at && at <= until + TIMEOUT).then_some(worker)
        });
        workers.collect::<HashSet<_>>().len()
    }

    /// What happened around then.
    pub(super) fn around(&self, at: Timestamp) -> Vec<&Trouble> {
        let near = |other: Timestamp| at.since(other).max(other.since(at)) < 10 * ALLOWANCE;
        let is_near = |trouble: &&Trouble| match trouble {
            Trouble::Killed { at, .. } | Trouble::Lost { at, .. } => near(*at),
            Trouble::Frozen { from, until, .. } | Trouble::Down { from, until, .. } => {
                near(*from) || near(*until)
            }
        };
        self.all.iter().filter(is_near).collect()
    }

    /// Whether a process that was started then may have found no database, or stood still while it waited for it.
    pub(super) fn touch(&self, started: Timestamp) -> bool {
        let spans = self.all.iter().filter_map(|trouble| match trouble {
            Trouble::Frozen { from, until, .. } | Trouble::Down { from, until, .. } => {
                Some((*from, *until))
            }
            Trouble::Killed { .. } | Trouble::Lost { .. } => None,
        });
        let mut spans = spans.map(|(from, until)| (before(from, SETTING_OUT), until + ALLOWANCE));
        spans.any(|(from, until)| from <= started && started <= until)
    }

    fn downs(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        self.all.iter().filter_map(|trouble| match trouble {
            Trouble::Down { from, until, .. } => Some((*from, *until)),
            _ => None,
        })
    }
}

/// When a worker says in its log that it had lost shards, as it does on a machine that lets it wait for longer than a lease.
#[track_caller]
pub fn lost_leases(log: &str, clock: Clock) -> Vec<Timestamp> {
    log.lines()
        .filter(|line| line.contains("lease is lost"))
        .map(|line| {
            let at = line.split_once(' ').map(|(at, _)| Timestamp::parse(at));
            let at = at.and_then(Result::ok);
            let at = at.expect("a line of the log begins with its time");
            Timestamp::from_millis(at.as_millis() - 1_000 * clock.fast_by)
        })
        .collect()
}

fn before(at: Timestamp, span: Duration) -> Timestamp {
    let millis = i64::try_from(span.as_millis()).expect("spans of tests are short");
    Timestamp::from_millis(at.as_millis() - millis)
}
