//! How it went lately, in charts.

use std::time::Duration;

use tharsis::{
    Timestamp,
    store::{Depth, Traffic},
};

use super::{
    chart::{Axis, Chart, Line, POINTS, ROWS, Unit},
    figures::{Flow, Stretch},
};

/// The quarters of an hour of a day: a picture of them has no more points.
const QUARTERS: usize = 96;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What was sent, and what came of it, minute by minute until the last whole one.
pub(crate) fn of_minutes(now: Timestamp, over: Duration, minutes: &[Traffic]) -> Vec<Chart> {
    of_flow(by_minute(now, over), minutes)
}

/// The same over a day, in quarters of an hour until the last whole one.
pub(crate) fn of_quarters(now: Timestamp, quarters: &[Traffic]) -> Vec<Chart> {
    let end = Traffic::start_of_quarter(now);
    let stretches = [QUARTERS, ROWS].map(|slots| Stretch::until(end, DAY, slots));
    of_flow(stretches, quarters)
}

fn of_flow([picture, table]: [Stretch; 2], traffic: &[Traffic]) -> Vec<Chart> {
    let [points, rows] =
        [picture, table].map(|stretch| (stretch.flows(traffic), stretch.minutes()));
    let line = |name: &'static str, value: fn(&Flow, u64) -> Option<u64>| {
        let values = |(flows, minutes): &(Vec<Flow>, u64)| {
            let values = flows.iter().map(|flow| value(flow, *minutes));
            values.collect::<Vec<_>>()
        };
        Line {
            name,
            points: values(&points),
            rows: values(&rows),
        }
    };
    let attempts = line("attempts", |flow, minutes| {
        Some(per_minute(flow.attempts, minutes))
    });
    let delivered = line("delivered", |flow, minutes| {
        Some(per_minute(flow.delivered, minutes))
    });
    let success = line("delivered", |flow, _| flow.success());
    let half = line("p50", |flow, _| flow.quantile(500));
    let most = line("p99", |flow, _| flow.quantile(990));
    let axis = Axis::new(table.begins());
    let chart = |id, title, unit, lines: &[Line]| Chart::new(id, title, unit, &axis, lines);
    vec![
        chart(
            "throughput",
            "Throughput",
            Unit::PerMinute,
            &[attempts, delivered],
        ),
        chart(
            "success",
            "Delivered, of what was tried",
            Unit::Share,
            &[success],
        ),
        chart(
            "latency",
            "Receivers answer within",
            Unit::Span,
            &[half, most],
        ),
    ]
}

/// What waited.
pub(crate) fn of_backlog(now: Timestamp, over: Duration, depths: &[Depth]) -> Chart {
    let [picture, table] = by_minute(now, over);
    let waiting = Line {
        name: "waiting",
        points: picture.waiting(depths),
        rows: table.waiting(depths),
    };
    let axis = Axis::new(table.begins());
    Chart::new("backlog", "Backlog", Unit::Number, &axis, &[waiting])
}

/// As the picture has them, and as the table has.
fn by_minute(now: Timestamp, over: Duration) -> [Stretch; 2] {
    let end = Traffic::start_of_minute(now);
    [POINTS, ROWS].map(|slots| Stretch::until(end, over, slots))
}

/// In tenths.
pub(crate) fn per_minute(all: u64, minutes: u64) -> u64 {
    all.saturating_mul(10) / minutes.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn now() -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    #[test]
    fn where_nothing_was_sent_its_count_is_nought_and_no_more_is_known() {
        let charts = of_minutes(now(), HOUR * 3, &[]);
        let told: Vec<_> = charts.iter().map(|chart| &*chart.told).collect();
        assert_eq!(
            told,
            [
                "Throughput: attempts 0 a minute at last, 0 a minute at most; delivered 0 a minute at last, 0 a minute at most",
                "Delivered, of what was tried: delivered not known",
                "Receivers answer within: p50 not known; p99 not known",
            ]
        );
        let has_figures: Vec<_> = charts.iter().map(|chart| chart.has_figures).collect();
        assert_eq!(has_figures, [true, false, false]);
        let backlog = of_backlog(now(), HOUR * 3, &[]);
        assert_eq!(backlog.told, "Backlog: waiting not known");
    }

    #[test]
    fn minutes_are_merged_where_they_are_many() {
        let minute = Traffic {
            at: Traffic::start_of_minute(now()) - Duration::from_secs(60),
            attempts: 40,
            delivered: 20,
            dead: 20,
            ..Traffic::default()
        };
        let minutes = [minute];
        let first = |over: Duration| {
            let charts = of_minutes(now(), over, &minutes);
            let told: Vec<_> = charts.into_iter().map(|chart| chart.told).collect();
            told.join(". ")
        };
        assert!(first(HOUR * 3).starts_with("Throughput: attempts 40 a minute at last"));
        let day = first(HOUR * 24);
        assert!(
            day.starts_with("Throughput: attempts 5 a minute at last"),
            "{day}"
        );
        assert!(day.contains("delivered 50.00 % at last"), "{day}");
    }

    #[test]
    fn each_quarter_of_an_hour_is_a_point_of_its_own_once_it_is_over() {
        let quarter = |ago: u64, attempts: u64| Traffic {
            at: Traffic::start_of_quarter(now()) - Duration::from_secs(ago * 15 * 60),
            attempts,
            ..Traffic::default()
        };
        // The present one, the last, and the one before; and the first of the day.
        let told = |quarters: &[Traffic]| {
            let charts = of_quarters(now(), quarters);
            charts
                .into_iter()
                .next()
                .map(|chart| chart.told)
                .unwrap_or_default()
        };
        let all = [
            quarter(0, 900),
            quarter(1, 30),
            quarter(2, 45),
            quarter(97, 900),
        ];
        assert_eq!(
            told(&all),
            "Throughput: attempts 2 a minute at last, 3 a minute at most; delivered 0 a minute at last, 0 a minute at most"
        );
        assert!(
            told(&[quarter(96, 60)]).contains("attempts 0 a minute at last, 4 a minute at most")
        );
    }

    #[test]
    fn the_table_is_short() {
        for hours in [3, 24] {
            let charts = of_minutes(now(), HOUR * hours, &[]);
            assert!(charts.iter().all(|chart| chart.rows.len() == ROWS));
        }
    }
}
