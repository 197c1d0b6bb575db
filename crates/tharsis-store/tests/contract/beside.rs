//! What happens beside each other in PostgreSQL, where SQLite has one writer: registries, routers, workers, settles.

use std::{pin::pin, time::Duration};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tharsis_core::{
    DeliveryId, Timestamp,
    delivery::End,
    subscription::{Credentials, Held, Subscription},
};
use tharsis_store::{
    Anew, Attempt, DeliveryFilter, Due, Fate, LaneRead, Lease, Outbox, Registry, ReplayChoice,
    ReplayKey, ReplayState, Settlement, Shard, Shards, Status, Store, WorkedOff,
};
use tokio::time::{sleep, timeout};

use crate::harness::{
    House, Schema, add, asking, client, code, event, postgres, seconds, secret, settings, worker,
};

/// A connection as any program would have it.
async fn connect(schema: &Schema) -> PgConnection {
    let url = schema.url();
    let (database, name) = url.rsplit_once("schema=").expect("a schema");
    let database = database.trim_end_matches(['?', '&']);
    let mut conn = PgConnection::connect(database).await.expect("connects");
    run(&mut conn, &format!("SET search_path = {name}")).await;
    conn
}

async fn run(conn: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(conn)
        .await
        .expect("executed");
}

async fn number(conn: &mut PgConnection, statement: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
        .fetch_one(conn)
        .await
        .expect("a number")
}

/// Waits until somebody waits for a lock that this connection holds.
async fn until_one_waits(conn: &mut PgConnection) {
    until_wait(conn, 1).await;
}

/// Waits until so many wait for a lock that this connection holds, also one behind another.
async fn until_wait(conn: &mut PgConnection, count: i64) {
    for _ in 0..1_000 {
        // Within a transaction the server tells again what it told first.
        run(conn, "SELECT pg_stat_clear_snapshot()").await;
        let waiting = number(
            conn,
            "WITH RECURSIVE waiting AS (
                 SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))
                 UNION
                 SELECT a.pid FROM waiting w JOIN pg_stat_activity a ON w.pid = ANY (pg_blocking_pids(a.pid)))
             SELECT count(*) FROM waiting",
        )
        .await;
        if waiting >= count {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("fewer than {count} wait");
}

async fn filter_count(store: &Store, status: Status) -> u64 {
    let mut filter = DeliveryFilter::default();
    filter.status = vec![status];
    store.count(&filter).await.expect("counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_registries_take_turns() {
    let (one, schema) = postgres().await;
    let other = schema.open().await;
    let house = House::new(one.clone()).await;
    let (id, now) = (house.ours.id, house.now);
    let before = house.store.snapshot().await.expect("a snapshot").revision;

    let write = async |store: &Store, who: u8| {
        let mut written = 0;
        for n in 0..20 {
            // Each name is wanted by both.
            let wanted = settings(client(3), &format!("name {n}"));
            match store.add(&wanted, &Credentials::default(), now).await {
                Ok(_) => written += 1,
                refused => assert_eq!(code(refused), "name_taken"),
            }
            let wanted = settings(client(1), &format!("{who} {n}"));
            store
                .set(id, &wanted, Anew::default(), now)
                .await
                .expect("set");
            store.pause(id, now).await.expect("paused");
            let own = secret(10 + 2 * n + who);
            store
                .rotate(id, Some(&own), None, now)
                .await
                .expect("rotated");
            store.resume(id, Held::All, now).await.expect("resumed");
            written += 4;
        }
        written
    };
    let (a, b) = tokio::join!(write(&one, 0), write(&other, 1));
    let after = house.store.snapshot().await.expect("a snapshot");
    assert_eq!(after.revision, before + a + b, "each write bumps it once");
    let added = house.store.list(Some(client(3))).await.expect("a list");
    assert_eq!(added.len(), 20, "each name once");

    let removed = tokio::join!(one.remove(id, now), other.remove(id, now));
    let refused = match removed {
        (Ok(_), refused) | (refused, Ok(_)) => refused,
        both => panic!("{both:?}"),
    };
    assert_eq!(code(refused), "no subscription");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_waits_for_a_router_at_work() {
    let (store, schema) = postgres().await;
    let house = House::new(store).await;
    house.routed(4).await;
    let ours = house.number(&house.ours);
    // As a router does it: the key of the subscription's row is held, and a delivery written.
    let mut router = connect(&schema).await;
    run(
        &mut router,
        &format!(
            "BEGIN;
             SELECT FROM subscription WHERE seq = {ours} FOR KEY SHARE;
             INSERT INTO delivery (subscription, due_at, seq, event)
             SELECT {ours}, now(), nextval('seq'), id FROM event WHERE client = '{}' LIMIT 1",
            client(2)
        ),
    )
    .await;

    // Everything but a removal goes on meanwhile.
    house
        .store
        .pause(house.ours.id, house.now)
        .await
        .expect("paused");
    let removal = async {
        let removed = house.store.remove(house.ours.id, house.now).await;
        removed.expect("removed");
        house.work_off(house.now).await;
    };
    let routing = async {
        until_one_waits(&mut router).await;
        run(&mut router, "COMMIT").await;
    };
    tokio::join!(removal, routing);
    assert_eq!(
        filter_count(&house.store, Status::Ended(End::Cancelled)).await,
        3
    );
    let left = number(
        &mut router,
        &format!("SELECT count(*) FROM delivery WHERE subscription = {ours}"),
    )
    .await;
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_waits_for_a_removal_at_work() {
    let (store, schema) = postgres().await;
    let house = House::new(store).await;
    house
        .publish(&[event(client(1), 1), event(client(2), 2)])
        .await;
    let plan = house.route_plan(10).await;
    let ours = house.number(&house.ours);
    let mut registry = connect(&schema).await;
    run(
        &mut registry,
        &format!(
            "BEGIN;
             SELECT FROM subscription WHERE seq = {ours} FOR UPDATE;
             UPDATE subscription SET removed_at = now() WHERE seq = {ours}"
        ),
    )
    .await;
    let routing = async {
        let routed = house.store.route(&house.lease, &plan).await;
        routed.expect("routed");
    };
    let removal = async {
        until_one_waits(&mut registry).await;
        run(&mut registry, "COMMIT").await;
    };
    tokio::join!(routing, removal);
    let rows = house.all(&DeliveryFilter::default()).await;
    let of = |subscription: &Subscription| {
        let row = rows.iter().find(|r| r.id.subscription == subscription.id);
        row.map(|r| (r.status, r.code.as_deref().unwrap_or("").to_owned()))
    };
    let removed = "subscription_removed".to_owned();
    assert_eq!(
        of(&house.ours),
        Some((Status::Ended(End::Cancelled), removed))
    );
    assert_eq!(of(&house.theirs), Some((Status::Pending, String::new())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_waits_for_no_settle_and_is_not_forgotten() {
    let (store, schema) = postgres().await;
    let house = House::new(store).await;
    house.routed(6).await;
    let far = house.now + seconds(600);
    let due = house.due(&house.ours, house.now).await;
    house
        .settle(&[house.again(&due[0], far), house.again(&due[1], far)])
        .await;
    house
        .store
        .retry(due[0].id, house.now)
        .await
        .expect("asked");
    let mut settle = connect(&schema).await;
    let lock = "BEGIN; SELECT FROM delivery FOR UPDATE";
    run(&mut settle, lock).await;

    let chunk = async || {
        let chunk = pin!(house.store.work_off(&house.lease, house.now));
        let done = timeout(seconds(5), chunk).await.expect("not waited");
        done.expect("worked off")
    };
    let commands = async || {
        let left = house.store.remaining(house.now).await;
        left.expect("counted").commands
    };
    assert!(chunk().await.more);
    assert_eq!(commands().await, 1);
    run(&mut settle, "ROLLBACK").await;
    house.work_off(house.now).await;
    assert_eq!(commands().await, 0);
    assert_eq!(house.row(due[0].id).await.due_at, Some(house.now));

    house
        .store
        .cancel(due[1].id, house.now)
        .await
        .expect("asked");
    run(&mut settle, lock).await;
    assert!(chunk().await.more);
    assert_eq!(house.row(due[1].id).await.status, Status::Retrying);
    run(&mut settle, "ROLLBACK").await;
    house.work_off(house.now).await;
    assert_eq!(
        house.row(due[1].id).await.status,
        Status::Ended(End::Cancelled)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remains_that_were_locked_or_moved_are_ended_too() {
    let (store, schema) = postgres().await;
    let house = House::new(store).await;
    house.routed(2_400).await;
    let due = house.due(&house.ours, house.now).await;
    // The first row of the lane is being settled while all others are ended.
    let mut settle = connect(&schema).await;
    let first = due[0].position;
    run(
        &mut settle,
        &format!(
            "BEGIN; SELECT FROM delivery WHERE subscription = {} AND seq = {} FOR UPDATE",
            first.subscription, first.seq
        ),
    )
    .await;
    house
        .store
        .remove(house.ours.id, house.now)
        .await
        .expect("removed");
    for _ in 0..6 {
        let done = house.store.work_off(&house.lease, house.now).await;
        assert!(done.expect("worked off").more);
    }
    assert_eq!(
        filter_count(&house.store, Status::Ended(End::Cancelled)).await,
        1_199
    );
    // It goes back to where it was, before the place that was come to.
    run(
        &mut settle,
        &format!(
            "WITH moved AS (DELETE FROM delivery WHERE subscription = {} AND seq = {} RETURNING *)
             INSERT INTO delivery SELECT subscription, lane, due_at - interval '1 s', seq, event, attempts, tries FROM moved;
             COMMIT",
            first.subscription, first.seq
        ),
    )
    .await;
    house.work_off(house.now).await;
    assert_eq!(
        filter_count(&house.store, Status::Ended(End::Cancelled)).await,
        1_200
    );
    let left = house.store.remaining(house.now).await.expect("counted");
    assert_eq!((left.pending, left.commands), (1_200, 0));
}

/// Two workers that have half of the shards each, and a subscription in each half.
struct Two {
    stores: [Store; 2],
    leases: [Lease; 2],
    subscriptions: [Subscription; 2],
    due: [Vec<Due>; 2],
    now: Timestamp,
    _schema: Schema,
}

impl Two {
    /// With deliveries of one event for each, and those of as many more events as are asked for.
    async fn new(events: u32) -> Self {
        let (one, schema) = postgres().await;
        let other = schema.open().await;
        let none = Shards::default();
        one.hold(worker(1), none).await.expect("all");
        other.hold(worker(2), none).await.expect("nothing yet");
        let surplus = one.hold(worker(1), none).await.expect("too much").surplus;
        let first = one.hold(worker(1), surplus).await.expect("its half");
        let second = other.hold(worker(2), none).await.expect("the other half");
        let leases = [first, second];
        assert_eq!(leases.map(|lease| lease.shards.count()), [32, 32]);

        let now = second.clock;
        let mut subscriptions: [Vec<Subscription>; 2] = Default::default();
        for n in 0.. {
            let added = add(&one, 1, &format!("number {n}"), now).await;
            let half = usize::from(second.shards.contains(Shard::of_subscription(added.id)));
            subscriptions[half].push(added);
            if subscriptions.iter().all(|half| !half.is_empty()) {
                break;
            }
        }
        // One of each is enough.
        for more in subscriptions.iter_mut().flat_map(|half| half.drain(1..)) {
            one.remove(more.id, now).await.expect("removed");
        }
        let stores = [one, other];
        for (store, lease) in stores.iter().zip(&leases) {
            while store.work_off(lease, now).await.expect("worked off").more {}
        }
        let mut two = Self {
            stores,
            leases,
            subscriptions: subscriptions.map(|mut half| half.remove(0)),
            due: Default::default(),
            now,
            _schema: schema,
        };
        let events: Vec<_> = (0..events).map(|n| event(client(1), n)).collect();
        two.stores[0].publish(&events).await.expect("published");
        two.route().await;
        two.due = [two.due(0).await, two.due(1).await];
        two
    }

    /// Whoever has the client's shard routes to both.
    async fn route(&self) {
        let client = usize::from(self.leases[1].shards.contains(Shard::of_client(client(1))));
        let (store, lease) = (&self.stores[client], &self.leases[client]);
        let targets = store.snapshot().await.expect("a snapshot").targets;
        loop {
            let pointers = store.pointers(lease, 500).await.expect("pointers").events;
            if pointers.is_empty() {
                return;
            }
            let to = |(number, _): &(i64, _)| tharsis_store::RouteTo {
                subscription: *number,
                due_at: self.now,
                ends: None,
            };
            let routed: Vec<_> = pointers
                .iter()
                .map(|pointer| tharsis_store::Routed {
                    seq: pointer.seq,
                    to: targets.iter().map(to).collect(),
                    frozen: None,
                })
                .collect();
            store.route(lease, &routed).await.expect("routed");
        }
    }

    async fn number(&self, of: usize) -> i64 {
        let targets = self.stores[0].snapshot().await.expect("a snapshot").targets;
        let ours = targets
            .iter()
            .find(|(_, target)| target.subscription.id == self.subscriptions[of].id);
        ours.expect("there").0
    }

    async fn due(&self, of: usize) -> Vec<Due> {
        let lane = LaneRead {
            subscription: self.number(of).await,
            after: None,
            limit: 10_000,
            named: false,
        };
        let rows = self.stores[of]
            .due(&self.leases[of], &[lane], self.now)
            .await;
        rows.expect("due").due
    }

    async fn work_off(&self, of: usize) -> WorkedOff {
        let done = self.stores[of].work_off(&self.leases[of], self.now).await;
        done.expect("worked off")
    }

    async fn status(&self, id: DeliveryId) -> Status {
        self.stores[0]
            .delivery(id)
            .await
            .expect("a delivery")
            .row
            .status
    }

    /// Ends all deliveries of both, without a request.
    async fn end_all(&self) {
        for of in 0..2 {
            let ended = |due: &Due| Settlement {
                position: due.position,
                event: due.id.event,
                attempts: due.attempts,
                attempt: Some(Attempt {
                    number: 0,
                    at: self.now,
                    duration: Duration::ZERO,
                    code: "payload_invalid".to_owned(),
                    status: None,
                    excerpt: Vec::new(),
                    detail: None,
                }),
                fate: Fate::Ended(End::Dead),
                key: None,
                suspend: None,
                certificate_ends: None,
            };
            let all: Vec<Settlement> = self.due[of].iter().map(ended).collect();
            let settled = self.stores[of].settle(&self.leases[of], &all).await;
            assert_eq!(settled.expect("settled"), []);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_carries_out_what_concerns_its_own_shards() {
    let two = Two::new(3).await;
    let cancelled = Status::Ended(End::Cancelled);
    let ids = [0, 1].map(|of| two.due[of][0].id);
    for id in ids {
        two.stores[0].cancel(id, two.now).await.expect("asked");
    }
    let done = two.work_off(0).await;
    assert_eq!(done.lanes.len(), 1);
    assert_eq!(done.lanes[0].subscription, two.number(0).await);
    assert!(!two.work_off(0).await.more, "the rest is the other's");
    assert_eq!(two.status(ids[0]).await, cancelled);
    assert_eq!(two.status(ids[1]).await, Status::Pending);
    assert_eq!(two.work_off(1).await.lanes.len(), 1);
    assert_eq!(two.status(ids[1]).await, cancelled);

    // Both at once, each what is left of its own.
    let removed = &two.subscriptions[1];
    two.stores[0]
        .remove(removed.id, two.now)
        .await
        .expect("removed");
    for due in &two.due[0][1..] {
        two.stores[1].cancel(due.id, two.now).await.expect("asked");
    }
    let all = async |of: usize| while two.work_off(of).await.more {};
    tokio::join!(all(0), all(1));
    let left = two.stores[0].remaining(two.now).await.expect("counted");
    assert_eq!(left, tharsis_store::Remaining::default());
    assert_eq!(filter_count(&two.stores[1], cancelled).await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_tells_the_owners_of_the_lanes_that_it_fills() {
    let two = Two::new(700).await;
    two.end_all().await;
    // From here on nothing is new to either.
    for of in 0..2 {
        two.stores[of]
            .changed(&two.leases[of])
            .await
            .expect("asked");
    }
    let mut filter = DeliveryFilter::default();
    filter.status = vec![Status::Ended(End::Dead)];
    let choice = ReplayChoice::Filter(filter);
    let asked = two.stores[0]
        .replay(&asking(&choice, ReplayKey::Same), two.now)
        .await
        .expect("asked");

    let bytes = asked.id.as_uuid().as_bytes();
    let of = usize::from(two.leases[1].shards.contains(Shard(bytes[15] % 64)));
    assert_eq!(
        two.work_off(1 - of).await,
        WorkedOff::default(),
        "not its own"
    );
    let mut own = 0;
    while let WorkedOff {
        lanes, more: true, ..
    } = two.work_off(of).await
    {
        let number = two.number(of).await;
        assert!(lanes.iter().all(|lane| lane.subscription == number));
        own += lanes.len();
    }
    assert!(own >= 2, "in chunks");
    let done = two.stores[1].replay_state(asked.id).await.expect("there");
    assert_eq!(
        (done.state, done.examined, done.replayed),
        (ReplayState::Done, 1_400, 1_400)
    );
    assert_eq!(two.due(of).await.len(), 700);

    let foreign = two.number(1 - of).await;
    let told = async {
        loop {
            let changed = two.stores[1 - of].changed(&two.leases[1 - of]).await;
            let lanes = changed.expect("asked").lanes;
            if let Some(lane) = lanes.iter().find(|lane| lane.subscription == foreign) {
                return lane.due_at;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let due_at = timeout(seconds(10), told).await.expect("told");
    assert_eq!(due_at, two.now);
    assert_eq!(two.due(1 - of).await.len(), 700);
}

/// A delivery whose first request is still under way, though it was cancelled and replayed since, settles twice at the same
/// moment: that request's success, and what came of the replay. Says how it stands after.
async fn settled_at_once(own: End, is_late_first: bool) -> (Vec<u32>, Status, bool) {
    let (store, schema) = postgres().await;
    let house = House::new(store).await;
    house.routed(2).await;
    let in_flight = house.due(&house.ours, house.now).await.remove(0);
    let id = in_flight.id;
    house.store.cancel(id, house.now).await.expect("asked");
    house.work_off(house.now).await;
    let chosen = ReplayChoice::Deliveries(vec![id]);
    house
        .store
        .replay(&asking(&chosen, ReplayKey::Same), house.now)
        .await
        .expect("asked");
    house.work_off(house.now).await;
    let again = house.due(&house.ours, house.now).await.remove(0);
    let late = house.ended(&in_flight, End::Delivered);
    let mut own = house.ended(&again, own);
    own.attempt.as_mut().expect("one").at = house.now + seconds(60);

    let mut holder = connect(&schema).await;
    run(&mut holder, "BEGIN; SELECT FROM delivery FOR UPDATE").await;
    let settle = |settlement| {
        let (store, lease) = (house.store.clone(), house.lease);
        tokio::spawn(async move { store.settle(&lease, &[settlement]).await })
    };
    let order = if is_late_first {
        [late, own]
    } else {
        [own, late]
    };
    let [first, second] = order;
    let first = settle(first);
    until_wait(&mut holder, 1).await;
    let second = settle(second);
    until_wait(&mut holder, 2).await;
    run(&mut holder, "ROLLBACK").await;
    let first = first.await.expect("no panic").expect("settled");
    assert_eq!(first, [], "it was first");
    let second = second.await.expect("no panic").expect("settled");

    let detail = house.store.delivery(id).await.expect("a delivery");
    let numbers = detail.attempts.iter().map(|a| a.attempt.number).collect();
    let due = house.due(&house.ours, house.now).await;
    let is_due = due.iter().any(|due| (due.id, due.attempts) == (id, 1));
    assert_eq!(!second.is_empty(), is_due, "what is left alone is there");
    (numbers, detail.row.status, is_due)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_success_is_recorded_beside_what_comes_of_a_replay() {
    let delivered = Status::Ended(End::Delivered);
    let after = settled_at_once(End::Dead, false).await;
    assert_eq!(after, (vec![0, 1, 2], delivered, false));
    let after = settled_at_once(End::Delivered, false).await;
    assert_eq!(after, (vec![0, 1, 2], delivered, false));
    // What is no success and finds another row than it read is left alone.
    let after = settled_at_once(End::Dead, true).await;
    assert_eq!(after, (vec![0, 1], Status::Pending, true));
    let after = settled_at_once(End::Delivered, true).await;
    assert_eq!(after, (vec![0, 1, 2], delivered, false));
}
