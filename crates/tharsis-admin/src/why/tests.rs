use std::time::Duration;

use tharsis::{
    ClientId,
    egress::Policy,
    event::EventType,
    health::Health,
    order::{OnDead, Order},
    profile::Profiles,
    store::{Attempt, AttemptRecord, Campaign, DeliveryRow, EventRecord, Refusal, Shards},
    subscription::{Credentials, Draft},
};

use super::*;

const NOW: i64 = 1_700_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW + seconds * 1_000)
}

fn client(n: u8) -> ClientId {
    ClientId::new(Timestamp::from_millis(1), [n; 10])
}

fn event_id(n: u8) -> EventId {
    EventId::new(at(-60), [n; 10])
}

fn subscription_id(n: u8) -> SubscriptionId {
    SubscriptionId::new(at(-1_000), [n; 10])
}

/// A nudge of client 1 that was published a minute ago and is routed, while a worker owns everything.
fn nudge() -> Whereabouts {
    Whereabouts {
        now: at(0),
        event: EventRecord {
            id: event_id(1),
            event_type: "nudge".to_owned(),
            client: client(1),
            campaign: None,
            recipient: None,
            published_at: at(-60),
            not_before: None,
            expires_at: None,
            routed: true,
            refused: None,
            payload: br#"{"channel":"sms"}"#.to_vec().into(),
            deliveries: Vec::new(),
        },
        candidates: Vec::new(),
        stops: Vec::new(),
        owned: Shards::ALL,
    }
}

/// A subscription of client 1, as old as the hills.
fn candidate(n: u8, name: &str) -> Candidate {
    let draft = Draft {
        client: client(1).to_string(),
        name: name.to_owned(),
        url: "https://hooks.example.com/in".to_owned(),
        ..Draft::default()
    };
    let settings = draft
        .settings(&Policy::default(), &Profiles::default())
        .unwrap();
    let subscription = Subscription::new(
        subscription_id(n),
        settings,
        (State::Active, Health::default()),
        &Credentials::default(),
        (at(-1_000), at(-1_000)),
    );
    Candidate {
        id: subscription.id,
        name: name.to_owned(),
        created_at: subscription.created_at,
        removed_at: None,
        held_since: None,
        subscription: Some(subscription),
        delivery: None,
        place: None,
    }
}

fn of(candidate: &mut Candidate) -> &mut Subscription {
    candidate.subscription.as_mut().unwrap()
}

fn attempt(number: u32, seconds: i64, code: &str, status: Option<u16>) -> AttemptRecord {
    AttemptRecord {
        attempt: Attempt {
            number,
            at: at(seconds),
            duration: Duration::from_micros(12_340),
            code: code.to_owned(),
            status,
            excerpt: b"an answer that is nobody's business".to_vec(),
            detail: None,
        },
        end: None,
        due_at: None,
    }
}

/// With a delivery of the event, in this status.
fn delivered(mut candidate: Candidate, status: Status, attempts: Vec<AttemptRecord>) -> Candidate {
    let last = attempts.last().map(|record| record.attempt.clone());
    candidate.delivery = Some(DeliveryDetail {
        row: DeliveryRow {
            id: format!("{}/{}", event_id(1), candidate.id).parse().unwrap(),
            event_type: "nudge".to_owned(),
            client: client(1),
            campaign: None,
            subscription_name: candidate.name.clone(),
            status,
            attempts: last.as_ref().map_or(0, |last| last.number),
            code: last.as_ref().map(|last| last.code.clone()),
            published_at: at(-60),
            last_at: last.as_ref().map(|last| last.at),
            due_at: None,
        },
        attempts,
    });
    candidate
}

/// With one that is not through, due then, in this lane.
fn waiting(candidate: Candidate, status: Status, due: i64, lane: u16) -> Candidate {
    let tries = match status {
        Status::Retrying => vec![attempt(1, -30, "http_503", Some(503))],
        _ => Vec::new(),
    };
    let place = Place {
        lane,
        tries: u32::try_from(tries.len()).unwrap(),
        behind: None,
    };
    let mut candidate = delivered(candidate, status, tries);
    candidate.delivery.as_mut().unwrap().row.due_at = Some(at(due));
    candidate.place = Some(place);
    candidate
}

/// What is said of one candidate: the sentence, the codes and what comes next.
fn told(whereabouts: &Whereabouts) -> String {
    let answer = judge(whereabouts);
    let said = &answer.subscriptions[0];
    let codes: Vec<&str> = said.findings.iter().map(|finding| &*finding.code).collect();
    let run: Vec<&str> = (said.findings.iter())
        .filter_map(|finding| finding.command.as_deref())
        .collect();
    format!(
        "{}\n{} {codes:?} {:?}\n{}",
        answer.sentence,
        said.status,
        said.next,
        run.join("\n")
    )
}

fn with(candidate: Candidate) -> Whereabouts {
    Whereabouts {
        candidates: vec![candidate],
        ..nudge()
    }
}

#[test]
fn to_whom_it_did_not_go_and_why() {
    let mut other_types = candidate(2, "Shop");
    of(&mut other_types).settings.events = vec![EventType::new("signal").unwrap()];
    insta::assert_snapshot!(told(&with(other_types)), @r#"
    It did not go to Shop: it does not want events of the type nudge, but signal.
    not_sent ["wants_other_types"] Never
    tharsis subscription show 018bcfd6-25c0-7202-8202-020202020202
    "#);

    let mut filtered = candidate(2, "Shop");
    of(&mut filtered).settings.filter = Some(Filter::parse(r#"event.channel == "push""#).unwrap());
    insta::assert_snapshot!(told(&with(filtered)), @r#"
    It did not go to Shop: its filter is false of it: event.channel == "push".
    not_sent ["filter_false"] Never
    tharsis subscription filter-test --subscription 018bcfd6-25c0-7202-8202-020202020202 --event 018bcfe4-7da0-7101-8101-010101010101
    "#);

    let mut missing = candidate(2, "Shop");
    of(&mut missing).settings.filter = Some(Filter::parse("event.coupon.discount > 20").unwrap());
    insta::assert_snapshot!(told(&with(missing)), @r#"
    It did not go to Shop: its filter cannot be told of it: column 7: the event has no such field or element, at `coupon.discount > 20`.
    not_sent ["filter_field_missing"] Never
    tharsis subscription filter-test --subscription 018bcfd6-25c0-7202-8202-020202020202 --event 018bcfe4-7da0-7101-8101-010101010101
    "#);

    let mut later = candidate(2, "Shop");
    (later.created_at, of(&mut later).created_at) = (at(-10), at(-10));
    of(&mut later).updated_at = at(-10);
    insta::assert_snapshot!(told(&with(later)), @r#"
    It did not go to Shop: it was added 2023-11-14T22:13:10Z (10s ago), after the event was published 2023-11-14T22:12:20Z (1m ago).
    not_sent ["added_later"] Never
    "#);

    let mut removed = candidate(2, "Shop");
    (removed.removed_at, removed.subscription) = (Some(at(-10)), None);
    insta::assert_snapshot!(told(&with(removed)), @r#"
    It did not go to Shop: it was removed 2023-11-14T22:13:10Z (10s ago), and had got nothing of it.
    not_sent ["removed"] Never
    "#);

    let mut other_client = candidate(2, "Shop");
    of(&mut other_client).settings.client = client(2);
    insta::assert_snapshot!(told(&with(other_client)), @r#"
    It did not go to Shop: it is of another client, 00000000-0001-7202-8202-020202020202, and gets the events of that one alone.
    not_sent ["other_client"] Never
    "#);

    let mut changed = candidate(2, "Shop");
    of(&mut changed).updated_at = at(-10);
    insta::assert_snapshot!(told(&with(changed)), @r#"
    It did not go to Shop: as it is today it would get it; it was changed 2023-11-14T22:13:10Z (10s ago), after the event was published.
    not_sent ["changed_since"] Never
    "#);

    insta::assert_snapshot!(told(&with(candidate(2, "Shop"))), @r#"
    It did not go to Shop: as it is today it would get it, and nothing on record says why it did not.
    not_sent ["unexplained"] Never
    "#);
}

#[test]
fn nobody_hears_of_itself() {
    let mut listener = candidate(2, "Shop");
    of(&mut listener).settings.events = vec![EventType::new("delivery.dead").unwrap()];
    let mut whereabouts = with(listener);
    whereabouts.event.event_type = "delivery.dead".to_owned();
    whereabouts.event.recipient = Some(subscription_id(2).to_string());
    insta::assert_snapshot!(told(&whereabouts), @r#"
    It did not go to Shop: the event tells of it, and whom an event of ours is about is not sent it.
    not_sent ["about_itself"] Never
    "#);
    // Of another one it would have.
    whereabouts.event.recipient = Some(subscription_id(3).to_string());
    assert_eq!(
        judge(&whereabouts).subscriptions[0].findings[0].code,
        "unexplained"
    );
}

#[test]
fn what_is_not_routed_is_told_as_it_will_be() {
    let mut whereabouts = with(candidate(2, "Shop"));
    whereabouts.event.routed = false;
    insta::assert_snapshot!(told(&whereabouts), @r#"
    It is not routed yet: a worker is about to route it; it was published 2023-11-14T22:12:20Z (1m ago).
    not_routed ["would_get_it"] Routing
    "#);
    whereabouts.owned = Shards::default();
    let answer = judge(&whereabouts);
    assert_eq!(answer.findings[0].code, "no_worker");
    assert_eq!(answer.findings[0].command.as_deref(), Some("tharsis run"));

    whereabouts.event.refused = Some(Refusal {
        code: "duplicate_key".to_owned(),
        field: Some("payload.a".to_owned()),
        message: "is there twice".to_owned(),
    });
    insta::assert_snapshot!(told(&whereabouts), @r#"
    It was refused, and goes to nobody: its payload could not be frozen: payload.a: is there twice.
    not_sent ["refused"] Never
    "#);
}

#[test]
fn how_it_ended() {
    let end = |end, records| with(delivered(candidate(2, "Shop"), Status::Ended(end), records));
    insta::assert_snapshot!(told(&end(End::Delivered, vec![attempt(1, -59, "http_200", Some(200))])), @r#"
    It was delivered to Shop: the receiver took it 2023-11-14T22:12:21Z (59s ago), with attempt 1.
    delivered ["http_200"] Never
    "#);
    let dead = end(
        End::Dead,
        vec![
            attempt(1, -59, "http_503", Some(503)),
            attempt(2, -5, "tls_cert_expired", None),
        ],
    );
    insta::assert_snapshot!(told(&dead), @r#"
    It was given up for Shop: the receiver's certificate has expired (tls_cert_expired), 2023-11-14T22:13:15Z (5s ago).
    dead ["tls_cert_expired"] Never
    tharsis replay 018bcfe4-7da0-7101-8101-010101010101/018bcfd6-25c0-7202-8202-020202020202
    "#);
    insta::assert_snapshot!(told(&end(End::Refused, vec![attempt(0, -59, "payload_too_large", None)])), @r#"
    It could not be sent to Shop: the body is over the limit of the subscription's profile (payload_too_large), 2023-11-14T22:12:21Z (59s ago).
    refused ["payload_too_large"] Never
    "#);
    insta::assert_snapshot!(told(&end(End::Cancelled, vec![attempt(0, -59, "superseded", None)])), @r#"
    It was cancelled for Shop: an admin resumed the subscription with the latest only, and a later event was for the same recipient (superseded), 2023-11-14T22:12:21Z (59s ago).
    cancelled ["superseded"] Never
    tharsis replay 018bcfe4-7da0-7101-8101-010101010101/018bcfd6-25c0-7202-8202-020202020202
    "#);
    let mut expired = end(End::Expired, vec![attempt(0, -59, "expired", None)]);
    expired.event.expires_at = Some(at(-59));
    insta::assert_snapshot!(told(&expired), @r#"
    It has expired for Shop: the event's expiry passed before it could be sent (expired), 2023-11-14T22:12:21Z (59s ago).
    expired ["expired"] Never
    "#);
}

#[test]
fn what_holds_it_now() {
    let held = |change: &dyn Fn(&mut Candidate)| {
        let mut candidate = waiting(candidate(2, "Shop"), Status::Held, -50, 0);
        change(&mut candidate);
        told(&with(candidate))
    };
    insta::assert_snapshot!(held(&|shop| {
        shop.held_since = Some(at(-600));
        of(shop).state = State::Paused;
    }), @r#"
    It is held for Shop: its subscription is paused since 2023-11-14T22:03:20Z (10m ago).
    held ["paused"] Release
    tharsis subscription resume 018bcfd6-25c0-7202-8202-020202020202
    "#);
    for reason in [
        "http_410",
        "failing",
        "secret_unreadable",
        "profile_unknown",
        "filter_unknown",
    ] {
        let told = held(&|shop| {
            of(shop).state = State::Suspended {
                reason: reason.to_owned(),
            };
        });
        assert!(told.contains(&format!("suspended ({reason}): ")), "{told}");
        let resumes = told.contains("tharsis subscription resume");
        assert_eq!(resumes, matches!(reason, "http_410" | "failing"), "{told}");
    }
    insta::assert_snapshot!(held(&|shop| {
        of(shop).health = Health {
            condition: Condition::Open,
            since: Some(at(-300)),
            cause: Some("http_503".to_owned()),
            failing_since: Some(at(-400)),
            probe_at: Some(at(120)),
            probes: 4,
            version: 3,
        };
    }), @r#"
    It is held for Shop: the breaker of its subscription is open since 2023-11-14T22:08:20Z (5m ago): the receiver fails, with http_503.
    held ["breaker_open"] Probe(Some(Timestamp(1700000120000)))
    tharsis subscription resume 018bcfd6-25c0-7202-8202-020202020202
    "#);
    insta::assert_snapshot!(held(&|shop| of(shop).resuming = Some(Held::Latest)), @r#"
    It is held for Shop: its subscription is about to go on with the latest for each recipient alone, and the owner ends the others first.
    held ["resuming"] Release
    "#);
    insta::assert_snapshot!(held(&|shop| shop.place.as_mut().unwrap().lane = KEPT), @r#"
    It is held for Shop: its retries are used up, and it is kept, so that those after it wait (--on-dead hold).
    held ["kept"] Release
    tharsis delivery retry 018bcfe4-7da0-7101-8101-010101010101/018bcfd6-25c0-7202-8202-020202020202
    "#);
    insta::assert_snapshot!(held(&|shop| {
        of(shop).settings.order = Some(Order {
            by: "recipient".parse().unwrap(),
            on_dead: OnDead::Hold,
        });
        let place = shop.place.as_mut().unwrap();
        (place.lane, place.behind) = (PARKED, Some(event_id(9)));
    }), @r#"
    It is held for Shop: it goes in order (recipient), after that of 018bcfe4-7da0-7909-8909-090909090909, which is not through yet.
    held ["in_order"] After(Some(EventId(018bcfe4-7da0-7909-8909-090909090909)))
    tharsis why 018bcfe4-7da0-7909-8909-090909090909 --subscription 018bcfd6-25c0-7202-8202-020202020202
    "#);
    insta::assert_snapshot!(held(&|shop| {
        (shop.removed_at, shop.subscription) = (Some(at(-1)), None);
    }), @r#"
    It is held for Shop: its subscription was removed 2023-11-14T22:13:19Z (1s ago): it is ended `cancelled`.
    held ["subscription_removed"] End
    "#);
}

#[test]
fn a_campaign_holds_or_ends_it() {
    let stop = |recipient: Option<&str>, state| Stop {
        seq: 1,
        campaign: Campaign {
            client: client(1),
            name: "spring sale".to_owned(),
            recipient: recipient.map(str::to_owned),
        },
        state,
        since: at(-20),
    };
    let mut whereabouts = with(waiting(candidate(2, "Shop"), Status::Held, -50, ASIDE));
    whereabouts.event.campaign = Some("spring sale".to_owned());
    whereabouts.stops = vec![stop(Some("ann"), StopState::Paused)];
    insta::assert_snapshot!(told(&whereabouts), @r#"
    It is held for Shop: its recipient in the campaign is paused since 2023-11-14T22:13:00Z (20s ago).
    held ["campaign_paused"] Release
    tharsis campaign resume 'spring sale' --client 00000000-0001-7101-8101-010101010101 --recipient ann
    "#);
    whereabouts.stops.push(stop(None, StopState::Cancelled));
    insta::assert_snapshot!(told(&whereabouts), @r#"
    It is held for Shop: its campaign is cancelled since 2023-11-14T22:13:00Z (20s ago).
    held ["campaign_cancelled"] End
    tharsis campaign resume 'spring sale' --client 00000000-0001-7101-8101-010101010101
    "#);
    whereabouts.stops.clear();
    insta::assert_snapshot!(told(&whereabouts), @r#"
    It is held for Shop: its campaign was resumed, and the owner is about to let it go.
    held ["campaign_resumed"] Release
    "#);
}

#[test]
fn what_it_waits_for() {
    let retrying = with(waiting(candidate(2, "Shop"), Status::Retrying, 45, 0));
    insta::assert_snapshot!(told(&retrying), @r#"
    It waits to be sent to Shop again: retry 1 of 3 is due 2023-11-14T22:14:05Z (in 45s).
    retrying ["waits_for_retry"] Attempt(Timestamp(1700000045000))
    tharsis delivery retry 018bcfe4-7da0-7101-8101-010101010101/018bcfd6-25c0-7202-8202-020202020202
    "#);

    let mut limited = waiting(candidate(2, "Shop"), Status::Pending, -50, 0);
    let subscription = of(&mut limited);
    subscription.settings.rate = Some("5/h".parse().unwrap());
    subscription.health.condition = Condition::Throttled;
    let mut limited = with(limited);
    insta::assert_snapshot!(told(&limited), @r#"
    It waits to be sent to Shop: it is due since 2023-11-14T22:12:30Z (50s ago), in line or under way.
    pending ["due", "rate", "throttled"] Attempt(Timestamp(1699999950000))
    tharsis subscription health 018bcfd6-25c0-7202-8202-020202020202
    "#);
    limited.owned = Shards::default();
    insta::assert_snapshot!(told(&limited), @r#"
    It waits to be sent to Shop: no worker owns deliveries to it now.
    pending ["no_worker", "due", "rate", "throttled"] Attempt(Timestamp(1699999950000))
    tharsis run
    tharsis subscription health 018bcfd6-25c0-7202-8202-020202020202
    "#);

    let mut early = with(waiting(candidate(2, "Shop"), Status::Pending, 600, 0));
    early.event.not_before = Some(at(600));
    insta::assert_snapshot!(told(&early), @r#"
    It waits to be sent to Shop: its event is not to be sent before 2023-11-14T22:23:20Z (in 10m).
    pending ["not_before"] Attempt(Timestamp(1700000600000))
    "#);

    let mut expired = with(waiting(
        candidate(2, "Shop"),
        Status::Ended(End::Expired),
        -50,
        0,
    ));
    expired.event.expires_at = Some(at(-1));
    insta::assert_snapshot!(told(&expired), @r#"
    It has expired for Shop: its event expired 2023-11-14T22:13:19Z (1s ago).
    expired ["expired"] End
    "#);
}

/// Two ways in which it is held, and the one that counts first.
#[test]
fn what_holds_it_more_is_said_first() {
    let mut both = waiting(candidate(2, "Shop"), Status::Held, -50, 0);
    of(&mut both).state = State::Paused;
    let mut both = with(both);
    both.owned = Shards::default();
    both.event.not_before = Some(at(600));
    let answer = judge(&both);
    let codes: Vec<&str> = (answer.subscriptions[0].findings.iter())
        .map(|finding| &*finding.code)
        .collect();
    assert_eq!(codes, ["paused", "not_before", "no_worker"]);
    assert_eq!(answer.subscriptions[0].next, Next::Release);
}

#[test]
fn a_client_without_a_subscription_is_told_how_to_get_one() {
    let nobody = nudge();
    let answer = judge(&nobody);
    assert_eq!(
        answer.sentence,
        "It went to nobody: its client has no subscription."
    );
    assert!(
        answer.findings[0]
            .command
            .as_deref()
            .unwrap()
            .contains(&client(1).to_string())
    );
}
