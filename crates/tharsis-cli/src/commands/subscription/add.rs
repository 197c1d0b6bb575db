use clap::Args;
use serde::Serialize;
use tharsis::{
    subscription::{Draft, Subscription},
    system_now,
};

use super::{Check, for_people};
use crate::{
    commands::{
        Context,
        documents::SubscriptionDocument,
        secret::{Chosen, SecretOptions},
    },
    output::{Exit, Failure, Output, text::inert},
};

/// Register a URL
///
/// The URL is checked first, with one HEAD request that must be answered 200 over a valid certificate; if that fails
/// nothing is created. What is published from then on is offered to the subscription.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription add --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --name Shop \\
      --url https://shop.example/hooks
  tharsis subscription add --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --name Nudges \\
      --url https://shop.example/nudges --event nudge --secret-file shop.secret --retry 30s,5m,1h
  openssl rand -hex 20 | tharsis subscription add … --secret-stdin")]
pub(crate) struct Options {
    /// The client whose events it gets
    #[arg(long, value_name = "UUID")]
    client: String,

    /// To tell webhooks apart
    #[arg(long, value_name = "TEXT")]
    name: String,

    /// Where to POST: HTTPS, a host name, port 443 or 8443
    #[arg(long, value_name = "URL")]
    url: String,

    /// Only events of this type; may be given several times [default: all that the profile knows]
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,

    /// The contract on the wire [default: mars]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,

    /// The content type of its requests [default: application/json]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// The longest that one request may take [default: 3s]
    #[arg(long, value_name = "SPAN")]
    timeout: Option<String>,

    /// The delays before retries, or `none` [default: 5s,1m,10m]
    #[arg(long, value_name = "SPANS")]
    retry: Option<String>,

    /// Requests under way to it at once [default: 8]
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,

    /// How the URL proves that it is there; `post` wants a secret that the receiver holds, or --no-secret
    #[arg(long, value_name = "METHOD", value_enum, default_value_t)]
    check: Check,

    #[command(flatten)]
    secret: SecretOptions,
}

pub(super) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let output = context.output;
    if options.check == Check::Post && options.secret.generates() {
        return Err(Failure::usage(
            "secret_unknown",
            "the test event would be signed with a secret that is generated now, which the receiver cannot know yet",
        )
        .at("--check post")
        .hint("give the secret that the receiver holds with --secret-file or --secret-stdin, or add --no-secret"));
    }
    let draft = Draft {
        client: options.client,
        name: options.name,
        url: options.url,
        profile: options.profile,
        events: options.events,
        content_type: options.content_type,
        timeout: options.timeout,
        retry: options.retry,
        max_in_flight: options.max_in_flight,
    };
    let settings = draft.settings(&context.configuration.egress)?;
    let chosen = options.secret.choose()?;
    settings.accepts(chosen.secret.as_ref())?;
    let emitter = context.open_or_create().await?;
    let subscription = output
        .progress()
        .during(
            emitter.subscribe(&settings, chosen.secret.as_ref(), options.check.into()),
            || format!("Checking {}", inert(settings.url.given())),
        )
        .await?;

    tell(output, &subscription, &chosen, "was added")?;
    output.note(format_args!(
        "Next:\n  tharsis subscription test {id}\n  tharsis publish events.ndjson\n  tharsis run",
        id = subscription.id
    ));
    Ok(Exit::Done)
}

/// Prints a subscription, and its secret if it was generated: the one moment at which it is shown. Where that fails,
/// what was `done` stands and nobody holds the secret, which is worth a failure even when the reader has gone.
pub(super) fn tell(
    output: Output,
    subscription: &Subscription,
    chosen: &Chosen,
    done: &str,
) -> Result<(), Failure> {
    let shown = chosen
        .secret
        .as_ref()
        .filter(|_| chosen.generated)
        .map(|secret| secret.expose());
    print(output, subscription, shown).map_err(|failure| {
        if shown.is_none() {
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

fn print(output: Output, subscription: &Subscription, secret: Option<&str>) -> Result<(), Failure> {
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(flatten)]
            subscription: SubscriptionDocument<'a>,
            /// Only when it was generated.
            #[serde(skip_serializing_if = "Option::is_none")]
            secret: Option<&'a str>,
        }
        return output.document(&Document {
            subscription: subscription.into(),
            secret,
        });
    }
    output.line(for_people(subscription, system_now()))?;
    if let Some(secret) = secret {
        output.line(format_args!(
            "Its secret, which is not shown again. Give it to the receiver:\n\n  {secret}\n"
        ))?;
    }
    Ok(())
}
