//! What people are to be told, as both databases hold it.

use std::{collections::BTreeMap, time::Duration};

use tharsis_core::{
    ClientId, EventId, SubscriptionId, Timestamp,
    alert::{Alert, Case, Cause, Turn},
    delivery::{End, codes},
    event::Event,
    subscription::Unreadable,
};

use crate::{Fate, Settlement, StoreError, error::corrupt};

/// What is about to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The alert.
    /// As it was read. It is not claimed when it is on another stage by now.
    pub alert: Alert,
    /// The event that tells of it from now on, where somebody listens. It is published unless another does than was read.
    pub event: Option<Event>,
}

/// What is told by nobody else for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// The alert.
    pub alert: i64,
    /// The event that tells of it.
    pub event: Option<EventId>,
}

/// What became of what was to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// As it was read: what happened since is told later.
    pub alert: Alert,
    /// What became of it.
    pub became: Told,
}

/// What became of what was to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It was told.
    Told,
    /// It was overtaken, and is never told.
    Moot,
    /// There is nobody to tell.
    Nobody,
    /// It is its turn then.
    Waits(Timestamp),
    /// Telling it failed: again then, but not to those who were told.
    Again {
        /// When.
        due_at: Timestamp,
        /// Who was told, all of them.
        accepted: Vec<String>,
    },
}

impl Told {
    /// The word for it in SQL and JSON, once it is over.
    pub(crate) fn outcome(&self) -> Option<&'static str> {
        match self {
            Self::Told => Some("told"),
            Self::Moot => Some("moot"),
            Self::Nobody => Some("nobody"),
            Self::Waits(_) | Self::Again { .. } => None,
        }
    }
}

/// One line of the list of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRecord {
    /// What it is about.
    pub subscription: SubscriptionId,
    /// Its name.
    pub subscription_name: String,
    /// Whose it is.
    pub client: ClientId,
    /// What was raised.
    pub alert: Alert,
    /// `told`, `moot` or `nobody`; none as long as it is to be told.
    pub outcome: Option<String>,
    /// When it was.
    pub ended_at: Option<Timestamp>,
}

/// The most that are listed, the newest.
pub(crate) const MOST_LISTED: u32 = 100;

/// Subscriptions of one look.
pub(crate) const MOST_CASES: u32 = 100;

/// What a worker cannot read is raised again after so long.
const UNREADABLE_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Raised since then, it is not raised again.
pub(crate) fn unreadable_since(now: Timestamp) -> Timestamp {
    now - UNREADABLE_AGAIN
}

/// Deliveries whose last answers are told.
pub(crate) const MOST_ASKED: u32 = 100;

/// Codes of the last answers that are told.
pub(crate) const MOST_ANSWERS: u32 = 5;

/// What is raised of a subscription, or added to what is not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raised {
    pub(crate) subscription: i64,
    pub(crate) cause: Cause,
    pub(crate) at: Timestamp,
    pub(crate) since: Timestamp,
    pub(crate) stage: u8,
    pub(crate) count: u64,
    pub(crate) code: Option<String>,
    /// It says itself since when; else the first of what is told together counts.
    pub(crate) begins: bool,
}

impl Raised {
    /// That a worker cannot read all of a subscription, which it does not deliver to therefore.
    pub(crate) fn unreadable(subscription: i64, why: Unreadable, now: Timestamp) -> Self {
        let turn = Turn {
            cause: Cause::Suspended,
            since: now,
            stage: 0,
        };
        Self::of_turn(subscription, turn, now, Some(why.as_str()))
    }

    pub(crate) fn of_turn(
        subscription: i64,
        turn: Turn,
        at: Timestamp,
        code: Option<&str>,
    ) -> Self {
        Self {
            subscription,
            cause: turn.cause,
            at,
            since: turn.since,
            stage: turn.stage,
            count: 0,
            code: code.map(str::to_owned),
            begins: true,
        }
    }
}

/// Whether a settlement is of more interest to people than most are.
pub(crate) fn is_raising(settlement: &Settlement) -> bool {
    is_given_up(settlement) || is_blocked(settlement) || settlement.certificate_ends.is_some()
}

/// Its retries are used up.
fn is_given_up(settlement: &Settlement) -> bool {
    is_dead(settlement) || matches!(settlement.fate, Fate::Kept { .. })
}

fn is_dead(settlement: &Settlement) -> bool {
    settlement.fate == Fate::Ended(End::Dead)
}

fn is_blocked(settlement: &Settlement) -> bool {
    let attempt = settlement.attempt.as_ref();
    attempt.is_some_and(|attempt| {
        matches!(
            &*attempt.code,
            codes::ADDRESS_NOT_GLOBAL | codes::ADDRESS_IS_SELF | codes::ADDRESS_UNVETTED
        )
    })
}

/// What settlements raise that were written, in an order that all keep who write it.
pub(crate) fn of_settlements<'a>(settlements: impl Iterator<Item = &'a Settlement>) -> Vec<Raised> {
    let mut raised: BTreeMap<(i64, Cause), Raised> = BTreeMap::new();
    for settlement in settlements {
        let Some(attempt) = &settlement.attempt else {
            continue;
        };
        let (dead, blocked) = (is_dead(settlement), is_blocked(settlement));
        if let Some(ends) = settlement.certificate_ends {
            let subscription = settlement.position.subscription;
            let at = attempt.at + attempt.duration;
            let turn = Turn {
                cause: Cause::Certificate,
                since: ends,
                stage: 0,
            };
            let one = raised
                .entry((subscription, Cause::Certificate))
                .or_insert_with(|| Raised::of_turn(subscription, turn, at, None));
            one.at = one.at.max(at);
            // A name may have several, of which the first to end counts.
            one.since = one.since.min(ends);
        }
        let causes = [
            (Cause::Failing, is_given_up(settlement), 0),
            (Cause::Dead, dead, 1),
            (Cause::Blocked, blocked, 1),
        ];
        for (cause, _, count) in causes.into_iter().filter(|(_, applies, _)| *applies) {
            let subscription = settlement.position.subscription;
            let at = attempt.at + attempt.duration;
            let one = raised.entry((subscription, cause)).or_insert(Raised {
                subscription,
                cause,
                at,
                since: attempt.at,
                stage: 0,
                count: 0,
                code: None,
                begins: false,
            });
            if at >= one.at {
                one.code = Some(attempt.code.clone());
            }
            one.at = one.at.max(at);
            one.since = one.since.min(attempt.at);
            one.count += count;
        }
    }
    raised.into_values().collect()
}

/// Each subscription's alerts, which come in its order, and when it was told last.
pub(crate) fn cases(alerts: Vec<(i64, Alert)>, told: Vec<(i64, Cause, Timestamp)>) -> Vec<Case> {
    let mut cases: BTreeMap<i64, Case> = BTreeMap::new();
    for (subscription, alert) in alerts {
        let case = cases.entry(subscription).or_default();
        case.subscription = subscription;
        case.alerts.push(alert);
    }
    for (subscription, cause, at) in told {
        if let Some(case) = cases.get_mut(&subscription) {
            case.told.insert(cause, at);
        }
    }
    cases.into_values().collect()
}

pub(crate) fn cause(word: &str) -> Result<Cause, StoreError> {
    Cause::parse(word).ok_or_else(|| corrupt(format!("the cause {word}")))
}

/// What claims got, by the alerts that they got and the events that those had, and what of it is to be published.
pub(crate) fn claimed<'c>(
    claims: &'c [Claim],
    got: &[(i64, Option<EventId>)],
) -> (Vec<Claimed>, Vec<(&'c Alert, &'c Event)>) {
    let mut claimed = Vec::new();
    let mut untold = Vec::new();
    for (alert, event) in got.iter().copied() {
        claimed.push(Claimed { alert, event });
        let claim = claims.iter().find(|claim| claim.alert.id == alert);
        let new = claim.filter(|claim| claim.alert.event == event);
        untold.extend(new.and_then(|claim| Some((&claim.alert, claim.event.as_ref()?))));
    }
    (claimed, untold)
}
