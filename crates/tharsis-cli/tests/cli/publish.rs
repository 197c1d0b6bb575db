use crate::Desk;

fn nudge(n: u32) -> String {
    format!(
        r#"{{"nudgeUserId":"0b6b9d2b-2a02-4e4a-a3f5-{n:012}","type":"nudge","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{{"userId":"3594918"}},"status":"pristine","trigger":"time","channel":"push","nudgeQueueDateTime":"2020-01-24T11:59:59.546+00:00","nudgeExpiryDateTime":"2036-01-24T13:59:59.546+00:00","content":{{"title":"Still thinking?","body":"It is 20 % off today"}}}}"#
    )
}

fn prediction(discount: u32) -> String {
    format!(
        r#"{{"predictionId":"a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9","type":"product_discount_recommendation","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{{"userId":"3594918"}},"predictions":[{{"product_id":"1","name":"Tank Top","type":"percentage","discount":{discount},"min":10,"max":50,"step":1}}]}}"#
    )
}

#[test]
fn good_lines_are_durable_and_bad_ones_are_told_with_their_number() {
    let desk = Desk::new();
    let lines = [
        nudge(1),
        prediction(60),
        String::new(),
        "{\"type\":".to_owned(),
        nudge(2),
        nudge(1),
    ];
    desk.write("events.ndjson", lines.join("\n"));
    insta::assert_snapshot!(desk.run("publish events.ndjson").all(), @"
    exit 1
    --- stdout
    Published 2, duplicates 1, refused 2.
    --- stderr
    line 2: predictions[0].discount: lies outside of min and max
    line 4: column 9: a value is expected
    ");
    insta::assert_snapshot!(desk.run("publish events.ndjson").all(), @"
    exit 1
    --- stdout
    Published 0, duplicates 3, refused 2.
    --- stderr
    line 2: predictions[0].discount: lies outside of min and max
    line 4: column 9: a value is expected
    ");
}

#[test]
fn programs_get_one_document() {
    let desk = Desk::new();
    let lines = format!("{}\n{}\n", nudge(1), prediction(60));
    insta::assert_snapshot!(desk.feed("publish --json", lines.as_bytes()).all(), @r#"
    exit 1
    --- stdout
    {"published":1,"duplicates":0,"refused":[{"line":2,"error":{"code":"discount_out_of_range","field":"predictions[0].discount","message":"lies outside of min and max","hint":null}}]}
    "#);
    insta::assert_snapshot!(desk.feed("publish - --json", nudge(1).as_bytes()).all(), @r#"
    exit 0
    --- stdout
    {"published":0,"duplicates":1,"refused":[]}
    "#);
    insta::assert_snapshot!(desk.feed("publish --json", b"").all(), @r#"
    exit 0
    --- stdout
    {"published":0,"duplicates":0,"refused":[]}
    "#);
}

#[test]
fn many_lines_go_in_batches() {
    let desk = Desk::new();
    let lines: Vec<_> = (0..3_000).map(nudge).collect();
    let said = desk.feed("publish --json", lines.join("\n").as_bytes());
    assert_eq!(
        said.stdout,
        "{\"published\":3000,\"duplicates\":0,\"refused\":[]}\n"
    );
}

#[test]
fn a_line_without_end_is_refused_and_the_rest_goes_on() {
    let desk = Desk::new();
    let mut lines = vec![b'x'; 3 << 20];
    lines.extend_from_slice(format!("\n{}\n", nudge(1)).as_bytes());
    insta::assert_snapshot!(desk.feed("publish", &lines).all(), @"
    exit 1
    --- stdout
    Published 1, duplicates 0, refused 1.
    --- stderr
    line 1: is longer than 1048576 bytes
    ");
}

#[test]
fn what_cannot_be_read_is_said() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("folder")).unwrap();
    insta::assert_snapshot!(desk.run("publish folder").all(), @"
    exit 1
    --- stderr
    error[file_unreadable]: cannot be read: Is a directory (os error 21)
      hint: what was published up to line 0 is durable; publish it again, duplicates are recognised
    ");
    insta::assert_snapshot!(desk.run("publish folder --json").all(), @r#"
    exit 1
    --- stdout
    {"error":{"code":"file_unreadable","field":null,"message":"cannot be read: Is a directory (os error 21)","hint":"what was published up to line 0 is durable; publish it again, duplicates are recognised"},"published":0,"duplicates":0,"refused":[]}
    "#);
    insta::assert_snapshot!(desk.run("publish none.ndjson").all(), @"
    exit 1
    --- stderr
    error[file_unreadable]: none.ndjson: cannot be read: No such file or directory (os error 2)
    ");
}

/// The table goes away between two lines of a pipe.
#[test]
fn a_failure_midway_keeps_what_was_refused_before() {
    let desk = Desk::new();
    let mut child = crate::command(desk.0.path())
        .args(["publish", "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut put = |text: String| std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
    put(format!("{}\n{}\n", prediction(60), nudge(1)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}", desk.path("tharsis.db").display());
        let mut connection = loop {
            use tharsis::sqlx::{Connection, SqliteConnection};
            let Ok(mut connection) = SqliteConnection::connect(&url).await else {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                continue;
            };
            let published: Result<i64, _> =
                tharsis::sqlx::query_scalar("SELECT count(*) FROM tharsis_event")
                    .fetch_one(&mut connection)
                    .await;
            if published.is_ok_and(|n| n == 1) {
                break connection;
            }
        };
        tharsis::sqlx::query("DROP VIEW tharsis_publish")
            .execute(&mut connection)
            .await
            .unwrap();
    });
    put(format!("{{}}\n{}\n", nudge(2)));
    drop(stdin);
    let said: crate::Said = child.wait_with_output().unwrap().into();
    insta::assert_snapshot!(said.all(), @r#"
    exit 1
    --- stdout
    {"error":{"code":"database_failed","field":null,"message":"the database failed: error returned from database: (code: 1) no such table: tharsis_publish","hint":"what was published up to line 2 is durable; publish it again, duplicates are recognised"},"published":1,"duplicates":0,"refused":[{"line":1,"error":{"code":"discount_out_of_range","field":"predictions[0].discount","message":"lies outside of min and max","hint":null}},{"line":3,"error":{"code":"missing_field","field":"type","message":"is missing","hint":null}}]}
    "#);
}

#[test]
fn an_explicit_key_with_another_payload_is_refused() {
    let desk = Desk::new();
    let keyed = |payload: &str| {
        format!(
            r#"{{"type":"ticket","client":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","key":"k-1","payload":{payload}}}"#
        )
    };
    let lines = [
        keyed(r#"{"drop_proba":0.5}"#),
        keyed(r#"{"drop_proba":0.6}"#),
        keyed(r#"{"drop_proba":0.5}"#),
    ];
    insta::assert_snapshot!(desk.feed("publish", lines.join("\n").as_bytes()).all(), @"
    exit 1
    --- stdout
    Published 1, duplicates 1, refused 1.
    --- stderr
    line 2: key: was used for another payload before
    ");
}

/// A row of `delivery list` may be read by `head`, which closes the pipe.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_panic() {
    let desk = Desk::new();
    let mut child = crate::command(desk.0.path())
        .args(["publish", "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads the answer, which comes only after the input has ended.
    drop(child.stdout.take());
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap()
        ),
        (Some(0), String::new())
    );
}
