//! The figures as text, as OpenMetrics 1.0 has it. No label grows with what is published or registered.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::text::encode,
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};
use tharsis::{Emitter, Timestamp, store::Pool};

use super::figures::Figures;

/// What it is.
pub(super) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// So soon certificates end that are counted.
const WITHIN: [(&str, Duration); 2] = [
    ("7d", DAY.saturating_mul(7)),
    ("30d", DAY.saturating_mul(30)),
];

type Labels = Vec<(&'static str, String)>;

/// Those of this process, and those of the database where it told any.
pub(super) fn exposition(emitter: &Emitter, figures: Option<&Figures>) -> String {
    let mut registry = Registry::default();
    emitter.metrics().register(&mut registry);
    gather(&mut registry, &emitter.pools(), figures);
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes everything");
    text
}

fn gather(registry: &mut Registry, pools: &[Pool], figures: Option<&Figures>) {
    let registry = registry.sub_registry_with_prefix("tharsis");
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "The program", Info::new(version));
    let connections = pools.iter().flat_map(|pool| {
        [("idle", pool.idle), ("used", pool.used)]
            .map(|(state, n)| (labels([("pool", pool.name), ("state", state)]), n))
    });
    family(
        registry,
        "pool_connections",
        "Connections to the database",
        connections,
    );
    number(
        registry,
        "database_up",
        "Whether the database told its figures this time",
        u64::from(figures.is_some()),
    );
    if let Some(figures) = figures {
        of_shards(registry, figures);
        of_all(registry, figures);
        of_certificates(registry, figures);
    }
}

fn of_shards(registry: &mut Registry, Figures { gauges, .. }: &Figures) {
    let of = |shard: u8| vec![("shard", shard.to_string())];
    let backlog = (gauges.shards.iter()).map(|(shard, backlog)| (of(shard.0), backlog.deliveries));
    family(
        registry,
        "backlog_deliveries",
        "Deliveries that are not finished, held or not",
        backlog,
    );
    let ages = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (shard, backlog) in &gauges.shards {
        if let Some(due) = backlog.due_since {
            let age = gauges.clock.since(due).as_secs_f64();
            ages.get_or_create(&of(shard.0)).set(age);
        }
    }
    registry.register_with_unit(
        "oldest_due_age",
        "How long the first delivery that nothing holds has been due",
        Unit::Seconds,
        ages,
    );
}

fn of_all(registry: &mut Registry, figures: &Figures) {
    let gauges = &figures.gauges;
    for (name, help, n) in [
        (
            "events_unrouted",
            "Events that are not routed yet",
            gauges.unrouted,
        ),
        ("deliveries_held", "Deliveries that are held", gauges.held),
        (
            "commands_waiting",
            "Commands and replays that are not carried out yet",
            gauges.commands,
        ),
        (
            "workers",
            "Workers that deliver from this database",
            gauges.workers,
        ),
    ] {
        number(registry, name, help, n);
    }
    let subscriptions = (figures.subscriptions.iter()).map(|((state, condition), n)| {
        let of = labels([("state", *state), ("condition", *condition)]);
        (of, *n)
    });
    family(registry, "subscriptions", "Subscriptions", subscriptions);
}

fn of_certificates(registry: &mut Registry, Figures { gauges, .. }: &Figures) {
    let ends = &gauges.certificates;
    let soon = WITHIN.map(|(name, within)| {
        let is_soon = |end: &&Timestamp| **end <= gauges.clock + within;
        let n = u64::try_from(ends.iter().filter(is_soon).count()).unwrap_or(u64::MAX);
        (labels([("within", name)]), n)
    });
    family(
        registry,
        "certificates_expiring",
        "Receivers whose certificate ends so soon, of those that people were told of",
        soon,
    );
    if let Some(first) = ends.iter().min() {
        let earliest = Gauge::<f64, AtomicU64>::default();
        earliest.set(first.since(Timestamp::default()).as_secs_f64());
        registry.register_with_unit(
            "certificates_earliest_expiry_timestamp",
            "When the first of these certificates ends",
            Unit::Seconds,
            earliest,
        );
    }
}

fn number(registry: &mut Registry, name: &str, help: &str, n: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(signed(n));
    registry.register(name, help, gauge);
}

fn family(
    registry: &mut Registry,
    name: &str,
    help: &str,
    members: impl IntoIterator<Item = (Labels, u64)>,
) {
    let family = Family::<Labels, Gauge>::default();
    for (labels, n) in members {
        family.get_or_create(&labels).set(signed(n));
    }
    registry.register(name, help, family);
}

fn labels<const N: usize>(labels: [(&'static str, &str); N]) -> Labels {
    labels.map(|(name, value)| (name, value.to_owned())).into()
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tharsis::store::{Backlog, Gauges, Shard};

    use super::*;

    fn told(figures: Option<&Figures>) -> String {
        let pools = [Pool {
            name: "lists",
            idle: 1,
            used: 2,
        }];
        let mut registry = Registry::default();
        gather(&mut registry, &pools, figures);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes everything");
        // Within a family they come in any order.
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    #[test]
    fn what_the_database_does_not_tell_is_not_there() {
        let told = told(None);
        assert!(told.contains("tharsis_database_up 0\n"), "{told}");
        assert!(told.contains("tharsis_build_info{version="), "{told}");
        assert_eq!(told.lines().count(), 4, "{told}");
    }

    #[test]
    fn what_it_tells_has_its_unit_and_its_labels() {
        let at = Timestamp::from_millis;
        let backlog = |deliveries, due_since| Backlog {
            deliveries,
            due_since,
        };
        let figures = Figures {
            gauges: Gauges {
                clock: at(1_700_000_000_000),
                shards: BTreeMap::from([
                    (Shard(3), backlog(5, Some(at(1_699_999_998_500)))),
                    (Shard(60), backlog(1, None)),
                ]),
                unrouted: 2,
                held: 1,
                commands: 0,
                workers: 1,
                certificates: vec![at(1_700_864_000_500), at(1_700_000_100_500)],
            },
            subscriptions: BTreeMap::from([(("active", "open"), 2)]),
            unsigned: 0,
            has_key: true,
        };
        let told = told(Some(&figures));
        for line in [
            r#"tharsis_backlog_deliveries{shard="3"} 5"#,
            r#"tharsis_backlog_deliveries{shard="60"} 1"#,
            r#"tharsis_certificates_earliest_expiry_timestamp_seconds 1700000100.5"#,
            r#"tharsis_certificates_expiring{within="30d"} 2"#,
            r#"tharsis_certificates_expiring{within="7d"} 1"#,
            "tharsis_commands_waiting 0",
            "tharsis_database_up 1",
            "tharsis_deliveries_held 1",
            "tharsis_events_unrouted 2",
            r#"tharsis_oldest_due_age_seconds{shard="3"} 1.5"#,
            r#"tharsis_pool_connections{pool="lists",state="idle"} 1"#,
            r#"tharsis_pool_connections{pool="lists",state="used"} 2"#,
            r#"tharsis_subscriptions{state="active",condition="open"} 2"#,
            "tharsis_workers 1",
        ] {
            assert!(told.lines().any(|one| one == line), "{line}\n{told}");
        }
        assert_eq!(told.lines().count(), 15, "{told}");
    }
}
