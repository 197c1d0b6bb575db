use std::collections::{HashMap, VecDeque};

use tharsis_core::{
    delivery::End,
    order::{By, OrderKey},
};
use tharsis_store::{Blocked, Due, Fate, LetGo, Position, Settlement};

/// The most rows of a lane that wait in memory for one before them. When that many do, the lane is read on only while it has
/// nothing else to send, and what then waits too is parked.
pub(super) const MOST_BEHIND: usize = 1024;

/// A lane of which what became of so many rows is not written down is not read on: rows that are parked come faster than
/// they are written.
const MOST_UNSETTLED: usize = 1024;

/// The deliveries of a lane that go one after the other, by key.
///
/// Of each key one row at a time is in the cache or under way; those after it wait in memory, for a receiver that answers
/// soon. When that row is put back, those behind it would be read again and again, and are parked in the store. A lane whose
/// order is strict has one key and parks nothing: when its first row is put back, it is not read beyond that.
#[derive(Debug)]
pub(super) struct Order {
    by: By,
    keys: HashMap<OrderKey, Key>,
    /// Rows that wait in memory.
    behind: usize,
    /// What came of so many rows is not written down yet.
    unsettled: usize,
    /// Where the first row lies that was put back, in a lane whose order is strict.
    head: Option<Position>,
    doubt: Doubt,
    /// Somebody is being let go: what is read meanwhile may show it or not.
    pub(super) letting_go: bool,
    /// Somebody was let go since it was read last.
    pub(super) has_let_go: bool,
}

/// Whether it is known who waits for whom in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// It is not, and nothing may be sent.
    Full,
    /// It is being looked at, and nothing was decided since.
    Asked,
    None,
}

/// What is known of a key.
#[derive(Debug, Default)]
struct Key {
    /// A row of it is in the cache or under way.
    busy: bool,
    /// Those that wait for it in memory.
    behind: VecDeque<Due>,
    /// Rows up to this number may go. What comes after them is to wait in the store, and some do already.
    upto: Option<i64>,
    /// The last of those that may go has ended: the next are to be let go once nothing of it is under way.
    asks: bool,
    /// What came of so many rows of it is not written down yet.
    unsettled: usize,
}

/// What becomes of a row that was read.
#[derive(Debug)]
pub(super) enum Admitted {
    /// It may be sent.
    Goes(Due),
    /// It waits in memory.
    Waits,
    /// It is to be parked.
    Parks(Due),
    /// It stays where it is, and so does all that comes after it.
    Stays,
    /// It waits for one that is not where it was.
    Astray,
}

/// What follows for the rows in memory from what became of one.
#[derive(Debug, Default)]
pub(super) struct Next {
    /// It may be sent now.
    pub(super) goes: Option<Due>,
    /// These are to be parked.
    pub(super) parks: VecDeque<Due>,
    /// These are read again when their time comes.
    pub(super) stay: VecDeque<Due>,
    /// Another row comes first now than was read first.
    pub(super) is_from_start: bool,
    /// Which one that is has to be looked up: what stepped aside may have come back before others that were put back.
    pub(super) is_doubted: bool,
}

impl Order {
    pub(super) fn new(by: By) -> Self {
        Self {
            by,
            keys: HashMap::new(),
            behind: 0,
            unsettled: 0,
            head: None,
            doubt: Doubt::Full,
            letting_go: false,
            has_let_go: false,
        }
    }

    pub(super) fn by(&self) -> &By {
        &self.by
    }

    fn is_strict(&self) -> bool {
        self.by == By::Strict
    }

    // === what may be done ===

    /// Nothing may be sent until it is known who waits for whom.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubt != Doubt::None
    }

    /// Rows that wait in memory.
    pub(super) fn behind(&self) -> usize {
        self.behind
    }

    /// One row goes at a time, so no request waits for company.
    pub(super) fn goes_alone(&self) -> bool {
        self.is_strict()
    }

    /// Whether it may be read on, where `cached` rows may be sent and `appetite` are liked.
    pub(super) fn hungers(&self, cached: usize, appetite: usize) -> bool {
        if self.letting_go || self.unsettled >= MOST_UNSETTLED {
            return false;
        }
        let Some(first) = self
            .keys
            .get(&OrderKey::STRICT)
            .filter(|_| self.is_strict())
        else {
            return self.behind < MOST_BEHIND || cached == 0;
        };
        match first.upto {
            Some(_) => self.head.is_some() && !first.busy,
            None => cached + self.behind <= appetite / 2,
        }
    }

    /// Where a read begins that is to bring the first row of a lane whose order is strict: whatever comes before it by its
    /// due time waits for it.
    pub(super) fn before_head(&self) -> Option<Position> {
        let head = self.head?;
        Some(Position {
            seq: head.seq - 1,
            replay: 0,
            ..head
        })
    }

    // === rows ===

    /// Takes in a row of this key that was read.
    pub(super) fn admit(&mut self, key: OrderKey, due: Due, room: usize) -> Admitted {
        let seq = due.position.seq;
        let is_strict = self.is_strict();
        let of = self.keys.entry(key).or_default();
        if of.upto.is_some_and(|upto| seq > upto) {
            return if is_strict {
                Admitted::Astray
            } else {
                Admitted::Parks(due)
            };
        }
        if !of.busy {
            of.busy = true;
            return Admitted::Goes(due);
        }
        if self.behind < room {
            of.behind.push_back(due);
            self.behind += 1;
            return Admitted::Waits;
        }
        if is_strict {
            return Admitted::Stays;
        }
        // From here on all of it wait in the store, or a later one would go before it.
        let last = of.behind.back().map(|due| due.position.seq);
        of.upto = last.or(Some(seq - 1));
        of.asks = true;
        Admitted::Parks(due)
    }

    /// This becomes of a row. Once it was delivered the next may go; where it ended otherwise, only when that is written
    /// down, for until then it may yet come to be tried again.
    pub(super) fn decided(&mut self, key: OrderKey, settlement: &Settlement) -> Next {
        let Some(of) = self.keys.get_mut(&key) else {
            return Next::default();
        };
        of.unsettled += 1;
        self.unsettled += 1;
        // What is being read of the store is older: it is to be read again.
        if self.doubt == Doubt::Asked {
            self.doubt = Doubt::Full;
        }
        let position = settlement.position;
        match settlement.fate {
            Fate::Ended(End::Delivered) => self.advance(key, position.seq),
            Fate::Again { due_at, .. } => {
                let head = Position { due_at, ..position };
                self.block(key, position.seq, Some(head))
            }
            Fate::Kept { .. } => self.block(key, position.seq, None),
            Fate::Ended(_) | Fate::Aside | Fate::Parked { .. } => Next::default(),
        }
    }

    /// What became of a row of it is written down.
    pub(super) fn settled(&mut self, key: OrderKey, settlement: &Settlement) -> Next {
        let Some(of) = self.keys.get_mut(&key) else {
            return Next::default();
        };
        let before = of.unsettled;
        of.unsettled = before.saturating_sub(1);
        self.unsettled -= before - of.unsettled;
        let next = match settlement.fate {
            Fate::Ended(End::Delivered)
            | Fate::Again { .. }
            | Fate::Kept { .. }
            | Fate::Parked { .. } => Next::default(),
            Fate::Ended(_) | Fate::Aside => self.advance(key, settlement.position.seq),
        };
        if let Some(of) = self.keys.get(&key)
            && of.is_idle()
            && of.upto.is_none()
        {
            self.keys.remove(&key);
        }
        next
    }

    /// The row of this number is out of the way.
    fn advance(&mut self, key: OrderKey, seq: i64) -> Next {
        let is_strict = self.is_strict();
        let Some(of) = self.keys.get_mut(&key) else {
            return Next::default();
        };
        let is_last = of.upto == Some(seq);
        of.asks |= is_last && !is_strict;
        if is_last && is_strict {
            of.upto = None;
            self.head = None;
            self.doubt = Doubt::Full;
        }
        let goes = of.behind.pop_front();
        of.busy = goes.is_some();
        self.behind -= usize::from(of.busy);
        Next {
            goes,
            is_from_start: is_last && is_strict,
            is_doubted: is_last && is_strict,
            ..Next::default()
        }
    }

    /// All of a key wait for the row of this number, which is to be tried again there, or kept.
    fn block(&mut self, key: OrderKey, seq: i64, head: Option<Position>) -> Next {
        let is_strict = self.is_strict();
        let Some(of) = self.keys.get_mut(&key) else {
            return Next::default();
        };
        of.busy = false;
        of.upto = Some(seq);
        of.asks = false;
        let behind = std::mem::take(&mut of.behind);
        self.behind -= behind.len();
        if is_strict {
            self.head = head;
            Next {
                stay: behind,
                is_from_start: true,
                ..Next::default()
            }
        } else {
            Next {
                parks: behind,
                ..Next::default()
            }
        }
    }

    /// Gives up the rows in memory: those that are `cached`, and those that wait, which it returns.
    pub(super) fn give_up<'a>(&mut self, cached: impl Iterator<Item = &'a Due>) -> Vec<Due> {
        for due in cached {
            if let Some(of) = due.key.and_then(|key| self.keys.get_mut(&key)) {
                of.busy = false;
            }
        }
        self.behind = 0;
        let waiting = (self.keys.values_mut()).flat_map(|of| std::mem::take(&mut of.behind));
        let waiting = waiting.collect();
        self.forget_idle();
        waiting
    }

    fn forget_idle(&mut self) {
        self.keys.retain(|_, of| !of.is_idle() || of.upto.is_some());
    }

    // === who waits in the store ===

    /// It is not known any more who waits for whom.
    pub(super) fn doubt(&mut self) {
        self.doubt = Doubt::Full;
    }

    /// Whether the store can say who waits for whom: all that was decided is written down, where nothing else is known.
    pub(super) fn may_be_looked_at(&self) -> bool {
        !self.letting_go && (self.doubt == Doubt::None || self.unsettled == 0)
    }

    /// It is looked at now. What is decided from here on is newer than the answer.
    pub(super) fn looked_at(&mut self) {
        if self.doubt != Doubt::None {
            self.doubt = Doubt::Asked;
            self.head = None;
            for of in self.keys.values_mut() {
                of.upto = None;
                of.asks = false;
            }
        }
    }

    /// These wait in the store. Returns the keys whose next are to be let go.
    pub(super) fn known(&mut self, blocked: &[Blocked]) -> Vec<OrderKey> {
        let was_doubted = self.doubt == Doubt::Asked;
        for one in blocked {
            let is_strict = self.is_strict();
            if is_strict && one.key != OrderKey::STRICT {
                continue;
            }
            let of = self.keys.entry(one.key).or_default();
            let first = one.first.map(|first| first.seq);
            let upto = first.or_else(|| one.parked.map(|parked| parked - 1));
            if was_doubted {
                of.upto = upto;
                of.asks = first.is_none();
                if is_strict {
                    self.head = one.first.filter(|first| first.lane == 0);
                }
            } else if first.is_none() && of.is_idle() {
                // Whom they waited for is gone, by another's hand.
                of.upto = of.upto.or(upto);
                of.asks = true;
            }
        }
        if was_doubted {
            self.doubt = Doubt::None;
        } else if self.is_strict() && !blocked.iter().any(|one| one.key == OrderKey::STRICT) {
            // The one that all wait for is gone, by another's hand.
            let waits = |of: &Key| of.is_idle() && of.upto.is_some();
            if self.keys.get(&OrderKey::STRICT).is_some_and(waits) {
                self.doubt();
            }
        }
        self.forget_idle();
        let keys = blocked.iter().map(|one| one.key);
        keys.filter(|key| self.may_let_go(*key)).collect()
    }

    /// Whether the next of a key may be let go. Under a strict order nothing is parked but what was before it was strict, and
    /// nothing is kept but what was while something was to be held.
    pub(super) fn may_let_go(&self, key: OrderKey) -> bool {
        self.is_strict() && key != OrderKey::STRICT || self.asks(key)
    }

    /// Nothing of it is under way any more, and the last of those that might go has ended.
    fn asks(&self, key: OrderKey) -> bool {
        self.doubt == Doubt::None && (self.keys.get(&key)).is_some_and(|of| of.asks && of.is_idle())
    }

    /// This came of letting the next of a key go.
    pub(super) fn let_go(&mut self, done: &LetGo) {
        // In doubt it is looked at anyway, and so is which row comes first now.
        if self.is_strict() {
            self.doubt();
        }
        if self.is_doubted() {
            return;
        }
        let of = self.keys.entry(done.key).or_default();
        of.upto = done.upto;
        of.asks = false;
        if of.is_idle() && of.upto.is_none() {
            self.keys.remove(&done.key);
        }
    }
}

impl Key {
    /// Nothing of it is in memory or under way.
    fn is_idle(&self) -> bool {
        !self.busy && self.behind.is_empty() && self.unsettled == 0
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tharsis_core::{DeliveryId, EventId, SubscriptionId, Timestamp, delivery::Spent};

    use super::*;

    const KEY: OrderKey = OrderKey(7);
    const OTHER: OrderKey = OrderKey(8);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn due(seq: i64, key: OrderKey) -> Due {
        let n = u8::try_from(seq).expect("few");
        Due {
            position: Position {
                subscription: 1,
                lane: 0,
                due_at: at(1_000),
                seq,
                replay: 0,
            },
            id: DeliveryId {
                event: EventId::new(at(1), [n; 10]),
                subscription: SubscriptionId::new(at(1), [1; 10]),
            },
            event_type: "nudge".into(),
            payload: Bytes::from_static(b"{}"),
            published_at: at(900),
            expires_at: None,
            attempts: 0,
            spent: Spent::default(),
            fresh: None,
            named: None,
            key: Some(key),
            is_waited_for: false,
        }
    }

    const DELIVERED: Fate = Fate::Ended(End::Delivered);

    fn again() -> Fate {
        let (due_at, spent) = (at(9_000), Spent::default());
        Fate::Again { due_at, spent }
    }

    fn parked() -> Fate {
        let (due_at, spent) = (at(1_000), Spent::default());
        Fate::Parked { due_at, spent }
    }

    fn settlement(seq: i64, key: OrderKey, fate: Fate) -> Settlement {
        let due = due(seq, key);
        Settlement {
            position: due.position,
            event: due.id.event,
            attempts: 0,
            attempt: None,
            fate,
            key: Some(key),
            suspend: None,
            certificate_ends: None,
        }
    }

    /// An order in which nobody waits in the store.
    fn order(by: By) -> Order {
        let mut order = Order::new(by);
        order.looked_at();
        assert_eq!(order.known(&[]), []);
        assert!(!order.is_doubted());
        order
    }

    impl Order {
        /// What becomes of rows of a key that are read one after the other: `g`oes, `w`aits, `p`arked, `s`tays, `a`stray.
        fn reads(&mut self, key: OrderKey, seqs: &[i64], room: usize) -> String {
            let word = |admitted| match admitted {
                Admitted::Goes(_) => 'g',
                Admitted::Waits => 'w',
                Admitted::Parks(_) => 'p',
                Admitted::Stays => 's',
                Admitted::Astray => 'a',
            };
            let seqs = seqs.iter();
            seqs.map(|seq| word(self.admit(key, due(*seq, key), room)))
                .collect()
        }

        /// This becomes of a row, which is not written down yet. Returns which goes then, and which are parked or stay.
        fn becomes(&mut self, seq: i64, key: OrderKey, fate: Fate) -> (Option<i64>, Vec<i64>) {
            let next = self.decided(key, &settlement(seq, key, fate));
            let others = next.parks.iter().chain(&next.stay);
            (
                next.goes.map(|due| due.position.seq),
                others.map(|due| due.position.seq).collect(),
            )
        }

        /// That is written down. Returns which goes then.
        fn writes(&mut self, seq: i64, key: OrderKey, fate: Fate) -> Option<i64> {
            let next = self.settled(key, &settlement(seq, key, fate));
            next.goes.map(|due| due.position.seq)
        }
    }

    #[test]
    fn of_each_key_one_goes_at_a_time_and_a_success_lets_the_next_go_at_once() {
        let mut order = order(By::Recipient);
        assert_eq!(order.reads(KEY, &[1, 3, 5], 9), "gww");
        assert_eq!(order.reads(OTHER, &[2, 4], 9), "gw");
        assert_eq!(order.behind(), 3);
        assert_eq!(order.becomes(1, KEY, DELIVERED), (Some(3), vec![]));
        assert_eq!(order.becomes(2, OTHER, DELIVERED), (Some(4), vec![]));
        assert_eq!(order.writes(1, KEY, DELIVERED), None);
        assert_eq!(order.becomes(3, KEY, DELIVERED), (Some(5), vec![]));
        assert_eq!(order.behind(), 0);
    }

    #[test]
    fn any_other_end_lets_the_next_go_only_once_it_is_written_down() {
        let dead = Fate::Ended(End::Dead);
        let mut order = order(By::Recipient);
        assert_eq!(order.reads(KEY, &[1, 2, 3], 9), "gww");
        assert_eq!(order.becomes(1, KEY, dead), (None, vec![]));
        assert_eq!(order.writes(1, KEY, dead), Some(2));
        assert_eq!(order.becomes(2, KEY, Fate::Aside), (None, vec![]));
        assert_eq!(order.writes(2, KEY, Fate::Aside), Some(3));
    }

    #[test]
    fn what_is_put_back_has_those_behind_it_parked_and_let_go_when_it_is_through() {
        let mut order = order(By::Recipient);
        assert_eq!(order.reads(KEY, &[1, 2, 3], 9), "gww");
        assert_eq!(order.becomes(1, KEY, again()), (None, vec![2, 3]));
        for seq in [2, 3] {
            order.becomes(seq, KEY, parked());
        }
        assert_eq!(order.reads(KEY, &[4], 9), "p");
        assert_eq!(order.reads(OTHER, &[5], 9), "g");
        order.becomes(4, KEY, parked());
        order.writes(1, KEY, again());
        assert_eq!(order.reads(KEY, &[1], 9), "g", "its time has come");
        order.becomes(1, KEY, DELIVERED);
        for (seq, fate) in [(2, parked()), (3, parked()), (4, parked())] {
            order.writes(seq, KEY, fate);
            assert!(!order.may_let_go(KEY), "its own end is not written down");
        }
        order.writes(1, KEY, DELIVERED);
        assert!(order.may_let_go(KEY));
        let some = LetGo {
            subscription: 1,
            key: KEY,
            upto: Some(3),
            waits: false,
        };
        order.let_go(&some);
        assert!(!order.may_let_go(KEY), "those are to be read first");
        assert_eq!(order.reads(KEY, &[2, 3, 4, 6], 9), "gwpp");
        assert_eq!(order.becomes(2, KEY, DELIVERED), (Some(3), vec![]));
        order.becomes(3, KEY, DELIVERED);
        for (seq, fate) in [(4, parked()), (6, parked())] {
            order.becomes(seq, KEY, fate);
            order.writes(seq, KEY, fate);
        }
        order.writes(2, KEY, DELIVERED);
        order.writes(3, KEY, DELIVERED);
        assert!(order.may_let_go(KEY));
        order.let_go(&LetGo { upto: None, ..some });
        assert_eq!(order.reads(KEY, &[4, 6], 9), "gw");
    }

    #[test]
    fn what_does_not_fit_into_memory_is_parked_and_goes_in_its_turn() {
        let mut order = order(By::Recipient);
        assert_eq!(order.reads(KEY, &[1, 2, 3, 4, 5], 2), "gwwpp");
        assert_eq!(order.becomes(1, KEY, DELIVERED), (Some(2), vec![]));
        assert_eq!(
            order.reads(KEY, &[6], 2),
            "p",
            "there is room, but it is later"
        );
        assert_eq!(order.becomes(2, KEY, DELIVERED), (Some(3), vec![]));
        assert_eq!(order.becomes(3, KEY, DELIVERED), (None, vec![]));
        for seq in [4, 5, 6] {
            order.becomes(seq, KEY, parked());
            order.writes(seq, KEY, parked());
        }
        for seq in [1, 2, 3] {
            assert!(!order.may_let_go(KEY));
            order.writes(seq, KEY, DELIVERED);
        }
        assert!(order.may_let_go(KEY));
    }

    #[test]
    fn a_lane_with_all_that_memory_bears_is_read_on_only_while_it_has_nothing_else_to_send() {
        let mut order = order(By::Recipient);
        assert!(order.hungers(3, 16));
        order.reads(KEY, &[1], 9);
        order.behind = MOST_BEHIND;
        assert!(!order.hungers(3, 16));
        assert!(order.hungers(0, 16));
        order.unsettled = MOST_UNSETTLED;
        assert!(!order.hungers(0, 16), "parking does not keep up");
        order.unsettled = 0;
        order.letting_go = true;
        assert!(!order.hungers(0, 16));
    }

    #[test]
    fn what_was_kept_by_a_strict_order_goes_when_nothing_is_to_be_held_any_more() {
        let mut order = Order::new(By::Strict);
        let key = OrderKey::STRICT;
        order.looked_at();
        let kept = Blocked {
            subscription: 1,
            key,
            first: None,
            parked: Some(4),
        };
        assert_eq!(order.known(&[kept]), [key]);
        assert!(
            !order.hungers(0, 16),
            "what comes after it does not go before it"
        );
        order.let_go(&LetGo {
            subscription: 1,
            key,
            upto: None,
            waits: false,
        });
        assert!(order.is_doubted());
        order.looked_at();
        assert_eq!(order.known(&[]), []);
        assert!(order.hungers(0, 16));
        assert_eq!(order.reads(key, &[4, 5], 9), "gw");
    }

    #[test]
    fn a_strict_order_finds_out_that_the_one_that_all_wait_for_is_gone() {
        let mut order = order(By::Strict);
        let key = OrderKey::STRICT;
        assert_eq!(order.reads(key, &[1], 9), "g");
        order.becomes(1, key, again());
        order.writes(1, key, again());
        assert_eq!(order.known(&[]), []);
        assert!(order.is_doubted());
        order.looked_at();
        order.known(&[]);
        assert!(!order.is_doubted() && order.before_head().is_none());
        assert_eq!(order.reads(key, &[2], 9), "g");
    }

    #[test]
    fn a_strict_order_parks_nothing_and_is_read_from_the_row_that_all_wait_for() {
        let mut order = order(By::Strict);
        let key = OrderKey::STRICT;
        assert_eq!(order.reads(key, &[1, 2, 3], 1), "gws");
        assert!(order.hungers(0, 16));
        assert_eq!(order.becomes(1, key, again()), (None, vec![2]));
        let head = order.before_head().expect("it is known where it lies");
        assert_eq!((head.due_at, head.seq), (at(9_000), 0));
        assert_eq!(order.reads(key, &[2], 1), "a", "it is not where it was");
        order.writes(1, key, again());
        assert_eq!(order.reads(key, &[1], 1), "g");
        assert!(!order.hungers(0, 16), "it is under way");
        order.becomes(1, key, DELIVERED);
        assert!(order.is_doubted(), "others may have been put back before");
        assert!(!order.may_be_looked_at());
        order.writes(1, key, DELIVERED);
        assert!(order.may_be_looked_at());
    }

    #[test]
    fn one_that_is_kept_stops_its_key_and_a_strict_lane_altogether() {
        let kept = Fate::Kept {
            spent: Spent::default(),
        };
        let mut order = order(By::Recipient);
        assert_eq!(order.reads(KEY, &[1, 2], 9), "gw");
        assert_eq!(order.becomes(1, KEY, kept), (None, vec![2]));
        order.writes(1, KEY, kept);
        assert!(!order.may_let_go(KEY));
        assert!(order.hungers(0, 16));

        let mut strict = self::order(By::Strict);
        let key = OrderKey::STRICT;
        assert_eq!(strict.reads(key, &[1, 2], 9), "gw");
        assert_eq!(strict.becomes(1, key, kept), (None, vec![2]));
        strict.writes(1, key, kept);
        assert!(!strict.hungers(0, 16));
    }

    #[test]
    fn who_waits_in_the_store_is_looked_up_when_all_is_written_down_and_again_when_it_is_outrun() {
        let mut order = order(By::Recipient);
        assert_eq!(order.reads(KEY, &[1], 9), "g");
        order.doubt();
        assert!(order.may_be_looked_at());
        order.looked_at();
        order.becomes(1, KEY, again());
        let nobody = order.known(&[]);
        assert_eq!(nobody, []);
        assert!(order.is_doubted(), "what was decided since is newer");
        assert!(!order.may_be_looked_at());
        order.writes(1, KEY, again());
        assert!(order.may_be_looked_at());
        order.looked_at();
        let first = due(1, KEY).position;
        let blocked = |key, first, parked| Blocked {
            subscription: 1,
            key,
            first,
            parked,
        };
        let goes = order.known(&[
            blocked(KEY, Some(first), Some(2)),
            blocked(OTHER, None, Some(4)),
        ]);
        assert_eq!(goes, [OTHER], "it waits for nobody");
        assert_eq!(order.reads(KEY, &[1, 2], 9), "gp");
        assert_eq!(order.reads(OTHER, &[3, 4], 9), "gp");
        order.letting_go = true;
        assert!(!order.may_be_looked_at());
    }
}
