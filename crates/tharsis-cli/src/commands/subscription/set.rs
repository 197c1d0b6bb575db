use clap::Args;
use tharsis::{
    Registry, dispatch,
    egress::Policy,
    subscription::{Draft, Settings},
    system_now,
};

use super::{Check, Which, show::show};
use crate::{
    commands::Context,
    output::{Exit, Failure, text::inert},
};

/// Change its settings; what is not given stays
///
/// A new URL is checked as on `add`; if that fails nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription set 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --name 'Shop production'
  tharsis subscription set 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 \\
      --url https://new.example/hooks --retry 30s,5m,1h")]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,

    /// To tell webhooks apart
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Where to POST
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Only events of this type; may be given several times, replaces the present choice
    #[arg(long = "event", value_name = "TYPE", conflicts_with = "all_events")]
    events: Vec<String>,

    /// All events that the profile knows
    #[arg(long)]
    all_events: bool,

    /// The content type of its requests
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// The longest that one request may take
    #[arg(long, value_name = "SPAN")]
    timeout: Option<String>,

    /// The delays before retries, or `none`
    #[arg(long, value_name = "SPANS")]
    retry: Option<String>,

    /// Requests under way to it at once
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,

    /// How a new URL proves that it is there
    #[arg(long, value_name = "METHOD", value_enum, default_value_t)]
    check: Check,
}

pub(super) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let (output, id) = (context.output, options.which.id);
    let emitter = context.open().await?;
    let registry = emitter.registry();
    let present = registry.find(id).await?.settings;
    let method = options.check;
    let policy = policy(
        &context.configuration.egress,
        &present,
        options.url.is_some(),
    );
    let settings = options.over(Draft::from(&present)).settings(&policy)?;
    if settings.url != present.url {
        let secret = registry.secret(id).await?;
        output
            .progress()
            .during(
                dispatch::check(
                    emitter.client()?,
                    &settings,
                    secret.as_ref(),
                    method.into(),
                    system_now(),
                ),
                || format!("Checking {}", inert(settings.url.given())),
            )
            .await?;
    }
    let subscription = registry.set(id, &settings, system_now()).await?;
    show(context, &subscription)
}

impl Options {
    /// The draft with what was given in place of what stands.
    fn over(self, present: Draft) -> Draft {
        Draft {
            name: self.name.unwrap_or(present.name),
            url: self.url.unwrap_or(present.url),
            events: match self.all_events {
                true => Vec::new(),
                false if self.events.is_empty() => present.events,
                false => self.events,
            },
            content_type: self.content_type.or(present.content_type),
            timeout: self.timeout.or(present.timeout),
            retry: self.retry.or(present.retry),
            max_in_flight: self.max_in_flight.or(present.max_in_flight),
            ..present
        }
    }
}

/// What a new URL is judged by. The present one was judged when it was registered, and is judged anew at each connection.
fn policy(configured: &Policy, present: &Settings, new_url: bool) -> Policy {
    let mut policy = configured.clone();
    if !new_url {
        policy.allow_hosts.push(present.url.host().to_owned());
        policy.allow_ports.push(present.url.port());
    }
    policy
}
