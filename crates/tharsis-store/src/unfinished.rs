//! How much is unfinished, by what becomes of it next.

/// How many deliveries are unfinished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Never attempted.
    pub pending: u64,
    /// Attempted, and to be attempted again.
    pub retrying: u64,
    /// Held, attempted or not.
    pub held: u64,
    /// As many were counted as were to be: there may be more of each.
    pub more: bool,
}

impl Unfinished {
    /// Of what was counted, where at most so many were to be.
    pub(crate) fn of((pending, retrying, held): (u64, u64, u64), most: u64) -> Self {
        let counted = pending.saturating_add(retrying).saturating_add(held);
        Self {
            pending,
            retrying,
            held,
            more: counted >= most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_may_be_more_where_as_many_were_counted_as_were_to_be() {
        for (counted, more) in [((1, 1, 1), false), ((2, 1, 1), true), ((0, 0, 4), true)] {
            assert_eq!(Unfinished::of(counted, 4).more, more, "{counted:?}");
        }
    }
}
