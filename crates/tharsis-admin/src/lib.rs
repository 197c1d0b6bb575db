#![doc = include_str!("../README.md")]

mod api;
mod caller;
pub mod documents;
mod problem;
mod routes;
mod serve;

pub use problem::Problem;
pub use routes::{Route, routes};
pub use serve::{Options, serve};
