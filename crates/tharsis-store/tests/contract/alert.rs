//! What people are to be told.

use std::collections::BTreeMap;

use tharsis_core::{
    EventId, Timestamp,
    alert::{Alert, Cause, Facts, event},
    delivery::End,
    event::Event,
    health::{Condition, Health},
    subscription::{Settings, Subscription},
};
use tharsis_store::{
    Anew, Claim, Claimed, Lease, Outbox, Pointer, Registry, Settlement, StoreError, Telling, Told,
    Transition,
};

use crate::harness::{House, Store, client, seconds, settings, worker};

fn turned(condition: Condition, version: i64, at: Timestamp, failing_since: Timestamp) -> Health {
    Health {
        condition,
        since: Some(at),
        cause: (condition != Condition::Throttled).then(|| "http_503".to_owned()),
        failing_since: (condition != Condition::Throttled).then_some(failing_since),
        probe_at: None,
        probes: 0,
        version,
    }
}

impl House {
    async fn comes_to(&self, of: &Subscription, health: Health) {
        let transition = Transition {
            subscription: self.number(of),
            at: health.since.unwrap_or(self.now),
            health,
        };
        let left = self.store.transition(&self.lease, &[transition]).await;
        assert_eq!(left.expect("written"), [0_i64; 0]);
    }

    /// What is to be told of one subscription.
    async fn untold(&self, of: &Subscription, now: Timestamp) -> BTreeMap<Cause, Alert> {
        let number = self.number(of);
        let cases = self.store.cases(&self.lease, now).await.expect("cases");
        let case = cases.into_iter().find(|case| case.subscription == number);
        let alerts = case.into_iter().flat_map(|case| case.alerts);
        alerts.map(|alert| (alert.cause, alert)).collect()
    }

    /// What is told of it to others, by this instant.
    fn told_of(&self, alert: &Alert, now: Timestamp) -> Event {
        event(&self.ours, alert, &Facts::default(), now).expect("it can be told")
    }

    /// Claims it for a minute, and publishes what tells of it.
    async fn claims(
        &self,
        alert: &Alert,
        event: Option<Event>,
        now: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError> {
        let claims = [Claim {
            alert: alert.clone(),
            event,
        }];
        let until = now + seconds(60);
        self.store.claim(&self.lease, &claims, now, until).await
    }

    /// What is published of the events that tell of alerts.
    async fn own_events(&self) -> Vec<Pointer> {
        let pointers = self.store.pointers(&self.lease, 100).await;
        let mut own = pointers.expect("pointers").events;
        own.retain(|pointer| Cause::parse(&pointer.event_type).is_some());
        own
    }

    async fn became(&self, alert: &Alert, became: Told, now: Timestamp) {
        let telling = Telling {
            alert: alert.clone(),
            became,
        };
        self.store.told(&[telling], now).await.expect("written");
    }

    /// What became of all alerts, the newest first.
    async fn outcomes(&self) -> Vec<(Cause, Option<String>)> {
        let all = self.store.alerts(None).await.expect("a list");
        all.into_iter()
            .map(|record| (record.alert.cause, record.outcome))
            .collect()
    }
}

pub(crate) async fn contacts_come_back(store: Store) {
    let house = House::new(store).await;
    assert_eq!(
        house.ours.settings.alerts,
        Settings::clone(&house.theirs.settings).alerts
    );
    let mut changed = settings(client(1), "ours");
    changed.alerts.mail = ["a@shop.example", "b@shop.example"]
        .map(|text| text.parse().expect("an address"))
        .into();
    changed.alerts.every = seconds(7_200);
    let set = house
        .store
        .set(house.ours.id, &changed, Anew::default(), house.now)
        .await;
    assert_eq!(set.expect("set").settings.alerts, changed.alerts);
    let found = house.store.find(house.ours.id).await.expect("found");
    assert_eq!(found.settings.alerts, changed.alerts);
}

pub(crate) async fn a_failure_is_raised_once_with_its_transition(store: Store) {
    let house = House::new(store).await;
    let at = |n| house.now + seconds(n);
    assert_eq!(house.untold(&house.ours, at(0)).await, BTreeMap::new());
    house
        .comes_to(&house.ours, turned(Condition::Open, 1, at(60), at(0)))
        .await;
    let untold = house.untold(&house.ours, at(60)).await;
    let failing = &untold[&Cause::Failing];
    assert_eq!((failing.since, failing.raised_at), (at(0), at(60)));
    assert_eq!(
        (failing.stage, failing.code.as_deref()),
        (0, Some("http_503"))
    );
    assert_eq!(house.untold(&house.theirs, at(60)).await, BTreeMap::new());
    assert_eq!(
        house.untold(&house.ours, at(59)).await,
        BTreeMap::new(),
        "not yet"
    );

    // Once it is told, further probes that fail are no news, until it is half of the way to suspension.
    house.became(failing, Told::Told, at(61)).await;
    house
        .comes_to(&house.ours, turned(Condition::Open, 2, at(70), at(0)))
        .await;
    assert_eq!(house.untold(&house.ours, at(70)).await, BTreeMap::new());
    let half = 5 * 24 * 60 * 60 / 2;
    house
        .comes_to(&house.ours, turned(Condition::Open, 3, at(half), at(0)))
        .await;
    let untold = house.untold(&house.ours, at(half)).await;
    assert_eq!(untold[&Cause::Failing].stage, 50);
    let cases = house
        .store
        .cases(&house.lease, at(half))
        .await
        .expect("cases");
    assert_eq!(cases[0].told, BTreeMap::from([(Cause::Failing, at(61))]));

    // An end is raised, and what fails after it is another failure.
    house
        .comes_to(
            &house.ours,
            turned(Condition::Throttled, 4, at(half + 1), at(0)),
        )
        .await;
    let untold = house.untold(&house.ours, at(half + 1)).await;
    assert_eq!(untold[&Cause::Recovered].since, at(half + 1));
    house
        .became(&untold[&Cause::Failing], Told::Moot, at(half + 2))
        .await;
    let fails = turned(Condition::Open, 5, at(half + 9), at(half + 5));
    house.comes_to(&house.ours, fails).await;
    let untold = house.untold(&house.ours, at(half + 9)).await;
    assert_eq!(untold[&Cause::Failing].since, at(half + 5));
    let suspended = turned(Condition::Suspended, 6, at(half + 10), at(half + 5));
    house.comes_to(&house.ours, suspended).await;
    let untold = house.untold(&house.ours, at(half + 10)).await;
    assert!(untold.contains_key(&Cause::Suspended));
}

pub(crate) async fn what_ends_dead_is_counted_with_its_settlement(store: Store) {
    let house = House::new(store).await;
    house.routed(14).await;
    let now = house.now + seconds(10);
    let due = house.due(&house.ours, house.now).await;
    let ended = |n: usize, end| house.ended(&due[n], end);
    house.settle(&[ended(0, End::Delivered)]).await;
    assert_eq!(house.untold(&house.ours, now).await, BTreeMap::new());
    house
        .settle(&[ended(1, End::Dead), ended(2, End::Dead)])
        .await;
    // Again, after a lost answer; it is left alone, and so not counted.
    house
        .settle(&[ended(1, End::Dead), ended(3, End::Dead)])
        .await;
    let untold = house.untold(&house.ours, now).await;
    let dead = &untold[&Cause::Dead];
    assert_eq!((dead.count, dead.code.as_deref()), (3, Some("http_500")));
    assert_eq!(dead.since, house.now + seconds(1));
    assert_eq!(untold[&Cause::Failing].count, 0);

    // What is added while it is told is still to be told.
    house.settle(&[ended(4, End::Dead)]).await;
    house.became(dead, Told::Told, now).await;
    let untold = house.untold(&house.ours, now).await;
    assert_eq!(untold[&Cause::Dead].count, 1);
    let told = (Cause::Dead, Some("told".to_owned()));
    assert!(house.outcomes().await.contains(&told));

    let attempt = house.attempt(1, "address_not_global", 0);
    let then = house.now + seconds(60);
    let blocked = Settlement {
        attempt: Some(attempt),
        ..house.again(&due[5], then)
    };
    house.settle(&[blocked]).await;
    let untold = house.untold(&house.ours, now).await;
    let blocked = &untold[&Cause::Blocked];
    assert_eq!(
        (blocked.count, blocked.code.as_deref()),
        (1, Some("address_not_global"))
    );
    let audit = house.audit().await;
    let subject = house.ours.id.to_string();
    assert_eq!(
        (
            audit[0].action.as_str(),
            audit[0].actor.as_str(),
            &audit[0].subject
        ),
        ("address.blocked", "worker", &subject)
    );
    assert!(audit[0].detail.contains("address_not_global") && audit.len() == 1);

    let seen = |until| Settlement {
        certificate_ends: Some(house.now + seconds(until)),
        ..ended(6, End::Delivered)
    };
    assert!(!untold.contains_key(&Cause::Certificate));
    house.settle(&[seen(86_400)]).await;
    let untold = house.untold(&house.ours, now).await;
    let certificate = &untold[&Cause::Certificate];
    assert_eq!(
        certificate.since,
        house.now + seconds(86_400),
        "when it ends"
    );
    assert_eq!((certificate.count, certificate.code.as_deref()), (0, None));
}

pub(crate) async fn what_is_claimed_is_told_by_nobody_else(store: Store) {
    let house = House::new(store).await;
    let at = |n| house.now + seconds(n);
    house
        .comes_to(&house.ours, turned(Condition::Open, 1, at(0), at(0)))
        .await;
    let failing = house
        .untold(&house.ours, at(1))
        .await
        .remove(&Cause::Failing);
    let failing = failing.expect("it is raised");
    let claim = |now| house.claims(&failing, None, now);
    let ours = [Claimed {
        alert: failing.id,
        event: None,
    }];
    assert_eq!(claim(at(1)).await.expect("claimed"), ours);
    assert_eq!(claim(at(2)).await.expect("asked"), []);
    assert_eq!(house.untold(&house.ours, at(2)).await, BTreeMap::new());
    // Who claimed it has died.
    assert_eq!(claim(at(61)).await.expect("claimed"), ours);

    let again = Told::Again {
        due_at: at(70),
        accepted: vec!["a@shop.example".to_owned()],
    };
    house.became(&failing, again, at(62)).await;
    assert_eq!(house.untold(&house.ours, at(69)).await, BTreeMap::new());
    let untold = house.untold(&house.ours, at(70)).await;
    let failing = &untold[&Cause::Failing];
    assert_eq!(
        (failing.tries, &*failing.accepted),
        (1, &["a@shop.example".to_owned()][..])
    );
    house.became(failing, Told::Nobody, at(71)).await;
    let nobody = (Cause::Failing, Some("nobody".to_owned()));
    assert_eq!(house.outcomes().await, [nobody]);
}

pub(crate) async fn who_listens_does_not_wait_for_mail_that_nobody_takes(store: Store) {
    let house = House::new(store).await;
    house.routed(12).await;
    let due = house.due(&house.ours, house.now).await;
    let dies = |n: usize| {
        let mut dead = house.ended(&due[n], End::Dead);
        let attempt = dead.attempt.as_mut().expect("it was tried");
        attempt.at = house.now + seconds(100 * n as u64);
        dead
    };
    let dead = async |now| house.untold(&house.ours, now).await.remove(&Cause::Dead);
    house.settle(&[dies(0), dies(1)]).await;
    let now = house.now + seconds(3_600);
    let first = dead(now).await.expect("it is raised");
    assert_eq!((first.count, first.event_count), (2, 0));
    assert!(first.wants_event(seconds(60), now));
    let told = Some(house.told_of(&first.for_event(), now));
    let claimed = house.claims(&first, told, now).await.expect("claimed");
    let event = claimed[0].event.expect("it is published");
    let again = |due_at| Told::Again {
        due_at,
        accepted: Vec::new(),
    };
    house.became(&first, again(now), now).await;

    // Mail fails, and another dies. Nobody hears of that before its turn.
    let mut third = dies(2);
    third.attempt.as_mut().expect("it was tried").at = event.at() + seconds(1);
    house.settle(&[third]).await;
    let second = dead(now).await.expect("it is not told");
    assert_eq!(
        (second.count, second.event_count, second.event),
        (3, 2, Some(event))
    );
    assert!(!second.wants_event(seconds(60), event.at() + seconds(59)));
    let turn = event.at() + seconds(60);
    assert!(second.wants_event(seconds(60), turn));
    assert_eq!(second.for_event().count, 1);
    let told = || Some(house.told_of(&second.for_event(), turn));
    // One that was read before the first event was published does not publish another.
    let stale = house.claims(&first, told(), now).await.expect("claimed");
    assert_eq!(stale[0].event, Some(event));
    house.became(&second, again(now), now).await;
    let claimed = house.claims(&second, told(), now).await.expect("claimed");
    let next = claimed[0].event.expect("it is published");
    assert_ne!(next, event);
    assert_eq!(house.own_events().await.len(), 2);
    house.became(&second, again(now), now).await;
    let last = dead(now).await.expect("mail is not told");
    assert_eq!(
        (last.count, last.event_count, last.event),
        (3, 3, Some(next))
    );
    assert_eq!(last.for_event().count, 0);
    // People are told of all three, once they are.
    house.became(&last, Told::Told, now).await;
    assert_eq!(dead(now).await, None);
}

pub(crate) async fn a_message_says_what_waits_and_what_was_answered(store: Store) {
    let house = House::new(store).await;
    house.routed(8).await;
    let due = house.due(&house.ours, house.now).await;
    let then = house.now + seconds(5);
    house
        .settle(&[house.again(&due[0], then), house.again(&due[1], then)])
        .await;
    house.settle(&[house.ended(&due[2], End::Delivered)]).await;
    house
        .comes_to(&house.ours, turned(Condition::Open, 1, then, house.now))
        .await;
    let facts = house
        .store
        .facts(house.number(&house.ours))
        .await
        .expect("facts");
    assert_eq!((facts.condition, facts.waiting), (Condition::Open, 3));
    let answers: Vec<_> = (facts.answers.into_iter())
        .map(|answer| (answer.code, answer.count, answer.at))
        .collect();
    let at = house.now + seconds(1);
    assert_eq!(
        answers,
        [
            ("http_503".to_owned(), 1, then),
            ("http_500".to_owned(), 2, at)
        ]
    );
}

pub(crate) async fn what_tells_of_it_is_published_once_with_its_claim(store: Store) {
    let house = House::new(store).await;
    let at = |n| house.now + seconds(n);
    house
        .comes_to(&house.ours, turned(Condition::Open, 1, at(0), at(0)))
        .await;
    let untold = house.untold(&house.ours, at(1)).await;
    let failing = &untold[&Cause::Failing];
    assert_eq!(failing.event, None);
    let told = |n| Some(house.told_of(failing, at(n)));

    // Whose lease it is not any more claims nothing, and publishes nothing.
    let stranger = Lease {
        worker: worker(7),
        epoch: house.lease.epoch - 1,
        ..house.lease
    };
    let claims = [Claim {
        alert: failing.clone(),
        event: told(1),
    }];
    let lost = house.store.claim(&stranger, &claims, at(1), at(61)).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
    assert!(house.own_events().await.is_empty());

    house.changed().await;
    let claimed = house.claims(failing, told(1), at(1)).await;
    let claimed = claimed.expect("claimed");
    let id = claimed[0].event.expect("it is published");
    assert!(house.changed().await, "the owner of its pointer sees it");
    let published = house.own_events().await;
    let [pointer] = &*published else {
        panic!("{published:?}");
    };
    assert_eq!((pointer.event, pointer.client), (id, client(1)));
    assert_eq!(&*pointer.event_type, "subscription.failing");
    assert!(pointer.unfrozen.is_none());
    let named = pointer.named.clone().expect("whom it is about");
    let about = house.ours.id.to_string();
    assert_eq!(named.recipient.as_deref(), Some(&*about));
    let payload = house.store.payloads(&[id]).await.expect("its payload");
    assert_eq!(payload[0], house.told_of(failing, at(1)).payload());

    // Neither by who does not get it, nor by who claims it when the first has died, nor after mail has failed.
    assert_eq!(
        house.claims(failing, told(2), at(2)).await.expect("asked"),
        []
    );
    let again = house.claims(failing, told(61), at(61)).await;
    assert_eq!(again.expect("claimed"), claimed);
    let failed = Told::Again {
        due_at: at(70),
        accepted: Vec::new(),
    };
    house.became(failing, failed, at(62)).await;
    let untold = house.untold(&house.ours, at(70)).await;
    let failing = &untold[&Cause::Failing];
    assert_eq!(failing.event, Some(id));
    assert!(
        !failing.wants_event(seconds(0), at(70)),
        "nothing has come since"
    );
    let again = house.claims(failing, None, at(70)).await;
    assert_eq!(again.expect("claimed"), claimed);
    house.became(failing, Told::Told, at(71)).await;
    assert_eq!(house.own_events().await.len(), 1);
    let listed = house.store.alerts(None).await.expect("a list");
    assert_eq!(listed[0].alert.event, Some(id));
}

pub(crate) async fn what_is_added_while_it_is_told_has_an_event_of_its_own(store: Store) {
    let house = House::new(store).await;
    house.routed(12).await;
    let at = |n| house.now + seconds(n);
    let due = house.due(&house.ours, house.now).await;
    let ended = |n: usize| house.ended(&due[n], End::Dead);
    let dead = async |n| {
        let mut untold = house.untold(&house.ours, at(n)).await;
        untold.remove(&Cause::Dead).expect("it is raised")
    };
    // Claims it, has this done meanwhile, and has told it then.
    let tell = async |alert: Alert, n: u64, meanwhile: &[Settlement]| -> EventId {
        let event = Some(house.told_of(&alert, at(n)));
        let claimed = house.claims(&alert, event, at(n)).await.expect("claimed");
        house.settle(meanwhile).await;
        let event = claimed[0].event;
        let alert = Alert { event, ..alert };
        house.became(&alert, Told::Told, at(n)).await;
        event.expect("it is published")
    };
    house.settle(&[ended(0), ended(1)]).await;
    let first = tell(dead(10).await, 10, &[ended(2)]).await;
    let next = dead(11).await;
    assert_eq!((next.count, next.event), (1, None));
    let second = tell(next, 11, &[]).await;
    assert_ne!(first, second);
    let published: Vec<EventId> = (house.own_events().await.iter())
        .map(|pointer| pointer.event)
        .collect();
    assert_eq!(published, [first, second]);
    let listed = house.store.alerts(None).await.expect("a list");
    let listed: Vec<_> = (listed.into_iter())
        .filter(|record| record.alert.cause == Cause::Dead)
        .map(|record| (record.outcome, record.alert.count, record.alert.event))
        .collect();
    let told = |count, event| (Some("told".to_owned()), count, Some(event));
    assert!(listed.contains(&told(2, first)), "{listed:?}");
    assert!(listed.contains(&told(1, second)), "{listed:?}");
}

pub(crate) async fn the_next_stage_of_a_failure_is_told_though_mail_has_failed(store: Store) {
    let house = House::new(store).await;
    let at = |n| house.now + seconds(n);
    let failing = async |n| {
        let mut untold = house.untold(&house.ours, at(n)).await;
        untold.remove(&Cause::Failing).expect("it is raised")
    };
    house
        .comes_to(&house.ours, turned(Condition::Open, 1, at(0), at(0)))
        .await;
    let first = failing(1).await;
    let event = Some(house.told_of(&first, at(1)));
    house.claims(&first, event, at(1)).await.expect("claimed");
    let half = 5 * 24 * 60 * 60 / 2;
    let before = turned(Condition::Open, 2, at(half - 1), at(0));
    house.comes_to(&house.ours, before).await;
    assert!(failing(half).await.event.is_some(), "it is no news");
    let turned = turned(Condition::Open, 3, at(half), at(0));
    house.comes_to(&house.ours, turned).await;
    let next = failing(half).await;
    assert_eq!((next.stage, next.event), (50, None));
}

pub(crate) async fn each_client_has_its_own_list(store: Store) {
    let house = House::new(store).await;
    for of in [&house.ours, &house.theirs] {
        let failing = turned(Condition::Open, 1, house.now, house.now);
        house.comes_to(of, failing).await;
    }
    let listed = async |of: Option<u8>| {
        let list = house.store.alerts(of.map(client)).await;
        let list = list.expect("a list").into_iter();
        list.map(|record| (record.client, record.subscription))
            .collect::<Vec<_>>()
    };
    let ours = (client(1), house.ours.id);
    let theirs = (client(2), house.theirs.id);
    assert_eq!(listed(None).await, [theirs, ours]);
    assert_eq!(listed(Some(1)).await, [ours]);
    assert_eq!(listed(Some(2)).await, [theirs]);
    assert_eq!(listed(Some(3)).await, []);
}
