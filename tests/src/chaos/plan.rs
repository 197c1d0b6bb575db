use std::time::Duration;

use crate::{Clock, Database, Down};

/// All that is to happen in one world, drawn from a seed before anything does. The same seed draws the same plan; when
/// each thing hits what is the machine's to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// Where the outbox is.
    pub database: Database,
    /// At most so many workers at once.
    pub workers: usize,
    /// Each event goes to so many subscriptions.
    pub fan_out: usize,
    /// Requests that a subscription has under way at once, at most.
    pub max_in_flight: u32,
    /// How each client's subscriptions are received, one after the other.
    pub tempers: Vec<Temper>,
    /// The clocks of the hosts that processes are started on.
    pub clocks: Vec<Clock>,
    /// What happens, in order.
    pub strikes: Vec<Strike>,
}

/// How a receiver is, until it is told to be healthy at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// It takes everything at once.
    Healthy,
    /// It takes everything within 0.3 s.
    Slow,
    /// It refuses two of three.
    Failing,
    /// It leaves one of six without an answer until the other side gives up.
    Hanging,
    /// It refuses everything, and takes everything, for 0.4 s each.
    Flapping,
    /// It reads everything, and closes the connection without a word after one of three.
    Cutting,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Strike {
    /// Not before another delivery was received.
    pub at_work: bool,
    /// And then so much later.
    pub after: Duration,
    /// Whom it hits, counted around.
    pub whom: usize,
    /// What it is.
    pub blow: Blow,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// A worker is killed, and others take its place until there are so many.
    KillWorker(usize),
    /// A worker stands still for so long.
    Freeze(Duration),
    /// A publisher is killed wherever it is.
    KillPublisher,
    /// A publisher is killed inside its transaction.
    KillInTransaction,
    /// The server goes down for so long, and a worker is killed meanwhile or not.
    TakeDown(Down, Duration, bool),
    /// Half of the sessions of the server are ended.
    EndSessions,
    /// All sessions are ended, and their places taken, for so long.
    Exhaust(Duration),
    /// The file is full for so long.
    Fill(Duration),
}

impl Plan {
    /// The plan of a world on this database with so many kills; everything else is drawn.
    pub fn draw(seed: u64, database: Database, kills: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // A file has one owner.
        let workers = match database {
            Database::Sqlite => 1,
            Database::Postgres => random.usize(1..=4),
        };
        let fan_out = random.choice([1, 5]).expect("there are two");
        Self::draw_with(seed, database, workers, fan_out, kills)
    }

    /// The same with so many workers and this fan-out.
    pub fn draw_with(
        seed: u64,
        database: Database,
        workers: usize,
        fan_out: usize,
        kills: usize,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // A file is on one host.
        let hosts = match database {
            Database::Sqlite => 1,
            Database::Postgres => 3,
        };
        let mut plan = Self {
            seed,
            database,
            workers,
            fan_out,
            max_in_flight: random.u32(1..=8),
            // The first is always there to be waited for, and the second lasts long enough for limits to be seen.
            tempers: [Temper::Healthy, Temper::Slow]
                .into_iter()
                .chain((0..random.usize(2..=6)).map(|_| Temper::draw(&mut random)))
                .collect(),
            clocks: (0..hosts).map(|_| clock(&mut random)).collect(),
            strikes: Vec::new(),
        };
        let mut left = kills;
        while left > 0 {
            let strike = Strike::draw(&mut random, database, workers);
            left = left.saturating_sub(strike.blow.kills());
            plan.strikes.push(strike);
        }
        plan
    }

    /// Processes that it ends by `kill -9`.
    pub fn kills(&self) -> usize {
        self.strikes.iter().map(|strike| strike.blow.kills()).sum()
    }
}

impl Temper {
    /// Whether it never refuses or leaves anything without an answer.
    pub fn takes_everything(self) -> bool {
        matches!(self, Self::Healthy | Self::Slow)
    }

    fn draw(random: &mut fastrand::Rng) -> Self {
        match random.u8(0..8) {
            0..3 => Self::Healthy,
            3 => Self::Slow,
            4 => Self::Failing,
            5 => Self::Hanging,
            6 => Self::Flapping,
            _ => Self::Cutting,
        }
    }
}

/// One host of three is right; others are off by up to twenty minutes.
fn clock(random: &mut fastrand::Rng) -> Clock {
    let fast_by = match random.u8(0..3) {
        0 => 0,
        _ => random.i64(-1_200..=1_200),
    };
    Clock { fast_by }
}

impl Strike {
    fn draw(random: &mut fastrand::Rng, database: Database, workers: usize) -> Self {
        let longest = if random.u8(0..10) == 0 { 2_000 } else { 400 };
        Self {
            // Most hit while something is delivered, some long before or after.
            at_work: random.u8(0..4) != 0,
            after: Duration::from_millis(random.u64(0..longest)),
            whom: random.usize(0..1_000),
            blow: Blow::draw(random, database, workers),
        }
    }
}

impl Blow {
    fn draw(random: &mut fastrand::Rng, database: Database, workers: usize) -> Self {
        let worker = Self::KillWorker(random.usize(1..=workers));
        let millis = |random: &mut fastrand::Rng, range| Duration::from_millis(random.u64(range));
        match (random.u8(0..40), database) {
            (0..4, _) => Self::KillPublisher,
            (4..8, _) => Self::KillInTransaction,
            (8..10, _) => Self::Freeze(millis(random, 100..5_000)),
            (10, _) => Self::Freeze(millis(random, 5_000..8_000)),
            (11..13, Database::Sqlite) => Self::Fill(millis(random, 100..3_000)),
            (11..14, Database::Postgres) => {
                let all = [Down::Fast, Down::Immediate, Down::Killed];
                let how = random.choice(all).expect("there are three");
                Self::TakeDown(how, millis(random, 0..3_000), random.bool())
            }
            (14..16, Database::Postgres) => Self::EndSessions,
            (16, Database::Postgres) => Self::Exhaust(millis(random, 100..3_000)),
            _ => worker,
        }
    }

    /// Processes that it ends by `kill -9`.
    pub fn kills(self) -> usize {
        match self {
            Self::KillWorker(_) | Self::KillPublisher | Self::KillInTransaction => 1,
            Self::TakeDown(how, _, a_worker_too) => {
                usize::from(how == Down::Killed) + usize::from(a_worker_too)
            }
            Self::Freeze(_) | Self::EndSessions | Self::Exhaust(_) | Self::Fill(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_one_plan_with_the_kills_that_were_asked_for() {
        for seed in 0..200 {
            for database in [Database::Sqlite, Database::Postgres] {
                let plan = Plan::draw(seed, database, 25);
                assert_eq!(plan, Plan::draw(seed, database, 25));
                // The last blow may be two.
                assert!((25..=26).contains(&plan.kills()));
            }
        }
    }

    #[test]
    fn every_blow_is_drawn() {
        let strikes: Vec<Strike> = (0..100)
            .flat_map(|seed| {
                [Database::Sqlite, Database::Postgres]
                    .map(|database| Plan::draw(seed, database, 25))
            })
            .flat_map(|plan| plan.strikes)
            .collect();
        let some = |which: fn(&Blow) -> bool| strikes.iter().filter(|s| which(&s.blow)).count();
        for (count, what) in [
            (some(|b| matches!(b, Blow::KillWorker(4))), "kill"),
            (some(|b| matches!(b, Blow::Freeze(_))), "freeze"),
            (some(|b| *b == Blow::KillPublisher), "publisher"),
            (some(|b| *b == Blow::KillInTransaction), "transaction"),
            (
                some(|b| matches!(b, Blow::TakeDown(Down::Fast, _, false))),
                "fast",
            ),
            (
                some(|b| matches!(b, Blow::TakeDown(Down::Immediate, _, true))),
                "immediate",
            ),
            (
                some(|b| matches!(b, Blow::TakeDown(Down::Killed, _, _))),
                "postmaster",
            ),
            (some(|b| *b == Blow::EndSessions), "sessions"),
            (some(|b| matches!(b, Blow::Exhaust(_))), "exhausted"),
            (some(|b| matches!(b, Blow::Fill(_))), "full"),
        ] {
            assert!(count > 0, "{what}");
        }
    }
}
