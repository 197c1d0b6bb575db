#![doc = include_str!("../README.md")]

mod emitter;
mod error;
mod random;

pub use emitter::{Emitter, Options};
pub use error::Error;
pub use random::random;

pub use sqlx;
pub use tharsis_core::{
    ClientId, DeliveryId, EventId, Invalid, ReplayId, SubscriptionId, Timestamp, TokenId, WorkerId,
    alert, delivery, egress, erasure, event, event::Event, filter, format_duration, health, json,
    order, parse_duration, payload, profile, rate, retry, secret, secret::Secret, signer,
    subscription, text, token,
};
pub use tharsis_dispatch::{
    self as dispatch, CheckMethod, Metrics, Options as EngineOptions, Summary, system_now,
};
pub use tharsis_store::{self as store, PublishOn, Published, Registry, Remaining};
