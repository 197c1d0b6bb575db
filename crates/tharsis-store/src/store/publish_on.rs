//! Publishing on a connection that is the caller's, to either database.

use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction, pool::PoolConnection};
use tharsis_core::{EventId, event::Event};

use self::sealed::{Connected, Connection};
use super::Store;
use crate::{Published, StoreError, sqlite::SqliteStore};

/// A connection of the caller's that an event can be published on: sqlx's to SQLite or PostgreSQL, a transaction, or one
/// out of a pool. `&mut transaction` and `&mut *transaction` do the same.
pub trait PublishOn: Connection {}

mod sealed {
    use sqlx::{PgConnection, SqliteConnection};

    /// Which of both it is.
    #[derive(Debug)]
    pub enum Connected<'c> {
        Sqlite(&'c mut SqliteConnection),
        Postgres(&'c mut PgConnection),
    }

    pub trait Connection: Send {
        fn connected(&mut self) -> Connected<'_>;
    }
}

macro_rules! publish_on {
    ($kind:ident: $($connection:ty),+) => {$(
        impl Connection for $connection {
            fn connected(&mut self) -> Connected<'_> {
                Connected::$kind(&mut *self)
            }
        }

        impl PublishOn for $connection {}
    )+};
}

publish_on!(Sqlite: SqliteConnection, Transaction<'_, Sqlite>, PoolConnection<Sqlite>);
publish_on!(Postgres: PgConnection, Transaction<'_, Postgres>, PoolConnection<Postgres>);

pub(super) async fn publish_in(
    store: &Store,
    connection: Connected<'_>,
    event: &Event,
    id: EventId,
) -> Result<Published, StoreError> {
    match (store, connection) {
        (Store::Sqlite(_), Connected::Sqlite(connection)) => {
            SqliteStore::publish_in(connection, event, id).await
        }
        (Store::Postgres(store), Connected::Postgres(connection)) => {
            store.publish_in(connection, event, id).await
        }
        (Store::Sqlite(_), Connected::Postgres(_)) => Err(other("PostgreSQL", "SQLite")),
        (Store::Postgres(_), Connected::Sqlite(_)) => Err(other("SQLite", "PostgreSQL")),
    }
}

fn other(connection: &str, outbox: &str) -> StoreError {
    StoreError::unusable(
        "other_database",
        format!("the connection is to {connection}, and the outbox is in {outbox}"),
        "publish on a connection to the outbox's own database: one transaction has to commit both",
    )
}
