//! `tharsis verify`: is this request what the sender signed? Offline.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use tharsis::{
    Timestamp,
    signer::{self, Incoming, Rejected},
    system_now,
};

use super::{Context, secret};
use crate::output::{Exit, Failure};

/// Verify the signature of a request that was received
///
/// Nothing is opened and nothing is sent: the profile, the secret, the header and the exact bytes of the body are all
/// it takes. Says ok, or what is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis verify --secret-file shop.secret --body body.json \\
      --header 'X-Mars-Signature: sha1=de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9'
  tharsis verify --profile insightarc --url https://Shop.example/signals --secret-file shop.secret --body body.json \\
      --header 'x-insightarc-signature: dzK/mZ/EMsP/rVJLryq5AmaH9wU='
  tharsis listen | jq -jn 'first(inputs | select(.method == \"POST\")).body' > body.json
                                                  The first body's bytes, without a line break added")]
pub(crate) struct Options {
    /// The contract on the wire
    #[arg(long, value_name = "PROFILE", default_value = "mars")]
    profile: String,

    /// The file that holds the secret, or the public key (whpk_…) where requests are signed with the private one
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,

    /// A header as it came, `Name: value`; may be given several times
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(String, String)>,

    /// The URL exactly as it was registered, where it is signed too
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Judge a time that is signed as of then, in seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS")]
    at: Option<i64>,

    /// The file that holds the body as it came, or - for standard input
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
}

pub(crate) fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let profile = context.profile(&options.profile)?;
    let kind = secret::key_kind(&profile);
    let secret = secret::from_file(kind, &options.secret_file)?;
    let body = read(&options.body)?;
    if profile.signature.is_none() {
        return Err(Failure::new(
            "nothing_to_verify",
            format!("the profile {} signs nothing", profile.name),
        ));
    }
    let headers: Vec<_> = (options.headers.iter())
        .map(|(name, value)| (&**name, value.as_bytes()))
        .collect();
    let incoming = Incoming {
        headers: &headers,
        body: &body,
        url: options.url.as_deref(),
        now: Some(options.at.map_or_else(system_now, |seconds| {
            Timestamp::from_millis(seconds.saturating_mul(1_000))
        })),
    };
    signer::verify(&profile, Some(&secret), &incoming).map_err(|rejected| {
        let failure = Failure::new(rejected.code(), rejected.to_string());
        match (&rejected, rejected.hint()) {
            (Rejected::NoHeader { name }, _) => {
                failure.hint(format!("give it with --header '{name}: …'"))
            }
            (Rejected::NoUrl, _) => {
                failure.hint("give it with --url, exactly as it was registered")
            }
            (Rejected::TooOld | Rejected::TooNew, _) => {
                failure.hint("say when the request came with --at SECONDS")
            }
            (_, Some(hint)) => failure.hint(hint),
            (_, None) => failure,
        }
    })?;
    if context.output.json {
        #[derive(Serialize)]
        struct Document {
            verified: bool,
        }
        context.output.document(&Document { verified: true })?;
    } else {
        context.output.line("ok")?;
    }
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if path == Path::new("-") {
        let mut body = Vec::new();
        io::stdin().lock().read_to_end(&mut body).map(|_| body)
    } else {
        fs::read(path)
    };
    read.map_err(|error| {
        Failure::new("body_unreadable", format!("cannot be read: {error}"))
            .at(path.display().to_string())
    })
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("a header is written `Name: value`")?;
    // White space around a value is no part of it (RFC 9110, section 5.5).
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
