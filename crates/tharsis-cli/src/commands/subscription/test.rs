use clap::Args;
use serde::Serialize;
use tharsis::{
    Registry,
    delivery::{Fault, Outcome, codes},
    signer, system_now,
};

use super::Which;
use crate::{
    commands::{Context, documents::millis},
    output::{
        Exit, Failure, fields,
        text::{excerpt, inert, measured},
    },
};

/// Send the signed test event, and show request and answer
///
/// Its `type` is `webhook.test`; it names no person and makes no offer. It is sent once and kept nowhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42")]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let (output, id) = (context.output, options.which.id);
    let emitter = context.open().await?;
    let settings = emitter.registry().find(id).await?.settings;
    let secret = emitter.registry().secret(id).await?;
    let request = signer::test(&settings, secret.as_ref(), system_now())?;
    let mut outcome = output
        .progress()
        .during(emitter.client()?.send(request.clone()), || {
            format!("Sending to {}", inert(settings.url.given()))
        })
        .await;
    withhold_address(&mut outcome);
    let delivered = outcome.fault == Fault::None;
    if output.json {
        output.document(&Document::new(&request, &outcome, delivered))?;
    } else {
        output.line(for_people(&request, &outcome))?;
        output.line(if delivered {
            "The receiver took it."
        } else {
            "The receiver did not take it."
        })?;
    }
    Ok(if delivered { Exit::Done } else { Exit::Failed })
}

/// Says of an address that is not allowed what it means and not which one it is: whoever tries URLs must not learn what
/// names lead to inside of this network.
fn withhold_address(outcome: &mut Outcome) {
    if outcome.code.starts_with("address_") {
        outcome.detail = codes::find(&outcome.code).map(|code| code.meaning.into());
    }
}

fn for_people(request: &signer::Request, outcome: &Outcome) -> String {
    let mut told = format!("POST {}\n", inert(request.url.given()));
    for (name, value) in &request.headers {
        told.push_str(&format!("{name}: {}\n", inert(value)));
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
        pairs.push(["hint".to_owned(), "the receiver may hold another secret: compare its fingerprint in `tharsis subscription show`".to_owned()]);
    }
    told.push_str(&fields(pairs));
    told
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    delivered: bool,
    request: RequestDocument<'a>,
    answer: AnswerDocument<'a>,
}

#[derive(Debug, Serialize)]
struct RequestDocument<'a> {
    method: &'static str,
    url: &'a str,
    headers: std::collections::BTreeMap<&'a str, &'a str>,
    body: String,
}

#[derive(Debug, Serialize)]
struct AnswerDocument<'a> {
    status: Option<u16>,
    /// The code of the outcome.
    reason: &'a str,
    duration_ms: u64,
    detail: Option<&'a str>,
    excerpt: Option<String>,
}

impl<'a> Document<'a> {
    fn new(request: &'a signer::Request, outcome: &'a Outcome, delivered: bool) -> Self {
        Self {
            delivered,
            request: RequestDocument {
                method: "POST",
                url: request.url.given(),
                headers: request
                    .headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_ref()))
                    .collect(),
                body: String::from_utf8_lossy(&request.body).into_owned(),
            },
            answer: AnswerDocument {
                status: outcome.status,
                reason: &outcome.code,
                duration_ms: millis(outcome.duration),
                detail: outcome.detail.as_deref(),
                excerpt: (!outcome.excerpt.is_empty())
                    .then(|| excerpt(&outcome.excerpt, usize::MAX)),
            },
        }
    }
}
