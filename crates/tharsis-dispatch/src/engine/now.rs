use std::time::{Duration, Instant};

use tharsis_core::Timestamp;

/// This moment, by both clocks. What stands in tables (due, expiry) is compared with the database's clock; how long
/// something takes is measured with the monotonic one, which nobody sets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) clock: Timestamp,
}

impl Now {
    /// When the database's clock will show `at`, if nobody sets it meanwhile.
    pub(super) fn instant_of(self, at: Timestamp) -> Instant {
        // A wait of a day is no different from a longer one: everything is looked at anew within a minute.
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        self.instant + at.since(self.clock).min(DAY)
    }
}

/// Gathers the timers that have not rung yet, so that whoever waits knows for how long.
#[derive(Debug)]
pub(super) struct Alarm {
    now: Instant,
    next: Option<Instant>,
}

impl Alarm {
    pub(super) fn new(now: Instant) -> Self {
        Self { now, next: None }
    }

    /// Whether the time has come; if not, it will be waited for.
    pub(super) fn rings(&mut self, at: Instant) -> bool {
        if at <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }

    /// Whether a timer that rings every `period` does so now; `at` is moved on.
    pub(super) fn rings_every(&mut self, period: Duration, at: &mut Instant) -> bool {
        let rings = self.rings(*at);
        if rings {
            *at = self.now + period;
            self.rings(*at);
        }
        rings
    }

    /// The earliest of what has not rung.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }
}
