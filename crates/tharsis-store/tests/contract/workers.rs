//! Several workers on one database. Each has a store of its own, as a process has.

use std::time::Duration;

use tharsis_core::{delivery::End, subscription::Subscription};
use tharsis_store::{
    LaneRead, Lease, Outbox, Pending, Registry, Remaining, Shard, Shards, Status, Store,
    StoreError,
    postgres::{Options, PostgresStore},
};

use crate::harness::{House, Schema, add, asking, client, code, event, seconds, worker};

const NOTHING: Shards = Shards(0);

/// Two workers that have half of the shards each: the first has those of both clients.
struct Two {
    first: House,
    second: Store,
    /// The second one's.
    lease: Lease,
    /// Of our client: in a shard of the first worker, and in one of the second.
    near: Subscription,
    far: Subscription,
}

impl Two {
    async fn new(schema: &Schema) -> Self {
        let mut first = House::new(schema.open().await).await;
        let second = schema.open().await;
        second.hold(worker(2), NOTHING).await.expect("a share");
        first.lease = hold(&first.store, 1, NOTHING).await;
        first.lease = hold(&first.store, 1, first.lease.surplus).await;
        let lease = hold(&second, 2, NOTHING).await;
        let near = in_one_of(&first, first.lease.shards).await;
        let far = in_one_of(&first, lease.shards).await;
        first.reload().await;
        Self {
            first,
            second,
            lease,
            near,
            far,
        }
    }

    async fn due(&self, store: &Store, lease: &Lease, of: &Subscription) -> usize {
        let lane = LaneRead {
            subscription: self.first.number(of),
            after: None,
            limit: 100,
            named: false,
        };
        let rows = store.due(lease, &[lane], self.first.now).await;
        rows.expect("due").due.len()
    }
}

/// A subscription of our client in one of these shards; which one it comes to lie in is chance.
async fn in_one_of(house: &House, shards: Shards) -> Subscription {
    for n in 0.. {
        let name = format!("{shards:?} {n}");
        let added = add(&house.store, 1, &name, house.now).await;
        if shards.contains(Shard::of_subscription(added.id)) {
            return added;
        }
    }
    unreachable!("the range has no end")
}

async fn hold(store: &Store, n: u8, give: Shards) -> Lease {
    store.hold(worker(n), give).await.expect("a lease")
}

async fn leave(house: &House, keep: Shards) -> Lease {
    let left = house.store.release(&house.lease, Some(keep)).await;
    left.expect("given back").expect("some is left")
}

/// A store whose leases are short.
async fn open_short(schema: &Schema) -> Store {
    let options = Options {
        lease: Duration::from_millis(700),
        ..schema.options()
    };
    let store = PostgresStore::open(&schema.url(), options).await;
    Store::Postgres(store.expect("opens"))
}

pub(crate) async fn live_workers_share_evenly(schema: &Schema) {
    let stores = [
        schema.open().await,
        schema.open().await,
        schema.open().await,
    ];
    let mut leases = Vec::new();
    for (store, n) in stores.iter().zip(1..) {
        leases.push(hold(store, n, NOTHING).await);
    }
    assert_eq!(
        (leases[0].shards, leases[0].surplus),
        (Shards::ALL, NOTHING)
    );
    assert_eq!((leases[1].shards, leases[1].surplus), (NOTHING, NOTHING));
    assert_eq!(leases[1].renew_after, leases[1].length / 15, "it waits");

    for _ in 0..3 {
        for ((store, n), lease) in stores.iter().zip(1..).zip(&mut leases) {
            *lease = hold(store, n, lease.surplus).await;
        }
    }
    let shares: Vec<u32> = leases.iter().map(|lease| lease.shards.count()).collect();
    assert_eq!(shares, [22, 21, 21]);
    let all = leases.iter().fold(0, |all, lease| {
        assert_eq!(all & lease.shards.0, 0, "one owner each");
        assert_eq!(lease.surplus, NOTHING);
        assert_eq!(lease.renew_after, lease.length / 3);
        all | lease.shards.0
    });
    assert_eq!(Shards(all), Shards::ALL);

    let records = stores[0].workers().await.expect("workers");
    let listed: Vec<_> = records.iter().map(|r| (r.id, r.shards)).collect();
    assert_eq!(listed, [(worker(1), 22), (worker(2), 21), (worker(3), 21)]);
    assert_eq!(records[0].pid, std::process::id());
    assert!(records[0].lease_age.expect("a lease") < seconds(15));

    // Who stops gives all at once.
    stores[0]
        .release(&leases[0], None)
        .await
        .expect("given back");
    assert_eq!(hold(&stores[1], 2, NOTHING).await.shards.count(), 32);
    assert_eq!(hold(&stores[2], 3, NOTHING).await.shards.count(), 32);
    assert_eq!(stores[0].workers().await.expect("workers").len(), 2);
}

pub(crate) async fn surplus_is_kept_until_it_is_given(schema: &Schema) {
    let mut house = House::new(schema.open().await).await;
    // The first one keeps the lower half.
    let busy = in_one_of(&house, Shards(!0 << 32)).await;
    house.reload().await;
    house.routed(2).await;
    let in_flight = house.due(&busy, house.now).await.remove(0);
    let shard = Shard::of_subscription(busy.id);
    let second = schema.open().await;
    hold(&second, 2, NOTHING).await;

    house.lease = hold(&house.store, 1, NOTHING).await;
    assert_eq!(house.lease.surplus, Shards(!0 << 32));
    assert_eq!(house.lease.renew_after, house.lease.length / 15);
    let quiet = house.lease.surplus.without(Shards(1 << shard.0));
    house.lease = hold(&house.store, 1, quiet).await;
    assert_eq!(house.lease.surplus, Shards(1 << shard.0));
    assert_eq!(hold(&second, 2, NOTHING).await.shards, quiet);
    // What is under way in it is settled as ever; nothing new is begun.
    assert_eq!(house.due(&busy, house.now).await.len(), 0);
    let then = house.now + seconds(5);
    assert_eq!(house.settle(&[house.again(&in_flight, then)]).await, []);
    assert_eq!(house.row(in_flight.id).await.status, Status::Retrying);

    let given = house.lease.surplus;
    house.lease = hold(&house.store, 1, given).await;
    assert_eq!(house.lease.surplus, NOTHING);
    // Named again, as after a lost answer, it takes nothing else.
    let again = hold(&house.store, 1, given).await;
    assert_eq!(again.shards, house.lease.shards);
    assert_eq!(hold(&second, 2, NOTHING).await.shards, Shards(!0 << 32));
}

pub(crate) async fn who_leaves_keeps_what_is_under_way_and_the_others_are_told(schema: &Schema) {
    let mut house = House::new(schema.open().await).await;
    let busy = in_one_of(&house, Shards::ALL).await;
    house.reload().await;
    house.routed(2).await;
    let in_flight = house.due(&busy, house.now).await.remove(0);
    let keep = Shards(1 << Shard::of_subscription(busy.id).0);
    let second = schema.open().await;
    let waiting = hold(&second, 2, NOTHING).await;
    let hears = async || second.changed(&waiting).await.expect("changes").shards;
    // What is committed is on its way for a moment.
    let told = async || {
        for _ in 0..500 {
            if hears().await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    };
    hears().await;
    assert!(!hears().await, "nothing was given back yet");

    house.lease = leave(&house, keep).await;
    assert_eq!((house.lease.shards, house.lease.surplus), (NOTHING, keep));
    assert!(told().await);
    let most = hold(&second, 2, NOTHING).await;
    assert_eq!(
        most.shards,
        Shards::ALL.without(keep),
        "it shares with nobody"
    );

    // What is under way is settled as ever; nothing new is begun.
    assert_eq!(house.due(&busy, house.now).await.len(), 0);
    let then = house.now + seconds(5);
    assert_eq!(house.settle(&[house.again(&in_flight, then)]).await, []);
    assert_eq!(house.row(in_flight.id).await.status, Status::Retrying);
    house.lease = leave(&house, keep).await;
    assert_eq!(house.lease.surplus, keep);

    house.lease = leave(&house, NOTHING).await;
    assert_eq!(house.lease.owned(), NOTHING);
    assert!(told().await);
    assert_eq!(hold(&second, 2, NOTHING).await.shards, Shards::ALL);
    // Successes that come late are recorded still.
    assert_eq!(
        house
            .settle(&[house.ended(&in_flight, End::Delivered)])
            .await,
        []
    );
    assert_eq!(
        house.row(in_flight.id).await.status,
        Status::Ended(End::Delivered)
    );
    assert_eq!(second.workers().await.expect("workers").len(), 2);

    let over = house.store.release(&house.lease, None).await;
    assert_eq!(over.expect("over"), None);
    assert_eq!(
        code(house.store.release(&house.lease, None).await),
        "lease_lost"
    );
    assert_eq!(second.workers().await.expect("workers").len(), 1);
}

pub(crate) async fn each_sees_what_lies_in_its_own_shards(schema: &Schema) {
    let two = Two::new(schema).await;
    let house = &two.first;
    house
        .publish(&[event(client(1), 1), event(client(2), 2)])
        .await;
    let foreign = two.second.pointers(&two.lease, 10).await.expect("pointers");
    assert_eq!(foreign.events.len(), 0, "both clients are the first one's");
    house.route().await;

    let (near, far) = (house.number(&two.near), house.number(&two.far));
    let lanes = async |store: &Store, lease: &Lease| -> Vec<i64> {
        let lanes = store.lanes(lease).await.expect("lanes");
        lanes.iter().map(|lane| lane.subscription).collect()
    };
    let of_first = lanes(&house.store, &house.lease).await;
    let of_second = lanes(&two.second, &two.lease).await;
    assert!(of_first.contains(&near) && !of_first.contains(&far));
    assert!(of_second.contains(&far) && !of_second.contains(&near));
    assert_eq!(two.due(&house.store, &house.lease, &two.near).await, 1);
    assert_eq!(two.due(&house.store, &house.lease, &two.far).await, 0);
    assert_eq!(two.due(&two.second, &two.lease, &two.near).await, 0);
    assert_eq!(two.due(&two.second, &two.lease, &two.far).await, 1);

    // A command waits for the one whose delivery it is.
    let far_id = house
        .store
        .event(house.publish(&[event(client(1), 1)]).await[0].id)
        .await;
    let far_id = far_id
        .expect("an event")
        .deliveries
        .iter()
        .find(|row| row.id.subscription == two.far.id)
        .expect("it went there")
        .id;
    house
        .store
        .cancel(far_id, house.now)
        .await
        .expect("asked for");
    house.work_off(house.now).await;
    let left = async || house.store.remaining(house.now).await.expect("counted");
    assert_eq!(left().await.commands, 1);
    let done = two.second.work_off(&two.lease, house.now).await;
    let touched = done.expect("worked off").lanes;
    assert_eq!(
        touched.iter().map(|l| l.subscription).collect::<Vec<_>>(),
        [far]
    );
    assert_eq!(left().await.commands, 0);
}

pub(crate) async fn owners_of_foreign_lanes_are_told(schema: &Schema) {
    let two = Two::new(schema).await;
    let house = &two.first;
    let heard = async || two.second.changed(&two.lease).await.expect("asked").lanes;
    assert_eq!(heard().await, [], "it listens from now on");
    house.publish(&[event(client(1), 1)]).await;
    house.route().await;

    let far = house.number(&two.far);
    let mut lanes = heard().await;
    while lanes.is_empty() {
        tokio::task::yield_now().await;
        lanes = heard().await;
    }
    let told = |lanes: &[Pending]| lanes.iter().find(|l| l.subscription == far).copied();
    assert_eq!(told(&lanes).expect("told").due_at, house.now);
    assert!(
        lanes
            .iter()
            .all(|l| l.subscription != house.number(&two.near))
    );
    assert_eq!(two.due(&two.second, &two.lease, &two.far).await, 1);

    // A replay writes into foreign lanes, too.
    let lane = LaneRead {
        subscription: far,
        after: None,
        limit: 1,
        named: false,
    };
    let rows = two.second.due(&two.lease, &[lane], house.now).await;
    let due = rows.expect("due").due.remove(0);
    let ended = house.ended(&due, End::Dead);
    let settled = two.second.settle(&two.lease, &[ended]).await;
    assert_eq!(settled.expect("settled"), []);
    let choice = tharsis_store::ReplayChoice::Deliveries(vec![due.id]);
    let replay = house
        .store
        .replay(&asking(&choice, tharsis_store::ReplayKey::Same), house.now)
        .await
        .expect("asked for");
    let own = house
        .lease
        .shards
        .contains(Shard(replay.id.as_uuid().as_bytes()[15] % 64));
    if own {
        house.work_off(house.now).await;
        let mut lanes = heard().await;
        while told(&lanes).is_none() {
            tokio::task::yield_now().await;
            lanes = heard().await;
        }
    } else {
        let done = two.second.work_off(&two.lease, house.now).await;
        assert!(told(&done.expect("worked off").lanes).is_some());
    }
    assert_eq!(two.due(&two.second, &two.lease, &two.far).await, 1);
}

pub(crate) async fn what_was_given_away_is_left_alone_but_for_successes(schema: &Schema) {
    let mut house = House::new(schema.open().await).await;
    let ours = in_one_of(&house, Shards(!0 << 32)).await;
    house.reload().await;
    house.routed(6).await;
    let due = house.due(&ours, house.now).await;
    // In flight with the first worker, while its shard goes to the second one.
    let second = schema.open().await;
    hold(&second, 2, NOTHING).await;
    house.lease = hold(&house.store, 1, NOTHING).await;
    house.lease = hold(&house.store, 1, house.lease.surplus).await;
    assert_eq!(hold(&second, 2, NOTHING).await.shards, Shards(!0 << 32));

    let then = house.now + seconds(5);
    let dead = house.ended(&due[0], End::Dead);
    let again = house.again(&due[1], then);
    let delivered = house.ended(&due[2], End::Delivered);
    let left = house.settle(&[dead, again, delivered]).await;
    assert_eq!(left, [due[0].position, due[1].position]);
    for (at, status) in [
        (0, Status::Pending),
        (1, Status::Pending),
        (2, Status::Ended(End::Delivered)),
    ] {
        assert_eq!(house.row(due[at].id).await.status, status);
    }
}

pub(crate) async fn a_worker_that_is_gone_is_replaced_when_its_lease_is_over(schema: &Schema) {
    let gone = open_short(schema).await;
    let first = hold(&gone, 1, NOTHING).await;
    let second = open_short(schema).await;
    let lease = loop {
        let lease = hold(&second, 2, NOTHING).await;
        if lease.shards == Shards::ALL {
            break lease;
        }
        assert_eq!(lease.shards, NOTHING);
        let age = lease.clock.since(first.clock);
        assert!(age < first.length * 20, "it is never replaced");
        tokio::time::sleep(lease.renew_after).await;
    };
    assert!(lease.clock.since(first.clock) >= first.length, "not before");
    assert!(lease.epoch > first.epoch);
    assert_eq!(second.workers().await.expect("workers").len(), 1);
}

pub(crate) async fn a_zombie_settles_nothing_wrongly(schema: &Schema) {
    let house = House::new(open_short(schema).await).await;
    house.routed(4).await;
    let due = house.due(&house.ours, house.now).await;
    house.publish(&[event(client(1), 9)]).await;
    let plan = house.route_plan(10).await;
    house
        .store
        .cancel(due[1].id, house.now)
        .await
        .expect("asked for");
    // It sleeps for longer than its lease.
    let second = open_short(schema).await;
    let lease = loop {
        let lease = hold(&second, 2, NOTHING).await;
        if lease.shards == Shards::ALL {
            break lease;
        }
        tokio::time::sleep(lease.renew_after).await;
    };

    let zombie = &house.store;
    let settlements = [
        house.ended(&due[0], End::Dead),
        house.ended(&due[1], End::Delivered),
    ];
    for settlement in settlements {
        let settled = zombie.settle(&house.lease, &[settlement]).await;
        assert!(matches!(settled, Err(StoreError::LeaseLost)), "{settled:?}");
    }
    assert_eq!(code(zombie.route(&house.lease, &plan).await), "lease_lost");
    assert_eq!(
        code(zombie.work_off(&house.lease, house.now).await),
        "lease_lost"
    );
    let left = second.remaining(house.now).await.expect("counted");
    let as_before = Remaining {
        unrouted: 1,
        pending: 4,
        commands: 1,
        ..Remaining::default()
    };
    assert_eq!(left, as_before);
    // It learns of it, forgets, and begins anew with what it gets.
    assert_eq!(code(zombie.hold(worker(1), NOTHING).await), "lease_lost");
    assert_eq!(hold(zombie, 1, NOTHING).await.shards, NOTHING);
    second.route(&lease, &plan).await.expect("routed");
    let left = second.remaining(house.now).await.expect("counted");
    assert_eq!((left.unrouted, left.pending), (0, 5), "once");
}

pub(crate) async fn who_disowns_is_replaced_at_once(schema: &Schema) {
    let first = schema.open().await;
    let old = hold(&first, 1, NOTHING).await;
    first.disown();
    assert_eq!(code(first.lanes(&old).await), "lease_lost");
    // The store itself need not wait for that to be written.
    let new = hold(&first, 3, NOTHING).await;
    assert_eq!((new.shards, new.epoch > old.epoch), (Shards::ALL, true));
    first.disown();
    let second = schema.open().await;
    let mut lease = hold(&second, 2, NOTHING).await;
    while lease.shards != Shards::ALL {
        tokio::task::yield_now().await;
        lease = hold(&second, 2, NOTHING).await;
        assert!(
            lease.clock.since(new.clock) < new.length,
            "it waited for the lease's end"
        );
    }
}
