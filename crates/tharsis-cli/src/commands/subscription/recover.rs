use clap::Args;
use serde::Serialize;
use tharsis::{
    Registry,
    delivery::End,
    rate::Rate,
    store::{DeliveryFilter, ReplayChoice, ReplayDraft, Status},
    subscription::Held,
    system_now,
};
use tharsis_admin::trying::Sent;

use super::{Which, test};
use crate::{
    commands::{
        Context, by,
        documents::{ReplayDocument, TestDocument},
        filter::When,
        replay::{FEW, follow, preview, settled},
    },
    output::{Exit, Failure},
};

/// Bring everything back after an outage: ask the receiver first, then let go what is held and replay what is dead
///
/// The test event of its profile is sent. Only if the receiver takes it, the subscription is resumed, whatever held it, and
/// each of its deliveries that ended `dead` gets a new retry budget.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription recover 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
  tharsis subscription recover 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --failed-since 3h --rate 50/s --yes")]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,

    /// Only what ended dead after an attempt since then: `90s`, `15m`, `1h`, `7d`, or a time such as 2026-01-31T12:30:00Z
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    failed_since: Option<When>,

    /// Replay no faster than this: `50/s`, `300/m`; without it as fast as the receiver takes it
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,

    /// Do not ask, however many there are
    #[arg(long)]
    yes: bool,

    /// Stay until it is done, also when nothing delivers at present
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let (output, now, id) = (context.output, system_now(), options.which.id);
    let emitter = context.open().await?;
    let registry = emitter.registry();
    let found = registry.find(id).await?;
    context.profile(&found.settings.profile.name)?;

    let mut filter = DeliveryFilter::default();
    filter.status = vec![Status::Ended(End::Dead)];
    filter.subscription = vec![id];
    filter.ended_since = options.failed_since.map(|when| when.at(now));
    let mut draft = ReplayDraft::new(ReplayChoice::Filter(filter));
    draft.rate = options.rate;
    let preview = preview(registry, &draft, None, None).await?;
    draft.expected = Some(preview.count);
    if preview.count > FEW && !options.yes {
        output.can_ask()?;
        if !output.ask(preview.question())? {
            return Err(Failure::new("not_confirmed", "nothing is changed"));
        }
    }

    let credentials = registry.credentials(id).await?;
    let sent = test::send(context, &found.settings, &credentials, id).await?;
    if !sent.delivered {
        if output.json {
            output.document(&Document::of(&sent, None))?;
        } else {
            test::tell(output, &sent)?;
            output.line("Nothing is changed.")?;
        }
        return Ok(Exit::Failed);
    }
    // First what is to be brought back is written down: it waits as long as the subscription is held.
    let replay = registry.replay(&draft, by()).await?;
    registry.resume(id, Held::All, by()).await?;
    if output.json {
        let replay = if options.wait {
            settled(output, registry, replay, true).await?
        } else {
            replay
        };
        output.document(&Document::of(&sent, Some(ReplayDocument::from(&replay))))?;
        return Ok(Exit::Done);
    }
    output.line("The receiver took the test event; what was held goes out.")?;
    follow(output, registry, replay, options.wait).await
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    recovered: bool,
    test: TestDocument<'a>,
    replay: Option<ReplayDocument>,
}

impl<'a> Document<'a> {
    fn of(sent: &'a Sent, replay: Option<ReplayDocument>) -> Self {
        Self {
            recovered: sent.delivered,
            test: TestDocument::from(sent),
            replay,
        }
    }
}
