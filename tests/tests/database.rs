//! A database that is not one to be worked with stops the start, and says what to do.

use std::{fs, os::unix::fs::PermissionsExt};

use sqlx::{Connection, SqliteConnection};
use tharsis_tests::{ALPHA, Subscribe, World};

#[test]
fn the_key_file_is_private_and_nothing_starts_without_it() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let key = world.path("outbox.db.key");
    let mode = fs::metadata(&key)
        .expect("the key lies beside the database")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let lost = world.path("lost.key");
    fs::rename(&key, &lost).expect("both lie in the folder");
    for command in [
        &["run", "--until-idle"][..],
        &["subscription", "list"],
        &["publish", "-"],
    ] {
        let refused = world.tharsis(["--json"].iter().chain(command)).expect(1);
        assert_eq!(refused.error_code(), "key_missing", "{command:?}");
    }
    assert!(
        !key.exists(),
        "no new key is made for secrets that it does not open"
    );

    // The key of another database.
    let other = World::new();
    other.publish(&other.predictions(ALPHA, 1));
    fs::copy(other.path("outbox.db.key"), &key).expect("it can be copied");
    let refused = world.tharsis(["--json", "run", "--until-idle"]).expect(1);
    assert_eq!(refused.error_code(), "key_wrong");

    fs::rename(&lost, &key).expect("both lie in the folder");
    let lines = world.predictions(ALPHA, 1);
    world.publish(&lines);
    world.run_until_idle();
    shop.assert_received_once(&lines);
}

#[test]
fn a_newer_schema_is_left_alone() {
    let world = World::new();
    world.publish(&world.predictions(ALPHA, 1));
    let url = world.database_url();
    world
        .block_on(async {
            let mut connection = SqliteConnection::connect(&url).await?;
            sqlx::query(
                "INSERT INTO tharsis_migration (version, name) VALUES (9999, 'from the future')",
            )
            .execute(&mut connection)
            .await
        })
        .expect("a later version may write this");
    for command in [
        &["run", "--until-idle"][..],
        &["publish", "-"],
        &["subscription", "list"],
    ] {
        let refused = world.tharsis(["--json"].iter().chain(command)).expect(1);
        assert_eq!(refused.error_code(), "schema_too_new", "{command:?}");
        assert!(refused.error()["hint"].is_string());
    }
}

#[test]
fn what_is_no_database_is_not_touched() {
    let world = World::new();
    let file = world.write(
        "outbox.db",
        "Dear diary, this file has been mine for a long time, and it is not a database.".repeat(50),
    );
    let before = fs::read(&file).expect("it was just written");
    let refused = world.tharsis(["--json", "run", "--until-idle"]).expect(1);
    assert_eq!(refused.error_code(), "not_a_database");
    assert_eq!(fs::read(&file).expect("it is still there"), before);

    let nowhere = world
        .tharsis([
            "--json",
            "--database=sqlite:///nowhere/at/all.db",
            "subscription",
            "list",
        ])
        .expect(1);
    assert_eq!(nowhere.error_code(), "database_not_opened");
    let other = world.tharsis([
        "--json",
        "--database=mysql://localhost/x",
        "subscription",
        "list",
    ]);
    assert_eq!(other.error_code(), "bad_database_url");
}

/// The outbox lies beside the engine's own tables; the engine's file is its own.
#[test]
fn an_engines_own_file_keeps_its_tables() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    let url = world.database_url() + "?mode=rwc";
    let sql = |statement: &'static str| {
        world.block_on(async {
            let mut connection = SqliteConnection::connect(&url).await?;
            sqlx::query(statement).execute(&mut connection).await
        })
    };
    sql("CREATE TABLE decision (user TEXT, event TEXT)").expect("the engine makes its table");
    sql("INSERT INTO decision VALUES ('u', 'e')").expect("and fills it");
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.nudges(ALPHA, 2);
    world.publish(&lines);
    world.run_until_idle();
    shop.assert_received_once(&lines);
    let deleted = sql("DELETE FROM decision").expect("its table is still there");
    assert_eq!(deleted.rows_affected(), 1);
}
