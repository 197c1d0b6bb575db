//! Outcomes at the command line: what can come of an attempt, and what follows.

use crate::Desk;

#[test]
fn each_is_listed_with_what_follows() {
    let desk = Desk::new();
    let listed = desk.run("outcome list").stdout;
    let line = |code: &str| {
        let mut lines = listed.lines();
        let line = lines.find(|line| line.split_whitespace().next() == Some(code));
        line.expect("it is listed").trim_end().to_owned()
    };
    assert!(line("OUTCOME").ends_with("WHAT HAPPENED"));
    for (code, then) in [
        ("http_2NN", "delivered"),
        ("http_410", "dead, and the subscription is suspended"),
        ("http_429", "retried, not before Retry-After"),
        ("http_NNN", "retried"),
        ("timeout_connect", "retried"),
        ("local_resource", "waits, costs no attempt"),
        ("expired", "expired"),
    ] {
        let line = line(code);
        assert!(line.contains(&format!("  {then}  ")), "{line}");
    }

    let outcomes = desk.run("outcome list --json").json()["outcomes"].take();
    let outcomes = outcomes.as_array().expect("a list");
    assert_eq!(outcomes.len() + 1, listed.lines().count());
    let ours = outcomes.iter().filter(|one| one["fault"] == "ours");
    assert!(ours.clone().all(|one| one["then"] == "postpone") && ours.count() > 0);
}

#[test]
fn one_is_shown_with_what_to_do() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.run("outcome show http_410").all(), @r"
    exit 0
    --- stdout
    outcome        http_410
    what happened  the receiver is gone for good; the subscription was suspended
    then           dead, and the subscription is suspended
    what to do     remove the subscription, or correct its URL and resume it
    ");
    insta::assert_snapshot!(desk.run("outcome show http_418 --json").stdout, @r#"{"code":"http_418","fault":"theirs","then":"retry","meaning":"the receiver answered with another status than one of success","advice":"look at the excerpt of its answer and at the receiver's logs"}"#);
    insta::assert_snapshot!(desk.run("outcome show teapot").all(), @r"
    exit 2
    --- stderr
    error[unknown_outcome]: teapot: is no outcome
      hint: tharsis outcome list has them all
    ");
}
