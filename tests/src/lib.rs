//! The stories of Tharsis, and the one harness that tells them.
//!
//! A story makes a [`World`]: a temporary folder with a database, an authority of its own, receivers on free ports and
//! a seed for everything random. It then speaks in the verbs of the people in it: an engine publishes, an admin
//! subscribes, an SRE looks and replays. The verbs run the real program as processes of their own; what wants the
//! library takes [`World::emitter`].
//!
//! ```no_run
//! use tharsis_tests::{ALPHA, Subscribe, World};
//!
//! let world = World::new();
//! let shop = world.receiver("shop").answers(503).then(200).start();
//! world.subscribe(&Subscribe::new(ALPHA, &shop).retry("50ms"));
//! let lines = world.predictions(ALPHA, 10);
//! world.publish(&lines);
//! world.run_until_idle();
//! shop.assert_received(&lines);
//! ```
//!
//! Stories that are the same on both databases take the [`Database`] and are listed once in [`on_both_databases!`]; their
//! world is [`World::on`] it. On PostgreSQL a world is a schema of its own on the server that `TEST_DATABASE_URL` names.
//!
//! Every wait has a bound. When a story fails, its world prints the seed and the tail of what each process wrote; the
//! same seed is told again with `THARSIS_TEST_SEED=…`.
//!
//! Every secret of a story begins with a mark. When its world ends, all that it leaves behind is searched for them: what its
//! processes wrote, its database, its files. A world that finds one fails its story.
//!
//! Stories run beside each other, but one that measures has the machine to itself: see [`World::alone`].
//!
//! # The program
//!
//! Cargo tells a test where the programs of its own package lie, and `tharsis` is another package's. So the first verb
//! of each test process runs `cargo build --package tharsis-cli` with the profile and the target folder that the test
//! itself was built with, which does nothing where it is fresh. `THARSIS_TEST_PROGRAM` names another one to test.

mod api;
pub mod chaos;
mod chromium;
mod clock;
mod foreign;
mod inbox;
mod internet;
mod leaks;
mod line;
mod mail;
mod oracle;
mod place;
mod process;
mod program;
mod publisher;
mod server;
mod subscribe;
mod wait;
mod webdriver;
mod wire;
mod world;

pub use api::{Answer, Api, ask};
pub use chromium::{Chromium, ENTER, TAB};
pub use clock::Clock;
pub use foreign::{conformance, node, node_example, python_example};
pub use inbox::{Inbox, InboxBuilder, is_signed_with};
pub use internet::{Internet, Names, Says};
pub use leaks::MARK;
pub use line::{ALPHA, BETA, Line, mark_of};
pub use mail::{Letter, MailServer, Tls};
pub use place::Database;
pub use process::{Finished, Running, Stood};
pub use publisher::{Journal, Publisher};
pub use server::{Down, Server};
pub use subscribe::{Subscribe, Subscription};
pub use wait::{pause, wait_until};
pub use wire::Wire;
pub use world::{Report, World};

/// Tells each of these stories on both databases, as tests of its name in modules of theirs.
///
/// ```no_run
/// use tharsis_tests::{ALPHA, Database, World, on_both_databases};
///
/// on_both_databases! { what_nobody_wants_is_no_delivery }
///
/// fn what_nobody_wants_is_no_delivery(on: Database) {
///     let world = World::on(on);
///     world.publish(&world.predictions(ALPHA, 1));
///     world.run_until_idle();
///     assert!(world.deliveries(&[]).is_empty());
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! on_both_databases {
    ($($story:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $story() {
                super::$story($crate::Database::Sqlite);
            })+
        }

        mod postgres {
            $(#[test]
            fn $story() {
                super::$story($crate::Database::Postgres);
            })+
        }
    };
}
