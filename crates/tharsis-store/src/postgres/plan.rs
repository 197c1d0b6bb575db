//! The ways that statements take through the tables, as the server says of each that it really carries out: none walks a
//! table that grows, and none looks at more rows than were asked for and one for each lane.
//!
//! The statistics are of empty tables, as in service, and plans are made then and kept, or made anew each time. A
//! backlog of 1,000 rows lies in the lane that is read, in a dead one, in the outbox and in the history;
//! `TEST_BACKLOG=1000000` makes it a million.

#[path = "../../tests/contract/schema.rs"]
mod schema;

use std::{
    fmt::Debug,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tharsis_core::{
    ClientId, Timestamp, WorkerId,
    delivery::{End, Spent},
    egress::Policy,
    event::{Event, EventType},
    profile::Profiles,
    subscription::{Credentials, Draft, Settings},
};
use tracing::{
    Event as Traced, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use self::schema::Schema;
use super::{PostgresStore, campaign, filter, history, settled, unfinished};
use crate::order::LET_GO;
use crate::{
    Attempt, Campaign, DeliveryFilter, Due, Fate, LaneRead, Lease, Outbox, Pointer, Registry,
    ReplayChoice, ReplayDraft, RouteTo, Routed, Settlement, Shards, Status,
};

/// What grows with what is published. Beside these are shards, workers, the revision and the registry.
const GROWING: [&str; 5] = ["event", "outbox", "idempotency", "delivery", "attempt"];

const LANES: u32 = 20;

/// Asks the server to say how it carried out each statement.
const EXPLAIN: &str = "&options=-c session_preload_libraries=auto_explain -c auto_explain.log_level=notice \
    -c auto_explain.log_min_duration=0 -c auto_explain.log_analyze=on -c auto_explain.log_timing=off \
    -c auto_explain.log_nested_statements=on -c auto_explain.log_format=json";

/// Takes down what the server says.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::postgres::notice"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Traced<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Said {
    fn record_str(&mut self, _: &Field, value: &str) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.push(value.to_owned());
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl Said {
    /// The plans of the statements that this makes, by their text.
    async fn during<T>(&self, work: impl Future<Output = T>) -> (T, Vec<Value>) {
        let take = || std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        take();
        let done = work.await;
        let plans = take()
            .iter()
            .filter_map(|said| said.split_once("plan:\n"))
            .map(|(_, plan)| serde_json::from_str(plan).expect("JSON"))
            .collect();
        (done, plans)
    }
}

/// A table, and how many of its rows one step looked at, those that were no use included.
#[derive(Debug)]
struct Step {
    node: String,
    table: String,
    rows: f64,
}

fn steps(plan: &Value, found: &mut Vec<Step>) {
    let number = |name: &str| plan.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let text = |name: &str| plan.get(name).and_then(Value::as_str).unwrap_or("");
    let node = text("Node Type");
    if node.ends_with("Scan") {
        let rows = number("Actual Rows")
            + number("Rows Removed by Filter")
            + number("Rows Removed by Index Recheck");
        found.push(Step {
            node: node.to_owned(),
            table: text("Relation Name").to_owned(),
            rows: rows * number("Actual Loops"),
        });
    }
    for part in plan
        .get("Plans")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        steps(part, found);
    }
}

fn check(plans: &[Value], expected: &str, most: u32) {
    let mut is_there = false;
    for plan in plans {
        let statement = plan["Query Text"].as_str().unwrap_or("");
        is_there |= statement.contains(expected);
        let mut found = Vec::new();
        steps(&plan["Plan"], &mut found);
        for step in found {
            let grows = GROWING
                .iter()
                .any(|table| step.table == *table || step.table.starts_with(&format!("{table}_2")));
            let is_walked = step.node == "Seq Scan" && step.rows > 0.0;
            assert!(
                !(grows && (is_walked || step.rows > f64::from(most))),
                "{step:?}, where {most} were asked for:\n{statement}\n{plan:#}"
            );
        }
    }
    assert!(
        is_there,
        "{expected} was not made, or the server does not say how"
    );
}

fn client(n: u8) -> ClientId {
    format!("b4aeba4e-a4c0-4896-866a-0000000000{n:02x}")
        .parse()
        .expect("a UUID")
}

/// In the shards of the outbox: one with little in it, one with the backlog, and one with another backlog.
const QUIET: u8 = 1;
const BUSY: u8 = 2;
const DEAD: u8 = 3;

fn event(of: u8, n: u32) -> Event {
    let text = format!(
        r#"{{"type":"ticket","client":"{}","payload":{{"n":{n}}}}}"#,
        client(of)
    );
    Event::parse(text.as_bytes()).expect("an event")
}

fn settings(n: u32) -> Settings {
    let draft = Draft {
        client: client(QUIET).to_string(),
        name: format!("hooks {n}"),
        url: "https://hooks.example.com/in".to_owned(),
        ..Draft::default()
    };
    let mut settings = draft
        .settings(&Policy::default(), &Profiles::default())
        .expect("settings");
    settings.events = vec![EventType::new("ticket").expect("a type")];
    settings
}

struct World {
    said: Said,
    store: PostgresStore,
    lease: Lease,
    now: Timestamp,
    lanes: Vec<i64>,
    conn: PgConnection,
    schema: Schema,
}

impl World {
    /// Tables that are empty, and whose statistics say so whatever comes.
    async fn new(said: Said, mode: &str) -> Self {
        let schema = Schema::new().await;
        let mut conn = PgConnection::connect(&schema.database)
            .await
            .expect("connects");
        let empty = format!(
            "SET search_path = {};
             DO $$
             DECLARE t record;
             BEGIN
                 FOR t IN SELECT oid::regclass AS name, relkind FROM pg_class
                          WHERE relnamespace = current_schema::regnamespace AND relkind IN ('r', 'p') LOOP
                     IF t.relkind = 'r' THEN
                         EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', t.name);
                     END IF;
                     EXECUTE format('ANALYZE %s', t.name);
                 END LOOP;
             END $$;",
            schema.name
        );
        run(&mut conn, &empty).await;
        let url = format!("{}{EXPLAIN}", schema.url());
        let store = PostgresStore::open(&url, schema.options())
            .await
            .expect("opens");
        plan_by(&store, mode).await;
        let lease = store
            .hold(
                WorkerId::new(Timestamp::from_millis(1), [1; 10]),
                Shards::default(),
            )
            .await
            .expect("a lease");
        let now = lease.clock;
        for n in 0..LANES {
            store
                .add(&settings(n), &Credentials::default(), now)
                .await
                .expect("added");
        }
        let snapshot = store.snapshot().await.expect("a snapshot");
        Self {
            said,
            store,
            lease,
            now,
            lanes: snapshot.targets.iter().map(|(lane, _)| *lane).collect(),
            conn,
            schema,
        }
    }

    async fn lie(&mut self, backlog: u32) {
        let (busy, dead, waiting) = (self.lanes[0], self.lanes[1], self.lanes[2]);
        let fill = format!(
            "WITH e AS (
                 INSERT INTO event (id, type, client, frozen, payload)
                 SELECT new_id(), 'ticket', '{busy_client}', true, '{{}}' FROM generate_series(1, {backlog})
                 RETURNING id
             ), f AS (
                 INSERT INTO event (id, type, client, frozen, payload)
                 SELECT new_id(), 'ticket', '{dead_client}', true, '{{}}' FROM generate_series(1, {backlog})
                 RETURNING id
             ), g AS (
                 INSERT INTO event (id, type, client, frozen, payload)
                 SELECT new_id(), 'ticket', '{dead_client}', true, '{{}}' FROM generate_series(1, {backlog})
                 RETURNING id
             ), d AS (
                 INSERT INTO delivery (subscription, due_at, seq, event)
                 SELECT s, now() - interval '1 hour', nextval('seq'), id FROM e, unnest(ARRAY[{busy}, {dead}]) s
             ), w AS (
                 INSERT INTO delivery (subscription, lane, due_at, seq, event, order_key)
                 SELECT {waiting}, 3, now() - interval '1 hour', nextval('seq'), id, 7 FROM g
             ), o AS (
                 INSERT INTO outbox (shard, event, client, type, published_at, size, frozen)
                 SELECT shard_of(c), id, c, 'ticket', now(), 2, true
                 FROM (SELECT id, '{busy_client}'::uuid AS c FROM e UNION ALL SELECT id, '{dead_client}' FROM f) p
             ), a AS (
                 INSERT INTO attempt (event, subscription, number, at, duration_us, code, ended)
                 SELECT id, {dead} + 1000, 1, now(), 1, 'http_500', 'dead' FROM e
             )
             INSERT INTO idempotency (key, event) SELECT substring(sha256(uuid_send(id)) FOR 16), id FROM e",
            busy_client = client(BUSY),
            dead_client = client(DEAD),
        );
        run(&mut self.conn, &fill).await;
    }

    /// Everything that the engine and publishers do, once.
    async fn round(&mut self, n: u32) {
        self.publish(n).await;
        let pointers = self.pointers().await;
        self.route(&pointers).await;
        let due = self.due().await;
        self.settle(&due).await;
        self.command(&due).await;
        self.order().await;
        self.replay().await;
        self.lists().await;
        self.unfinished().await;
        self.campaign().await;
    }

    /// What ended dead, and what one was never delivered: a chunk at a time, and as much of it as there is room for.
    async fn replay(&mut self) {
        const CHUNK: u32 = 500;
        let dead = DeliveryFilter {
            status: vec![Status::Ended(End::Dead)],
            ..DeliveryFilter::default()
        };
        let of = self.store.list(None).await.expect("a list")[4].id;
        for choice in [
            ReplayChoice::Filter(dead),
            ReplayChoice::Missing(of, DeliveryFilter::default()),
        ] {
            let draft = ReplayDraft::new(choice);
            let asked = self.store.replay(&draft, self.now).await.expect("asked");
            let mut chunks = 0;
            loop {
                let work = self.store.work_off(&self.lease, self.now);
                let (done, plans) = self.said.during(work).await;
                if !done.expect("worked off").more {
                    break;
                }
                chunks += 1;
                check(&plans, "replay_part", CHUNK + CHUNK / 4);
                // In a long history there are more, all alike.
                if chunks == 5 {
                    break;
                }
            }
            assert!(chunks > 0, "nothing was looked at");
            drop(self.store.cancel_replay(asked.id, self.now).await);
        }
        run(&mut self.conn, "DELETE FROM delivery WHERE replay > 0").await;
    }

    /// However little matches, so many rows are looked at.
    async fn lists(&self) {
        const LOOKED: u32 = 100;
        let of = |status: &[Status], campaign: Option<&str>| DeliveryFilter {
            status: status.to_vec(),
            campaign: campaign.map(ToOwned::to_owned),
            ..DeliveryFilter::default()
        };
        let ended = Status::Ended;
        for wanted in [
            of(&[], None),
            of(&[], Some("none")),
            of(&[Status::Held], None),
            of(&[ended(End::Dead)], Some("none")),
            of(&[ended(End::Cancelled)], None),
            of(&[ended(End::Delivered)], Some("none")),
        ] {
            let page = history::page(&self.store, &wanted, None, 20, LOOKED as usize);
            let (found, plans) = self.said.during(page).await;
            found.expect("a page");
            for statement in [filter::FRONTIER, filter::NEWEST_FIRST, history::ROWS] {
                // And the rest of the last event's.
                check(&plans, statement, LOOKED + 10);
            }
        }
    }

    /// However much waits, so many rows are counted.
    async fn unfinished(&self) {
        const COUNTED: u32 = 100;
        for of in [None, Some(client(QUIET))] {
            let count = self.store.unfinished(of, None, COUNTED.into());
            let (found, plans) = self.said.during(count).await;
            found.expect("counted");
            // PostgreSQL tells the rows of a loop rounded, and there is one for each subscription and lane.
            check(&plans, unfinished::UNFINISHED, COUNTED + COUNTED / 10);
        }
    }

    /// What was settled later than all that lies there, once pages are summed up, as autovacuum does it.
    async fn follow(&mut self) {
        let sum_up = "SELECT brin_summarize_new_values(c.oid)
             FROM pg_class c
             JOIN pg_am a ON a.oid = c.relam
             WHERE a.amname = 'brin' AND c.relkind = 'i' AND c.relnamespace = current_schema::regnamespace";
        run(&mut self.conn, sum_up).await;
        let later = self.now + Duration::from_secs(60 * 60);
        let any = DeliveryFilter::default();
        let read = self.store.settled(&any, later, 100);
        let (found, plans) = self.said.during(read).await;
        assert_eq!(found.expect("read").items, []);
        check(&plans, settled::SETTLED, 100);
    }

    /// What is of no campaign, or of another one, is not looked at.
    async fn campaign(&self) {
        let none = Campaign {
            client: client(BUSY),
            name: "none".to_owned(),
            recipient: None,
        };
        let report = campaign::report(&self.store, &none);
        let (report, plans) = self.said.during(report).await;
        report.expect("a report");
        for statement in [campaign::STATES, campaign::LAST_MINUTE, campaign::SLOWEST] {
            check(&plans, statement, 0);
        }
    }

    /// A key of the third lane waits for nobody: some are let go, and the rest waits for the last of them.
    async fn order(&self) {
        let waiting = self.lanes[2];
        let (blocked, plans) = self
            .said
            .during(self.store.blocked(&self.lease, &[waiting]))
            .await;
        let blocked = blocked.expect("asked");
        check(&plans, super::order::BLOCKED_OF, 4);
        let all = self.said.during(self.store.blocked(&self.lease, &[]));
        check(&all.await.1, super::order::BLOCKED, 4);
        let keys: Vec<_> = blocked.iter().map(|one| (waiting, one.key)).collect();
        let (done, plans) = self
            .said
            .during(self.store.let_go(&self.lease, &keys))
            .await;
        assert_eq!(done.expect("let go").len(), keys.len());
        check(&plans, super::order::LET_GO, LET_GO + 1);
    }

    async fn publish(&mut self, n: u32) {
        // The text of any program's comes first in its shard.
        let sql = format!(
            r#"SELECT publish('ticket', '{}', '{{"sql": {n}}}')"#,
            client(QUIET)
        );
        run(&mut self.conn, &sql).await;
        let events: Vec<Event> = (0..30).map(|k| event(QUIET, n * 100 + k % 20)).collect();
        let (published, plans) = self.said.during(self.store.publish(&events)).await;
        assert_eq!(published.expect("published").len(), 30);
        check(&plans, "publish_frozen", 30);
        let (again, plans) = self.said.during(self.store.publish(&events)).await;
        assert!(
            again
                .expect("published")
                .iter()
                .all(|one| one.as_ref().is_ok_and(|one| one.duplicate))
        );
        check(&plans, "CROSS JOIN LATERAL (SELECT i.event", 30);
    }

    async fn pointers(&mut self) -> Vec<Pointer> {
        let (changed, plans) = self.said.during(self.store.changed(&self.lease)).await;
        assert!(changed.expect("asked").anything);
        check(&plans, super::pointers::LOOK, 64);
        let (pointers, plans) = self.said.during(self.store.pointers(&self.lease, 50)).await;
        check(&plans, super::pointers::POINTERS, 50 + 64);
        let events = pointers.expect("pointers").events;
        assert!(events.iter().any(|pointer| pointer.unfrozen.is_some()));
        check(&plans, super::pointers::UNFROZEN, 50 + 64);
        events
    }

    async fn route(&self, pointers: &[Pointer]) {
        let routed: Vec<Routed> = pointers
            .iter()
            .map(|pointer| self.routed(pointer))
            .collect();
        let (done, plans) = self
            .said
            .during(self.store.route(&self.lease, &routed))
            .await;
        done.expect("routed");
        check(
            &plans,
            super::route::ROUTE,
            u32::try_from(pointers.len()).expect("few"),
        );
    }

    /// To five lanes, of which one is over its limit.
    fn routed(&self, pointer: &Pointer) -> Routed {
        let frozen = pointer.unfrozen.as_ref();
        Routed {
            seq: pointer.seq,
            to: (2..7)
                .map(|at| RouteTo {
                    subscription: self.lanes[at],
                    due_at: self.now,
                    ends: (at == 6).then_some((End::Refused, "payload_too_large")),
                })
                .collect(),
            frozen: frozen
                .map(|text| Event::freeze(&pointer.event_type, pointer.client, text).map(Box::new)),
        }
    }

    async fn due(&self) -> Vec<Due> {
        let (lanes, plans) = self.said.during(self.store.lanes(&self.lease)).await;
        assert!(lanes.expect("lanes").len() >= 4);
        check(&plans, super::due::LANES, LANES);
        let lanes: Vec<LaneRead> = self
            .lanes
            .iter()
            .map(|lane| LaneRead {
                subscription: *lane,
                after: None,
                limit: 15,
                named: false,
            })
            .collect();
        let (rows, plans) = self
            .said
            .during(self.store.due(&self.lease, &lanes, self.now))
            .await;
        let due = rows.expect("due").due;
        let asked = u32::try_from(due.len()).expect("few");
        check(&plans, super::due::DUE, asked + LANES);
        due
    }

    async fn settle(&self, due: &[Due]) {
        let settlements: Vec<Settlement> = due
            .iter()
            .zip(0..)
            .map(|(d, n)| self.settlement(d, n))
            .collect();
        let most = u32::try_from(due.len()).expect("few");
        let (left, plans) = self
            .said
            .during(self.store.settle(&self.lease, &settlements))
            .await;
        assert_eq!(left.expect("settled"), []);
        check(&plans, super::settle::SETTLE, most);
        // The answer was lost, and all of it comes again: successes count, the rest is left alone.
        let (left, plans) = self
            .said
            .during(self.store.settle(&self.lease, &settlements))
            .await;
        assert!(left.expect("settled").len() >= settlements.len() / 3);
        check(&plans, super::settle::SETTLE, most);
    }

    fn settlement(&self, due: &Due, n: u32) -> Settlement {
        let fate = match n % 3 {
            0 => Fate::Ended(End::Delivered),
            1 => Fate::Ended(End::Dead),
            _ => Fate::Again {
                due_at: self.now + Duration::from_secs(600),
                spent: Spent {
                    tries: 1,
                    waited_ms: 600_000,
                },
            },
        };
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
                detail: None,
            }),
            fate,
            key: None,
            suspend: None,
            certificate_ends: None,
        }
    }

    async fn command(&self, due: &[Due]) {
        for (due, n) in due.iter().zip(0..) {
            if n % 3 == 2 {
                self.store.retry(due.id, self.now).await.expect("asked for");
            }
        }
        loop {
            let work = self.store.work_off(&self.lease, self.now);
            let (done, plans) = self.said.during(work).await;
            if !done.expect("worked off").more {
                return;
            }
            let most = u32::try_from(due.len()).expect("few");
            check(&plans, "delivery", most + 1);
        }
    }
}

async fn run(conn: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(conn)
        .await
        .expect(statements);
}

/// Plans that are made once and kept, or anew each time, on every connection that there will be.
async fn plan_by(store: &PostgresStore, mode: &str) {
    let set = format!("SET plan_cache_mode = {mode}");
    for (pool, most) in [
        (&store.0.engine, 4),
        (&store.0.publishes, 3),
        (&store.0.lists, 2),
    ] {
        let mut all = Vec::new();
        for _ in 0..most {
            let mut conn = pool.get().await.expect("a connection");
            run(&mut conn, &set).await;
            all.push(conn);
        }
    }
}

async fn holds(mode: &str) {
    let backlog = std::env::var("TEST_BACKLOG").map_or(1_000, |n| n.parse().expect("a number"));
    let said = Said::default();
    let _listening = tracing::subscriber::set_default(said.clone());
    let mut world = World::new(said, mode).await;
    for n in 0..3 {
        world.round(n).await;
    }
    world.lie(backlog).await;
    for n in 3..6 {
        world.round(n).await;
    }
    world.follow().await;
    drop(world.store);
    drop(world.schema);
}

#[tokio::test]
async fn with_plans_that_are_kept_nothing_is_walked() {
    holds("force_generic_plan").await;
}

#[tokio::test]
async fn with_plans_that_are_made_anew_nothing_is_walked() {
    holds("force_custom_plan").await;
}

/// That the server is heard, and a walk seen.
#[tokio::test]
#[should_panic(expected = "where 30 were asked for")]
async fn what_walks_is_noticed() {
    let said = Said::default();
    let _listening = tracing::subscriber::set_default(said.clone());
    let mut world = World::new(said, "force_generic_plan").await;
    world.lie(100).await;
    let mut conn = world.store.0.engine.get().await.expect("a connection");
    let walk = "SELECT count(*) FROM delivery WHERE attempts = 7";
    let walked = sqlx::query(walk).execute(&mut *conn);
    let (_, plans) = world.said.during(walked).await;
    check(&plans, walk, 30);
}
