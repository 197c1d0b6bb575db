//! What is PostgreSQL's own: the server and its schemas, other connections, other languages, other roles.

#[path = "contract/schema.rs"]
mod schema;

use std::{
    future::Future,
    task::{Context, Waker},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tharsis_core::{
    EventId, Timestamp, WorkerId,
    delivery::End,
    egress::Policy,
    event::{Event, EventType, IdempotencyKey},
    profile::Profiles,
    subscription::{Credentials, Draft, Settings},
};
use tharsis_store::{
    Attempt, Fate, LaneRead, Lease, Outbox, Pointer, Registry, Remaining, Retention, RouteTo,
    Routed, Settlement, Shards, StoreError,
    postgres::{Options, PostgresStore},
};

use crate::schema::Schema;

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";
/// The migrations.
const ALL: [&str; 13] = [
    "outbox",
    "profiles",
    "rate",
    "health",
    "release",
    "campaign",
    "alert",
    "own_events",
    "order",
    "replay",
    "retention",
    "token",
    "minute",
];
const DAY: Duration = Duration::from_secs(86_400);

fn event(n: u32) -> Event {
    let text = format!(r#"{{"type":"ticket","client":"{CLIENT}","payload":{{"n":{n}}}}}"#);
    Event::parse(text.as_bytes()).expect("an event")
}

fn keyed(n: u32, key: &str) -> Event {
    event(n).with_key(IdempotencyKey::new(key).expect("a key"))
}

fn worker(n: u8) -> WorkerId {
    WorkerId::new(Timestamp::from_millis(1_700_000_000_000), [n; 10])
}

fn settings() -> Settings {
    let draft = Draft {
        client: CLIENT.to_owned(),
        name: "hooks".to_owned(),
        url: "https://hooks.example.com/in".to_owned(),
        ..Draft::default()
    };
    let mut settings = draft
        .settings(&Policy::default(), &Profiles::default())
        .expect("settings");
    settings.events = vec![EventType::new("ticket").expect("a type")];
    settings
}

fn code(error: &StoreError) -> &str {
    match error {
        StoreError::Invalid(invalid) => invalid.code,
        StoreError::Unusable { code, .. } => code,
        StoreError::LeaseLost => "lease_lost",
        _ => "none",
    }
}

async fn refused(url: &str, options: Options) -> String {
    let error = PostgresStore::open(url, options)
        .await
        .expect_err("refused");
    code(&error).to_owned()
}

async fn run(conn: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(conn)
        .await
        .expect(statement);
}

/// What PostgreSQL says in its detail, where our functions put their stable code.
async fn detail(conn: &mut PgConnection, statement: &str) -> String {
    let error = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(conn)
        .await
        .expect_err(statement);
    let error = error.into_database_error().expect("of the server");
    let error = error.downcast_ref::<sqlx::postgres::PgDatabaseError>();
    error.detail().unwrap_or(error.message()).to_owned()
}

async fn scalar<T>(conn: &mut PgConnection, statement: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
        .fetch_one(conn)
        .await
        .expect(statement)
}

async fn open(schema: &Schema) -> PostgresStore {
    PostgresStore::open(&schema.url(), schema.options())
        .await
        .expect("opens")
}

/// A connection of any other program's, which has nothing of ours in its search path.
async fn connect(schema: &Schema) -> PgConnection {
    PgConnection::connect(&schema.database)
        .await
        .expect("connects")
}

/// One whose search path is ours, to look with.
async fn inside(schema: &Schema) -> PgConnection {
    let mut conn = connect(schema).await;
    run(&mut conn, &format!("SET search_path = {}", schema.name)).await;
    conn
}

/// A store with its owner and a subscription, and the database's clock.
struct House {
    store: PostgresStore,
    lease: Lease,
    now: Timestamp,
    subscription: i64,
}

impl House {
    async fn new(schema: &Schema) -> Self {
        let store = open(schema).await;
        let lease = store
            .hold(worker(1), Shards::default())
            .await
            .expect("a lease");
        let now = lease.clock;
        store
            .add(&settings(), &Credentials::default(), now)
            .await
            .expect("added");
        let subscription = store.snapshot().await.expect("a snapshot").targets[0].0;
        Self {
            store,
            lease,
            now,
            subscription,
        }
    }

    async fn pointers(&self) -> Vec<Pointer> {
        let pointers = self.store.pointers(&self.lease, 100).await;
        pointers.expect("pointers").events
    }

    /// Waits until so many events are to be routed, as an owner does.
    async fn until_there_are(&self, count: usize) -> Vec<Pointer> {
        loop {
            let pointers = self.pointers().await;
            if pointers.len() == count {
                return pointers;
            }
            assert!(pointers.len() < count);
            self.store.changed(&self.lease).await.expect("asked");
            tokio::task::yield_now().await;
        }
    }

    async fn route(&self, pointers: &[Pointer]) {
        let routed: Vec<Routed> = pointers
            .iter()
            .map(|pointer| self.routed(pointer))
            .collect();
        self.store
            .route(&self.lease, &routed)
            .await
            .expect("routed");
    }

    fn routed(&self, pointer: &Pointer) -> Routed {
        let frozen = pointer
            .unfrozen
            .as_ref()
            .map(|text| Event::freeze(&pointer.event_type, pointer.client, text).map(Box::new));
        let to = RouteTo {
            subscription: self.subscription,
            due_at: self.now,
            ends: None,
        };
        Routed {
            seq: pointer.seq,
            to: match &frozen {
                Some(Err(_)) => Vec::new(),
                _ => vec![to],
            },
            frozen,
        }
    }

    async fn payloads(&self) -> Vec<String> {
        self.due()
            .await
            .iter()
            .map(|due| String::from_utf8_lossy(&due.payload).into_owned())
            .collect()
    }

    async fn due(&self) -> Vec<tharsis_store::Due> {
        let lane = LaneRead {
            subscription: self.subscription,
            after: None,
            limit: 100,
            named: false,
        };
        let rows = self.store.due(&self.lease, &[lane], self.now).await;
        rows.expect("due").due
    }

    async fn left(&self) -> Remaining {
        self.store.remaining(self.now).await.expect("counted")
    }

    fn delivered(&self, due: &tharsis_store::Due) -> Settlement {
        Settlement {
            position: due.position,
            event: due.id.event,
            attempts: due.attempts,
            attempt: Some(Attempt {
                number: due.attempts + 1,
                at: self.now,
                duration: Duration::from_millis(5),
                code: "http_200".to_owned(),
                status: Some(200),
                excerpt: Vec::new(),
                detail: Some("a NUL \0 that somebody sent".to_owned()),
            }),
            fate: Fate::Ended(End::Delivered),
            key: None,
            suspend: None,
            certificate_ends: None,
        }
    }
}

// === the schema ===

#[tokio::test]
async fn what_is_wrong_with_a_database_is_said() {
    let schema = Schema::missing();
    let options = || schema.options();
    assert_eq!(refused(&schema.url(), options()).await, "schema_missing");
    let unreachable = "postgres://root@127.0.0.1:1/x";
    assert_eq!(
        refused(unreachable, options()).await,
        "database_unreachable"
    );
    let (base, _) = schema
        .url()
        .split_once('?')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a query");
    let none = format!("{base}_that_is_not_there");
    assert_eq!(refused(&none, options()).await, "database_refused");

    let migrated = PostgresStore::migrate(&schema.url(), options()).await;
    assert_eq!(migrated.expect("migrates"), ALL);
    open(&schema).await;
    let key = options().key_file.expect("a key file");
    let kept = key.with_extension("kept");
    std::fs::rename(&key, &kept).expect("moved");
    assert_eq!(refused(&schema.url(), options()).await, "key_missing");
    std::fs::write(&key, "tharsis key").expect("written");
    assert_eq!(refused(&schema.url(), options()).await, "key_wrong");
    std::fs::rename(&kept, &key).expect("moved");

    let mut conn = inside(&schema).await;
    run(
        &mut conn,
        "UPDATE migration SET version = 99 WHERE version = 2",
    )
    .await;
    assert_eq!(refused(&schema.url(), options()).await, "schema_too_new");
    let again = PostgresStore::migrate(&schema.url(), options()).await;
    assert_eq!(code(&again.expect_err("refused")), "schema_too_new");
    run(&mut conn, "DELETE FROM migration").await;
    assert_eq!(refused(&schema.url(), options()).await, "schema_too_old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_migrate_at_once() {
    let schema = Schema::missing();
    let url = schema.url();
    let migrate = || PostgresStore::migrate(&url, schema.options());
    let all = tokio::join!(migrate(), migrate(), migrate(), migrate());
    let mut names: Vec<_> = [all.0, all.1, all.2, all.3]
        .into_iter()
        .flat_map(|one| one.expect("migrates"))
        .collect();
    names.sort();
    let mut all = ALL;
    all.sort();
    assert_eq!(names, all, "one of them did it");
    open(&schema).await;
}

#[tokio::test]
async fn without_the_key_a_store_publishes_and_does_nothing_else_with_secrets() {
    let schema = Schema::new().await;
    let options = Options {
        key_file: None,
        ..schema.options()
    };
    let store = PostgresStore::open(&schema.url(), options)
        .await
        .expect("opens");
    let published = store.publish(&[event(1)]).await.expect("published");
    assert!(published[0].is_ok());
    let snapshot = store.snapshot().await.expect_err("refused");
    assert_eq!(code(&snapshot), "key_missing");
}

// === publishing in a transaction ===

#[tokio::test]
async fn an_event_is_seen_when_its_transaction_commits() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = connect(&schema).await;
    let now = house.now;
    let id = move |n| EventId::new(now, [n; 10]);

    let mut transaction = conn.begin().await.expect("begins");
    let published = house
        .store
        .publish_in(&mut transaction, &event(1), id(1))
        .await;
    assert_eq!(published.expect("published").id, id(1));
    assert_eq!(house.pointers().await.len(), 0);
    transaction.rollback().await.expect("rolled back");
    let mut transaction = conn.begin().await.expect("begins");
    let published = house
        .store
        .publish_in(&mut transaction, &event(1), id(2))
        .await;
    let published = published.expect("published");
    assert_eq!(
        (published.id, published.duplicate),
        (id(2), false),
        "nothing was left"
    );
    transaction.commit().await.expect("committed");
    house.until_there_are(1).await;

    let again = house
        .store
        .publish_in(&mut conn, &event(1), id(3))
        .await
        .expect("published");
    assert_eq!((again.id, again.duplicate), (id(2), true));
    house
        .store
        .publish_in(&mut conn, &keyed(2, "k"), id(4))
        .await
        .expect("published");
    let other = house
        .store
        .publish_in(&mut conn, &keyed(3, "k"), id(5))
        .await;
    assert_eq!(code(&other.expect_err("refused")), "idempotency_conflict");
    assert_eq!(house.left().await.unrouted, 2);
}

#[tokio::test]
async fn a_connection_without_the_outbox_is_told_so() {
    let schema = Schema::new().await;
    let store = open(&schema).await;
    let mut conn = connect(&schema).await;
    drop(schema);
    let id = EventId::new(Timestamp::from_millis(1_700_000_000_000), [1; 10]);
    let refused = store.publish_in(&mut conn, &event(1), id).await;
    assert_eq!(code(&refused.expect_err("refused")), "schema_missing");
}

#[tokio::test]
async fn publishers_wait_for_nobody_but_one_of_their_own_key() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let (mut slow, mut quick, mut same) = (
        connect(&schema).await,
        connect(&schema).await,
        connect(&schema).await,
    );
    let now = house.now;
    let id = move |n| EventId::new(now, [n; 10]);
    let mut open = slow.begin().await.expect("begins");
    house
        .store
        .publish_in(&mut open, &keyed(1, "a"), id(1))
        .await
        .expect("published");

    // Others go their way while it is open: publishers, the router, the making of a day's table.
    house
        .store
        .publish_in(&mut quick, &keyed(2, "b"), id(2))
        .await
        .expect("published");
    let pointers = house.until_there_are(1).await;
    house.route(&pointers).await;
    house
        .store
        .maintain(house.now + DAY * 3)
        .await
        .expect("maintained");
    // One under its key waits, and learns what became of it.
    let waiting = tokio::spawn({
        let store = house.store.clone();
        async move { store.publish_in(&mut same, &keyed(1, "a"), id(3)).await }
    });
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%publish_frozen%'
                   AND position($$SCHEMA$$ in query) > 0";
    let blocked = blocked.replace("SCHEMA", &schema.name);
    while scalar::<i64>(&mut quick, &blocked).await == 0 {
        tokio::task::yield_now().await;
    }
    open.commit().await.expect("committed");
    let published = waiting.await.expect("no panic").expect("published");
    assert_eq!((published.id, published.duplicate), (id(1), true));
    // It was numbered before what is routed long since, and is found.
    let late = house.until_there_are(1).await;
    assert_eq!(late[0].event, id(1));
    assert!(late[0].seq < pointers[0].seq);
}

#[tokio::test]
async fn an_instant_that_cannot_be_kept_leaves_the_callers_transaction_as_it_was() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = connect(&schema).await;
    let mut transaction = conn.begin().await.expect("begins");
    let id = |n| EventId::new(house.now, [n; 10]);
    let never = Timestamp::from_millis(i64::MAX);
    let never = event(1).with_not_before(never).expect("an event");
    let refused = house
        .store
        .publish_in(&mut transaction, &never, id(1))
        .await;
    assert_eq!(code(&refused.expect_err("refused")), "bad_time");
    house
        .store
        .publish_in(&mut transaction, &event(1), id(2))
        .await
        .expect("published");
    transaction.commit().await.expect("committed");
    assert_eq!(house.left().await.unrouted, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_of_one_process_do_not_wait_for_the_key_of_another() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = connect(&schema).await;
    let mut open = conn.begin().await.expect("begins");
    let first = EventId::new(house.now, [1; 10]);
    house
        .store
        .publish_in(&mut open, &keyed(1, "a"), first)
        .await
        .expect("published");

    let publish = |event: Event| {
        let store = house.store.clone();
        tokio::spawn(async move { store.publish(&[event]).await })
    };
    // More of them than there are connections to publish on, and others together with them.
    let waiting: Vec<_> = (0..5).map(|_| publish(keyed(1, "a"))).collect();
    let others: Vec<_> = (10..60).map(|n| publish(event(n))).collect();
    for other in others {
        let published = tokio::time::timeout(Duration::from_secs(20), other)
            .await
            .expect("it does not wait")
            .expect("no panic")
            .expect("published");
        assert!(!published[0].as_ref().expect("new").duplicate);
    }
    assert!(waiting.iter().all(|one| !one.is_finished()));
    open.commit().await.expect("committed");
    for one in waiting {
        let published = one.await.expect("no panic").expect("published");
        let published = published[0].as_ref().expect("the same");
        assert_eq!((published.id, published.duplicate), (first, true));
    }
}

// === publishing by SQL ===

#[tokio::test]
async fn any_program_publishes() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = connect(&schema).await;
    let tharsis = &schema.name;
    let first: uuid::Uuid = scalar(
        &mut conn,
        &format!(r#"SELECT {tharsis}.publish('ticket', '{CLIENT}', '{{"n": 1, "m": 1.50}}', campaign => 'spring', not_before => '2026-01-01')"#),
    )
    .await;
    let batch = format!(
        r#"SELECT array_agg(duplicate) FROM {tharsis}.publish_all('{{ticket,ticket,ticket}}', array_fill('{CLIENT}'::uuid, '{{3}}'),
               ARRAY['{{"n":2}}', '{{"n": 1, "m": 1.50}}', 'no JSON'], ARRAY['own', NULL, NULL])"#
    );
    let duplicates: Vec<bool> = scalar(&mut conn, &batch).await;
    assert_eq!(duplicates, [false, true, false]);

    let pointers = house.until_there_are(3).await;
    assert_eq!(pointers[0].event, EventId::from_uuid(first));
    assert_eq!(
        pointers[0].unfrozen.as_deref(),
        Some(&br#"{"n": 1, "m": 1.50}"#[..])
    );
    house.route(&pointers).await;
    assert_eq!(
        house.payloads().await,
        [r#"{"n":1,"m":1.5}"#, r#"{"n":2}"#],
        "as JavaScript writes it"
    );
    let record = house
        .store
        .event(pointers[0].event)
        .await
        .expect("an event");
    assert_eq!(record.campaign.as_deref(), Some("spring"));
    let refused = house
        .store
        .event(pointers[2].event)
        .await
        .expect("an event");
    assert!(refused.routed);
    assert!(
        refused.refused.is_some(),
        "what cannot be frozen is refused"
    );
    assert_eq!(refused.payload, "no JSON");
    assert_eq!(house.left().await.unrouted, 0);
}

#[tokio::test]
async fn one_key_is_one_event_on_every_path() {
    let schema = Schema::new().await;
    let store = open(&schema).await;
    let mut conn = connect(&schema).await;
    let tharsis = &schema.name;
    let published = store
        .publish(&[keyed(1, "a"), event(5)])
        .await
        .expect("published");
    let ids: Vec<EventId> = published
        .into_iter()
        .map(|one| one.expect("not refused").id)
        .collect();
    let sql = async |conn: &mut PgConnection, payload: &str, key: &str| {
        let publish = format!("SELECT {tharsis}.publish('ticket', '{CLIENT}', '{payload}', {key})");
        EventId::from_uuid(scalar(conn, &publish).await)
    };
    // Under a key of one's own whatever the text looks like, without one when the text is the frozen one.
    assert_eq!(sql(&mut conn, r#"{"n": 1}"#, "'a'").await, ids[0]);
    assert_eq!(sql(&mut conn, r#"{"n":5}"#, "NULL").await, ids[1]);
    let own = sql(&mut conn, r#"{"n": 7}"#, "'b'").await;
    let again = store.publish(&[keyed(7, "b")]).await.expect("published");
    assert_eq!(
        again[0].as_ref().map(|one| (one.id, one.duplicate)),
        Ok((own, true))
    );
    // Among texts, another one under the same key is refused.
    assert_eq!(sql(&mut conn, r#"{"n": 7}"#, "'b'").await, own);
    let other = format!("SELECT {tharsis}.publish('ticket', '{CLIENT}', '{{}}', 'b')");
    assert_eq!(detail(&mut conn, &other).await, "idempotency_conflict");
}

/// The library's digests hold whatever else somebody puts into the schema by the name of the function that makes them.
#[tokio::test]
async fn a_function_of_the_same_name_makes_no_other_keys() {
    let schema = Schema::new().await;
    let store = open(&schema).await;
    let mut conn = inside(&schema).await;
    run(
        &mut conn,
        "CREATE FUNCTION digest_of(purpose text, a bytea, b bytea) RETURNS bytea LANGUAGE sql RETURN substring(sha256(a) FOR 16)",
    )
    .await;
    store
        .publish(&[event(1), keyed(2, "a")])
        .await
        .expect("published");
    let again = format!(
        r#"SELECT bool_and(duplicate) FROM publish_all('{{ticket,ticket}}', array_fill('{CLIENT}'::uuid, '{{2}}'),
               ARRAY['{{"n":1}}', '{{"n":2}}'], ARRAY[NULL, 'a'])"#
    );
    assert!(scalar::<bool>(&mut conn, &again).await);
}

/// As when keys are forgotten between the insert that finds one and the answer.
#[tokio::test]
async fn a_key_that_is_forgotten_meanwhile_is_an_error_and_no_answer() {
    let schema = Schema::new().await;
    let store = open(&schema).await;
    let mut conn = inside(&schema).await;
    store.publish(&[keyed(1, "a")]).await.expect("published");
    run(
        &mut conn,
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM idempotency; RETURN NULL; END $$;
         CREATE TRIGGER forget BEFORE INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION forget()",
    )
    .await;
    let batch = format!(
        r#"SELECT publish_all('{{ticket,ticket}}', array_fill('{CLIENT}'::uuid, '{{2}}'), ARRAY['{{"n":1}}', '{{"n":2}}'],
               ARRAY['a', 'b'])"#
    );
    assert_eq!(detail(&mut conn, &batch).await, "key_forgotten");
    let refused = store.publish(&[keyed(1, "a"), event(2)]).await;
    assert!(matches!(refused, Err(StoreError::Database(_))));
    run(&mut conn, "DROP TRIGGER forget ON outbox").await;
    let published = store.publish(&[keyed(1, "a"), event(2)]).await;
    let duplicates: Vec<bool> = published
        .expect("published")
        .iter()
        .map(|one| one.as_ref().expect("not refused").duplicate)
        .collect();
    assert_eq!(duplicates, [true, false]);
}

/// Published before such were refused, or written by hand.
#[tokio::test]
async fn an_infinite_instant_is_in_nobodys_way() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = inside(&schema).await;
    let events: Vec<Event> = (1..4).map(event).collect();
    house.store.publish(&events).await.expect("published");
    for (n, at) in [(1, "-infinity"), (2, "infinity")] {
        let update = format!(
            r#"UPDATE outbox o SET not_before = '{at}' FROM event e WHERE e.id = o.event AND e.payload = '{{"n":{n}}}'"#
        );
        run(&mut conn, &update).await;
    }
    let pointers = house.until_there_are(3).await;
    let routed: Vec<Routed> = pointers
        .iter()
        .map(|pointer| {
            let mut routed = house.routed(pointer);
            routed.to[0].due_at = pointer.not_before.map_or(house.now, |at| at.max(house.now));
            routed
        })
        .collect();
    let done = house.store.route(&house.lease, &routed).await;
    done.expect("routed");
    assert_eq!(house.payloads().await, [r#"{"n":1}"#, r#"{"n":3}"#]);
}

#[tokio::test]
async fn sql_is_checked_as_the_library_is() {
    let schema = Schema::new().await;
    let mut conn = inside(&schema).await;
    let c = CLIENT;
    for (statement, expected) in [
        (
            format!("SELECT publish('no type', '{c}', '{{}}')"),
            "bad_event_type",
        ),
        (
            format!("SELECT publish(NULL, '{c}', '{{}}')"),
            "bad_event_type",
        ),
        (
            "SELECT publish('ticket', NULL, '{}')".to_owned(),
            "bad_client",
        ),
        (
            format!("SELECT publish('ticket', '{c}', NULL)"),
            "payload_missing",
        ),
        (
            format!("SELECT publish('ticket', '{c}', repeat('x', 262145))"),
            "payload_too_large",
        ),
        (
            format!("SELECT publish('ticket', '{c}', '{{}}', 'no key')"),
            "bad_idempotency_key",
        ),
        (
            format!("SELECT publish('ticket', '{c}', '{{}}', '')"),
            "bad_idempotency_key",
        ),
        (
            format!("SELECT publish('ticket', '{c}', '{{}}', repeat('k', 256))"),
            "bad_idempotency_key",
        ),
        (
            format!("SELECT publish(repeat('t', 129), '{c}', '{{}}')"),
            "bad_event_type",
        ),
        (
            format!("SELECT publish('ticket', '{c}', '{{}}', campaign => '')"),
            "empty",
        ),
        (
            format!("SELECT publish('ticket', '{c}', '{{}}', campaign => repeat('é', 256))"),
            "too_long",
        ),
        (
            format!("SELECT publish('ticket', '{c}', '{{}}', recipient => E'a\\nb')"),
            "control_character",
        ),
        (
            format!("SELECT publish('ticket', '{c}', '{{}}', not_before => 'infinity')"),
            "bad_time",
        ),
        (
            format!("SELECT publish('ticket', '{c}', '{{}}', not_before => '-infinity')"),
            "bad_time",
        ),
        (
            format!(
                "SELECT publish('ticket', '{c}', '{{}}', expires_at => '1969-12-31 23:59:59Z')"
            ),
            "bad_time",
        ),
        (
            format!(
                "SELECT publish('ticket', '{c}', '{{}}', expires_at => '9999-12-31 23:59:59.9999Z')"
            ),
            "bad_time",
        ),
        (
            format!(
                "SELECT publish('ticket', '{c}', '{{}}', expires_at => '294276-12-31 23:59:59.9999Z')"
            ),
            "bad_time",
        ),
        (
            format!(
                "SELECT publish_all('{{a,b}}', '{{{c},{c}}}', '{{x,y}}', campaigns => '{{{{p,q}}}}')"
            ),
            "bad_lengths",
        ),
        (
            format!("SELECT publish_all('{{a,b}}', '{{{c}}}', '{{x,y}}')"),
            "bad_lengths",
        ),
        (
            format!("SELECT publish_all('{{a}}', '{{{c}}}', '{{x}}', campaigns => '{{p,q}}')"),
            "bad_lengths",
        ),
    ] {
        assert_eq!(detail(&mut conn, &statement).await, expected, "{statement}");
    }
    let nothing = "SELECT count(*) FROM publish_all('{}', '{}', '{}')";
    assert_eq!(scalar::<i64>(&mut conn, nothing).await, 0);
    let largest = format!("SELECT publish('ticket', '{c}', repeat('x', 262144))");
    let _: uuid::Uuid = scalar(&mut conn, &largest).await;
    assert_eq!(
        scalar::<i64>(&mut conn, "SELECT count(*) FROM event").await,
        1
    );
}

/// Of a campaign's name, by each character that the one or the other may think something of.
#[tokio::test]
async fn names_are_judged_by_sql_as_by_the_library() {
    let schema = Schema::new().await;
    let mut conn = inside(&schema).await;
    let characters = ('\u{1}'..='\u{3001}').chain(['\u{fe0f}', '\u{feff}', '\u{1f6d2}']);
    let mut names: Vec<String> = characters
        .flat_map(|c| [c.to_string(), format!(" {c}\n"), format!("a{c}b")])
        .collect();
    names.extend(["é".repeat(255), "é".repeat(256), " ".repeat(256)]);
    let ours: Vec<Option<&str>> = names
        .iter()
        .map(|name| {
            let text = serde_json::json!({
                "type": "ticket", "client": CLIENT, "campaign": name, "payload": {}
            });
            Event::parse(text.to_string().as_bytes())
                .err()
                .map(|refused| refused.code)
        })
        .collect();
    let theirs: Vec<Option<String>> =
        sqlx::query_scalar("SELECT wrong_label(n) FROM unnest($1::text[]) WITH ORDINALITY AS g(n, place) ORDER BY place")
            .bind(&names)
            .fetch_all(&mut conn)
            .await
            .expect("judged");
    for ((name, ours), theirs) in names.iter().zip(ours).zip(theirs) {
        assert_eq!(theirs.as_deref(), ours, "{name:?}");
    }
}

/// Whoever may execute it need not be the library.
#[tokio::test]
async fn frozen_payloads_are_checked_too() {
    let schema = Schema::new().await;
    let mut conn = inside(&schema).await;
    let publish = |key: &str, kind: &str, payload: &str, not_before: &str| {
        format!(
            "SELECT publish_frozen(ARRAY[gen_random_uuid()], ARRAY[{key}], ARRAY[NULL::bytea], ARRAY[{kind}],
                                   ARRAY['{CLIENT}'::uuid], NULL, NULL, ARRAY[{not_before}::timestamptz], NULL, ARRAY[{payload}])"
        )
    };
    let key = "sha256('a')";
    let good = "substring(sha256('a') FOR 16)";
    for (statement, expected) in [
        (
            publish(key, "'ticket'", "'{}'", "NULL"),
            "bad_idempotency_key",
        ),
        (
            publish("NULL::bytea", "'ticket'", "'{}'", "NULL"),
            "bad_idempotency_key",
        ),
        (publish(good, "'no type'", "'{}'", "NULL"), "bad_event_type"),
        (
            publish(good, "'ticket'", "repeat('x', 262145)", "NULL"),
            "payload_too_large",
        ),
        (
            publish(good, "'ticket'", "NULL::text", "NULL"),
            "payload_missing",
        ),
        (publish(good, "'ticket'", "'{}'", "'infinity'"), "bad_time"),
        (
            publish(good, "'ticket', 'ticket'", "'{}'", "NULL"),
            "bad_lengths",
        ),
    ] {
        assert_eq!(detail(&mut conn, &statement).await, expected, "{statement}");
    }
    run(&mut conn, &publish(good, "'ticket'", "'{}'", "now()")).await;
    assert_eq!(
        scalar::<i64>(&mut conn, "SELECT count(*) FROM event").await,
        1
    );
}

#[tokio::test]
async fn a_publisher_may_publish_and_nothing_else() {
    let schema = Schema::new().await;
    let store = open(&schema).await;
    let mut conn = connect(&schema).await;
    let (tharsis, role) = (&schema.name, format!("role_{}", schema.name));
    run(
        &mut conn,
        &format!(
            "CREATE ROLE {role};
             GRANT USAGE ON SCHEMA {tharsis} TO {role};
             GRANT EXECUTE ON FUNCTION {tharsis}.publish, {tharsis}.publish_all TO {role};"
        ),
    )
    .await;
    let mut other = connect(&schema).await;
    run(&mut other, &format!("SET ROLE {role}")).await;
    // Tables of its own by our names are not written to.
    run(
        &mut other,
        "CREATE TEMPORARY TABLE event (LIKE pg_class); CREATE TEMPORARY TABLE outbox (LIKE pg_class);
         CREATE TEMPORARY TABLE idempotency (LIKE pg_class)",
    )
    .await;
    let publish = format!("SELECT {tharsis}.publish('ticket', '{CLIENT}', '{{}}')");
    let _: uuid::Uuid = scalar(&mut other, &publish).await;
    let left = store
        .remaining(Timestamp::from_millis(0))
        .await
        .expect("counted");
    assert_eq!(left.unrouted, 1);
    for statement in [
        format!("SELECT * FROM {tharsis}.event"),
        format!("SELECT hash FROM {tharsis}.token"),
        format!("INSERT INTO {tharsis}.outbox DEFAULT VALUES"),
        format!("SELECT {tharsis}.new_id()"),
        format!(
            "SELECT {tharsis}.publish_frozen('{{}}','{{}}','{{}}','{{}}','{{}}','{{}}','{{}}','{{}}','{{}}','{{}}')"
        ),
    ] {
        let refusal = detail(&mut other, &statement).await;
        assert!(
            refusal.starts_with("permission denied"),
            "{statement}: {refusal}"
        );
    }
    // The library wants one right more, and says so.
    let id = EventId::new(Timestamp::from_millis(1_700_000_000_000), [1; 10]);
    let refused = store.publish_in(&mut other, &event(1), id).await;
    assert_eq!(code(&refused.expect_err("refused")), "not_permitted");
    run(
        &mut conn,
        &format!("GRANT EXECUTE ON FUNCTION {tharsis}.publish_frozen TO {role}"),
    )
    .await;
    store
        .publish_in(&mut other, &event(1), id)
        .await
        .expect("published");
    drop(other);
    run(
        &mut conn,
        &format!("DROP OWNED BY {role}; DROP ROLE {role}"),
    )
    .await;
}

// === days ===

async fn tables(conn: &mut PgConnection, parent: &str) -> Vec<String> {
    let tables = format!(
        "SELECT array_agg(inhrelid::regclass::text ORDER BY 1) FROM pg_inherits WHERE inhparent = '{parent}'::regclass"
    );
    scalar(conn, &tables).await
}

#[tokio::test]
async fn days_are_made_ahead_and_the_net_is_emptied() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = inside(&schema).await;
    for parent in ["event", "attempt"] {
        assert_eq!(
            tables(&mut conn, parent).await.len(),
            10,
            "yesterday, today, a week, the net"
        );
    }
    // Somebody's clock is a month ahead, and somebody's stood still years ago.
    for (n, at) in [
        (1, house.now + DAY * 30),
        (2, Timestamp::from_millis(1_577_836_800_000)),
    ] {
        let id = EventId::new(at, [1; 10]);
        house
            .store
            .publish_in(&mut conn, &event(n), id)
            .await
            .expect("published");
    }
    house.store.publish(&[event(3)]).await.expect("published");
    let pointers = house.until_there_are(3).await;
    house.route(&pointers).await;
    let due = house.due().await;
    let settled: Vec<_> = due.iter().map(|due| house.delivered(due)).collect();
    assert_eq!(
        house
            .store
            .settle(&house.lease, &settled)
            .await
            .expect("settled"),
        []
    );
    for net in ["event_default", "attempt_default"] {
        let count = format!("SELECT count(*) FROM {net}");
        assert_eq!(scalar::<i64>(&mut conn, &count).await, 2);
    }

    house
        .store
        .maintain(house.now + DAY)
        .await
        .expect("maintained");
    for (net, parent) in [("event_default", "event"), ("attempt_default", "attempt")] {
        let count = format!("SELECT count(*) FROM {net}");
        assert_eq!(scalar::<i64>(&mut conn, &count).await, 0);
        let tables = tables(&mut conn, parent).await;
        assert!(tables.contains(&format!("{parent}_20200101")));
        assert_eq!(tables.len(), 13, "a day more, and one for each odd clock");
    }
    for pointer in &pointers {
        let record = house.store.event(pointer.event).await.expect("an event");
        assert_eq!(
            record.deliveries[0].attempts, 1,
            "nothing was lost on the way"
        );
    }
    house
        .store
        .maintain(house.now + DAY)
        .await
        .expect("nothing to do");
}

#[tokio::test]
async fn old_days_are_forgotten_when_all_of_them_is_delivered() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = inside(&schema).await;
    let then = Timestamp::from_millis(1_577_880_000_000);
    let old = EventId::new(then, [1; 10]);
    house
        .store
        .publish_in(&mut conn, &event(1), old)
        .await
        .expect("published");
    house.store.publish(&[event(2)]).await.expect("published");
    house.store.maintain(house.now).await.expect("maintained");
    let forget = || forget_before(&house, then + DAY);

    assert_eq!(
        forget_before(&house, then).await,
        0,
        "its day is not over by then"
    );
    assert_eq!(forget().await, 0, "not routed");
    let pointers = house.until_there_are(2).await;
    house.route(&pointers).await;
    assert_eq!(forget().await, 0, "not delivered");
    let settled: Vec<_> = house
        .due()
        .await
        .iter()
        .map(|due| house.delivered(due))
        .collect();
    house
        .store
        .settle(&house.lease, &settled)
        .await
        .expect("settled");

    assert_eq!(forget().await, 1);
    assert_eq!(forget().await, 0, "nothing more");
    let gone = house.store.event(old).await.expect_err("gone");
    assert!(matches!(gone, StoreError::NotFound { .. }));
    // It can be published again, for nothing remembers it; the other one cannot.
    let again = house
        .store
        .publish(&[event(1), event(2)])
        .await
        .expect("published");
    let duplicates: Vec<bool> = again
        .iter()
        .map(|one| one.as_ref().expect("not refused").duplicate)
        .collect();
    assert_eq!(duplicates, [false, true]);

    // The tables go as soon as nobody uses their parents.
    let mut publisher = connect(&schema).await;
    let mut open = publisher.begin().await.expect("begins");
    let id = EventId::new(house.now, [7; 10]);
    house
        .store
        .publish_in(&mut open, &event(7), id)
        .await
        .expect("published");
    house.store.maintain(house.now).await.expect("maintained");
    assert!(
        tables(&mut conn, "event")
            .await
            .contains(&"event_20200101".to_owned())
    );
    open.commit().await.expect("committed");
    house.store.maintain(house.now).await.expect("maintained");
    assert!(
        !tables(&mut conn, "event")
            .await
            .contains(&"event_20200101".to_owned())
    );
    assert!(
        !tables(&mut conn, "attempt")
            .await
            .contains(&"attempt_20200101".to_owned())
    );
}

/// Noon of a day long ago.
const LONG_AGO: Timestamp = Timestamp::from_millis(1_577_880_000_000);

/// Forgets the history of before this instant. Returns how many events went.
async fn forget_before(house: &House, instant: Timestamp) -> u64 {
    let retention = Retention {
        history: Some(house.now.since(instant)),
        ..Retention::FOREVER
    };
    let gone = house.store.forget(&retention, house.now).await;
    gone.expect("forgotten").events
}

/// Publishes as somebody whose clock shows that instant.
async fn publish_at(house: &House, n: u32, at: Timestamp, conn: &mut PgConnection) -> EventId {
    let id = EventId::new(at, [1; 10]);
    house
        .store
        .publish_in(conn, &event(n), id)
        .await
        .expect("published");
    id
}

/// Routes and delivers what was published: so many events.
async fn deliver(house: &House, count: usize) {
    let pointers = house.until_there_are(count).await;
    house.route(&pointers).await;
    let due = house.due().await;
    let settled: Vec<_> = due.iter().map(|due| house.delivered(due)).collect();
    assert_eq!(settled.len(), count);
    let left = house.store.settle(&house.lease, &settled).await;
    assert_eq!(left.expect("settled"), []);
}

/// Publishes it again.
async fn is_known(house: &House, n: u32) -> bool {
    let again = house.store.publish(&[event(n)]).await.expect("published");
    again[0].as_ref().expect("not refused").duplicate
}

#[tokio::test]
async fn a_day_that_is_not_forgotten_keeps_its_keys() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = inside(&schema).await;
    publish_at(&house, 1, LONG_AGO, &mut conn).await;
    publish_at(&house, 2, LONG_AGO + DAY, &mut conn).await;
    deliver(&house, 2).await;
    publish_at(&house, 3, LONG_AGO + DAY * 2, &mut conn).await;
    house.store.maintain(house.now).await.expect("maintained");

    // Somebody reads the first day, and it cannot be forgotten now.
    let mut reading = conn.begin().await.expect("begins");
    run(
        &mut reading,
        "LOCK TABLE event_20200101 IN ACCESS SHARE MODE",
    )
    .await;
    assert_eq!(forget_before(&house, LONG_AGO + DAY * 2).await, 1);
    assert!(is_known(&house, 1).await);
    assert!(!is_known(&house, 2).await);

    // Now it can, and the third day, which is not finished, is in nobody's way but its own.
    reading.commit().await.expect("committed");
    assert_eq!(forget_before(&house, LONG_AGO + DAY * 3).await, 1);
    assert!(!is_known(&house, 1).await);
    assert!(is_known(&house, 3).await);
}

#[tokio::test]
async fn keys_that_a_crash_left_behind_are_deleted_before_the_tables() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = inside(&schema).await;
    let old = publish_at(&house, 1, LONG_AGO, &mut conn).await;
    house.store.publish(&[event(2)]).await.expect("published");
    deliver(&house, 2).await;
    house.store.maintain(house.now).await.expect("maintained");
    let keys = format!(
        "INSERT INTO idempotency
         SELECT substring(sha256(int8send(n)) FOR 16), NULL, '{}' FROM generate_series(1, 30000) AS n",
        old.as_uuid()
    );
    run(&mut conn, &keys).await;
    // So it is between forgetting and the deletion of keys.
    run(
        &mut conn,
        "TRUNCATE event_20200101, attempt_20200101; COMMENT ON TABLE event_20200101 IS 'forgotten'",
    )
    .await;
    assert!(is_known(&house, 1).await);

    house.store.maintain(house.now).await.expect("maintained");
    let left: i64 = scalar(&mut conn, "SELECT count(*) FROM idempotency").await;
    assert_eq!(left, 1);
    assert!(!is_known(&house, 1).await);
    assert!(is_known(&house, 2).await);
    for parent in ["event", "attempt"] {
        let tables = tables(&mut conn, parent).await;
        assert!(!tables.contains(&format!("{parent}_20200101")));
    }
}

#[tokio::test]
async fn an_event_that_comes_into_a_forgotten_day_is_delivered() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = inside(&schema).await;
    let names = ["event_20200101", "attempt_20200101"];
    publish_at(&house, 1, LONG_AGO, &mut conn).await;
    deliver(&house, 1).await;
    house.store.maintain(house.now).await.expect("maintained");
    let forget = || forget_before(&house, LONG_AGO + DAY);
    assert_eq!(forget().await, 1);

    let at = LONG_AGO + Duration::from_secs(1);
    let late = publish_at(&house, 2, at, &mut conn).await;
    house.store.maintain(house.now).await.expect("maintained");
    for (parent, name) in ["event", "attempt"].into_iter().zip(names) {
        let tables = tables(&mut conn, parent).await;
        assert!(tables.contains(&name.to_owned()));
    }
    assert!(is_known(&house, 2).await, "its key is there as well");
    deliver(&house, 1).await;
    let record = house.store.event(late).await.expect("an event");
    assert_eq!(record.deliveries[0].attempts, 1);

    // It is a day like any other.
    assert_eq!(forget().await, 1);
    assert!(!is_known(&house, 2).await);
    house.store.maintain(house.now).await.expect("maintained");
    for (parent, name) in ["event", "attempt"].into_iter().zip(names) {
        let tables = tables(&mut conn, parent).await;
        assert!(!tables.contains(&name.to_owned()));
    }
}

// === futures that are dropped ===

/// Lets it go on for so long, then drops it. Returns whether it was through.
async fn drop_after(future: impl Future, after: Duration) -> bool {
    tokio::time::timeout(after, future).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_future_leaves_no_transaction_open() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = connect(&schema).await;
    // Each was dropped in the midst of something, and needs a new connection: so it takes some time to be through.
    let (mut after, mut is_through) = (Duration::ZERO, false);
    while !is_through {
        is_through = drop_after(house.store.hold(worker(1), Shards::default()), after).await;
        drop_after(
            house.store.pause(
                house.store.list(None).await.expect("a list")[0].id,
                house.now,
            ),
            after,
        )
        .await;
        after += Duration::from_micros(250);
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND application_name = 'tharsis'
                AND query NOT LIKE 'COMMIT' AND pid IN (SELECT pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                                                        WHERE c.relnamespace = 'SCHEMA'::regnamespace)";
    let open = open.replace("SCHEMA", &schema.name);
    while scalar::<i64>(&mut conn, &open).await > 0 {
        tokio::task::yield_now().await;
    }
    // The lease is as good as before.
    let lease = house
        .store
        .hold(worker(1), Shards::default())
        .await
        .expect("a lease");
    house.store.publish(&[event(1)]).await.expect("published");
    let pointers = house.until_there_are(1).await;
    house
        .store
        .route(&lease, &[house.routed(&pointers[0])])
        .await
        .expect("routed");
    let due = house.due().await;
    let settled = house
        .store
        .settle(&lease, &[house.delivered(&due[0])])
        .await;
    assert_eq!(settled.expect("settled"), []);
}

#[test]
fn futures_and_stores_may_be_dropped_outside_of_a_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (schema, house) = runtime.block_on(async {
        let schema = Schema::new().await;
        let house = House::new(&schema).await;
        house.store.changed(&house.lease).await.expect("asked");
        (schema, house)
    });
    let mut holding = Box::pin(house.store.hold(worker(1), Shards::default()));
    {
        let _inside = runtime.enter();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..20 {
            if holding.as_mut().poll(&mut cx).is_ready() {
                break;
            }
            runtime.block_on(tokio::time::sleep(Duration::from_micros(300)));
        }
    }
    drop(holding);
    let other = house.store.clone();
    house.store.disown();
    drop(house);
    drop(other);
    drop(runtime);
    drop(schema);
}

// === whose schema it is ===

/// A role of a story's own, which is [gone](Self::gone) at its end.
struct Role<'s> {
    schema: &'s Schema,
    name: String,
}

impl<'s> Role<'s> {
    async fn new(schema: &'s Schema, attributes: &str) -> Self {
        let name = format!("{}_role", schema.name);
        let mut conn = connect(schema).await;
        run(&mut conn, &format!("CREATE ROLE {name} {attributes}")).await;
        Self { schema, name }
    }

    /// The outbox as this role has it.
    fn url(&self) -> String {
        format!("{}&options=-c role={}", self.schema.url(), self.name)
    }

    async fn gone(self) {
        let mut conn = connect(self.schema).await;
        run(
            &mut conn,
            &format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name),
        )
        .await;
    }
}

#[tokio::test]
async fn who_may_make_nothing_in_a_schema_is_told_so() {
    let schema = Schema::missing();
    let role = Role::new(&schema, "").await;
    let url = role.url();
    let migrate = async || {
        let migrated = PostgresStore::migrate(&url, schema.options()).await;
        migrated.map_err(|refused| code(&refused).to_owned())
    };
    let not_permitted = Err("not_permitted".to_owned());
    // Not to make the schema either.
    assert_eq!(migrate().await, not_permitted);
    let mut conn = connect(&schema).await;
    run(&mut conn, &format!("CREATE SCHEMA {}", schema.name)).await;
    assert_eq!(migrate().await, not_permitted);
    for right in ["USAGE", "CREATE"] {
        assert_eq!(migrate().await, not_permitted, "before {right}");
        let grant = format!("GRANT {right} ON SCHEMA {} TO {}", schema.name, role.name);
        run(&mut conn, &grant).await;
    }
    assert_eq!(migrate().await, Ok(ALL.map(str::to_owned).to_vec()));
    assert_eq!(migrate().await, Ok(Vec::new()));
    role.gone().await;
}

/// What others make in it would be found by functions that run with the rights of their owner.
#[tokio::test]
async fn a_schema_in_which_everybody_may_make_something_is_not_migrated() {
    let schema = Schema::missing();
    let migrate = async || {
        let migrated = PostgresStore::migrate(&schema.url(), schema.options()).await;
        migrated.map_err(|refused| code(&refused).to_owned())
    };
    let mut conn = connect(&schema).await;
    let name = &schema.name;
    let open = format!("GRANT CREATE ON SCHEMA {name} TO PUBLIC");
    let close = format!("REVOKE CREATE ON SCHEMA {name} FROM PUBLIC");
    run(&mut conn, &format!("CREATE SCHEMA {name}; {open}")).await;
    assert_eq!(migrate().await, Err("schema_open".to_owned()));
    run(&mut conn, &close).await;
    assert_eq!(migrate().await, Ok(ALL.map(str::to_owned).to_vec()));
    run(&mut conn, &open).await;
    assert_eq!(migrate().await, Err("schema_open".to_owned()));
}

#[tokio::test]
async fn functions_look_nowhere_but_in_their_schema() {
    let schema = Schema::new().await;
    let mut conn = connect(&schema).await;
    let pinned = format!(
        "SELECT array_agg(DISTINCT path) FROM pg_proc, unnest(proconfig) AS path
         WHERE pronamespace = '{}'::regnamespace AND prosecdef AND path LIKE 'search_path=%'",
        schema.name
    );
    let pinned: Vec<String> = scalar(&mut conn, &pinned).await;
    assert_eq!(pinned, [format!("search_path={}, pg_temp", schema.name)]);
    let unpinned = format!(
        "SELECT count(*) FROM pg_proc WHERE pronamespace = '{}'::regnamespace AND prosecdef
             AND NOT coalesce(proconfig::text LIKE '%search_path=%', false)",
        schema.name
    );
    assert_eq!(scalar::<i64>(&mut conn, &unpinned).await, 0);
}

#[tokio::test]
async fn a_schema_is_migrated_from_where_the_key_is_not() {
    let schema = Schema::missing();
    let here = schema.options();
    PostgresStore::migrate(&schema.url(), here.clone())
        .await
        .expect("migrates");
    let folder = tempfile::tempdir().expect("a folder");
    let elsewhere = Options {
        key_file: Some(folder.path().join("tharsis.key")),
        ..here
    };
    let again = PostgresStore::migrate(&schema.url(), elsewhere.clone()).await;
    assert_eq!(again.expect("migrates"), [""; 0]);
    let made = folder.path().read_dir().expect("it is there").count();
    assert_eq!(made, 0, "no second key");
    assert_eq!(refused(&schema.url(), elsewhere).await, "key_missing");
}

#[tokio::test]
async fn a_server_that_is_full_says_what_to_do() {
    let schema = Schema::new().await;
    let role = Role::new(&schema, "LOGIN PASSWORD 'story' CONNECTION LIMIT 0").await;
    let url = format!("{}&user={}&password=story", schema.url(), role.name);
    let full = PostgresStore::open(&url, schema.options())
        .await
        .expect_err("refused");
    let StoreError::Unusable { code, hint, .. } = &full else {
        panic!("{full:?}");
    };
    assert_eq!(*code, "database_refused");
    assert!(hint.contains("max_connections"), "{hint}");
    role.gone().await;
}
