//! Clients whose backlog is full.

use tharsis_core::delivery::End;

use crate::harness::{House, Store, client, event};
use tharsis_store::{Outbox, Registry};

pub(crate) async fn a_client_whose_backlog_is_full_is_refused_until_a_tenth_is_free(store: Store) {
    let house = House::new(store).await;
    let weigh = async |limit: Option<u64>| {
        let weighed = house.store.weigh(&house.lease, limit, house.now).await;
        weighed.expect("weighed");
        let survey = house.store.survey().await.expect("a survey");
        let full: Vec<_> = survey.full.iter().map(|full| full.client).collect();
        full
    };
    let publish = async |of: u8, n: u32| {
        let published = house.store.publish(&[event(client(of), n)]).await;
        let one = published.expect("asked").remove(0);
        one.map(|one| one.duplicate).map_err(|refused| refused.code)
    };
    for n in 0..10 {
        assert_eq!(publish(1, n).await, Ok(false));
        if n < 3 {
            assert_eq!(publish(2, n).await, Ok(false));
        }
        // What is routed waits as what is not.
        if n == 5 {
            house.route().await;
        }
    }
    assert_eq!(weigh(None).await, []);
    assert_eq!(weigh(Some(11)).await, []);
    assert_eq!(weigh(Some(10)).await, [client(1)]);

    assert_eq!(publish(1, 10).await, Err("backlog_full"));
    assert_eq!(publish(1, 4).await, Ok(true), "it was published before");
    assert_eq!(publish(2, 4).await, Ok(false));
    let together = [
        event(client(1), 11),
        event(client(2), 11),
        event(client(1), 3),
        event(client(1), 12),
    ];
    let published = house.store.publish(&together).await.expect("asked");
    let refused: Vec<bool> = published.iter().map(Result::is_err).collect();
    assert_eq!(refused, [true, false, false, true], "each for itself");

    assert_eq!(weigh(Some(10)).await, [client(1)], "nothing is free");
    house.route().await;
    house.end_all(&house.theirs, End::Delivered).await;
    let due = house.due(&house.ours, house.now).await;
    let first = house.ended(&due[0], End::Delivered);
    assert_eq!(house.settle(&[first]).await, []);
    assert_eq!(weigh(Some(10)).await, []);
    assert_eq!(publish(1, 10).await, Ok(false));
    // Without a limit nobody is refused any more.
    assert_eq!(weigh(Some(1)).await, [client(1)]);
    assert_eq!(weigh(None).await, []);
}
