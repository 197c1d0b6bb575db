//! A local HTTPS receiver with a certificate authority of its own: for trying out, testing and measuring webhooks.
//!
//! It listens on loopback only and never talks outwards. [`Receiver`] is a well-behaved receiver that can fail on
//! purpose; [`FaultServer`] breaks the rules of TLS and HTTP.
//!
//! ```
//! use tharsis_receiver::{Answer, Authority, Options, Receiver};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tharsis_receiver::ReceiverError> {
//! let authority = Authority::generate()?;
//! let receiver = Receiver::bind(Options {
//!     answer: Answer { fail_first: 2, ..Answer::default() },
//!     ..Options::new(&authority)
//! })
//! .await?;
//! println!("trust {}", authority.pem());
//! println!("send to {}", receiver.url("/hooks"));
//! receiver.shutdown().await;
//! # Ok(()) }
//! ```

mod answer;
mod authority;
mod clock;
mod error;
mod fault;
mod judge;
mod ledger;
mod received;
mod receiver;

pub use answer::Answer;
pub use authority::{Authority, Flaw, Leaf};
pub use error::ReceiverError;
pub use fault::{Fault, FaultServer, Then, closed_port};
pub use http::StatusCode;
pub use judge::{Judge, Reply};
pub use received::Received;
pub use receiver::{Options, Receiver, Sink, Verify};
