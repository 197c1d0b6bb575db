use std::{collections::BTreeMap, sync::Arc};

use tharsis_core::{
    ClientId, Timestamp,
    delivery::{End, codes},
    event::{Event, MAX_PAYLOAD, too_large},
    subscription::Target,
};
use tharsis_store::{Pending, Pointer, RouteTo, Routed, Snapshot};

/// The registry, arranged by client, as routing asks for it. In an order, so that the same always leads to the same.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The revision of the registry that this is.
    pub(super) revision: i64,
    by_client: BTreeMap<ClientId, Vec<(i64, Arc<Target>)>>,
}

impl Routes {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let mut by_client: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (id, target) in &snapshot.targets {
            by_client
                .entry(target.subscription.settings.client)
                .or_default()
                .push((*id, Arc::clone(target)));
        }
        Self {
            revision: snapshot.revision,
            by_client,
        }
    }

    /// Every subscription.
    pub(super) fn targets(&self) -> impl Iterator<Item = &(i64, Arc<Target>)> {
        self.by_client.values().flatten()
    }
}

/// So many deliveries are enough for one transaction, however many subscriptions a client has.
const DELIVERIES: usize = 8_192;

/// Who gets these events, and from when on. A subscription that is paused or disabled gets them too: what is held is
/// kept. Of many deliveries only the first events: the others are read again.
pub(super) fn route(routes: &Routes, pointers: &[Pointer], now: Timestamp) -> Vec<Routed> {
    let mut deliveries = 0;
    let mut routed = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        if deliveries >= DELIVERIES {
            break;
        }
        let one = route_one(routes, pointer, now);
        deliveries += one.to.len();
        routed.push(one);
    }
    routed
}

fn route_one(routes: &Routes, pointer: &Pointer, now: Timestamp) -> Routed {
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
            deliveries(routes, pointer, event.payload().len(), expires_at, now)
        }
        None => deliveries(routes, pointer, pointer.size, pointer.expires_at, now),
    };
    Routed {
        seq: pointer.seq,
        to,
        frozen: frozen.map(|frozen| frozen.map(Box::new)),
    }
}

fn deliveries(
    routes: &Routes,
    pointer: &Pointer,
    size: usize,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Vec<RouteTo> {
    let due_at = pointer.not_before.map_or(now, |at| at.max(now));
    let expired = expires_at.is_some_and(|at| at <= due_at);
    let Some(targets) = routes.by_client.get(&pointer.client) else {
        return Vec::new();
    };
    targets
        .iter()
        .filter(|(_, target)| target.wants(pointer.client, &pointer.event_type))
        .map(|(subscription, target)| {
            let limit = target.subscription.settings.profile.payload_limit;
            let ends = if expired {
                Some((End::Expired, codes::EXPIRED))
            } else if size > limit {
                Some((End::Refused, codes::PAYLOAD_TOO_LARGE))
            } else {
                None
            };
            RouteTo {
                subscription: *subscription,
                due_at,
                ends,
            }
        })
        .collect()
}

/// What routing did, once it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// The lanes that got deliveries, and when the first of each is due.
    pub(super) lanes: Vec<Pending>,
    /// Deliveries that ended at once.
    pub(super) ended: u64,
}

/// Sums up what routing decided.
pub(super) fn done(routed: &[Routed]) -> Done {
    let mut first: BTreeMap<i64, Timestamp> = BTreeMap::new();
    let mut ended = 0;
    for to in routed.iter().flat_map(|r| &r.to) {
        if to.ends.is_some() {
            ended += 1;
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
    use tharsis_core::{EventId, subscription::State};

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
        }
    }

    fn routed(pointer: &Pointer) -> Routed {
        let mut paused = target(1, 3);
        paused.subscription.state = State::Paused;
        let routes = Routes::new(&snapshot(
            5,
            [(1, target(1, 1)), (2, target(2, 2)), (3, paused)],
        ));
        let mut all = route(&routes, std::slice::from_ref(pointer), at(2_000));
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
            ended: 1,
        };
        let two = done(&route(&routes, &all[..2], at(2_000)));
        assert_eq!(two, first(at(9_000)));
        let three = done(&route(&routes, &all, at(2_000)));
        assert_eq!(three, first(at(2_000)));
    }
}
