//! What a replay would do, before it does.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tharsis::{
    DeliveryId, Invalid, Registry, SubscriptionId, Timestamp,
    delivery::End,
    rate::Rate,
    store::{
        DeliveryFilter, DeliveryRow, ReplayChoice, ReplayDraft, ReplayKey, Status, StoreError,
    },
    subscription::State,
    text::inert,
};

use crate::{
    search,
    text::{count, counted},
};

/// What a replay would take.
#[derive(Debug)]
pub struct Preview {
    /// At most so many: by a filter, those are found too whose event has expired since or whose subscription is gone.
    pub count: u64,
    /// By the state in which they ended; empty where they were named, and looked at one by one.
    pub ends: Vec<(End, u64)>,
    /// By the subscription that gets them, most first.
    pub subscriptions: Vec<Share>,
    /// Some of them.
    pub sample: Vec<DeliveryId>,
    /// Whether it ended before all was looked at: then `count` is what was found so far.
    pub may_be_more: bool,
    key: ReplayKey,
    /// Where it all goes in place of their own URLs.
    to: Option<String>,
    rate: Option<Rate>,
    /// Whether some may be left alone.
    is_at_most: bool,
}

/// What a subscription would get.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Which.
    pub id: SubscriptionId,
    /// Its name.
    pub name: String,
    /// At most so many.
    pub count: u64,
    /// No faster than one in so long.
    interval: Duration,
    /// How long its last requests took, where there were some.
    each: Option<Duration>,
    at_once: u32,
}

/// The ends after which there can be another try. What has expired or was refused is always skipped.
const ENDS: [End; 3] = [End::Delivered, End::Dead, End::Cancelled];

/// So many subscriptions are asked how long their requests take, those that get most; and people are told so many.
pub const ASKED: usize = 8;

/// So many deliveries are shown, and looked at for how long their requests took.
const SAMPLE: u32 = 5;

/// How long it is looked for deliveries whose requests tell how long others take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same, where not all is looked at.
const HASTE: Duration = Duration::from_millis(50);

/// Says at once of a delivery that is named what the owner would only skip.
///
/// # Errors
/// `unfinished`, `refused`, `expired`; `subscription_suspended` where it goes to its own subscription; when the database
/// fails.
pub async fn check(
    registry: &impl Registry,
    row: &DeliveryRow,
    now: Timestamp,
    goes_to_its_own: bool,
) -> Result<(), StoreError> {
    let id = row.id;
    if !matches!(row.status, Status::Ended(_)) {
        return Err(Invalid::new("unfinished", format!("{id} has not ended"))
            .hint(format!("make it due now with: tharsis delivery retry {id}"))
            .into());
    }
    if row.status == Status::Ended(End::Refused) {
        return Err(Invalid::new("refused", format!("{id} was refused"))
            .hint("what could not be sent as it is cannot be sent now; publish a corrected event")
            .into());
    }
    let expires_at = registry.event(id.event).await?.expires_at;
    if expires_at.is_some_and(|at| at <= now) {
        return Err(
            Invalid::new("expired", format!("the event of {id} has expired"))
                .hint("nothing goes out after an event's expiry")
                .into(),
        );
    }
    if !goes_to_its_own {
        return Ok(());
    }
    if let State::Suspended { reason } = registry.find(id.subscription).await?.state {
        return Err(Invalid::new(
            "subscription_suspended",
            format!("the subscription of {id} is suspended: {reason}"),
        )
        .hint(format!(
            "resume it first: tharsis subscription resume {}",
            id.subscription
        ))
        .into());
    }
    Ok(())
}

/// Counts what a replay would take; `to` is where it all goes in place of their own URLs. It goes through all that can match,
/// and then looks for a few seconds how long requests took; or it looks at so many (`looked`) of each end, and for a moment.
///
/// # Errors
/// `bad_choice` as [`Registry::replay`]; when the database fails.
pub async fn preview(
    registry: &impl Registry,
    draft: &ReplayDraft,
    to: Option<&str>,
    looked: Option<usize>,
) -> Result<Preview, StoreError> {
    let choice = within_client(draft);
    let mut tallies = Vec::new();
    let mut may_be_more = false;
    let mut counts: BTreeMap<SubscriptionId, u64> = BTreeMap::new();
    match &choice {
        ReplayChoice::Filter(filter) => {
            for end in ENDS {
                let status = Status::Ended(end);
                if !filter.status.is_empty() && !filter.status.contains(&status) {
                    continue;
                }
                let mut filter = filter.clone();
                filter.status = vec![status];
                let of_end = ReplayChoice::Filter(filter);
                let tally = registry.tally(&of_end, looked).await?;
                for (id, count) in &tally.counts {
                    *counts.entry(*id).or_default() += count;
                }
                tallies.push((end, tally.counts));
                // How many there are is not known any more, whatever the others are.
                if tally.may_be_more {
                    may_be_more = true;
                    break;
                }
            }
        }
        choice => {
            let tally = registry.tally(choice, looked).await?;
            counts.extend(tally.counts);
            may_be_more = tally.may_be_more;
        }
    }
    let mut counts: Vec<(SubscriptionId, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
    let mut subscriptions: Vec<Share> = Vec::new();
    let mut elsewhere = 0;
    let mut sample = Vec::new();
    let began = Instant::now();
    let patience = looked.map_or(PATIENCE, |_| HASTE);
    for (place, (id, count)) in counts.into_iter().enumerate() {
        let found = match registry.find(id).await {
            Ok(found) => found,
            // It was removed: nothing goes there, and elsewhere only what was its own.
            Err(StoreError::NotFound { .. }) if to.is_none() => continue,
            Err(StoreError::NotFound { .. }) => {
                elsewhere += count;
                continue;
            }
            Err(error) => return Err(error),
        };
        let settings = &found.settings;
        let rest = patience.saturating_sub(began.elapsed());
        let each = if place < ASKED && (place == 0 || looked.is_none() || !rest.is_zero()) {
            let last = last_of(registry, &choice, id, rest, &mut sample).await?;
            (!last.is_empty()).then(|| last.iter().sum::<Duration>() / last.len() as u32)
        } else {
            None
        };
        subscriptions.push(Share {
            id,
            name: settings.name.clone(),
            count,
            interval: settings.rate.map_or(Duration::ZERO, Rate::interval),
            each,
            at_once: settings.max_in_flight,
        });
    }
    let goes = |id: SubscriptionId| to.is_some() || subscriptions.iter().any(|s| s.id == id);
    let ends = tallies.into_iter().map(|(end, tally)| {
        let counts = tally.iter().filter(|(id, _)| goes(*id));
        (end, counts.map(|(_, count)| count).sum::<u64>())
    });
    let ends = ends.filter(|(_, count)| *count > 0).collect();
    let is_at_most = !matches!(choice, ReplayChoice::Deliveries(_));
    if let ReplayChoice::Deliveries(ids) = choice {
        sample = ids;
    }
    sample.truncate(SAMPLE as usize);
    Ok(Preview {
        count: elsewhere + subscriptions.iter().map(|share| share.count).sum::<u64>(),
        to: to.map(ToOwned::to_owned),
        ends,
        subscriptions,
        sample,
        may_be_more,
        key: draft.key,
        rate: draft.rate,
        is_at_most,
    })
}

/// What is chosen, of the one client that the replay is of.
fn within_client(draft: &ReplayDraft) -> ReplayChoice {
    match (draft.client, draft.choice.clone()) {
        (Some(client), ReplayChoice::Filter(mut filter)) => {
            filter.client = Some(client);
            ReplayChoice::Filter(filter)
        }
        (_, choice) => choice,
    }
}

/// How long the last requests of a subscription took, of those that would be sent again.
async fn last_of(
    registry: &impl Registry,
    choice: &ReplayChoice,
    id: SubscriptionId,
    patience: Duration,
    sample: &mut Vec<DeliveryId>,
) -> Result<Vec<Duration>, StoreError> {
    let mut filter = match choice {
        ReplayChoice::Filter(filter) => filter.clone(),
        _ => DeliveryFilter::default(),
    };
    filter.subscription = vec![id];
    let ends = ENDS.map(Status::Ended).into_iter();
    filter.status = ends
        .filter(|end| filter.status.is_empty() || filter.status.contains(end))
        .collect();
    let page = search::deliveries(registry, &filter, None, SAMPLE, patience).await?;
    let mut took = Vec::new();
    for row in page.items {
        let attempts = registry.delivery(row.id).await?.attempts;
        took.extend(attempts.last().map(|last| last.attempt.duration));
        if matches!(choice, ReplayChoice::Filter(_)) {
            sample.push(row.id);
        }
    }
    Ok(took)
}

impl Preview {
    /// Whether it is to be done, asked of people.
    pub fn question(&self) -> String {
        format!(
            "Send {} {}{}?{}",
            self.number(),
            self.again(),
            self.under(),
            {
                let mut said = Vec::new();
                said.extend(self.about());
                said.extend(self.exception().map(ToOwned::to_owned));
                if said.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", said.join("; "))
                }
            }
        )
    }

    /// What it would do, in one sentence.
    pub fn answer(&self) -> String {
        let number = self.number();
        let mut shown = number.chars();
        let first = shown.next().map(|c| c.to_ascii_uppercase());
        let mut said = vec![format!(
            "{}{} would be sent {}{}",
            first.into_iter().collect::<String>(),
            shown.as_str(),
            self.again(),
            self.under()
        )];
        said.extend(
            self.may_be_more
                .then(|| "not all of them were looked at".to_owned()),
        );
        said.extend(self.exception().map(ToOwned::to_owned));
        said.extend(self.about().map(|about| format!("it would take {about}")));
        format!("{}.", said.join("; "))
    }

    fn again(&self) -> String {
        match &self.to {
            Some(to) => format!("to {}", inert(to)),
            None => "again".to_owned(),
        }
    }

    fn under(&self) -> &'static str {
        match self.key {
            ReplayKey::Same => "",
            ReplayKey::Fresh => " under a key that receivers have not had",
        }
    }

    fn exception(&self) -> Option<&'static str> {
        (self.is_at_most && self.count > 0).then_some("those whose event has expired are skipped")
    }

    fn number(&self) -> String {
        let all = counted(self.count, "delivery", "deliveries");
        if self.may_be_more {
            return match self.count {
                0 => "an unknown number of deliveries".to_owned(),
                _ => format!("more than {all}"),
            };
        }
        if !self.is_at_most || self.count == 0 {
            return all;
        }
        let ends: Vec<_> = self
            .ends
            .iter()
            .map(|(end, n)| format!("{} {}", count(*n), end.as_str()))
            .collect();
        if ends.is_empty() {
            return format!("up to {all}");
        }
        format!("up to {all} ({})", ends.join(", "))
    }

    /// At least so long, where that can be said.
    pub fn takes(&self) -> Option<Duration> {
        if self.may_be_more {
            return None;
        }
        estimate(&self.subscriptions, self.rate, self.count)
    }

    fn about(&self) -> Option<String> {
        self.takes().map(about)
    }
}

/// How long it would take at least: as long as the slowest subscription, and as the rate says. Nothing is said where nobody
/// knows how long a request takes.
fn estimate(shares: &[Share], rate: Option<Rate>, count: u64) -> Option<Duration> {
    let of = |share: &Share| {
        let each = share.each? / share.at_once.max(1);
        Some(times(each.max(share.interval), share.count))
    };
    let slowest = shares.iter().map(of).collect::<Option<Vec<_>>>()?;
    let slowest = slowest.into_iter().max()?;
    let paced = rate.map_or(Duration::ZERO, |rate| times(rate.interval(), count));
    Some(slowest.max(paced))
}

fn times(each: Duration, count: u64) -> Duration {
    let nanos = each.as_nanos().saturating_mul(u128::from(count));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn about(span: Duration) -> String {
    match span.as_secs() {
        0..2 => "a moment".to_owned(),
        s @ 2..120 => format!("about {s} s"),
        s @ 120..7_200 => format!("about {} min", s / 60),
        s => format!("about {} h", s / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(count: u64, each_ms: Option<u64>, interval_ms: u64) -> Share {
        Share {
            id: "019b2f70-91d2-7b35-8f06-3f1c5d0a7e42"
                .parse()
                .expect("an id"),
            name: "Shop".to_owned(),
            count,
            interval: Duration::from_millis(interval_ms),
            each: each_ms.map(Duration::from_millis),
            at_once: 16,
        }
    }

    #[test]
    fn a_preview_promises_no_more_than_it_knows() {
        let filtered = Preview {
            count: 1_204,
            ends: vec![(End::Delivered, 4), (End::Dead, 1_200)],
            subscriptions: vec![share(1_204, None, 0)],
            sample: Vec::new(),
            may_be_more: false,
            key: ReplayKey::Same,
            to: None,
            rate: None,
            is_at_most: true,
        };
        insta::assert_snapshot!(filtered.answer(), @"Up to 1,204 deliveries (4 delivered, 1,200 dead) would be sent again; those whose event has expired are skipped.");
        insta::assert_snapshot!(filtered.question(), @"Send up to 1,204 deliveries (4 delivered, 1,200 dead) again? (those whose event has expired are skipped)");
        let many = Preview {
            count: 10_000,
            may_be_more: true,
            ..filtered
        };
        insta::assert_snapshot!(many.answer(), @"More than 10,000 deliveries would be sent again; not all of them were looked at; those whose event has expired are skipped.");
        assert_eq!(many.takes(), None);
        let none_yet = Preview { count: 0, ..many };
        insta::assert_snapshot!(none_yet.answer(), @"An unknown number of deliveries would be sent again; not all of them were looked at.");
        let named = Preview {
            count: 1,
            ends: Vec::new(),
            subscriptions: vec![share(1, Some(80), 0)],
            sample: Vec::new(),
            may_be_more: false,
            key: ReplayKey::Fresh,
            to: Some("https://sandbox.example/in".to_owned()),
            rate: None,
            is_at_most: false,
        };
        insta::assert_snapshot!(named.answer(), @"1 delivery would be sent to https://sandbox.example/in under a key that receivers have not had; it would take a moment.");
        insta::assert_snapshot!(named.question(), @"Send 1 delivery to https://sandbox.example/in under a key that receivers have not had? (a moment)");
    }

    #[test]
    fn it_takes_as_long_as_the_slowest_of_them_and_the_rate() {
        let seconds = |shares: &[Share], rate: Option<&str>| {
            let rate = rate.map(|rate| rate.parse().expect("a rate"));
            estimate(shares, rate, 1_600).map(|span| span.as_secs())
        };
        let quick = share(1_600, Some(80), 0);
        assert_eq!(seconds(std::slice::from_ref(&quick), None), Some(8));
        let limited = share(1_600, Some(80), 100);
        assert_eq!(seconds(&[quick.clone(), limited], None), Some(160));
        assert_eq!(
            seconds(std::slice::from_ref(&quick), Some("10/s")),
            Some(160)
        );
        assert_eq!(seconds(&[quick, share(1, None, 0)], Some("10/s")), None);
        assert_eq!(seconds(&[], None), None);
    }

    #[test]
    fn long_times_are_said_roughly() {
        let told = |s| about(Duration::from_secs(s));
        assert_eq!(told(1), "a moment");
        assert_eq!(told(90), "about 90 s");
        assert_eq!(told(7_000), "about 116 min");
        assert_eq!(told(100_000), "about 27 h");
    }
}
