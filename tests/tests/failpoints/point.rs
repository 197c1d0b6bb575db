//! Where each failpoint is reached, and what a process leaves behind that ends there.

use tharsis::store::failpoint::Failpoint;
use tharsis_tests::Database;

/// The story that comes to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    Migrate,
    Key,
    Reseal,
    Publish,
    Deliver,
    Lease,
    Registry,
    Order,
    Health,
    Alert,
    Command,
    Replay,
    Days,
    Retention,
    Backlog,
    Figures,
}

/// What was under way, once the process has died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// As if it had never begun.
    Nothing,
    /// The same, but lanes are read while requests are under way: one that was may be sent again.
    NothingBesideRequests,
    /// As if it were done, but that nobody knows.
    Done,
    /// A request that was answered and is not written down: it is sent again.
    Unsettled,
}

const BOTH: &[Database] = &[Database::Sqlite, Database::Postgres];
const SQLITE: &[Database] = &[Database::Sqlite];
const POSTGRES: &[Database] = &[Database::Postgres];

/// All that a story comes to on this database.
pub(crate) fn points(story: Story, on: Database) -> impl Iterator<Item = (Failpoint, Leaves)> {
    Failpoint::ALL.iter().filter_map(move |point| {
        let (its, databases, leaves) = place(*point);
        (its == story && databases.contains(&on)).then_some((*point, leaves))
    })
}

fn place(point: Failpoint) -> (Story, &'static [Database], Leaves) {
    use Failpoint as F;
    use Leaves::{Done, Nothing, NothingBesideRequests, Unsettled};
    match point {
        F::OpenCreated | F::OpenConnected | F::OpenSwitched => (Story::Migrate, SQLITE, Nothing),
        F::MigrateBegun | F::MigrateApplied | F::MigrateRecorded => (Story::Migrate, BOTH, Nothing),
        F::MigratePartitioned => (Story::Migrate, POSTGRES, Nothing),
        F::MigrateCommitted => (Story::Migrate, BOTH, Done),
        F::KeyWritten | F::KeyMade | F::KeyNoted => (Story::Key, BOTH, Nothing),
        F::KeyCommitted => (Story::Key, SQLITE, Done),
        F::ResealWritten => (Story::Reseal, BOTH, Nothing),
        F::ResealCommitted => (Story::Reseal, BOTH, Done),

        F::PublishWaiting | F::PublishBegun => (Story::Publish, BOTH, Nothing),
        F::PublishCommitted | F::PublishTold => (Story::Publish, BOTH, Done),
        F::PublishInBegun | F::PublishInWritten => (Story::Publish, BOTH, Nothing),

        F::RouteRead | F::RouteDecided => (Story::Deliver, BOTH, Nothing),
        F::RouteDelivered | F::RouteWritten => (Story::Deliver, SQLITE, Nothing),
        F::RouteCommitted => (Story::Deliver, BOTH, Done),
        F::ReadAnswered => (Story::Deliver, BOTH, NothingBesideRequests),
        F::SendBegun => (Story::Deliver, BOTH, Nothing),
        F::SendAnswered | F::SettleAsked => (Story::Deliver, BOTH, Unsettled),
        F::SettleTaken | F::SettleWritten => (Story::Deliver, SQLITE, Unsettled),
        F::SettleCommitted => (Story::Deliver, BOTH, Done),

        F::LeaseLocked => (Story::Lease, SQLITE, Nothing),
        F::LeaseWritten => (Story::Lease, BOTH, Nothing),
        F::LeaseCommitted | F::LeaseRenewed => (Story::Lease, BOTH, Done),
        F::LeaseTold => (Story::Lease, SQLITE, Done),
        F::ReleaseAsked => (Story::Lease, BOTH, Nothing),
        F::ReleaseCommitted => (Story::Lease, BOTH, Done),

        F::RegistryWritten | F::AskCommandWritten | F::AskReplayWritten => {
            (Story::Registry, BOTH, Nothing)
        }
        F::RegistryCommitted | F::AskCommandCommitted | F::AskReplayCommitted => {
            (Story::Registry, BOTH, Done)
        }
        F::LetGoWritten => (Story::Order, SQLITE, Nothing),
        F::LetGoCommitted => (Story::Order, BOTH, Done),
        F::HealthWritten => (Story::Health, BOTH, Nothing),
        F::HealthCommitted => (Story::Health, BOTH, Done),
        F::AlertWritten => (Story::Alert, BOTH, Nothing),
        F::AlertCommitted => (Story::Alert, BOTH, Done),
        F::CommandWritten => (Story::Command, BOTH, Nothing),
        F::CommandCommitted => (Story::Command, BOTH, Done),
        F::ReplayWritten => (Story::Replay, BOTH, Nothing),
        F::ReplayCommitted => (Story::Replay, BOTH, Done),
        F::BacklogWritten => (Story::Backlog, BOTH, Nothing),
        F::BacklogCommitted => (Story::Backlog, BOTH, Done),
        F::FiguresWritten => (Story::Figures, BOTH, Nothing),
        F::FiguresCommitted => (Story::Figures, BOTH, Done),
        F::RetentionWritten => (Story::Retention, BOTH, Nothing),
        F::RetentionCommitted => (Story::Retention, BOTH, Done),
        F::PartitionWritten => (Story::Days, POSTGRES, Nothing),
        F::PartitionCommitted => (Story::Days, POSTGRES, Done),
    }
}
