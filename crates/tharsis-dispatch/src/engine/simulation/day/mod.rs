//! A bad day as a value: a town, and what happens in it, one deed after the other. It is drawn from a seed, told to a
//! world, and where it ends badly made as short as it can be.

mod deed;
mod telling;

use std::{fmt, time::Duration};

use proptest::prelude::*;

use super::world::{Faults, Receiver};
use deed::{Deed, deed};

/// Where a worker may be.
pub(super) const SEATS: usize = 4;

/// What happens on a day, and where.
#[derive(Clone)]
pub(super) struct Day {
    town: Town,
    steps: Vec<Step>,
}

/// What there is when the day begins.
#[derive(Clone)]
struct Town {
    /// Of each subscription its receiver, and how many requests it may have under way.
    subscriptions: Vec<(Receiver, u32)>,
    /// How many subscriptions of one client get each of its events.
    fan_out: usize,
    workers: usize,
    max_in_flight: usize,
    cache_bytes: usize,
    faults: Faults,
}

/// A deed, and how long it is until the next.
#[derive(Clone)]
struct Step {
    deed: Deed,
    pause: u64,
    /// What chance makes of the world from here on, whatever was before.
    chance: u64,
}

/// All days that there may be.
pub(super) fn day() -> impl Strategy<Value = Day> {
    (town(), prop::collection::vec(step(), 1..40)).prop_map(|(town, steps)| Day { town, steps })
}

fn town() -> impl Strategy<Value = Town> {
    (
        prop::collection::vec((receiver(), 1_u32..7), 1..=10),
        prop_oneof![Just(1_usize), Just(2), Just(5)],
        1..=3_usize,
        prop_oneof![1..20_usize, Just(256)],
        (0..5_usize).prop_map(|n| 200 + n * 1_000),
        faults(),
    )
        .prop_map(
            |(subscriptions, fan_out, workers, max_in_flight, cache_bytes, faults)| Town {
                subscriptions,
                fan_out,
                workers,
                max_in_flight,
                cache_bytes,
                faults,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![7 => 0..400_u64, 1 => 0..8_000_u64];
    (deed(), pause, any::<u64>().no_shrink()).prop_map(|(deed, pause, chance)| Step {
        deed,
        pause,
        chance,
    })
}

fn receiver() -> impl Strategy<Value = Receiver> {
    use Receiver::{Broken, Busy, Flaky, Gone, Hangs, Healthy, Moody, Mute, Ours, Slow};
    prop_oneof![
        4 => Just(Healthy),
        2 => Just(Slow),
        2 => Just(Mute),
        2 => Just(Flaky),
        2 => Just(Hangs),
        1 => Just(Moody),
        1 => Just(Busy),
        1 => Just(Broken),
        1 => Just(Ours),
        1 => Just(Gone),
    ]
}

fn faults() -> impl Strategy<Value = Faults> {
    let some = (0..6_u64, 0..8_u64, 0..4_u64).prop_map(|(lost, ambiguous, slow)| Faults {
        lost,
        ambiguous,
        slow,
        ..Faults::default()
    });
    prop_oneof![Just(Faults::default()), some]
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.town)?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "{number:>3}. {step:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Town {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults {
            lost,
            ambiguous,
            slow,
            ..
        } = self.faults;
        writeln!(
            f,
            "{} workers, each with {} slots and {} bytes of cache. Of the store's operations {lost} % are lost, of the answers \
             {ambiguous} %, and {slow} % are slow. Each event is for {} of these subscriptions:",
            self.workers, self.max_in_flight, self.cache_bytes, self.fan_out
        )?;
        for (lane, (receiver, limit)) in (1..).zip(&self.subscriptions) {
            write!(f, "{lane} {receiver:?} with {limit} at once; ")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pause = Duration::from_millis(self.pause);
        write!(f, "{:?}; {pause:?} pass", self.deed)
    }
}
