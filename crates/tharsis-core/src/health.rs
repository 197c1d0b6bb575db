//! How the receiver of a subscription does, and what follows from that: its breaker.
//!
//! | from | to | when |
//! | --- | --- | --- |
//! | healthy | throttled | it has too much to do |
//! | throttled | healthy | with a success, a minute after that |
//! | healthy, throttled | open | so many requests in a row failed |
//! | open | half-open | it is time for a probe |
//! | half-open | throttled | the probe was answered well |
//! | half-open | open | it was not |
//! | half-open | suspended | nor was any for as long as the admin set |
//! | any | suspended | 410 |
//! | open, half-open, suspended | half-open | an admin resumed or changed the subscription |
//!
//! While it is open, deliveries are held: they burn no attempts and cost no writes. One of them is sent as a probe now and
//! then, at the expense of none of its retries.

use std::time::Duration;

use crate::{EventId, Timestamp, retry::spread};

/// So many requests in a row that fail open a breaker, unless the subscription says otherwise.
pub const BREAKER: u32 = 20;

/// A receiver that has failed for so long suspends its subscription, unless that says otherwise: 5 days.
pub const SUSPEND_AFTER: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// The first probe of a receiver comes after so long, each further one after twice as long, ±20 %.
pub const FIRST_PROBE: Duration = Duration::from_secs(5);

/// The longest between two probes, unless the receiver asks for longer.
pub const LONGEST_PROBE: Duration = Duration::from_secs(5 * 60);

/// A receiver that has not had too much to do for so long is not throttled any more.
pub const UNTHROTTLED: Duration = Duration::from_secs(60);

/// How a receiver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Condition {
    /// It takes what it gets.
    #[default]
    Healthy,
    /// It has had too much to do, and gets fewer requests at once.
    Throttled,
    /// It has failed so often in a row that its deliveries are held.
    Open,
    /// One delivery is sent to see whether it is back.
    HalfOpen,
    /// It has failed for so long, or is gone, that only an admin can bring it back.
    Suspended,
}

impl Condition {
    const ALL: [Self; 5] = [
        Self::Healthy,
        Self::Throttled,
        Self::Open,
        Self::HalfOpen,
        Self::Suspended,
    ];

    /// The word for it in SQL, JSON, logs and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Throttled => "throttled",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Suspended => "suspended",
        }
    }

    /// Reads [`Self::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|is| is.as_str() == text)
    }
}

/// How the receiver of a subscription does, as it is written down with each transition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// How it does.
    pub condition: Condition,
    /// Since when; `None` where it has never been anything but healthy.
    pub since: Option<Timestamp>,
    /// The code of the outcome that brought it there, or `resumed`.
    pub cause: Option<String>,
    /// The first failure since its last success, as far as it was written down.
    pub failing_since: Option<Timestamp>,
    /// When the next probe is due, while it is open.
    pub probe_at: Option<Timestamp>,
    /// How many probes have failed in a row.
    pub probes: u32,
    /// Goes up with each transition.
    pub version: i64,
}

/// What an admin resumes is probed first, and has never failed before.
pub const RESUMED: &str = "resumed";

/// Why a subscription is suspended whose receiver has failed for so long.
pub const FAILING: &str = "failing";

/// What a subscription says of its breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many failures in a row open it; `None`: it never opens.
    pub breaker: Option<u32>,
    /// It is suspended after so long; `None`: never.
    pub suspend_after: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            breaker: Some(BREAKER),
            suspend_after: Some(SUSPEND_AFTER),
        }
    }
}

/// Decides on transitions. It lives with the owner of a subscription's lane; another owner goes on from what was written
/// down, and counts failures anew.
#[derive(Debug, Clone)]
pub struct Breaker {
    health: Health,
    /// Failures since the last success.
    failures: u32,
    /// The first event that failed so, and whether others did.
    first: Option<EventId>,
    several: bool,
    /// When it last had too much to do.
    overloaded_at: Option<Timestamp>,
    /// It asked not to be asked before, since its last success.
    not_before: Option<Timestamp>,
    /// When the present probe was let through, where that is not written down.
    probed_at: Option<Timestamp>,
    /// What is to be written down, in order.
    passed: Vec<Health>,
    /// What is written down counts, whatever it says.
    doubted: bool,
}

/// A request that failed, and when.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// The event that it was to deliver.
    pub event: EventId,
    /// The code of its outcome.
    pub code: &'a str,
    /// How long the receiver asks us to wait.
    pub asked_for: Duration,
    /// When.
    pub at: Timestamp,
    /// Spreads the next probe over ±20 %.
    pub random: u16,
}

impl Breaker {
    /// Goes on from what was written down.
    pub fn new(health: Health) -> Self {
        Self {
            health,
            failures: 0,
            first: None,
            several: false,
            overloaded_at: None,
            not_before: None,
            probed_at: None,
            passed: Vec::new(),
            doubted: false,
        }
    }

    /// How it does, and since when.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// How it does.
    pub fn condition(&self) -> Condition {
        self.health.condition
    }

    /// What it has been through since this was last asked, in order: each is to be written down.
    pub fn passed(&mut self) -> Vec<Health> {
        std::mem::take(&mut self.passed)
    }

    /// Whether the next request is a probe.
    pub fn probes(&self) -> bool {
        self.health.condition == Condition::HalfOpen
    }

    /// Whether nothing may be sent until what is written down is read.
    pub fn is_doubted(&self) -> bool {
        self.doubted
    }

    /// When to let one probe through, while it is open.
    pub fn probe_at(&self) -> Option<Timestamp> {
        (self.health.condition == Condition::Open)
            .then_some(self.health.probe_at)
            .flatten()
    }

    /// Lets one request through, if it is open. That is written down only with what comes of it: a receiver that fails for
    /// days is open for days.
    pub fn half_open(&mut self, now: Timestamp) -> bool {
        let was_open = self.health.condition == Condition::Open;
        if was_open {
            self.health.condition = Condition::HalfOpen;
            self.health.probe_at = None;
            self.probed_at = Some(now);
        }
        was_open
    }

    /// A request succeeded. What was held is throttled at first: it could not take all that waits at once.
    ///
    /// Returns whether it is in another condition now.
    pub fn succeeded(&mut self, now: Timestamp) -> bool {
        self.failures = 0;
        self.first = None;
        self.several = false;
        self.not_before = None;
        self.health.failing_since = None;
        let was_held = matches!(self.health.condition, Condition::Open | Condition::HalfOpen);
        if was_held {
            self.overloaded_at = Some(now);
            self.health.probe_at = None;
            self.health.probes = 0;
            if let Some(at) = self.probed_at.take() {
                self.turn(Condition::HalfOpen, None, at);
            }
            self.turn(Condition::Throttled, None, now);
        }
        was_held
    }

    /// It has too much to do. Returns whether it is in another condition now.
    pub fn overloaded(&mut self, code: &str, now: Timestamp) -> bool {
        self.overloaded_at = Some(now);
        let was_healthy = self.health.condition == Condition::Healthy;
        if was_healthy {
            self.turn(Condition::Throttled, Some(code), now);
        }
        was_healthy
    }

    /// It took what it got. Once it has not had too much to do for long it is healthy. Returns whether it is in another
    /// condition now.
    pub fn calmed(&mut self, now: Timestamp) -> bool {
        let since = self.overloaded_at.or(self.health.since);
        let is_calm = self.health.condition == Condition::Throttled
            && since.is_none_or(|at| now.since(at) >= UNTHROTTLED);
        if is_calm {
            self.turn(Condition::Healthy, None, now);
        }
        is_calm
    }

    /// A request failed by a fault of theirs. A breaker opens when so many have failed in a row, of two events at least. A
    /// probe that fails opens it again for longer; and once the receiver has failed for long enough, suspends it.
    ///
    /// Returns whether it is in another condition now.
    pub fn failed(&mut self, failure: Failure<'_>, is_probe: bool, limits: Limits) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.several |= *self.first.get_or_insert(failure.event) != failure.event;
        let since = *self.health.failing_since.get_or_insert(failure.at);
        let asked = failure.at + failure.asked_for;
        let not_before = *self.not_before.get_or_insert(asked);
        let not_before = not_before.max(asked);
        self.not_before = Some(not_before);
        match self.health.condition {
            Condition::Healthy | Condition::Throttled => {
                let opens = limits.breaker.is_some_and(|most| self.failures >= most);
                if !opens || !self.several {
                    return false;
                }
                self.health.probes = 0;
            }
            // It is not to be held, whatever comes of it.
            Condition::HalfOpen if is_probe && limits.breaker.is_none() => {
                self.probed_at = None;
                self.turn(Condition::Healthy, Some(failure.code), failure.at);
                return true;
            }
            Condition::HalfOpen if is_probe => {
                let is_long = |after| failure.at.since(since) >= after;
                // After a take-over one probe in a row may have been all that was seen: what failed before was several.
                if limits.suspend_after.is_some_and(is_long) && self.health.probes > 0 {
                    return self.suspended(failure.code, failure.at);
                }
                self.health.probes = self.health.probes.saturating_add(1);
            }
            // Sent before it opened.
            Condition::Open if self.health.probe_at < Some(not_before) => {
                self.health.probe_at = Some(not_before);
                self.note();
                return true;
            }
            Condition::HalfOpen | Condition::Open | Condition::Suspended => return false,
        }
        let wait = probe_after(self.health.probes, failure.random);
        self.health.probe_at = Some(not_before.max(failure.at + wait));
        if self.probed_at.take().is_some() {
            // It was open all the time.
            self.health.condition = Condition::Open;
            self.health.cause = Some(failure.code.to_owned());
            self.note();
        } else {
            self.turn(Condition::Open, Some(failure.code), failure.at);
        }
        true
    }

    /// It is gone for good, or has failed for too long. Returns whether that is new.
    pub fn suspended(&mut self, code: &str, now: Timestamp) -> bool {
        let is_new = self.health.condition != Condition::Suspended;
        if is_new {
            self.health.probe_at = None;
            self.probed_at = None;
            self.turn(Condition::Suspended, Some(code), now);
        }
        is_new
    }

    /// This is written down: it counts where it is newer, or in case of doubt. Returns whether it does.
    pub fn adopt(&mut self, health: &Health) -> bool {
        // After a crash of the server another may stand under the same number. That a probe is under way is not written down.
        let is_ours = (health.version, health.since) == (self.health.version, self.health.since);
        let counts = if self.doubted {
            !is_ours
        } else {
            health.version > self.health.version
        };
        if counts {
            *self = Self::new(health.clone());
        }
        self.doubted = false;
        counts
    }

    /// What it decided may not be what is written down: what is read next counts, and until then nothing is sent.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// What it decided is written down after all.
    pub fn trust(&mut self) {
        self.doubted = false;
    }

    fn turn(&mut self, condition: Condition, cause: Option<&str>, now: Timestamp) {
        let health = &mut self.health;
        health.condition = condition;
        health.since = Some(now);
        health.cause = cause.map(str::to_owned);
        self.note();
    }

    fn note(&mut self) {
        self.health.version += 1;
        self.passed.push(self.health.clone());
    }
}

/// How long after so many failed probes the next one comes.
fn probe_after(failed: u32, random: u16) -> Duration {
    let doubled = FIRST_PROBE.saturating_mul(2_u32.saturating_pow(failed));
    spread(doubled.min(LONGEST_PROBE), random)
}
