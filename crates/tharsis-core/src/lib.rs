#![doc = include_str!("../README.md")]

pub mod alert;
mod bounds;
pub mod delivery;
pub mod egress;
pub mod erasure;
pub mod event;
pub mod filter;
pub mod health;
mod id;
mod invalid;
pub mod json;
pub mod order;
pub mod payload;
pub mod profile;
pub mod rate;
pub mod retry;
pub mod secret;
pub mod signer;
pub mod subscription;
pub mod text;
mod time;
pub mod token;

pub use id::{ClientId, DeliveryId, EventId, ReplayId, SubscriptionId, TokenId, WorkerId};
pub use invalid::Invalid;
pub use time::{Timestamp, format_duration, parse_duration};
