//! Deliveries that go one after the other, as both databases hold them.

use tharsis_core::order::OrderKey;

use crate::Position;

/// The most deliveries of a key that are let go at once.
pub(crate) const LET_GO: u32 = 64;

/// A key of which somebody waits: the deliveries of it that were put back, and those that are [parked](crate::PARKED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// The store's short number of the subscription.
    pub subscription: i64,
    /// Which.
    pub key: OrderKey,
    /// The first that was put back and is to be tried again, or is [kept](crate::KEPT).
    pub first: Option<Position>,
    /// The number of the first that is parked, or was kept where nothing is held for a dead one any more.
    pub parked: Option<i64>,
}

/// What came of letting deliveries of a key go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetGo {
    /// The store's short number of the subscription.
    pub subscription: i64,
    /// Which.
    pub key: OrderKey,
    /// Those up to this number may go, in order; what comes after it is to wait. `None`: nothing is parked any more.
    pub upto: Option<i64>,
    /// Nothing was let go: the one of that number was put back.
    pub waits: bool,
}
