//! An engine in any language publishes to PostgreSQL with a function of SQL, in a transaction of its own.

use std::{thread, time::Duration};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgDatabaseError};
use tharsis_tests::{ALPHA, BETA, Database, Line, Subscribe, World, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// What a story publishes with `publish_all`: all of it for ALPHA, as nudges.
#[derive(Default)]
struct Batch<'a> {
    payloads: Vec<&'a str>,
    keys: Option<Vec<&'a str>>,
}

impl<'a> Batch<'a> {
    fn of(lines: &'a [Line]) -> Self {
        Self {
            payloads: lines.iter().map(|line| &*line.text).collect(),
            keys: None,
        }
    }

    fn keyed(key: &'a str, payload: &'a str) -> Self {
        Self {
            payloads: vec![payload],
            keys: Some(vec![key]),
        }
    }

    /// The id of each event, and whether it was there before.
    async fn publish(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<(String, bool)>> {
        sqlx::query_as(
            "SELECT event::text, duplicate
             FROM publish_all(types => array_fill('nudge'::text, ARRAY[cardinality($2)]),
                              clients => array_fill($1::uuid, ARRAY[cardinality($2)]),
                              payloads => $2, keys => $3)",
        )
        .bind(ALPHA)
        .bind(&self.payloads)
        .bind(&self.keys)
        .fetch_all(connection)
        .await
    }
}

/// `SELECT publish(…)` of one nudge.
async fn publish(
    connection: &mut PgConnection,
    client: &str,
    payload: &str,
) -> sqlx::Result<String> {
    sqlx::query_scalar("SELECT publish('nudge', $1::uuid, $2)::text")
        .bind(client)
        .bind(payload)
        .fetch_one(connection)
        .await
}

#[test]
fn what_is_committed_is_frozen_and_delivered_and_what_is_rolled_back_is_never_seen() {
    let world = World::on(Database::Postgres);
    let shop = world.receiver("shop").start();
    // One after the other, in the order in which they were handed over.
    world.subscribe(&Subscribe::new(ALPHA, &shop).max_in_flight(1));
    let run = world.spawn_run();
    let lines = world.nudges(ALPHA, 8);
    let mut engine = world.connect();
    let ids = world
        .block_on(async {
            let mut doomed = engine.begin().await?;
            publish(&mut doomed, ALPHA, &lines[0].text).await?;
            Batch::of(&lines[1..4]).publish(&mut doomed).await?;
            doomed.rollback().await?;
            let mut decided = engine.begin().await?;
            let one = publish(&mut decided, ALPHA, &untidy(&lines[4])).await?;
            let all = Batch::of(&lines[5..]).publish(&mut decided).await?;
            assert_eq!(all.len(), 3);
            assert!(all.iter().all(|(_, duplicate)| !duplicate));
            decided.commit().await?;
            let ids: Vec<String> = [one]
                .into_iter()
                .chain(all.into_iter().map(|(id, _)| id))
                .collect();
            Ok::<_, sqlx::Error>(ids)
        })
        .expect("the functions take all of it");
    shop.wait_for(4, SOON);
    run.terminate();
    run.finish(SOON).ok();
    shop.assert_received_once(&lines[4..]);
    let marks: Vec<&str> = lines[4..].iter().map(|line| &*line.mark).collect();
    assert_eq!(shop.marks(), marks);
    for (id, line) in ids.iter().zip(&lines[4..]) {
        let shown = world.ask(["event", "show", id]);
        assert_eq!(shown["payload"]["nudgeUserId"], line.mark);
        assert_eq!(shown["client"], ALPHA);
    }
}

/// As an engine may print it: with spaces, and escapes that JavaScript would not write.
fn untidy(line: &Line) -> String {
    let untidy = line
        .text
        .replace("\":", "\" : ")
        .replace('🛒', "\\ud83d\\uded2");
    assert_ne!(untidy, line.text);
    untidy
}

/// Publishing needs the right to execute the functions, and no other.
#[test]
fn a_role_that_may_execute_the_functions_needs_no_other_right() {
    let world = World::on(Database::Postgres);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let role = Role::new(&world);
    let lines = world.nudges(ALPHA, 3);
    let mut engine = world.connect();
    world.block_on(async {
        role.assume(&mut engine).await;
        let refused = publish(&mut engine, ALPHA, &lines[0].text)
            .await
            .expect_err("not granted yet");
        assert_eq!(state(&refused), "42501", "{refused}");
    });
    role.grant(&world);
    world.block_on(async {
        publish(&mut engine, ALPHA, &lines[0].text)
            .await
            .expect("it is granted now");
        Batch::of(&lines[1..])
            .publish(&mut engine)
            .await
            .expect("so is this");
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
        )
        .fetch_all(&mut engine)
        .await
        .expect("the catalogue is everybody's");
        assert!(tables.len() > 10, "{tables:?}");
        for table in tables {
            for statement in [
                format!("SELECT * FROM {table}"),
                format!("INSERT INTO {table} DEFAULT VALUES"),
                format!("DELETE FROM {table}"),
            ] {
                let refused = sqlx::query(AssertSqlSafe(statement.clone()))
                    .execute(&mut engine)
                    .await;
                let refused = refused.expect_err(&statement);
                assert_eq!(state(&refused), "42501", "{statement}: {refused}");
            }
        }
        // A schema of its own in its search path does not come before ours inside the functions.
        for statement in [
            "CREATE TEMP TABLE event (id uuid)",
            "CREATE TEMP TABLE outbox (event uuid)",
            "SET search_path = pg_temp, public",
        ] {
            sqlx::query(statement)
                .execute(&mut engine)
                .await
                .expect("it may");
        }
        let schema = world.schema();
        let again = sqlx::query(AssertSqlSafe(format!(
            "SELECT {schema}.publish('nudge', $1::uuid, $2)"
        )))
        .bind(ALPHA)
        .bind(&lines[0].text)
        .execute(&mut engine)
        .await;
        again.expect("it is published, or was");
    });
    world.run_until_idle();
    shop.assert_received_once(&lines);
}

/// A role of the story's own, gone with it.
struct Role<'w> {
    world: &'w World,
    name: String,
}

impl<'w> Role<'w> {
    fn new(world: &'w World) -> Self {
        let schema = world.schema();
        let name = format!("{schema}_engine");
        world.execute(&format!("CREATE ROLE {name}"));
        world.execute(&format!("GRANT USAGE ON SCHEMA {schema} TO {name}"));
        Self { world, name }
    }

    /// Lets it publish, as the documentation says.
    fn grant(&self, world: &World) {
        let (schema, name) = (world.schema(), &self.name);
        world.execute(&format!(
            "GRANT EXECUTE ON FUNCTION {schema}.publish, {schema}.publish_all TO {name}"
        ));
    }

    async fn assume(&self, connection: &mut PgConnection) {
        let statement = format!("SET ROLE {}", self.name);
        let done = sqlx::query(AssertSqlSafe(statement))
            .execute(connection)
            .await;
        done.expect("whoever made a role may assume it");
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        self.world.execute(&format!("DROP OWNED BY {}", self.name));
        self.world.execute(&format!("DROP ROLE {}", self.name));
    }
}

/// The SQLSTATE of what was refused.
fn state(refused: &sqlx::Error) -> String {
    let error = refused.as_database_error().expect("the server refused it");
    error.code().expect("with its code").into_owned()
}

#[test]
fn one_that_cannot_be_frozen_ends_refused_and_says_why() {
    let world = World::on(Database::Postgres);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let good = world.nudges(ALPHA, 1).remove(0);
    let precise = good
        .text
        .replace("\"status\":", "\"points\":9007199254740993,\"status\":");
    let mut engine = world.connect();
    for (payload, code) in [
        ("no JSON at all", "json_syntax"),
        (&*good.text.replace("pristine", "\\ud800"), "json_syntax"),
        (&*precise, "number_out_of_range"),
        (&*good.text.replace(ALPHA, BETA), "client_mismatch"),
    ] {
        let id = world
            .block_on(publish(&mut engine, ALPHA, payload))
            .expect("the function takes any text");
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
    world
        .block_on(publish(&mut engine, ALPHA, &good.text))
        .expect("it is good");
    let summary: Value = world.run_until_idle().json();
    assert_eq!(summary["delivered"], 1);
    shop.assert_received_once(&[good]);
    assert_eq!(world.integrity(), "ok");
}

#[test]
fn what_no_event_can_be_is_refused_at_once_with_a_stable_code() {
    let world = World::on(Database::Postgres);
    let mut engine = world.connect();
    let good = world.nudges(ALPHA, 1).remove(0).text;
    let large = " ".repeat(300_000);
    for (arguments, code) in [
        (
            ("no type", Some(ALPHA), Some(&*good), None),
            "bad_event_type",
        ),
        (("nudge", None, Some(&*good), None), "bad_client"),
        (("nudge", Some(ALPHA), None, None), "payload_missing"),
        (
            ("nudge", Some(ALPHA), Some(&*large), None),
            "payload_too_large",
        ),
        (
            ("nudge", Some(ALPHA), Some(&*good), Some("")),
            "bad_idempotency_key",
        ),
    ] {
        let (event_type, client, payload, key) = arguments;
        let refused = world
            .block_on(
                sqlx::query("SELECT publish($1, $2::uuid, $3, key => $4)")
                    .bind(event_type)
                    .bind(client)
                    .bind(payload)
                    .bind(key)
                    .execute(&mut engine),
            )
            .expect_err(code);
        let error = refused.as_database_error().expect("the server refused it");
        let error = error.downcast_ref::<PgDatabaseError>();
        assert_eq!(
            (error.code(), error.detail()),
            ("22023", Some(code)),
            "{error}"
        );
        assert!(error.hint().is_some(), "{error}");
    }
    let left = world.select("SELECT count(*)::text FROM event");
    assert_eq!(left, ["0"]);
}

/// An instant that no clock reaches was taken once, and what was to be routed with it stood still.
#[test]
fn what_no_delivery_can_have_is_refused_by_its_name_and_in_nobodys_way() {
    let world = World::on(Database::Postgres);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let good = world.nudges(ALPHA, 1).remove(0);
    let mut engine = world.connect();
    for (argument, code, field) in [
        ("not_before => 'infinity'", "bad_time", "not_before"),
        ("not_before => '-infinity'", "bad_time", "not_before"),
        (
            "expires_at => '294276-12-31 23:59:59.9999+00'",
            "bad_time",
            "expires_at",
        ),
        ("campaign => ' '", "empty", "campaign"),
        ("recipient => repeat('x', 256)", "too_long", "recipient"),
        ("campaign => E'a\\tb'", "control_character", "campaign"),
    ] {
        let statement = format!("SELECT publish('nudge', $1::uuid, $2, {argument})");
        let refused = world
            .block_on(
                sqlx::query(AssertSqlSafe(statement))
                    .bind(ALPHA)
                    .bind(&good.text)
                    .execute(&mut engine),
            )
            .expect_err(argument);
        let error = refused.as_database_error().expect("the server refused it");
        let error = error.downcast_ref::<PgDatabaseError>();
        assert_eq!(
            (error.code(), error.detail()),
            ("22023", Some(code)),
            "{error}"
        );
        assert!(error.message().ends_with(field), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
    world
        .block_on(publish(&mut engine, ALPHA, &good.text))
        .expect("it is good");
    world.run_until_idle();
    shop.assert_received_once(&[good]);
}

#[test]
fn a_refusal_takes_its_transaction_with_it_but_for_a_savepoint() {
    let world = World::on(Database::Postgres);
    let lines = world.nudges(ALPHA, 1);
    let mut engine = world.connect();
    world
        .block_on(async {
            let mut open = engine.begin().await?;
            let mut part = open.begin().await?;
            let refused = publish(&mut part, ALPHA, &" ".repeat(300_000)).await;
            assert_eq!(state(&refused.expect_err("too large")), "22023");
            let after = publish(&mut part, ALPHA, &lines[0].text).await;
            assert_eq!(state(&after.expect_err("it is aborted")), "25P02");
            part.rollback().await?;
            publish(&mut open, ALPHA, &lines[0].text).await?;
            open.commit().await
        })
        .expect("the rest goes on");
    assert_eq!(world.select("SELECT count(*)::text FROM event"), ["1"]);
}

#[test]
fn who_reads_as_of_a_moment_ago_is_told_to_try_again() {
    let world = World::on(Database::Postgres);
    let lines = world.nudges(ALPHA, 1);
    let batch = Batch::keyed("order-17", &lines[0].text);
    let (mut slow, mut quick) = (world.connect(), world.connect());
    let refused = world.block_on(async {
        let mut open = slow.begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .execute(&mut *open)
            .await?;
        sqlx::query("SELECT count(*) FROM pg_class")
            .execute(&mut *open)
            .await?;
        batch.publish(&mut quick).await?;
        batch.publish(&mut open).await
    });
    assert_eq!(state(&refused.expect_err("it cannot see it")), "40001");
}

#[test]
fn of_two_transactions_that_cross_one_is_ended() {
    let world = World::on(Database::Postgres);
    let lines = world.nudges(ALPHA, 2);
    let a = Batch::keyed("a", &lines[0].text);
    let b = Batch::keyed("b", &lines[1].text);
    let (mut first, mut second) = (world.connect(), world.connect());
    let mut one = world.block_on(first.begin()).expect("a transaction");
    let mut other = world.block_on(second.begin()).expect("a transaction");
    world.block_on(a.publish(&mut one)).expect("it is new");
    world.block_on(b.publish(&mut other)).expect("it is new");
    let ended = thread::scope(|scope| {
        let crossing = scope.spawn(|| world.block_on(b.publish(&mut one)));
        let meanwhile = world.block_on(a.publish(&mut other));
        [crossing.join().expect("no panic"), meanwhile]
    });
    let refused: Vec<String> = ended
        .iter()
        .filter_map(|end| end.as_ref().err().map(state))
        .collect();
    assert_eq!(refused, ["40P01"]);
}

#[test]
fn one_text_for_two_recipients_is_one_event_without_keys() {
    let world = World::on(Database::Postgres);
    let text = world.nudges(ALPHA, 1).remove(0).text;
    let mut engine = world.connect();
    let mut ids: Vec<String> = Vec::new();
    for recipient in ["ann", "bob"] {
        let publish = "SELECT publish('nudge', $1::uuid, $2, recipient => $3)::text";
        let id = sqlx::query_scalar(publish)
            .bind(ALPHA)
            .bind(&text)
            .bind(recipient)
            .fetch_one(&mut engine);
        ids.push(world.block_on(id).expect("it is taken"));
    }
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn under_one_key_the_same_is_one_event_and_another_payload_is_refused() {
    let world = World::on(Database::Postgres);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.nudges(ALPHA, 2);
    let mut engine = world.connect();
    world.block_on(async {
        let first = Batch::keyed("order-17", &lines[0].text)
            .publish(&mut engine)
            .await;
        let (id, duplicate) = first.expect("it is new").remove(0);
        assert!(!duplicate);
        let again = Batch::keyed("order-17", &lines[0].text)
            .publish(&mut engine)
            .await;
        assert_eq!(again.expect("it is the same"), [(id, true)]);
        let other = Batch::keyed("order-17", &lines[1].text)
            .publish(&mut engine)
            .await;
        let refused = other.expect_err("it is another payload");
        let error = refused.as_database_error().expect("the server refused it");
        let error = error.downcast_ref::<PgDatabaseError>();
        assert_eq!(error.detail(), Some("idempotency_conflict"), "{error}");
    });
    // The library finds the key of plain SQL, whose digest is over the text that was given.
    let enveloped = lines[0].in_envelope(r#""key":"order-17""#);
    let report = world.publish(&[enveloped]);
    assert_eq!((report.published, report.duplicates), (0, 1));
    world.run_until_idle();
    shop.assert_received_once(&lines[..1]);
}

#[test]
fn publishers_of_different_keys_never_wait_for_each_other() {
    let world = World::on(Database::Postgres);
    let lines = world.nudges(ALPHA, 6);
    let (mut first, mut second) = (world.connect(), world.connect());
    world
        .block_on(async {
            sqlx::query("SET lock_timeout = '1ms'")
                .execute(&mut second)
                .await?;
            let mut open = first.begin().await?;
            Batch::keyed("a", &lines[0].text).publish(&mut open).await?;
            publish(&mut open, ALPHA, &lines[1].text).await?;
            // The same client, the same type, each in a transaction of its own and then together in one.
            Batch::keyed("b", &lines[2].text)
                .publish(&mut second)
                .await?;
            publish(&mut second, ALPHA, &lines[3].text).await?;
            let mut other = second.begin().await?;
            Batch::keyed("c", &lines[4].text)
                .publish(&mut other)
                .await?;
            publish(&mut other, ALPHA, &lines[5].text).await?;
            other.commit().await?;
            open.rollback().await
        })
        .expect("nobody waits, not for a millisecond");
    // Nor does the library.
    let remaining = world.block_on(world.emitter().remaining());
    assert_eq!(remaining.expect("the database answers").unrouted, 4);
}

#[test]
fn publishers_of_one_key_wait_and_one_of_them_wins() {
    let world = World::on(Database::Postgres);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.nudges(ALPHA, 2);
    for (line, commits) in lines.iter().zip([true, false]) {
        let key = format!("decision-{commits}");
        let batch = Batch::keyed(&key, &line.text);
        let (mut first, mut second) = (world.connect(), world.connect());
        let waiting: i32 = world
            .block_on(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut second))
            .expect("it has a process");
        thread::scope(|scope| {
            let mut open = world.block_on(first.begin()).expect("a transaction");
            let mine = world
                .block_on(batch.publish(&mut open))
                .expect("it is new")
                .remove(0);
            let other = scope.spawn(|| world.block_on(batch.publish(&mut second)));
            wait_until("the other one waits for a lock", SOON, || {
                let query = format!(
                    "SELECT pid::text FROM pg_stat_activity WHERE pid = {waiting} AND wait_event_type = 'Lock'"
                );
                world.select(&query).pop()
            });
            let ended = if commits {
                world.block_on(open.commit())
            } else {
                world.block_on(open.rollback())
            };
            ended.expect("it ends");
            let theirs = other
                .join()
                .expect("no panic")
                .expect("it went on")
                .remove(0);
            if commits {
                assert_eq!(theirs, (mine.0, true), "the first one won");
            } else {
                assert!(!theirs.1, "the first one never was");
                assert_ne!(theirs.0, mine.0);
            }
        });
    }
    world.run_until_idle();
    shop.assert_received_once(&lines);
}
