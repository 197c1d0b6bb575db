//! Deliveries that go one after the other. Two clients have some under the same key.

use tharsis_core::{
    Timestamp,
    delivery::End,
    order::{By, OnDead, Order, OrderKey},
    subscription::{Held, Subscription},
};
use tharsis_store::{
    Anew, Blocked, Due, Fate, LaneRead, LetGo, Outbox, Position, Registry, Settlement, Status,
    StoreError,
};

use crate::harness::{House, Store, client, code, enveloped, event, seconds, worker};

const KEY: OrderKey = OrderKey(7);
const OTHER: OrderKey = OrderKey(-8);

/// So many are let go at once.
const AT_ONCE: usize = 64;

fn again(due: &Due, due_at: Timestamp) -> Settlement {
    let spent = due.spent;
    settled(due, Fate::Again { due_at, spent })
}

fn parked(due: &Due) -> Settlement {
    let (due_at, spent) = (due.position.due_at, due.spent);
    settled(due, Fate::Parked { due_at, spent })
}

fn settled(due: &Due, fate: Fate) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: None,
        fate,
        key: Some(KEY),
        suspend: None,
        certificate_ends: None,
    }
}

impl House {
    /// In which ours are in this order.
    async fn in_order(store: Store, by: By, on_dead: OnDead) -> Self {
        let mut house = Self::new(store).await;
        house.ours = house.set_order(Some(Order { by, on_dead })).await;
        house
    }

    async fn set_order(&self, order: Option<Order>) -> Subscription {
        let mut settings = self.ours.settings.clone();
        settings.order = order;
        let set = self
            .store
            .set(self.ours.id, &settings, Anew::default(), self.now)
            .await;
        let set = set.expect("set");
        assert_eq!(set.settings.order, settings.order, "it is kept");
        set
    }

    async fn blocked(&self, of: &[&Subscription]) -> Vec<Blocked> {
        let numbers: Vec<i64> = of.iter().map(|of| self.number(of)).collect();
        let blocked = self.store.blocked(&self.lease, &numbers).await;
        let mut blocked = blocked.expect("asked");
        blocked.sort_by_key(|one| (one.subscription, one.key));
        blocked
    }

    async fn let_go(&self, of: &Subscription, key: OrderKey) -> LetGo {
        let keys = [(self.number(of), key)];
        let done = self.store.let_go(&self.lease, &keys).await.expect("let go");
        let [done] = <[LetGo; 1]>::try_from(done).expect("one of each key");
        assert_eq!((done.subscription, done.key), keys[0]);
        done
    }

    /// What is due of both by now, in order.
    async fn dues(&self) -> [Vec<Due>; 2] {
        [
            self.due(&self.ours, self.now).await,
            self.due(&self.theirs, self.now).await,
        ]
    }
}

fn seqs(dues: &[Due]) -> Vec<i64> {
    dues.iter().map(|due| due.position.seq).collect()
}

pub(crate) async fn what_waits_for_one_that_is_put_back_is_parked_and_let_go_in_order(
    store: Store,
) {
    let house = House::in_order(store, By::Recipient, OnDead::GiveUp).await;
    house.routed(8).await;
    let [ours, theirs] = house.dues().await;
    assert!(ours.iter().all(|due| !due.is_waited_for));
    let later = house.now + seconds(60);
    let mut all: Vec<Settlement> = ours[1..].iter().map(parked).collect();
    all.extend([again(&ours[0], later), again(&theirs[0], later)]);
    assert_eq!(house.settle(&all).await, []);

    let [left, of_theirs] = house.dues().await;
    assert_eq!(
        (seqs(&left), seqs(&of_theirs)),
        (vec![], seqs(&theirs[1..]))
    );
    let first = |due: &Due| {
        Some(Position {
            due_at: later,
            ..due.position
        })
    };
    let blocked = |of: &Subscription, first, parked| Blocked {
        subscription: house.number(of),
        key: KEY,
        first,
        parked,
    };
    let of_ours = blocked(&house.ours, first(&ours[0]), Some(ours[1].position.seq));
    let of_theirs = blocked(&house.theirs, first(&theirs[0]), None);
    let both = house.blocked(&[&house.ours, &house.theirs]).await;
    assert_eq!(both, [of_ours, of_theirs]);
    assert_eq!(house.blocked(&[&house.theirs]).await, [of_theirs]);
    assert_eq!(house.blocked(&[]).await, [of_ours, of_theirs], "of all");
    // They are waited for, and so are not held.
    let of_parked = house.row(ours[1].id).await;
    assert_eq!(of_parked.status, Status::Pending);
    let remaining = house.store.remaining(house.now).await.expect("counted");
    assert_eq!((remaining.held, remaining.pending), (0, 8));

    // As long as the first is not out of the way, none of them goes.
    let done = house.let_go(&house.ours, KEY).await;
    assert_eq!((done.upto, done.waits), (Some(ours[0].position.seq), true));
    let back = house.due(&house.ours, later).await;
    assert_eq!(seqs(&back), seqs(&ours[..1]));
    assert!(back[0].is_waited_for);
    assert_eq!(house.settle(&[house.ended(&back[0], End::Dead)]).await, []);
    let waits_for_nobody = blocked(&house.ours, None, Some(ours[1].position.seq));
    assert_eq!(house.blocked(&[&house.ours]).await, [waits_for_nobody]);
    let done = house.let_go(&house.ours, KEY).await;
    assert_eq!((done.upto, done.waits), (None, false));
    assert_eq!(house.blocked(&[&house.ours]).await, []);
    let [gone, _] = house.dues().await;
    assert_eq!(seqs(&gone), seqs(&ours[1..]));
    assert!(gone.iter().all(|due| !due.is_waited_for));
    // The other client's waits as before.
    assert_eq!(house.blocked(&[&house.theirs]).await, [of_theirs]);
}

pub(crate) async fn keys_do_not_wait_for_each_other(store: Store) {
    let key = By::Field("order.id".into());
    let house = House::in_order(store, key, OnDead::GiveUp).await;
    house.routed(12).await;
    let [ours, _] = house.dues().await;
    let later = house.now + seconds(60);
    let of = |key, settlement: Settlement| Settlement {
        key: Some(key),
        ..settlement
    };
    let all = [
        of(KEY, again(&ours[0], later)),
        of(OTHER, again(&ours[1], later)),
        of(KEY, parked(&ours[2])),
        of(OTHER, parked(&ours[3])),
        of(OTHER, parked(&ours[4])),
    ];
    assert_eq!(house.settle(&all).await, []);
    let back = house.due(&house.ours, later).await;
    let second = back
        .iter()
        .find(|due| due.id == ours[1].id)
        .expect("it is due");
    let ended = of(OTHER, house.ended(second, End::Delivered));
    assert_eq!(house.settle(&[ended]).await, []);
    let number = house.number(&house.ours);
    let keys = [(number, KEY), (number, OTHER), (number, OrderKey(1))];
    let mut done = house
        .store
        .let_go(&house.lease, &keys)
        .await
        .expect("let go");
    done.sort_by_key(|one| one.key);
    let done: Vec<_> = done
        .iter()
        .map(|one| (one.key, one.upto, one.waits))
        .collect();
    let waits = (KEY, Some(ours[0].position.seq), true);
    assert_eq!(
        done,
        [(OTHER, None, false), (OrderKey(1), None, false), waits]
    );
    let now = house.due(&house.ours, house.now).await;
    assert_eq!(seqs(&now), [seqs(&ours[3..5]), seqs(&ours[5..])].concat());
}

pub(crate) async fn some_are_let_go_at_a_time_and_before_what_is_due_later(store: Store) {
    let house = House::new(store).await;
    let events: Vec<_> = (0..70).map(|n| event(client(1), n)).collect();
    house.publish(&events).await;
    house.route().await;
    let ours = house.due(&house.ours, house.now).await;
    let later = house.now + seconds(60);
    // One of them was put back before it came to wait, and is due when others that come after it were long due.
    assert_eq!(house.settle(&[again(&ours[3], later)]).await, []);
    let all = house.due(&house.ours, later).await;
    let back = all.iter().find(|due| due.id == ours[3].id).expect("there");
    let (due_at, spent) = (house.now + seconds(1), back.spent);
    let mut waiting = vec![settled(back, Fate::Parked { due_at, spent })];
    let others = ours[..68].iter().filter(|due| due.id != back.id);
    waiting.extend(others.map(parked));
    assert_eq!(house.settle(&waiting).await, []);
    let last = ours[AT_ONCE - 1].position.seq;
    let done = house.let_go(&house.ours, KEY).await;
    assert_eq!((done.upto, done.waits), (Some(last), false));
    let now = house.due(&house.ours, house.now).await;
    assert_eq!(
        seqs(&now),
        [seqs(&ours[..AT_ONCE]), seqs(&ours[68..])].concat()
    );
    let done = house.let_go(&house.ours, KEY).await;
    assert_eq!(done.upto, None);
    assert_eq!(seqs(&house.due(&house.ours, house.now).await), seqs(&ours));
}

pub(crate) async fn one_whose_retries_are_used_up_is_kept_until_it_is_retried_or_cancelled(
    store: Store,
) {
    let house = House::in_order(store, By::Recipient, OnDead::Hold).await;
    house.routed(6).await;
    let [ours, theirs] = house.dues().await;
    let kept = |due: &Due| {
        let spent = due.spent;
        Settlement {
            attempt: Some(house.attempt(due.attempts + 1, "http_500", 500)),
            ..settled(due, Fate::Kept { spent })
        }
    };
    let all = [kept(&ours[0]), parked(&ours[1]), kept(&theirs[0])];
    assert_eq!(house.settle(&all).await, []);
    for due in [&ours[0], &theirs[0]] {
        let row = house.row(due.id).await;
        assert_eq!((row.status, row.attempts), (Status::Held, 1));
        assert_eq!(row.code.as_deref(), Some("http_500"));
    }
    let remaining = house.store.remaining(house.now).await.expect("counted");
    // One waits for what is kept.
    assert_eq!((remaining.held, remaining.pending), (3, 3));
    assert_eq!(house.row(ours[1].id).await.status, Status::Held);
    assert_eq!(house.row(ours[2].id).await.status, Status::Pending);
    let first = house.blocked(&[&house.ours]).await[0].first;
    assert_eq!(
        first.map(|first| (first.lane, first.seq)),
        Some((2, ours[0].position.seq))
    );
    assert!(house.let_go(&house.ours, KEY).await.waits);
    // What people are told of: a delivery that is dead was not, but its receiver fails.
    let cases = house
        .store
        .cases(&house.lease, house.now + seconds(9))
        .await;
    let causes: Vec<&str> = (cases.expect("asked").iter())
        .flat_map(|case| case.alerts.iter().map(|alert| alert.cause.as_str()))
        .collect();
    assert_eq!(causes, ["subscription.failing"; 2]);

    house
        .store
        .retry(ours[0].id, house.now)
        .await
        .expect("asked");
    house.work_off(house.now).await;
    let [now, _] = house.dues().await;
    let retried = now.iter().find(|due| due.id == ours[0].id).expect("due");
    assert!(retried.is_waited_for);
    assert!(
        house.let_go(&house.ours, KEY).await.waits,
        "the others wait"
    );
    assert_eq!(house.settle(&[kept(retried)]).await, []);
    house
        .store
        .cancel(ours[0].id, house.now)
        .await
        .expect("asked");
    house.work_off(house.now).await;
    assert_eq!(
        house.row(ours[0].id).await.status,
        Status::Ended(End::Cancelled)
    );
    assert!(!house.let_go(&house.ours, KEY).await.waits);
    assert_eq!(house.row(theirs[0].id).await.status, Status::Held);
}

pub(crate) async fn a_retry_does_not_have_one_go_before_others(store: Store) {
    let house = House::in_order(store, By::Strict, OnDead::GiveUp).await;
    house.routed(6).await;
    let [ours, theirs] = house.dues().await;
    // By a clock that is behind.
    let before = Timestamp::from_millis(house.now.as_millis() - 5_000);
    for due in [&ours[2], &theirs[2]] {
        house.store.retry(due.id, house.now).await.expect("asked");
    }
    house.work_off(before).await;
    let [now, others] = house.dues().await;
    assert_eq!(seqs(&now), seqs(&ours));
    let moved = [&seqs(&theirs)[2..], &seqs(&theirs)[..2]].concat();
    assert_eq!(seqs(&others), moved, "nobody waits for these");
    // What was put back is tried at once.
    let later = house.now + seconds(60);
    assert_eq!(house.settle(&[again(&ours[0], later)]).await, []);
    house
        .store
        .retry(ours[0].id, house.now)
        .await
        .expect("asked");
    house.work_off(house.now).await;
    let [now, _] = house.dues().await;
    assert_eq!(now.len(), 3);
    assert!(
        now.iter()
            .any(|due| due.id == ours[0].id && due.is_waited_for)
    );
}

pub(crate) async fn without_an_order_nobody_waits_any_more(store: Store) {
    let house = House::in_order(store, By::Strict, OnDead::GiveUp).await;
    house.routed(6).await;
    let [ours, _] = house.dues().await;
    let later = house.now + seconds(60);
    let all = [again(&ours[0], later), parked(&ours[1])];
    assert_eq!(house.settle(&all).await, []);
    assert!(house.let_go(&house.ours, KEY).await.waits);
    house.set_order(None).await;
    let done = house.let_go(&house.ours, KEY).await;
    assert_eq!((done.upto, done.waits), (None, false));
    let [now, _] = house.dues().await;
    assert_eq!(seqs(&now), seqs(&ours[1..]));
}

pub(crate) async fn what_was_kept_goes_when_nothing_is_to_be_held_any_more(store: Store) {
    let house = House::in_order(store, By::Recipient, OnDead::Hold).await;
    house.routed(6).await;
    let [ours, _] = house.dues().await;
    let spent = ours[0].spent;
    let all = [settled(&ours[0], Fate::Kept { spent }), parked(&ours[1])];
    assert_eq!(house.settle(&all).await, []);
    assert!(house.let_go(&house.ours, KEY).await.waits);
    let by = By::Recipient;
    house
        .set_order(Some(Order {
            by,
            on_dead: OnDead::GiveUp,
        }))
        .await;
    let blocked = house.blocked(&[&house.ours]).await;
    let waiting: Vec<_> = (blocked.iter())
        .map(|one| (one.first, one.parked))
        .collect();
    assert_eq!(waiting, [(None, Some(ours[0].position.seq))]);
    let done = house.let_go(&house.ours, KEY).await;
    assert_eq!((done.upto, done.waits), (None, false));
    let [now, _] = house.dues().await;
    assert_eq!(seqs(&now), seqs(&ours));
}

pub(crate) async fn nobody_is_let_go_behind_the_back_of_a_release(store: Store) {
    let house = House::in_order(store, By::Recipient, OnDead::GiveUp).await;
    house.routed(6).await;
    let [ours, _] = house.dues().await;
    assert_eq!(
        house.settle(&[parked(&ours[1]), parked(&ours[2])]).await,
        []
    );
    house
        .store
        .pause(house.ours.id, house.now)
        .await
        .expect("paused");
    let resumed = house
        .store
        .resume(house.ours.id, Held::None, house.now)
        .await;
    resumed.expect("resumed");
    let keys = [(house.number(&house.ours), KEY)];
    let done = house
        .store
        .let_go(&house.lease, &keys)
        .await
        .expect("asked");
    assert_eq!(done, []);
    house.work_off(house.now).await;
    assert_eq!(house.blocked(&[]).await, []);
    let left = house.store.remaining(house.now).await.expect("counted");
    assert_eq!((left.held, left.pending), (0, 3), "theirs");
}

pub(crate) async fn whoever_asks_is_told_the_recipient(store: Store) {
    let house = House::new(store).await;
    let for_ann = [client(1), client(2)].map(|of| enveloped(of, 1, r#""recipient":"ann","#));
    house.publish(&for_ann).await;
    house.route().await;
    let read = |of: &Subscription, named| LaneRead {
        subscription: house.number(of),
        after: None,
        limit: 10,
        named,
    };
    let lanes = [read(&house.ours, true), read(&house.theirs, false)];
    let rows = house
        .store
        .due(&house.lease, &lanes, house.now)
        .await
        .expect("read");
    let told = rows.due.iter().map(|due| {
        let named = due.named.as_deref();
        (
            due.position.subscription,
            named.and_then(|named| named.recipient.as_deref()),
        )
    });
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            (house.number(&house.ours), Some("ann")),
            (house.number(&house.theirs), None)
        ]
    );
}

pub(crate) async fn only_the_owner_lets_anybody_go(store: Store) {
    let house = House::new(store).await;
    house.routed(4).await;
    let [ours, _] = house.dues().await;
    assert_eq!(house.settle(&[parked(&ours[0])]).await, []);
    let of_another = tharsis_store::Lease {
        worker: worker(9),
        ..house.lease
    };
    let keys = [(house.number(&house.ours), KEY)];
    let asked: Result<_, StoreError> = house.store.let_go(&of_another, &keys).await;
    assert_eq!(code(asked), "lease_lost");
    let asked = house.store.blocked(&of_another, &[keys[0].0]).await;
    assert_eq!(code(asked), "lease_lost");
    assert_eq!(house.due(&house.ours, house.now).await.len(), 1);
}
