//! How long what is over is kept.

use std::time::Duration;

use tharsis_core::{Timestamp, alert::Cause};

use crate::alert::Raised;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// It is told so long before that what is held will end.
const WARNING: Duration = DAY.saturating_mul(7);

/// And so often at most.
const WARNED_EVERY: Duration = DAY;

/// How long what is over is kept; `None` for ever.
///
/// An event goes together with its attempts and its key: a delivery without its attempts would be taken for one that never
/// was. What somebody still needs is kept whatever its age: an event that is not routed, or not delivered, or that a replay
/// is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Events with what became of them, from when they were published; replays, from when they were over. What is held for
    /// so long ends `expired`, once it was told a week before, or half the time where that is less.
    pub history: Option<Duration>,
    /// What receivers answered, from when they were asked.
    pub excerpts: Option<Duration>,
    /// Who asked for what.
    pub audit: Option<Duration>,
}

impl Default for Retention {
    /// 90 days, 30 days and two years.
    fn default() -> Self {
        Self {
            history: Some(DAY * 90),
            excerpts: Some(DAY * 30),
            audit: Some(DAY * 730),
        }
    }
}

impl Retention {
    /// All of it for ever.
    pub const FOREVER: Self = Self {
        history: None,
        excerpts: None,
        audit: None,
    };

    /// What is less counts as this: on PostgreSQL whole days go.
    pub const LEAST: Duration = DAY;

    pub(crate) fn bounds(&self, now: Timestamp) -> Bounds {
        let before = |kept: Duration| now - kept.max(Self::LEAST);
        let held = self.history.map(|kept| {
            let notice = WARNING.min(kept.max(Self::LEAST) / 2);
            Held {
                ends: before(kept),
                warned: before(kept) + notice,
                told: (now - notice * 2, now - notice),
            }
        });
        Bounds {
            history: self.history.map(before),
            held,
            excerpts: self.excerpts.map(before),
            audit: self.audit.map(before),
        }
    }
}

/// What is from before these instants is kept no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) history: Option<Timestamp>,
    pub(crate) held: Option<Held>,
    pub(crate) excerpts: Option<Timestamp>,
    pub(crate) audit: Option<Timestamp>,
}

/// What becomes of what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Of before then, it ends.
    pub(crate) ends: Timestamp,
    /// Of before then, it is told that it will.
    pub(crate) warned: Timestamp,
    /// It ends only where that was told in this time: early enough, and not of something that is long over.
    pub(crate) told: (Timestamp, Timestamp),
}

/// Told since then, it is not told again.
pub(crate) fn warned_since(now: Timestamp) -> Timestamp {
    now - WARNED_EVERY
}

/// That so many deliveries of a subscription will end, the first of them of an event of that instant.
pub(crate) fn expiring(subscription: i64, count: u64, first: Timestamp, now: Timestamp) -> Raised {
    Raised {
        subscription,
        cause: Cause::Expiring,
        at: now,
        since: first,
        stage: 0,
        count,
        code: None,
        begins: true,
    }
}

/// What was forgotten in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Events, each with its attempts and its key.
    pub events: u64,
    /// Answers of receivers, of attempts that stay.
    pub excerpts: u64,
    /// Lines of the audit.
    pub audit: u64,
    /// There is more to forget.
    pub more: bool,
}

/// What a [`Retention`] would do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlived {
    /// Events that are forgotten.
    pub events: u64,
    /// Events as old that are kept: not routed, not delivered, or a replay is to look at them. On PostgreSQL a day is kept
    /// as a whole, and the day that is not over yet does not count.
    pub needed: u64,
    /// Deliveries that are held and end `expired`.
    pub held: u64,
    /// Answers of receivers, of attempts that stay.
    pub excerpts: u64,
    /// Lines of the audit.
    pub audit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_told_a_week_before_or_half_the_time() {
        let now = Timestamp::from_millis(1_000 * 86_400_000);
        let warned = |days: u32| {
            let retention = Retention {
                history: Some(DAY * days),
                ..Retention::FOREVER
            };
            let held = retention.bounds(now).held.expect("an age");
            assert_eq!(now.since(held.ends), DAY * days.max(1));
            assert_eq!(now.since(held.told.1), held.warned.since(held.ends));
            held.warned.since(held.ends)
        };
        assert_eq!(warned(90), WARNING);
        assert_eq!(warned(14), WARNING);
        assert_eq!(warned(2), DAY);
        assert_eq!(warned(0), DAY / 2);
        assert_eq!(Retention::FOREVER.bounds(now).held, None);
    }
}
