//! A database that is not one to be worked with stops the start, and says what to do.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use serde_json::Value;
use sqlx::{Connection, SqliteConnection};
use tharsis_tests::{ALPHA, Database, Subscribe, World, on_both_databases};

const SOON: Duration = Duration::from_secs(20);

on_both_databases! {
    the_key_file_is_private_and_nothing_starts_without_it,
    a_newer_schema_is_left_alone,
}

fn the_key_file_is_private_and_nothing_starts_without_it(on: Database) {
    let key_file = match on {
        Database::Sqlite => "outbox.db.key",
        Database::Postgres => "tharsis.key",
    };
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let key = world.path(key_file);
    let mode = fs::metadata(&key)
        .expect("the key was made")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let lost = world.path("lost.key");
    fs::rename(&key, &lost).expect("both lie in the folder");
    let publish = &["publish", "-"][..];
    let mut commands = vec![&["run", "--until-idle"][..], &["subscription", "list"]];
    match on {
        Database::Sqlite => commands.push(publish),
        // Who only publishes there needs no secret, and so no key.
        Database::Postgres => drop(world.tharsis(publish).ok()),
    }
    for command in commands {
        let refused = world.tharsis(["--json"].iter().chain(command)).expect(1);
        assert_eq!(refused.error_code(), "key_missing", "{command:?}");
    }
    if on == Database::Postgres {
        // Nor does what looks at no subscription, and the schema is brought up from wherever its owner is.
        world.ask(["worker", "list"]);
        world.ask(["replay", "list"]);
        let migrated = world.ask(["migrate"]);
        assert_eq!(migrated["key_file"]["state"], "missing", "{migrated}");
    }
    assert!(
        !key.exists(),
        "no new key is made for secrets that it does not open"
    );

    // The key of another database.
    let other = World::on(on);
    other.publish(&other.predictions(ALPHA, 1));
    fs::copy(other.path(key_file), &key).expect("it can be copied");
    let refused = world.tharsis(["--json", "run", "--until-idle"]).expect(1);
    assert_eq!(refused.error_code(), "key_wrong");

    fs::rename(&lost, &key).expect("both lie in the folder");
    let lines = world.predictions(ALPHA, 1);
    world.publish(&lines);
    world.run_until_idle();
    shop.assert_received_once(&lines);
}

fn a_newer_schema_is_left_alone(on: Database) {
    let world = World::on(on);
    world.publish(&world.predictions(ALPHA, 1));
    let migration = world.table("migration");
    world.execute(&format!(
        "INSERT INTO {migration} (version, name) VALUES (9999, 'from the future')"
    ));
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
    let other = world
        .tharsis([
            "--json",
            "--database=mysql://localhost/x",
            "subscription",
            "list",
        ])
        .expect(2);
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

/// Making the schema is a step of its own, for the role that works with it need not be the one that may make it.
#[test]
fn a_schema_is_made_by_migrate_and_by_nothing_else() {
    let world = World::on(Database::Postgres);
    let schema = world.schema();
    let elsewhere = world.database_url().replace(schema, &format!("{schema}_2"));
    let tharsis = |arguments: &[&str]| {
        let flags = ["--json", "--database", &elsewhere];
        world.tharsis(flags.iter().chain(arguments))
    };
    for command in [
        &["run", "--until-idle"][..],
        &["publish", "-"],
        &["subscription", "list"],
    ] {
        let refused = tharsis(command).expect(1);
        assert_eq!(refused.error_code(), "schema_missing", "{command:?}");
        let hint = refused.error()["hint"].to_string();
        assert!(hint.contains("tharsis migrate"), "{hint}");
    }
    let left = world.select(&format!(
        "SELECT nspname::text FROM pg_namespace WHERE nspname = '{schema}_2'"
    ));
    assert_eq!(left, Vec::<String>::new(), "looking makes nothing");

    // Once, however many are at it together.
    let flags = ["--json", "--database", &elsewhere, "migrate"];
    let together: Vec<_> = (0..4).map(|_| world.spawn(flags)).collect();
    let mut applied = Vec::new();
    for migrate in together {
        let answer = migrate.finish(SOON).ok().json();
        let names = answer["applied"].as_array().expect("a list").clone();
        applied.extend(names);
    }
    let mut names = applied.clone();
    names.dedup();
    assert!(!applied.is_empty() && applied == names, "{applied:?}");
    assert_eq!(
        tharsis(&["migrate"]).ok().json()["applied"],
        Value::Array(vec![])
    );
    tharsis(&["subscription", "list"]).ok();
    world.execute(&format!("DROP SCHEMA {schema}_2 CASCADE"));
}

/// Where the key is must be known to whoever has to keep it.
#[test]
fn migrate_says_where_the_key_is_and_whether_it_made_it() {
    let world = World::on(Database::Postgres);
    let schema = world.schema();
    let elsewhere = world.database_url().replace(schema, &format!("{schema}_2"));
    let (first, copy) = (world.path("first.key"), world.path("copy.key"));
    let migrate = |key: &Path| {
        let key = key.to_str().expect("a path in UTF-8");
        let answer = world.ask(["--database", &elsewhere, "--key-file", key, "migrate"]);
        assert_eq!(answer["key_file"]["path"], key);
        answer["key_file"]["state"].as_str().map(str::to_owned)
    };
    assert_eq!(migrate(&first).as_deref(), Some("made"));
    assert_eq!(migrate(&first).as_deref(), Some("there"));
    assert_eq!(migrate(&copy).as_deref(), Some("missing"));
    assert!(!copy.exists(), "a second key would open nothing");
    fs::copy(&first, &copy).expect("it can be copied");
    assert_eq!(migrate(&copy).as_deref(), Some("there"));
    world.execute(&format!("DROP SCHEMA {schema}_2 CASCADE"));
}

/// A role that may publish is told what it lacks, by whatever it tries, and nothing waits for it to be granted.
#[test]
fn what_a_role_may_not_do_is_told_as_such() {
    let world = World::on(Database::Postgres);
    let schema = world.schema();
    let role = format!("{schema}_engine");
    world.execute(&format!("CREATE ROLE {role}"));
    world.execute(&format!("GRANT USAGE ON SCHEMA {schema} TO {role}"));
    world.execute(&format!(
        "GRANT EXECUTE ON FUNCTION {schema}.publish_frozen TO {role}"
    ));
    let as_role = format!("{}&options=-c%20role={role}", world.database_url());
    let tharsis = |arguments: &[&str]| {
        let flags = ["--json", "--database", &as_role];
        world.tharsis(flags.iter().chain(arguments))
    };
    for command in [
        &["worker", "list"][..],
        &["replay", "list"],
        &["subscription", "list"],
        &["run", "--until-idle"],
        &["migrate"],
    ] {
        let refused = tharsis(command).expect(1);
        assert_eq!(refused.error_code(), "not_permitted", "{command:?}");
        let hint = refused.error()["hint"].to_string();
        assert!(hint.contains("EXECUTE"), "{hint}");
    }
    tharsis(&["publish", "-"]).ok();
    world.execute(&format!("DROP OWNED BY {role}"));
    world.execute(&format!("DROP ROLE {role}"));
}

#[test]
fn a_server_that_is_not_there_is_told_without_the_password() {
    let world = World::on(Database::Postgres);
    for url in [
        "postgres://engine:s3cret@127.0.0.1:1/shop",
        "postgres://127.0.0.1:1/shop?user=engine&password=s3cret",
    ] {
        let refused = world
            .tharsis([
                "--json",
                "--log=trace",
                "--database",
                url,
                "subscription",
                "list",
            ])
            .expect(1);
        assert_eq!(refused.error_code(), "database_unreachable");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(!said.contains("s3cret"), "{said}");
    }
}
