use clap::Args;
use tharsis::{
    ClientId, Registry, SubscriptionId,
    delivery::{Fault, Outcome},
    signer,
    subscription::{Credentials, Draft, Settings},
    system_now,
};
use tharsis_admin::trying::Sent;

use super::draft::DraftOptions;
use crate::{
    commands::{
        Context,
        documents::TestDocument,
        random,
        secret::{SecretOptions, given},
    },
    output::{
        Exit, Failure, Output, fields,
        text::{excerpt, inert, measured},
    },
};

/// What is of no use for a subscription that is added: it is tested as it is.
const TYPED: [&str; 28] = [
    "name",
    "url",
    "events",
    "filter",
    "fields",
    "settings",
    "content_type",
    "timeout",
    "retry",
    "retry_window",
    "breaker",
    "suspend_after",
    "alert_mail",
    "alert_every",
    "max_in_flight",
    "rate",
    "order",
    "on_dead",
    "payload_limit",
    "batch_items",
    "linger",
    "traceparent",
    "basic_user",
    "bearer_file",
    "header_files",
    "secret_file",
    "secret_stdin",
    "no_secret",
];

/// Send the test event of its profile, and show request and answer
///
/// Its type is `webhook.test`; it names no person and makes no offer. It is sent once and kept nowhere. Before a
/// subscription is added, give what `add` is to be given: nothing is created.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
  tharsis subscription test --url https://shop.example/journeys --profile smartech --set panel=Shop")]
pub(crate) struct Options {
    /// Its id, the first column of `tharsis subscription list`; or --url for one that is not added yet
    #[arg(
        value_name = "SUBSCRIPTION",
        required_unless_present = "url",
        conflicts_with_all = TYPED
    )]
    id: Option<SubscriptionId>,

    /// The contract on the wire, with --url
    #[arg(
        long,
        value_name = "PROFILE",
        default_value = "mars",
        conflicts_with = "id"
    )]
    profile: String,

    #[command(flatten)]
    draft: DraftOptions,

    #[command(flatten)]
    secret: SecretOptions,
}

pub(super) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let output = context.output;
    let (settings, credentials, subscription) = match options.id {
        Some(id) => {
            let registry = context.open().await?;
            let registry = registry.registry();
            let found = registry.find(id).await?;
            context.profile(&found.settings.profile.name)?;
            (found.settings, registry.credentials(id).await?, id)
        }
        None => {
            let (settings, credentials) = options.typed(context)?;
            let id = SubscriptionId::new(system_now(), random()?);
            (settings, credentials, id)
        }
    };
    let sent = send(context, &settings, &credentials, subscription).await?;
    if output.json {
        output.document(&TestDocument::from(&sent))?;
    } else {
        tell(output, &sent)?;
    }
    Ok(if sent.delivered {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Sends the test event of its profile.
pub(super) async fn send(
    context: &Context,
    settings: &Settings,
    credentials: &Credentials,
    subscription: SubscriptionId,
) -> Result<Sent, Failure> {
    let client = context.client()?;
    let sent = (context.output.progress())
        .during(
            Sent::test(&client, settings, credentials, subscription, system_now()),
            || format!("Sending to {}", inert(settings.url.given())),
        )
        .await?;
    Ok(sent)
}

pub(super) fn tell(output: Output, sent: &Sent) -> Result<(), Failure> {
    output.line(for_people(&sent.request, &sent.outcome))?;
    output.line(if sent.delivered {
        "The receiver took it."
    } else {
        "The receiver did not take it."
    })
}

impl Options {
    /// A subscription that is not added, as it was typed.
    fn typed(self, context: &Context) -> Result<(Settings, Credentials), Failure> {
        let profile = context.profile(&self.profile)?;
        let secret = given(&self.secret, &profile)?;
        let headers = self.draft.headers()?.unwrap_or_default();
        let draft = self.draft.over(Draft {
            client: ClientId::new(system_now(), random()?).to_string(),
            name: "test".to_owned(),
            profile: Some(self.profile),
            ..Draft::default()
        });
        let configuration = &context.configuration;
        let settings = draft.settings(&configuration.egress, &configuration.profiles)?;
        settings.accepts_headers(&headers)?;
        settings.accepts(secret.as_ref())?;
        let credentials = Credentials {
            secret,
            headers,
            ..Credentials::default()
        };
        Ok((settings, credentials))
    }
}

fn for_people(request: &signer::Request, outcome: &Outcome) -> String {
    let mut told = format!("POST {}\n", inert(request.url.given()));
    for header in &request.headers {
        told.push_str(&format!("{}: {}\n", header.name, inert(header.shown())));
    }
    told.push_str(&format!("\n{}\n\n", excerpt(&request.body, usize::MAX)));
    let mut pairs = vec![
        [
            "answer".to_owned(),
            outcome
                .status
                .map_or_else(|| "none".to_owned(), |status| status.to_string()),
        ],
        ["after".to_owned(), measured(outcome.duration)],
    ];
    if outcome.fault != Fault::None {
        pairs.push(["reason".to_owned(), outcome.code.to_string()]);
    }
    pairs.extend(
        outcome
            .detail
            .iter()
            .map(|detail| ["detail".to_owned(), detail.clone()]),
    );
    if !outcome.excerpt.is_empty() {
        pairs.push(["body".to_owned(), excerpt(&outcome.excerpt, 400)]);
    }
    if matches!(outcome.status, Some(401 | 403)) {
        pairs.push(["hint".to_owned(), "the receiver may hold another secret or other credentials: compare the fingerprint in `tharsis subscription show`".to_owned()]);
    }
    told.push_str(&fields(pairs));
    told
}
