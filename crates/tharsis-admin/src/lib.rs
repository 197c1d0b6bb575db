#![doc = include_str!("../README.md")]

mod api;
mod caller;
mod campaign;
mod desk;
mod docs;
pub mod documents;
mod heavy;
mod host;
mod known;
mod lifetime;
mod limit;
mod listen;
mod observe;
mod openapi;
mod pages;
pub mod preview;
mod problem;
pub mod registering;
mod routes;
pub mod search;
mod serve;
pub mod text;
pub mod trying;
pub mod why;

pub use campaign::only_client;
pub use host::host_name;
pub use lifetime::Lifetime;
pub use observe::{OVERDUE, observe};
pub use openapi::openapi;
pub use pages::pages;
pub use problem::Problem;
pub use routes::{Route, routes};
pub use serve::{Options, serve};
