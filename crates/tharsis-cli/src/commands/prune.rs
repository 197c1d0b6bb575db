//! `tharsis prune`: what is kept no longer.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tharsis::{
    Registry, format_duration,
    store::{Forgotten, Outlived, Retention},
};

use super::Context;
use crate::output::{
    Exit, Failure, Output, fields,
    text::{count, counted},
};

/// Forget what is kept no longer
///
/// Workers do this by themselves, every hour. How long what is kept stands in tharsis.toml, under [retention]: history
/// (events with their attempts, 90d), excerpts (what receivers answered, 30d), audit (730d). What is not routed, not
/// delivered, or what a replay is to look at stays whatever its age.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis prune --dry-run       What would go, and what is in its way?
  tharsis prune                 Let it go now
  tharsis prune --dry-run --json | jq .events")]
pub(crate) struct Options {
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let output = context.output;
    let retention = context.configuration.engine.retention;
    let emitter = context.open_without_key().await?;
    // Ours may be wrong, and what is forgotten does not come back.
    let now = emitter.registry().survey().await?.clock;
    if options.dry_run {
        let outlived = emitter.registry().outlived(&retention, now);
        let outlived = output
            .progress()
            .during(outlived, || "Counting".to_owned())
            .await?;
        tell(output, &retention, &outlived)?;
        return Ok(Exit::Done);
    }
    let gone = std::cell::Cell::new(Forgotten::default());
    let forgetting = async {
        loop {
            let Forgotten {
                events,
                excerpts,
                audit,
                more,
            } = emitter.forget(now).await?;
            let so_far = gone.get();
            gone.set(Forgotten {
                events: so_far.events + events,
                excerpts: so_far.excerpts + excerpts,
                audit: so_far.audit + audit,
                more,
            });
            if !more {
                return Ok::<_, Failure>(());
            }
        }
    };
    output
        .progress()
        .during(forgetting, || {
            format!("{} events forgotten", count(gone.get().events))
        })
        .await?;
    let gone = gone.get();
    if output.json {
        output.document(&Done {
            events: gone.events,
            excerpts: gone.excerpts,
            audit: gone.audit,
        })?;
    } else {
        output.line(format_args!(
            "Forgot {}, {} and {}.",
            counted(gone.events, "event", "events"),
            counted(gone.excerpts, "answer", "answers"),
            counted(gone.audit, "line of the audit", "lines of the audit"),
        ))?;
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Done {
    events: u64,
    excerpts: u64,
    audit: u64,
}

fn tell(output: Output, retention: &Retention, outlived: &Outlived) -> Result<(), Failure> {
    let Retention {
        history,
        excerpts,
        audit,
    } = *retention;
    if output.json {
        #[derive(Serialize)]
        struct Document {
            history_ms: Option<u128>,
            excerpts_ms: Option<u128>,
            audit_ms: Option<u128>,
            events: u64,
            needed: u64,
            held: u64,
            excerpts: u64,
            audit: u64,
        }
        let millis = |kept: Option<Duration>| kept.map(|kept| kept.as_millis());
        return output.document(&Document {
            history_ms: millis(history),
            excerpts_ms: millis(excerpts),
            audit_ms: millis(audit),
            events: outlived.events,
            needed: outlived.needed,
            held: outlived.held,
            excerpts: outlived.excerpts,
            audit: outlived.audit,
        });
    }
    let older = |kept: Option<Duration>| match kept {
        Some(kept) => format!("older than {}", format_duration(kept)),
        None => "kept for ever".to_owned(),
    };
    output.line(fields([
        [
            "events".to_owned(),
            format!("{} {}", count(outlived.events), older(history)),
        ],
        [
            "answers".to_owned(),
            format!("{} {}", count(outlived.excerpts), older(excerpts)),
        ],
        [
            "audit".to_owned(),
            format!("{} {}", count(outlived.audit), older(audit)),
        ],
    ]))?;
    if outlived.needed > 0 {
        output.note(format_args!(
            "{} as old, and kept: not routed, not delivered, or a replay is to look at them.",
            counted(outlived.needed, "event is", "events are"),
        ));
    }
    if outlived.held > 0 {
        output.note(format_args!(
            "{} held for as long: workers end them `expired`.",
            counted(outlived.held, "delivery is", "deliveries are"),
        ));
    }
    Ok(())
}
