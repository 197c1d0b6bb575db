use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::{Desk, command};

#[test]
fn an_empty_outbox_is_idle() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.run("run --until-idle").all(), @"
    exit 0
    --- stdout
    Delivered 0, retried 0, ended without success 0.
    Nothing remains.
    --- stderr
    Owns sqlite://tharsis.db: 0 subscriptions. Nothing to do yet. Ends when all is done.
    ");
    insta::assert_snapshot!(desk.run("run --until-idle --json").all(), @r#"
    exit 0
    --- stdout
    {"delivered":0,"retried":0,"ended":0,"remaining":{"unrouted":0,"pending":0,"held":0,"scheduled":0,"commands":0}}
    "#);
}

#[test]
fn what_is_wrong_with_the_client_is_said_before_anything_is_owned() {
    insta::assert_snapshot!(Desk::new().run("run --egress-ca-file none.pem").all(), @"
    exit 1
    --- stderr
    error[ca_file_unreadable]: the CA file none.pem cannot be read: No such file or directory (os error 2)
      hint: give the path of a file with certificates in PEM
    ");
}

#[test]
fn a_second_run_says_who_owns_the_file_and_a_signal_ends_the_first() {
    let desk = Desk::new();
    let mut first = command(desk.0.path())
        .arg("run")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(first.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    insta::assert_snapshot!(said, @"Owns sqlite://tharsis.db: 0 subscriptions. Nothing to do yet. Ctrl-C ends it.");

    let second = desk.run("run --json");
    assert_eq!(second.code, Some(1));
    let error = &second.json()["error"];
    assert_eq!(error["code"], "already_owned");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains(&format!("pid {}", first.id())),
        "{error}"
    );

    let kill = std::process::Command::new("kill")
        .args(["-TERM", &first.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let ended = first.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    insta::assert_snapshot!(String::from_utf8(ended.stdout).unwrap(), @"
    Delivered 0, retried 0, ended without success 0.
    Nothing remains.
    ");
}

#[test]
fn the_demo_ends_well_and_leaves_nothing_behind() {
    let desk = Desk::new();
    let temporary = desk.path("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let output = command(desk.0.path())
        .env("TMPDIR", &temporary)
        .args(["demo", "--json"])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (
            &report["published"],
            &report["verified"],
            &report["strangers"]
        ),
        (&2_000.into(), &2_500.into(), &0.into())
    );
    assert!(
        report["retried"].as_u64() >= Some(1),
        "one receiver fails at first: {report}"
    );
    assert!(
        report["p50_ms"].as_f64() > Some(0.0)
            && report["p50_ms"].as_f64() <= report["p99_ms"].as_f64(),
        "{report}"
    );
    assert_eq!(temporary.read_dir().unwrap().count(), 0);
}
