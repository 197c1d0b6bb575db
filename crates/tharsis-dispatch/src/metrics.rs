use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{
        MetricType, TypedMetric, counter::Counter, family::Family, gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use tharsis_core::{
    delivery::{End, Fault, Outcome, codes},
    profile::Profile,
};

use crate::client::Phase;

/// Bounds in seconds.
const REQUEST: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];
const RECEIPT: [f64; 18] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
    900.0, 3600.0,
];
const STORE: [f64; 14] = [
    0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

/// Bounds in rows.
const BATCH: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

/// What this process has done since it began, for whoever gathers figures. Cheap to count with; how many series there are
/// depends on nothing that comes from outside.
#[derive(Debug)]
pub struct Metrics {
    events_published: Counter,
    events_refused: Counter,
    attempts: Family<Attempted, Counter>,
    attempt: Histogram,
    attempt_phase: Each<Phase, Histogram>,
    addresses_blocked: Counter,
    deliveries_ended: Each<End, Counter>,
    retries: Counter,
    publish_to_receipt: Histogram,
    requests_in_flight: Gauge,
    settle_batch_size: Histogram,
    store: Each<Asked, Histogram>,
    store_failures: Each<Asked, Counter>,
    shards_owned: Gauge,
    shards_taken_over: Counter,
    shards_lost: Counter,
    lease_renewals: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            events_published: Counter::default(),
            events_refused: Counter::default(),
            attempts: Family::default(),
            attempt: Histogram::new(REQUEST),
            attempt_phase: Each::new(|| Histogram::new(REQUEST)),
            addresses_blocked: Counter::default(),
            deliveries_ended: Each::new(Counter::default),
            retries: Counter::default(),
            publish_to_receipt: Histogram::new(RECEIPT),
            requests_in_flight: Gauge::default(),
            settle_batch_size: Histogram::new(BATCH),
            store: Each::new(|| Histogram::new(STORE)),
            store_failures: Each::new(Counter::default),
            shards_owned: Gauge::default(),
            shards_taken_over: Counter::default(),
            shards_lost: Counter::default(),
            lease_renewals: Counter::default(),
        }
    }
}

impl Metrics {
    /// Has all of them told with whatever else is in the registry, each under a name that begins with `tharsis_`.
    pub fn register(&self, registry: &mut Registry) {
        let Self {
            events_published,
            events_refused,
            attempts,
            attempt,
            attempt_phase,
            addresses_blocked,
            deliveries_ended,
            retries,
            publish_to_receipt,
            requests_in_flight,
            settle_batch_size,
            store,
            store_failures,
            shards_owned,
            shards_taken_over,
            shards_lost,
            lease_renewals,
        } = self;
        let registry = registry.sub_registry_with_prefix("tharsis");
        registry.register(
            "events_published",
            "Events that were published, also in transactions of the caller",
            events_published.clone(),
        );
        registry.register(
            "events_refused",
            "Events that were not published, for what is wrong with them or for a backlog that is full",
            events_refused.clone(),
        );
        registry.register(
            "attempts",
            "Attempts that were answered or failed, each delivery of a request by itself",
            attempts.clone(),
        );
        registry.register_with_unit(
            "attempt",
            "Requests from the look-up of the name to the end of the answer or to the failure",
            Unit::Seconds,
            attempt.clone(),
        );
        registry.register_with_unit(
            "attempt_phase",
            "Parts of requests that came to their end; http begins where there is a connection",
            Unit::Seconds,
            attempt_phase.clone(),
        );
        registry.register(
            "addresses_blocked",
            "Requests that ended because an address is not allowed",
            addresses_blocked.clone(),
        );
        registry.register(
            "deliveries_ended",
            "Deliveries that this process brought to an end",
            deliveries_ended.clone(),
        );
        registry.register(
            "retries",
            "Attempts that failed and are made again",
            retries.clone(),
        );
        registry.register_with_unit(
            "publish_to_receipt",
            "From the publication of an event to the end of the attempt that delivered it, without replays",
            Unit::Seconds,
            publish_to_receipt.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests under way at this moment",
            requests_in_flight.clone(),
        );
        registry.register(
            "settle_batch_size",
            "Rows of one transaction that writes down what came of deliveries",
            settle_batch_size.clone(),
        );
        registry.register_with_unit(
            "store",
            "Operations on the database, also those that failed",
            Unit::Seconds,
            store.clone(),
        );
        registry.register(
            "store_failures",
            "Operations on the database that failed",
            store_failures.clone(),
        );
        registry.register(
            "shards_owned",
            "Shards in the lease of this process, of 64",
            shards_owned.clone(),
        );
        registry.register(
            "shards_taken_over",
            "Shards that came into the lease",
            shards_taken_over.clone(),
        );
        registry.register(
            "shards_lost",
            "Shards that went out of the lease without being given back",
            shards_lost.clone(),
        );
        registry.register(
            "lease_renewals",
            "Times that the lease was taken or renewed",
            lease_renewals.clone(),
        );
    }

    /// So many events were published, and so many refused. One that was published before is neither.
    pub fn published(&self, events: u64, refused: u64) {
        self.events_published.inc_by(events);
        self.events_refused.inc_by(refused);
    }

    /// The database was asked to publish.
    pub fn asked_to_publish(&self, took: Duration, is_failure: bool) {
        self.asked(Asked::Publish, took, is_failure);
    }

    /// The database answered, or failed.
    pub(crate) fn asked(&self, asked: Asked, took: Duration, is_failure: bool) {
        self.store.of(asked).observe(took.as_secs_f64());
        if is_failure {
            self.store_failures.of(asked).inc();
        }
    }

    /// This came of a request with so many deliveries.
    pub(crate) fn attempted(&self, profile: &Profile, outcome: &Outcome, deliveries: usize) {
        let attempted = Attempted {
            profile: known(profile),
            outcome: folded(&outcome.code),
        };
        let deliveries = u64::try_from(deliveries).unwrap_or(u64::MAX);
        self.attempts.get_or_create(&attempted).inc_by(deliveries);
        // How long it took to fail by ourselves says nothing of receivers.
        if outcome.fault != Fault::Ours {
            self.attempt.observe(outcome.duration.as_secs_f64());
        }
    }

    /// A request came through this phase.
    pub(crate) fn passed(&self, phase: Phase, took: Duration) {
        self.attempt_phase.of(phase).observe(took.as_secs_f64());
    }

    /// A request ended because its address is not allowed.
    pub(crate) fn blocked(&self) {
        self.addresses_blocked.inc();
    }

    /// An event reached a receiver so long after it was published.
    pub(crate) fn received(&self, after: Duration) {
        self.publish_to_receipt.observe(after.as_secs_f64());
    }

    /// A delivery ended, durably.
    pub(crate) fn ended(&self, end: End) {
        self.deliveries_ended.of(end).inc();
    }

    /// What failed is made again, and that is durable.
    pub(crate) fn retried(&self, attempts: u64) {
        self.retries.inc_by(attempts);
    }

    /// So many rows were settled in one transaction.
    pub(crate) fn settled(&self, rows: u32) {
        self.settle_batch_size.observe(f64::from(rows));
    }

    /// So many requests are under way now.
    pub(crate) fn in_flight(&self, requests: usize) {
        let requests = i64::try_from(requests).unwrap_or(i64::MAX);
        self.requests_in_flight.set(requests);
    }

    /// So many shards are owned now.
    pub(crate) fn owned(&self, shards: u32) {
        self.shards_owned.set(shards.into());
    }

    /// So many shards were another's before, or nobody's.
    pub(crate) fn took_over(&self, shards: u32) {
        self.shards_taken_over.inc_by(shards.into());
    }

    /// So many shards are another's now, or were.
    pub(crate) fn lost(&self, shards: u32) {
        self.shards_lost.inc_by(shards.into());
    }

    /// The lease was taken or renewed.
    pub(crate) fn renewed(&self) {
        self.lease_renewals.inc();
    }
}

/// The labels of an attempt. There are some hundred at most, and as many as were seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempted {
    profile: &'static str,
    outcome: &'static str,
}

/// The name of a profile that comes with the program; those of others are as many as operators think of.
fn known(profile: &Profile) -> &'static str {
    match &profile.name {
        Cow::Borrowed(name) => name,
        Cow::Owned(_) => "declared",
    }
}

/// The code as it is documented; of statuses that are not documented by themselves the hundred.
fn folded(code: &str) -> &'static str {
    let status = status(code);
    // The usual one is not looked for among the others.
    if matches!(status, Some(200..300)) {
        return "http_2xx";
    }
    if let Some(known) = codes::ALL.iter().find(|known| known.code == code) {
        return known.code;
    }
    match status {
        Some(100..200) => "http_1xx",
        Some(300..400) => "http_3xx",
        Some(400..500) => "http_4xx",
        Some(500..600) => "http_5xx",
        Some(_) => "http_other",
        None => "other",
    }
}

fn status(code: &str) -> Option<u16> {
    let digits = code.strip_prefix("http_")?;
    digits.parse().ok().filter(|_| digits.len() == 3)
}

/// A label with few values, all known.
trait Label: Copy {
    const NAME: &'static str;
    const VALUES: &'static [&'static str];

    /// The place of its value among all.
    fn place(self) -> usize;
}

impl Label for Phase {
    const NAME: &'static str = "phase";
    const VALUES: &'static [&'static str] = &["http", "dns", "tcp", "tls"];

    fn place(self) -> usize {
        self as usize
    }
}

impl Label for End {
    const NAME: &'static str = "end";
    const VALUES: &'static [&'static str] = &[
        Self::Delivered.as_str(),
        Self::Dead.as_str(),
        Self::Expired.as_str(),
        Self::Refused.as_str(),
        Self::Cancelled.as_str(),
    ];

    fn place(self) -> usize {
        self as usize
    }
}

macro_rules! asked {
    ($($asked:ident $value:literal,)*) => {
        /// What the database is asked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Asked {
            $($asked,)*
        }

        impl Label for Asked {
            const NAME: &'static str = "operation";
            const VALUES: &'static [&'static str] = &[$($value,)*];

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

asked! {
    Hold "hold",
    Poll "poll",
    Load "load",
    Point "point",
    Route "route",
    Discover "discover",
    Read "read",
    Settle "settle",
    Look "look",
    LetGo "let_go",
    Transition "transition",
    WorkOff "work_off",
    Weigh "weigh",
    AddFigures "add_figures",
    NoteDepth "note_depth",
    Forget "forget",
    Maintain "maintain",
    Count "count",
    Release "release",
    Publish "publish",
}

/// An instrument for each value of a label, there from the beginning: none is looked for under a lock.
#[derive(Debug, Clone)]
struct Each<L, M> {
    instruments: Arc<[M]>,
    label: PhantomData<L>,
}

impl<L: Label, M> Each<L, M> {
    fn new(instrument: impl Fn() -> M) -> Self {
        Self {
            instruments: L::VALUES.iter().map(|_| instrument()).collect(),
            label: PhantomData,
        }
    }

    /// Each label has its place among its values.
    fn of(&self, label: L) -> &M {
        &self.instruments[label.place()]
    }
}

impl<L: Label, M: EncodeMetric + TypedMetric> EncodeMetric for Each<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (value, instrument) in L::VALUES.iter().zip(&*self.instruments) {
            let labels = [(L::NAME, *value)];
            instrument.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

#[cfg(test)]
impl Metrics {
    /// All of them as they are told.
    pub(crate) fn exposition(&self) -> String {
        let mut registry = Registry::default();
        self.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("it is only text");
        text
    }

    /// The figure of one series; nothing where there is none.
    pub(crate) fn figure(&self, series: &str) -> String {
        let text = self.exposition();
        let mut told = text.lines().filter_map(|line| line.rsplit_once(' '));
        let found = told.find(|(name, _)| *name == series);
        found.map_or_else(String::new, |(_, figure)| figure.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tharsis_core::profile::Profiles;

    use super::*;

    fn outcome(code: &str) -> Outcome {
        Outcome {
            code: code.to_owned().into(),
            fault: Fault::Theirs,
            status: None,
            retry_after: None,
            excerpt: Vec::new(),
            detail: None,
            duration: Duration::from_millis(30),
            certificate: None,
        }
    }

    #[test]
    fn a_code_is_told_as_it_is_documented_or_by_its_hundred() {
        for (code, told) in [
            ("http_200", "http_2xx"),
            ("http_204", "http_2xx"),
            ("http_503", "http_503"),
            ("http_410", "http_410"),
            ("http_redirect", "http_redirect"),
            ("address_is_self", "address_is_self"),
            ("http_103", "http_1xx"),
            ("http_304", "http_3xx"),
            ("http_418", "http_4xx"),
            ("http_500", "http_5xx"),
            ("http_999", "http_other"),
            ("http_9999", "other"),
            ("nonsense", "other"),
        ] {
            assert_eq!(folded(code), told, "{code}");
        }
    }

    #[test]
    fn profiles_of_operators_are_told_as_one() {
        let profiles = Profiles::default();
        let names: Vec<_> = profiles.iter().map(known).collect();
        assert_eq!(
            names,
            [
                "mars",
                "insightarc",
                "smartech",
                "nudge",
                "standard",
                "github",
                "shopify",
                "stripe"
            ]
        );
        let moon = Profile::stand_in("moon".to_owned());
        assert_eq!(known(&moon), "declared");
    }

    #[test]
    fn each_label_has_its_place() {
        for end in [
            End::Delivered,
            End::Dead,
            End::Expired,
            End::Refused,
            End::Cancelled,
        ] {
            assert_eq!(End::VALUES[end.place()], end.as_str());
        }
        for (phase, value) in [
            (Phase::Dns, "dns"),
            (Phase::Tcp, "tcp"),
            (Phase::Tls, "tls"),
            (Phase::Http, "http"),
        ] {
            assert_eq!(Phase::VALUES[phase.place()], value);
        }
        assert_eq!(Asked::VALUES[Asked::Hold.place()], "hold");
        assert_eq!(Asked::VALUES[Asked::Publish.place()], "publish");
    }

    #[test]
    fn there_are_no_more_series_whatever_comes() {
        let metrics = Metrics::default();
        let mut codes: Vec<String> = (100..1000).map(|status| format!("http_{status}")).collect();
        codes.extend(codes::ALL.iter().map(|known| known.code.to_owned()));
        codes.extend(["", "nonsense", "http_", "http_20"].map(str::to_owned));
        let declared = ["moon", "sun", ""].map(|name| Profile::stand_in(name.to_owned()));
        let profiles = Profiles::default();
        for profile in profiles.iter().chain(&declared) {
            for code in &codes {
                metrics.attempted(profile, &outcome(code), 2);
            }
        }
        let text = metrics.exposition();
        let attempts = |line: &&str| line.starts_with("tharsis_attempts_total{");
        let folds = 7;
        assert_eq!(
            text.lines().filter(attempts).count(),
            9 * (codes::ALL.len() + folds)
        );
        assert_eq!(
            metrics.figure(r#"tharsis_attempts_total{profile="mars",outcome="http_2xx"}"#),
            "200"
        );
    }

    #[test]
    fn no_name_is_told_twice_and_these_are_all() {
        let metrics = Metrics::default();
        metrics.attempted(&Profile::stand_in("moon".to_owned()), &outcome("x"), 1);
        let text = metrics.exposition();
        let types: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .collect();
        assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), types.len());
        insta::assert_snapshot!(types.join("\n"), @r"
        tharsis_events_published counter
        tharsis_events_refused counter
        tharsis_attempts counter
        tharsis_attempt_seconds histogram
        tharsis_attempt_phase_seconds histogram
        tharsis_addresses_blocked counter
        tharsis_deliveries_ended counter
        tharsis_retries counter
        tharsis_publish_to_receipt_seconds histogram
        tharsis_requests_in_flight gauge
        tharsis_settle_batch_size histogram
        tharsis_store_seconds histogram
        tharsis_store_failures counter
        tharsis_shards_owned gauge
        tharsis_shards_taken_over counter
        tharsis_shards_lost counter
        tharsis_lease_renewals counter
        ");
    }

    #[test]
    fn what_is_noted_is_found_under_its_name() {
        let metrics = Metrics::default();
        metrics.published(3, 1);
        metrics.asked_to_publish(Duration::from_micros(300), false);
        metrics.asked(Asked::LetGo, Duration::from_secs(1), true);
        metrics.attempted(
            &Profile::stand_in("moon".to_owned()),
            &outcome("http_503"),
            4,
        );
        metrics.passed(Phase::Tls, Duration::from_millis(20));
        for (series, figure) in [
            ("tharsis_events_published_total", "3"),
            ("tharsis_events_refused_total", "1"),
            (
                r#"tharsis_store_seconds_bucket{le="0.0005",operation="publish"}"#,
                "1",
            ),
            (r#"tharsis_store_failures_total{operation="let_go"}"#, "1"),
            (r#"tharsis_store_failures_total{operation="publish"}"#, "0"),
            (
                r#"tharsis_attempts_total{profile="declared",outcome="http_503"}"#,
                "4",
            ),
            ("tharsis_attempt_seconds_count", "1"),
            (r#"tharsis_attempt_phase_seconds_count{phase="tls"}"#, "1"),
            (r#"tharsis_attempt_phase_seconds_count{phase="http"}"#, "0"),
        ] {
            assert_eq!(metrics.figure(series), figure, "{series}");
        }
    }
}
