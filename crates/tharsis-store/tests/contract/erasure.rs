//! Data that somebody wants erased.

use tharsis_core::{EventId, delivery::End, erasure::Erasure};
use tharsis_store::{
    By, Campaign, DeliveryFilter, Erased, Outbox, Registry, ReplayChoice, ReplayKey, ReplayState,
    Retention, StoreError,
};

use crate::harness::{House, Store, asking, client, code, enveloped, seconds};

async fn published(house: &House, of: u8, n: u32, recipient: &str) -> EventId {
    let fields = format!(r#""recipient":"{recipient}","#);
    house.publish(&[enveloped(client(of), n, &fields)]).await[0].id
}

async fn is_known(house: &House, id: EventId) -> bool {
    match house.store.event(id).await {
        Ok(_) => true,
        Err(StoreError::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn erase(house: &House, whose: &Erasure) -> Erased {
    let erased = house
        .store
        .erase(whose, By::new("sre", house.now), &|_| ())
        .await;
    erased.expect("erased")
}

fn ann(of: Option<u8>) -> Erasure {
    Erasure::Recipient {
        recipient: "ann".to_owned(),
        client: of.map(client),
    }
}

pub(crate) async fn a_person_is_erased_wherever_her_events_are(store: Store) {
    let house = House::new(store).await;
    let delivered = published(&house, 1, 1, "ann").await;
    let of_bob = published(&house, 1, 2, "bob").await;
    let theirs = published(&house, 2, 3, "ann").await;
    house.route().await;
    house.end_all(&house.ours, End::Delivered).await;
    house.end_all(&house.theirs, End::Dead).await;
    let due = published(&house, 1, 4, "ann").await;
    house.route().await;
    let unrouted = published(&house, 1, 5, "ann").await;
    let of_bob_too = published(&house, 1, 6, "bob").await;
    let stopped = Campaign {
        client: client(1),
        name: "spring".to_owned(),
        recipient: Some("ann".to_owned()),
    };
    let stopped = house.store.cancel_campaign(&stopped, house.now).await;
    stopped.expect("stopped");
    let read = house.due(&house.ours, house.now + seconds(60)).await;

    let erased = erase(&house, &ann(Some(1))).await;
    let expected = Erased {
        events: 3,
        unfinished: 1,
        attempts: 1,
        subscriptions: 0,
        stops: 1,
    };
    assert_eq!(erased, expected);
    for id in [delivered, due, unrouted] {
        assert!(!is_known(&house, id).await);
    }
    for id in [of_bob, theirs, of_bob_too] {
        assert!(is_known(&house, id).await);
    }
    // The owner is told to read that lane anew.
    let mut lanes = Vec::new();
    while let done = house
        .store
        .work_off(&house.lease, house.now)
        .await
        .expect("done")
        && done.more
    {
        lanes.extend(done.lanes.iter().map(|lane| lane.subscription));
    }
    assert!(lanes.contains(&house.number(&house.ours)));
    house.route().await;
    let left = house.due(&house.ours, house.now + seconds(60)).await;
    assert_eq!(
        left.iter().map(|due| due.id.event).collect::<Vec<_>>(),
        [of_bob_too]
    );

    // What was under way is over, and what was written of it goes.
    let late = house.ended(&read[0], End::Delivered);
    house.settle(&[late]).await;
    let later = house.now + seconds(2 * 60 * 60);
    while house
        .store
        .forget(&Retention::FOREVER, later)
        .await
        .expect("swept")
        .more
    {}
    let listed = house.all(&DeliveryFilter::default()).await;
    let mut events: Vec<EventId> = listed.iter().map(|row| row.id.event).collect();
    events.sort();
    let mut expected = [of_bob, theirs, of_bob_too];
    expected.sort();
    assert_eq!(events, expected);

    // It may be published again, for nothing remembers it.
    let fields = r#""recipient":"ann","#;
    let again = house.publish(&[enveloped(client(1), 1, fields)]).await;
    assert!(!again[0].duplicate);
    assert_eq!(erase(&house, &ann(None)).await.events, 2, "at both clients");
    assert!(!is_known(&house, theirs).await);
    let mut audit = house.audit().await;
    assert!(!format!("{audit:?}").contains("ann"));
    audit.retain(|entry| entry.action == "recipient.erased");
    assert_eq!(audit.len(), 2);
    assert_eq!(audit[0].action, "recipient.erased");
    assert_eq!(audit[0].subject, ann(None).subject());
}

pub(crate) async fn a_client_is_erased_as_a_whole(store: Store) {
    let house = House::new(store).await;
    let ours = published(&house, 1, 1, "ann").await;
    let theirs = published(&house, 2, 2, "ann").await;
    house.route().await;

    // What its subscription lacks is asked for, and held.
    let missing = ReplayChoice::Missing(house.ours.id, DeliveryFilter::default());
    let draft = asking(&missing, ReplayKey::Same);
    let replay = house.store.replay(&draft, house.now).await.expect("asked");
    let paused = house
        .store
        .pause_replay(replay.id, By::new("sre", house.now))
        .await;
    paused.expect("paused");

    let erased = erase(&house, &Erasure::Client(client(1))).await;
    assert_eq!(
        (erased.events, erased.unfinished, erased.subscriptions),
        (1, 1, 1)
    );
    assert!(!is_known(&house, ours).await);
    assert_eq!(
        code(house.store.find(house.ours.id).await),
        "no subscription"
    );
    assert!(is_known(&house, theirs).await);
    assert_eq!(
        house
            .due(&house.theirs, house.now + seconds(60))
            .await
            .len(),
        1
    );
    let resumed = house
        .store
        .resume_replay(replay.id, By::new("sre", house.now))
        .await;
    resumed.expect("resumed");
    house.work_off(house.now).await;
    let replay = house.store.replay_state(replay.id).await.expect("a replay");
    assert_eq!((replay.state, replay.replayed), (ReplayState::Done, 0));
    let all = house.store.list(None).await.expect("a list");
    assert_eq!(all.len(), 1);
    assert_eq!(
        erase(&house, &Erasure::Client(client(1))).await,
        Erased::default()
    );
    // What comes later is of nobody.
    published(&house, 1, 3, "ann").await;
    house.route().await;
    assert_eq!(house.all(&DeliveryFilter::default()).await.len(), 1);
}
