//! `tharsis alert`: what people were told.

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::{
    Registry,
    alert::{Mail, MailAddress},
    system_now,
};

use super::{Context, documents::AlertDocument};
use crate::{
    mail,
    output::{
        Exit, Failure, Table,
        text::{inert, moment, moment_or_dash},
    },
};

/// See what people and subscriptions were told, and whether people can be
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  tharsis alert list
  tharsis alert test ops@shop.example")]
pub(crate) enum Command {
    List(List),
    Test(Test),
}

/// List what people were told and are to be told: what is not told yet first, then the newest
///
/// At most 100 of the last 90 days. What was overtaken before it was told, or had nobody to be told to, is listed too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis alert list
  tharsis alert list --json | jq '.alerts[] | select(.status == \"untold\")'")]
pub(crate) struct List {}

/// Send a test mail, and print what the mail server said
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis alert test ops@shop.example")]
pub(crate) struct Test {
    /// Whom to
    #[arg(value_name = "ADDRESS")]
    to: MailAddress,
}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::List(List {}) => list(context).await,
        Command::Test(Test { to }) => test(context, to).await,
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let emitter = context.open_without_key().await?;
    let alerts = emitter.registry().alerts(None).await?;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            alerts: Vec<AlertDocument<'a>>,
        }
        output.document(&Document {
            alerts: alerts.iter().map(AlertDocument::from).collect(),
        })?;
    } else if alerts.is_empty() {
        output.note("Nothing was raised.");
    } else {
        let mut table = Table::new(&[
            "raised",
            "alert",
            "subscription",
            "status",
            "told",
            ">tries",
            "event",
        ]);
        for record in &alerts {
            table.row([
                moment(record.alert.raised_at, now),
                record.alert.cause.as_str().to_owned(),
                inert(&record.subscription_name).into_owned(),
                AlertDocument::from(record).status.to_owned(),
                moment_or_dash(record.ended_at, now),
                record.alert.tries.to_string(),
                (record.alert.event).map_or_else(|| "-".to_owned(), |event| event.to_string()),
            ]);
        }
        output.table(&table)?;
    }
    Ok(Exit::Done)
}

async fn test(context: &Context, to: &MailAddress) -> Result<Exit, Failure> {
    let output = context.output;
    let Some(smtp) = mail::smtp(&context.configuration)? else {
        return Err(Failure::usage("no_smtp", "no mail server is configured")
            .at("smtp")
            .hint("name one in tharsis.toml: [smtp] host, from"));
    };
    let mail = Mail {
        to: to.clone(),
        subject: "[Tharsis] A test".to_owned(),
        text: "Somebody asked whether alerts reach you: `tharsis alert test`. They do.\n"
            .to_owned(),
    };
    let sending = smtp.send(&mail);
    let answer = (output.progress())
        .during(sending, || format!("Sending to {to}"))
        .await;
    match answer {
        Ok(said) if output.json => {
            #[derive(Serialize)]
            struct Document<'a> {
                to: &'a str,
                answer: &'a str,
            }
            output.document(&Document {
                to: to.as_str(),
                answer: &said,
            })?;
        }
        Ok(said) => output.line(format_args!("The mail server took it: {}", inert(&said)))?,
        Err(untold) => {
            return Err(Failure::new("not_taken", untold.message)
                .at("smtp")
                .hint("look at [smtp] in tharsis.toml and at the log of the mail server"));
        }
    }
    Ok(Exit::Done)
}
