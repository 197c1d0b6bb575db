//! `tharsis listen`: a receiver to try webhooks with.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use tharsis::{
    parse_duration,
    profile::{Fallback, Profile, Requirement},
};
use tharsis_receiver::{Answer, Authority, Receiver, Sink, StatusCode, Verify};
use tokio::sync::mpsc;

use super::{Context, secret};
use crate::{
    output::{
        Exit, Failure,
        text::{in_shell, inert},
    },
    signals,
};

/// Receive webhooks on this machine, and print each request as a line of JSON
///
/// An HTTPS server on 127.0.0.1 with a certificate authority of its own. Each line has `at`, `method`, `path`, `headers`,
/// `body` as text, `data` (of a form, decoded), `verified` (true, false, or null without a secret) and `reason`. A HEAD is always answered 200.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis listen
  tharsis listen --port 9443 --secret-file shop.secret
  tharsis listen --profile smartech | jq '.data // empty | fromjson'
  tharsis listen --fail-first 2                   Answers 503 twice, then 200
  tharsis listen --status 500 --delay 2s          Answers 500, and slowly
  tharsis listen | jq -c 'select(.verified == false)'")]
pub(crate) struct Options {
    /// The port on 127.0.0.1; 0 takes any
    #[arg(long, value_name = "N", default_value_t = 9443)]
    port: u16,

    /// The contract on the wire, to verify by
    #[arg(long, value_name = "PROFILE", default_value = "mars")]
    profile: String,

    /// The URL exactly as it is registered, where it is signed [default: https://localhost, the port, and the path]
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// The file that holds the secret; without one nothing is verified
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Where the authority's certificate lies, its key beside it in FILE.key; made if it is not there
    #[arg(long, value_name = "FILE", default_value = "ca.pem")]
    ca_out: PathBuf,

    /// Answer with this status
    #[arg(long, value_name = "STATUS", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,

    /// Wait so long before each answer
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = parse_duration)]
    delay: Duration,

    /// Fail the first N requests, with 503 or with a --status that is a failure; answer 200 afterwards
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_first: u32,
}

pub(crate) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let shutdown = signals::shutdown()?;
    let profile = context.profile(&options.profile)?;
    let kind = secret::key_kind(&profile);
    let secret = options.secret_file.as_deref();
    let secret = secret
        .map(|path| secret::from_file(kind, path))
        .transpose()?;
    let verify = secret.map(|secret| Verify {
        profile: Arc::clone(&profile),
        secret: Some(secret),
        url: options.url.clone(),
    });
    let authority = Authority::load_or_create(&options.ca_out)?;
    let (sender, mut requests) = mpsc::unbounded_channel();
    let receiver = Receiver::bind(tharsis_receiver::Options {
        port: options.port,
        verify,
        answer: options.answer(),
        sink: Sink::Channel(sender),
        ..tharsis_receiver::Options::new(&authority)
    })
    .await?;
    introduce(&options, &profile, &receiver)?;

    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            request = requests.recv() => match request {
                Some(request) => context.output.document(&request)?,
                None => break,
            },
        }
    }
    receiver.shutdown().await;
    Ok(Exit::Done)
}

impl Options {
    fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.status).expect("clap let only 200 to 599 through");
        let mut answer = Answer {
            status,
            delay: self.delay,
            fail_first: self.fail_first,
            ..Answer::default()
        };
        if self.fail_first > 0 && !status.is_success() {
            answer.fail_status = status;
            answer.status = StatusCode::OK;
        }
        answer
    }
}

/// Says where it listens and what to type next. On standard error: standard output carries the requests.
fn introduce(options: &Options, profile: &Profile, receiver: &Receiver) -> Result<(), Failure> {
    let ca_out = options.ca_out.to_string_lossy();
    let ca = in_shell(&ca_out);
    let egress = format!(
        "--egress-allow-host localhost --egress-allow-address 127.0.0.0/8 --egress-allow-port {} --egress-ca-file {ca}",
        receiver.addr().port()
    );
    let secret = match &options.secret_file {
        Some(path) => format!(" --secret-file {}", in_shell(&path.to_string_lossy())),
        None if profile.secret == Requirement::Optional => " --no-secret".to_owned(),
        None => String::new(),
    };
    let named = match &*profile.name {
        "mars" => String::new(),
        name => format!(" --profile {name}"),
    };
    let asked: String = (profile.settings.iter())
        .filter(|setting| setting.fallback == Fallback::Required)
        .map(|setting| format!(" --set {}=listen", setting.name))
        .collect();
    writeln!(
        io::stderr().lock(),
        "Listening on {url}\nCertificate authority: {ca_out}\nRegister it, and deliver to it, with:\n  \
         tharsis subscription add --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --name listen --url {url}{named}{asked}{secret} {egress}\n  \
         tharsis run {egress}",
        url = receiver.url("/"),
        ca_out = inert(&ca_out),
    )?;
    Ok(())
}
