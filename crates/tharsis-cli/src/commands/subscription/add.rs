use clap::Args;
use tharsis::{
    CheckMethod,
    subscription::{Draft, Subscription},
    system_now,
};
use tharsis_admin::registering::{self, Chosen};

use super::{Check, draft::DraftOptions, for_people};
use crate::{
    commands::{
        Context, by,
        documents::MadeSubscriptionDocument,
        egress::seen_from,
        secret::{Insisting, SecretOptions},
    },
    output::{Exit, Failure, Output, fields, text::inert},
};

/// Register a URL
///
/// The URL is checked first, with one HEAD request that must be answered 200 over a valid certificate (under the profile
/// `smartech` with its test event); if that fails nothing is created. What is published from then on is offered to the
/// subscription.
#[derive(Debug, Args)]
#[command(mut_arg("name", |arg| arg.required(true)), mut_arg("url", |arg| arg.required(true)))]
#[command(after_help = "\
Examples:
  tharsis subscription add --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --name Shop \\
      --url https://shop.example/hooks
  tharsis subscription add --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --name Nudges \\
      --url https://shop.example/nudges --event nudge --secret-file shop.secret --retry 30s,5m,1h
  tharsis subscription add --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --name Journeys \\
      --url https://shop.example/journeys --profile smartech --set panel=Shop \\
      --basic-user shop --basic-password-file shop.password --filter 'event.att_params.CITY == \"Thane\"'
  openssl rand -hex 20 | tharsis subscription add … --secret-stdin")]
pub(crate) struct Options {
    /// The client whose events it gets
    #[arg(long, value_name = "UUID")]
    client: String,

    /// The contract on the wire: mars, insightarc, smartech, nudge, standard, github, shopify, stripe, or a declared one
    #[arg(long, value_name = "PROFILE", default_value = "mars")]
    profile: String,

    #[command(flatten)]
    draft: DraftOptions,

    /// How the URL proves that it is there [default: the profile's, mostly head]; `post` wants a secret that the receiver
    /// holds, or --no-secret
    #[arg(long, value_name = "METHOD", value_enum)]
    check: Option<Check>,

    #[command(flatten)]
    secret: SecretOptions,

    #[command(flatten)]
    insisting: Insisting,
}

pub(super) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let output = context.output;
    let profile = context.profile(&options.profile)?;
    let method = CheckMethod::of(&profile, options.check.map(Into::into))?;
    knows_secret(method, options.secret.generates(&profile))?;
    let headers = options.draft.headers()?.unwrap_or_default();
    let draft = options.draft.over(Draft {
        client: options.client,
        profile: Some(options.profile),
        ..Draft::default()
    });
    let configuration = &context.configuration;
    let settings = draft.settings(&configuration.egress, &configuration.profiles)?;
    let chosen = options.secret.choose(&profile, &options.insisting)?;
    settings.accepts(chosen.secret.as_ref())?;
    settings.accepts_headers(&headers)?;
    let emitter = context.open_or_create().await?;
    let subscription = output
        .progress()
        .during(
            registering::add(&emitter, &settings, &chosen, headers, Some(method), by()),
            || format!("Checking {}", inert(settings.url.given())),
        )
        .await?;

    tell(output, &subscription, &chosen, "was added")?;
    if let Some(ranges) = seen_from(configuration) {
        output.note(format_args!(
            "Requests come from {ranges}: the receiver's firewall is to let them in."
        ));
    }
    output.note(format_args!(
        "Next:\n  tharsis subscription test {id}\n  tharsis publish events.ndjson\n  tharsis run",
        id = subscription.id
    ));
    Ok(Exit::Done)
}

/// The receiver has to know what its test event is signed with.
pub(super) fn knows_secret(method: CheckMethod, is_generated: bool) -> Result<(), Failure> {
    registering::knows_secret(method, is_generated).map_err(|refused| {
        Failure::from(refused)
            .into_usage()
            .at("--check post")
            .hint("give the secret that the receiver holds with --secret-file or --secret-stdin, or add --no-secret")
    })
}

/// Prints a subscription, and its secret if it was generated: the one moment at which it is shown. Where that fails,
/// what was `done` stands and nobody holds the secret, which is worth a failure even when the reader has gone.
pub(super) fn tell(
    output: Output,
    subscription: &Subscription,
    chosen: &Chosen,
    done: &str,
) -> Result<(), Failure> {
    print(output, subscription, chosen).map_err(|failure| {
        if chosen.shown().is_none() {
            return failure;
        }
        let id = subscription.id;
        Failure::new(
            "secret_not_shown",
            format!(
                "the subscription {id} {done}, but its generated secret could not be printed: {}",
                failure.fault().message
            ),
        )
        .hint(format!(
            "have another one made, and keep it: tharsis subscription rotate {id}"
        ))
    })
}

fn print(output: Output, subscription: &Subscription, chosen: &Chosen) -> Result<(), Failure> {
    if output.json {
        return output.document(&MadeSubscriptionDocument::of(subscription, Some(chosen)));
    }
    output.line(fields(for_people(subscription, system_now())))?;
    if let Some(secret) = chosen.shown() {
        output.line(format_args!(
            "Its secret, which is not shown again. Give it to the receiver:\n\n  {secret}\n"
        ))?;
    }
    Ok(())
}
