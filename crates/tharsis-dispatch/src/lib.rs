//! The outbound door of Tharsis: the engine that drains an outbox, and the one HTTP client that everything goes through.

mod alerts;
mod check;
mod client;
mod clock;
mod engine;
mod metrics;

pub use alerts::{Alerts, Mailer, Sent};
pub use check::{CheckError, CheckMethod, Withheld, check};
pub use client::{Client, ClientError, ClientOptions, Proxy};
pub use clock::system_now;
pub use engine::{Options, Progress, RunError, Summary, Until, Wake, run};
pub use metrics::Metrics;
