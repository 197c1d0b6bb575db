//! Who is told what, and when.

use std::time::Duration;

use tharsis_core::{
    ClientId, EventId, SubscriptionId, Timestamp,
    alert::{
        Alert, Alerts, Answer, CERTIFICATE_NOTICE, Case, Cause, Contacts, Facts, MailAddress,
        decide, event, is_ending, is_own, message, of_transition, pause,
    },
    delivery::Validity,
    egress::Policy,
    event::Event,
    health::{Condition, Health, Limits},
    profile::Profiles,
    subscription::{Credentials, Draft, State, Subscription, Unreadable},
};

const CLIENT: &str = "36011017-0e00-4e29-a054-7a1fbb8b60a2";
const HOUR: Duration = Duration::from_secs(60 * 60);
const NOON: Timestamp = Timestamp::from_millis(1_763_640_000_000);

fn after(minutes: u64) -> Timestamp {
    NOON + Duration::from_secs(60 * minutes)
}

fn address(text: &str) -> MailAddress {
    text.parse().expect("an address")
}

/// Raised so many minutes after noon, and due at once.
fn alert(cause: Cause, minutes: u64) -> Alert {
    Alert {
        id: cause as i64,
        cause,
        raised_at: after(minutes),
        since: after(minutes),
        stage: 0,
        count: 0,
        code: None,
        due_at: after(minutes),
        tries: 0,
        accepted: Vec::new(),
        event: None,
        event_count: 0,
    }
}

fn case(alerts: Vec<Alert>, told: &[(Cause, u64)]) -> Case {
    Case {
        subscription: 1,
        alerts,
        told: (told.iter())
            .map(|(cause, minutes)| (*cause, after(*minutes)))
            .collect(),
    }
}

/// What is told at this minute, what is never told, and what waits.
fn decided(case: &Case, minutes: u64) -> [Vec<Cause>; 3] {
    let decision = decide(case, HOUR, after(minutes));
    let causes = |alerts: &[&Alert]| alerts.iter().map(|alert| alert.cause).collect();
    let wait: Vec<&Alert> = decision.wait.iter().map(|(alert, _)| *alert).collect();
    [
        causes(&decision.tell),
        causes(&decision.moot),
        causes(&wait),
    ]
}

#[test]
fn a_failure_is_told_once_an_hour() {
    let failing = |minutes| alert(Cause::Failing, minutes);
    let told = |case: &Case, minutes| decided(case, minutes);
    let first = case(vec![failing(0)], &[]);
    assert_eq!(told(&first, 0), [vec![Cause::Failing], vec![], vec![]]);
    let again = case(vec![failing(20)], &[(Cause::Failing, 0)]);
    assert_eq!(told(&again, 59), [vec![], vec![], vec![Cause::Failing]]);
    assert_eq!(told(&again, 60), [vec![Cause::Failing], vec![], vec![]]);
    // It waits for another cause as little as for another subscription.
    let dead = case(vec![alert(Cause::Dead, 20)], &[(Cause::Failing, 0)]);
    assert_eq!(told(&dead, 20), [vec![Cause::Dead], vec![], vec![]]);
}

#[test]
fn an_end_is_told_if_the_failure_was() {
    let end = |minutes| alert(Cause::Recovered, minutes);
    let untold = case(vec![alert(Cause::Failing, 0), end(1)], &[]);
    let both = vec![Cause::Failing, Cause::Recovered];
    assert_eq!(decided(&untold, 1), [vec![], both.clone(), vec![]]);
    let told = case(vec![end(1)], &[(Cause::Failing, 0)]);
    assert_eq!(decided(&told, 1), [vec![Cause::Recovered], vec![], vec![]]);

    // Failing and recovering again within the hour is not told.
    let told = [(Cause::Failing, 0), (Cause::Recovered, 1)];
    let flaps = case(vec![alert(Cause::Failing, 10), end(11)], &told);
    assert_eq!(decided(&flaps, 12), [vec![], both, vec![]]);
    // It fails again before its end could be told.
    let fails = case(
        vec![end(1), alert(Cause::Failing, 2)],
        &[(Cause::Failing, 0)],
    );
    let [tell, moot, wait] = decided(&fails, 3);
    assert_eq!((tell, moot), (vec![], vec![Cause::Recovered]));
    assert_eq!(wait, [Cause::Failing]);
}

#[test]
fn an_end_is_told_if_anybody_was_told_of_the_failure() {
    let mut heard = alert(Cause::Failing, 0);
    heard.event = Some(EventId::new(NOON, [1; 10]));
    let mut mailed = alert(Cause::Failing, 0);
    mailed.accepted = vec!["ops@shop.example".to_owned()];
    for failing in [heard, mailed] {
        let both = case(vec![failing.clone(), alert(Cause::Recovered, 1)], &[]);
        let expected = [vec![Cause::Recovered], vec![Cause::Failing], vec![]];
        assert_eq!(decided(&both, 1), expected);
        // That of an earlier failure was told before.
        let earlier = [(Cause::Failing, 0), (Cause::Recovered, 5)];
        let both = case(vec![failing, alert(Cause::Recovered, 1)], &earlier);
        let [tell, ..] = decided(&both, 90);
        assert_eq!(tell, []);
    }
}

#[test]
fn a_suspension_overtakes_the_failure() {
    let both = vec![alert(Cause::Failing, 0), alert(Cause::Suspended, 1)];
    let both = case(both, &[]);
    let decision = decided(&both, 1);
    assert_eq!(
        decision,
        [vec![Cause::Suspended], vec![Cause::Failing], vec![]]
    );
}

#[test]
fn what_could_not_be_told_waits_and_comes_with_what_is_worse_first() {
    let mut failing = alert(Cause::Failing, 0);
    failing.due_at = after(5);
    let dead = alert(Cause::Dead, 0);
    let all = case(vec![dead, failing], &[]);
    assert_eq!(decided(&all, 4), [vec![Cause::Dead], vec![], vec![]]);
    let both = vec![Cause::Failing, Cause::Dead];
    assert_eq!(decided(&all, 5), [both, vec![], vec![]]);
    let pauses: Vec<u64> = [0, 1, 2, 6, 7, 40].map(|n| pause(n).as_secs()).into();
    assert_eq!(pauses, [5, 10, 20, 320, 600, 600]);
}

#[test]
fn a_failure_is_raised_again_on_the_way_to_suspension() {
    let limits = Limits {
        suspend_after: Some(Duration::from_secs(100 * 60)),
        ..Limits::default()
    };
    let open = |minutes| Health {
        condition: Condition::Open,
        since: Some(after(minutes)),
        cause: Some("http_503".to_owned()),
        failing_since: Some(NOON),
        ..Health::default()
    };
    let stage =
        |minutes| of_transition(&open(minutes), after(minutes), limits).map(|turn| turn.stage);
    let stages = [0, 49, 50, 69, 70, 89, 90, 99].map(|minutes| stage(minutes).expect("it fails"));
    assert_eq!(stages, [0, 0, 50, 50, 70, 70, 90, 90]);
    let never = of_transition(
        &open(99),
        after(99),
        Limits {
            suspend_after: None,
            ..limits
        },
    );
    assert_eq!(never.map(|turn| turn.stage), Some(0));

    let became = |condition, cause: Option<&str>| {
        let health = Health {
            condition,
            cause: cause.map(str::to_owned),
            ..open(99)
        };
        of_transition(&health, after(99), limits).map(|turn| turn.cause)
    };
    let suspended = became(Condition::Suspended, Some("http_410"));
    assert_eq!(suspended, Some(Cause::Suspended));
    assert_eq!(became(Condition::Throttled, None), Some(Cause::Recovered));
    assert_eq!(became(Condition::Throttled, Some("http_429")), None);
    assert_eq!(became(Condition::HalfOpen, None), None);
    assert_eq!(became(Condition::Healthy, None), None);
}

#[test]
fn contacts_are_of_the_subscription_its_client_and_all() {
    let client = |n| ClientId::new(NOON, [n; 10]);
    let contacts = Contacts {
        all: vec![address("ops@house.example")],
        clients: [(client(1), vec![address("shop@shop.example")])].into(),
        every: 2 * HOUR,
    };
    let own = Alerts {
        mail: vec![address("hooks@shop.example"), address("ops@house.example")],
        ..Alerts::default()
    };
    let names = |n, alerts: &Alerts| -> Vec<String> {
        let of = contacts.of(client(n), alerts);
        of.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        names(1, &own),
        [
            "hooks@shop.example",
            "ops@house.example",
            "shop@shop.example"
        ]
    );
    assert_eq!(names(2, &Alerts::default()), ["ops@house.example"]);
    assert_eq!(contacts.every(&own), HOUR);
    assert_eq!(contacts.every(&Alerts::default()), 2 * HOUR);
}

fn subscription(state: State) -> Subscription {
    let draft = Draft {
        client: CLIENT.to_owned(),
        name: "Shop".to_owned(),
        url: "https://hooks.example.com/in?token=s3cret".to_owned(),
        ..Draft::default()
    };
    let settings = draft.settings(&Policy::default(), &Profiles::default());
    let id = "019b2f70-91d2-7b35-8f06-3f1c5d0a7e42".parse::<SubscriptionId>();
    Subscription::new(
        id.expect("an id"),
        settings.expect("good"),
        (state, Health::default()),
        &Credentials::default(),
        (NOON, NOON),
    )
}

fn facts(condition: Condition, waiting: u64) -> Facts {
    let answer = |code: &str, count, minutes| Answer {
        code: code.to_owned(),
        count,
        at: after(minutes),
    };
    Facts {
        condition,
        waiting,
        answers: vec![answer("http_503", 23, 4), answer("timeout_connect", 2, 1)],
    }
}

fn said(state: State, alerts: &[&Alert], facts: &Facts) -> String {
    let message = message(&subscription(state), alerts, facts, after(5));
    assert!(!message.text.contains("s3cret"), "{}", message.text);
    format!("{}\n\n{}", message.subject, message.text)
}

#[test]
fn what_is_said_of_a_failure() {
    let mut dead = alert(Cause::Dead, 1);
    dead.count = 3;
    dead.code = Some("http_503".to_owned());
    let alerts = [&alert(Cause::Failing, 0), &dead];
    let text = said(State::Active, &alerts, &facts(Condition::Open, 1280));
    insta::assert_snapshot!(text, @r"
    [Tharsis] Shop is failing

    Shop, the webhook to hooks.example.com
    subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 of client 36011017-0e00-4e29-a054-7a1fbb8b60a2

    * subscription.failing
      It has failed since 2025-11-20T12:00:00.000Z, for 5m. What waits for it is held, and one delivery probes it now and then. It is suspended after 5d.

    * delivery.dead
      3 deliveries ended dead since 2025-11-20T12:01:00.000Z: retries are used up. The last outcome was http_503.

    1280 deliveries are held.

    The last answers:
      http_503                     23 times, last 2025-11-20T12:04:00.000Z
      timeout_connect               2 times, last 2025-11-20T12:01:00.000Z

    What to do:
      http_503: the receiver is not available; nothing, it is tried again
      timeout_connect: no connection was made before the deadline; check that the receiver is up and that its firewall lets us in
      tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
      tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
      tharsis delivery list --status dead --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
      tharsis replay --status dead --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    ");
}

#[test]
fn what_is_said_on_the_way_to_suspension_and_of_it() {
    let mut failing = alert(Cause::Failing, 0);
    failing.stage = 70;
    let text = said(State::Active, &[&failing], &facts(Condition::Open, 100_000));
    insta::assert_snapshot!(text, @r"
    [Tharsis] Shop is failing: 70 % of the way to suspension

    Shop, the webhook to hooks.example.com
    subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 of client 36011017-0e00-4e29-a054-7a1fbb8b60a2

    * subscription.failing
      It has failed since 2025-11-20T12:00:00.000Z, for 5m. What waits for it is held, and one delivery probes it now and then. It is suspended after 5d.

    100000 deliveries or more are held.

    The last answers:
      http_503                     23 times, last 2025-11-20T12:04:00.000Z
      timeout_connect               2 times, last 2025-11-20T12:01:00.000Z

    What to do:
      http_503: the receiver is not available; nothing, it is tried again
      timeout_connect: no connection was made before the deadline; check that the receiver is up and that its firewall lets us in
      tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
      tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    ");
    let reason = "failing".to_owned();
    let suspended = State::Suspended { reason };
    let text = said(
        suspended,
        &[&alert(Cause::Suspended, 0)],
        &facts(Condition::Suspended, 1),
    );
    insta::assert_snapshot!(text, @r"
    [Tharsis] Shop is suspended

    Shop, the webhook to hooks.example.com
    subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 of client 36011017-0e00-4e29-a054-7a1fbb8b60a2

    * subscription.suspended
      It has failed since 2025-11-20T12:00:00.000Z. Nothing is sent to it until an admin resumes it.

    1 delivery is held.

    The last answers:
      http_503                     23 times, last 2025-11-20T12:04:00.000Z
      timeout_connect               2 times, last 2025-11-20T12:01:00.000Z

    What to do:
      http_503: the receiver is not available; nothing, it is tried again
      timeout_connect: no connection was made before the deadline; check that the receiver is up and that its firewall lets us in
      tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
      tharsis subscription resume 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    ");
}

#[test]
fn what_is_said_where_a_worker_cannot_read_it() {
    let mut unreadable = alert(Cause::Suspended, 0);
    unreadable.code = Some("secret_unreadable".to_owned());
    let state = Unreadable::Secret.state();
    let text = said(state, &[&unreadable], &facts(Condition::Healthy, 2));
    insta::assert_snapshot!(text, @r"
    [Tharsis] Shop cannot be sent to

    Shop, the webhook to hooks.example.com
    subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 of client 36011017-0e00-4e29-a054-7a1fbb8b60a2

    * subscription.suspended
      Nothing has been sent to it since 2025-11-20T12:00:00.000Z: its secret, or the value of a header, does not open with the keys of the process that delivers. It goes on by itself once that is mended.

    2 deliveries are held.

    The last answers:
      http_503                     23 times, last 2025-11-20T12:04:00.000Z
      timeout_connect               2 times, last 2025-11-20T12:01:00.000Z

    What to do:
      secret_unreadable: its secret, or the value of a header, does not open with the keys of the process that delivers; give the process the right keys, or rotate the secret
      http_503: the receiver is not available; nothing, it is tried again
      timeout_connect: no connection was made before the deadline; check that the receiver is up and that its firewall lets us in
      tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
      tharsis doctor
    ");
}

#[test]
fn what_is_said_of_an_end_and_of_a_blocked_address() {
    let text = said(
        State::Active,
        &[&alert(Cause::Recovered, 4)],
        &Facts::default(),
    );
    insta::assert_snapshot!(text, @r"
    [Tharsis] Shop has recovered

    Shop, the webhook to hooks.example.com
    subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 of client 36011017-0e00-4e29-a054-7a1fbb8b60a2

    * subscription.recovered
      It answers again since 2025-11-20T12:04:00.000Z, and what was held is being sent.

    No delivery is waiting.

    What to do:
      Nothing.
      tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    ");
    let mut blocked = alert(Cause::Blocked, 0);
    blocked.count = 1;
    blocked.code = Some("address_not_global".to_owned());
    let text = said(State::Active, &[&blocked], &Facts::default());
    insta::assert_snapshot!(text, @r"
    [Tharsis] Shop leads to an address that is blocked

    Shop, the webhook to hooks.example.com
    subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 of client 36011017-0e00-4e29-a054-7a1fbb8b60a2

    * address.blocked
      1 attempt was stopped since 2025-11-20T12:00:00.000Z: the host name leads to an address that is not public; nothing was sent.

    No delivery is waiting.

    What to do:
      address_not_global: the host name leads to an address that is not public; nothing was sent; point the name at public addresses, or let the operator allow the range by name
      tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
      tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    ");
}

#[test]
fn what_is_said_of_a_certificate_that_ends() {
    let text = said(
        State::Active,
        &[&alert(Cause::Certificate, 0)],
        &Facts::default(),
    );
    insta::assert_snapshot!(text, @r"
    [Tharsis] Shop has a certificate that ends soon

    Shop, the webhook to hooks.example.com
    subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 of client 36011017-0e00-4e29-a054-7a1fbb8b60a2

    * certificate.expiring
      Its certificate ends at 2025-11-20T12:00:00.000Z. From then on every delivery fails, until it is renewed.

    No delivery is waiting.

    What to do:
      Renew the receiver's certificate, and reload its server.
      tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
      tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    ");
}

/// Once a day, and not once it was renewed: then no connection shows it any more.
#[test]
fn a_certificate_is_told_of_daily_as_long_as_it_is_seen() {
    const HOURS: u64 = 60;
    let seen = |raised| {
        case(
            vec![alert(Cause::Certificate, raised)],
            &[(Cause::Certificate, 0)],
        )
    };
    let one = || vec![Cause::Certificate];
    assert_eq!(
        decided(&seen(2 * HOURS), 2 * HOURS),
        [vec![], vec![], one()],
        "its turn is tomorrow"
    );
    assert_eq!(
        decided(&seen(2 * HOURS), 24 * HOURS),
        [one(), vec![], vec![]]
    );
    assert_eq!(
        decided(&seen(0), 24 * HOURS),
        [vec![], one(), vec![]],
        "it was not seen since"
    );
}

#[test]
fn a_certificate_ends_soon_two_weeks_before_or_in_its_last_third() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let ends_soon = |lives: u32, has_left: u32| {
        let now = NOON + DAY * 100;
        let until = now + DAY * has_left;
        let from = NOON + DAY * (100 + has_left - lives);
        is_ending(Validity { from, until }, now)
    };
    assert_eq!(CERTIFICATE_NOTICE, DAY * 14);
    assert!(ends_soon(90, 14) && !ends_soon(90, 15));
    assert!(ends_soon(6, 2) && !ends_soon(6, 3));
}

/// What the event that tells of it holds, and for whom it is.
fn heard(state: State, alert: &Alert, facts: &Facts) -> String {
    let subscription = subscription(state);
    let event = event(&subscription, alert, facts, after(5)).expect("it can be told");
    assert_eq!(event.event_type().as_str(), alert.cause.as_str());
    assert_eq!(event.client(), subscription.settings.client);
    let about = subscription.id.to_string();
    assert_eq!((event.campaign(), event.recipient()), (None, Some(&*about)));
    assert_eq!((event.not_before(), event.expires_at()), (None, None));
    let text = String::from_utf8(event.payload().to_vec()).expect("JSON is text");
    assert!(!text.contains("s3cret") && !text.contains("/in"), "{text}");
    // As it is sent, but for the ends of lines.
    text.replace(",\"", ",\n\"")
}

#[test]
fn what_an_event_tells_of_a_failure() {
    let mut failing = alert(Cause::Failing, 0);
    failing.stage = 70;
    failing.code = Some("http_503".to_owned());
    let told = heard(State::Active, &failing, &facts(Condition::Open, 100_000));
    insta::assert_snapshot!(told, @r#"
    {"type":"subscription.failing",
    "clientId":"36011017-0e00-4e29-a054-7a1fbb8b60a2",
    "subscriptionId":"019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "subscriptionName":"Shop",
    "host":"hooks.example.com",
    "since":"2025-11-20T12:00:00.000+00:00",
    "raisedAt":"2025-11-20T12:00:00.000+00:00",
    "toldAt":"2025-11-20T12:05:00.000+00:00",
    "stage":70,
    "count":0,
    "code":"http_503",
    "condition":"open",
    "message":"It has failed since 2025-11-20T12:00:00.000Z, for 5m. What waits for it is held, and one delivery probes it now and then. It is suspended after 5d.",
    "waiting":{"count":100000,
    "isCapped":true,
    "isHeld":true},
    "answers":[{"code":"http_503",
    "count":23,
    "at":"2025-11-20T12:04:00.000+00:00"},{"code":"timeout_connect",
    "count":2,
    "at":"2025-11-20T12:01:00.000+00:00"}],
    "advice":["http_503: the receiver is not available; nothing, it is tried again",
    "timeout_connect: no connection was made before the deadline; check that the receiver is up and that its firewall lets us in"],
    "commands":["tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42"]}
    "#);
}

#[test]
fn what_an_event_tells_of_a_suspension() {
    let reason = "failing".to_owned();
    let told = heard(
        State::Suspended { reason },
        &alert(Cause::Suspended, 0),
        &facts(Condition::Suspended, 1),
    );
    insta::assert_snapshot!(told, @r#"
    {"type":"subscription.suspended",
    "clientId":"36011017-0e00-4e29-a054-7a1fbb8b60a2",
    "subscriptionId":"019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "subscriptionName":"Shop",
    "host":"hooks.example.com",
    "since":"2025-11-20T12:00:00.000+00:00",
    "raisedAt":"2025-11-20T12:00:00.000+00:00",
    "toldAt":"2025-11-20T12:05:00.000+00:00",
    "stage":0,
    "count":0,
    "code":null,
    "condition":"suspended",
    "message":"It has failed since 2025-11-20T12:00:00.000Z. Nothing is sent to it until an admin resumes it.",
    "waiting":{"count":1,
    "isCapped":false,
    "isHeld":true},
    "answers":[{"code":"http_503",
    "count":23,
    "at":"2025-11-20T12:04:00.000+00:00"},{"code":"timeout_connect",
    "count":2,
    "at":"2025-11-20T12:01:00.000+00:00"}],
    "advice":["http_503: the receiver is not available; nothing, it is tried again",
    "timeout_connect: no connection was made before the deadline; check that the receiver is up and that its firewall lets us in"],
    "commands":["tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "tharsis subscription resume 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42"]}
    "#);
}

#[test]
fn what_an_event_tells_of_an_end() {
    let told = heard(
        State::Active,
        &alert(Cause::Recovered, 4),
        &Facts::default(),
    );
    insta::assert_snapshot!(told, @r#"
    {"type":"subscription.recovered",
    "clientId":"36011017-0e00-4e29-a054-7a1fbb8b60a2",
    "subscriptionId":"019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "subscriptionName":"Shop",
    "host":"hooks.example.com",
    "since":"2025-11-20T12:04:00.000+00:00",
    "raisedAt":"2025-11-20T12:04:00.000+00:00",
    "toldAt":"2025-11-20T12:05:00.000+00:00",
    "stage":0,
    "count":0,
    "code":null,
    "condition":"healthy",
    "message":"It answers again since 2025-11-20T12:04:00.000Z, and what was held is being sent.",
    "waiting":{"count":0,
    "isCapped":false,
    "isHeld":false},
    "answers":[],
    "advice":["Nothing."],
    "commands":["tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42"]}
    "#);
}

#[test]
fn what_an_event_tells_of_dead_deliveries() {
    let mut dead = alert(Cause::Dead, 1);
    dead.count = 3;
    dead.code = Some("http_503".to_owned());
    let told = heard(State::Active, &dead, &facts(Condition::Healthy, 0));
    insta::assert_snapshot!(told, @r#"
    {"type":"delivery.dead",
    "clientId":"36011017-0e00-4e29-a054-7a1fbb8b60a2",
    "subscriptionId":"019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "subscriptionName":"Shop",
    "host":"hooks.example.com",
    "since":"2025-11-20T12:01:00.000+00:00",
    "raisedAt":"2025-11-20T12:01:00.000+00:00",
    "toldAt":"2025-11-20T12:05:00.000+00:00",
    "stage":0,
    "count":3,
    "code":"http_503",
    "condition":"healthy",
    "message":"3 deliveries ended dead since 2025-11-20T12:01:00.000Z: retries are used up. The last outcome was http_503.",
    "waiting":{"count":0,
    "isCapped":false,
    "isHeld":false},
    "answers":[{"code":"http_503",
    "count":23,
    "at":"2025-11-20T12:04:00.000+00:00"},{"code":"timeout_connect",
    "count":2,
    "at":"2025-11-20T12:01:00.000+00:00"}],
    "advice":["http_503: the receiver is not available; nothing, it is tried again",
    "timeout_connect: no connection was made before the deadline; check that the receiver is up and that its firewall lets us in"],
    "commands":["tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "tharsis delivery list --status dead --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "tharsis replay --status dead --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42"]}
    "#);
}

#[test]
fn what_an_event_tells_of_a_blocked_address() {
    let mut blocked = alert(Cause::Blocked, 0);
    blocked.count = 1;
    blocked.code = Some("address_not_global".to_owned());
    let told = heard(State::Active, &blocked, &Facts::default());
    insta::assert_snapshot!(told, @r#"
    {"type":"address.blocked",
    "clientId":"36011017-0e00-4e29-a054-7a1fbb8b60a2",
    "subscriptionId":"019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "subscriptionName":"Shop",
    "host":"hooks.example.com",
    "since":"2025-11-20T12:00:00.000+00:00",
    "raisedAt":"2025-11-20T12:00:00.000+00:00",
    "toldAt":"2025-11-20T12:05:00.000+00:00",
    "stage":0,
    "count":1,
    "code":"address_not_global",
    "condition":"healthy",
    "message":"1 attempt was stopped since 2025-11-20T12:00:00.000Z: the host name leads to an address that is not public; nothing was sent.",
    "waiting":{"count":0,
    "isCapped":false,
    "isHeld":false},
    "answers":[],
    "advice":["address_not_global: the host name leads to an address that is not public; nothing was sent; point the name at public addresses, or let the operator allow the range by name"],
    "commands":["tharsis subscription health 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
    "tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42"]}
    "#);
}

#[test]
fn an_event_of_ours_is_published_by_nobody_else() {
    let client = CLIENT.parse().expect("a client");
    for cause in Cause::ALL {
        let name = cause.as_str();
        assert!(is_own(name));
        let enveloped = format!(r#"{{"type":"{name}","client":"{CLIENT}","payload":{{}}}}"#);
        let bare = format!(r#"{{"type":"{name}","clientId":"{CLIENT}"}}"#);
        let refused = [
            Event::parse(enveloped.as_bytes()),
            Event::parse(bare.as_bytes()),
            Event::freeze(name, client, b"{}"),
        ];
        for refused in refused {
            let refused = refused.expect_err("it is reserved");
            assert_eq!(refused.code, "reserved_event_type");
            assert_eq!(refused.field.as_deref(), Some("type"));
        }
    }
    for theirs in [
        "subscription.renewed",
        "subscription",
        "delivery.dead.letter",
    ] {
        assert!(!is_own(theirs));
        Event::freeze(theirs, client, b"{}").expect("it is nobody's");
    }
}

#[test]
fn whoever_names_an_event_of_ours_gets_it_and_nobody_else() {
    let profiles = Profiles::default();
    for profile in profiles.iter() {
        for cause in Cause::ALL {
            let name = cause.as_str();
            let mut settings = subscription(State::Active).settings;
            settings.profile = profiles.named(&profile.name).expect("it is there");
            assert!(!settings.wants_type(name), "{} {name}", profile.name);
            let draft = Draft {
                client: CLIENT.to_owned(),
                name: "Listener".to_owned(),
                url: "https://hooks.example.com/in".to_owned(),
                events: vec![name.to_owned()],
                ..Draft::default()
            };
            let settings = draft.settings(&Policy::default(), &profiles);
            let settings = settings.expect("under the default profile");
            assert!(settings.wants_type(name));
            let others = Cause::ALL.into_iter().filter(|other| *other != cause);
            for other in others {
                assert!(!settings.wants_type(other.as_str()));
            }
        }
    }
}
