//! How a day is told to a world.

use std::{collections::BTreeMap, time::Duration};

use tharsis_core::{
    ClientId,
    order::{By, OnDead, Order},
    profile::Batch,
    subscription::Target,
};

use super::{Day, SEATS, Town, deed::Deed};
use crate::engine::{
    random::Random,
    samples::{client, target},
    simulation::{
        SEC,
        model::Model,
        workers::{are_even, wait_until, wind_up},
        world::{Faults, Life, Receiver, World},
    },
    step::Input,
};

/// Retries are soon, so that a day has an evening.
const RETRIES: &str = "500ms,3s,12s";

/// Retries, a look at all lanes each minute, and a clock that was set back.
const EVENING: Duration = Duration::from_secs(600);

/// Subscriptions that there may be.
const MOST: i64 = 14;

/// A day that is told.
struct Telling {
    world: World,
    town: Town,
    seats: [Option<Life>; SEATS],
    lanes: i64,
}

impl Day {
    /// Tells it all, lets those who are left be, and looks at what came of it. Panics where something is wrong.
    pub(in crate::engine::simulation) fn tell(&self) -> World {
        let mut telling = Telling::begin(&self.town);
        for step in &self.steps {
            telling.world.random = Random::new(step.chance);
            telling.happens(&step.deed);
            telling.world.run_for(Duration::from_millis(step.pause));
            telling.world.check_events();
        }
        telling.end()
    }
}

impl Town {
    /// The client of a subscription; all lie scattered over the shards.
    fn client(&self, lane: i64) -> ClientId {
        let fan_out = i64::try_from(self.fan_out).expect("small");
        client(u8::try_from(((lane - 1) / fan_out + 1) * 11).expect("few clients"))
    }

    fn target(&self, lane: i64, of: ClientId, limit: u32) -> Target {
        let mut target = target(1, u8::try_from(lane * 21 % 256).expect("a byte"));
        let settings = &mut target.subscription.settings;
        settings.client = of;
        settings.max_in_flight = limit;
        settings.retry = RETRIES.parse().expect("a policy");
        settings.limits.breaker = (lane % 2 == 0).then_some(3);
        let by = match lane % 5 {
            1 | 4 => Some(By::Field("key".into())),
            3 => Some(By::Strict),
            _ => None,
        };
        settings.order = by.map(|by| Order {
            by,
            on_dead: OnDead::GiveUp,
        });
        // Every third takes what waits for it together.
        settings.batch = (lane % 3 == 0).then_some(Batch {
            items: 4,
            linger: Duration::from_millis(300),
        });
        target
    }
}

impl Telling {
    fn begin(town: &Town) -> Self {
        let mut receivers = BTreeMap::new();
        let mut targets = BTreeMap::new();
        for (lane, (receiver, limit)) in (1..).zip(&town.subscriptions) {
            receivers.insert(lane, *receiver);
            targets.insert(lane, town.target(lane, town.client(lane), *limit));
        }
        let lanes = i64::try_from(targets.len()).expect("few");
        let mut world = World::new(0, receivers, |start| Model::new(start, targets));
        world.faults = town.faults;
        world.options.max_in_flight = town.max_in_flight;
        world.options.cache_bytes = town.cache_bytes;
        let mut telling = Self {
            world,
            town: town.clone(),
            seats: [None; SEATS],
            lanes,
        };
        for seat in 0..town.workers {
            telling.starts(seat);
        }
        telling
    }

    fn starts(&mut self, seat: usize) {
        if self.life(seat).is_none() {
            self.seats[seat] = Some(self.world.start_engine());
        }
    }

    /// Who sits there, and lives.
    fn life(&self, seat: usize) -> Option<Life> {
        self.seats[seat].filter(|life| self.world.is_living(*life))
    }

    fn lane(&self, number: usize) -> i64 {
        1 + i64::try_from(number).expect("small") % self.lanes
    }

    fn happens(&mut self, deed: &Deed) {
        match *deed {
            Deed::Starts(seat) => self.starts(seat),
            Deed::IsKilled(seat)
            | Deed::Sleeps(seat)
            | Deed::Wakes(seat)
            | Deed::IsCutOff(seat)
            | Deed::IsBack(seat)
            | Deed::IsToEnd(seat)
            | Deed::IsPoked(seat) => {
                if let Some(life) = self.life(seat) {
                    self.happens_to(life, deed);
                }
            }
            Deed::ClockIsSet(millis) => self.world.set_clock_by(millis),
            Deed::ServerCrashes { after, down } => {
                let (after, down) = (Duration::from_millis(after), Duration::from_millis(down));
                self.world.doom(after, down);
            }
            Deed::Becomes(number, receiver) => {
                let lane = self.lane(number);
                self.world.receivers.insert(lane, receiver);
            }
            // Nobody can do anything else without a server.
            _ if self.world.is_down() => {}
            _ => self.people_do(deed),
        }
    }

    fn happens_to(&mut self, life: Life, deed: &Deed) {
        let world = &mut self.world;
        match deed {
            Deed::IsKilled(_) => world.kill(life),
            Deed::Sleeps(_) => world.stop(life),
            Deed::Wakes(_) => world.go_on(life),
            Deed::IsCutOff(_) => world.set_cut_off(life, true),
            Deed::IsBack(_) => world.set_cut_off(life, false),
            Deed::IsToEnd(_) => world.tell(life, Input::Shutdown),
            _ => world.tell(life, Input::Woken),
        }
    }

    fn people_do(&mut self, deed: &Deed) {
        const SOON: Option<Duration> = Some(Duration::from_secs(2));
        match *deed {
            Deed::Publishes { lane, events } => {
                for _ in 0..events {
                    self.publish(lane, None, None);
                }
            }
            Deed::PublishesForLater(lane) => self.publish(lane, None, SOON),
            Deed::PublishesForNow(lane) => self.publish(lane, SOON, None),
            Deed::Pauses(number) => {
                let lane = self.lane(number);
                self.world.pause(lane);
            }
            Deed::Resumes(number) => self.resume(self.lane(number)),
            Deed::Retries(number) => self.world.retry(number),
            Deed::Cancels(number) => self.world.cancel(number),
            Deed::Adds(beside) if self.lanes < MOST => {
                let of = self.town.client(self.lane(beside));
                self.lanes += 1;
                let target = self.town.target(self.lanes, of, 2);
                self.world.add(self.lanes, target, Receiver::Healthy);
            }
            Deed::Removes(number) => {
                let lane = self.lane(number);
                self.world.remove(lane);
            }
            Deed::PausesCampaign(number) => {
                let client = self.town.client(self.lane(number));
                self.world.pause_campaign(client);
            }
            Deed::ResumesCampaign(number) => {
                let client = self.town.client(self.lane(number));
                self.world.resume_campaign(client);
            }
            Deed::CancelsCampaign(number) => {
                let client = self.town.client(self.lane(number));
                self.world.cancel_campaign(client);
            }
            _ => {}
        }
    }

    fn publish(
        &mut self,
        number: usize,
        expires_in: Option<Duration>,
        starts_in: Option<Duration>,
    ) {
        let client = self.town.client(self.lane(number));
        self.world.publish_with(client, expires_in, starts_in);
    }

    fn resume(&mut self, lane: i64) {
        if self.world.model.targets.contains_key(&lane) {
            self.world.resume(lane);
        }
    }

    /// Everybody goes on and is let be, in the end also by the store: all is delivered, and shared out evenly.
    fn end(mut self) -> World {
        for life in self.world.living() {
            self.world.go_on(life);
            self.world.set_cut_off(life, false);
        }
        // The others may have been asked to end.
        self.world.start_engine();
        // A server may be about to crash and stay down, and after that an operation waits for up to 4 s: what a receiver
        // that is gone has answered before is settled by then.
        self.world.run_for(15 * SEC);
        self.world.faults = Faults::default();
        for (lane, receiver) in &mut self.world.receivers {
            // Nobody is gone for good, and what hangs would do so for hours; what waits behind a breaker, until it is well;
            // and what goes one after the other, for all that are before it.
            let is_waited_for = lane % 2 == 0 || lane % 5 == 3;
            if matches!(receiver, Receiver::Gone | Receiver::Hangs) || is_waited_for {
                *receiver = Receiver::Healthy;
            }
        }
        // What is slow may take a minute.
        let calm = if self.town.faults.slow > 0 {
            61 * SEC
        } else {
            SEC
        };
        self.world.run_for(calm);
        (1..=self.lanes).for_each(|lane| self.resume(lane));
        for lane in 1..=self.lanes {
            let client = self.town.client(lane);
            self.world.resume_campaign(client);
        }
        let world = &mut self.world;
        // A clock that was set back makes the lease of a dead worker longer.
        wait_until(world, 180 * SEC, are_even);
        wind_up(world, EVENING);
        self.world
    }
}
