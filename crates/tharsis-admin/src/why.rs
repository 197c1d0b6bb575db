//! To whom an event went, to whom not, and what its deliveries wait for: decided from what was read of it, and pure, so that
//! every reason can be read here.

use std::borrow::Cow;

use tharsis::{
    EventId, SubscriptionId, Timestamp,
    alert::is_own,
    delivery::{End, codes},
    filter::{Answer as Judged, Filter, Why},
    health::Condition,
    json,
    store::{
        ASIDE, Candidate, DeliveryDetail, EventRecord, KEPT, PARKED, Place, Shard, Status, Stop,
        StopState, Whereabouts,
    },
    subscription::{Held, State, Subscription, Unreadable},
};

use crate::{
    documents,
    text::{counted, in_shell, moment},
};

/// The answer to the question why.
#[derive(Debug)]
pub struct Answer {
    /// In one sentence.
    pub sentence: String,
    /// Of the event itself.
    pub findings: Vec<Finding>,
    /// Of each candidate, in their order.
    pub subscriptions: Vec<Said>,
}

/// What there is to say of a subscription.
#[derive(Debug)]
pub struct Said {
    /// The status of its delivery; `not_sent` where there is none, `not_routed` where there is none yet.
    pub status: &'static str,
    /// What says why: the first counts before all others.
    pub findings: Vec<Finding>,
    /// What comes next.
    pub next: Next,
}

/// There is no delivery, and will be none.
const NOT_SENT: &str = "not_sent";

/// There is none yet.
const NOT_ROUTED: &str = "not_routed";

/// One reason, and what to do about it.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Stable.
    pub code: Cow<'static, str>,
    /// Lower case, without a full stop.
    pub sentence: String,
    /// What to do, in words.
    pub hint: Option<String>,
    /// What to run next.
    pub command: Option<String>,
}

impl Finding {
    fn new(code: impl Into<Cow<'static, str>>, sentence: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            sentence: sentence.into(),
            hint: None,
            command: None,
        }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    fn run(self, command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..self
        }
    }
}

/// What comes next of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// An attempt then, or as soon as its turn comes.
    Attempt(Timestamp),
    /// The receiver is probed then, with this delivery or another.
    Probe(Option<Timestamp>),
    /// Nothing, until somebody lets it go.
    Release,
    /// An attempt, once that of this event is through.
    After(Option<EventId>),
    /// It is decided whether there is one.
    Routing,
    /// It ends without a request, when its turn comes.
    End,
    /// Nothing any more.
    Never,
}

/// What a recorded code means.
pub fn meaning(code: &str) -> Option<&'static str> {
    codes::find(code).map(|code| code.meaning)
}

/// Answers from what was read.
pub fn judge(whereabouts: &Whereabouts) -> Answer {
    let findings = of_event(whereabouts);
    let of_one = |candidate| of_candidate(whereabouts, candidate);
    let subscriptions: Vec<Said> = whereabouts.candidates.iter().map(of_one).collect();
    Answer {
        sentence: sentence(whereabouts, &findings, &subscriptions),
        findings,
        subscriptions,
    }
}

/// What keeps it from everybody.
fn of_event(whereabouts: &Whereabouts) -> Vec<Finding> {
    let Whereabouts { now, event, .. } = whereabouts;
    let mut findings = Vec::new();
    if let Some(refusal) = &event.refused {
        let fault = documents::refusal(refusal);
        findings.push(
            Finding::new(
                refusal.code.clone(),
                format!("its payload could not be frozen: {}", fault.sentence()),
            )
            .hint("publish it again, corrected and under a key of its own"),
        );
    } else if !event.routed {
        let is_owned = whereabouts.owned.contains(Shard::of_client(event.client));
        findings.push(if is_owned {
            Finding::new(
                "not_routed",
                format!(
                    "a worker is about to route it; it was published {}",
                    moment(event.published_at, *now)
                ),
            )
            .run("tharsis worker list")
        } else {
            no_worker("no worker owns its client's events now")
        });
    } else if whereabouts.candidates.is_empty() {
        findings.push(
            Finding::new("no_subscription", "its client has no subscription").run(format!(
                "tharsis subscription add --client {} --name NAME --url URL",
                event.client
            )),
        );
    }
    findings
}

fn no_worker(sentence: &str) -> Finding {
    Finding::new("no_worker", sentence)
        .hint("start a worker, or wait until another one has taken over")
        .run("tharsis run")
}

fn of_candidate(whereabouts: &Whereabouts, candidate: &Candidate) -> Said {
    let facts = Facts {
        whereabouts,
        candidate,
    };
    match (&candidate.delivery, candidate.place) {
        (Some(delivery), Some(place)) => facts.unfinished(delivery, place),
        (Some(delivery), None) => facts.ended(delivery),
        (None, _) => facts.not_sent(),
    }
}

/// What is known of an event and of a subscription.
struct Facts<'a> {
    whereabouts: &'a Whereabouts,
    candidate: &'a Candidate,
}

impl Facts<'_> {
    fn event(&self) -> &EventRecord {
        &self.whereabouts.event
    }

    fn moment(&self, at: Timestamp) -> String {
        moment(at, self.whereabouts.now)
    }

    fn id(&self) -> SubscriptionId {
        self.candidate.id
    }

    /// Its name, as commands take it.
    fn delivery_id(&self) -> String {
        format!("{}/{}", self.event().id, self.id())
    }

    /// Why there is no delivery: all reasons that there are.
    fn not_sent(&self) -> Said {
        let event = self.event();
        let findings = self.reasons();
        if event.refused.is_some() {
            return Said {
                status: NOT_SENT,
                findings: vec![Finding::new(
                    "refused",
                    "the event was refused, and goes to nobody",
                )],
                next: Next::Never,
            };
        }
        match (event.routed, findings.is_empty()) {
            (_, false) => Said {
                status: NOT_SENT,
                findings,
                next: Next::Never,
            },
            (false, true) => Said {
                status: NOT_ROUTED,
                findings: vec![Finding::new(
                    "would_get_it",
                    "as it is today it gets the event once that is routed",
                )],
                next: Next::Routing,
            },
            (true, true) => Said {
                status: NOT_SENT,
                findings: vec![self.unexplained()],
                next: Next::Never,
            },
        }
    }

    /// In the order in which routing asks.
    fn reasons(&self) -> Vec<Finding> {
        let event = self.event();
        if let Some(at) = self.candidate.removed_at {
            let removed = format!(
                "it was removed {}, and had got nothing of it",
                self.moment(at)
            );
            return vec![Finding::new("removed", removed)];
        }
        let Some(subscription) = &self.candidate.subscription else {
            return Vec::new();
        };
        let settings = &subscription.settings;
        if settings.client != event.client {
            let other = format!(
                "it is of another client, {}, and gets the events of that one alone",
                settings.client
            );
            return vec![Finding::new("other_client", other)];
        }
        if is_own(&event.event_type) && event.recipient == Some(self.id().to_string()) {
            let about = "the event tells of it, and whom an event of ours is about is not sent it";
            return vec![Finding::new("about_itself", about)];
        }
        let mut reasons = Vec::new();
        if event.routed && subscription.created_at > event.published_at {
            reasons.push(Finding::new(
                "added_later",
                format!(
                    "it was added {}, after the event was published {}",
                    self.moment(subscription.created_at),
                    self.moment(event.published_at)
                ),
            ));
        }
        if !settings.wants_type(&event.event_type) {
            reasons.push(self.other_type(subscription));
        } else if let Some(filter) = &settings.filter {
            reasons.extend(self.filtered(filter));
        }
        if !reasons.is_empty()
            && subscription.updated_at > event.published_at.max(subscription.created_at)
        {
            reasons.push(Finding::new(
                "changed_since",
                format!(
                    "it was changed {}, after the event was published: this is of how it is today",
                    self.moment(subscription.updated_at)
                ),
            ));
        }
        reasons
    }

    fn other_type(&self, subscription: &Subscription) -> Finding {
        let settings = &subscription.settings;
        let wants = if settings.events.is_empty() {
            format!("all that the profile {} has", settings.profile.name)
        } else {
            let events: Vec<&str> = settings.events.iter().map(|event| event.as_str()).collect();
            events.join(", ")
        };
        Finding::new(
            "wants_other_types",
            format!(
                "it does not want events of the type {}, but {wants}",
                self.event().event_type
            ),
        )
        .run(format!("tharsis subscription show {}", self.id()))
    }

    /// Why its filter does not let the event through, if it does not.
    fn filtered(&self, filter: &Filter) -> Option<Finding> {
        let Ok(payload) = json::parse(&self.event().payload) else {
            return Some(Finding::new(
                "payload_unreadable",
                "the payload is no JSON, so its filter cannot be asked",
            ));
        };
        let finding = match filter.wants(&payload) {
            Judged::Yes => return None,
            Judged::No => Finding::new(
                "filter_false",
                format!("its filter is false of it: {}", filter.text()),
            ),
            Judged::CannotTell(why) => Finding::new(
                why.code(),
                match part(filter, why) {
                    Some(part) => format!("its filter cannot be told of it: {why}, at `{part}`"),
                    None => format!("its filter cannot be told of it: {why}"),
                },
            ),
        };
        Some(finding.run(format!(
            "tharsis subscription filter-test --subscription {} --event {}",
            self.id(),
            self.event().id
        )))
    }

    /// It would get it today.
    fn unexplained(&self) -> Finding {
        let changed = self
            .candidate
            .subscription
            .as_ref()
            .map(|one| one.updated_at);
        match changed.filter(|at| *at > self.event().published_at) {
            Some(at) => Finding::new(
                "changed_since",
                format!(
                    "as it is today it would get it; it was changed {}, after the event was published",
                    self.moment(at)
                ),
            ),
            None => Finding::new(
                "unexplained",
                "as it is today it would get it, and nothing on record says why it did not",
            )
            .hint("the worker that routed it may have known another tharsis.toml: its profiles say which types there are"),
        }
    }

    /// How it ended.
    fn ended(&self, delivery: &DeliveryDetail) -> Said {
        let status = delivery.row.status.as_str();
        let code = delivery
            .row
            .code
            .clone()
            .unwrap_or_else(|| status.to_owned());
        let known = codes::find(&code);
        let meaning = known.map_or_else(|| code.clone(), |known| known.meaning.to_owned());
        let at = delivery.row.last_at.unwrap_or(delivery.row.published_at);
        let at = self.moment(at);
        let is_delivered = delivery.row.status == Status::Ended(End::Delivered);
        let sentence = if is_delivered {
            let number = delivery.row.attempts;
            format!("the receiver took it {at}, with attempt {number}")
        } else {
            format!("{meaning} ({code}), {at}")
        };
        let mut finding = Finding::new(code, sentence);
        if !is_delivered {
            if let Some(known) = known.filter(|known| known.advice != "nothing") {
                finding = finding.hint(known.advice);
            }
            let may_go_again = matches!(
                delivery.row.status,
                Status::Ended(End::Dead | End::Cancelled)
            ) && self.candidate.removed_at.is_none()
                && !self.is_expired();
            if may_go_again {
                finding = finding.run(format!("tharsis replay {}", self.delivery_id()));
            }
        }
        Said {
            status,
            findings: vec![finding],
            next: Next::Never,
        }
    }

    fn is_expired(&self) -> bool {
        let expires_at = self.event().expires_at;
        expires_at.is_some_and(|at| at <= self.whereabouts.now)
    }

    /// What holds it, what holds it more before what holds it less, and what comes next once the first does not.
    fn unfinished(&self, delivery: &DeliveryDetail, place: Place) -> Said {
        let due_at = delivery.row.due_at.unwrap_or(self.whereabouts.now);
        let mut holds: Vec<(Finding, Next)> = Vec::new();
        holds.extend(self.about_to_end());
        holds.extend(self.stopped(place));
        holds.extend(self.state());
        holds.extend(self.breaker());
        holds.extend(self.in_order(place));
        holds.extend(self.not_before(due_at));
        holds.extend(self.unowned(due_at));
        if holds.iter().all(|(finding, _)| finding.code == "no_worker") {
            holds.extend(self.waits(due_at, place));
        }
        let next = holds
            .first()
            .map_or(Next::Attempt(due_at), |(_, next)| *next);
        Said {
            status: delivery.row.status.as_str(),
            findings: holds.into_iter().map(|(finding, _)| finding).collect(),
            next,
        }
    }

    /// It is never sent any more, though its row is there.
    fn about_to_end(&self) -> Option<(Finding, Next)> {
        if let Some(at) = self.candidate.removed_at {
            let sentence = format!(
                "its subscription was removed {}: it is ended `cancelled`",
                self.moment(at)
            );
            return Some((
                Finding::new(codes::SUBSCRIPTION_REMOVED, sentence),
                Next::End,
            ));
        }
        let expires_at = self.event().expires_at.filter(|_| self.is_expired())?;
        let sentence = format!("its event expired {}", self.moment(expires_at));
        let hint = "publish sooner, or with a later expiry";
        Some((Finding::new(codes::EXPIRED, sentence).hint(hint), Next::End))
    }

    /// The stop of a campaign.
    fn stopped(&self, place: Place) -> Option<(Finding, Next)> {
        let of_state = |state| {
            let mut stops = self.whereabouts.stops.iter();
            stops.find(|stop| stop.state == state)
        };
        if let Some(stop) = of_state(StopState::Cancelled) {
            let sentence = format!(
                "{} is cancelled since {}",
                whose(stop),
                self.moment(stop.since)
            );
            let finding = Finding::new(codes::CAMPAIGN_CANCELLED, sentence).run(resume(stop));
            return Some((finding, Next::End));
        }
        if let Some(stop) = of_state(StopState::Paused) {
            let sentence = format!(
                "{} is paused since {}",
                whose(stop),
                self.moment(stop.since)
            );
            let finding = Finding::new("campaign_paused", sentence).run(resume(stop));
            return Some((finding, Next::Release));
        }
        (place.lane == ASIDE).then(|| {
            let sentence = "its campaign was resumed, and the owner is about to let it go";
            (Finding::new("campaign_resumed", sentence), Next::Release)
        })
    }

    /// What an admin, or we, hold.
    fn state(&self) -> Option<(Finding, Next)> {
        let subscription = self.candidate.subscription.as_ref()?;
        let since = (self.candidate.held_since)
            .map_or_else(String::new, |at| format!(" since {}", self.moment(at)));
        let resume = format!("tharsis subscription resume {}", self.id());
        let finding = match (&subscription.state, subscription.resuming) {
            (_, Some(held)) => Finding::new("resuming", resuming(held)),
            (State::Active, None) => return None,
            (State::Paused, None) => {
                Finding::new("paused", format!("its subscription is paused{since}")).run(resume)
            }
            (State::Suspended { reason }, None) => {
                let (what, hint) = suspended(reason);
                let finding = Finding::new(
                    "suspended",
                    format!("its subscription is suspended{since} ({reason}): {what}"),
                )
                .hint(hint);
                if Unreadable::parse(reason).is_some() {
                    finding
                } else {
                    finding.run(resume)
                }
            }
        };
        Some((finding, Next::Release))
    }

    fn breaker(&self) -> Option<(Finding, Next)> {
        let health = &self.candidate.subscription.as_ref()?.health;
        let cause = health.cause.as_deref().unwrap_or("an unknown outcome");
        match health.condition {
            Condition::Open => {
                let since = health
                    .since
                    .map_or_else(String::new, |at| format!(" since {}", self.moment(at)));
                let sentence = format!(
                    "the breaker of its subscription is open{since}: the receiver fails, with {cause}"
                );
                let finding = Finding::new("breaker_open", sentence)
                    .hint("mend the receiver; resuming probes it at once")
                    .run(format!("tharsis subscription resume {}", self.id()));
                Some((finding, Next::Probe(health.probe_at)))
            }
            Condition::HalfOpen => {
                let sentence = "the receiver is about to be probed with one delivery, and the rest waits for that";
                let finding = Finding::new("half_open", sentence)
                    .run(format!("tharsis subscription health {}", self.id()));
                Some((finding, Next::Probe(None)))
            }
            Condition::Healthy | Condition::Throttled | Condition::Suspended => None,
        }
    }

    /// What goes before it.
    fn in_order(&self, place: Place) -> Option<(Finding, Next)> {
        if place.lane == KEPT {
            let sentence = "its retries are used up, and it is kept, so that those after it wait (--on-dead hold)";
            let id = self.delivery_id();
            let finding = Finding::new("kept", sentence)
                .hint(format!(
                    "or end it, and the next goes: tharsis delivery cancel {id}"
                ))
                .run(format!("tharsis delivery retry {id}"));
            return Some((finding, Next::Release));
        }
        let order = self
            .candidate
            .subscription
            .as_ref()
            .and_then(|one| one.settings.order.as_ref());
        let by = order.map_or_else(String::new, |order| format!(" ({})", order.by));
        if let Some(behind) = place.behind {
            let sentence =
                format!("it goes in order{by}, after that of {behind}, which is not through yet");
            let finding = Finding::new("in_order", sentence)
                .run(format!("tharsis why {behind} --subscription {}", self.id()));
            return Some((finding, Next::After(Some(behind))));
        }
        (place.lane == PARKED).then(|| {
            let sentence = format!("it goes in order{by}, and the owner is about to let it go");
            (Finding::new("in_order", sentence), Next::After(None))
        })
    }

    fn not_before(&self, due_at: Timestamp) -> Option<(Finding, Next)> {
        let at = self
            .event()
            .not_before
            .filter(|at| *at > self.whereabouts.now)?;
        let sentence = format!("its event is not to be sent before {}", self.moment(at));
        Some((
            Finding::new("not_before", sentence),
            Next::Attempt(due_at.max(at)),
        ))
    }

    fn unowned(&self, due_at: Timestamp) -> Option<(Finding, Next)> {
        let shard = Shard::of_subscription(self.id());
        let is_owned = self.whereabouts.owned.contains(shard);
        (!is_owned).then(|| {
            let finding = no_worker("no worker owns deliveries to it now");
            (finding, Next::Attempt(due_at))
        })
    }

    /// It waits for its time, or for its turn.
    fn waits(&self, due_at: Timestamp, place: Place) -> Vec<(Finding, Next)> {
        let next = Next::Attempt(due_at);
        let settings = self
            .candidate
            .subscription
            .as_ref()
            .map(|one| &one.settings);
        if due_at > self.whereabouts.now {
            let at = self.moment(due_at);
            let of = settings.map_or(0, |settings| settings.retry.delays().len());
            let finding = match place.tries {
                0 => Finding::new("scheduled", format!("it is due {at}")),
                tries => Finding::new(
                    "waits_for_retry",
                    format!("retry {tries} of {of} is due {at}"),
                )
                .hint("it need not wait, if the receiver is back")
                .run(format!("tharsis delivery retry {}", self.delivery_id())),
            };
            return vec![(finding, next)];
        }
        let due = Finding::new(
            "due",
            format!(
                "it is due since {}, in line or under way",
                self.moment(due_at)
            ),
        )
        .run(format!("tharsis subscription health {}", self.id()));
        let mut findings = vec![(due, next)];
        let Some(subscription) = &self.candidate.subscription else {
            return findings;
        };
        let settings = &subscription.settings;
        let mut limit = |code: &'static str, sentence: String| {
            findings.push((Finding::new(code, sentence), next));
        };
        if let Some(rate) = settings.rate {
            limit(
                "rate",
                format!("its subscription takes {rate}, evenly spaced"),
            );
        }
        if subscription.health.condition == Condition::Throttled {
            limit(
                "throttled",
                "the receiver has too much to do, and gets fewer requests at once".to_owned(),
            );
        }
        if let Some(order) = &settings.order {
            limit(
                "order",
                format!(
                    "its subscription goes in order ({}): what is in line before it goes first",
                    order.by
                ),
            );
        }
        findings
    }
}

/// The text of a filter where it could not be told, some of it.
fn part(filter: &Filter, why: Why) -> Option<String> {
    const MOST: usize = 40;
    let column = match why {
        Why::Missing { column } | Why::TypeMismatch { column } => column,
        Why::TooCostly => return None,
    };
    let rest = filter.text().chars().skip(column.saturating_sub(1));
    let part: String = rest.clone().take(MOST).collect();
    let is_cut = rest.count() > MOST;
    Some(if is_cut { format!("{part} …") } else { part })
}

fn whose(stop: &Stop) -> &'static str {
    match stop.campaign.recipient {
        Some(_) => "its recipient in the campaign",
        None => "its campaign",
    }
}

fn resume(stop: &Stop) -> String {
    let of = &stop.campaign;
    let mut command = format!(
        "tharsis campaign resume {} --client {}",
        in_shell(&of.name),
        of.client
    );
    if let Some(recipient) = &of.recipient {
        command.push_str(&format!(" --recipient {}", in_shell(recipient)));
    }
    command
}

fn resuming(held: Held) -> &'static str {
    match held {
        Held::Latest => {
            "its subscription is about to go on with the latest for each recipient alone, and the owner ends the others first"
        }
        Held::All | Held::None => {
            "its subscription is about to go on without what was held, which the owner ends first"
        }
    }
}

/// Why a subscription is suspended, and what to do.
fn suspended(reason: &str) -> (&'static str, &'static str) {
    match reason {
        "http_410" => (
            "the receiver said that it is gone for good",
            "correct the URL, or remove the subscription",
        ),
        "failing" => (
            "the receiver has failed for too long",
            "mend the receiver, then resume the subscription",
        ),
        _ => Unreadable::parse(reason).map_or(
            ("see its reason", "look at tharsis subscription health"),
            |unreadable| (unreadable.meaning(), unreadable.advice()),
        ),
    }
}

/// The answer in one sentence.
fn sentence(whereabouts: &Whereabouts, findings: &[Finding], subscriptions: &[Said]) -> String {
    let event = &whereabouts.event;
    if let (Some(finding), true) = (findings.first(), event.refused.is_some()) {
        return format!("It was refused, and goes to nobody: {}.", finding.sentence);
    }
    match (subscriptions, findings.first()) {
        (_, Some(finding)) if !event.routed => {
            format!("It is not routed yet: {}.", finding.sentence)
        }
        ([], Some(finding)) => format!("It went to nobody: {}.", finding.sentence),
        ([], None) => "It went to nobody.".to_owned(),
        ([said], _) => {
            let name = &whereabouts.candidates[0].name;
            let why = said
                .findings
                .first()
                .map_or_else(String::new, |why| format!(": {}", why.sentence));
            format!("{}{why}.", of_one(said.status, name))
        }
        (all, _) => of_several(all),
    }
}

fn of_one(status: &str, name: &str) -> String {
    match status {
        NOT_SENT => format!("It did not go to {name}"),
        NOT_ROUTED => format!("It is not routed to {name} yet"),
        "pending" => format!("It waits to be sent to {name}"),
        "retrying" => format!("It waits to be sent to {name} again"),
        "held" => format!("It is held for {name}"),
        "dead" => format!("It was given up for {name}"),
        "expired" => format!("It has expired for {name}"),
        "cancelled" => format!("It was cancelled for {name}"),
        "refused" => format!("It could not be sent to {name}"),
        _ => format!("It was delivered to {name}"),
    }
}

/// So many in each status, in the order in which they come.
fn of_several(all: &[Said]) -> String {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for said in all.iter().filter(|said| said.status != NOT_SENT) {
        match counts.iter_mut().find(|(status, _)| *status == said.status) {
            Some((_, count)) => *count += 1,
            None => counts.push((said.status, 1)),
        }
    }
    let went: u64 = counts.iter().map(|(_, count)| count).sum();
    let of = counted(
        u64::try_from(all.len()).unwrap_or(u64::MAX),
        "subscription",
        "subscriptions",
    );
    if went == 0 {
        return format!("It went to none of the {of} of its client.");
    }
    let counts: Vec<String> = (counts.iter())
        .map(|(status, count)| format!("{count} {}", status.replace('_', " ")))
        .collect();
    format!(
        "It went to {went} of the {of} of its client: {}.",
        counts.join(", ")
    )
}

#[cfg(test)]
mod tests;
