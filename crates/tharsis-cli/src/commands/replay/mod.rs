//! `tharsis replay`: make past deliveries due again.

mod follow;
mod preview;
mod sandbox;

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::{
    DeliveryId, Registry, ReplayId, SubscriptionId, Timestamp,
    rate::Rate,
    store::{Replay, ReplayChoice, ReplayDraft, ReplayKey, ReplayState},
    system_now,
};
use tharsis_admin::preview::check;
pub(super) use tharsis_admin::preview::preview;

pub(super) use self::follow::{follow, settled};
use super::{Context, by, documents::ReplayDocument, filter::Filter};
use crate::output::{
    Exit, Failure, Output, Table, fields,
    text::{count, counted, moment, moment_or_dash},
};

/// Make past deliveries due again, one or ten million
///
/// A replay is written into the outbox, and whichever process delivers works it off; it survives both. Each delivery
/// that has ended gets a new retry budget. One that is unfinished, whose event has expired, whose subscription is gone or
/// that another replay takes at the same time is skipped and counted. A subscription has some hundred of them on their way
/// at a time, so that what is published meanwhile goes out too.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  tharsis replay --failed-since 3h --dry-run
  tharsis replay --status dead --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --rate 50/s
  tharsis replay --missing --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --since 7d
  tharsis replay 019b2f6e-…/019b2f70-…
  tharsis replay --status delivered --since 2h --fresh-key --yes
  tharsis replay list
  tharsis replay pause 019b2f7c-02b1-7d0e-a6a4-b1c9d27f3e58")]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
struct What {
    /// These deliveries, EVENT/SUBSCRIPTION
    #[arg(value_name = "DELIVERY", conflicts_with_all = FILTERS)]
    ids: Vec<DeliveryId>,

    #[command(flatten)]
    filter: Filter,

    /// What the one subscription that is named wants and was never delivered, also where it was added later than the events
    /// were published
    #[arg(
        long,
        requires = "subscription",
        conflicts_with_all = ["status", "client", "failed_since"],
        help_heading = "Which deliveries"
    )]
    missing: bool,

    #[command(flatten)]
    how: How,

    /// Under an idempotency key that receivers have not had, so that they take it all for new
    ///
    /// Without it the key is the event's own, as on every attempt, and who has had the event leaves it out. The profiles
    /// nudge, standard, github, shopify and those declared with {id} have a key; under others nothing changes.
    #[arg(long, help_heading = "Options")]
    fresh_key: bool,

    /// To another URL, such as a sandbox, or to another subscription of the same client, in place of their own
    ///
    /// A URL needs the one --subscription whose deliveries are meant. It becomes a subscription of its own, under the same
    /// profile and secret but without headers of its own, which routing sends nothing: what becomes of it there is no matter
    /// of the other's history and health. Remove it when it has served.
    #[arg(
        long,
        value_name = "URL",
        help_heading = "Options",
        conflicts_with = "missing"
    )]
    to: Option<String>,

    /// Only say how many it would be at most, some of them, and how long it would take
    #[arg(long, help_heading = "Options")]
    dry_run: bool,
}

/// How a replay goes out.
#[derive(Debug, Args)]
pub(super) struct How {
    /// No faster than this, over all subscriptions: `50/s`, `300/m`; without it as fast as receivers take it
    #[arg(long, value_name = "RATE", help_heading = "Options")]
    pub(super) rate: Option<Rate>,

    /// Do not ask, however many there are
    #[arg(long, help_heading = "Options")]
    pub(super) yes: bool,

    /// Stay until it is done, also when nothing delivers at present
    #[arg(long, help_heading = "Options")]
    pub(super) wait: bool,
}

const FILTERS: [&str; 10] = [
    "status",
    "subscription",
    "client",
    "event_type",
    "campaign",
    "event",
    "since",
    "until",
    "failed_since",
    "missing",
];

/// More than so many are not sent again without asking.
pub(super) const FEW: u64 = 10;

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Pause(Pause),
    Resume(Resume),
    Cancel(Cancel),
}

/// List replays, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis replay list")]
struct List {}

/// Show how far a replay is
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis replay show 019b2f7c-02b1-7d0e-a6a4-b1c9d27f3e58")]
struct Show {
    /// Its id
    #[arg(value_name = "REPLAY")]
    id: ReplayId,
}

/// Hold a replay: nothing more of it becomes due until it is resumed
///
/// What is due already goes out: some hundred for each subscription, or a quarter of a second's worth of its rate.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis replay pause 019b2f7c-02b1-7d0e-a6a4-b1c9d27f3e58")]
struct Pause {
    /// Its id
    #[arg(value_name = "REPLAY")]
    id: ReplayId,
}

/// Let a replay go on
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis replay resume 019b2f7c-02b1-7d0e-a6a4-b1c9d27f3e58")]
struct Resume {
    /// Its id
    #[arg(value_name = "REPLAY")]
    id: ReplayId,
}

/// Call a replay off for ever
///
/// What is due already goes out: some hundred for each subscription, or a quarter of a second's worth of its rate.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis replay cancel 019b2f7c-02b1-7d0e-a6a4-b1c9d27f3e58")]
struct Cancel {
    /// Its id
    #[arg(value_name = "REPLAY")]
    id: ReplayId,
}

pub(crate) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    match options.command {
        None => replay(context, options.what).await,
        Some(Command::List(_)) => list(context).await,
        Some(Command::Show(Show { id })) => show(context, id).await,
        Some(Command::Pause(Pause { id })) => {
            let emitter = context.open().await?;
            let registry = emitter.registry();
            let replay = registry.pause_replay(id, by()).await?;
            tell(context.output, &replay)
        }
        Some(Command::Resume(Resume { id })) => {
            let emitter = context.open().await?;
            let registry = emitter.registry();
            let replay = registry.resume_replay(id, by()).await?;
            tell(context.output, &replay)
        }
        Some(Command::Cancel(Cancel { id })) => {
            let emitter = context.open().await?;
            let registry = emitter.registry();
            let replay = registry.cancel_replay(id, by()).await?;
            tell(context.output, &replay)
        }
    }
}

async fn replay(context: &Context, what: What) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let emitter = context.open().await?;
    let registry = emitter.registry();
    let mut draft = ReplayDraft::new(what.choice(registry, now).await?);
    draft.rate = what.how.rate;
    if what.fresh_key {
        draft.key = ReplayKey::Fresh;
    }
    if let Some(to) = &what.to {
        let chosen = what.only();
        draft.to = sandbox::there(registry, to, chosen).await?;
        if draft.to.is_none() && chosen.is_none() {
            return Err(sandbox::of_nobody());
        }
    }
    let preview = output
        .progress()
        .during(preview(registry, &draft, what.to.as_deref(), None), || {
            "Counting".to_owned()
        })
        .await?;
    if what.dry_run {
        preview::tell(output, &preview)?;
        return Ok(Exit::Done);
    }
    draft.expected = Some(preview.count);
    if preview.count > FEW && !what.how.yes {
        output.can_ask()?;
        if !output.ask(preview.question())? {
            return Err(Failure::new("not_confirmed", "nothing is replayed"));
        }
    }
    if let (Some(to), None, Some(of)) = (&what.to, draft.to, what.only()) {
        draft.to = Some(sandbox::make(context, &emitter, to, of).await?);
    }
    let replay = registry.replay(&draft, by()).await?;
    follow(output, registry, replay, what.how.wait).await
}

impl What {
    /// The subscription of all that is chosen, where that is one and is named.
    fn only(&self) -> Option<SubscriptionId> {
        match self.ids.first() {
            Some(first) => {
                let is_first = |id: &DeliveryId| id.subscription == first.subscription;
                Some(first.subscription).filter(|_| self.ids.iter().all(is_first))
            }
            None => self.filter.only(),
        }
    }

    async fn choice(
        &self,
        registry: &impl Registry,
        now: Timestamp,
    ) -> Result<ReplayChoice, Failure> {
        if !self.ids.is_empty() {
            let ids: BTreeSet<_> = self.ids.iter().copied().collect();
            for id in &ids {
                let row = registry.delivery(*id).await?.row;
                check(registry, &row, now, self.to.is_none()).await?;
            }
            return Ok(ReplayChoice::Deliveries(ids.into_iter().collect()));
        }
        if self.filter.is_empty() {
            return Err(Failure::usage(
                "nothing_chosen",
                "say which deliveries, by name or by a filter",
            )
            .hint("for example: tharsis replay --status dead --since 1h"));
        }
        let mut filter = self.filter.at(now);
        if !self.missing {
            return Ok(ReplayChoice::Filter(filter));
        }
        match std::mem::take(&mut filter.subscription)[..] {
            [one] => Ok(ReplayChoice::Missing(one, filter)),
            _ => Err(Failure::usage(
                "bad_choice",
                "what was never delivered is asked of one subscription",
            )
            .at("--subscription")
            .hint("give --subscription once, and start a replay for each")),
        }
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let emitter = context.open_without_key().await?;
    let replays = emitter.registry().replays(None).await?;
    if output.json {
        #[derive(Serialize)]
        struct Document {
            replays: Vec<ReplayDocument>,
        }
        output.document(&Document {
            replays: replays.iter().map(ReplayDocument::from).collect(),
        })?;
    } else if replays.is_empty() {
        output.note("There is no replay.");
    } else {
        let mut table = Table::new(&[
            "replay",
            "state",
            ">expected",
            ">due again",
            ">skipped",
            ">on their way",
            "asked for",
            "done",
        ]);
        for replay in &replays {
            table.row([
                replay.id.to_string(),
                replay.state.as_str().to_owned(),
                replay.expected.map_or_else(|| "-".to_owned(), count),
                count(replay.replayed),
                count(replay.skipped),
                count(replay.unfinished),
                moment(replay.created_at, now),
                moment_or_dash(replay.finished_at, now),
            ]);
        }
        output.table(&table)?;
    }
    Ok(Exit::Done)
}

async fn show(context: &Context, id: ReplayId) -> Result<Exit, Failure> {
    let emitter = context.open_without_key().await?;
    let replay = emitter.registry().replay_state(id).await?;
    tell(context.output, &replay)?;
    let is_open = matches!(replay.state, ReplayState::Waiting | ReplayState::Running);
    if is_open && !emitter.registry().owned().await? {
        context
            .output
            .note("It waits: nothing delivers at present. Start `tharsis run`.");
    }
    Ok(Exit::Done)
}

fn tell(output: Output, replay: &Replay) -> Result<Exit, Failure> {
    if output.json {
        output.document(&ReplayDocument::from(replay))?;
        return Ok(Exit::Done);
    }
    let now = system_now();
    let told = fields([
        ["replay".to_owned(), replay.id.to_string()],
        ["state".to_owned(), replay.state.as_str().to_owned()],
        ["key".to_owned(), replay.key.as_str().to_owned()],
        [
            "rate".to_owned(),
            replay.rate.map_or_else(
                || "as receivers take it".to_owned(),
                |rate| rate.to_string(),
            ),
        ],
        [
            "expected".to_owned(),
            replay
                .expected
                .map_or_else(|| "-".to_owned(), |n| format!("{} at most", count(n))),
        ],
        ["examined".to_owned(), count(replay.examined)],
        ["due again".to_owned(), count(replay.replayed)],
        ["skipped".to_owned(), count(replay.skipped)],
        ["on their way".to_owned(), count(replay.unfinished)],
        ["asked for".to_owned(), moment(replay.created_at, now)],
        [
            if replay.state == ReplayState::Cancelled {
                "cancelled"
            } else {
                "done"
            }
            .to_owned(),
            moment_or_dash(replay.finished_at, now),
        ],
    ]);
    output.line(told.trim_end())?;
    if !replay.held_for.is_empty() {
        let of = counted(
            replay.held_for.len() as u64,
            "subscription is",
            "subscriptions are",
        );
        output.note(format_args!(
            "{of} held, and what it takes of them waits: {}",
            replay
                .held_for
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    Ok(Exit::Done)
}
