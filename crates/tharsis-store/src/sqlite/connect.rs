//! Where the database is, and the connections to it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tharsis_core::Invalid;
use tracing::info;

use super::{
    Options,
    queue::Queue,
    write::{self, Jitter, Patience, Writer},
};
use crate::{
    StoreError,
    failpoint::{self, Failpoint, reached},
};

/// Older ones can corrupt a write-ahead log that several connections write to and check out (sqlite.org/wal.html,
/// "The WAL-reset bug").
const OLDEST: (u32, u32, u32) = (3, 51, 3);

/// How long SQLite itself waits where it rarely has to: at the start, and for reads.
const PREPARING: Duration = Duration::from_secs(5);

/// A database file by its path.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
}

/// An open one.
pub(super) struct Opened {
    /// Without symbolic links, so that the files beside it are beside the file that is meant.
    pub(super) path: PathBuf,
    pub(super) switched_to_wal: bool,
    pub(super) writer: Writer,
    pub(super) reads: SqlitePool,
    pub(super) lists: SqlitePool,
    pub(super) doors: SqlitePool,
}

impl Database {
    pub(super) fn at(url: &str) -> Result<Self, Invalid> {
        let bad = |message: &'static str| {
            Invalid::new("bad_database_url", message)
                .at("database")
                .hint("write sqlite://PATH, as in sqlite://tharsis.db or sqlite:///var/lib/tharsis.db")
        };
        let path = url
            .strip_prefix("sqlite://")
            .or_else(|| url.strip_prefix("sqlite:"))
            .ok_or_else(|| bad("is not the URL of an SQLite database"))?;
        if path.is_empty() || path.ends_with('/') {
            return Err(bad("names no file"));
        }
        if path.contains(":memory:") || path.contains("mode=memory") {
            return Err(bad("is in memory, where nothing outlives the process"));
        }
        if path.contains(['?', '#', '\0']) || path.starts_with("file:") {
            return Err(bad("has parameters, which are not read"));
        }
        Ok(Self {
            path: PathBuf::from(path),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is such a file.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    pub(super) async fn open(self, options: Options) -> Result<Opened, StoreError> {
        let Options {
            must_exist, random, ..
        } = options;
        if must_exist {
            self.must_exist()?;
        } else {
            #[cfg(unix)]
            create_private(&self.path);
            reached(Failpoint::OpenCreated);
        }
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(!must_exist)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(false)
            .busy_timeout(PREPARING)
            .row_buffer_size(512)
            .thread_name(|n| format!("tharsis-sqlite-{n}"))
            .disable_statement_logging();
        let mut conn = options
            .connect()
            .await
            .map_err(|error| not_opened(&self.path, error))?;
        reached(Failpoint::OpenConnected);
        check_version(&mut conn).await?;
        check_encoding(&mut conn, &self.path).await?;
        let path = std::fs::canonicalize(&self.path).map_err(StoreError::database)?;
        let switched_to_wal = switch_to_wal(&mut conn, &path, &mut Jitter::new(random)?).await?;
        reached(Failpoint::OpenSwitched);
        // Whoever comes first after all had gone recovers the log, and the others wait for that here.
        sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1")
            .fetch_optional(&mut conn)
            .await?;
        // From here on the writer waits for its turn by itself: see `write`.
        sqlx::query("PRAGMA busy_timeout = 0")
            .execute(&mut conn)
            .await?;
        if let Some(pages) = failpoint::sqlite_pages() {
            sqlx::query(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")))
                .execute(&mut conn)
                .await?;
        }

        let readers = options
            .filename(&path)
            .create_if_missing(false)
            .pragma("query_only", "ON");
        Ok(Opened {
            switched_to_wal,
            writer: Writer::new(conn, Queue::beside(&path), random)?,
            reads: pool(readers.clone()),
            lists: pool(readers.clone()),
            doors: pool(readers),
            path,
        })
    }

    /// A folder that is not there is told by opening.
    fn must_exist(&self) -> Result<(), StoreError> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if self.path.exists() || !folder.is_dir() {
            return Ok(());
        }
        Err(StoreError::unusable(
            "database_not_found",
            format!("there is no database {}", self.path.display()),
            "check the path; `tharsis migrate`, `subscription add`, `publish`, `run` and `serve` create a new one",
        ))
    }
}

/// A file that is not there yet is made for this user alone: it will hold payloads about people, and URLs that may be
/// what lets a sender in. The files that SQLite puts beside it take its mode over. Where it cannot be made, opening it
/// says why.
#[cfg(unix)]
fn create_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;

    let _ = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
}

/// Connections are made when they are first needed.
fn pool(options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(2)
        .test_before_acquire(false)
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(None)
        .connect_lazy_with(options)
}

async fn check_version(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(conn)
        .await?;
    if is_new_enough(&version) {
        return Ok(());
    }
    let (major, minor, patch) = OLDEST;
    Err(StoreError::unusable(
        "sqlite_too_old",
        format!(
            "SQLite is {version}, older than {major}.{minor}.{patch}, and may corrupt the database"
        ),
        "link a newer SQLite, or build with the one that comes with the program",
    ))
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next()) >= OLDEST
}

/// Payloads are read as the bytes of their text.
async fn check_encoding(conn: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let encoding: String = sqlx::query_scalar("PRAGMA encoding")
        .fetch_one(conn)
        .await
        .map_err(|error| not_opened(path, error))?;
    if encoding == "UTF-8" {
        return Ok(());
    }
    Err(StoreError::unusable(
        "encoding_not_utf8",
        format!("the database keeps its text as {encoding}"),
        "use a file of its own for Tharsis, or one made with PRAGMA encoding = 'UTF-8'",
    ))
}

/// Returns whether a file with something in it was switched.
async fn switch_to_wal(
    conn: &mut SqliteConnection,
    path: &Path,
    jitter: &mut Jitter,
) -> Result<bool, StoreError> {
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *conn)
        .await?;
    if mode == "wal" {
        return Ok(false);
    }
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&mut *conn)
        .await?;
    // SQLite gives up at once when others have the file open in another mode.
    let mut patience = Patience::new();
    let mode: String = loop {
        match sqlx::query_scalar("PRAGMA journal_mode = WAL")
            .fetch_one(&mut *conn)
            .await
        {
            Ok(mode) => break mode,
            Err(error) => patience.wait(error, jitter).await?,
        }
    };
    if mode != "wal" {
        return Err(StoreError::unusable(
            "wal_unavailable",
            format!(
                "{} cannot be switched to write-ahead logging",
                path.display()
            ),
            "keep it on a local file system that SQLite can map into memory",
        ));
    }
    let had_content = pages > 0;
    if had_content {
        info!(
            database.path = %path.display(),
            "Switched the database to write-ahead logging"
        );
    }
    Ok(had_content)
}

fn not_opened(path: &Path, error: sqlx::Error) -> StoreError {
    const PERM: u32 = 3;
    const READONLY: u32 = 8;
    const CANTOPEN: u32 = 14;
    const NOTADB: u32 = 26;
    match write::result_code(&error).map(|code| code & 0xff) {
        Some(NOTADB) => StoreError::unusable(
            "not_a_database",
            format!("{} is not an SQLite database", path.display()),
            "name another file",
        ),
        Some(CANTOPEN | READONLY | PERM) => StoreError::unusable(
            "database_not_opened",
            format!("{} cannot be opened for writing", path.display()),
            "create its folder, and let this user write to it",
        ),
        _ => error.into(),
    }
}
