//! What a delivery may cost. Statements, bytes of log and allocations are counted, for counts stay the same where times
//! do not; each story says what it found.

use allocation_counter::AllocationInfo;
use sqlx::{Connection, PgConnection};
use tharsis::{Emitter, Event};
use tharsis_tests::{ALPHA, Database, Inbox, Subscribe, World};
use tokio::runtime::Builder;

const DELIVERIES: usize = 5_000;

/// What one delivery of a drain may cost: routed, read, sent, settled.
struct Budget {
    allocations: u64,
    allocated_bytes: u64,
}

/// Delivers so many and says what the engine's thread allocated for each: the receiver works on others.
fn allocated(world: &World, url: &str) -> AllocationInfo {
    let options = world.options();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a thread is enough");
    let mut delivered = 0;
    let mut total = allocation_counter::measure(|| {
        let summary = runtime.block_on(async {
            let emitter = Emitter::open(url, options).await?;
            emitter.run_until_idle(std::future::pending()).await
        });
        delivered = summary.expect("nothing fails").delivered;
    });
    assert_eq!(delivered, DELIVERIES as u64);
    total.count_total /= delivered;
    total.bytes_total /= delivered;
    total
}

impl Budget {
    #[track_caller]
    fn holds(&self, on: &str, spent: AllocationInfo) {
        let (count, bytes) = (spent.count_total, spent.bytes_total);
        say(&format!(
            "{on}: {count} allocations of {bytes} bytes a delivery"
        ));
        assert!(count <= self.allocations, "{count} allocations a delivery");
        assert!(
            bytes <= self.allocated_bytes,
            "{bytes} bytes allocated a delivery"
        );
    }
}

#[expect(
    clippy::print_stderr,
    reason = "figures are for whoever reads the test's output"
)]
fn say(figures: &str) {
    eprintln!("{figures}");
}

/// A world with a backlog, in which nobody else works.
fn backlog(on: Database) -> (World, Inbox) {
    let world = World::alone_on(on);
    let shop = world.receiver("shop").start();
    // As many as the benchmarks have under way: what is settled together depends on it.
    world.subscribe(&Subscribe::new(ALPHA, &shop).max_in_flight(64));
    world.publish(&world.predictions(ALPHA, DELIVERIES));
    (world, shop)
}

#[test]
fn a_delivery_from_sqlite() {
    let (world, shop) = backlog(Database::Sqlite);
    let spent = allocated(&world, &world.database_url());
    let budget = Budget {
        allocations: 95,
        allocated_bytes: 38_000,
    };
    budget.holds("SQLite", spent);
    assert_eq!(shop.count(), DELIVERIES);
}

#[test]
fn a_delivery_from_postgresql() {
    let (world, shop) = backlog(Database::Postgres);
    let wire = world.wire();
    let mut admin = world.connect();
    let before = log_bytes(&world, &mut admin);
    let spent = allocated(&world, wire.url());
    let log = (log_bytes(&world, &mut admin) - before) / DELIVERIES as u64;
    let budget = Budget {
        allocations: 100,
        allocated_bytes: 40_000,
    };
    budget.holds("PostgreSQL", spent);
    assert_eq!(shop.count(), DELIVERIES);

    let (statements, round_trips) = (wire.statements(), wire.round_trips());
    say(&format!(
        "PostgreSQL: {statements} statements and {round_trips} round trips for {DELIVERIES} deliveries, {log} bytes of log each"
    ));
    assert!(
        statements * 10 <= DELIVERIES as u64,
        "{statements} statements"
    );
    // The pool asks each connection that comes back whether it is still there: two for a statement.
    assert!(
        round_trips * 5 <= DELIVERIES as u64,
        "{round_trips} round trips"
    );
    assert!(log <= 1_000, "{log} bytes of write-ahead log a delivery");
}

/// What the server has written to its log so far, whoever asked for it.
fn log_bytes(world: &World, admin: &mut PgConnection) -> u64 {
    let bytes = sqlx::query_scalar::<_, i64>(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint",
    );
    let bytes = world.block_on(bytes.fetch_one(admin));
    bytes.expect("the log is counted").unsigned_abs()
}

#[test]
fn a_publish_in_the_callers_transaction_is_one_round_trip() {
    let world = World::on(Database::Postgres);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let wire = world.wire();
    let emitter = world.emitter();
    let lines = world.predictions(ALPHA, 20);
    let events = lines.iter().map(|line| Event::parse(line.text.as_bytes()));
    let events: Vec<Event> = events.collect::<Result<_, _>>().expect("good events");
    // A driver of any engine, which knows nothing of our schema.
    let plain = wire
        .url()
        .replace(&format!("schema={}&", world.schema()), "");
    world.block_on(async {
        let mut engine = PgConnection::connect(&plain).await.expect("connects");
        let mut transaction = engine.begin().await.expect("begins");
        for (event, n) in events.iter().zip(0..) {
            let before = wire.round_trips();
            let published = emitter.publish_in(&mut transaction, event).await;
            assert!(!published.expect("published").duplicate);
            let took = wire.round_trips() - before;
            // The first one of a connection is prepared.
            let most = if n == 0 { 2 } else { 1 };
            assert!(took <= most, "publish {n} took {took} round trips");
        }
        transaction.commit().await.expect("commits");
    });
    world.run_until_idle();
    shop.assert_received_once(&lines);
}
