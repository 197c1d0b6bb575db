//! What a test wants to go wrong: the end of the process at a place that it names, and a file without room.
//!
//! Only where `debug_assertions` are on, as in the profile of the tests: in any other build [`reached`] is nothing, and
//! nothing can be armed. The library reads no environment, so whoever starts a process for a test has it armed.

use tharsis_core::Invalid;

macro_rules! failpoints {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A place between two steps.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Failpoint {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Failpoint {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it is called: `settle.committed`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

failpoints! {
    /// A new SQLite file is there, empty.
    OpenCreated = "open.created",
    /// It is connected to.
    OpenConnected = "open.connected",
    /// It was switched to write-ahead logging, and has no tables.
    OpenSwitched = "open.switched",
    /// The transaction of the migrations has begun, on PostgreSQL in a schema that is there.
    MigrateBegun = "migrate.begun",
    /// A migration's statements were executed.
    MigrateApplied = "migrate.applied",
    /// It is written down that they were.
    MigrateRecorded = "migrate.recorded",
    /// The first days have their tables.
    MigratePartitioned = "migrate.partitioned",
    /// All of it is committed.
    MigrateCommitted = "migrate.committed",
    /// A new key is in a file under another name, with those that were there.
    KeyWritten = "key.written",
    /// The key file is there, and the database does not know of it.
    KeyMade = "key.made",
    /// The key is written down in the database.
    KeyNoted = "key.noted",
    /// And that is committed, where it is a transaction of its own.
    KeyCommitted = "key.committed",
    /// Values are sealed anew, with the key that took the place of theirs.
    ResealWritten = "reseal.written",
    /// And that is committed.
    ResealCommitted = "reseal.committed",
    /// Events wait for a turn to be written.
    PublishWaiting = "publish.waiting",
    /// It is their turn.
    PublishBegun = "publish.begun",
    /// They are committed, and nobody was told.
    PublishCommitted = "publish.committed",
    /// One of those who published together was told.
    PublishTold = "publish.told",
    /// An event is to be written on the caller's connection.
    PublishInBegun = "publish_in.begun",
    /// It was written, and the caller has not committed.
    PublishInWritten = "publish_in.written",
    /// Pointers were read, and are to be routed.
    RouteRead = "route.read",
    /// It is decided who gets their events.
    RouteDecided = "route.decided",
    /// The deliveries are written, and the pointers still there.
    RouteDelivered = "route.delivered",
    /// All that routing writes is written.
    RouteWritten = "route.written",
    /// And that is committed.
    RouteCommitted = "route.committed",
    /// The due rows of lanes were read.
    ReadAnswered = "read.answered",
    /// A request is made, and not sent.
    SendBegun = "send.begun",
    /// It was answered, and the engine does not know.
    SendAnswered = "send.answered",
    /// Settlements are to be written.
    SettleAsked = "settle.asked",
    /// Their rows are taken out, and their attempts not written.
    SettleTaken = "settle.taken",
    /// All that settling writes is written.
    SettleWritten = "settle.written",
    /// And that is committed.
    SettleCommitted = "settle.committed",
    /// The owner's file is locked, and the database does not know the owner.
    LeaseLocked = "lease.locked",
    /// A lease, new or renewed, is written.
    LeaseWritten = "lease.written",
    /// And that is committed.
    LeaseCommitted = "lease.committed",
    /// The owner's file says who owns.
    LeaseTold = "lease.told",
    /// A lease was renewed.
    LeaseRenewed = "lease.renewed",
    /// A lease is to be given back.
    ReleaseAsked = "release.asked",
    /// It was.
    ReleaseCommitted = "release.committed",
    /// A subscription is written.
    RegistryWritten = "registry.written",
    /// And that is committed.
    RegistryCommitted = "registry.committed",
    /// A command is written that was asked for.
    AskCommandWritten = "ask_command.written",
    /// And that is committed.
    AskCommandCommitted = "ask_command.committed",
    /// A replay is written that was asked for.
    AskReplayWritten = "ask_replay.written",
    /// And that is committed.
    AskReplayCommitted = "ask_replay.committed",
    /// What waited for one before it is let go.
    LetGoWritten = "let_go.written",
    /// And that is committed.
    LetGoCommitted = "let_go.committed",
    /// Transitions of health are written.
    HealthWritten = "health.written",
    /// And that is committed.
    HealthCommitted = "health.committed",
    /// It is written down what is about to be told, or was.
    AlertWritten = "alert.written",
    /// And that is committed.
    AlertCommitted = "alert.committed",
    /// A chunk of commands is carried out.
    CommandWritten = "command.written",
    /// And that is committed.
    CommandCommitted = "command.committed",
    /// A chunk of a replay is carried out.
    ReplayWritten = "replay.written",
    /// And that is committed.
    ReplayCommitted = "replay.committed",
    /// It is written down whose backlog is full, and whose is not any more.
    BacklogWritten = "backlog.written",
    /// And that is committed.
    BacklogCommitted = "backlog.committed",
    /// What was counted is added to the figures.
    FiguresWritten = "figures.written",
    /// And that is committed.
    FiguresCommitted = "figures.committed",
    /// A chunk of what is kept no longer is gone, or has ended.
    RetentionWritten = "retention.written",
    /// And that is committed.
    RetentionCommitted = "retention.committed",
    /// The tables of a day are made, emptied or dropped.
    PartitionWritten = "partition.written",
    /// And that is committed.
    PartitionCommitted = "partition.committed",
}

/// The points before and after a transaction's commit.
pub(crate) type Commit = [Failpoint; 2];

pub(crate) const MIGRATE: Commit = [Failpoint::MigrateRecorded, Failpoint::MigrateCommitted];
pub(crate) const KEY: Commit = [Failpoint::KeyNoted, Failpoint::KeyCommitted];
pub(crate) const RESEAL: Commit = [Failpoint::ResealWritten, Failpoint::ResealCommitted];
pub(crate) const ROUTE: Commit = [Failpoint::RouteWritten, Failpoint::RouteCommitted];
pub(crate) const SETTLE: Commit = [Failpoint::SettleWritten, Failpoint::SettleCommitted];
pub(crate) const LEASE: Commit = [Failpoint::LeaseWritten, Failpoint::LeaseCommitted];
pub(crate) const REGISTRY: Commit = [Failpoint::RegistryWritten, Failpoint::RegistryCommitted];
pub(crate) const ASK_COMMAND: Commit =
    [Failpoint::AskCommandWritten, Failpoint::AskCommandCommitted];
pub(crate) const ASK_REPLAY: Commit = [Failpoint::AskReplayWritten, Failpoint::AskReplayCommitted];
pub(crate) const LET_GO: Commit = [Failpoint::LetGoWritten, Failpoint::LetGoCommitted];
pub(crate) const HEALTH: Commit = [Failpoint::HealthWritten, Failpoint::HealthCommitted];
pub(crate) const ALERT: Commit = [Failpoint::AlertWritten, Failpoint::AlertCommitted];

pub(crate) const COMMAND: Commit = [Failpoint::CommandWritten, Failpoint::CommandCommitted];
pub(crate) const REPLAY: Commit = [Failpoint::ReplayWritten, Failpoint::ReplayCommitted];
pub(crate) const BACKLOG: Commit = [Failpoint::BacklogWritten, Failpoint::BacklogCommitted];
pub(crate) const FIGURES: Commit = [Failpoint::FiguresWritten, Failpoint::FiguresCommitted];
pub(crate) const RETENTION: Commit = [Failpoint::RetentionWritten, Failpoint::RetentionCommitted];
pub(crate) const PARTITION: Commit = [Failpoint::PartitionWritten, Failpoint::PartitionCommitted];

/// The process has come to this point. Where it is armed, it ends here.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reached(_: Failpoint) {}

/// How many pages an SQLite file may have for a connection of ours.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn sqlite_pages() -> Option<u32> {
    None
}

/// Arms what `settings` say, with commas between them: `settle.committed:3` ends the process when it comes to that point
/// for the third time, and `sqlite.pages=4000` gives each SQLite file that is opened so many pages at most.
///
/// # Errors
/// `bad_failpoint` for what is not known, and in a build without failpoints; then nothing of it is armed.
pub fn arm(settings: &str) -> Result<(), Invalid> {
    armed::arm(settings)
}

#[cfg(not(debug_assertions))]
mod armed {
    use super::Invalid;

    pub(super) fn arm(_: &str) -> Result<(), Invalid> {
        Err(Invalid::new(
            "bad_failpoint",
            "cannot be armed: this build has no failpoints",
        ))
    }
}

#[cfg(debug_assertions)]
pub use armed::reached;
#[cfg(debug_assertions)]
pub(crate) use armed::sqlite_pages;

#[cfg(debug_assertions)]
mod armed {
    use std::{
        io::{self, Write as _},
        process,
        sync::atomic::{AtomicU32, Ordering::Relaxed},
    };

    use super::{Failpoint, Invalid};

    /// How often each point is still to be reached before the process ends there; 0 where it is not armed.
    static LEFT: [AtomicU32; Failpoint::ALL.len()] =
        [const { AtomicU32::new(0) }; Failpoint::ALL.len()];

    /// 0 where there is no limit.
    static SQLITE_PAGES: AtomicU32 = AtomicU32::new(0);

    /// The process has come to this point. Where it is armed, it ends here.
    pub fn reached(point: Failpoint) {
        let left = &LEFT[point as usize];
        if left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) == Ok(1) {
            end(point);
        }
    }

    /// As `kill -9` ends it: nothing unwinds, nothing is flushed, no handler runs. A signal to oneself would take a
    /// dependency or unsafe code. Standard error has no buffer, and is kept, so that nobody says anything after this.
    fn end(point: Failpoint) -> ! {
        let mut last = io::stderr().lock();
        let _ = last.write_all(format!("{} was reached\n", point.as_str()).as_bytes());
        process::abort()
    }

    pub(crate) fn sqlite_pages() -> Option<u32> {
        Some(SQLITE_PAGES.load(Relaxed)).filter(|pages| *pages > 0)
    }

    pub(super) fn arm(settings: &str) -> Result<(), Invalid> {
        let settings = settings.split(',').map(|setting| parse(setting.trim()));
        for (number, value) in settings.collect::<Result<Vec<_>, _>>()? {
            number.store(value, Relaxed);
        }
        Ok(())
    }

    /// The number that is set, and to what.
    fn parse(setting: &str) -> Result<(&'static AtomicU32, u32), Invalid> {
        if let Some(pages) = setting.strip_prefix("sqlite.pages=") {
            return Ok((&SQLITE_PAGES, number(setting, pages)?));
        }
        let (name, nth) = setting.split_once(':').unwrap_or((setting, "1"));
        let point: Failpoint = name.parse()?;
        Ok((&LEFT[point as usize], number(setting, nth)?))
    }

    fn number(setting: &str, text: &str) -> Result<u32, Invalid> {
        let number = text.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| {
            Invalid::new("bad_failpoint", format!("{setting} has no number above 0"))
                .hint("write POINT:NTH, or sqlite.pages=PAGES")
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// The points are the dispatcher's: nothing else in this process comes to them. None is left armed.
        #[test]
        fn what_is_not_known_is_refused_whole_and_what_is_armed_is_counted() {
            for wrong in [
                "settle",
                "settle.committed:0",
                "settle.committed:x",
                "sqlite.pages=",
                "",
            ] {
                let refused = arm(wrong).expect_err(wrong);
                assert_eq!(refused.code, "bad_failpoint", "{wrong}");
            }
            let refused = arm("send.answered,settle.comitted:3").expect_err("one is wrong");
            assert!(refused.message.contains("settle.comitted"), "{refused:?}");
            let hint = refused.hint.unwrap_or_default();
            assert!(hint.contains("settle.committed"), "{hint}");
            assert_eq!(LEFT[Failpoint::SendAnswered as usize].load(Relaxed), 0);

            arm("send.begun:4").expect("known");
            for _ in 0..3 {
                reached(Failpoint::SendBegun);
            }
            assert_eq!(LEFT[Failpoint::SendBegun as usize].swap(0, Relaxed), 1);
        }
    }
}

impl std::str::FromStr for Failpoint {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.iter().find(|point| point.as_str() == name);
        known.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|point| point.as_str()).collect();
            Invalid::new("bad_failpoint", format!("there is no failpoint {name}"))
                .hint(format!("there are sqlite.pages and {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_is_found_by_it() {
        let names: HashSet<&str> = Failpoint::ALL.iter().map(|point| point.as_str()).collect();
        assert_eq!(names.len(), Failpoint::ALL.len());
        for point in Failpoint::ALL {
            assert_eq!(point.as_str().parse(), Ok(*point));
        }
    }
}
