use std::collections::{HashMap, VecDeque};

use tharsis_core::{
    delivery::End,
    order::{By, OrderKey},
};
use tharsis_store::{Blocked, Due, Fate, LetGo, Position, Settlement};

/// The most rows of a lane that wait in memory for one before them. When that many do, the lane is read on only once those
/// that they wait for hang, and what then waits too is parked.
pub(super) const MOST_BEHIND: usize = 1024;

/// The deliveries of a lane that go one after the other, by key.
///
/// Of each key one row at a time is in the cache or under way; those after it wait in memory, for a receiver that answers
/// soon. When that row is put back, those behind it would be read again and again, and are parked: once, in the store. A lane
/// whose order is strict has one key and parks nothing: it is not read beyond its first row.
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

    /// Whether it may be read on, where `cached` rows may be sent, `appetite` are liked, and requests hang or not.
    pub(super) fn hungers(&self, cached: usize, appetite: usize, hangs: bool) -> bool {
        if self.letting_go {
            return false;
        }
        let Some(first) = self
            .keys
            .get(&OrderKey::STRICT)
            .filter(|_| self.is_strict())
        else {
            return self.behind < MOST_BEHIND || hangs;
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
        // What is being read of the store is older.
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
        }
        self.forget_idle();
        let keys = blocked.iter().map(|one| one.key);
        keys.filter(|key| self.may_let_go(*key)).collect()
    }

    /// Whether the next of a key may be let go. Under a strict order nothing is parked but what was before it was strict.
    pub(super) fn may_let_go(&self, key: OrderKey) -> bool {
        if self.is_strict() {
            key != OrderKey::STRICT
        } else {
            self.asks(key)
        }
    }

    /// Nothing of it is under way any more, and the last of those that might go has ended.
    fn asks(&self, key: OrderKey) -> bool {
        self.doubt == Doubt::None && (self.keys.get(&key)).is_some_and(|of| of.asks && of.is_idle())
    }

    /// This came of letting the next of a key go.
    pub(super) fn let_go(&mut self, done: &LetGo) {
        // In doubt it is looked at anyway.
        if self.is_strict() || self.is_doubted() {
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
