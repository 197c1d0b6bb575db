//! What answers, a file for each thing.

pub(crate) mod audit;
pub(crate) mod deliveries;
pub(crate) mod events;
pub(crate) mod subscriptions;

mod query;
