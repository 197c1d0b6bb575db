//! Figures over time, as workers count them: of clients by the minute, of subscriptions by the quarter of an hour; and how much
//! waited in each minute.

use std::{ops::Range, time::Duration};

use tharsis_core::{ClientId, Timestamp, delivery::End};

/// How long figures are kept, whatever the [retention](crate::Retention).
const KEPT: Duration = Duration::from_secs(48 * 60 * 60);

/// Figures that lie further ahead are of a clock that was wrong.
const AHEAD: Duration = Duration::from_secs(60 * 60);

/// At most so many rows are forgotten by one statement, and so many statements follow each other.
pub(crate) const FORGOTTEN_AT_ONCE: u32 = 2_000;
pub(crate) const ROUNDS: u32 = 20;

/// How long a connection is waited for to look how much waits: it is to keep nobody from his lists.
pub(crate) const FREE_AT_ONCE: Duration = Duration::from_secs(2);

/// The instants whose figures are not kept.
pub(crate) fn not_kept(now: Timestamp) -> [Range<Timestamp>; 2] {
    [
        Timestamp::from_millis(i64::MIN)..now - KEPT,
        now + AHEAD..Timestamp::from_millis(i64::MAX),
    ]
}

const MINUTE: i64 = 60_000;
const QUARTER: i64 = 15 * MINUTE;

/// How many columns are counted: six, and those of the latency.
pub(crate) const COLUMNS: usize = 6 + BUCKETS;

const BUCKETS: usize = Latency::BOUNDS.len() + 1;

/// A piece of a statement for each column that is counted, in the order of [`Traffic::counts`], with commas between them.
macro_rules! each_count {
    ($piece:ident) => {
        concat!(
            $piece!("attempts"),
            ", ",
            $piece!("failed"),
            ", ",
            $piece!("delivered"),
            ", ",
            $piece!("dead"),
            ", ",
            $piece!("expired"),
            ", ",
            $piece!("refused"),
            ", ",
            $piece!("up_to_1"),
            ", ",
            $piece!("up_to_2"),
            ", ",
            $piece!("up_to_5"),
            ", ",
            $piece!("up_to_10"),
            ", ",
            $piece!("up_to_20"),
            ", ",
            $piece!("up_to_50"),
            ", ",
            $piece!("up_to_100"),
            ", ",
            $piece!("up_to_200"),
            ", ",
            $piece!("up_to_500"),
            ", ",
            $piece!("up_to_1000"),
            ", ",
            $piece!("up_to_2000"),
            ", ",
            $piece!("up_to_5000"),
            ", ",
            $piece!("up_to_10000"),
            ", ",
            $piece!("up_to_30000"),
            ", ",
            $piece!("beyond")
        )
    };
}
pub(crate) use each_count;

/// What workers did in a minute for clients, or in a quarter of an hour for a subscription. What commands and retention end is
/// not among it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// When it began.
    pub at: Timestamp,
    /// Attempts that were over in it.
    pub attempts: u64,
    /// Those of them that did not deliver.
    pub failed: u64,
    /// Deliveries that ended delivered.
    pub delivered: u64,
    /// Deliveries that ended dead.
    pub dead: u64,
    /// Deliveries that ended expired.
    pub expired: u64,
    /// Deliveries that ended refused.
    pub refused: u64,
    /// How long the attempts took that delivered.
    pub latency: Latency,
}

impl Traffic {
    /// Of the minute that this instant lies in, with nothing counted.
    pub fn minute(at: Timestamp) -> Self {
        Self {
            at: Self::start_of_minute(at),
            ..Self::default()
        }
    }

    /// Of the quarter of an hour that this instant lies in, with nothing counted.
    pub fn quarter(at: Timestamp) -> Self {
        Self {
            at: Self::start_of_quarter(at),
            ..Self::default()
        }
    }

    /// When the minute began that this instant lies in.
    pub fn start_of_minute(at: Timestamp) -> Timestamp {
        start(at, MINUTE)
    }

    /// When the quarter of an hour began that this instant lies in.
    pub fn start_of_quarter(at: Timestamp) -> Timestamp {
        start(at, QUARTER)
    }

    /// Counts an attempt that took so long.
    pub fn attempted(&mut self, took: Duration, is_delivered: bool) {
        self.attempts += 1;
        if is_delivered {
            self.latency.record(took);
        } else {
            self.failed += 1;
        }
    }

    /// Counts a delivery that ended so. Nobody asks for what was cancelled.
    pub fn ended(&mut self, end: End) {
        match end {
            End::Delivered => self.delivered += 1,
            End::Dead => self.dead += 1,
            End::Expired => self.expired += 1,
            End::Refused => self.refused += 1,
            End::Cancelled => {}
        }
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.failed += other.failed;
        self.delivered += other.delivered;
        self.dead += other.dead;
        self.expired += other.expired;
        self.refused += other.refused;
        self.latency.merge(&other.latency);
    }

    /// As columns.
    pub(crate) fn counts(&self) -> [i64; COLUMNS] {
        let mut counts = [0; COLUMNS];
        let ours = [
            self.attempts,
            self.failed,
            self.delivered,
            self.dead,
            self.expired,
            self.refused,
        ];
        for (column, count) in counts
            .iter_mut()
            .zip(ours.iter().chain(&self.latency.counts))
        {
            *column = i64::try_from(*count).unwrap_or(i64::MAX);
        }
        counts
    }

    /// Of columns.
    pub(crate) fn counted(at: Timestamp, counts: [i64; COLUMNS]) -> Self {
        let [
            attempts,
            failed,
            delivered,
            dead,
            expired,
            refused,
            latency @ ..,
        ] = counts.map(i64::unsigned_abs);
        Self {
            at,
            attempts,
            failed,
            delivered,
            dead,
            expired,
            refused,
            latency: Latency { counts: latency },
        }
    }
}

fn start(at: Timestamp, span: i64) -> Timestamp {
    let millis = at.as_millis();
    Timestamp::from_millis(millis.saturating_sub(millis.rem_euclid(span)))
}

/// What is added to the figures at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// What was done for clients, each minute of a client once.
    pub minutes: Vec<(ClientId, Traffic)>,
    /// What was done for subscriptions, known by their numbers, each quarter of an hour of a subscription once.
    pub quarters: Vec<(i64, Traffic)>,
}

/// How many took how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// Of each bound those that it is the first for; the last are beyond all.
    counts: [u64; BUCKETS],
}

impl Latency {
    /// What they are told apart by, in milliseconds.
    pub const BOUNDS: [u64; 14] = [
        1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000,
    ];

    /// Counts one that took so long.
    pub fn record(&mut self, took: Duration) {
        let is_below = |bound: &u64| Duration::from_millis(*bound) < took;
        let bucket = Self::BOUNDS.partition_point(is_below);
        self.counts[bucket] += 1;
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, other) in self.counts.iter_mut().zip(other.counts) {
            *count += other;
        }
    }

    /// How many it counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What so many of a thousand took at most: the bound that they are below, so 950 asks for the 95th percentile. Where
    /// some took longer than all bounds, the last bound stands for that. Nothing where none was counted.
    pub fn quantile(&self, per_mille: u64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = count.saturating_mul(per_mille.min(1_000)).div_ceil(1_000);
        let mut seen = 0;
        for (bound, count) in Self::BOUNDS.into_iter().zip(self.counts) {
            seen += count;
            if seen >= rank.max(1) {
                return Some(Duration::from_millis(bound));
            }
        }
        Self::BOUNDS.last().copied().map(Duration::from_millis)
    }
}

/// How much waited in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// When the minute began.
    pub at: Timestamp,
    /// Events that were not routed and deliveries that were not finished, at most [`MOST_COUNTED`](crate::MOST_COUNTED) of
    /// each.
    pub waiting: u64,
    /// How long the first delivery had been due that nothing held.
    pub overdue: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for took in millis {
            latency.record(Duration::from_millis(*took));
        }
        latency
    }

    fn millis(latency: &Latency, per_mille: u64) -> Option<u128> {
        latency.quantile(per_mille).map(|took| took.as_millis())
    }

    #[test]
    fn a_quantile_is_the_bound_that_so_many_are_below() {
        let latency = of(&[1, 2, 3, 4, 6, 7, 8, 9, 10, 400]);
        for (per_mille, bound) in [
            (0, 1),
            (100, 1),
            (101, 2),
            (500, 10),
            (900, 10),
            (901, 500),
            (1_000, 500),
            (2_000, 500),
        ] {
            assert_eq!(millis(&latency, per_mille), Some(bound), "{per_mille}");
        }
        assert_eq!(millis(&of(&[]), 500), None);
        assert_eq!(millis(&of(&[30_001]), 500), Some(30_000));
        assert_eq!(millis(&of(&[0]), 500), Some(1));
    }

    #[test]
    fn what_is_longer_than_a_bound_by_little_is_in_the_next() {
        let mut latency = Latency::default();
        latency.record(Duration::from_micros(1_001));
        assert_eq!(millis(&latency, 500), Some(2));
    }

    #[test]
    fn figures_are_added_and_come_back_from_their_columns() {
        let mut minute = Traffic::minute(Timestamp::from_millis(125_000));
        assert_eq!(minute.at, Timestamp::from_millis(120_000));
        minute.attempted(Duration::from_millis(3), true);
        minute.attempted(Duration::from_secs(60), true);
        minute.attempted(Duration::from_millis(3), false);
        for end in [End::Delivered, End::Dead, End::Expired, End::Refused] {
            minute.ended(end);
        }
        let ended = minute.clone();
        minute.ended(End::Cancelled);
        assert_eq!(minute, ended);
        assert_eq!(Traffic::counted(minute.at, minute.counts()), minute);

        let mut twice = minute.clone();
        twice.merge(&minute);
        assert_eq!(twice.counts(), minute.counts().map(|count| count * 2));
        assert_eq!((twice.attempts, twice.failed), (6, 2));
        assert_eq!(twice.latency.count(), 4);
    }

    #[test]
    fn a_minute_before_the_epoch_begins_before_it() {
        let at = Traffic::start_of_minute(Timestamp::from_millis(-1));
        assert_eq!(at, Timestamp::from_millis(-60_000));
    }

    #[test]
    fn a_quarter_of_an_hour_begins_four_times_an_hour() {
        let began = |minute: i64| {
            let quarter = Traffic::quarter(Timestamp::from_millis(minute * 60_000 + 59_999));
            quarter.at.as_millis() / 60_000
        };
        assert_eq!([0, 14, 15, 59, 60].map(began), [0, 0, 15, 45, 60]);
    }
}
