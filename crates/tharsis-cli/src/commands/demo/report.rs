use std::{path::Path, time::Duration};

use serde::Serialize;
use tharsis::{Remaining, Summary};

use super::{
    BURST, DATABASE, EVENTS, PAUSE,
    journal::{Journal, Seen},
    receivers::{Endpoint, RETRY},
};
use crate::output::{
    Failure, Output, Table,
    text::{count, measured},
};

/// What came of the demo, to be told.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    complete: bool,
    published: u64,
    seconds: f64,
    #[serde(flatten)]
    all: Figures,
    subscriptions: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    client: &'static str,
    #[serde(flatten)]
    figures: Figures,
}

/// What one receiver got, or all of them.
#[derive(Debug, Serialize)]
struct Figures {
    /// Events that were to arrive.
    expected: u64,
    /// Different events that arrived with the right signature and the published bytes.
    verified: u64,
    /// Requests that came in vain: the event was sent again.
    retried: u64,
    /// Requests with a wrong signature or a body that nobody published.
    strangers: u64,
    /// From the begin of the publish to the receipt.
    p50_ms: f64,
    p99_ms: f64,
    /// Verified events a second.
    rate: f64,
    #[serde(skip)]
    delays: Vec<Duration>,
}

/// Says what is about to happen.
pub(super) fn introduction(folder: &Path, endpoints: &[Endpoint]) -> String {
    let mut table = Table::new(&["subscription", "client", "wants", "receiver", "answers"]);
    for endpoint in endpoints {
        let part = endpoint.part;
        table.row([
            part.name.to_owned(),
            // Enough to tell two clients apart.
            format!("{:.8}…", part.client),
            part.event.unwrap_or("all").to_owned(),
            format!("localhost:{}", endpoint.receiver.addr().port()),
            part.answers.to_owned(),
        ]);
    }
    format!(
        "The outbox is {}.\nThree subscriptions were added, each checked by HEAD over TLS. Failures are tried again\n\
         after {RETRY}; in service after 5s,1m,10m.\n\n{}\nPublishing {} events over {} s, and delivering them meanwhile.\n",
        folder.join(DATABASE).display(),
        table.render(None),
        count(EVENTS as u64),
        PAUSE.as_millis() as usize * EVENTS / BURST / 1_000
    )
}

impl Report {
    pub(super) fn new(
        journal: &Journal,
        endpoints: &[Endpoint],
        summary: &Summary,
        took: Duration,
    ) -> Self {
        let subscriptions: Vec<_> = endpoints
            .iter()
            .map(|endpoint| Line {
                name: endpoint.part.name,
                client: endpoint.part.client,
                figures: Figures::new(endpoint.expected, &endpoint.sightings.seen(), took),
            })
            .collect();
        let all = Figures::sum(subscriptions.iter().map(|line| &line.figures), took);
        Self {
            complete: all.expected == all.verified
                && all.strangers == 0
                && summary.delivered == all.expected
                && summary.remaining == Remaining::default(),
            published: journal.published(),
            seconds: rounded(took.as_secs_f64()),
            all,
            subscriptions,
        }
    }

    /// Whether every event arrived verified, and the outbox knows it.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn tell(&self, output: Output) -> Result<(), Failure> {
        if output.json {
            return output.document(self);
        }
        let mut table = Table::new(&[
            "subscription",
            ">published",
            ">delivered",
            ">retried",
            ">p50",
            ">p99",
            ">rate",
        ]);
        for line in &self.subscriptions {
            table.row(line.figures.row(line.name));
        }
        // An event counts once, however many want it.
        let mut all = self.all.row("all");
        all[1] = count(self.published);
        table.row(all);
        output.table(&table)?;
        let verdict = if self.complete {
            format!(
                "Every event arrived, its signature verified: {} events, {} deliveries in {:.1} s.",
                count(self.published),
                count(self.all.verified),
                self.seconds
            )
        } else {
            format!(
                "Not every event arrived verified: {} of {}.",
                count(self.all.verified),
                count(self.all.expected)
            )
        };
        output.line(format_args!("\n{verdict}"))
    }
}

impl Figures {
    fn new(expected: u64, seen: &Seen, took: Duration) -> Self {
        let delays: Vec<_> = seen.delays.values().copied().collect();
        let verified = delays.len() as u64;
        Self::of(
            expected,
            verified,
            seen.requests - seen.strangers - verified,
            seen.strangers,
            delays,
            took,
        )
    }

    fn sum<'a>(parts: impl Iterator<Item = &'a Self>, took: Duration) -> Self {
        let parts: Vec<_> = parts.collect();
        let total = |figure: fn(&Self) -> u64| parts.iter().map(|part| figure(part)).sum();
        let delays = parts
            .iter()
            .flat_map(|part| &part.delays)
            .copied()
            .collect();
        Self::of(
            total(|part| part.expected),
            total(|part| part.verified),
            total(|part| part.retried),
            total(|part| part.strangers),
            delays,
            took,
        )
    }

    fn of(
        expected: u64,
        verified: u64,
        retried: u64,
        strangers: u64,
        mut delays: Vec<Duration>,
        took: Duration,
    ) -> Self {
        delays.sort_unstable();
        Self {
            expected,
            verified,
            retried,
            strangers,
            p50_ms: quantile(&delays, 50),
            p99_ms: quantile(&delays, 99),
            rate: rounded(verified as f64 / took.as_secs_f64().max(0.001)),
            delays,
        }
    }

    fn row(&self, name: &str) -> [String; 7] {
        let span = |ms: f64| measured(Duration::from_secs_f64(ms / 1_000.0));
        [
            name.to_owned(),
            count(self.expected),
            count(self.verified),
            count(self.retried),
            span(self.p50_ms),
            span(self.p99_ms),
            format!("{}/s", count(self.rate.round() as u64)),
        ]
    }
}

/// The delay in milliseconds that so many of a hundred do not exceed (nearest rank).
fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    rounded(
        sorted
            .get(rank - 1)
            .map_or(0.0, |delay| delay.as_secs_f64() * 1_000.0),
    )
}

/// Two digits after the point are enough for anybody.
fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
