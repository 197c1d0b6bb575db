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
    subscription::{Draft, Settings},
};
use tharsis_store::{
    Attempt, Fate, LaneRead, Lease, Outbox, Pointer, Registry, Remaining, RouteTo, Routed,
    Settlement, Shards, StoreError,
    postgres::{Options, PostgresStore},
};

use crate::schema::Schema;

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";
const DAY: Duration = Duration::from_secs(86_400);

fn event(n: u32) -> Event {
    let text = format!(r#"{{"type":"signal","client":"{CLIENT}","payload":{{"n":{n}}}}}"#);
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
    let mut settings = draft.settings(&Policy::default()).expect("settings");
    settings.events = vec![EventType::new("signal").expect("a type")];
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
        store.add(&settings(), None, now).await.expect("added");
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
            disable: None,
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
    assert_eq!(migrated.expect("migrates"), ["outbox"]);
    open(&schema).await;
    let key = options().key_file.expect("a key file");
    let kept = key.with_extension("kept");
    std::fs::rename(&key, &kept).expect("moved");
    assert_eq!(refused(&schema.url(), options()).await, "key_missing");
    std::fs::write(&key, "tharsis key").expect("written");
    assert_eq!(refused(&schema.url(), options()).await, "key_wrong");
    std::fs::rename(&kept, &key).expect("moved");

    let mut conn = inside(&schema).await;
    run(&mut conn, "UPDATE migration SET version = 99").await;
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
    assert_eq!(names, ["outbox"], "one of them did it");
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

// === publishing by SQL ===

#[tokio::test]
async fn any_program_publishes() {
    let schema = Schema::new().await;
    let house = House::new(&schema).await;
    let mut conn = connect(&schema).await;
    let tharsis = &schema.name;
    let first: uuid::Uuid = scalar(
        &mut conn,
        &format!(r#"SELECT {tharsis}.publish('signal', '{CLIENT}', '{{"n": 1, "m": 1.50}}', campaign => 'spring', not_before => '2026-01-01')"#),
    )
    .await;
    let batch = format!(
        r#"SELECT array_agg(duplicate) FROM {tharsis}.publish_all('{{signal,signal,signal}}', array_fill('{CLIENT}'::uuid, '{{3}}'),
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
        let publish = format!("SELECT {tharsis}.publish('signal', '{CLIENT}', '{payload}', {key})");
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
    let other = format!("SELECT {tharsis}.publish('signal', '{CLIENT}', '{{}}', 'b')");
    assert_eq!(detail(&mut conn, &other).await, "idempotency_conflict");
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
            "SELECT publish('signal', NULL, '{}')".to_owned(),
            "bad_client",
        ),
        (
            format!("SELECT publish('signal', '{c}', NULL)"),
            "payload_missing",
        ),
        (
            format!("SELECT publish('signal', '{c}', repeat('x', 262145))"),
            "payload_too_large",
        ),
        (
            format!("SELECT publish('signal', '{c}', '{{}}', 'no key')"),
            "bad_idempotency_key",
        ),
        (
            format!("SELECT publish('signal', '{c}', '{{}}', '')"),
            "bad_idempotency_key",
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
    let largest = format!("SELECT publish('signal', '{c}', repeat('x', 262144))");
    let _: uuid::Uuid = scalar(&mut conn, &largest).await;
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
    let publish = format!("SELECT {tharsis}.publish('signal', '{CLIENT}', '{{}}')");
    let _: uuid::Uuid = scalar(&mut other, &publish).await;
    let left = store
        .remaining(Timestamp::from_millis(0))
        .await
        .expect("counted");
    assert_eq!(left.unrouted, 1);
    for statement in [
        format!("SELECT * FROM {tharsis}.event"),
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
    let forget = || house.store.drop_before(then + DAY);

    assert_eq!(
        house.store.drop_before(then).await.expect("nothing"),
        [""; 0],
        "its day is not over by then"
    );
    assert_eq!(
        code(&forget().await.expect_err("not routed")),
        "not_finished"
    );
    let pointers = house.until_there_are(2).await;
    house.route(&pointers).await;
    assert_eq!(
        code(&forget().await.expect_err("not delivered")),
        "not_finished"
    );
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

    assert_eq!(
        forget().await.expect("forgotten"),
        ["event_20200101", "attempt_20200101"]
    );
    assert_eq!(forget().await.expect("nothing more"), [""; 0]);
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
