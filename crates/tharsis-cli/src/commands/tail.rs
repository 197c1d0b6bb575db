//! `tharsis tail`: what comes of attempts, as it happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use tharsis::{
    DeliveryId, Registry, Timestamp,
    delivery::End,
    store::{DeliveryFilter, Settled, SettledAttempt, Status},
    system_now,
};
use tokio::time::{Instant, sleep};

use super::{Context, documents::AttemptDocument, filter::Filter};
use crate::{
    output::{
        Exit, Failure, Output,
        text::{counted, excerpt, inert, measured},
    },
    signals,
};

/// How often it is looked for more.
const EVERY: Duration = Duration::from_millis(500);

/// A look that takes long is followed by a rest of so many times as long.
const REST: u32 = 4;

/// The most that one look tells.
const MOST: u32 = 1_000;

/// What is seen so much later than what was settled after it is told still.
const LATE: Duration = Duration::from_secs(10);

/// How far our clock and that of the workers may be apart.
const APART: Duration = Duration::from_secs(30);

/// How far it is looked back for the first lines: further where these are too few.
const BACK: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(60 * 60)];

/// Follow attempts as they are settled
///
/// A line for each: when it was settled, the outcome, `delivered`, `retrying` or how else it ended, how long it took, the
/// event's type, the subscription, the delivery, and the detail if there is one. First come the last ones of an hour, then
/// what happens, until Ctrl-C. With --json each is a JSON document on a line of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis tail
  tharsis tail --failed
  tharsis tail --last 0 --client 36011017-0e00-4e29-a054-7a1fbb8b60a2
  tharsis tail --json | jq -c 'select(.duration_ms > 1000) | [.subscription_name, .reason]'")]
pub(crate) struct Options {
    #[command(flatten)]
    filter: Filter,

    /// Only attempts that did not deliver
    #[arg(long, conflicts_with = "status")]
    failed: bool,

    /// Begin with so many that are settled already, up to 1000
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    last: u32,
}

pub(crate) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let shutdown = signals::shutdown()?;
    let filter = options.filter()?;
    let emitter = context.open_without_key().await?;
    let follow = follow(
        context.output,
        emitter.registry(),
        &filter,
        options.last,
        EVERY,
    );
    tokio::select! {
        () = shutdown => Ok(Exit::Done),
        ended = follow => ended.map(|()| Exit::Done),
    }
}

impl Options {
    fn filter(&self) -> Result<DeliveryFilter, Failure> {
        let mut filter = self.filter.at(system_now());
        if self.failed {
            filter.status = failed();
        }
        let is_of_attempts =
            |status: &Status| matches!(status, Status::Retrying | Status::Ended(_));
        if filter.status.iter().all(is_of_attempts) {
            return Ok(filter);
        }
        Err(
            Failure::usage("no_such_attempt", "no attempt is pending or held")
                .at("--status")
                .hint("look at what waits with `tharsis delivery list`"),
        )
    }
}

fn failed() -> Vec<Status> {
    let ends = [End::Dead, End::Expired, End::Refused, End::Cancelled];
    let ends = ends.into_iter().map(Status::Ended);
    std::iter::once(Status::Retrying).chain(ends).collect()
}

/// Goes on until it fails.
async fn follow(
    output: Output,
    registry: &impl Registry,
    filter: &DeliveryFilter,
    last: u32,
    every: Duration,
) -> Result<(), Failure> {
    let before = before(registry, filter, last).await?;
    let mut shown = Shown::after(&before, system_now());
    let skipped = before.items.len().saturating_sub(most(last));
    for settled in before.items.iter().skip(skipped) {
        tell(output, settled)?;
    }
    output.note("Following. Ctrl-C ends it.");
    loop {
        let began = Instant::now();
        let since = shown.since(system_now());
        let found = registry.settled(filter, since, MOST).await?;
        let (fresh, missed) = shown.fresh(found, since);
        if missed > 0 {
            tell_missed(output, missed)?;
        }
        for settled in &fresh {
            tell(output, settled)?;
        }
        sleep((began.elapsed() * REST).max(every)).await;
    }
}

fn most(last: u32) -> usize {
    usize::try_from(last).unwrap_or(usize::MAX)
}

/// The latest that are settled already: as many as are wanted, where there are, and all that may be found again.
async fn before(
    registry: &impl Registry,
    filter: &DeliveryFilter,
    last: u32,
) -> Result<Settled, Failure> {
    let [near, far] = BACK;
    let found = registry.settled(filter, system_now() - near, MOST).await?;
    if found.items.len() >= most(last) {
        return Ok(found);
    }
    Ok(registry.settled(filter, system_now() - far, MOST).await?)
}

/// What names an attempt: of an end without a request, which another may take the place of, its instant too.
type Name = (DeliveryId, u32, Timestamp);

fn name(settled: &SettledAttempt) -> Name {
    let attempt = &settled.record.attempt;
    (settled.id, attempt.number, attempt.at)
}

/// What was shown, as far as it is found again.
#[derive(Debug)]
struct Shown {
    /// Nothing is told that was settled before.
    floor: Timestamp,
    newest: Timestamp,
    /// When it was looked last: it may have been a while, where nobody took what was told.
    looked: Timestamp,
    known: BTreeMap<Name, Timestamp>,
}

impl Shown {
    /// From here on everything is told.
    fn after(before: &Settled, now: Timestamp) -> Self {
        let known: BTreeMap<Name, Timestamp> = (before.items)
            .iter()
            .map(|settled| (name(settled), settled.settled_at()))
            .collect();
        let newest = known.values().max().copied().unwrap_or(now - APART);
        let first = known.values().min().filter(|_| before.left_out > 0);
        Self {
            floor: first.copied().unwrap_or(newest - LATE),
            newest,
            looked: now,
            known,
        }
    }

    /// From when on is looked: some was seen late, and clocks are apart.
    fn since(&mut self, now: Timestamp) -> Timestamp {
        let since = self.looked - LATE - APART;
        self.looked = now;
        self.floor.max(self.newest - LATE).max(since)
    }

    /// Of what was found what was not shown yet, and how many are never shown, since they were too many.
    fn fresh(&mut self, found: Settled, since: Timestamp) -> (Vec<SettledAttempt>, u64) {
        let Settled { items, left_out } = found;
        self.known.retain(|_, at| *at >= since);
        let mut missed = 0;
        if let Some(first) = items.first().map(SettledAttempt::settled_at)
            && left_out > 0
        {
            let found: BTreeSet<Name> = items.iter().map(name).collect();
            let shown = self
                .known
                .keys()
                .filter(|name| !found.contains(*name))
                .count();
            missed = left_out.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
            self.floor = self.floor.max(first);
        }
        let fresh: Vec<SettledAttempt> = items
            .into_iter()
            .filter(|settled| {
                let before = self.known.insert(name(settled), settled.settled_at());
                before.is_none()
            })
            .collect();
        let newest = fresh.iter().map(SettledAttempt::settled_at).max();
        self.newest = newest.map_or(self.newest, |newest| newest.max(self.newest));
        (fresh, missed)
    }
}

fn tell(output: Output, settled: &SettledAttempt) -> Result<(), Failure> {
    if output.json {
        output.document(&Document::from(settled))
    } else {
        output.line(line(settled))
    }
}

/// Says that some are never shown, for they were too many.
fn tell_missed(output: Output, missed: u64) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Document {
        left_out: u64,
    }
    if output.json {
        return output.document(&Document { left_out: missed });
    }
    output.note(format_args!(
        "Left out {}: more came than is told at once. Narrow it down, or look with `tharsis delivery list`.",
        counted(missed, "attempt", "attempts")
    ));
    Ok(())
}

/// An attempt with what it was for.
#[derive(Serialize)]
struct Document<'a> {
    settled_at: String,
    /// `EVENT/SUBSCRIPTION`.
    delivery: String,
    event: String,
    subscription: String,
    subscription_name: &'a str,
    client: String,
    event_type: &'a str,
    campaign: Option<&'a str>,
    #[serde(flatten)]
    attempt: AttemptDocument<'a>,
}

impl<'a> From<&'a SettledAttempt> for Document<'a> {
    fn from(settled: &'a SettledAttempt) -> Self {
        Self {
            settled_at: settled.settled_at().to_string(),
            delivery: settled.id.to_string(),
            event: settled.id.event.to_string(),
            subscription: settled.id.subscription.to_string(),
            subscription_name: &settled.subscription_name,
            client: settled.client.to_string(),
            event_type: &settled.event_type,
            campaign: settled.campaign.as_deref(),
            attempt: AttemptDocument::from(&settled.record),
        }
    }
}

fn line(settled: &SettledAttempt) -> String {
    let attempt = &settled.record.attempt;
    let status = settled.record.end.map_or("retrying", End::as_str);
    let took = if attempt.number == 0 {
        "-".to_owned()
    } else {
        measured(attempt.duration)
    };
    let mut line = format!(
        "{}  {:<15}  {status:<9}  {took:>7}  {:<31}  {:<16}  {}",
        settled.settled_at(),
        inert(&attempt.code),
        inert(&settled.event_type),
        inert(&settled.subscription_name),
        settled.id,
    );
    if let Some(detail) = &attempt.detail {
        line.push_str("  ");
        line.push_str(&excerpt(detail.as_bytes(), 60));
    }
    line
}

#[cfg(test)]
mod tests {
    use tharsis::store::{Attempt, AttemptRecord};

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(NOW + millis)
    }

    fn settled(number: u32, began: i64, code: &str, end: Option<End>) -> SettledAttempt {
        let id = "019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11/019b2f70-91d2-7b35-8f06-3f1c5d0a7e42";
        SettledAttempt {
            id: id.parse().unwrap(),
            event_type: "nudge".to_owned(),
            client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".parse().unwrap(),
            campaign: None,
            subscription_name: "Shop".to_owned(),
            record: AttemptRecord {
                attempt: Attempt {
                    number,
                    at: at(began),
                    duration: Duration::ZERO,
                    code: code.to_owned(),
                    status: None,
                    excerpt: Vec::new(),
                    detail: None,
                },
                end,
                due_at: None,
            },
        }
    }

    fn found(items: &[(u32, i64)], left_out: u64) -> Settled {
        let items = items.iter();
        Settled {
            items: items
                .map(|(number, began)| settled(*number, *began, "http_200", None))
                .collect(),
            left_out,
        }
    }

    /// The numbers of what is shown, and how many were left out.
    fn look(shown: &mut Shown, now: i64, settled: Settled) -> (Vec<u32>, u64) {
        let since = shown.since(at(now));
        let (fresh, missed) = shown.fresh(settled, since);
        let numbers = fresh.iter().map(|one| one.record.attempt.number).collect();
        (numbers, missed)
    }

    #[test]
    fn lines_stand_below_each_other_and_nothing_remote_steers_the_terminal() {
        let mut slow = settled(2, 0, "timeout", None);
        slow.record.attempt.duration = Duration::from_secs(3);
        slow.record.attempt.detail = Some("no answer \u{1b}[2Jcame".to_owned());
        slow.subscription_name = "Shop \u{1b}[31m".to_owned();
        let mut quick = settled(1, 0, "http_200", Some(End::Delivered));
        quick.record.attempt.duration = Duration::from_micros(12_340);
        let none = settled(0, 0, "expired", Some(End::Expired));
        let lines = [quick, slow, none].map(|one| line(&one)).join("\n");
        insta::assert_snapshot!(lines, @r"
        2023-11-14T22:13:20.012Z  http_200         delivered  12.3 ms  nudge                            Shop              019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11/019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
        2023-11-14T22:13:23.000Z  timeout          retrying    3.00 s  nudge                            Shop \u{1b}[31m   019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11/019b2f70-91d2-7b35-8f06-3f1c5d0a7e42  no answer \u{1b}[2Jcame
        2023-11-14T22:13:20.000Z  expired          expired          -  nudge                            Shop              019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11/019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
        ");
    }

    #[test]
    fn nothing_is_shown_twice_and_what_comes_late_is_shown() {
        let mut shown = Shown::after(&found(&[(1, 0)], 0), at(0));
        assert_eq!(shown.since(at(0)), at(-10_000), "some is seen late");
        assert_eq!(
            look(&mut shown, 500, found(&[(1, 0), (2, 400)], 0)),
            (vec![2], 0)
        );
        let late = found(&[(1, 0), (3, 300), (2, 400)], 0);
        assert_eq!(look(&mut shown, 1_000, late), (vec![3], 0));
        assert_eq!(
            look(&mut shown, 60_000, found(&[(4, 60_000)], 0)),
            (vec![4], 0)
        );
        assert_eq!(shown.since(at(60_000)), at(50_000));
        let (again, _) = look(&mut shown, 60_500, found(&[(4, 60_000)], 0));
        assert!(again.is_empty(), "{again:?}");
        assert_eq!(shown.known.len(), 1, "no more is kept than may come again");
    }

    #[test]
    fn what_is_left_out_is_counted_once() {
        let mut cut = Shown::after(&found(&[(1, 0), (2, 5)], 9), at(10));
        assert_eq!(cut.since(at(10)), at(0), "nor what was before the first");
        let mut shown = Shown::after(&found(&[], 0), at(0));
        look(&mut shown, 0, found(&[(1, 0)], 0));
        let many = found(&[(8, 200), (9, 300)], 6);
        assert_eq!(look(&mut shown, 500, many), (vec![8, 9], 5));
        assert_eq!(shown.since(at(500)), at(200), "they do not come again");
    }

    #[test]
    fn it_does_not_look_further_and_further_back_where_nothing_matches() {
        let mut shown = Shown::after(&found(&[], 0), at(0));
        assert_eq!(shown.since(at(0)), at(-40_000));
        let after_a_break = shown.since(at(600_000));
        assert_eq!(after_a_break, at(-40_000), "nothing of it is lost");
        assert_eq!(shown.since(at(600_500)), at(560_000));
    }

    #[test]
    fn what_did_not_deliver_is_all_but_that() {
        let words: Vec<&str> = failed().iter().map(|status| status.as_str()).collect();
        assert_eq!(
            words,
            ["retrying", "dead", "expired", "refused", "cancelled"]
        );
    }
}
