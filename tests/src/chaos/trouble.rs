use std::{collections::HashSet, time::Duration};

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

/// How long leases are in a world of chaos.
pub(super) const LEASE: Duration = Duration::from_secs(1);

/// Something that happened, and that may be why a delivery came twice.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// A worker was killed.
    Killed {
        /// When.
        at: Timestamp,
        /// Its connections.
        connections: HashSet<Connection>,
    },
    /// A worker stood still.
    Frozen {
        /// From when on.
        from: Timestamp,
        /// Until then.
        until: Timestamp,
        /// Its connections.
        connections: HashSet<Connection>,
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
    /// A worker said that it had lost shards.
    Lost {
        /// When it said so.
        at: Timestamp,
    },
}

/// All that happened in a world.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    /// In the order in which they were over.
    pub all: Vec<Trouble>,
    /// Connections of which it is known whose they were. One that came and went between two looks is anybody's.
    pub known: HashSet<Connection>,
}

impl Troubles {
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
        let may_be_of = |receipt: &Receipt, connections: &HashSet<Connection>| {
            let of_nobody = !self.known.contains(&receipt.connection);
            of_nobody || connections.contains(&receipt.connection)
        };
        let later = |at: Timestamp| again.is_none_or(|again| at <= again.at);
        match trouble {
            // It was answered and could not be written down any more.
            Trouble::Killed { at, connections } => {
                may_be_of(first, connections)
                    && first.at <= *at + ON_ITS_WAY
                    && self.unsettled_since(*at) <= answered
                    && later(*at)
            }
            Trouble::Frozen {
                from,
                until,
                connections,
            } => {
                let made = |receipt: &Receipt| may_be_of(receipt, connections);
                let unsettled = made(first)
                    && first.at <= *from + ON_ITS_WAY
                    && self.unsettled_since(*from) <= answered
                    && later(*from);
                // It did not know yet what had become of its lease.
                let belated = |receipt: &Receipt| {
                    made(receipt) && *until <= receipt.at && receipt.at <= *until + ALLOWANCE
                };
                unsettled || belated(first) || again.is_some_and(belated)
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
            // Another worker may have had the shard for a lease before this one noticed.
            Trouble::Lost { at } => {
                first.at <= *at + ALLOWANCE
                    && self.unsettled_since(before(*at, LEASE)) <= answered
                    && later(before(*at, LEASE))
            }
        }
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

    /// Whether more than a subscription's limit may be under way: of a worker that stands still, or has lost its lease
    /// and does not know it yet, beside those of the next.
    pub(super) fn allow_twice(&self, at: Timestamp) -> bool {
        self.all.iter().any(|trouble| {
            let (from, until) = match trouble {
                Trouble::Killed { .. } => return false,
                Trouble::Frozen { from, until, .. } => (*from, *until),
                Trouble::Down { from, until, .. } => (*from, *until),
                Trouble::Lost { at } => (before(*at, LEASE), *at),
            };
            before(from, ALLOWANCE) <= at && at <= until + ASKED_AGAIN
        })
    }

    /// What happened around then, without the connections.
    pub(super) fn around(&self, at: Timestamp) -> Vec<String> {
        let near = |other: Timestamp| at.since(other).max(other.since(at)) < 10 * ALLOWANCE;
        (self.all.iter())
            .filter_map(|trouble| match trouble {
                Trouble::Killed { at, .. } => near(*at).then(|| format!("a kill at {at:?}")),
                Trouble::Frozen { from, until, .. } => (near(*from) || near(*until))
                    .then(|| format!("one frozen from {from:?} to {until:?}")),
                down @ Trouble::Down { from, .. } => near(*from).then(|| format!("{down:?}")),
                Trouble::Lost { at } => near(*at).then(|| format!("a lost lease at {at:?}")),
            })
            .collect()
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

/// When workers say in this log that they had lost shards, as they do on a machine that lets them wait for longer than a
/// lease.
#[track_caller]
pub fn lost_leases(log: &str, clock: Clock) -> Vec<Trouble> {
    log.lines()
        .filter(|line| line.contains("lease is lost"))
        .map(|line| {
            let at = line.split_once(' ').map(|(at, _)| Timestamp::parse(at));
            let at = at.and_then(Result::ok);
            let at = at.expect("a line of the log begins with its time");
            Trouble::Lost {
                at: Timestamp::from_millis(at.as_millis() - 1_000 * clock.fast_by),
            }
        })
        .collect()
}

fn before(at: Timestamp, span: Duration) -> Timestamp {
    let millis = i64::try_from(span.as_millis()).expect("spans of tests are short");
    Timestamp::from_millis(at.as_millis() - millis)
}
