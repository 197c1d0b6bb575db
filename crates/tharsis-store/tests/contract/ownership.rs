use tharsis_core::delivery::End;
use tharsis_store::{LaneRead, Lease, Outbox, Registry, Shards};

use crate::harness::{House, Store, client, code, event, worker};

pub(crate) async fn a_lease_is_held_renewed_and_given_back(store: Store) {
    assert!(!store.owned().await.expect("asked"));
    let first = store
        .hold(worker(1), Shards::default())
        .await
        .expect("the lease");
    assert!(store.owned().await.expect("asked"));
    assert_eq!(
        (first.shards, first.surplus),
        (Shards::ALL, Shards::default())
    );
    assert!(first.renew_after < first.length);
    // Nothing of it is surplus, so nothing is given back.
    let renewed = store.hold(worker(1), Shards::ALL).await.expect("renewed");
    assert_eq!((renewed.worker, renewed.epoch), (first.worker, first.epoch));
    assert_eq!(
        (renewed.shards, renewed.surplus),
        (first.shards, first.surplus)
    );
    assert!(renewed.clock >= first.clock);
    let one = Shards(1);
    let kept = store.release(&renewed, Some(one)).await;
    let kept = kept.expect("given back").expect("some is left");
    assert_eq!(
        (kept.shards, kept.surplus, kept.epoch),
        (Shards::default(), one, first.epoch)
    );
    assert!(store.owned().await.expect("asked"));
    let over = store.release(&kept, None).await;
    assert_eq!(over.expect("given back"), None);
    assert!(!store.owned().await.expect("asked"));
    let next = store
        .hold(worker(2), Shards::default())
        .await
        .expect("the lease");
    assert!(next.epoch > first.epoch);
}

pub(crate) async fn without_the_lease_nothing_moves(store: Store) {
    let house = House::new(store).await;
    house.routed(2).await;
    let due = house.due(&house.ours, house.now).await.remove(0);
    house.publish(&[event(client(1), 9)]).await;
    let plan = house.route_plan(10).await;
    let lane = LaneRead {
        subscription: house.number(&house.ours),
        after: None,
        limit: 1,
        named: false,
    };
    let old = house.lease;
    let foreign = Lease {
        worker: worker(9),
        ..old
    };
    house.store.release(&old, None).await.expect("given back");

    for lease in [old, foreign] {
        let store = &house.store;
        assert_eq!(code(store.changed(&lease).await), "lease_lost");
        assert_eq!(code(store.pointers(&lease, 1).await), "lease_lost");
        assert_eq!(code(store.route(&lease, &plan).await), "lease_lost");
        assert_eq!(code(store.lanes(&lease).await), "lease_lost");
        assert_eq!(
            code(store.due(&lease, &[lane], house.now).await),
            "lease_lost"
        );
        let settled = store.settle(&lease, &[house.ended(&due, End::Dead)]).await;
        assert_eq!(code(settled), "lease_lost");
        assert_eq!(code(store.work_off(&lease, house.now).await), "lease_lost");
        assert_eq!(code(store.release(&lease, None).await), "lease_lost");
    }
    // Publishing needs none.
    house.publish(&[event(client(1), 10)]).await;
}

pub(crate) async fn publishers_do_not_disturb_the_owner(store: Store) {
    let house = House::new(store).await;
    let publishing = async {
        for n in 0..200 {
            house
                .publish(&[event(client(1), n), event(client(2), n)])
                .await;
        }
    };
    let delivering = async {
        let mut delivered = 0;
        while delivered < 400 {
            house.route().await;
            for of in [&house.ours, &house.theirs] {
                let due = house.due(of, house.now).await;
                let settlements: Vec<_> =
                    due.iter().map(|d| house.ended(d, End::Delivered)).collect();
                assert_eq!(house.settle(&settlements).await, []);
                delivered += due.len();
            }
        }
        delivered
    };
    let ((), delivered) = tokio::join!(publishing, delivering);
    assert_eq!(delivered, 400);
    let left = house.store.remaining(house.now).await.expect("counted");
    assert_eq!(left, tharsis_store::Remaining::default());
}

pub(crate) async fn under_a_lease_without_shards_nothing_is_found(store: Store) {
    let mut house = House::new(store).await;
    house.routed(2).await;
    let due = house.due(&house.ours, house.now).await.remove(0);
    house.publish(&[event(client(1), 9)]).await;
    let plan = house.route_plan(10).await;
    let cancelled = house.store.cancel(due.id, house.now).await;
    cancelled.expect("accepted");
    let before = house.store.remaining(house.now).await.expect("counted");
    let left = house.store.release(&house.lease, Some(Shards::ALL)).await;
    house.lease = left.expect("given back").expect("some is left");
    assert_eq!(house.lease.shards, Shards::default());

    let (store, lease) = (&house.store, &house.lease);
    let pointers = store.pointers(lease, 10).await.expect("pointers");
    assert!(pointers.revision > 1 && pointers.events.is_empty());
    assert_eq!(store.lanes(lease).await.expect("lanes"), []);
    assert_eq!(house.due(&house.ours, house.now).await.len(), 0);
    store.route(lease, &plan).await.expect("nothing to do");
    assert_eq!(house.work_off(house.now).await, 0);
    let left = store.remaining(house.now).await.expect("counted");
    assert_eq!(left, before, "nothing has moved");
    // What is under way comes to its end.
    assert_eq!(house.settle(&[house.ended(&due, End::Dead)]).await, []);
}
