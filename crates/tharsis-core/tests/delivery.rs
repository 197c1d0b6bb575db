//! What follows from an outcome.

mod corpus;
mod escaped;
mod judge;

use std::time::Duration;

use corpus::Row;
use proptest::prelude::*;
use tharsis_core::{
    Timestamp,
    delivery::{
        End, Fault, Outcome, POSTPONED, Spent, Standing, Verdict, classify,
        codes::{self, Then},
        verdict,
    },
    profile::Success,
    retry::{MAX_DELAY, RetryPolicy, retry_after},
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn outcome(code: &str, fault: Fault) -> Outcome {
    Outcome {
        code: code.to_owned().into(),
        fault,
        status: None,
        retry_after: None,
        excerpt: Vec::new(),
        detail: None,
        duration: Duration::from_millis(20),
        certificate: None,
    }
}

fn answer(status: u16, retry_after: Option<&[u8]>) -> Outcome {
    let (code, fault) = classify(status, Success::Any2xx);
    Outcome {
        status: Some(status),
        retry_after: retry_after.map(Into::into),
        ..outcome(&code, fault)
    }
}

/// The verdict on a first attempt under the default schedule, in the middle of the spread.
fn first(outcome: &Outcome) -> Verdict {
    verdict(outcome, &RetryPolicy::default(), standing(0, None), NOW, 0)
}

fn retry_in(wait: Duration) -> Verdict {
    Verdict::Retry { due_at: NOW + wait }
}

fn standing(tries: u32, expires_at: Option<Timestamp>) -> Standing {
    Standing {
        spent: Spent {
            tries,
            ..Spent::default()
        },
        expires_at,
        probe: None,
    }
}

/// The status that a row has its server answer, where it says so plainly.
fn status(row: &Row) -> Option<u16> {
    let simulate = row.get("simulate");
    let rest =
        (simulate.strip_prefix("respond ")).or_else(|| simulate.strip_prefix("HTTP/1.1 "))?;
    rest.split(' ').next()?.parse().ok()
}

#[test]
fn every_status_of_the_corpus_has_its_code_and_fate() {
    let rows = corpus::rows("receiver_faults.tsv");
    let with_status = rows.iter().filter(|row| status(row).is_some());
    judge::each("receiver_faults.tsv, with a status", with_status, |row| {
        let id = row.get("id");
        let got = answer(status(row).expect("it was looked at"), None);
        assert_eq!(got.code, row.get("reason"), "{id}");
        match (first(&got), row.get("outcome")) {
            (Verdict::Delivered, "delivered")
            | (Verdict::Retry { .. }, "failed_retryable")
            | (Verdict::Gone, "failed_terminal") => {}
            (got, expected) => panic!("{id}: {got:?} for {expected}"),
        }
    });
}

#[test]
fn every_retry_after_of_the_corpus_is_honoured_within_bounds() {
    let own_delay = Duration::from_secs(4);
    let rows = corpus::rows("receiver_faults.tsv");
    let of_retry_after = rows.iter().filter(|row| row.get("group") == "retry_after");
    judge::each(
        "receiver_faults.tsv, of retry_after",
        of_retry_after,
        |row| {
            let (id, behaviour) = (row.get("id"), escaped::bytes(row.get("behaviour")));
            let status = row
                .get("reason")
                .strip_prefix("http_")
                .and_then(|s| s.parse().ok());
            let name = b" with Retry-After: ";
            let field = behaviour
                .windows(name.len())
                .position(|w| w == name)
                .map(|at| &behaviour[at + name.len()..]);
            // A field that was sent twice is handed over as none.
            assert_eq!(field.is_none(), id == "F068", "{id}");
            let expected = match row.get("next_attempt") {
                "none" => Verdict::Delivered,
                "cap" | "cap if all digits, else ignore" => retry_in(MAX_DELAY),
                "max(backoff, min(retry_after, cap))" => retry_in(Duration::from_secs(30)),
                _ => retry_in(own_delay),
            };
            assert_eq!(
                first(&answer(status.expect("a status"), field)),
                expected,
                "{id}"
            );
        },
    );
}

#[test]
fn every_reason_of_the_corpus_is_a_known_code_with_the_right_fault() {
    let rows = corpus::rows("receiver_faults.tsv");
    // Not outcomes of a request: what the clock, the pool and the check at registration do. And the client speaks
    // HTTP/1.1 alone, so that faults of HTTP/2 cannot be told from silence.
    let others = ["clock", "reuse", "head_check", "http2"];
    let of_requests = rows
        .iter()
        .filter(|row| !others.contains(&row.get("group")));
    judge::each("receiver_faults.tsv, with a reason", of_requests, |row| {
        let id = row.get("id");
        let reason = match row.get("reason") {
            "-> next address" | "head check ok" => "http_200",
            several => several.split([' ', ',']).next().unwrap_or(several),
        };
        let code = codes::find(reason).unwrap_or_else(|| panic!("{id}: {reason} is unknown"));
        let fault = match row.get("outcome") {
            "delivered" => Fault::None,
            _ if row.get("effect") == "does not count as an attempt" => Fault::Ours,
            "failed_retryable" | "failed_terminal" | "blocked" => Fault::Theirs,
            other => panic!("{id}: unknown outcome {other}"),
        };
        assert_eq!(code.fault(), Some(fault), "{id}: {reason}");
    });
}

#[test]
fn too_much_to_do_is_said_by_429_by_503_and_by_silence() {
    let over = |status| answer(status, None).is_overload();
    assert_eq!([429, 503].map(over), [true, true]);
    assert_eq!([200, 302, 408, 500, 502].map(over), [false; 5]);
    for (code, fault, is_overload) in [
        ("timeout_connect", Fault::Theirs, true),
        ("timeout_dns", Fault::Theirs, false),
        ("timeout_response_headers", Fault::Theirs, true),
        ("connect_refused", Fault::Theirs, false),
        ("local_resource", Fault::Ours, false),
    ] {
        assert_eq!(outcome(code, fault).is_overload(), is_overload, "{code}");
    }
}

#[test]
fn a_final_answer_has_a_status_that_is_one() {
    for (status, code) in [
        (0, "http_invalid_status"),
        (99, "http_invalid_status"),
        (100, "http_protocol"),
        (199, "http_protocol"),
        (200, "http_200"),
        (299, "http_299"),
        (300, "http_redirect"),
        (399, "http_redirect"),
        (400, "http_400"),
        (999, "http_999"),
        (1000, "http_invalid_status"),
    ] {
        assert_eq!(classify(status, Success::Any2xx).0, code, "{status}");
    }
}

#[test]
fn a_retry_that_would_exceed_the_window_is_not_made() {
    let window = Duration::from_secs(60);
    let retry = RetryPolicy::default().within(Some(window));
    assert_eq!(retry.window(), Some(window));
    let after = |waited_ms| {
        let spent = Spent {
            tries: 1,
            waited_ms,
        };
        let standing = Standing {
            spent,
            ..Standing::default()
        };
        // The second delay is a minute, less a fifth.
        verdict(&answer(500, None), &retry, standing, NOW, 0)
    };
    assert_eq!(after(11_999), retry_in(Duration::from_secs(48)));
    assert_eq!(after(12_000), retry_in(Duration::from_secs(48)));
    assert_eq!(after(12_001), Verdict::Dead);
    assert_eq!(
        verdict(&answer(429, Some(b"61")), &retry, standing(0, None), NOW, 0),
        Verdict::Dead,
        "what a receiver asks for counts too"
    );
    assert_eq!(
        verdict(
            &outcome("local_resource", Fault::Ours),
            &retry,
            Standing {
                spent: Spent {
                    tries: 3,
                    waited_ms: u32::MAX
                },
                ..Standing::default()
            },
            NOW,
            u16::MAX / 2 + 1
        ),
        Verdict::Postpone {
            due_at: NOW + POSTPONED
        },
        "a fault of ours takes nothing of it"
    );
}

#[test]
fn what_is_spent_adds_up_and_never_runs_over() {
    let once = Spent::default().and(Duration::from_millis(1_500));
    assert_eq!((once.tries, once.waited_ms), (1, 1_500));
    let twice = once.and(Duration::from_secs(2));
    assert_eq!((twice.tries, twice.waited_ms), (2, 3_500));
    let full = Spent {
        tries: u32::MAX,
        waited_ms: u32::MAX - 1,
    };
    let over = full.and(Duration::MAX);
    assert_eq!((over.tries, over.waited_ms), (u32::MAX, u32::MAX));
}

#[test]
fn a_probe_that_fails_holds_its_delivery_until_the_next_one_or_its_expiry() {
    let due_at = NOW + Duration::from_secs(30);
    let probed = |expires_at| {
        let standing = Standing {
            expires_at,
            probe: Some(due_at),
            ..standing(20, None)
        };
        verdict(
            &answer(500, None),
            &RetryPolicy::default(),
            standing,
            NOW,
            0,
        )
    };
    let millisecond = Duration::from_millis(1);
    assert_eq!(probed(None), Verdict::Hold { due_at });
    assert_eq!(probed(Some(due_at + millisecond)), Verdict::Hold { due_at });
    assert_eq!(probed(Some(due_at)), Verdict::Expired);
    assert_eq!(probed(Some(due_at - millisecond)), Verdict::Expired);
}

#[test]
fn an_end_is_a_word_that_reads_back() {
    let ends = [
        (End::Delivered, "delivered"),
        (End::Dead, "dead"),
        (End::Expired, "expired"),
        (End::Refused, "refused"),
        (End::Cancelled, "cancelled"),
    ];
    for (end, word) in ends {
        assert_eq!(end.as_str(), word);
        assert_eq!(End::parse(word), Some(end));
    }
    for other in ["", "Dead", "pending", "dead "] {
        assert_eq!(End::parse(other), None, "{other}");
    }
}

#[test]
fn what_follows_has_a_word_for_programs_and_some_for_people() {
    for (then, word, told) in [
        (Then::Delivered, "delivered", "delivered"),
        (Then::Retry, "retry", "retried"),
        (
            Then::RetryWhenAsked,
            "retry_when_asked",
            "retried, not before Retry-After",
        ),
        (
            Then::Suspend,
            "suspend",
            "dead, and the subscription is suspended",
        ),
        (Then::Postpone, "postpone", "waits, costs no attempt"),
        (Then::End(End::Expired), "expired", "expired"),
    ] {
        assert_eq!((then.as_str(), then.told()), (word, told));
    }
}

#[test]
fn every_code_is_explained_once() {
    let mut seen = std::collections::HashSet::new();
    for code in codes::ALL {
        assert!(seen.insert(code.code), "{} twice", code.code);
        assert!(!code.meaning.is_empty() && !code.advice.is_empty());
        for text in [code.meaning, code.advice] {
            assert!(
                !text.ends_with('.') && !text.starts_with(char::is_uppercase)
                    || text.starts_with("POST")
            );
        }
    }
    assert_eq!(
        codes::find(codes::TIMEOUT_CONNECT).map(|c| c.code),
        Some("timeout_connect")
    );
    assert_eq!(
        codes::find("http_299").and_then(codes::Code::fault),
        Some(Fault::None)
    );
    assert_eq!(
        codes::find("http_999").and_then(codes::Code::fault),
        Some(Fault::Theirs)
    );
    for unknown in ["", "http_", "http_20", "http_2000", "http_abc", "HTTP_200"] {
        assert_eq!(codes::find(unknown), None, "{unknown}");
    }
}

#[test]
fn one_attempt_and_three_retries_then_dead() {
    let retry = RetryPolicy::default();
    let refused = outcome(codes::CONNECT_REFUSED, Fault::Theirs);
    let fates: Vec<_> = (0..5)
        .map(|tries| verdict(&refused, &retry, standing(tries, None), NOW, 0))
        .collect();
    let seconds = |s| retry_in(Duration::from_secs(s));
    // A random of 0 is the short end of the spread: 80 %.
    assert_eq!(
        fates,
        [
            seconds(4),
            seconds(48),
            seconds(480),
            Verdict::Dead,
            Verdict::Dead
        ]
    );
}

#[test]
fn gone_is_gone_at_once_and_redirects_are_failures() {
    assert_eq!(first(&answer(410, None)), Verdict::Gone);
    assert_eq!(first(&answer(410, Some(b"60"))), Verdict::Gone);
    let none: RetryPolicy = "none".parse().expect("a schedule");
    assert_eq!(
        verdict(&answer(410, None), &none, standing(0, None), NOW, 0),
        Verdict::Gone
    );
    for status in 300..=399 {
        assert_eq!(answer(status, None).code, codes::HTTP_REDIRECT);
        assert_eq!(
            first(&answer(status, None)),
            retry_in(Duration::from_secs(4))
        );
    }
}

#[test]
fn a_profile_may_take_200_alone() {
    for status in 201..300 {
        let (code, fault) = classify(status, Success::Exactly200);
        assert_eq!(
            (code, fault),
            (format!("http_{status}").into(), Fault::Theirs)
        );
    }
    assert_eq!(
        classify(200, Success::Exactly200),
        ("http_200".into(), Fault::None)
    );
}

#[test]
fn busy_receivers_are_left_alone_as_long_as_they_ask() {
    let seconds = |s| retry_in(Duration::from_secs(s));
    for status in [429, 503] {
        assert_eq!(first(&answer(status, Some(b"30"))), seconds(30));
        assert_eq!(first(&answer(status, Some(b"0"))), seconds(4));
        assert_eq!(first(&answer(status, Some(b"soon"))), seconds(4));
        assert_eq!(first(&answer(status, None)), seconds(4));
        assert_eq!(
            first(&answer(status, Some(b"99999999999999999999"))),
            seconds(86_400)
        );
    }
    // Nobody else is asked.
    assert_eq!(first(&answer(500, Some(b"30"))), seconds(4));
    assert_eq!(first(&answer(302, Some(b"30"))), seconds(4));
    assert_eq!(first(&answer(200, Some(b"30"))), Verdict::Delivered);
}

#[test]
fn our_own_faults_cost_no_attempt() {
    let ours = outcome(codes::LOCAL_RESOURCE, Fault::Ours);
    for tries in [0, 3, 4, u32::MAX] {
        let got = verdict(
            &ours,
            &RetryPolicy::default(),
            standing(tries, None),
            NOW,
            u16::MAX,
        );
        assert_eq!(
            got,
            Verdict::Postpone {
                due_at: NOW + POSTPONED * 6 / 5
            }
        );
    }
}

#[test]
fn nothing_goes_out_at_or_after_the_expiry() {
    let retry = RetryPolicy::default();
    let due = NOW + Duration::from_secs(4);
    let at = |millis: i64| Some(Timestamp::from_millis(due.as_millis() + millis));
    for (failed, later) in [
        (
            outcome(codes::CONNECT_REFUSED, Fault::Theirs),
            Verdict::Retry { due_at: due },
        ),
        (
            outcome(codes::LOCAL_RESOURCE, Fault::Ours),
            Verdict::Postpone { due_at: due },
        ),
    ] {
        assert_eq!(verdict(&failed, &retry, standing(0, at(1)), NOW, 0), later);
        assert_eq!(
            verdict(&failed, &retry, standing(0, at(0)), NOW, 0),
            Verdict::Expired
        );
        assert_eq!(
            verdict(&failed, &retry, standing(0, at(-9_000)), NOW, 0),
            Verdict::Expired
        );
    }
    // What arrived arrived, and what has no retry left is dead, not expired.
    assert_eq!(
        verdict(&answer(200, None), &retry, standing(0, at(-9_000)), NOW, 0),
        Verdict::Delivered
    );
    assert_eq!(
        verdict(&answer(500, None), &retry, standing(3, at(-9_000)), NOW, 0),
        Verdict::Dead
    );
}

fn any_field() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        Just(None),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(Some),
        any::<u64>().prop_map(|n| Some(n.to_string().into_bytes())),
        (0..100_000_u64).prop_map(|n| Some(n.to_string().into_bytes())),
    ]
}

proptest! {
    #[test]
    fn a_wait_is_never_below_our_delay_nor_above_the_cap(
        status in prop_oneof![Just(429_u16), Just(503), 100..1000_u16],
        field in any_field(),
        tries in 0..5_u32,
        random: u16,
    ) {
        let retry = RetryPolicy::default();
        let got = verdict(&answer(status, field.as_deref()), &retry, standing(tries, None), NOW, random);
        match (got, retry.delay(tries, random)) {
            (Verdict::Delivered, _) => prop_assert!((200..300).contains(&status)),
            (Verdict::Gone, _) => prop_assert_eq!(status, 410),
            (Verdict::Dead, delay) => prop_assert_eq!(delay, None),
            (Verdict::Retry { due_at }, Some(delay)) => {
                let asked = field.and_then(|f| retry_after(&f, NOW)).filter(|_| [429, 503].contains(&status));
                let expected = delay.max(asked.unwrap_or_default().min(MAX_DELAY));
                prop_assert_eq!(due_at, NOW + expected);
                prop_assert!(due_at >= NOW + delay && due_at <= NOW + MAX_DELAY);
            }
            (other, _) => prop_assert!(false, "{:?} for {}", other, status),
        }
    }

    #[test]
    fn no_outcome_makes_a_verdict_panic(
        status: Option<u16>,
        field in any_field(),
        fault in prop_oneof![Just(Fault::None), Just(Fault::Theirs), Just(Fault::Ours)],
        tries: u32,
        now: i64,
        expires_at: Option<i64>,
        random: u16,
    ) {
        let failed = Outcome { status, retry_after: field.map(Into::into), ..outcome("x", fault) };
        let expires_at = expires_at.map(Timestamp::from_millis);
        let got = verdict(&failed, &RetryPolicy::default(), standing(tries, expires_at), Timestamp::from_millis(now), random);
        if let (Verdict::Retry { due_at } | Verdict::Postpone { due_at }, Some(at)) = (got, expires_at) {
            prop_assert!(due_at < at);
        }
    }
}
