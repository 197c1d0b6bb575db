//! What answers, a file for each thing.

pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod campaigns;
pub(crate) mod catalogue;
pub(crate) mod deliveries;
pub(crate) mod egress;
pub(crate) mod events;
pub(crate) mod replays;
pub(crate) mod stats;
pub(crate) mod subscriptions;
pub(crate) mod tokens;

mod etag;
mod input;
mod query;
