//! The one connection that writes, and how it takes turns with others: with tasks of this process in order of asking,
//! with other processes by holding the file's lock for short times only and by letting those go before who have waited
//! for long.
//!
//! SQLite's own busy handler is not used: it backs off to 100 ms, and who waits that long between two looks never finds
//! the lock free beside one who comes back every millisecond.

use std::{
    ops::{Deref, DerefMut},
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use sqlx::{Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::{Instant, sleep},
};

use super::{Random, queue::Queue};
use crate::{
    StoreError,
    failpoint::{self, reached},
};

/// How long this process may keep coming back to the lock before it leaves it free.
const GROUP: Duration = Duration::from_millis(5);

/// How long it then leaves it free: others who look every millisecond or two find it.
const FREE: Duration = Duration::from_micros(500);

/// How long to ask for the lock among others before lining up for it.
const LONG: Duration = Duration::from_millis(25);

/// How long to stay in line: whoever has the first place may have been stopped there.
const IN_LINE: Duration = Duration::from_millis(250);

/// How long to wait for the lock of the file before giving up.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The one connection that writes.
pub(super) struct Writer(Arc<Mutex<State>>);

struct State {
    conn: SqliteConnection,
    queue: Queue,
    jitter: Jitter,
    /// A transaction has begun, or may have, and its end was not seen.
    open: bool,
    /// When the present run of transactions without a pause began, and when its last one ended.
    group_began: Instant,
    ended: Instant,
}

impl Writer {
    pub(super) fn new(
        conn: SqliteConnection,
        queue: Queue,
        random: Random,
    ) -> Result<Self, StoreError> {
        let now = Instant::now();
        Ok(Self(Arc::new(Mutex::new(State {
            conn,
            queue,
            jitter: Jitter::new(random)?,
            open: false,
            group_began: now,
            ended: now,
        }))))
    }

    /// Waits until it is the caller's turn among the tasks of this process. The file is not locked yet.
    pub(super) async fn turn(&self) -> Turn {
        let mut state = Arc::clone(&self.0).lock_owned().await;
        if state.open {
            state.roll_back().await;
            state.open = false;
        }
        Turn(state)
    }

    /// Begins a transaction that can write from the start.
    pub(super) async fn begin(&self) -> Result<Write, StoreError> {
        self.turn().await.begin().await
    }
}

/// The right to write next, in this process.
pub(crate) struct Turn(OwnedMutexGuard<State>);

impl Turn {
    /// The connection, outside of any transaction.
    pub(super) fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.0.conn
    }

    /// Begins a transaction that can write from the start.
    pub(super) async fn begin(self) -> Result<Write, StoreError> {
        // From here on whoever drops it leaves a transaction that is rolled back, also in the midst of its beginning.
        let mut write = Write(Some(self.0));
        let state = write.state();
        state.open = true;
        state.when_free(|| sqlx::query("BEGIN IMMEDIATE")).await?;
        Ok(write)
    }

    /// Executes one statement that is a transaction of its own: the file's lock is held for that statement alone, without
    /// a word between this thread and SQLite's. It may be made several times.
    pub(super) async fn execute(
        &mut self,
        statement: impl FnMut() -> Query<'static, Sqlite, SqliteArguments>,
    ) -> Result<(), StoreError> {
        let state = &mut *self.0;
        state.when_free(statement).await?;
        state.ended = Instant::now();
        Ok(())
    }
}

impl State {
    /// Executes a statement that takes the file's lock, as soon as that is free.
    async fn when_free(
        &mut self,
        mut statement: impl FnMut() -> Query<'static, Sqlite, SqliteArguments>,
    ) -> Result<(), StoreError> {
        self.leave_it_free_for_a_moment().await;
        let mut patience = Patience::new();
        let mut place = None;
        loop {
            if patience.waited() >= LONG && place.is_none() {
                place = Some(self.queue.first(IN_LINE, &mut self.jitter).await);
            }
            if place.is_none() && self.queue.has_somebody() {
                sleep(self.jitter.wait()).await;
                continue;
            }
            match statement().execute(&mut self.conn).await {
                Ok(_) => return Ok(()),
                Err(error) => patience.wait(error, &mut self.jitter).await?,
            }
        }
    }

    /// Fails where there is nothing to roll back: a beginning that failed, an end that was not waited for.
    async fn roll_back(&mut self) {
        let _ = sqlx::query("ROLLBACK").execute(&mut self.conn).await;
        self.ended = Instant::now();
    }

    async fn leave_it_free_for_a_moment(&mut self) {
        let now = Instant::now();
        if now - self.ended >= FREE {
            self.group_began = now;
        } else if now - self.group_began >= GROUP {
            sleep(FREE).await;
            self.group_began = Instant::now();
        }
    }
}

/// A transaction. Dropped without [`Write::commit`], it leaves nothing behind.
pub(super) struct Write(Option<OwnedMutexGuard<State>>);

const UNTIL_ITS_END: &str = "the guard is taken where the transaction ends: on commit and on drop";

impl Write {
    /// Commits what was written between these points.
    pub(super) async fn commit(
        mut self,
        [written, committed]: failpoint::Commit,
    ) -> Result<(), StoreError> {
        reached(written);
        let state = self.state();
        sqlx::query("COMMIT").execute(&mut state.conn).await?;
        reached(committed);
        state.open = false;
        state.ended = Instant::now();
        self.0 = None;
        Ok(())
    }

    fn state(&mut self) -> &mut State {
        self.0.as_mut().expect(UNTIL_ITS_END)
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &Self::Target {
        &self.0.as_ref().expect(UNTIL_ITS_END).conn
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.state().conn
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if let Some(state) = &mut self.0 {
            // Once is enough to send it to SQLite's thread, which needs no runtime, so that others are not locked out.
            // Whoever has the next turn here makes sure of it.
            let _ = pin!(state.roll_back()).poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// Short waits for the file's lock, with an end.
pub(super) struct Patience {
    since: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
        }
    }

    fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// Waits a little if `error` says that the file is locked.
    ///
    /// # Errors
    /// The error itself when it says something else, and when the lock was not free for too long.
    pub(super) async fn wait(
        &mut self,
        error: sqlx::Error,
        jitter: &mut Jitter,
    ) -> Result<(), StoreError> {
        if !is_busy(&error) {
            return Err(error.into());
        }
        if self.waited() >= LONGEST_WAIT {
            return Err(StoreError::database(Busy { source: error }));
        }
        sleep(jitter.wait()).await;
        Ok(())
    }
}

/// The lock of the file was not free for [`LONGEST_WAIT`].
#[derive(Debug, thiserror::Error)]
#[error(
    "another process has kept the database locked for more than 30 s: end the transaction that it left open"
)]
struct Busy {
    source: sqlx::Error,
}

/// Spreads the looks of several processes: 0.2 to 1.2 ms apart.
pub(super) struct Jitter(u32);

impl Jitter {
    pub(super) fn new(random: Random) -> Result<Self, StoreError> {
        let mut seed = [0; 4];
        random(&mut seed).map_err(StoreError::database)?;
        Ok(Self(u32::from_ne_bytes(seed)))
    }

    pub(super) fn wait(&mut self) -> Duration {
        // The generator of Numerical Recipes, good enough to be out of step with others.
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Duration::from_micros(200 + u64::from(self.0 >> 22))
    }
}

/// `SQLITE_BUSY` in all its kinds.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    result_code(error).is_some_and(|code| code & 0xff == 5)
}

/// SQLite's extended result code.
pub(super) fn result_code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}
