//! What people ask the owner to do, and the owner doing it, a little at a time.

use std::collections::{BTreeMap, BTreeSet};

use tharsis_core::{
    ClientId, DeliveryId, Invalid, ReplayId, SubscriptionId, Timestamp,
    delivery::{End, codes},
};

use super::{
    Model, Stored, count,
    history::matches,
    not_found,
    outbox::{pending, unsent},
};
use crate::{
    ASIDE, Campaign, DeliveryFilter, KEPT, Lease, Replay, ReplayChoice, ReplayDraft, ReplayState,
    Shard, Shards, StoreError, WorkedOff,
    replay::{is_wanted, narrowed},
};

/// So many deliveries are looked at by one chunk of a replay: few, so that there are often more.
const CHUNK: usize = 3;

/// What to do in a lane.
#[derive(Debug, Clone)]
pub(super) struct Command {
    number: i64,
    kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Retry(DeliveryId),
    Cancel(DeliveryId),
    Remains,
    ResumeCampaign(Campaign),
    /// And the last event that had been published when it was asked for.
    CancelCampaign(Campaign, i64),
}

impl Command {
    /// The end of everything that a removed subscription leaves behind.
    pub(super) fn remains(number: i64) -> Self {
        Self {
            number,
            kind: Kind::Remains,
        }
    }

    pub(super) fn of(number: i64, kind: Kind) -> Self {
        Self { number, kind }
    }
}

/// A replay that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Job {
    replay: Replay,
    choice: ReplayChoice,
    /// The last event that had been published when it was asked for.
    last: i64,
    /// The last pair that was looked at, by the numbers of its event and its subscription.
    cursor: (i64, i64),
    /// The numbers of replays that were not through when it was asked for.
    beside: BTreeSet<u32>,
}

impl Job {
    /// Whether there is something to do, as long as nobody says otherwise.
    pub(super) fn is_open(&self) -> bool {
        matches!(
            self.replay.state,
            ReplayState::Waiting | ReplayState::Running
        )
    }

    fn shard(&self) -> Shard {
        Shard::of_replay(self.replay.id)
    }
}

impl Model {
    /// Asks the owner to make an unfinished delivery due now.
    ///
    /// # Errors
    /// `NotFound`, `delivery_ended`.
    pub fn retry(&mut self, id: DeliveryId) -> Result<(), StoreError> {
        self.ask(Kind::Retry(id), id)
    }

    /// Asks the owner to end an unfinished delivery.
    ///
    /// # Errors
    /// `NotFound`, `delivery_ended`.
    pub fn cancel(&mut self, id: DeliveryId) -> Result<(), StoreError> {
        self.ask(Kind::Cancel(id), id)
    }

    fn ask(&mut self, kind: Kind, id: DeliveryId) -> Result<(), StoreError> {
        let Some(row) = self.rows.iter().find(|row| row.id == id) else {
            if self.attempts.contains_key(&id) {
                return Err(Invalid::new("delivery_ended", "has ended already").into());
            }
            return Err(not_found("delivery", &id));
        };
        let number = row.position.subscription;
        self.commands.push(Command { number, kind });
        self.registry_written();
        Ok(())
    }

    /// Writes a replay down, under the id that the database gave it.
    ///
    /// # Errors
    /// `NotFound` where a delivery or a subscription that is named never was, or is another client's than the replay;
    /// `bad_choice` where its filter names another one.
    pub fn replay(
        &mut self,
        id: ReplayId,
        draft: &ReplayDraft,
        now: Timestamp,
    ) -> Result<Replay, StoreError> {
        let draft = narrowed(draft)?;
        let covers = |client: ClientId| draft.client.is_none_or(|of| of == client);
        let of = match &draft.choice {
            ReplayChoice::Missing(of, _) => Some(*of),
            _ => None,
        };
        for named in of.into_iter().chain(draft.to) {
            if !covers(self.find(named)?.settings.client) {
                return Err(not_found("subscription", &named));
            }
        }
        let is_known = |id| self.line(id).is_some_and(|line| covers(line.client));
        if let ReplayChoice::Deliveries(ids) = &draft.choice
            && let Some(unknown) = ids.iter().find(|id| !is_known(**id))
        {
            return Err(not_found("delivery", unknown));
        }
        let replay = Replay {
            id,
            client: draft.client,
            key: draft.key,
            rate: draft.rate,
            state: ReplayState::Waiting,
            expected: draft.expected,
            examined: 0,
            replayed: 0,
            skipped: 0,
            unfinished: 0,
            held_for: Vec::new(),
            is_held: false,
            created_at: now,
            finished_at: None,
        };
        let beside = (1..)
            .zip(&self.jobs)
            .filter(|(number, job)| !job.replay.state.is_over() || self.on_their_way(*number) > 0);
        let beside = beside.map(|(number, _)| number).collect();
        self.jobs.push(Job {
            replay: replay.clone(),
            choice: draft.choice.clone(),
            last: self.last_seq,
            cursor: (0, 0),
            beside,
        });
        self.registry_written();
        Ok(replay)
    }

    /// One replay.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn replay_state(&self, id: ReplayId) -> Result<Replay, StoreError> {
        self.replays()
            .into_iter()
            .find(|replay| replay.id == id)
            .ok_or_else(|| not_found("replay", &id))
    }

    /// The replays, newest first.
    pub fn replays(&self) -> Vec<Replay> {
        let mut replays: Vec<Replay> = (1..)
            .zip(&self.jobs)
            .map(|(number, job)| Replay {
                unfinished: self.on_their_way(number),
                ..job.replay.clone()
            })
            .collect();
        replays.reverse();
        replays
    }

    /// How many deliveries are on their way under the replay of this number.
    fn on_their_way(&self, number: u32) -> u64 {
        let rows = self.rows.iter();
        count(rows.filter(|row| row.position.replay == number).count())
    }

    /// Whether something was asked for that lies in the shards of this lease.
    pub fn has_work(&self, lease: &Lease) -> bool {
        let ours = lease.shards;
        let mut commands = self.commands.iter();
        let mut jobs = self.jobs.iter().filter(|job| job.is_open());
        commands.any(|command| ours.contains(self.shard(command.number)))
            || jobs.any(|job| ours.contains(job.shard()))
    }

    /// Carries out one command, or a chunk of a replay where there is none.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub fn work_off(&mut self, lease: &Lease, now: Timestamp) -> Result<WorkedOff, StoreError> {
        let ours = self.ours(lease)?;
        let Some(touched) = self.next_of(ours, lease, now) else {
            return Ok(WorkedOff::default());
        };
        Ok(WorkedOff {
            lanes: touched.into_iter().map(pending).collect(),
            more: true,
            next: None,
        })
    }

    /// The lanes of these shards that were written into, and when the first delivery there is due.
    fn next_of(
        &mut self,
        ours: Shards,
        lease: &Lease,
        now: Timestamp,
    ) -> Option<BTreeMap<i64, Timestamp>> {
        let mut commands = self.commands.iter();
        if let Some(n) = commands.position(|command| ours.contains(self.shard(command.number))) {
            let command = self.commands.remove(n);
            let number = command.number;
            self.carry_out(command, now);
            return Some(BTreeMap::from([(number, now)]));
        }
        let is_next = |job: &Job| job.is_open() && ours.contains(job.shard());
        let n = self.jobs.iter().position(is_next)?;
        let again = self.step(n, now);
        let (own, foreign): (BTreeMap<_, _>, BTreeMap<_, _>) = again
            .into_iter()
            .partition(|(number, _)| lease.shards.contains(self.shard(*number)));
        for (number, due_at) in foreign {
            self.tell(number, due_at);
        }
        Some(own)
    }

    fn carry_out(&mut self, command: Command, now: Timestamp) {
        match command.kind {
            Kind::Retry(id) => {
                let target = self.targets.get(&command.number);
                let is_ordered =
                    target.is_some_and(|target| target.subscription.settings.order.is_some());
                let is_later = self.events[&id.event].pointer.not_before > Some(now);
                for row in self.rows.iter_mut().filter(|row| row.id == id) {
                    let is_kept = row.position.lane == KEPT;
                    let is_fresh =
                        row.attempts == 0 && row.spent == tharsis_core::delivery::Spent::default();
                    let keeps_its_place = is_ordered && row.key.is_none() && is_fresh && !is_later;
                    if keeps_its_place || !is_kept && row.position.due_at <= now {
                        continue;
                    }
                    if is_kept {
                        row.position.lane = 0;
                    }
                    row.position.due_at = now;
                }
            }
            Kind::Cancel(id) => self.end(codes::CANCELLED, now, |row| row.id == id),
            Kind::Remains => self.end(codes::SUBSCRIPTION_REMOVED, now, |row| {
                row.position.subscription == command.number
            }),
            Kind::ResumeCampaign(campaign) => {
                let goes = |row: &crate::Due| {
                    row.position.subscription == command.number
                        && row.position.lane == ASIDE
                        && self.is_of(row.id.event, &campaign)
                        && !self.is_paused(row.id.event)
                };
                let going: Vec<bool> = self.rows.iter().map(goes).collect();
                for (row, _) in self.rows.iter_mut().zip(going).filter(|(_, goes)| *goes) {
                    row.position.lane = 0;
                }
            }
            Kind::CancelCampaign(campaign, last) => {
                let ends = |row: &&crate::Due| {
                    row.position.subscription == command.number
                        && self.is_of(row.id.event, &campaign)
                        && self.events[&row.id.event].pointer.seq <= last
                };
                let ids: BTreeSet<DeliveryId> =
                    self.rows.iter().filter(ends).map(|row| row.id).collect();
                self.end(codes::CAMPAIGN_CANCELLED, now, |row| ids.contains(&row.id));
            }
        }
    }

    /// Ends these deliveries `cancelled`.
    fn end(&mut self, code: &str, now: Timestamp, which: impl Fn(&crate::Due) -> bool) {
        let (ended, left) = std::mem::take(&mut self.rows).into_iter().partition(which);
        self.rows = left;
        let ended: Vec<crate::Due> = ended;
        for row in ended {
            self.record(row.id, unsent(code, now), Some(End::Cancelled), None);
        }
    }

    /// One chunk of a replay. Returns the lanes that it wrote into.
    fn step(&mut self, n: usize, now: Timestamp) -> BTreeMap<i64, Timestamp> {
        let job = self.jobs[n].clone();
        let replay = u32::try_from(n + 1).expect("few");
        let chosen: Vec<((i64, i64), DeliveryId)> = self
            .chosen(&job)
            .into_iter()
            .filter(|(pair, _)| *pair > job.cursor)
            .take(CHUNK)
            .collect();
        let mut lanes = BTreeMap::new();
        let mut replayed = 0;
        for ((_, number), id) in &chosen {
            if self.is_taken(*id, replay, &job) {
                continue;
            }
            if let Some(due_at) = self.due_again(*id, now) {
                let seq = self.seq();
                self.make_due(*id, *number, seq, due_at, Some((replay, &job.replay)));
                let first = lanes.entry(*number).or_insert(due_at);
                *first = due_at.min(*first);
                replayed += 1;
            }
        }
        let is_done = chosen.len() < CHUNK;
        let job = &mut self.jobs[n];
        let replay = &mut job.replay;
        replay.examined += count(chosen.len());
        replay.replayed += replayed;
        replay.skipped = replay.examined - replay.replayed;
        replay.state = ReplayState::Running;
        if is_done {
            replay.state = ReplayState::Done;
            replay.finished_at = Some(now);
        }
        if let Some((last, _)) = chosen.last() {
            job.cursor = *last;
        }
        lanes
    }

    /// What a replay takes, in the order in which it does.
    fn chosen(&self, job: &Job) -> BTreeSet<((i64, i64), DeliveryId)> {
        let ids: BTreeSet<DeliveryId> = match &job.choice {
            ReplayChoice::Deliveries(ids) => ids.iter().copied().collect(),
            ReplayChoice::Missing(of, filter) => self.missing(*of, filter),
            ReplayChoice::Filter(filter) => {
                let ended = self.ended.keys().filter_map(|id| self.line(*id));
                let matching = ended.filter(|line| matches(filter, line));
                matching.map(|line| line.id).collect()
            }
        };
        ids.into_iter()
            .filter_map(|id| {
                let event = self.events[&id.event].pointer.seq;
                let pair = (event, self.number(id.subscription)?);
                (event <= job.last).then_some((pair, id))
            })
            .collect()
    }

    /// What a subscription wants of the events that match, and was never delivered.
    fn missing(&self, of: SubscriptionId, filter: &DeliveryFilter) -> BTreeSet<DeliveryId> {
        let target = self.number(of).and_then(|number| self.targets.get(&number));
        let Some(settings) = target.map(|target| &target.subscription.settings) else {
            return BTreeSet::new();
        };
        let is_wanted = |stored: &&Stored| {
            let pointer = &stored.pointer;
            let event_type = &*pointer.event_type;
            let payload = std::str::from_utf8(&stored.payload).ok();
            pointer.client == settings.client
                && stored.refused.is_none()
                && !self.pointers.contains_key(&pointer.seq)
                && is_wanted(settings, event_type, payload)
                && filter.event.is_none_or(|event| event == pointer.event)
                && (filter.event_type.is_empty()
                    || filter.event_type.iter().any(|of| **of == *event_type))
                && (filter.campaign.is_none() || filter.campaign == stored.campaign)
                && filter
                    .since
                    .is_none_or(|since| pointer.published_at >= since)
                && filter
                    .until
                    .is_none_or(|until| pointer.published_at < until)
        };
        let was_delivered = |id: &DeliveryId| {
            let attempts = self.attempts.get(id).into_iter().flatten();
            attempts
                .filter(|one| one.end == Some(End::Delivered))
                .count()
                > 0
        };
        (self.events.values())
            .filter(is_wanted)
            .map(|stored| DeliveryId {
                event: stored.pointer.event,
                subscription: of,
            })
            .filter(|id| !was_delivered(id) && !self.rows.iter().any(|row| row.id == *id))
            .collect()
    }

    /// Whether another replay has taken it since this one was asked for.
    fn is_taken(&self, id: DeliveryId, replay: u32, job: &Job) -> bool {
        let Some(under) = self.ended_under.get(&id) else {
            return false;
        };
        let mut records = self.attempts.get(&id).into_iter().flatten();
        let last = records.rfind(|one| one.end.is_some());
        let failed_before = last.is_some_and(|last| {
            last.end != Some(End::Delivered) && last.attempt.at < job.replay.created_at
        });
        *under >= replay || job.beside.contains(under) && !failed_before
    }

    /// When it is due again; `None` for what is left alone: unfinished, expired, refused, or without a subscription.
    fn due_again(&self, id: DeliveryId, now: Timestamp) -> Option<Timestamp> {
        let event = &self.events[&id.event].pointer;
        let number = self.number(id.subscription)?;
        let is_wanted = self.targets.contains_key(&number)
            && event.expires_at.is_none_or(|at| at > now)
            && self.ended.get(&id) != Some(&End::Refused)
            && !self.rows.iter().any(|row| row.id == id);
        is_wanted.then(|| event.not_before.map_or(now, |at| at.max(now)))
    }
}
