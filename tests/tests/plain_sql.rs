//! An engine in another language publishes with two inserts of plain SQL.

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tharsis_tests::{ALPHA, Line, Subscribe, World};

/// The documented inserts, in a transaction of the caller's own. Gives the event's id.
fn insert(world: &World, event_type: &str, client: &str, payload: &str, commit: bool) -> String {
    let url = world.database_url();
    world
        .block_on(async {
            let mut connection = SqliteConnection::connect(&url).await?;
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(
                "INSERT INTO tharsis_event (type, client, payload)
                 VALUES (?, unhex(replace(?, '-', '')), ?)",
            )
            .bind(event_type)
            .bind(client)
            .bind(payload)
            .execute(&mut *transaction)
            .await?;
            sqlx::query("INSERT INTO tharsis_outbox (event) VALUES (last_insert_rowid())")
                .execute(&mut *transaction)
                .await?;
            let id: Vec<u8> =
                sqlx::query_scalar("SELECT id FROM tharsis_event ORDER BY seq DESC LIMIT 1")
                    .fetch_one(&mut *transaction)
                    .await?;
            if commit {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..],
            ];
            Ok::<_, sqlx::Error>(parts.join("-"))
        })
        .expect("the documented SQL runs")
}

#[test]
fn what_was_inserted_is_frozen_and_delivered_like_everything_else() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.nudges(ALPHA, 3);
    let run = world.spawn_run();
    for line in &lines {
        // As an engine may print it: with spaces, and escapes that JavaScript would not write.
        let untidy = line
            .text
            .replace("\":", "\" : ")
            .replace('🛒', "\\ud83d\\uded2");
        assert_ne!(untidy, line.text);
        insert(&world, "nudge", ALPHA, &untidy, true);
    }
    shop.wait_for(3, std::time::Duration::from_secs(20));
    run.kill9();
    let lines: Vec<Line> = lines
        .into_iter()
        .map(|line| Line {
            text: line.text.replace("\" : ", "\":"),
            ..line
        })
        .collect();
    shop.assert_received_once(&lines);
}

#[test]
fn what_was_rolled_back_is_never_seen() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.nudges(ALPHA, 2);
    insert(&world, "nudge", ALPHA, &lines[0].text, false);
    insert(&world, "nudge", ALPHA, &lines[1].text, true);
    world.run_until_idle();
    shop.assert_received_once(&lines[1..]);
}

#[test]
fn one_that_cannot_be_frozen_ends_refused_and_says_why() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let good = world.nudges(ALPHA, 1).remove(0);
    let precise = good
        .text
        .replace("\"status\":", "\"points\":9007199254740993,\"status\":");
    for (payload, code) in [
        ("no JSON at all", "json_syntax"),
        (&*good.text.replace("pristine", "\\ud800"), "json_syntax"),
        (&*precise, "number_out_of_range"),
        (
            &*good.text.replace(ALPHA, tharsis_tests::BETA),
            "client_mismatch",
        ),
    ] {
        let id = insert(&world, "nudge", ALPHA, payload, true);
        world.run_until_idle();
        let shown = world.ask(["event", "show", &id]);
        assert_eq!(shown["refused"]["code"], code, "{shown}");
        assert!(shown["refused"]["message"].is_string());
        assert_eq!(shown["deliveries"], json!([]));
        let told = world.tharsis(["event", "show", &id]).ok().stdout;
        assert!(told.contains("refused"), "{told}");
    }
    assert_eq!(shop.count(), 0);

    // And it is in nobody's way.
    insert(&world, "nudge", ALPHA, &good.text, true);
    let summary: Value = world.run_until_idle().json();
    assert_eq!(summary["delivered"], 1);
    shop.assert_received_once(&[good]);
}
