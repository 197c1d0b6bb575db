use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use tharsis_core::{
    ClientId, EventId, SubscriptionId, Timestamp,
    alert::{Cause, is_own},
    delivery::{End, codes},
    event::{Event, MAX_PAYLOAD, too_large},
    filter::{Answer, Why},
    json,
    subscription::{Subscription, Target},
};
use tharsis_store::{Named, Pending, Pointer, RouteTo, Routed, Snapshot, StopState};

use super::stops::Stops;

/// The registry, arranged by client, as routing asks for it. In an order, so that the same always leads to the same.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The revision of the registry that this is.
    pub(super) revision: i64,
    by_client: BTreeMap<ClientId, Vec<(i64, Arc<Target>)>>,
    /// Whose each subscription is.
    clients: HashMap<i64, ClientId>,
    /// Those of them who filter events.
    filtering: BTreeSet<ClientId>,
    /// Those of which this process cannot read all.
    pub(super) unreadable: BTreeSet<i64>,
    /// The campaigns of which nothing is sent.
    pub(super) stops: Arc<Stops>,
}

impl Routes {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let mut by_client: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut clients = HashMap::with_capacity(snapshot.targets.len());
        let (mut filtering, mut unreadable) = (BTreeSet::new(), BTreeSet::new());
        for (id, target) in &snapshot.targets {
            let settings = &target.subscription.settings;
            clients.insert(*id, settings.client);
            if settings.filter.is_some() {
                filtering.insert(settings.client);
            }
            if target.subscription.state.unreadable().is_some() {
                unreadable.insert(*id);
            }
            by_client
                .entry(settings.client)
                .or_default()
                .push((*id, Arc::clone(target)));
        }
        Self {
            revision: snapshot.revision,
            by_client,
            clients,
            filtering,
            unreadable,
            stops: Arc::new(Stops::new(&snapshot.stops)),
        }
    }

    /// Every subscription.
    pub(super) fn targets(&self) -> impl Iterator<Item = &(i64, Arc<Target>)> {
        self.by_client.values().flatten()
    }

    /// The one of this number. Few are looked for, and mostly none.
    pub(super) fn find(&self, number: i64) -> Option<&Subscription> {
        let found = self.targets().find(|(known, _)| *known == number);
        found.map(|(_, target)| &target.subscription)
    }

    /// Whose the one of this number is.
    pub(super) fn client(&self, number: i64) -> Option<ClientId> {
        self.clients.get(&number).copied()
    }

    /// Whether another one of the same client wants the event that tells of this.
    pub(super) fn is_heard(&self, about: &Subscription, cause: Cause) -> bool {
        let client = about.settings.client;
        (self.others(client, Some(about.id)))
            .any(|(_, target)| target.wants(client, cause.as_str()))
    }

    /// Those of a client, but for this one.
    fn others(
        &self,
        client: ClientId,
        than: Option<SubscriptionId>,
    ) -> impl Iterator<Item = &(i64, Arc<Target>)> {
        (self.by_client.get(&client).into_iter().flatten())
            .filter(move |(_, target)| Some(target.subscription.id) != than)
    }
}

/// So many deliveries are enough for one transaction, however many subscriptions a client has.
const DELIVERIES: usize = 8_192;

/// So many steps of filters, and bytes that are parsed for them, are enough for one transaction: some 0.1 s.
const STEPS: usize = 8_000_000;

/// So many bytes of payloads are read at once for filters.
const BYTES: usize = 4 * 1024 * 1024;

/// Who gets these events, and from when on. A subscription that is paused or suspended gets them too: what is held is
/// kept. Of many deliveries only the first events: the others are read again.
///
/// `payloads` has those of the first events that somebody [filters](filtered); from the first that is missing on, they are
/// read again.
pub(super) fn route(
    routes: &Routes,
    pointers: &[Pointer],
    payloads: &HashMap<EventId, Bytes>,
    now: Timestamp,
) -> Vec<Routed> {
    let (mut deliveries, mut steps) = (0, 0);
    let mut routed = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        let payload = payloads.get(&pointer.event);
        let is_left = payload.is_none() && is_filtered(routes, pointer);
        if deliveries >= DELIVERIES || steps >= STEPS || is_left {
            break;
        }
        let one = route_one(routes, pointer, payload, now, &mut steps);
        deliveries += one.to.len();
        routed.push(one);
    }
    routed
}

/// The first events among these whose payload is asked for by a filter, as many as are read at once.
pub(super) fn filtered(routes: &Routes, pointers: &[Pointer]) -> Vec<EventId> {
    let mut bytes = 0;
    (pointers.iter())
        .filter(|pointer| is_filtered(routes, pointer))
        .take_while(|pointer| {
            let fits = bytes < BYTES;
            bytes += pointer.size;
            fits
        })
        .map(|pointer| pointer.event)
        .collect()
}

/// Whether a subscription that wants events of this type filters them. One that is not frozen brings its payload along.
fn is_filtered(routes: &Routes, pointer: &Pointer) -> bool {
    pointer.unfrozen.is_none()
        && routes.filtering.contains(&pointer.client)
        && (wanting(routes, pointer))
            .any(|(_, target)| target.subscription.settings.filter.is_some())
}

/// The subscriptions that want events of this client and type. None is told of itself: it is about to fail at that, too.
fn wanting<'r>(
    routes: &'r Routes,
    pointer: &'r Pointer,
) -> impl Iterator<Item = &'r (i64, Arc<Target>)> {
    (routes.others(pointer.client, about(pointer)))
        .filter(|(_, target)| target.wants(pointer.client, &pointer.event_type))
}

/// The subscription that an event of ours is about.
fn about(pointer: &Pointer) -> Option<SubscriptionId> {
    let recipient = pointer.named.as_deref()?.recipient.as_deref()?;
    is_own(&pointer.event_type)
        .then(|| recipient.parse().ok())
        .flatten()
}

fn route_one(
    routes: &Routes,
    pointer: &Pointer,
    payload: Option<&Bytes>,
    now: Timestamp,
    steps: &mut usize,
) -> Routed {
    let frozen = pointer.unfrozen.as_ref().map(|text| {
        if pointer.size > MAX_PAYLOAD {
            return Err(too_large(pointer.size, MAX_PAYLOAD));
        }
        Event::freeze(&pointer.event_type, pointer.client, text)
    });
    let to = match &frozen {
        Some(Err(_)) => Vec::new(),
        Some(Ok(event)) => {
            // A nudge names its expiry in the payload, which nobody has read before.
            let expires_at = earlier(pointer.expires_at, event.expires_at());
            let event = Frozen {
                size: event.payload().len(),
                payload: Some(event.payload()),
                expires_at,
                is_cancelled: is_cancelled(routes, pointer, Some(event)),
            };
            deliveries(routes, pointer, &event, now, steps)
        }
        None => {
            let event = Frozen {
                size: pointer.size,
                payload,
                expires_at: pointer.expires_at,
                is_cancelled: is_cancelled(routes, pointer, None),
            };
            deliveries(routes, pointer, &event, now, steps)
        }
    };
    Routed {
        seq: pointer.seq,
        to,
        frozen: frozen.map(|frozen| frozen.map(Box::new)),
    }
}

/// What is known of an event once it is frozen.
struct Frozen<'a> {
    size: usize,
    /// Where somebody filters it.
    payload: Option<&'a Bytes>,
    expires_at: Option<Timestamp>,
    /// Its campaign is, or its recipient in it.
    is_cancelled: bool,
}

/// What the publisher gave in columns goes before what the payload says.
fn is_cancelled(routes: &Routes, pointer: &Pointer, frozen: Option<&Event>) -> bool {
    let given = pointer.named.as_deref();
    let campaign = given.and_then(|named| named.campaign.as_deref());
    let recipient = given.and_then(|named| named.recipient.as_deref());
    let named = Named {
        campaign: campaign
            .or(frozen.and_then(Event::campaign))
            .map(Into::into),
        recipient: recipient
            .or(frozen.and_then(Event::recipient))
            .map(Into::into),
    };
    routes.stops.of(pointer.client, &named) == Some(StopState::Cancelled)
}

fn deliveries(
    routes: &Routes,
    pointer: &Pointer,
    event: &Frozen<'_>,
    now: Timestamp,
    steps: &mut usize,
) -> Vec<RouteTo> {
    let due_at = pointer.not_before.map_or(now, |at| at.max(now));
    let expired = event.expires_at.is_some_and(|at| at <= due_at);
    // Parsed for the first filter, and kept for the others.
    let mut parsed = None;
    let began = *steps;
    let mut to = Vec::new();
    for (subscription, target) in wanting(routes, pointer) {
        let settings = &target.subscription.settings;
        let answer = settings.filter.as_ref().map(|filter| {
            let payload = parsed.get_or_insert_with(|| {
                *steps += event.size;
                event.payload.and_then(|payload| json::parse(payload).ok())
            });
            payload.as_ref().map_or(NOT_READ, |payload| {
                // However many filters a client has, they do not hold up the others.
                if *steps - began >= STEPS {
                    return Answer::CannotTell(Why::TooCostly);
                }
                let (answer, taken) = filter.judge(payload);
                *steps += taken;
                answer
            })
        });
        let ends = match answer {
            Some(Answer::CannotTell(Why::TooCostly)) => {
                Some((End::Refused, codes::FILTER_TOO_COSTLY))
            }
            Some(Answer::No | Answer::CannotTell(_)) => continue,
            Some(Answer::Yes) | None if expired => Some((End::Expired, codes::EXPIRED)),
            Some(Answer::Yes) | None if event.is_cancelled => {
                Some((End::Cancelled, codes::CAMPAIGN_CANCELLED))
            }
            Some(Answer::Yes) | None if settings.is_too_large(event.size) => {
                Some((End::Refused, codes::PAYLOAD_TOO_LARGE))
            }
            Some(Answer::Yes) | None => None,
        };
        to.push(RouteTo {
            subscription: *subscription,
            due_at,
            ends,
        });
    }
    to
}

/// Of a payload that is not there, or is none: it is not to be lost without a word.
const NOT_READ: Answer = Answer::CannotTell(Why::TooCostly);

/// What routing did, once it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// The lanes that got deliveries, and when the first of each is due.
    pub(super) lanes: Vec<Pending>,
    /// Deliveries that ended at once: of which subscription, and how.
    pub(super) ended: Vec<(i64, End)>,
}

/// Sums up what routing decided.
pub(super) fn done(routed: &[Routed]) -> Done {
    let mut first: BTreeMap<i64, Timestamp> = BTreeMap::new();
    let mut ended = Vec::new();
    for to in routed.iter().flat_map(|r| &r.to) {
        if let Some((end, _)) = to.ends {
            ended.push((to.subscription, end));
            continue;
        }
        let at = first.entry(to.subscription).or_insert(to.due_at);
        *at = to.due_at.min(*at);
    }
    let pending = |(subscription, due_at)| Pending {
        subscription,
        due_at,
    };
    Done {
        lanes: first.into_iter().map(pending).collect(),
        ended,
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tharsis_core::{
        EventId,
        event::EventType,
        filter::Filter,
        profile::{self, Profiles},
        subscription::State,
    };
    use tharsis_store::{Campaign, Stop};

    use super::*;
    use crate::engine::samples::{client, snapshot, target};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn pointer(event_type: &str) -> Pointer {
        Pointer {
            seq: 7,
            event: EventId::new(at(1), [1; 10]),
            client: client(1),
            event_type: event_type.into(),
            published_at: at(1_000),
            not_before: None,
            expires_at: None,
            size: 1_200,
            unfrozen: None,
            named: None,
        }
    }

    fn routed(pointer: &Pointer) -> Routed {
        let mut paused = target(1, 3);
        paused.subscription.state = State::Paused;
        let routes = Routes::new(&snapshot(
            5,
            [(1, target(1, 1)), (2, target(2, 2)), (3, paused)],
        ));
        let mut all = route(
            &routes,
            std::slice::from_ref(pointer),
            &HashMap::new(),
            at(2_000),
        );
        assert_eq!(all.len(), 1);
        let mut routed = all.remove(0);
        routed.to.sort_by_key(|to| to.subscription);
        routed
    }

    type To = (i64, i64, Option<(End, &'static str)>);

    fn to(routed: &Routed) -> Vec<To> {
        routed
            .to
            .iter()
            .map(|to| (to.subscription, to.due_at.as_millis(), to.ends))
            .collect()
    }

    #[test]
    fn an_event_goes_to_its_clients_subscriptions_also_to_a_paused_one() {
        let routed = routed(&pointer("nudge"));
        assert_eq!(to(&routed), [(1, 2_000, None), (3, 2_000, None)]);
        assert!(routed.frozen.is_none());
    }

    #[test]
    fn what_nobody_wants_is_routed_to_nobody() {
        assert!(routed(&pointer("something.else")).to.is_empty());
    }

    #[test]
    fn not_before_puts_it_off_and_an_expiry_before_that_ends_it() {
        let mut pointer = pointer("nudge");
        pointer.not_before = Some(at(9_000));
        assert_eq!(to(&routed(&pointer)), [(1, 9_000, None), (3, 9_000, None)]);
        pointer.expires_at = Some(at(9_000));
        let ends = Some((End::Expired, "expired"));
        assert_eq!(to(&routed(&pointer)), [(1, 9_000, ends), (3, 9_000, ends)]);
    }

    #[test]
    fn an_expired_event_ends_expired() {
        let mut pointer = pointer("nudge");
        pointer.expires_at = Some(at(2_000));
        let ends = Some((End::Expired, "expired"));
        assert_eq!(to(&routed(&pointer)), [(1, 2_000, ends), (3, 2_000, ends)]);
        pointer.expires_at = Some(at(2_001));
        assert_eq!(to(&routed(&pointer)), [(1, 2_000, None), (3, 2_000, None)]);
    }

    #[test]
    fn what_is_of_a_cancelled_campaign_ends_at_once_wherever_its_name_stands() {
        let stop = |recipient: Option<&str>, state| Stop {
            seq: 1,
            campaign: Campaign {
                client: client(1),
                name: "spring".to_owned(),
                recipient: recipient.map(str::to_owned),
            },
            state,
            since: at(1),
        };
        let ends = |stop: Stop, pointer: &Pointer| {
            let mut snapshot = snapshot(5, [(1, target(1, 1))]);
            snapshot.stops = vec![stop];
            let routes = Routes::new(&snapshot);
            let all = route(
                &routes,
                std::slice::from_ref(pointer),
                &HashMap::new(),
                at(2_000),
            );
            all[0].to[0].ends
        };
        let cancelled = Some((End::Cancelled, "campaign_cancelled"));
        let mut pointer = pointer("nudge");
        assert_eq!(ends(stop(None, StopState::Cancelled), &pointer), None);
        pointer.named = Named::of(Some("spring".into()), Some("ann".into()));
        assert_eq!(ends(stop(None, StopState::Cancelled), &pointer), cancelled);
        assert_eq!(ends(stop(None, StopState::Paused), &pointer), None);
        assert_eq!(
            ends(stop(Some("ann"), StopState::Cancelled), &pointer),
            cancelled
        );
        assert_eq!(
            ends(stop(Some("bob"), StopState::Cancelled), &pointer),
            None
        );
    }

    /// A subscription of client `owner` that names this type.
    fn listener(owner: u8, n: u8, event_type: &str) -> Target {
        let mut target = target(owner, n);
        target.subscription.settings.events = vec![EventType::new(event_type).expect("a type")];
        target
    }

    #[test]
    fn an_event_of_ours_goes_to_those_of_its_client_who_name_it_but_never_to_whom_it_is_about() {
        const FAILING: &str = "subscription.failing";
        let mut takes_all = target(1, 3);
        takes_all.subscription.settings.profile = Profiles::default().named("standard").unwrap();
        let routes = Routes::new(&snapshot(
            5,
            [
                (1, listener(1, 1, FAILING)),
                (2, listener(1, 2, FAILING)),
                (3, takes_all),
                (4, listener(1, 4, "subscription.suspended")),
                (5, listener(2, 5, FAILING)),
            ],
        ));
        let number = |n: u8| SubscriptionId::new(at(1), [n; 10]);
        let told = |about: u8| {
            let mut pointer = pointer(FAILING);
            pointer.named = Named::of(None, Some(number(about).to_string().into()));
            let all = route(&routes, &[pointer], &HashMap::new(), at(2_000));
            to(&all[0]).iter().map(|to| to.0).collect::<Vec<_>>()
        };
        assert_eq!(told(1), [2]);
        assert_eq!(told(2), [1]);
        assert_eq!(told(3), [1, 2]);

        let heard = |about: i64, cause| {
            let about = routes.find(about).expect("it is known");
            routes.is_heard(about, cause)
        };
        assert!(
            [1, 2, 3, 4]
                .map(|n| heard(n, Cause::Failing))
                .iter()
                .all(|is| *is)
        );
        assert!(!heard(5, Cause::Failing), "only it itself would listen");
        assert!(heard(1, Cause::Suspended) && !heard(4, Cause::Suspended));
        assert!(!heard(1, Cause::Dead));
        assert!(routes.find(6).is_none());
    }

    #[test]
    fn whom_another_event_is_for_may_have_the_name_of_a_subscription() {
        let mut pointer = pointer("nudge");
        let id = SubscriptionId::new(at(1), [1; 10]);
        pointer.named = Named::of(None, Some(id.to_string().into()));
        assert_eq!(to(&routed(&pointer)), [(1, 2_000, None), (3, 2_000, None)]);
    }

    #[test]
    fn an_event_of_ours_that_is_inserted_by_sql_is_refused() {
        let mut pointer = pointer("delivery.dead");
        pointer.unfrozen = Some(Bytes::from_static(b"{}"));
        let routed = routed(&pointer);
        assert!(routed.to.is_empty());
        let refused = routed
            .frozen
            .expect("it was not frozen")
            .expect_err("it is ours");
        assert_eq!(refused.code, "reserved_event_type");
    }

    #[test]
    fn a_payload_over_the_profiles_limit_is_refused() {
        let mut pointer = pointer("nudge");
        pointer.size = 102_400;
        assert_eq!(to(&routed(&pointer))[0].2, None);
        pointer.size = 102_401;
        assert_eq!(
            to(&routed(&pointer))[0].2,
            Some((End::Refused, "payload_too_large"))
        );
    }

    #[test]
    fn a_row_inserted_by_sql_is_frozen() {
        let mut pointer = pointer("custom");
        pointer.unfrozen = Some(Bytes::from_static(br#"{"b": 1.0, "1": [ ]}"#));
        let frozen = routed(&pointer).frozen.expect("was not frozen before");
        let event = frozen.expect("is JSON");
        assert_eq!(event.payload(), r#"{"1":[],"b":1}"#);
        assert_eq!(event.client(), client(1));
    }

    #[test]
    fn what_cannot_be_frozen_goes_to_nobody_and_says_why() {
        let mut pointer = pointer("nudge");
        pointer.unfrozen = Some(Bytes::from_static(b"{}, \"client\": 1"));
        let routed = routed(&pointer);
        assert!(routed.to.is_empty());
        assert!(routed.frozen.is_some_and(|frozen| frozen.is_err()));
    }

    #[test]
    fn a_text_over_the_limit_of_publishing_is_refused_unread() {
        let mut pointer = pointer("nudge");
        pointer.size = 262_145;
        pointer.unfrozen = Some(Bytes::new());
        let routed = routed(&pointer);
        assert!(routed.to.is_empty());
        let refused = routed.frozen.expect("not frozen").expect_err("too large");
        assert_eq!(refused.code, "payload_too_large");
    }

    #[test]
    fn lanes_are_told_of_their_first_delivery_and_ends_are_counted() {
        let mut late = pointer("nudge");
        late.not_before = Some(at(9_000));
        let mut over = pointer("nudge");
        over.size = usize::MAX;
        let routes = Routes::new(&snapshot(5, [(1, target(1, 1))]));
        let all = [over, late, pointer("nudge")];
        let first = |due_at| Done {
            lanes: vec![Pending {
                subscription: 1,
                due_at,
            }],
            ended: vec![(1, End::Refused)],
        };
        let two = done(&route(&routes, &all[..2], &HashMap::new(), at(2_000)));
        assert_eq!(two, first(at(9_000)));
        let three = done(&route(&routes, &all, &HashMap::new(), at(2_000)));
        assert_eq!(three, first(at(2_000)));
    }

    /// Client 1 has three subscriptions: of all, of pushes, and with a filter that asks for what is not there.
    fn filtering() -> Routes {
        let with = |n: u8, filter: Option<&str>| {
            let mut target = target(1, n);
            let filter = filter.map(|text| Filter::parse(text).expect("a filter"));
            target.subscription.settings.filter = filter;
            (i64::from(n), target)
        };
        Routes::new(&snapshot(
            5,
            [
                with(1, None),
                with(2, Some(r#"event.channel == "push""#)),
                with(3, Some("event.nowhere > 1")),
            ],
        ))
    }

    #[test]
    fn a_filter_decides_by_the_payload_and_what_it_cannot_tell_is_not_wanted() {
        let routes = filtering();
        let pointer = pointer("nudge");
        assert_eq!(
            filtered(&routes, std::slice::from_ref(&pointer)),
            [pointer.event]
        );
        let to_of = |payload: &'static [u8]| {
            let payloads = HashMap::from([(pointer.event, Bytes::from_static(payload))]);
            let all = route(
                &routes,
                std::slice::from_ref(&pointer),
                &payloads,
                at(2_000),
            );
            to(&all[0])
        };
        let wanted = |n| (n, 2_000, None);
        assert_eq!(to_of(br#"{"channel":"push"}"#), [wanted(1), wanted(2)]);
        assert_eq!(to_of(br#"{"channel":"sms"}"#), [wanted(1)]);
        assert_eq!(to_of(br#"{}"#), [wanted(1)]);
    }

    #[test]
    fn what_a_filter_cannot_afford_is_refused_and_not_lost() {
        let mut costly = target(1, 4);
        let text = "event.a.all(x, event.a.all(y, event.a.all(z, x + y + z >= 0)))";
        costly.subscription.settings.filter = Some(Filter::parse(text).expect("a filter"));
        let routes = Routes::new(&snapshot(5, [(4, costly)]));
        let payload = format!(r#"{{"a":[{}]}}"#, vec!["1"; 1_000].join(","));
        let pointers: Vec<Pointer> = (0..100)
            .map(|n| Pointer {
                event: EventId::new(at(1), [n; 10]),
                ..pointer("nudge")
            })
            .collect();
        let payloads = (pointers.iter())
            .map(|pointer| (pointer.event, Bytes::from(payload.clone())))
            .collect();
        let routed = route(&routes, &pointers, &payloads, at(2_000));
        let refused = (4, 2_000, Some((End::Refused, "filter_too_costly")));
        assert_eq!(to(&routed[0]), [refused]);
        assert!(routed.len() < 30, "{} in one transaction", routed.len());
    }

    #[test]
    fn so_many_payloads_are_read_at_once_and_the_rest_is_left_for_later() {
        let routes = filtering();
        let pointers: Vec<Pointer> = (0..30)
            .map(|n| Pointer {
                event: EventId::new(at(1), [n; 10]),
                size: 200_000,
                ..pointer("nudge")
            })
            .collect();
        let read = filtered(&routes, &pointers);
        assert_eq!(read.len(), 21, "4 MiB and what went over");
        let payloads = (read.iter())
            .map(|event| (*event, Bytes::from_static(b"{}")))
            .collect();
        assert_eq!(route(&routes, &pointers, &payloads, at(2_000)).len(), 21);
        assert!(route(&routes, &pointers, &HashMap::new(), at(2_000)).is_empty());
    }

    #[test]
    fn the_text_of_an_event_that_is_not_frozen_yet_is_filtered_once_it_is() {
        let unfrozen = Pointer {
            event_type: "ticket".into(),
            unfrozen: Some(Bytes::from_static(br#"{ "channel": "push" }"#)),
            ..pointer("nudge")
        };
        let mut all = target(1, 1);
        all.subscription.settings.profile = Arc::new(profile::github());
        all.subscription.settings.filter =
            Some(Filter::parse(r#"event.channel == "push""#).expect("a filter"));
        let routes = Routes::new(&snapshot(5, [(1, all)]));
        assert!(filtered(&routes, std::slice::from_ref(&unfrozen)).is_empty());
        let routed = route(&routes, &[unfrozen], &HashMap::new(), at(2_000));
        assert_eq!(to(&routed[0]), [(1, 2_000, None)]);
    }
}
