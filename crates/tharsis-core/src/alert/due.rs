use std::time::Duration;

use super::{Alert, Case, Cause};
use crate::Timestamp;

/// A certificate that was not seen since people were told of it the day before is not what they are told of again.
const UNSEEN: Duration = Duration::from_secs(24 * 60 * 60);

/// What becomes of what was raised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision<'a> {
    /// It is told now, in one message, the worst first.
    pub tell: Vec<&'a Alert>,
    /// It has been overtaken by what came after it, and is told to nobody any more.
    pub moot: Vec<&'a Alert>,
    /// It is told then, for its cause was told not long ago.
    pub wait: Vec<(&'a Alert, Timestamp)>,
}

/// Decides what is told now of a subscription, to people who are told of each cause no more often than `every`.
///
/// A failure that is over before it was told is not told, nor is its end; an end is told if the failure was, to anybody.
pub fn decide(case: &Case, every: Duration, now: Timestamp) -> Decision<'_> {
    let of = |cause| case.alerts.iter().find(|alert| alert.cause == cause);
    let told = |cause| case.told.get(&cause).copied();
    let recovered = of(Cause::Recovered);
    let failures = || (of(Cause::Failing).into_iter()).chain(of(Cause::Suspended));
    let failure = failures().map(|alert| alert.raised_at).max();
    let known = failures().filter(|alert| alert.is_known());
    let failure_told = (told(Cause::Failing).max(told(Cause::Suspended)))
        .max(known.map(|alert| alert.raised_at).max());
    let is_moot = |alert: &Alert| match alert.cause {
        Cause::Failing | Cause::Suspended => {
            let is_over = recovered.is_some_and(|end| end.raised_at >= alert.raised_at);
            let is_overtaken = alert.cause == Cause::Failing
                && of(Cause::Suspended).is_some_and(|end| end.raised_at >= alert.raised_at);
            is_over || is_overtaken
        }
        Cause::Recovered => {
            let fails_again = failure.is_some_and(|at| at > alert.raised_at);
            fails_again || failure_told <= told(Cause::Recovered)
        }
        Cause::Dead | Cause::Blocked | Cause::Expiring => false,
        // Whoever was told may have renewed it: then it is not seen any more.
        Cause::Certificate => told(Cause::Certificate).is_some() && alert.raised_at + UNSEEN <= now,
    };
    let mut decision = Decision::default();
    for alert in &case.alerts {
        if is_moot(alert) {
            decision.moot.push(alert);
            continue;
        }
        let turn = told(alert.cause).map(|at| at + alert.cause.pace(every));
        match turn.filter(|turn| *turn > now) {
            Some(turn) if alert.due_at < turn => decision.wait.push((alert, turn)),
            None if alert.due_at <= now => decision.tell.push(alert),
            _ => {}
        }
    }
    decision.tell.sort_by_key(|alert| alert.cause);
    decision
}
