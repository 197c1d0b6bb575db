use std::collections::{HashMap, VecDeque};

use tharsis_core::ClientId;

/// What each turn adds to a credit, in bytes: about ten deliveries of the usual size.
const QUANTUM: i64 = 16 * 1024;

/// Whose turn it is: deficit round robin (Shreedhar and Varghese, 1995) over clients, and within a client over its
/// subscriptions. A client with a thousand subscriptions gets as much as one with a single one, and a subscription with a
/// million rows gets as much as its neighbour with ten. The cost of a delivery is in bytes, so large payloads do not buy
/// a larger share.
///
/// Lanes enter when they have something to send and leave when asked for it in vain; nobody goes through those that are
/// not here.
#[derive(Debug, Default)]
pub(super) struct Turns {
    order: VecDeque<ClientId>,
    clients: HashMap<ClientId, Client>,
}

#[derive(Debug)]
struct Client {
    credit: i64,
    lanes: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    lane: i64,
    credit: i64,
}

impl Turns {
    /// Puts a lane at the end of its client's line. It must not be in it already.
    pub(super) fn enter(&mut self, client: ClientId, lane: i64) {
        let entry = Entry {
            lane,
            credit: QUANTUM,
        };
        let order = &mut self.order;
        let line = self.clients.entry(client).or_insert_with(|| {
            order.push_back(client);
            Client {
                credit: QUANTUM,
                lanes: VecDeque::new(),
            }
        });
        line.lanes.push_back(entry);
    }

    /// The lane whose turn it is. `cost` says what its next delivery costs; a lane that has none for now leaves.
    pub(super) fn next(&mut self, mut cost: impl FnMut(i64) -> Option<usize>) -> Option<i64> {
        loop {
            let name = *self.order.front()?;
            let Some(client) = self.clients.get_mut(&name) else {
                self.order.pop_front();
                continue;
            };
            let Some(entry) = client.lanes.front_mut() else {
                self.clients.remove(&name);
                self.order.pop_front();
                continue;
            };
            let Some(cost) = cost(entry.lane) else {
                client.lanes.pop_front();
                continue;
            };
            let cost = i64::try_from(cost).unwrap_or(i64::MAX / 2);
            if client.credit < cost {
                client.credit += QUANTUM;
                self.order.rotate_left(1);
            } else if entry.credit < cost {
                entry.credit += QUANTUM;
                client.lanes.rotate_left(1);
            } else {
                client.credit -= cost;
                entry.credit -= cost;
                return Some(entry.lane);
            }
        }
    }

    /// What went along with a delivery costs too, and may leave the lane whose turn it was and its client in debt.
    pub(super) fn charge(&mut self, client: ClientId, lane: i64, cost: usize) {
        let cost = i64::try_from(cost).unwrap_or(i64::MAX / 2);
        if let Some(client) = self.clients.get_mut(&client) {
            client.credit -= cost;
            if let Some(entry) = client.lanes.front_mut().filter(|entry| entry.lane == lane) {
                entry.credit -= cost;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.clients.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tharsis_core::Timestamp;

    use super::*;

    fn client(n: u8) -> ClientId {
        ClientId::new(Timestamp::from_millis(1), [n; 10])
    }

    /// Takes turns until all is served or `picks` are made, and says how often each lane was served.
    fn serve(turns: &mut Turns, left: &mut BTreeMap<i64, Vec<usize>>, picks: usize) -> Vec<i64> {
        let mut served = Vec::new();
        for _ in 0..picks {
            let Some(lane) = turns.next(|lane| left[&lane].last().copied()) else {
                break;
            };
            left.get_mut(&lane).expect("lane is there").pop();
            served.push(lane);
        }
        served
    }

    #[test]
    fn ten_rows_do_not_wait_behind_a_million() {
        let mut turns = Turns::default();
        turns.enter(client(1), 1);
        turns.enter(client(2), 2);
        let mut left = BTreeMap::from([(1, vec![1_700; 1_000_000]), (2, vec![1_700; 10])]);
        let served = serve(&mut turns, &mut left, 40);
        assert_eq!(served.iter().filter(|lane| **lane == 2).count(), 10);
    }

    #[test]
    fn a_client_with_many_subscriptions_gets_no_more_than_one_with_a_single_one() {
        let mut turns = Turns::default();
        for lane in 0..100 {
            turns.enter(client(1), lane);
        }
        turns.enter(client(2), 100);
        let mut left: BTreeMap<_, _> = (0..=100).map(|lane| (lane, vec![1_700; 1_000])).collect();
        let served = serve(&mut turns, &mut left, 1_000);
        let single = served.iter().filter(|lane| **lane == 100).count();
        assert!((480..=520).contains(&single), "{single} of 1000");
    }

    #[test]
    fn large_payloads_buy_no_larger_share() {
        let mut turns = Turns::default();
        turns.enter(client(1), 1);
        turns.enter(client(2), 2);
        let mut left = BTreeMap::from([(1, vec![100_000; 1_000]), (2, vec![1_000; 100_000])]);
        let served = serve(&mut turns, &mut left, 5_050);
        let large = served.iter().filter(|lane| **lane == 1).count();
        assert!((45..=55).contains(&large), "{large} of 5050");
    }

    #[test]
    fn what_goes_along_is_paid_for() {
        let mut turns = Turns::default();
        turns.enter(client(1), 1);
        turns.enter(client(2), 2);
        let mut left = BTreeMap::from([(1, vec![1_000; 10_000]), (2, vec![1_000; 10_000])]);
        let mut served = BTreeMap::from([(1, 0), (2, 0)]);
        for _ in 0..2_000 {
            let lane = serve(&mut turns, &mut left, 1)[0];
            *served.get_mut(&lane).expect("one of both") += 1;
            if lane == 1 {
                turns.charge(client(1), 1, 9_000);
            }
        }
        // Ten thousand bytes each time against one thousand.
        let ratio = f64::from(served[&2]) / f64::from(served[&1]);
        assert!((9.0..11.0).contains(&ratio), "{served:?}");
    }

    proptest! {
        #[test]
        fn all_is_served_and_nobody_who_waits_falls_behind_by_more_than_a_turn(
            lanes in prop::collection::vec((0_u8..4, 1_usize..200_000, 1_usize..30), 1..20),
        ) {
            let mut turns = Turns::default();
            let mut left = BTreeMap::new();
            for (lane, (owner, cost, rows)) in (0..).zip(&lanes) {
                turns.enter(client(*owner), lane);
                left.insert(lane, vec![*cost; *rows]);
            }
            let owner_of = |lane: i64| lanes[usize::try_from(lane).expect("small")].0;
            let largest = lanes.iter().map(|(_, cost, _)| *cost).max().expect("at least one");
            let mut bytes: BTreeMap<u8, usize> = lanes.iter().map(|(owner, ..)| (*owner, 0)).collect();
            let mut all_wait = true;
            for _ in 0..lanes.iter().map(|(_, _, rows)| rows).sum() {
                let lane = turns.next(|lane| left[&lane].last().copied()).expect("some are left");
                *bytes.get_mut(&owner_of(lane)).expect("known") += left.get_mut(&lane).expect("known").pop().expect("it had one");
                let waits = |owner: &u8| left.iter().any(|(lane, rows)| owner_of(*lane) == *owner && !rows.is_empty());
                all_wait &= bytes.keys().all(waits);
                if all_wait {
                    let most = bytes.values().max().expect("at least one");
                    let least = bytes.values().min().expect("at least one");
                    let quantum = usize::try_from(QUANTUM).expect("small");
                    prop_assert!(most - least <= 2 * quantum + largest, "{bytes:?}");
                }
            }
            prop_assert_eq!(turns.next(|lane| left[&lane].last().copied()), None);
            prop_assert!(turns.is_empty());
        }
    }
}
