//! The verdict is worth nothing unless it finds what is wrong.

use std::collections::HashSet;

use super::*;
use crate::chaos::{Trouble, Troubles};

const PATH: &str = "/shop/0";

/// Two workers, with a connection each.
const WORKER: usize = 0;
const OTHER: usize = 1;

fn connection(worker: usize) -> (u16, u16) {
    (40_000 + u16::try_from(worker).expect("there are few"), 443)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn taken(mark: &str, millis: i64) -> Receipt {
    Receipt {
        mark: mark.to_owned(),
        path: PATH.to_owned(),
        connection: connection(WORKER),
        at: at(millis),
        until: Some(at(millis + 1)),
        answer: Answered::Taken,
    }
}

fn set(marks: &[&str]) -> HashSet<String> {
    marks.iter().map(|mark| (*mark).to_owned()).collect()
}

/// Two events of one client with one subscription, both delivered; a third was rolled back.
fn good() -> Evidence {
    let pair = |mark: &str| (mark.to_owned(), PATH.to_owned());
    Evidence {
        receipts: vec![taken("a", 0), taken("b", 10)],
        troubles: Troubles {
            all: Vec::new(),
            makers: [WORKER, OTHER]
                .map(|worker| (connection(worker), HashSet::from([worker])))
                .into(),
            started: HashMap::new(),
        },
        refusing: HashMap::new(),
        subscriptions: [("shop".to_owned(), vec![PATH.to_owned()])].into(),
        events: ["a", "b"]
            .map(|mark| (mark.to_owned(), "shop".to_owned()))
            .into(),
        deliveries: ["a", "b"]
            .map(|mark| (pair(mark), "delivered".to_owned()))
            .into(),
        committed: set(&["a", "b"]),
        intended: set(&["a", "b"]),
        doomed: set(&["c"]),
        workers: 1,
        max_in_flight: Some(1),
        is_shared: true,
    }
}

fn findings(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = good();
    change(&mut evidence);
    judge(&evidence).1
}

#[track_caller]
fn assert_found(part: &str, change: impl FnOnce(&mut Evidence)) {
    let found = findings(change);
    assert!(
        found.iter().any(|finding| finding.contains(part)),
        "{found:?}"
    );
}

fn stand(evidence: &mut Evidence, mark: &str, status: &str) {
    let pair = (mark.to_owned(), PATH.to_owned());
    evidence.deliveries.insert(pair, status.to_owned());
}

fn kill(millis: i64, worker: usize) -> Trouble {
    Trouble::Killed {
        worker,
        at: at(millis),
    }
}

#[test]
fn nothing_is_found_where_all_is_well() {
    let (figures, found) = judge(&good());
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(
        (figures.events, figures.requests, figures.duplicates),
        (2, 2, 0)
    );
}

#[test]
fn what_was_committed_and_is_gone_is_found() {
    assert_found("committed and is lost", |evidence| {
        evidence.receipts.pop();
        evidence.events.remove("b");
        evidence
            .deliveries
            .remove(&("b".to_owned(), PATH.to_owned()));
    });
}

#[test]
fn a_subscription_that_was_left_out_is_found() {
    assert_found("has not ended: None", |evidence| {
        let paths = evidence.subscriptions.get_mut("shop").expect("it is there");
        paths.push("/shop/1".to_owned());
    });
}

#[test]
fn what_has_not_ended_is_found() {
    for status in [
        "pending",
        "retrying",
        "held",
        "cancelled",
        "expired",
        "refused",
    ] {
        assert_found("has not ended", |evidence| stand(evidence, "b", status));
    }
}

#[test]
fn dead_is_an_end_where_the_receiver_refused_often_enough() {
    let refuse = |evidence: &mut Evidence, times: i64| {
        evidence.receipts.pop();
        stand(evidence, "b", "dead");
        for n in 0..times {
            let mut refused = taken("b", 10 + n);
            refused.answer = Answered::Refused;
            evidence.receipts.push(refused);
        }
    };
    assert_found("refused it 3 times", |evidence| refuse(evidence, 3));
    let may_refuse = |evidence: &mut Evidence| evidence.refusing.insert(PATH.to_owned(), 4);
    assert_found("refused it 2 times", |evidence| {
        may_refuse(evidence);
        refuse(evidence, 2);
    });
    let found = findings(|evidence| {
        may_refuse(evidence);
        refuse(evidence, 4);
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn what_was_rolled_back_and_came_is_found() {
    assert_found("c was never committed", |evidence| {
        evidence.receipts.push(taken("c", 20));
    });
}

#[test]
fn what_nobody_published_is_found() {
    assert_found("published by nobody", |evidence| {
        evidence.receipts.push(taken("d", 20));
    });
}

#[test]
fn what_came_to_somebody_else_is_found() {
    assert_found("came to /other/0", |evidence| {
        evidence.receipts[0].path = "/other/0".to_owned();
    });
}

#[test]
fn an_end_that_is_not_true_is_found() {
    assert_found("never took it", |evidence| drop(evidence.receipts.pop()));
    assert_found("took it", |evidence| stand(evidence, "b", "dead"));
    // Its worker died before it could write that down.
    let found = findings(|evidence| {
        stand(evidence, "b", "dead");
        evidence.refusing.insert(PATH.to_owned(), 1);
        evidence.troubles.all.push(kill(20, WORKER));
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_duplicate_is_explained_by_a_kill_of_its_own_worker_at_its_own_time_alone() {
    let again = |evidence: &mut Evidence, trouble: Trouble| {
        let mut second = taken("b", 5_000);
        second.connection = connection(OTHER);
        evidence.receipts.push(second);
        evidence.troubles.all.push(trouble);
    };
    let unexplained = "nothing explains";
    assert_eq!(
        findings(|evidence| again(evidence, kill(500, WORKER))),
        Vec::<String>::new()
    );
    assert_found(unexplained, |evidence| again(evidence, kill(500, OTHER)));
    assert_found(unexplained, |evidence| again(evidence, kill(2_000, WORKER)));
    assert_found(unexplained, |evidence| again(evidence, kill(6_000, WORKER)));
    let down = |from, until, crashed| Trouble::Down {
        from: at(from),
        until: at(until),
        crashed,
    };
    // A crash loses what was not flushed; an orderly end does not.
    assert_eq!(
        findings(|evidence| again(evidence, down(600, 2_000, true))),
        Vec::<String>::new()
    );
    assert_found(unexplained, |evidence| {
        again(evidence, down(600, 2_000, false))
    });
    assert_found(unexplained, |evidence| {
        again(evidence, down(2_500, 3_000, true))
    });
    // While the database is down nothing can be written down, so a kill later on may repeat it.
    assert_eq!(
        findings(|evidence| {
            evidence.troubles.all.push(down(100, 3_000, false));
            again(evidence, kill(4_000, WORKER));
        }),
        Vec::<String>::new()
    );
    let frozen = |worker, from, until| Trouble::Frozen {
        worker,
        from: at(from),
        until: at(until),
    };
    assert_eq!(
        findings(|evidence| again(evidence, frozen(WORKER, 100, 3_000))),
        Vec::<String>::new()
    );
    // It goes on, and sends what another has sent meanwhile.
    assert_eq!(
        findings(|evidence| again(evidence, frozen(OTHER, 3_000, 4_500))),
        Vec::<String>::new()
    );
    assert_found(unexplained, |evidence| {
        again(evidence, frozen(WORKER, 3_000, 3_500));
    });
    let lost = |worker, millis| Trouble::Lost {
        worker: Some(worker),
        at: at(millis),
    };
    assert_eq!(
        findings(|evidence| again(evidence, lost(WORKER, 1_500))),
        Vec::<String>::new()
    );
    assert_found(unexplained, |evidence| again(evidence, lost(2, 1_500)));
    assert_found(unexplained, |evidence| again(evidence, lost(WORKER, 3_500)));
}

#[test]
fn a_connection_is_of_those_who_lived_when_it_was_used() {
    let again = |evidence: &mut Evidence| {
        evidence.receipts.push(taken("b", 5_000));
        evidence.troubles.all.push(kill(100, OTHER));
    };
    assert_found("nothing explains", again);
    // The worker that was seen with it later had not been started.
    let found = findings(|evidence| {
        again(evidence);
        evidence.troubles.started.insert(WORKER, at(200));
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn it_is_found_when_nobody_looks_who_sends_what() {
    assert_found("nobody knows who sent them", |evidence| {
        evidence.troubles.all.push(kill(500, WORKER));
        for n in 0..60 {
            let mark = format!("n{n}");
            let mut first = taken(&mark, 100);
            first.connection = (50_000, 443);
            evidence.receipts.extend([first, taken(&mark, 600)]);
            evidence.events.insert(mark.clone(), "shop".to_owned());
            stand(evidence, &mark, "delivered");
            evidence.intended.insert(mark);
        }
    });
}

#[test]
fn what_was_not_taken_may_come_again() {
    for answer in [Answered::Refused, Answered::Nothing] {
        let found = findings(|evidence| {
            let mut first = taken("b", 5);
            first.answer = answer;
            evidence.receipts.insert(1, first);
        });
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn more_repeats_than_a_worker_can_have_open_are_found() {
    assert_found("came twice after one", |evidence| {
        evidence.troubles.all.push(kill(500, WORKER));
        for n in 0..3_000 {
            let mark = format!("n{n}");
            evidence
                .receipts
                .extend([taken(&mark, 100), taken(&mark, 600)]);
            evidence.events.insert(mark.clone(), "shop".to_owned());
            stand(evidence, &mark, "delivered");
            evidence.intended.insert(mark);
        }
        evidence.receipts.sort_by_key(|receipt| receipt.at);
    });
}

#[test]
fn more_requests_at_once_than_the_limit_are_found() {
    let beside = |evidence: &mut Evidence, connections: u32| {
        for receipt in &mut evidence.receipts {
            receipt.until = Some(at(100));
        }
        evidence.max_in_flight = usize::try_from(connections).ok();
    };
    assert_found("2 requests to /shop/0 were under way", |evidence| {
        beside(evidence, 1)
    });
    assert_eq!(
        findings(|evidence| beside(evidence, 2)),
        Vec::<String>::new()
    );
    let stop = || Trouble::Frozen {
        worker: WORKER,
        from: at(0),
        until: at(50),
    };
    // Those of one that stands still are open beside those of the next.
    let found = findings(|evidence| {
        beside(evidence, 1);
        evidence.troubles.all.push(stop());
    });
    assert_eq!(found, Vec::<String>::new());
    assert_found("2 requests to /shop/0 were under way", |evidence| {
        beside(evidence, 1);
        evidence.troubles.all.push(stop());
        evidence.is_shared = false;
    });
}
