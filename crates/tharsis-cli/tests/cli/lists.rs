use crate::Desk;

#[test]
fn an_empty_outbox_lists_nothing() {
    let desk = Desk::with_outbox();
    for list in ["subscription list", "delivery list", "replay list"] {
        let said = desk.run(list);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(0), ""),
            "{list}: {}",
            said.stderr
        );
    }
    insta::assert_snapshot!(desk.run("subscription list --json").stdout, @r#"{"subscriptions":[]}"#);
    insta::assert_snapshot!(desk.run("delivery list --json").stdout, @r#"{"deliveries":[],"next":null,"searched_until":null}"#);
    insta::assert_snapshot!(desk.run("replay list --json").stdout, @r#"{"replays":[]}"#);
}

#[test]
fn what_is_not_there_is_said() {
    let desk = Desk::with_outbox();
    let id = "019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11";
    insta::assert_snapshot!(desk.run(&format!("subscription show {id}")).all(), @"
    exit 1
    --- stderr
    error[not_found]: no subscription 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
    ");
    insta::assert_snapshot!(desk.run(&format!("event show {id}")).all(), @"
    exit 1
    --- stderr
    error[not_found]: no event 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
    ");
    insta::assert_snapshot!(desk.run(&format!("why {id}")).all(), @"
    exit 1
    --- stderr
    error[not_found]: no event 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
    ");
    insta::assert_snapshot!(desk.run(&format!("delivery show {id}/{id}")).all(), @"
    exit 1
    --- stderr
    error[not_found]: no delivery 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11/019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
    ");
    insta::assert_snapshot!(desk.run(&format!("delivery retry {id}/{id}")).all(), @"
    exit 1
    --- stderr
    error[not_found]: no delivery 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11/019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
    ");
    insta::assert_snapshot!(desk.run(&format!("replay show {id}")).all(), @"
    exit 1
    --- stderr
    error[not_found]: no replay 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
    ");
    insta::assert_snapshot!(desk.run(&format!("subscription remove {id} --yes --json")).all(), @r#"
    exit 1
    --- stdout
    {"error":{"code":"not_found","field":null,"message":"no subscription 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11","hint":null}}
    "#);
}

#[test]
fn a_replay_wants_to_know_what_and_whether() {
    let desk = Desk::with_outbox();
    insta::assert_snapshot!(desk.run("replay").all(), @"
    exit 2
    --- stderr
    error[nothing_chosen]: say which deliveries, by name or by a filter
      hint: for example: tharsis replay --status dead --since 1h
    ");
    insta::assert_snapshot!(desk.run("replay --status dead --dry-run").all(), @"
    exit 0
    --- stdout
    0 deliveries would be sent again.
    ");
    insta::assert_snapshot!(desk.run("replay --status dead --dry-run --json").all(), @r#"
    exit 0
    --- stdout
    {"count":0,"seconds":null,"ends":{},"subscriptions":[],"sample":[]}
    "#);
    // A few are not asked about; more are, as a story tells.
    assert_eq!(desk.run("replay --status dead").code, Some(0));
}

#[test]
fn a_replay_without_an_owner_waits_and_says_so() {
    let desk = Desk::with_outbox();
    let said = desk.run("replay --status dead --yes");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stdout
            .contains("waits: nothing delivers at present. Start `tharsis run`"),
        "{}",
        said.stdout
    );
    let waiting = desk.run("replay --status dead --yes --json").json();
    assert_eq!(waiting["state"], "waiting");
    let listed = desk.run("replay list --json").json();
    assert_eq!(listed["replays"][0]["id"], waiting["id"]);
}

#[test]
fn a_database_of_ones_own_that_is_switched_is_told_once() {
    let desk = Desk::new();
    let old = |name: &str| {
        let path = desk.path(name);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            use tharsis::sqlx::{Connection, SqliteConnection};
            let url = format!("sqlite://{}?mode=rwc", path.display());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            tharsis::sqlx::query("CREATE TABLE campaign (id INTEGER PRIMARY KEY)")
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        });
    };
    old("engine.db");
    insta::assert_snapshot!(desk.run("--database sqlite://engine.db replay list").stderr, @"
    Note: the database sqlite://engine.db was switched to write-ahead logging, and stays so: while it is open, files ending in -wal and -shm lie beside it.
    There is no replay.
    ");
    insta::assert_snapshot!(desk.run("--database sqlite://engine.db replay list").stderr, @"There is no replay.");
    old("other.db");
    assert_eq!(
        desk.run("--database sqlite://other.db replay list --json")
            .stderr,
        ""
    );
}
