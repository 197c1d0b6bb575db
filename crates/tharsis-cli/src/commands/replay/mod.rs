//! `tharsis replay`: make past deliveries due again.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::{
    DeliveryId, Registry, ReplayId, Timestamp,
    delivery::End,
    store::{Replay, ReplayChoice, ReplayKey, ReplayState, Status},
    subscription::State,
    system_now,
};

use super::{
    Context,
    documents::{ReplayDocument, replay_key, replay_state},
    filter::Filter,
};
use crate::{
    output::{
        Exit, Failure, Output, Table, fields,
        text::{count, counted, moment, moment_or_dash},
    },
    signals,
};

/// How often the replay is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// Make past deliveries due again, one or ten million
///
/// A replay is written into the outbox, and whichever process delivers works it off; it survives both. Each delivery
/// that has ended gets a new retry budget. One that is unfinished, whose event has expired or whose subscription is
/// gone is skipped and counted.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  tharsis replay --status dead --since 1h --dry-run
  tharsis replay --status dead --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --yes
  tharsis replay 019b2f6e-…/019b2f70-…
  tharsis replay --status delivered --since 2h --fresh-key --yes
  tharsis replay list
  tharsis replay show 019b2f7c-02b1-7d0e-a6a4-b1c9d27f3e58")]
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

    /// Under an idempotency key that receivers have not had, so that they take it all for new
    ///
    /// Without it the key is the event's own, as on every attempt, and who has had the event leaves it out. The profiles
    /// nudge, standard, github, shopify and those declared with {id} have a key; under others nothing changes.
    #[arg(long, help_heading = "Options")]
    fresh_key: bool,

    /// Only say how many it would be at most
    #[arg(long, help_heading = "Options")]
    dry_run: bool,

    /// Do not ask
    #[arg(long, help_heading = "Options")]
    yes: bool,

    /// Stay until it is done, also when nothing delivers at present
    #[arg(long, help_heading = "Options")]
    wait: bool,
}

const FILTERS: [&str; 8] = [
    "status",
    "subscription",
    "client",
    "event_type",
    "campaign",
    "event",
    "since",
    "until",
];

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Show(Show),
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

pub(crate) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    match options.command {
        Some(Command::List(_)) => list(context).await,
        Some(Command::Show(Show { id })) => show(context, id).await,
        None => replay(context, options.what).await,
    }
}

async fn replay(context: &Context, what: What) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let emitter = context.open().await?;
    let registry = emitter.registry();
    let choice = what.choice(registry, now).await?;
    let key = if what.fresh_key {
        ReplayKey::Fresh
    } else {
        ReplayKey::Same
    };
    if what.dry_run {
        preview(registry, &choice, key).await?.tell(output)?;
        return Ok(Exit::Done);
    }
    if !what.yes {
        output.can_ask()?;
        let preview = preview(registry, &choice, key).await?;
        if !output.ask(preview.question())? {
            return Err(Failure::new("not_confirmed", "nothing is replayed"));
        }
    }
    let replay = registry.replay(&choice, key, now).await?;
    follow(output, registry, replay, what.wait).await
}

impl What {
    async fn choice(
        &self,
        registry: &impl Registry,
        now: Timestamp,
    ) -> Result<ReplayChoice, Failure> {
        if !self.ids.is_empty() {
            let ids: BTreeSet<_> = self.ids.iter().copied().collect();
            for id in &ids {
                check(registry, *id, now).await?;
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
        Ok(ReplayChoice::Filter(self.filter.at(now)))
    }
}

/// What a replay would take.
struct Preview {
    /// At most so many: by a filter, those are found too whose event has expired since or whose subscription is gone.
    count: u64,
    /// By the state in which they ended; empty where they were named, and looked at one by one.
    parts: Vec<(End, u64)>,
    key: ReplayKey,
}

/// The ends after which there can be another try. What has expired or was refused is always skipped.
const ENDS: [End; 3] = [End::Delivered, End::Dead, End::Cancelled];

async fn preview(
    registry: &impl Registry,
    choice: &ReplayChoice,
    key: ReplayKey,
) -> Result<Preview, Failure> {
    let filter = match choice {
        ReplayChoice::Filter(filter) => filter,
        ReplayChoice::Deliveries(ids) => {
            return Ok(Preview {
                count: ids.len() as u64,
                parts: Vec::new(),
                key,
            });
        }
    };
    let mut parts = Vec::new();
    for end in ENDS {
        if filter.status.is_empty() || filter.status.contains(&Status::Ended(end)) {
            let mut filter = filter.clone();
            filter.status = vec![Status::Ended(end)];
            parts.push((end, registry.count(&filter).await?));
        }
    }
    parts.retain(|(_, count)| *count > 0);
    Ok(Preview {
        count: parts.iter().map(|(_, count)| count).sum(),
        parts,
        key,
    })
}

impl Preview {
    fn question(&self) -> String {
        match self.exception() {
            Some(exception) => format!(
                "Send up to {} again{}? ({exception})",
                self.number(),
                self.under()
            ),
            None => format!("Send {} again{}?", self.number(), self.under()),
        }
    }

    fn answer(&self) -> String {
        match self.exception() {
            Some(exception) => {
                format!(
                    "Up to {} would be sent again{}; {exception}.",
                    self.number(),
                    self.under()
                )
            }
            None => format!("{} would be sent again{}.", self.number(), self.under()),
        }
    }

    fn under(&self) -> &'static str {
        match self.key {
            ReplayKey::Same => "",
            ReplayKey::Fresh => " under a key that receivers have not had",
        }
    }

    fn exception(&self) -> Option<&'static str> {
        (!self.parts.is_empty())
            .then_some("those whose event has expired or whose subscription is gone are skipped")
    }

    fn number(&self) -> String {
        let all = counted(self.count, "delivery", "deliveries");
        if self.parts.is_empty() {
            return all;
        }
        let parts: Vec<_> = self
            .parts
            .iter()
            .map(|(end, n)| format!("{} {}", count(*n), end.as_str()))
            .collect();
        format!("{all} ({})", parts.join(", "))
    }

    fn tell(&self, output: Output) -> Result<(), Failure> {
        if output.json {
            #[derive(Serialize)]
            struct Document {
                count: u64,
            }
            return output.document(&Document { count: self.count });
        }
        output.line(self.answer())
    }
}

/// Tells at once what the owner would only skip.
async fn check(registry: &impl Registry, id: DeliveryId, now: Timestamp) -> Result<(), Failure> {
    let row = registry.delivery(id).await?.row;
    if !matches!(row.status, Status::Ended(_)) {
        return Err(Failure::new("unfinished", format!("{id} has not ended"))
            .hint(format!("make it due now with: tharsis delivery retry {id}")));
    }
    if row.status == Status::Ended(End::Refused) {
        return Err(Failure::new("refused", format!("{id} was refused")).hint(
            "what could not be sent as it is cannot be sent now; publish a corrected event",
        ));
    }
    if registry
        .event(id.event)
        .await?
        .expires_at
        .is_some_and(|at| at <= now)
    {
        return Err(
            Failure::new("expired", format!("the event of {id} has expired"))
                .hint("nothing goes out after an event's expiry"),
        );
    }
    if let State::Suspended { reason } = registry.find(id.subscription).await?.state {
        return Err(Failure::new(
            "subscription_suspended",
            format!("the subscription of {id} is suspended: {reason}"),
        )
        .hint(format!(
            "resume it first: tharsis subscription resume {}",
            id.subscription
        )));
    }
    Ok(())
}

/// Waits for the owner to work the replay off, if there is one.
async fn follow(
    output: Output,
    registry: &impl Registry,
    replay: Replay,
    wait: bool,
) -> Result<Exit, Failure> {
    enum Ended {
        Done,
        NoOwner,
        Interrupted,
    }
    let shutdown = signals::shutdown()?;
    let id = replay.id;
    let replay = RefCell::new(replay);
    let watch = async {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            let now = registry.replay_state(id).await?;
            let done = now.state == ReplayState::Done;
            replay.replace(now);
            if done {
                return Ok::<_, Failure>(Ended::Done);
            }
            if !wait && !registry.owned().await? {
                return Ok(Ended::NoOwner);
            }
        }
    };
    let work = async {
        tokio::select! {
            ended = watch => ended,
            () = shutdown => Ok(Ended::Interrupted),
        }
    };
    let ended = output
        .progress()
        .during(work, || live(&replay.borrow()))
        .await?;
    let replay = replay.into_inner();
    if output.json {
        output.document(&ReplayDocument::from(&replay))?;
        return Ok(Exit::Done);
    }
    match ended {
        Ended::Done => output.line(format_args!(
            "Replay {id} is done: {} due again, {} skipped.",
            counted(replay.replayed, "delivery is", "deliveries are"),
            count(replay.skipped),
        ))?,
        Ended::NoOwner => output.line(format_args!(
            "Replay {id} is written down and waits: nothing delivers at present. Start `tharsis run`, and look with `tharsis replay show {id}`."
        ))?,
        Ended::Interrupted => output.line(format_args!("Replay {id} goes on without us. Look with `tharsis replay show {id}`."))?,
    }
    Ok(Exit::Done)
}

fn live(replay: &Replay) -> String {
    match replay.state {
        ReplayState::Waiting => "Waiting for the process that delivers".to_owned(),
        ReplayState::Running | ReplayState::Done => {
            format!(
                "{} examined   {} due again   {} skipped",
                count(replay.examined),
                count(replay.replayed),
                count(replay.skipped)
            )
        }
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let emitter = context.open_without_key().await?;
    let replays = emitter.registry().replays().await?;
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
            ">examined",
            ">due again",
            ">skipped",
            "asked for",
            "done",
        ]);
        for replay in &replays {
            table.row([
                replay.id.to_string(),
                replay_state(replay.state).to_owned(),
                count(replay.examined),
                count(replay.replayed),
                count(replay.skipped),
                moment(replay.created_at, now),
                moment_or_dash(replay.finished_at, now),
            ]);
        }
        output.table(&table)?;
    }
    Ok(Exit::Done)
}

async fn show(context: &Context, id: ReplayId) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let emitter = context.open_without_key().await?;
    let replay = emitter.registry().replay_state(id).await?;
    if output.json {
        output.document(&ReplayDocument::from(&replay))?;
        return Ok(Exit::Done);
    }
    let told = fields([
        ["replay".to_owned(), replay.id.to_string()],
        ["state".to_owned(), replay_state(replay.state).to_owned()],
        ["key".to_owned(), replay_key(replay.key).to_owned()],
        ["examined".to_owned(), count(replay.examined)],
        ["due again".to_owned(), count(replay.replayed)],
        ["skipped".to_owned(), count(replay.skipped)],
        ["asked for".to_owned(), moment(replay.created_at, now)],
        ["done".to_owned(), moment_or_dash(replay.finished_at, now)],
    ]);
    output.line(told.trim_end())?;
    if replay.state != ReplayState::Done && !emitter.registry().owned().await? {
        output.note("It waits: nothing delivers at present. Start `tharsis run`.");
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_promises_no_more_than_it_knows() {
        let filtered = Preview {
            count: 1_204,
            parts: vec![(End::Delivered, 4), (End::Dead, 1_200)],
            key: ReplayKey::Same,
        };
        insta::assert_snapshot!(filtered.answer(), @"Up to 1,204 deliveries (4 delivered, 1,200 dead) would be sent again; those whose event has expired or whose subscription is gone are skipped.");
        insta::assert_snapshot!(filtered.question(), @"Send up to 1,204 deliveries (4 delivered, 1,200 dead) again? (those whose event has expired or whose subscription is gone are skipped)");
        let named = Preview {
            count: 1,
            parts: Vec::new(),
            key: ReplayKey::Fresh,
        };
        insta::assert_snapshot!(named.answer(), @"1 delivery would be sent again under a key that receivers have not had.");
        insta::assert_snapshot!(named.question(), @"Send 1 delivery again under a key that receivers have not had?");
    }
}
