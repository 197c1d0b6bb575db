use std::collections::VecDeque;

use super::lane::{Lacks, Lane, Pace, Place};

/// Requests that may be under way, and those that are.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) all: usize,
    pub(super) taken: usize,
    pub(super) taken_by_slow: usize,
}

impl Slots {
    pub(super) fn new(all: usize) -> Self {
        Self {
            all: all.max(1),
            taken: 0,
            taken_by_slow: 0,
        }
    }

    pub(super) fn free_for_slow(&self) -> usize {
        (self.all / 2).max(1).saturating_sub(self.taken_by_slow)
    }

    /// All but the last quarter.
    pub(super) fn free_for_all(&self) -> usize {
        (self.all - self.all / 4).saturating_sub(self.taken)
    }

    /// The slots that this lane would need, if they are not free.
    pub(super) fn lacking(&self, lane: &Lane) -> Option<Lacks> {
        if lane.pace == Pace::Slow && self.free_for_slow() == 0 {
            Some(Lacks::Slow)
        } else if lane.in_flight > 0 && self.free_for_all() == 0 {
            Some(Lacks::Common)
        } else {
            None
        }
    }
}

/// Lanes that lack a slot, in order. Some may have left since: a lane says itself where it waits.
#[derive(Debug, Default)]
pub(super) struct Aside {
    slow: VecDeque<i64>,
    common: VecDeque<i64>,
}

impl Aside {
    pub(super) fn put(&mut self, id: i64, lane: &mut Lane, lacks: Lacks) {
        lane.place = Place::Aside(lacks);
        self.queue(lacks).push_back(id);
    }

    pub(super) fn queue(&mut self, lacks: Lacks) -> &mut VecDeque<i64> {
        match lacks {
            Lacks::Slow => &mut self.slow,
            Lacks::Common => &mut self.common,
        }
    }
}
