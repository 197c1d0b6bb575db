use std::{collections::HashSet, path::PathBuf};

use clap::Args;
use serde::Serialize;
use tharsis::{
    Emitter, Registry,
    subscription::{Draft, Settings, Subscription},
};
use tharsis_admin::registering;

use super::portable::Portable;
use crate::{
    commands::{
        Context, by,
        lines::{Line, Lines, open, too_long},
        secret::{Insisting, SecretOptions},
    },
    output::{Exit, Failure, Fault, Output, text::inert},
};

/// Register the subscriptions of a file, as `export` prints them
///
/// One that is there already, by its client and name, is left as it is, and said to differ where it does. The others are
/// added like with `add`: the URL is checked, and a secret is generated and printed once, in this answer only. A line that is
/// refused does not keep the others from being added; the exit code is 1 then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription import subscriptions.ndjson --dry-run
  tharsis subscription import subscriptions.ndjson --json > added.ndjson
  tharsis subscription export | ssh other tharsis subscription import -")]
pub(crate) struct Options {
    /// The file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only say what would be done; no URL is asked
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    secret: SecretOptions,

    #[command(flatten)]
    insisting: Insisting,
}

/// What became of a line.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum Done {
    Added {
        id: String,
        /// Only where it was generated.
        #[serde(skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    },
    /// With --dry-run.
    WouldAdd,
    /// With --dry-run: a line before it would be added.
    Again,
    Unchanged {
        id: String,
    },
    /// It is there, with other settings.
    Differs {
        id: String,
        fields: Vec<&'static str>,
    },
    Refused {
        error: Fault,
    },
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    line: u64,
    client: &'a str,
    name: &'a str,
    #[serde(flatten)]
    done: &'a Done,
}

pub(super) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    if options.secret.is_typed() {
        return Err(Failure::usage(
            "bad_choice",
            "several subscriptions cannot each read a secret from standard input",
        )
        .at("--secret-stdin")
        .hint("give --secret-file, or have secrets generated"));
    }
    let mut lines = Lines::new(open(&options.file)?);
    let mut would_be = HashSet::new();
    let emitter = context.open_or_create().await?;
    let mut exit = Exit::Done;
    while let Some((number, line)) = lines.next()? {
        let parsed = match line {
            Line::Blank => continue,
            Line::TooLong => Err(Failure::from(too_long())),
            Line::Text(text) => serde_json::from_slice::<Portable>(text).map_err(|error| {
                Failure::new("bad_line", format!("is no subscription: {error}"))
                    .hint("one a line, as `tharsis subscription export` prints them")
            }),
        };
        let (draft, done) = match parsed {
            Ok(Portable(draft)) => {
                let done = import(context, &emitter, &options, &draft).await;
                (draft, done)
            }
            Err(failure) => (Draft::default(), Err(failure)),
        };
        // A second line of the same would find the first.
        let is_second = matches!(done, Ok(Done::WouldAdd))
            && !would_be.insert((draft.client.clone(), draft.name.clone()));
        let done = done.unwrap_or_else(|failure| {
            exit = Exit::Failed;
            Done::Refused {
                error: failure.into_fault(),
            }
        });
        let done = if is_second { Done::Again } else { done };
        tell(context.output, number, &draft, &done)?;
    }
    Ok(exit)
}

async fn import(
    context: &Context,
    emitter: &Emitter,
    options: &Options,
    draft: &Draft,
) -> Result<Done, Failure> {
    let configuration = &context.configuration;
    let settings = draft.settings(&configuration.egress, &configuration.profiles)?;
    let registry = emitter.registry();
    let there = registry.list(Some(settings.client)).await?;
    if let Some(found) = there
        .iter()
        .find(|found| found.settings.name == settings.name)
    {
        return Ok(compare(found, &settings));
    }
    let chosen = (options.secret).choose(&settings.profile, &options.insisting)?;
    settings.accepts(chosen.secret.as_ref())?;
    if options.dry_run {
        return Ok(Done::WouldAdd);
    }
    let added = (context.output.progress())
        .during(
            registering::add(emitter, &settings, &chosen, Vec::new(), None, by()),
            || format!("Checking {}", inert(settings.url.given())),
        )
        .await?;
    Ok(Done::Added {
        id: added.id.to_string(),
        secret: chosen.shown().map(str::to_owned),
    })
}

/// Compared as an admin would have typed both.
fn compare(found: &Subscription, wanted: &Settings) -> Done {
    let id = found.id.to_string();
    let fields = differences(&Draft::from(&found.settings), &Draft::from(wanted));
    if fields.is_empty() {
        Done::Unchanged { id }
    } else {
        Done::Differs { id, fields }
    }
}

fn differences(one: &Draft, other: &Draft) -> Vec<&'static str> {
    macro_rules! fields {
        ($($field:ident),+ $(,)?) => {
            [$((stringify!($field), one.$field != other.$field)),+]
        };
    }
    fields![
        url,
        profile,
        events,
        content_type,
        timeout,
        retry,
        retry_window,
        breaker,
        suspend_after,
        alert_mail,
        alert_every,
        max_in_flight,
        rate,
        order,
        on_dead,
        payload_limit,
        batch_items,
        linger,
        profile_settings,
        fields,
        filter,
        traceparent,
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(field, _)| field)
    .collect()
}

fn tell(output: Output, line: u64, draft: &Draft, done: &Done) -> Result<(), Failure> {
    if output.json {
        return output.document(&Document {
            line,
            client: &draft.client,
            name: &draft.name,
            done,
        });
    }
    let name = inert(&draft.name);
    match done {
        Done::Added { id, secret } => {
            output.line(format_args!("{id}  added      {name}"))?;
            if let Some(secret) = secret {
                output.line(format_args!("  its secret, shown this once: {secret}"))?;
            }
            Ok(())
        }
        Done::WouldAdd => output.line(format_args!("would be added  {name}")),
        Done::Again => output.line(format_args!("line {line} is of one before it: {name}")),
        Done::Unchanged { id } => output.line(format_args!("{id}  unchanged  {name}")),
        Done::Differs { id, fields } => output.line(format_args!(
            "{id}  differs    {name}: {}; change it with `tharsis subscription set`",
            fields.join(", ")
        )),
        Done::Refused { error } => {
            output.line(format_args!("line {line} refused: {}", error.sentence()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_compared() {
        let one = Draft::default();
        assert_eq!(differences(&one, &one), [""; 0]);
        let other = Draft {
            url: "https://other.example".to_owned(),
            traceparent: true,
            ..Draft::default()
        };
        assert_eq!(differences(&one, &other), ["url", "traceparent"]);
        // Client and name are what it is found by.
        let value = serde_json::to_value(Portable(one)).expect("JSON");
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(24));
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let draft = Draft {
            client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".to_owned(),
            name: "Shop".to_owned(),
            url: "https://shop.example/hooks".to_owned(),
            rate: Some("10/s".to_owned()),
            ..Draft::default()
        };
        let text = serde_json::to_string(&Portable(draft.clone())).expect("JSON");
        let Portable(back) = serde_json::from_str(&text).expect("read");
        assert_eq!(back, draft);
        let unknown = r#"{"client":"a","name":"b","url":"c","secret":"d"}"#;
        assert!(serde_json::from_str::<Portable>(unknown).is_err());
    }
}
