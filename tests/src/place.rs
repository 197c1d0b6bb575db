use std::{env, io, path::Path, sync::Mutex};

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, postgres::PgConnectOptions};

use crate::Wire;

/// Which database a story is told on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// Where the outbox of one world lies.
#[derive(Debug)]
pub(crate) enum Place {
    /// A file of this name in the world's folder.
    File(Mutex<String>),
    /// A schema of this name in the database of the server that the tests were given.
    Schema { server: String, name: String },
    /// A database of this name on that server, with everything where it is by default.
    Database { server: String, name: String },
}

/// A connection of the story's own to either database, where plain names are those of the outbox.
#[derive(Debug)]
pub(crate) enum Reader {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// The schema where nothing else is asked for.
const DEFAULT_SCHEMA: &str = "tharsis";

impl Place {
    pub(crate) fn file() -> Self {
        Self::File(Mutex::new("outbox.db".to_owned()))
    }

    pub(crate) fn new_schema(name: String) -> Self {
        Self::schema_on(server(), name)
    }

    pub(crate) fn schema_on(server: String, name: String) -> Self {
        Self::Schema { server, name }
    }

    pub(crate) async fn new_database(name: String) -> Result<Self, sqlx::Error> {
        let server = server();
        let mut connection = PgConnection::connect(&server).await?;
        run(&mut connection, format!("CREATE DATABASE {name}")).await?;
        Ok(Self::Database { server, name })
    }

    /// As `--database` takes it.
    pub(crate) fn url(&self, folder: &Path) -> String {
        match self {
            Self::File(name) => {
                let name = name.lock().expect("nobody panics with it");
                format!("sqlite://{}", folder.join(&*name).display())
            }
            Self::Schema { server, name } => {
                let separator = if server.contains('?') { '&' } else { '?' };
                format!("{server}{separator}schema={name}")
            }
            Self::Database { server, name } => in_database(server, name),
        }
    }

    /// The schema of the outbox on PostgreSQL.
    pub(crate) fn schema(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Schema { name, .. } => Some(name),
            Self::Database { .. } => Some(DEFAULT_SCHEMA),
        }
    }

    pub(crate) async fn read(&self, folder: &Path) -> Result<Reader, sqlx::Error> {
        Ok(match self {
            Self::File(_) => Reader::Sqlite(SqliteConnection::connect(&self.url(folder)).await?),
            Self::Schema { .. } | Self::Database { .. } => Reader::Postgres(self.connect().await?),
        })
    }

    /// A connection to PostgreSQL as any other program has it, where plain names are those of the outbox.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let (url, schema) = match self {
            Self::File(_) => panic!("this story's outbox is in SQLite"),
            Self::Schema { server, name } => (server.clone(), name.as_str()),
            Self::Database { server, name } => (in_database(server, name), DEFAULT_SCHEMA),
        };
        // The program's own URL has the schema in it, which is nothing that a driver knows.
        let options: PgConnectOptions = url.parse()?;
        PgConnection::connect_with(&options.options([("search_path", schema)])).await
    }

    /// A way to it that counts what is asked on it.
    pub(crate) async fn wire(&self) -> io::Result<Wire> {
        let (Self::Schema { server, .. } | Self::Database { server, .. }) = self else {
            panic!("this story's outbox is in SQLite");
        };
        let server = server.parse().expect("TEST_DATABASE_URL is a URL");
        // No file lies in a folder then.
        Wire::to(&self.url(Path::new("")), &server).await
    }

    /// Removes what of it lies on the server.
    pub(crate) async fn remove(&self) -> Result<(), sqlx::Error> {
        let (server, statement) = match self {
            Self::File(_) => return Ok(()),
            Self::Schema { server, name } => {
                (server, format!("DROP SCHEMA IF EXISTS {name} CASCADE"))
            }
            Self::Database { server, name } => (
                server,
                format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            ),
        };
        let mut connection = PgConnection::connect(server).await?;
        // The server may still be about to notice that a process was killed.
        run(&mut connection, "SET lock_timeout = '20s'".to_owned()).await?;
        run(&mut connection, statement).await
    }
}

impl Reader {
    /// The first column of all rows, which is text.
    pub(crate) async fn texts(&mut self, query: &str) -> Result<Vec<String>, sqlx::Error> {
        let query = AssertSqlSafe(query);
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(query).fetch_all(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(query).fetch_all(connection).await,
        }
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) async fn run(&mut self, statement: &str) -> Result<u64, sqlx::Error> {
        let statement = AssertSqlSafe(statement);
        Ok(match self {
            Self::Sqlite(connection) => {
                let done = sqlx::query(statement).execute(connection).await?;
                done.rows_affected()
            }
            Self::Postgres(connection) => {
                let done = sqlx::query(statement).execute(connection).await?;
                done.rows_affected()
            }
        })
    }
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    let statement = sqlx::query(AssertSqlSafe(statement));
    statement.execute(connection).await.map(drop)
}

/// What the tests were given.
fn server() -> String {
    env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty()).expect(
        "TEST_DATABASE_URL names no PostgreSQL server to tell this story on: \
         `export TEST_DATABASE_URL=$(scripts/postgres start)` starts one, `scripts/postgres stop` ends it, \
         and `make test` does both",
    )
}

/// The same server's URL with another database in its path.
fn in_database(server: &str, name: &str) -> String {
    let (address, query) = match server.split_once('?') {
        Some((address, query)) => (address, format!("?{query}")),
        None => (server, String::new()),
    };
    let path = address.find("://").map_or(0, |at| at + 3);
    let host = address[path..]
        .find('/')
        .map_or(address, |at| &address[..path + at]);
    format!("{host}/{name}{query}")
}

#[cfg(test)]
mod tests {
    use super::in_database;

    #[test]
    fn another_database_of_a_server_keeps_the_rest_of_its_url() {
        for (server, other) in [
            ("postgres://u:p@h:5432/d", "postgres://u:p@h:5432/x"),
            ("postgres://u@h", "postgres://u@h/x"),
            ("postgres:///d?host=/run/pg", "postgres:///x?host=/run/pg"),
        ] {
            assert_eq!(in_database(server, "x"), other);
        }
    }
}
