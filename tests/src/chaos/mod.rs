//! Whole worlds in which everything goes wrong that can, and a verdict on what became of the promises.
//!
//! A [`Plan`] is drawn from a seed: workers and publishers are killed, stand still, and run on hosts whose clocks differ;
//! the server goes down, loses what was not flushed, ends sessions and has no room for others; the file is full; receivers
//! refuse, hang, flap and cut connections. [`tell`] does all that to the real program on a real database, and [`judge`]
//! compares the receivers' ledger with the publishers' journals and with what the outbox says.

mod evidence;
mod ledger;
mod plan;
mod town;
mod trouble;
mod verdict;

pub use evidence::Evidence;
pub use ledger::{Answered, Connection, Receipt};
pub use plan::{Blow, Plan, Strike, Temper};
pub use town::{Told, tell};
pub use trouble::{Trouble, Troubles, lost_leases};
pub use verdict::{Figures, judge};
