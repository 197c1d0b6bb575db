use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::{Desk, command};

#[test]
fn the_owner_of_a_file_is_its_one_worker() {
    let desk = Desk::with_outbox();
    insta::assert_snapshot!(desk.run("worker list").all(), @"
    exit 0
    --- stderr
    Nothing delivers at present. Start `tharsis run`.
    ");
    insta::assert_snapshot!(desk.run("worker list --json").stdout, @r#"{"workers":[]}"#);

    let mut run = command(desk.0.path())
        .arg("run")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(run.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    let listed = desk.run("worker list --json").json();
    let worker = &listed["workers"][0];
    assert_eq!(worker["pid"], run.id(), "{listed}");
    assert_eq!(
        (
            &worker["shards"],
            &worker["version"],
            &worker["lease_age_ms"]
        ),
        (
            &64.into(),
            &env!("CARGO_PKG_VERSION").into(),
            &serde_json::Value::Null
        )
    );
    let table = desk.run("worker list").stdout;
    let mut lines = table.lines();
    let headings: Vec<_> = lines.next().unwrap().split("  ").map(str::trim).collect();
    let headings: Vec<_> = headings
        .iter()
        .filter(|heading| !heading.is_empty())
        .collect();
    assert_eq!(
        headings,
        [
            &"WORKER",
            &"HOST",
            &"PID",
            &"VERSION",
            &"SHARDS",
            &"SINCE",
            &"LEASE AGE"
        ]
    );
    let row = lines.next().unwrap();
    assert!(
        row.starts_with(worker["id"].as_str().unwrap()) && row.ends_with('-'),
        "{row}"
    );
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(
        desk.run("worker list --json").json()["workers"],
        serde_json::json!([])
    );
}
