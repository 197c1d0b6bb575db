//! How it went lately with a subscription, by the quarters of an hour that workers count.

use std::time::Duration;

use tharsis::{
    Registry, SubscriptionId, Timestamp,
    store::{StoreError, Traffic},
};

use crate::{
    pages::{
        chart::{Chart, Unit},
        fields::Fact,
        figures::Flow,
        markup::Moment,
        trends,
    },
    text::count,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// What the page says of it.
pub(super) struct Lately {
    /// When the hour began that the facts are of: they are of what has passed of the present quarter too.
    pub(super) since: Moment,
    pub(super) facts: Vec<Fact>,
    /// Over a day.
    pub(super) charts: Vec<Chart>,
}

impl Lately {
    pub(super) async fn of(
        registry: &impl Registry,
        id: SubscriptionId,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let day = Traffic::start_of_quarter(now) - trends::DAY;
        let mut quarters = registry.quarters(id, day).await?;
        // A worker's clock may have been ahead.
        quarters.retain(|quarter| quarter.at <= now);
        let since = Traffic::start_of_quarter(now) - HOUR;
        let hour = Flow::of(quarters.iter().filter(|quarter| quarter.at >= since));
        Ok(Self {
            since: Moment::of(since, now),
            facts: facts(&hour, now.since(since)),
            charts: trends::of_quarters(now, &quarters),
        })
    }
}

/// What went on for so long.
fn facts(flow: &Flow, long: Duration) -> Vec<Fact> {
    let within = |per_mille| flow.quantile(per_mille).map(|took| Unit::Span.told(took));
    let rows = [
        ("Requests", Some(requests(flow.attempts, long))),
        (
            "Delivered, of what was tried",
            flow.success().map(|share| Unit::Share.told(share)),
        ),
        ("Half answered within", within(500)),
        ("95 of 100 within", within(950)),
    ];
    let known = rows.into_iter();
    known
        .filter_map(|(name, value)| Some(Fact::new(name, value?)))
        .collect()
}

/// How many, and how many that is in a minute, unless there is less than one in ten minutes.
fn requests(attempts: u64, long: Duration) -> String {
    let number = count(attempts);
    match trends::per_minute(attempts, long.as_secs() / 60) {
        0 => number,
        rate => format!("{number} ({})", Unit::PerMinute.told(rate)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(flow: &Flow) -> String {
        let told: Vec<_> = (facts(flow, HOUR).iter())
            .map(|fact| format!("{}: {}", fact.name, fact.value))
            .collect();
        told.join("; ")
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        assert_eq!(told(&Flow::default()), "Requests: 0");
        let failing = Flow {
            attempts: 90,
            ..Flow::default()
        };
        assert_eq!(told(&failing), "Requests: 90 (1.5 a minute)");
    }

    #[test]
    fn an_hour_is_told_in_a_few_figures() {
        let mut flow = Flow {
            attempts: 4,
            delivered: 3,
            dead: 1,
            ..Flow::default()
        };
        for millis in [5, 8, 90] {
            flow.latency.record(Duration::from_millis(millis));
        }
        assert_eq!(
            told(&flow),
            "Requests: 4; Delivered, of what was tried: 75.00 %; Half answered within: 10.0 ms; 95 of 100 within: 100 ms"
        );
    }
}
