//! When a breaker opens, probes and gives up.

use std::time::Duration;

use proptest::prelude::*;
use tharsis_core::{
    EventId, Timestamp,
    health::{
        Breaker, Condition, FIRST_PROBE, Failure, Health, LONGEST_PROBE, Limits, UNTHROTTLED,
    },
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn event(n: u8) -> EventId {
    EventId::new(NOW, [n; 10])
}

/// A failure in the middle of the spread.
fn failure(n: u8, at: Timestamp) -> Failure<'static> {
    Failure {
        event: event(n),
        code: "http_500",
        asked_for: Duration::ZERO,
        at,
        random: u16::MAX / 2 + 1,
    }
}

fn limits(breaker: u32, suspend_after: Duration) -> Limits {
    Limits {
        breaker: Some(breaker),
        suspend_after: Some(suspend_after),
    }
}

fn open() -> Breaker {
    let mut breaker = Breaker::new(Health::default());
    assert!(!breaker.failed(failure(1, NOW), false, limits(2, HOUR)));
    assert!(breaker.failed(failure(2, NOW), false, limits(2, HOUR)));
    assert_eq!(breaker.condition(), Condition::Open);
    breaker
}

#[test]
fn it_opens_after_so_many_failures_in_a_row() {
    let mut breaker = Breaker::new(Health::default());
    let limits = limits(20, HOUR);
    for n in 0..19 {
        assert!(!breaker.failed(failure(n % 3, NOW), false, limits));
    }
    assert!(!breaker.succeeded(NOW));
    for n in 0..19 {
        assert!(!breaker.failed(failure(n % 3, NOW), false, limits));
    }
    assert_eq!(
        breaker.health(),
        &Health {
            failing_since: Some(NOW),
            ..Health::default()
        }
    );
    assert!(breaker.failed(failure(1, NOW + HOUR), false, limits));
    let health = Health {
        condition: Condition::Open,
        since: Some(NOW + HOUR),
        cause: Some("http_500".to_owned()),
        failing_since: Some(NOW),
        probe_at: breaker.health().probe_at,
        probes: 0,
        version: 1,
    };
    assert_eq!(breaker.health(), &health);
    let wait = health.probe_at.expect("it probes").since(NOW + HOUR);
    assert!(
        wait.abs_diff(FIRST_PROBE) < Duration::from_millis(2),
        "{wait:?}"
    );
}

#[test]
fn one_event_alone_never_opens_it_and_nothing_does_where_the_admin_says_so() {
    let mut breaker = Breaker::new(Health::default());
    for _ in 0..100 {
        assert!(!breaker.failed(failure(1, NOW), false, limits(2, HOUR)));
    }
    assert!(breaker.failed(failure(2, NOW), false, limits(2, HOUR)));

    let never = Limits {
        breaker: None,
        suspend_after: None,
    };
    let mut breaker = Breaker::new(Health::default());
    for n in 0..100 {
        assert!(!breaker.failed(failure(n, NOW), false, never));
    }
    // Also after it was resumed.
    let resumed = Health {
        condition: Condition::HalfOpen,
        ..Health::default()
    };
    let mut breaker = Breaker::new(resumed);
    assert!(breaker.failed(failure(1, NOW), true, never));
    assert_eq!(breaker.condition(), Condition::Healthy);
}

#[test]
fn probes_come_less_and_less_often_and_never_sooner_than_asked() {
    let mut breaker = open();
    let mut waits = Vec::new();
    for _ in 0..9 {
        let at = breaker.probe_at().expect("it probes");
        assert!(breaker.half_open(at));
        assert_eq!((breaker.probes(), breaker.probe_at()), (true, None));
        assert!(!breaker.half_open(at), "one");
        assert!(breaker.failed(failure(1, at), true, Limits::default()));
        let wait = breaker.probe_at().expect("it probes").since(at);
        waits.push(wait.as_secs_f64().round());
    }
    assert_eq!(waits, [10., 20., 40., 80., 160., 300., 300., 300., 300.]);

    let at = breaker.probe_at().expect("it probes");
    breaker.half_open(at);
    let asked = Failure {
        asked_for: HOUR,
        ..failure(1, at)
    };
    assert!(breaker.failed(asked, true, Limits::default()));
    assert_eq!(breaker.probe_at(), Some(at + HOUR));

    // Whoever of those under way asks for most is heeded, also when it comes late.
    let mut breaker = Breaker::new(Health::default());
    let late = |hours| Failure {
        asked_for: hours * HOUR,
        ..failure(1, NOW)
    };
    breaker.failed(late(1), false, limits(2, HOUR));
    breaker.failed(failure(2, NOW), false, limits(2, HOUR));
    assert_eq!(breaker.probe_at(), Some(NOW + HOUR));
    assert!(breaker.failed(late(2), false, limits(2, HOUR)));
    assert_eq!(breaker.probe_at(), Some(NOW + 2 * HOUR));
}

#[test]
fn what_was_sent_before_it_opened_says_nothing_when_it_fails_and_all_when_it_does_not() {
    let mut breaker = open();
    let before = breaker.health().clone();
    assert!(!breaker.failed(failure(3, NOW), false, limits(2, HOUR)));
    breaker.half_open(NOW + HOUR);
    assert!(!breaker.failed(failure(4, NOW + HOUR), false, limits(2, HOUR)));
    assert_eq!(breaker.condition(), Condition::HalfOpen);
    assert_eq!(breaker.health().failing_since, before.failing_since);

    let mut breaker = open();
    assert!(breaker.succeeded(NOW + HOUR));
    let health = breaker.health();
    assert_eq!(
        (health.condition, health.probe_at, health.failing_since),
        (Condition::Throttled, None, None)
    );
}

#[test]
fn it_is_suspended_when_it_has_failed_for_long_enough() {
    let mut breaker = open();
    for minutes in [10, 59] {
        let at = NOW + Duration::from_secs(60 * minutes);
        breaker.half_open(at);
        assert!(breaker.failed(failure(1, at), true, limits(2, HOUR)));
        assert_eq!(breaker.condition(), Condition::Open, "after {minutes} min");
        assert_eq!(breaker.health().since, Some(NOW), "all the time");
    }
    breaker.half_open(NOW + HOUR);
    assert!(breaker.failed(failure(1, NOW + HOUR), true, limits(2, HOUR)));
    let health = breaker.health();
    assert_eq!(
        (health.condition, health.cause.as_deref(), health.probe_at),
        (Condition::Suspended, Some("http_500"), None)
    );
    assert!(!breaker.half_open(NOW + 2 * HOUR));
    assert!(
        !breaker.suspended("http_410", NOW + 2 * HOUR),
        "it is already"
    );
}

#[test]
fn who_has_too_much_to_do_is_throttled_until_it_has_been_calm_for_a_minute() {
    let mut breaker = Breaker::new(Health::default());
    assert!(breaker.overloaded("http_429", NOW));
    assert!(!breaker.overloaded("http_429", NOW + UNTHROTTLED / 2));
    assert!(!breaker.calmed(NOW + UNTHROTTLED));
    assert!(breaker.calmed(NOW + UNTHROTTLED * 3 / 2));
    assert_eq!(breaker.condition(), Condition::Healthy);
    // Another owner begins with what was written down.
    let throttled = Health {
        condition: Condition::Throttled,
        since: Some(NOW),
        ..Health::default()
    };
    let mut breaker = Breaker::new(throttled);
    assert!(!breaker.calmed(NOW));
    assert!(breaker.calmed(NOW + UNTHROTTLED));
}

#[test]
fn what_is_written_down_counts_where_it_is_newer_or_in_case_of_doubt() {
    let mut breaker = open();
    let version = breaker.health().version;
    let resumed = |version| Health {
        condition: Condition::HalfOpen,
        version,
        ..Health::default()
    };
    assert!(!breaker.adopt(&Health::default()));
    assert!(!breaker.adopt(&resumed(version)));
    assert!(breaker.adopt(&resumed(version + 1)));
    assert!(breaker.probes());
    breaker.doubt();
    assert!(breaker.adopt(&Health::default()), "it was lost");
    assert!(!breaker.adopt(&Health::default()));
    assert_eq!(breaker.condition(), Condition::Healthy);

    // What it knows beside that is not forgotten: that a probe is under way, and how often it failed.
    let mut breaker = open();
    let written = breaker.health().clone();
    assert!(breaker.half_open(NOW + HOUR));
    breaker.doubt();
    assert!(!breaker.adopt(&written));
    assert!(breaker.probes() && !breaker.is_doubted());
    let mut breaker = Breaker::new(Health::default());
    breaker.failed(failure(1, NOW), false, limits(2, HOUR));
    breaker.doubt();
    assert!(!breaker.adopt(&Health::default()));
    assert!(breaker.failed(failure(2, NOW), false, limits(2, HOUR)));
    // Another under the same number, after a crash.
    let other = Health {
        condition: Condition::HalfOpen,
        since: Some(NOW + HOUR),
        version: breaker.health().version,
        ..Health::default()
    };
    breaker.doubt();
    assert!(breaker.adopt(&other));
}

#[test]
fn a_condition_is_read_back_from_its_word() {
    for word in ["healthy", "throttled", "open", "half_open", "suspended"] {
        assert_eq!(Condition::parse(word).map(Condition::as_str), Some(word));
    }
    assert_eq!(Condition::parse("Open"), None);
}

proptest! {
    #[test]
    fn whatever_happens_it_probes_one_by_one_at_the_right_time(
        steps in prop::collection::vec((0_u8..5, 0_u64..400_000, any::<u16>()), 1..200),
        most in 2_u32..6,
    ) {
        let mut breaker = Breaker::new(Health::default());
        let limits = limits(most, 5 * HOUR);
        let (mut now, mut in_a_row) = (NOW, 0);
        for (n, (step, millis, random)) in (0_u8..).zip(steps) {
            now = now + Duration::from_millis(millis);
            let before = breaker.health().clone();
            let (was_open, was_half_open) = (breaker.probe_at().is_some(), breaker.probes());
            let version = |breaker: &Breaker| breaker.health().version;
            match step {
                0 => {
                    in_a_row = 0;
                    breaker.succeeded(now);
                }
                1 | 2 => {
                    in_a_row += 1;
                    breaker.failed(Failure { random, ..failure(n, now) }, was_half_open, limits);
                }
                3 => drop(breaker.overloaded("http_429", now)),
                _ if breaker.probe_at().is_some_and(|at| at <= now) => drop(breaker.half_open(now)),
                _ => {}
            }
            let after = version(&breaker);
            let passed = breaker.passed();
            let versions: Vec<_> = passed.iter().map(|health| health.version).collect();
            let expected: Vec<_> = (before.version + 1..=after).collect();
            prop_assert_eq!(versions, expected, "each is to be written down");
            let health = breaker.health();
            let changed = health.condition != before.condition;
            match health.condition {
                Condition::Open if changed => {
                    prop_assert!(was_half_open || in_a_row >= most);
                    let wait = health.probe_at.expect("it probes").since(now);
                    prop_assert!(wait >= FIRST_PROBE * 4 / 5 - Duration::from_millis(1));
                    prop_assert!(wait <= LONGEST_PROBE * 6 / 5);
                }
                Condition::HalfOpen if changed => {
                    prop_assert!(was_open && before.probe_at <= Some(now));
                    prop_assert_eq!(health.since, before.since, "not written down");
                }
                Condition::Suspended if changed => {
                    prop_assert!(was_half_open);
                    prop_assert!(now.since(before.failing_since.expect("it failed")) >= 5 * HOUR);
                }
                _ => {}
            }
            prop_assert_eq!(health.probe_at.is_some(), health.condition == Condition::Open);
        }
    }
}
