//! Who is told what, when something becomes of a subscription that people should know: once, and no more often than they want.
//!
//! What happens is *raised* by the store, in the transaction in which it happens, and is *due* to be told or waits for its
//! turn. Deciding that is pure, and so is [what is said](message) to people, and in [an event of ours](event()) to
//! subscriptions that ask for it.

mod address;
mod due;
mod event;
mod text;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    ClientId, EventId, Timestamp,
    delivery::Validity,
    health::{Condition, Health, Limits},
};

pub use address::MailAddress;
pub use due::{Decision, decide};
pub use event::event;
pub use text::{Answer, Facts, MOST_COUNTED, Message, message};

/// One message for each cause comes at most this often, unless the subscription says otherwise.
pub const EVERY: Duration = Duration::from_secs(60 * 60);

/// The most addresses of one subscription.
pub const MOST_ADDRESSES: usize = 10;

/// So long before a receiver's certificate ends people are told, or for the last third of its time where that is less:
/// some are good for days only, and are renewed by a program.
pub const CERTIFICATE_NOTICE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Percents of the way to suspension at which it is said again that a receiver fails.
pub const STAGES: [u8; 3] = [50, 70, 90];

/// What a subscription says of who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alerts {
    /// Who is told of it, beside those of its client and of the whole installation.
    pub mail: Vec<MailAddress>,
    /// One message for each cause, at most this often.
    pub every: Duration,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            mail: Vec::new(),
            every: EVERY,
        }
    }
}

/// Who is told beside those whom subscriptions name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contacts {
    /// Of everything.
    pub all: Vec<MailAddress>,
    /// Of the subscriptions of a client.
    pub clients: BTreeMap<ClientId, Vec<MailAddress>>,
    /// How often at most, of a subscription that names nobody itself.
    pub every: Duration,
}

impl Default for Contacts {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            clients: BTreeMap::new(),
            every: EVERY,
        }
    }
}

impl Contacts {
    /// Who is told of a subscription of this client, each once.
    pub fn of(&self, client: ClientId, alerts: &Alerts) -> Vec<MailAddress> {
        let of_client = self.clients.get(&client).into_iter().flatten();
        let mut to: Vec<MailAddress> = Vec::new();
        for address in alerts.mail.iter().chain(of_client).chain(&self.all) {
            if !to.contains(address) {
                to.push(address.clone());
            }
        }
        to
    }

    /// How often they are told at most.
    pub fn every(&self, alerts: &Alerts) -> Duration {
        if alerts.mail.is_empty() {
            self.every
        } else {
            alerts.every
        }
    }
}

/// What people are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Its receiver was suspended: nothing is sent until an admin resumes it. Or a worker [cannot read all of
    /// it](crate::subscription::Unreadable), as the code says then.
    Suspended,
    /// Its breaker opened, or a delivery ended dead; and again on the way to suspension.
    Failing,
    /// A probe was answered well, after it had been told that it fails.
    Recovered,
    /// Deliveries ended dead.
    Dead,
    /// Its name leads to an address that must not be reached.
    Blocked,
    /// What is held for it ends within a week: it comes to the age up to which events are kept.
    Expiring,
    /// Its receiver's certificate ends soon, and with it every delivery.
    Certificate,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Suspended,
        Self::Failing,
        Self::Recovered,
        Self::Dead,
        Self::Blocked,
        Self::Expiring,
        Self::Certificate,
    ];

    /// The word for it in SQL, JSON, logs and the CLI, and the type of the event that tells of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suspended => "subscription.suspended",
            Self::Failing => "subscription.failing",
            Self::Recovered => "subscription.recovered",
            Self::Dead => "delivery.dead",
            Self::Blocked => "address.blocked",
            Self::Expiring => "delivery.expiring",
            Self::Certificate => "certificate.expiring",
        }
    }

    /// How often it is told at most, to who wants to be told of each cause no more often than `every`: of a certificate
    /// once a day will do.
    pub fn pace(self, every: Duration) -> Duration {
        match self {
            Self::Certificate => every.max(DAY),
            _ => every,
        }
    }

    /// Reads [`Self::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }
}

/// Whether events of this type are our own: each tells of a [`Cause`], and nobody else publishes them. Their recipient is
/// the subscription that they are about.
pub fn is_own(event_type: &str) -> bool {
    Cause::parse(event_type).is_some()
}

/// Whether a certificate ends so soon that people are to be told.
pub fn is_ending(certificate: Validity, now: Timestamp) -> bool {
    let Validity { from, until } = certificate;
    until <= now + CERTIFICATE_NOTICE.min(until.since(from) / 3)
}

/// What is raised when a receiver comes to do so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// What people are told of.
    pub cause: Cause,
    /// Since when.
    pub since: Timestamp,
    /// How far on the way to suspension it is: 0, or one of [`STAGES`].
    pub stage: u8,
}

/// What it raises that a receiver did so at this instant. It is for the store to raise each stage of a failure once.
pub fn of_transition(health: &Health, at: Timestamp, limits: Limits) -> Option<Turn> {
    let failing_since = health.failing_since.unwrap_or(at);
    match (health.condition, &health.cause) {
        (Condition::Open, _) => Some(Turn {
            cause: Cause::Failing,
            since: failing_since,
            stage: stage(at.since(failing_since), limits.suspend_after),
        }),
        (Condition::Suspended, _) => Some(Turn {
            cause: Cause::Suspended,
            since: failing_since,
            stage: 0,
        }),
        // Too much to do has a code.
        (Condition::Throttled, None) => Some(Turn {
            cause: Cause::Recovered,
            since: at,
            stage: 0,
        }),
        _ => None,
    }
}

/// The last stage of the way to suspension that has been passed.
fn stage(failing: Duration, suspend_after: Option<Duration>) -> u8 {
    let Some(after) = suspend_after else {
        return 0;
    };
    let passed =
        |percent: &u8| failing.as_millis() * 100 >= after.as_millis() * u128::from(*percent);
    STAGES.into_iter().rev().find(passed).unwrap_or(0)
}

/// What was raised and is not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The store's number of it.
    pub id: i64,
    /// What it tells of.
    pub cause: Cause,
    /// When it was raised last.
    pub raised_at: Timestamp,
    /// Since when it is so.
    pub since: Timestamp,
    /// How far on the way to suspension it is.
    pub stage: u8,
    /// How many deliveries it is about.
    pub count: u64,
    /// The code of the last outcome that it is about.
    pub code: Option<String>,
    /// Not before then: it is being told, or telling it failed.
    pub due_at: Timestamp,
    /// How often telling it failed.
    pub tries: u32,
    /// Who was told already.
    pub accepted: Vec<String>,
    /// The event that tells of it, once it is published: the last, where mail takes so long that there are several.
    pub event: Option<EventId>,
    /// How many of the deliveries events have told of.
    pub event_count: u64,
}

impl Alert {
    /// Whether somebody was told, though not everybody.
    pub fn is_known(&self) -> bool {
        self.event.is_some() || !self.accepted.is_empty()
    }

    /// Whether an event is to tell of it now: none does, or more has come since the one that does, and that is long enough
    /// ago. So those who listen do not wait for mail that nobody takes.
    pub fn wants_event(&self, every: Duration, now: Timestamp) -> bool {
        let Some(told_at) = self.event.map(EventId::at) else {
            return true;
        };
        let is_more = match self.cause {
            Cause::Dead | Cause::Blocked | Cause::Expiring => self.count > self.event_count,
            Cause::Suspended | Cause::Failing | Cause::Recovered | Cause::Certificate => {
                self.raised_at > told_at
            }
        };
        is_more && told_at + self.cause.pace(every) <= now
    }

    /// What an event tells of it: what none has told of yet.
    #[must_use]
    pub fn for_event(&self) -> Self {
        let told_at = self.event.map(EventId::at).filter(|_| self.event_count > 0);
        Self {
            count: self.count.saturating_sub(self.event_count),
            since: told_at.map_or(self.since, |told_at| told_at.max(self.since)),
            ..self.clone()
        }
    }
}

/// All that is not told yet of one subscription, and when it was told last of each cause.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Case {
    /// The store's short number of the subscription.
    pub subscription: i64,
    /// One of each cause at most.
    pub alerts: Vec<Alert>,
    /// When each cause was told last.
    pub told: BTreeMap<Cause, Timestamp>,
}

/// How long to wait before it is tried again to tell, after so many failures: 5 s, doubled up to 10 minutes.
pub fn pause(tries: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(10 * 60);
    FIRST
        .saturating_mul(2_u32.saturating_pow(tries))
        .min(LONGEST)
}

/// A message to one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Who.
    pub to: MailAddress,
    /// In one line.
    pub subject: String,
    /// In lines.
    pub text: String,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// What the server said, or what is in the way of asking it.
    pub message: String,
    /// To try again is of no use: there is no such person.
    pub for_good: bool,
}
