use std::fmt;

use proptest::prelude::*;

use super::{SEATS, receiver};
use crate::engine::simulation::world::Receiver;

/// One thing that may happen to a worker, to the store or to a receiver, or that people do.
#[derive(Clone)]
pub(super) enum Deed {
    // What happens to a worker.
    Starts(usize),
    IsKilled(usize),
    Sleeps(usize),
    Wakes(usize),
    IsCutOff(usize),
    IsBack(usize),
    IsToEnd(usize),
    IsPoked(usize),
    // What people do. A lane is named by any number.
    Publishes {
        lane: usize,
        events: usize,
    },
    PublishesForLater(usize),
    PublishesForNow(usize),
    Pauses(usize),
    Resumes(usize),
    Retries(usize),
    Cancels(usize),
    Adds(usize),
    Removes(usize),
    /// Of the client of a lane.
    PausesCampaign(usize),
    ResumesCampaign(usize),
    CancelsCampaign(usize),
    // What happens to the database, in milliseconds.
    ClockIsSet(i64),
    ServerCrashes {
        after: u64,
        down: u64,
    },
    // What happens to receivers.
    Becomes(usize, Receiver),
}

pub(super) fn deed() -> impl Strategy<Value = Deed> {
    let seat = || 0..SEATS;
    let any = || 0..1_000_usize;
    let to_worker = prop_oneof![
        4 => seat().prop_map(Deed::Starts),
        1 => seat().prop_map(Deed::IsKilled),
        2 => seat().prop_map(Deed::Sleeps),
        3 => seat().prop_map(Deed::Wakes),
        2 => seat().prop_map(Deed::IsCutOff),
        3 => seat().prop_map(Deed::IsBack),
        1 => seat().prop_map(Deed::IsToEnd),
        2 => seat().prop_map(Deed::IsPoked),
    ];
    let by_people = prop_oneof![
        16 => (any(), 1..8_usize).prop_map(|(lane, events)| Deed::Publishes { lane, events }),
        2 => any().prop_map(Deed::PublishesForLater),
        2 => any().prop_map(Deed::PublishesForNow),
        2 => any().prop_map(Deed::Pauses),
        3 => any().prop_map(Deed::Resumes),
        2 => any().prop_map(Deed::Retries),
        2 => any().prop_map(Deed::Cancels),
        1 => any().prop_map(Deed::Adds),
        1 => any().prop_map(Deed::Removes),
        2 => any().prop_map(Deed::PausesCampaign),
        2 => any().prop_map(Deed::ResumesCampaign),
        1 => any().prop_map(Deed::CancelsCampaign),
    ];
    let to_database = prop_oneof![
        2 => (-2_000..2_000_i64).prop_map(Deed::ClockIsSet),
        1 => (10_000..40_000_i64).prop_map(Deed::ClockIsSet),
        1 => (-40_000..-2_000_i64).prop_map(Deed::ClockIsSet),
        6 => (0..600_u64, 1..6_000_u64)
            .prop_map(|(after, down)| Deed::ServerCrashes { after, down }),
    ];
    prop_oneof![
        16 => to_worker,
        28 => by_people,
        3 => to_database,
        1 => (any(), receiver()).prop_map(|(lane, receiver)| Deed::Becomes(lane, receiver)),
    ]
}

impl fmt::Debug for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starts(seat) => write!(f, "worker {seat} starts"),
            Self::IsKilled(seat) => write!(f, "worker {seat} is killed"),
            Self::Sleeps(seat) => write!(f, "worker {seat} is stopped"),
            Self::Wakes(seat) => write!(f, "worker {seat} goes on"),
            Self::IsCutOff(seat) => write!(f, "worker {seat} is cut off from the store"),
            Self::IsBack(seat) => write!(f, "worker {seat} reaches the store again"),
            Self::IsToEnd(seat) => write!(f, "worker {seat} is asked to end"),
            Self::IsPoked(seat) => write!(f, "worker {seat} is told to look"),
            Self::Publishes { lane, events } => {
                write!(f, "{events} events are published for subscription {lane}")
            }
            Self::PublishesForLater(lane) => {
                write!(
                    f,
                    "an event is published for subscription {lane}, due in 2 s"
                )
            }
            Self::PublishesForNow(lane) => {
                write!(
                    f,
                    "an event is published for subscription {lane}, for the next 2 s"
                )
            }
            Self::Pauses(lane) => write!(f, "subscription {lane} is paused"),
            Self::Resumes(lane) => write!(f, "subscription {lane} is resumed"),
            Self::Retries(number) => write!(f, "a retry of delivery {number} is asked for"),
            Self::Cancels(number) => write!(f, "delivery {number} is to be cancelled"),
            Self::Adds(lane) => write!(f, "a subscription is added beside {lane}"),
            Self::Removes(lane) => write!(f, "subscription {lane} is removed"),
            Self::PausesCampaign(lane) => {
                write!(f, "the campaign of subscription {lane} is paused")
            }
            Self::ResumesCampaign(lane) => {
                write!(f, "the campaign of subscription {lane} is resumed")
            }
            Self::CancelsCampaign(lane) => {
                write!(f, "the campaign of subscription {lane} is cancelled")
            }
            Self::ClockIsSet(millis) => write!(f, "the database's clock is set by {millis} ms"),
            Self::ServerCrashes { after, down } => write!(
                f,
                "the database's server writes to its disk only what it must, crashes in {after} ms and is down for {down} ms"
            ),
            Self::Becomes(lane, receiver) => {
                write!(
                    f,
                    "the receiver of subscription {lane} becomes {receiver:?}"
                )
            }
        }
    }
}
