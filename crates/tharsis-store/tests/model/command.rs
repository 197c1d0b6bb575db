//! What is done to the outbox, drawn at random. Things are named by small numbers, which are taken modulo what there is, so
//! that a list that fails can be made short.

use std::fmt;

use proptest::{collection::vec, option, prelude::*};
use tharsis_store::ReplayKey;

/// One line of a story.
#[derive(Clone)]
pub(crate) enum Command {
    // By publishers.
    Publish(How, Vec<Draft>),
    PublishBySql {
        client: u8,
        n: u8,
        expires: Option<u16>,
    },

    // By people.
    Add {
        client: u8,
        name: u8,
    },
    Pause(usize),
    Resume(usize),
    /// And gives it so many headers of its own, or leaves them.
    Set(usize, u8, Option<u8>),
    /// And lets the former one sign beside it for so many seconds.
    Rotate(usize, u8, Option<u16>),
    Remove(usize),
    PauseCampaign(u8, u8),
    ResumeCampaign(u8, u8),
    CancelCampaign(u8, u8),
    Retry(usize),
    Cancel(usize),
    Replay(Vec<usize>, ReplayKey),
    ReplayAll(Those, ReplayKey),
    Look(Those),

    // By workers.
    Hold {
        worker: usize,
        gives: bool,
    },
    Leave {
        worker: usize,
        keeps: bool,
    },
    Plan {
        worker: usize,
        limit: u32,
    },
    Route(How, usize),
    /// And between the reading and the writing a subscription is removed.
    RouteWhileRemoved {
        worker: usize,
        of: usize,
    },
    Read {
        worker: usize,
        limit: u32,
    },
    Settle(How, usize, Vec<(usize, Fate)>),
    SettleAgain(usize),
    WorkOff(How, usize),
    /// Somebody changes their mind, whatever is under way.
    CancelAndReplay {
        worker: usize,
        of: usize,
    },

    // By nobody.
    Wait(u16),
    Kill {
        worker: usize,
        returns: bool,
    },
    RunOut(usize),
}

/// How an operation that may be repeated is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Once,
    /// As after an answer that was lost.
    Twice,
    /// Given up after so many microseconds, and then done.
    GivenUp(u16),
}

/// An event. The same number is the same payload.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) client: u8,
    pub(crate) n: u8,
    pub(crate) key: Option<u8>,
    pub(crate) campaign: Option<u8>,
    /// In so many seconds.
    pub(crate) expires: Option<u16>,
    pub(crate) starts: Option<u16>,
}

/// Which deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Those {
    Any,
    Dead,
    Delivered,
    Cancelled,
    Unfinished,
    Held,
    OfSubscription(usize),
    OfClient(u8),
    OfCampaign(u8),
    OfEvent(usize),
    Since(usize),
    Until(usize),
}

/// What becomes of a delivery that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    Dead,
    /// And its subscription is suspended.
    Gone,
    /// Without a request.
    Expired,
    /// In so many seconds.
    Again(u16),
    /// When it was due before.
    AtOnce,
    /// A fault of ours: without an attempt.
    Postponed(u16),
    /// Its campaign is paused, as far as its owner knows.
    Aside,
}

pub(crate) fn commands() -> impl Strategy<Value = Vec<Command>> {
    // Something to work with, so that few lists are about nothing.
    let begin = (command_publish(), command_publish()).prop_map(|(a, b)| {
        vec![
            a,
            b,
            Command::Route(How::Once, 0),
            Command::Read {
                worker: 0,
                limit: 9,
            },
        ]
    });
    (begin, vec(command(), 1..40)).prop_map(|(mut all, more)| {
        all.extend(more);
        all
    })
}

fn command_publish() -> impl Strategy<Value = Command> {
    (how(), vec(draft(), 1..4)).prop_map(|(how, events)| Command::Publish(how, events))
}

fn command() -> impl Strategy<Value = Command> {
    let small = 0..6_usize;
    let worker = 0..2_usize;
    prop_oneof![
        5 => command_publish(),
        1 => (1..3_u8, 0..4_u8, option::weighted(0.3, 0..60_u16))
            .prop_map(|(client, n, expires)| Command::PublishBySql { client, n, expires }),
        1 => (1..3_u8, 0..3_u8).prop_map(|(client, name)| Command::Add { client, name }),
        1 => small.clone().prop_map(Command::Pause),
        1 => small.clone().prop_map(Command::Resume),
        1 => (small.clone(), 0..3_u8, option::of(0..3_u8))
            .prop_map(|(of, name, headers)| Command::Set(of, name, headers)),
        1 => (small.clone(), 0..3_u8, option::of(0..60_u16))
            .prop_map(|(of, n, overlap)| Command::Rotate(of, n, overlap)),
        1 => small.clone().prop_map(Command::Remove),
        3 => (1..3_u8, 0..2_u8).prop_map(|(of, n)| Command::PauseCampaign(of, n)),
        2 => (1..3_u8, 0..2_u8).prop_map(|(of, n)| Command::ResumeCampaign(of, n)),
        1 => (1..3_u8, 0..2_u8).prop_map(|(of, n)| Command::CancelCampaign(of, n)),
        2 => small.clone().prop_map(Command::Retry),
        3 => small.clone().prop_map(Command::Cancel),
        3 => (vec(small.clone(), 1..4), key()).prop_map(|(these, key)| Command::Replay(these, key)),
        2 => (those(), key()).prop_map(|(those, key)| Command::ReplayAll(those, key)),
        2 => those().prop_map(Command::Look),
        4 => (worker.clone(), any::<bool>()).prop_map(|(worker, gives)| Command::Hold { worker, gives }),
        1 => (worker.clone(), any::<bool>()).prop_map(|(worker, keeps)| Command::Leave { worker, keeps }),
        3 => (worker.clone(), 1..5_u32).prop_map(|(worker, limit)| Command::Plan { worker, limit }),
        6 => (how(), worker.clone()).prop_map(|(how, worker)| Command::Route(how, worker)),
        1 => (worker.clone(), small.clone())
            .prop_map(|(worker, of)| Command::RouteWhileRemoved { worker, of }),
        1 => (worker.clone(), small.clone())
            .prop_map(|(worker, of)| Command::CancelAndReplay { worker, of }),
        7 => (worker.clone(), 1..5_u32).prop_map(|(worker, limit)| Command::Read { worker, limit }),
        10 => (how(), worker.clone(), vec((small, fate()), 1..4))
            .prop_map(|(how, worker, some)| Command::Settle(how, worker, some)),
        2 => worker.clone().prop_map(Command::SettleAgain),
        7 => (how(), worker.clone()).prop_map(|(how, worker)| Command::WorkOff(how, worker)),
        3 => (1..40_u16).prop_map(Command::Wait),
        1 => (worker, any::<bool>()).prop_map(|(worker, returns)| Command::Kill { worker, returns }),
        1 => (0..4_usize).prop_map(Command::RunOut),
    ]
}

fn key() -> impl Strategy<Value = ReplayKey> {
    prop_oneof![3 => Just(ReplayKey::Same), 1 => Just(ReplayKey::Fresh)]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        8 => Just(How::Once),
        1 => Just(How::Twice),
        1 => (0..2_000_u16).prop_map(How::GivenUp),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    (
        1..3_u8,
        0..12_u8,
        option::weighted(0.2, 0..2_u8),
        option::weighted(0.5, 0..2_u8),
        option::weighted(0.15, 0..60_u16),
        option::weighted(0.15, 0..30_u16),
    )
        .prop_map(|(client, n, key, campaign, expires, starts)| Draft {
            client,
            n,
            key,
            campaign,
            expires,
            starts,
        })
}

fn those() -> impl Strategy<Value = Those> {
    prop_oneof![
        Just(Those::Any),
        Just(Those::Dead),
        Just(Those::Delivered),
        Just(Those::Cancelled),
        Just(Those::Unfinished),
        Just(Those::Held),
        (0..4_usize).prop_map(Those::OfSubscription),
        (1..3_u8).prop_map(Those::OfClient),
        (0..2_u8).prop_map(Those::OfCampaign),
        (0..8_usize).prop_map(Those::OfEvent),
        (0..8_usize).prop_map(Those::Since),
        (0..8_usize).prop_map(Those::Until),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Delivered),
        3 => Just(Fate::Dead),
        1 => Just(Fate::Gone),
        1 => Just(Fate::Expired),
        3 => (0..30_u16).prop_map(Fate::Again),
        1 => Just(Fate::AtOnce),
        1 => (0..30_u16).prop_map(Fate::Postponed),
        3 => Just(Fate::Aside),
    ]
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(how, events) => write!(f, "publish {events:?}{how}"),
            Self::PublishBySql { client, n, expires } => {
                write!(f, "client {client} publishes {n} by SQL")?;
                expires.map_or(Ok(()), |s| write!(f, ", expires in {s} s"))
            }
            Self::Add { client, name } => write!(f, "client {client} adds subscription {name:?}"),
            Self::Pause(of) => write!(f, "pause subscription #{of}"),
            Self::Resume(of) => write!(f, "resume subscription #{of}"),
            Self::Set(of, name, headers) => {
                write!(f, "name subscription #{of} {name:?}")?;
                headers.map_or(Ok(()), |n| write!(f, ", with {n} headers"))
            }
            Self::Rotate(of, n, overlap) => {
                write!(f, "give subscription #{of} secret {n}")?;
                overlap.map_or(Ok(()), |s| write!(f, ", {s} s beside the former"))
            }
            Self::Remove(of) => write!(f, "remove subscription #{of}"),
            Self::PauseCampaign(of, n) => write!(f, "pause campaign {n} of client {of}"),
            Self::ResumeCampaign(of, n) => write!(f, "resume campaign {n} of client {of}"),
            Self::CancelCampaign(of, n) => write!(f, "cancel campaign {n} of client {of}"),
            Self::Retry(of) => write!(f, "retry delivery #{of}"),
            Self::Cancel(of) => write!(f, "cancel delivery #{of}"),
            Self::Replay(these, key) => {
                write!(f, "replay deliveries {these:?} under the {key:?} key")
            }
            Self::ReplayAll(those, key) => {
                write!(f, "replay what is {those:?} under the {key:?} key")
            }
            Self::Look(those) => write!(f, "look at what is {those:?}"),
            Self::Hold { worker, gives } => {
                let and = if *gives { ", giving its surplus" } else { "" };
                write!(f, "worker {worker} holds{and}")
            }
            Self::Leave { worker, keeps } => {
                let and = if *keeps { ", keeping something" } else { "" };
                write!(f, "worker {worker} leaves{and}")
            }
            Self::Plan { worker, limit } => write!(f, "worker {worker} reads {limit} pointers"),
            Self::Route(how, worker) => write!(f, "worker {worker} routes what it read{how}"),
            Self::Read { worker, limit } => write!(f, "worker {worker} reads {limit} of each lane"),
            Self::Settle(how, worker, some) => {
                write!(f, "worker {worker} settles of what was read {some:?}{how}")
            }
            Self::SettleAgain(worker) => write!(f, "worker {worker} settles the same again"),
            Self::RouteWhileRemoved { worker, of } => {
                write!(
                    f,
                    "subscription #{of} is removed while worker {worker} routes"
                )
            }
            Self::CancelAndReplay { worker, of } => {
                write!(
                    f,
                    "delivery #{of} is cancelled and replayed by worker {worker}"
                )
            }
            Self::WorkOff(how, worker) => write!(f, "worker {worker} works commands off{how}"),
            Self::Wait(seconds) => write!(f, "{seconds} s pass"),
            Self::Kill { worker, returns } => {
                let then = if *returns { ", and returns" } else { "" };
                write!(f, "worker {worker} is killed{then}")
            }
            Self::RunOut(worker) => write!(f, "the lease of worker {worker} runs out"),
        }
    }
}

impl How {
    /// How often, and after what time it is given up before.
    pub(crate) fn times(self) -> Vec<Option<u16>> {
        match self {
            Self::Once => vec![None],
            Self::Twice => vec![None, None],
            Self::GivenUp(micros) => vec![Some(micros)],
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => Ok(()),
            Self::Twice => write!(f, ", twice"),
            Self::GivenUp(micros) => write!(f, ", given up after {micros} µs and done"),
        }
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of client {}", self.n, self.client)?;
        self.key
            .map_or(Ok(()), |key| write!(f, " under key {key}"))?;
        self.campaign
            .map_or(Ok(()), |of| write!(f, " of campaign {of}"))?;
        self.starts.map_or(Ok(()), |s| write!(f, " in {s} s"))?;
        self.expires.map_or(Ok(()), |s| write!(f, " until {s} s"))
    }
}
