//! Replays: how they are asked for, how far they are, and what one step of one takes.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
    time::Duration,
};

use tharsis_core::{
    ClientId, DeliveryId, Invalid, ReplayId, SubscriptionId, Timestamp,
    alert::is_own,
    delivery::End,
    filter::{Answer, Filter},
    json,
    rate::Rate,
    subscription::{Settings, Target},
};

use crate::{Deed, DeliveryFilter, Status, StoreError, filter::to_text, subscription};

/// A replay as somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayDraft {
    /// What it takes.
    pub choice: ReplayChoice,
    /// Under which idempotency value it sends.
    pub key: ReplayKey,
    /// The subscription that gets it all in place of those that are chosen, also where it has had it: of what is of its own
    /// client alone.
    pub to: Option<SubscriptionId>,
    /// No faster than this, over all its subscriptions; `None` as fast as their receivers take it.
    pub rate: Option<Rate>,
    /// How many deliveries it would be at most, where that was counted: for those who watch.
    pub expected: Option<u64>,
    /// Of this client alone, which may see it; `None` of all, for those alone who see all.
    pub client: Option<ClientId>,
}

impl ReplayDraft {
    /// Of what is chosen: under the events' own keys, as fast as receivers take it, and of the client alone that its filter
    /// names.
    pub fn new(choice: ReplayChoice) -> Self {
        let client = match &choice {
            ReplayChoice::Filter(filter) => filter.client,
            ReplayChoice::Deliveries(_) | ReplayChoice::Missing(..) => None,
        };
        Self {
            choice,
            key: ReplayKey::Same,
            to: None,
            rate: None,
            expected: None,
            client,
        }
    }
}

/// What a replay takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayChoice {
    /// These deliveries.
    Deliveries(Vec<DeliveryId>),
    /// All that match and have ended.
    Filter(DeliveryFilter),
    /// What this subscription wants of the events that match and was never delivered to it, also where it was added later
    /// than they were published. The filter says nothing of states and subscriptions.
    Missing(SubscriptionId, DeliveryFilter),
}

/// Under which idempotency value a replay sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplayKey {
    /// The event's own, so that a receiver knows what it has had.
    #[default]
    Same,
    /// One of this replay, so that a receiver takes everything for new: [`fresh_key`](tharsis_core::signer::fresh_key).
    Fresh,
}

impl ReplayKey {
    /// The word for it in JSON and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Fresh => "fresh",
        }
    }
}

/// A replay and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its name.
    pub id: ReplayId,
    /// Of this client alone, which may see it; `None` of all, for those alone who see all.
    pub client: Option<ClientId>,
    /// Under which idempotency value it sends.
    pub key: ReplayKey,
    /// No faster than this.
    pub rate: Option<Rate>,
    /// How far it is.
    pub state: ReplayState,
    /// How many deliveries it would be at most, where that was counted when it was asked for.
    pub expected: Option<u64>,
    /// Deliveries looked at so far.
    pub examined: u64,
    /// Deliveries made due again.
    pub replayed: u64,
    /// Deliveries left alone: unfinished, expired, refused, without a subscription, or taken by another replay meanwhile.
    pub skipped: u64,
    /// Deliveries that it made due and that are not finished.
    pub unfinished: u64,
    /// The subscriptions whose deliveries it holds back, since they are held themselves.
    pub held_for: Vec<SubscriptionId>,
    /// It can go on with nothing else than what is held, lies aside, or is for later.
    pub is_held: bool,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was done, or called off.
    pub finished_at: Option<Timestamp>,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayState {
    /// Not begun.
    Waiting,
    /// Begun.
    Running,
    /// Held, until it is resumed.
    Paused,
    /// All that it takes was made due.
    Done,
    /// Called off: it makes nothing due any more.
    Cancelled,
}

impl ReplayState {
    /// Whether it makes nothing due any more, for ever.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    /// The word for it in JSON and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What the row of a replay says of its state.
pub(crate) struct Flags {
    pub(crate) is_started: bool,
    pub(crate) is_paused: bool,
    pub(crate) is_cancelled: bool,
    pub(crate) is_finished: bool,
}

impl Flags {
    pub(crate) fn state(&self) -> ReplayState {
        match self {
            Self {
                is_cancelled: true, ..
            } => ReplayState::Cancelled,
            Self {
                is_finished: true, ..
            } => ReplayState::Done,
            Self {
                is_paused: true, ..
            } => ReplayState::Paused,
            Self {
                is_started: true, ..
            } => ReplayState::Running,
            _ => ReplayState::Waiting,
        }
    }
}

/// # Errors
/// `bad_choice` for a filter of a [`Missing`](ReplayChoice::Missing) that says something of states or subscriptions.
pub(crate) fn check(choice: &ReplayChoice) -> Result<(), Invalid> {
    match choice {
        ReplayChoice::Missing(_, filter)
            if !filter.status.is_empty()
                || !filter.subscription.is_empty()
                || filter.client.is_some()
                || filter.ended_since.is_some() =>
        {
            Err(Invalid::new(
                "bad_choice",
                "what was never delivered to a subscription has no state and no other subscription",
            )
            .hint("choose by event, type, campaign, and time alone"))
        }
        _ => Ok(()),
    }
}

/// As it is asked for, and where it is of one client, narrowed to what is of that client.
///
/// # Errors
/// As [`check`], and `bad_choice` for a filter of another client.
pub(crate) fn narrowed(draft: &ReplayDraft) -> Result<Cow<'_, ReplayDraft>, Invalid> {
    let narrowed = draft.client.and_then(|client| match &draft.choice {
        ReplayChoice::Deliveries(_) => None,
        ReplayChoice::Filter(filter) => {
            Some(of_client(filter, client, Some(client)).map(ReplayChoice::Filter))
        }
        // Whose it is, the subscription says.
        ReplayChoice::Missing(of, filter) => {
            Some(of_client(filter, client, None).map(|filter| ReplayChoice::Missing(*of, filter)))
        }
    });
    let draft = match narrowed.transpose()? {
        None => Cow::Borrowed(draft),
        Some(choice) => Cow::Owned(ReplayDraft {
            choice,
            ..draft.clone()
        }),
    };
    check(&draft.choice)?;
    Ok(draft)
}

/// A filter that says nothing of another client, with what it says of this one from now on.
fn of_client(
    filter: &DeliveryFilter,
    client: ClientId,
    said: Option<ClientId>,
) -> Result<DeliveryFilter, Invalid> {
    if filter.client.is_some_and(|other| other != client) {
        return Err(
            Invalid::new("bad_choice", "is not the client that the replay is of")
                .at("client")
                .hint("leave it out, or ask for a replay of that client"),
        );
    }
    Ok(DeliveryFilter {
        client: said,
        ..filter.clone()
    })
}

/// The number of a subscription that was found, if it is of the client that a replay is of.
pub(crate) fn number_of(
    client: Option<ClientId>,
    (number, target): &(i64, Target),
) -> Result<i64, StoreError> {
    let of = &target.subscription;
    if client.is_some_and(|client| client != of.settings.client) {
        return Err(subscription::not_found(of.id));
    }
    Ok(*number)
}

/// What the audit says of a replay that is asked for.
pub(crate) fn deed(draft: &ReplayDraft, id: ReplayId) -> Result<Deed, StoreError> {
    let (takes, filter) = match &draft.choice {
        ReplayChoice::Deliveries(ids) => (format!("{} deliveries", ids.len()), None),
        ReplayChoice::Filter(filter) => ("what matches".to_owned(), Some(filter)),
        ReplayChoice::Missing(of, filter) => {
            (format!("what {of} was never delivered"), Some(filter))
        }
    };
    let filter = filter.map(to_text).transpose()?;
    let detail = serde_json::json!({
        "takes": takes,
        "filter": filter,
        "key": draft.key.as_str(),
        "to": draft.to.map(|to| to.to_string()),
        "rate": draft.rate.map(|rate| rate.to_string()),
    });
    let deed = Deed::new("replay.asked", &id).with(detail);
    Ok(Deed {
        client: draft.client,
        ..deed
    })
}

/// What the audit says of a replay to which something is done.
pub(crate) fn deed_of(order: Order, replay: &Replay) -> Deed {
    let detail = serde_json::json!({ "replayed": replay.replayed });
    let deed = Deed::new(order.action(), &replay.id).with(detail);
    Deed {
        client: replay.client,
        ..deed
    }
}

/// Why a replay cannot be paused, resumed or cancelled.
pub(crate) fn over(id: ReplayId, state: ReplayState) -> Invalid {
    Invalid::new("replay_over", format!("{id} is {} already", state.as_str()))
        .at("replay")
        .hint("what it made due goes on; ask for another replay of what is to go out again")
}

/// What people do to a replay that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Pause,
    Resume,
    Cancel,
}

impl Order {
    /// The word for it in the audit.
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::Pause => "replay.paused",
            Self::Resume => "replay.resumed",
            Self::Cancel => "replay.cancelled",
        }
    }
}

/// A filter as far as there can be another try, if it is about such: what has expired or was refused is always left alone.
pub(crate) fn that_can_go(filter: &DeliveryFilter) -> Option<DeliveryFilter> {
    let ends = [End::Delivered, End::Dead, End::Cancelled].map(Status::Ended);
    let is_asked_for = |end: &Status| filter.status.is_empty() || filter.status.contains(end);
    let status: Vec<Status> = ends.into_iter().filter(is_asked_for).collect();
    (!status.is_empty()).then(|| DeliveryFilter {
        status,
        ..filter.clone()
    })
}

/// How many deliveries a replay would find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// For each subscription.
    pub counts: Vec<(SubscriptionId, u64)>,
    /// Whether it ended before all was looked at.
    pub may_be_more: bool,
}

impl Tally {
    /// Of all that there is.
    pub(crate) fn of_all(counts: Vec<(SubscriptionId, u64)>) -> Self {
        Self {
            counts,
            may_be_more: false,
        }
    }
}

/// How many are named of each subscription.
pub(crate) fn tally_of(ids: &[DeliveryId]) -> Vec<(SubscriptionId, u64)> {
    let mut tally: BTreeMap<SubscriptionId, u64> = BTreeMap::new();
    for id in ids.iter().collect::<BTreeSet<_>>() {
        *tally.entry(id.subscription).or_default() += 1;
    }
    tally.into_iter().collect()
}

/// Whether a subscription wants an event of this type, with this payload where it filters. Our own events are not asked
/// for: they tell of a moment that has passed.
pub(crate) fn is_wanted(settings: &Settings, event_type: &str, payload: Option<&str>) -> bool {
    let passes = |filter: &Filter| {
        let payload = payload.and_then(|payload| json::parse(payload.as_bytes()).ok());
        payload.is_some_and(|payload| filter.wants(&payload) == Answer::Yes)
    };
    !is_own(event_type)
        && settings.wants_type(event_type)
        && settings.filter.as_ref().is_none_or(passes)
}

/// When a part is looked at again whose receiver has enough for now.
pub(crate) const SOON: Duration = Duration::from_millis(20);

/// The same, where that receiver takes nothing at present.
pub(crate) const LATER: Duration = Duration::from_secs(1);

/// What is due within so long counts as due.
pub(crate) const DUE_WITHIN: Duration = Duration::from_secs(1);

/// The most unfinished deliveries that a subscription has of one replay, those that wait for something included.
const MOST: u32 = 4_096;

/// The most subscriptions that go on by themselves: each goes along the whole history.
pub(crate) const MOST_APART: usize = 32;

/// What a subscription has of a replay, and how much its receiver is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// Deliveries that its receiver is sent at a time: requests, times what one of them carries.
    pub(crate) at_once: u32,
    /// Those that are due, or will be in a moment.
    pub(crate) due: u32,
    /// All that are not finished.
    pub(crate) all: u32,
    /// Somebody or its receiver holds it.
    pub(crate) is_held: bool,
}

impl Load {
    /// So many may be due: few enough that what is published meanwhile waits for a moment only, and enough for the rate.
    fn window(self, rate: Option<Rate>) -> u32 {
        const QUARTER: Duration = Duration::from_millis(250);
        let paced = rate.map_or(0, |rate| {
            let interval = rate.interval().as_nanos().max(1);
            u32::try_from(QUARTER.as_nanos() / interval).unwrap_or(u32::MAX)
        });
        let at_once = self.at_once.saturating_mul(8).clamp(64, 1_024);
        at_once.max(paced).min(MOST)
    }

    /// The least that is worth a step.
    fn least(window: u32) -> u32 {
        (window / 4).min(32)
    }

    /// How many more it may have; none where that is too few for a step.
    pub(crate) fn room(self, rate: Option<Rate>) -> u32 {
        let window = self.window(rate);
        let room = window
            .saturating_sub(self.due)
            .min(MOST.saturating_sub(self.all));
        if room < Self::least(window) { 0 } else { room }
    }

    /// So many may be due when it is worth a step again.
    pub(crate) fn enough(self, rate: Option<Rate>) -> u32 {
        let window = self.window(rate);
        window - Self::least(window)
    }

    /// What it has is not to be sent yet.
    pub(crate) fn is_stuck(self, rate: Option<Rate>) -> bool {
        self.room(rate) == 0 && self.due <= self.enough(rate)
    }
}

/// How many deliveries may become due now, and when: spread evenly, from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) most: u32,
    first_us: i64,
    interval_us: i64,
}

impl Pace {
    /// How far ahead deliveries are made due: longer than from one look to the next.
    const AHEAD_US: i64 = 100_000;

    /// How much of what it fell behind a replay makes up for.
    const BEHIND_US: i64 = 500_000;

    /// `paced_us` is the first instant that is free by the rate; `None` at the beginning.
    pub(crate) fn of(
        rate: Option<Rate>,
        paced_us: Option<i64>,
        now: Timestamp,
        chunk: u32,
    ) -> Self {
        let now_us = now.as_millis().saturating_mul(1_000);
        let Some(rate) = rate else {
            return Self {
                most: chunk,
                first_us: now_us,
                interval_us: 0,
            };
        };
        let interval_us = i64::try_from(rate.interval().as_micros())
            .unwrap_or(i64::MAX)
            .max(1);
        let first_us = paced_us.unwrap_or(now_us).max(now_us - Self::BEHIND_US);
        let ahead = (now_us + Self::AHEAD_US - first_us).max(0);
        let most = u32::try_from(ahead / interval_us + i64::from(ahead % interval_us > 0))
            .unwrap_or(chunk);
        Self {
            most: most.min(chunk),
            first_us,
            interval_us,
        }
    }

    /// When the one of this place is due, from 0 on.
    pub(crate) fn due_at(self, place: usize, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(self.after(place) / 1_000).max(now)
    }

    /// The first instant that is free after so many.
    pub(crate) fn after(self, taken: usize) -> i64 {
        let taken = i64::try_from(taken).unwrap_or(i64::MAX);
        self.first_us
            .saturating_add(self.interval_us.saturating_mul(taken))
    }

    /// When more may become due, after so many.
    pub(crate) fn look_at(self, taken: usize, now: Timestamp) -> Timestamp {
        let free = Timestamp::from_millis((self.after(taken) - Self::AHEAD_US / 2) / 1_000);
        // Of several parts the one that took something goes behind the others.
        free.max(now + SOON) + Duration::from_millis(u64::from(taken > 0))
    }
}

/// A delivery that a replay comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Met<E> {
    /// The pair by which it was met.
    pub(crate) at: (E, i64),
    pub(crate) event: E,
    /// The subscription that gets it.
    pub(crate) subscription: i64,
    pub(crate) taken: Taken,
}

/// Whether a replay takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is not among those that are chosen, or not for this part to take.
    Not,
    /// It is chosen, and left alone.
    Skipped,
    /// It becomes due again.
    Again,
}

/// What a part comes by: which of these pairs are chosen, which of them are its own to take, and which can go.
pub(crate) fn met_of<E: Copy + Eq + Hash>(
    walked: Vec<(E, i64, bool)>,
    to: Option<i64>,
    is_ours: impl Fn(i64) -> bool,
    free: &HashSet<(E, i64)>,
) -> Vec<Met<E>> {
    let mut last = None;
    walked
        .into_iter()
        .map(|(event, chosen, is_chosen)| {
            let subscription = to.unwrap_or(chosen);
            // Of several deliveries of an event one goes to whoever gets them all.
            let is_first = is_chosen && (to.is_none() || last.replace(event) != Some(event));
            Met {
                at: (event, chosen),
                event,
                subscription,
                taken: if !is_first || !is_ours(subscription) {
                    Taken::Not
                } else if free.contains(&(event, subscription)) {
                    Taken::Again
                } else {
                    Taken::Skipped
                },
            }
        })
        .collect()
}

/// What one step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step<E> {
    /// These become due, in this order.
    pub(crate) again: Vec<(E, i64)>,
    /// How many that are chosen it has come by.
    pub(crate) examined: u64,
    /// The last pair that it has come by.
    pub(crate) cursor: (E, i64),
    /// Subscriptions that go on by themselves, each after a pair.
    pub(crate) apart: Vec<(i64, (E, i64))>,
    /// Why it did not come further.
    pub(crate) waits: Option<Waits>,
    /// It met nothing at all.
    pub(crate) is_idle: bool,
}

/// What a replay waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Its rate.
    Pace,
    /// This subscription, which has enough for now.
    Room(i64),
}

/// What a step may do.
#[derive(Debug)]
pub(crate) struct Allowed<'a> {
    /// What those have that it meets.
    pub(crate) loads: &'a HashMap<i64, Load>,
    pub(crate) rate: Option<Rate>,
    /// By the rate.
    pub(crate) most: u32,
    /// There is nothing behind what it meets.
    pub(crate) is_through: bool,
    /// How many subscriptions may go on by themselves from here: none, where all that it takes is of one.
    pub(crate) apart: usize,
}

/// Goes along what it meets, from a pair on, as far as the pace and the rooms of subscriptions allow. One that has no room
/// goes on by itself, unless nobody else is to be met; then all of them wait.
pub(crate) fn step<E: Copy>(met: &[Met<E>], from: (E, i64), allowed: &Allowed<'_>) -> Step<E> {
    let load = |of: i64| allowed.loads.get(&of).copied().unwrap_or_default();
    let mut rooms: HashMap<i64, u32> = HashMap::new();
    let mut step = Step {
        again: Vec::new(),
        examined: 0,
        cursor: from,
        apart: Vec::new(),
        waits: None,
        is_idle: met.is_empty(),
    };
    // Those without room that nobody has passed yet, and where all was before the first of them.
    let mut full: Vec<(i64, (E, i64))> = Vec::new();
    let mut before = None;
    for one in met {
        let is_left = |(of, _): &(i64, _)| *of == one.subscription;
        match one.taken {
            _ if full.iter().chain(&step.apart).any(is_left) => {}
            Taken::Not => {}
            Taken::Skipped => step.examined += 1,
            Taken::Again if step.again.len() as u64 >= u64::from(allowed.most) => {
                step.waits = Some(Waits::Pace);
                break;
            }
            Taken::Again => {
                let room = rooms
                    .entry(one.subscription)
                    .or_insert_with(|| load(one.subscription).room(allowed.rate));
                if *room > 0 {
                    *room -= 1;
                    step.again.push((one.event, one.subscription));
                    step.examined += 1;
                    if full.len() + step.apart.len() <= allowed.apart {
                        step.apart.append(&mut full);
                        before = None;
                    }
                } else {
                    before.get_or_insert((step.examined, step.cursor, step.again.len()));
                    full.push((one.subscription, step.cursor));
                }
            }
        }
        step.cursor = one.at;
    }
    let Some((examined, cursor, again)) = before else {
        return step;
    };
    let may_part = full.len() + step.apart.len() <= allowed.apart;
    // At the end one alone waits where it is; of several each waits by itself, whatever becomes of the others.
    if may_part && (!allowed.is_through || full.len() > 1) {
        step.apart.append(&mut full);
        return step;
    }
    // What was taken behind one that cannot go on by itself would be lost to the cursor, or it to itself.
    (step.examined, step.cursor) = (examined, cursor);
    step.again.truncate(again);
    if step.waits.is_none() {
        let waits = full.iter().map(|(of, _)| *of);
        let is_open = |of: &i64| !load(*of).is_held && !load(*of).is_stuck(allowed.rate);
        let first = waits.clone().find(is_open).or(waits.clone().next());
        step.waits = first.map(Waits::Room);
    }
    step
}

/// The subscriptions that something is to be taken for.
pub(crate) fn wanted<E>(met: &[Met<E>]) -> impl Iterator<Item = i64> {
    met.iter()
        .filter(|one| one.taken == Taken::Again)
        .map(|one| one.subscription)
}

/// Until when a part waits after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Not before then.
    pub(crate) look_at: Timestamp,
    /// And until this one has room, if it is one that is waited for.
    pub(crate) waits_for: Option<i64>,
    /// Then it has at most so many that are due.
    pub(crate) enough: u32,
    /// What it has is not to be sent yet.
    pub(crate) is_stuck: bool,
}

impl Wait {
    pub(crate) fn of<E>(
        step: &Step<E>,
        loads: &HashMap<i64, Load>,
        rate: Option<Rate>,
        pace: Pace,
        missing: Option<i64>,
        now: Timestamp,
    ) -> Self {
        let wait = Self {
            look_at: now,
            waits_for: None,
            enough: 0,
            is_stuck: false,
        };
        match step.waits {
            // It met nothing, though there is more: what is to be known for that is not there yet.
            None if step.is_idle => Self {
                look_at: now + LATER,
                waits_for: missing,
                enough: u32::MAX,
                is_stuck: true,
            },
            None => wait,
            Some(Waits::Pace) => Self {
                look_at: pace.look_at(step.again.len(), now),
                ..wait
            },
            Some(Waits::Room(of)) => {
                let load = loads.get(&of).copied().unwrap_or_default();
                let is_stuck = load.is_stuck(rate);
                let later = load.is_held || is_stuck;
                Self {
                    look_at: now + if later { LATER } else { SOON },
                    waits_for: Some(of),
                    enough: load.enough(rate),
                    is_stuck,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_of_one_client_takes_of_that_client_alone() {
        let [ours, theirs] = [1, 2].map(|n| ClientId::from_uuid(uuid::Uuid::from_u128(n)));
        let saying = |client| DeliveryFilter {
            client,
            ..DeliveryFilter::default()
        };
        let lacking = SubscriptionId::from_uuid(uuid::Uuid::from_u128(7));
        let taken = |of: Option<ClientId>, choice: ReplayChoice| {
            let mut draft = ReplayDraft::new(choice);
            draft.client = of;
            narrowed(&draft)
                .map(|draft| draft.into_owned().choice)
                .map_err(|refused| refused.code)
        };
        let all = |client| ReplayChoice::Filter(saying(client));
        let missing = |client| ReplayChoice::Missing(lacking, saying(client));
        assert_eq!(ReplayDraft::new(all(Some(ours))).client, Some(ours));
        for (of, said, becomes) in [
            (None, None, Ok(None)),
            (None, Some(ours), Ok(Some(ours))),
            (Some(ours), None, Ok(Some(ours))),
            (Some(ours), Some(ours), Ok(Some(ours))),
            (Some(ours), Some(theirs), Err("bad_choice")),
        ] {
            assert_eq!(taken(of, all(said)), becomes.map(all));
        }
        for (of, said, becomes) in [
            (None, None, Ok(None)),
            (None, Some(ours), Err("bad_choice")),
            (Some(ours), None, Ok(None)),
            (Some(ours), Some(ours), Ok(None)),
            (Some(ours), Some(theirs), Err("bad_choice")),
        ] {
            assert_eq!(taken(of, missing(said)), becomes.map(missing));
        }
    }

    fn met(event: u32, subscription: i64) -> Met<u32> {
        Met {
            at: (event, subscription),
            event,
            subscription,
            taken: Taken::Again,
        }
    }

    const START: (u32, i64) = (0, 0);

    #[test]
    fn what_goes_to_another_one_goes_there_once() {
        let walked = vec![
            (1, 7, true),
            (1, 8, true),
            (2, 7, false),
            (2, 8, true),
            (3, 7, true),
        ];
        let free = [(1, 9), (2, 9)].into_iter().collect();
        let all = met_of(walked, Some(9), |_| true, &free);
        let taken: Vec<Taken> = all.iter().map(|one| one.taken).collect();
        assert_eq!(
            taken,
            [
                Taken::Again,
                Taken::Not,
                Taken::Not,
                Taken::Again,
                Taken::Skipped
            ]
        );
        let done = step(&all, START, &allowed(&loads(&[(9, 50)], &[])));
        assert_eq!(done.again, [(1, 9), (2, 9)]);
        assert_eq!((done.examined, done.cursor), (3, (3, 7)));
        // What was passed by of an event was not chosen.
        let walked = vec![(1, 7, false), (1, 8, true)];
        let all = met_of(walked, Some(9), |_| true, &free);
        assert_eq!([all[0].taken, all[1].taken], [Taken::Not, Taken::Again]);
    }

    /// Room for so many each, of a window of 64; what is held is said so.
    fn loads(of: &[(i64, u32)], held: &[i64]) -> HashMap<i64, Load> {
        of.iter()
            .map(|(of, room)| {
                let load = Load {
                    at_once: 1,
                    due: 64 - room,
                    all: 64 - room,
                    is_held: held.contains(of),
                };
                (*of, load)
            })
            .collect()
    }

    fn allowed(loads: &HashMap<i64, Load>) -> Allowed<'_> {
        Allowed {
            loads,
            rate: None,
            most: 500,
            is_through: true,
            apart: 8,
        }
    }

    #[test]
    fn what_has_room_is_taken_in_order() {
        let mut all = vec![met(1, 7), met(1, 8), met(2, 7)];
        all[1].taken = Taken::Skipped;
        let done = step(&all, START, &allowed(&loads(&[(7, 50)], &[])));
        assert_eq!(done.again, [(1, 7), (2, 7)]);
        assert_eq!((done.examined, done.cursor, done.waits), (3, (2, 7), None));
    }

    #[test]
    fn the_pace_stops_it_before_the_next() {
        let all = [met(1, 7), met(2, 7), met(3, 7)];
        let loads = loads(&[(7, 50)], &[]);
        let done = step(
            &all,
            START,
            &Allowed {
                most: 2,
                ..allowed(&loads)
            },
        );
        assert_eq!(done.again, [(1, 7), (2, 7)]);
        assert_eq!((done.cursor, done.waits), ((2, 7), Some(Waits::Pace)));
    }

    #[test]
    fn one_without_room_goes_on_by_itself_where_another_has() {
        let all = [met(1, 7), met(2, 8), met(3, 7), met(4, 8)];
        let loads = loads(&[(7, 0), (8, 50)], &[7]);
        let done = step(&all, (0, 9), &allowed(&loads));
        assert_eq!(done.again, [(2, 8), (4, 8)]);
        assert_eq!(done.apart, [(7, (0, 9))]);
        assert_eq!((done.examined, done.cursor, done.waits), (2, (4, 8), None));
    }

    #[test]
    fn one_without_room_goes_on_by_itself_where_somebody_may_come() {
        let all: Vec<Met<u32>> = (1..500).map(|n| met(n, 7)).collect();
        let loads = loads(&[(7, 20)], &[7]);
        let done = step(
            &all,
            START,
            &Allowed {
                is_through: false,
                ..allowed(&loads)
            },
        );
        assert_eq!(done.again.len(), 20);
        assert_eq!(done.apart, [(7, (20, 7))]);
        assert_eq!(
            (done.examined, done.cursor, done.waits),
            (20, (499, 7), None)
        );
        // Where nobody can, it waits where it is.
        let done = step(
            &all,
            START,
            &Allowed {
                is_through: false,
                apart: 0,
                ..allowed(&loads)
            },
        );
        assert_eq!((done.again.len(), done.apart.len()), (20, 0));
        assert_eq!((done.cursor, done.waits), ((20, 7), Some(Waits::Room(7))));
    }

    #[test]
    fn where_nobody_has_room_they_wait_for_one_that_is_not_held() {
        let mut all = vec![met(1, 7), met(2, 8), met(3, 9), met(4, 8), met(5, 7)];
        all[3].taken = Taken::Skipped;
        for (held, first) in [(vec![7, 9], 8), (vec![7, 8, 9], 7), (vec![], 7)] {
            let loads = loads(&[(7, 0), (8, 0), (9, 0)], &held);
            let done = step(&all, START, &allowed(&loads));
            let apart: Vec<i64> = done.apart.iter().map(|(of, _)| *of).collect();
            assert_eq!((apart, done.waits), (vec![7, 8, 9], None), "each by itself");
            let done = step(
                &all,
                START,
                &Allowed {
                    apart: 0,
                    ..allowed(&loads)
                },
            );
            assert_eq!((done.again.len(), done.apart.len()), (0, 0));
            assert_eq!(
                (done.examined, done.cursor, done.waits),
                (0, START, Some(Waits::Room(first)))
            );
        }
    }

    #[test]
    fn what_the_pace_stopped_waits_for_the_pace() {
        let all = [met(1, 8), met(2, 7), met(3, 8), met(4, 8)];
        let loads = loads(&[(7, 0), (8, 50)], &[7]);
        let done = step(
            &all,
            START,
            &Allowed {
                most: 1,
                ..allowed(&loads)
            },
        );
        assert_eq!(done.again, [(1, 8)]);
        assert_eq!((done.cursor, done.waits), ((1, 8), Some(Waits::Pace)));
    }

    #[test]
    fn nobody_passes_one_that_may_not_go_on_by_itself() {
        let all = [met(1, 7), met(2, 8), met(3, 9), met(4, 9)];
        let loads = loads(&[(7, 0), (8, 0), (9, 50)], &[]);
        let done = step(
            &all,
            START,
            &Allowed {
                apart: 1,
                ..allowed(&loads)
            },
        );
        assert_eq!((done.again.len(), done.apart.len()), (0, 0));
        assert_eq!((done.examined, done.cursor), (0, START));
    }

    #[test]
    fn rooms_are_few_enough_and_no_trickle() {
        let room = |at_once, due, all, rate: Option<&str>| {
            let load = Load {
                at_once,
                due,
                all,
                is_held: false,
            };
            let rate = rate.map(|rate| rate.parse().expect("a rate"));
            (load.room(rate), load.is_stuck(rate))
        };
        assert_eq!(room(16, 0, 0, None), (128, false));
        assert_eq!(room(1, 0, 0, None), (64, false));
        assert_eq!(room(1_000, 0, 0, None), (1_024, false));
        assert_eq!(room(1, 0, 0, Some("4000/s")), (1_000, false));
        assert_eq!(room(1, 0, 0, Some("5/h")), (64, false));
        assert_eq!(room(16, 96, 96, None), (32, false));
        assert_eq!(room(16, 97, 97, None), (0, false));
        assert_eq!(room(16, 0, 4_090, None), (0, true), "all of it waits");
        assert_eq!(room(16, 0, 4_000, None), (96, false));
        assert_eq!(room(16, 500, 9_999, None), (0, false));
    }

    #[test]
    fn a_rate_is_kept_evenly_whenever_it_is_looked_at() {
        let rate: Rate = "1000/s".parse().expect("a rate");
        let start = Timestamp::from_millis(1_000_000);
        let (mut now, mut paced) = (start, None);
        let mut due = Vec::new();
        for n in 0..400 {
            let pace = Pace::of(Some(rate), paced, now, 500);
            let taken = pace.most as usize;
            due.extend((0..taken).map(|place| pace.due_at(place, now)));
            paced = Some(pace.after(taken));
            let again = pace.look_at(taken, now);
            assert!(again > now && again <= now + Duration::from_millis(61));
            // Now and then it comes late.
            now = again + Duration::from_millis(if n % 50 == 0 { 300 } else { 3 });
        }
        assert!(due.is_sorted());
        let took = due[due.len() - 1].since(start).as_secs_f64();
        let rate = (due.len() - 1) as f64 / took;
        assert!((990.0..=1_010.0).contains(&rate), "{rate}");
    }

    #[test]
    fn what_fell_far_behind_is_not_made_up_for() {
        let rate: Rate = "100/s".parse().expect("a rate");
        let now = Timestamp::from_millis(90_000_000);
        let pace = Pace::of(Some(rate), Some(5), now, 500);
        assert_eq!(Pace::of(Some(rate), None, now, 500).most, 10);
        assert_eq!(pace.most, 60, "half a second's worth, and a little ahead");
        let slow: Rate = "5/h".parse().expect("a rate");
        let pace = Pace::of(Some(slow), None, now, 500);
        assert_eq!(pace.most, 1);
        let later = Pace::of(Some(slow), Some(pace.after(1)), now, 500);
        assert_eq!(later.most, 0);
        assert!(later.look_at(0, now) > now + Duration::from_secs(600));
    }
}
