//! Publishing over HTTP, one event a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use tharsis::{
    Emitter, Registry as _,
    store::{By, TokenDraft},
    system_now,
    token::{Grant, Role as TokenRole, Token},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    payload,
    report::{median, round},
    role::{Role, asked, say},
    work::Work,
    world::{Outside, Plan, World},
};

/// What the server works with.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    work: Work,
    /// Deliver too.
    #[arg(long)]
    delivers: bool,
}

/// Serves the API until standard input ends, as `tharsis serve` does. Says where it listens.
pub(crate) async fn run(serve: Serve) -> anyhow::Result<()> {
    let emitter = serve.work.emitter().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    if serve.delivers {
        emitter.client()?;
        emitter.own().await?;
    }
    say(address)?;
    let (end, ended) = tokio::sync::watch::channel(());
    let told = |mut ended: tokio::sync::watch::Receiver<()>| async move {
        while ended.changed().await.is_ok() {}
    };
    let mut options = tharsis_admin::Options::new(system_now);
    options.hosts = vec![address.to_string()];
    let served = Arc::new(emitter.clone());
    let serving = tharsis_admin::serve(listener, served, options, told(ended.clone()));
    let delivering = async {
        match serve.delivers {
            true => emitter.run(told(ended)).await.map(drop),
            false => Ok(()),
        }
    };
    let ending = async {
        while matches!(asked().await, Ok(Some(()))) {}
        drop(end);
    };
    let ((), delivered, ()) = tokio::join!(serving, delivering, ending);
    Ok(delivered?)
}

/// As many connections as the plan has requests under way, each with one event at a time: without delivery, and from the first
/// request to the last receipt. Beside as many tasks that publish one event at a time in this process, without HTTP.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let (mut alone, mut delivered, mut direct, mut ratios) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let rate = |took| Plan::per_second(plan.events, took);
    for _ in 0..plan.runs {
        let world = World::new(plan).await?;
        let took = publish(&world.emitter, plan).await?;
        direct.push(rate(took));

        let world = World::new(plan).await?;
        let (server, target) = start(&world, plan, false).await?;
        let took = requests(&target, plan).await?;
        server.end().await?;
        alone.push(rate(took));
        ratios.push(alone[alone.len() - 1] / direct[direct.len() - 1]);

        let mut world = World::new(plan).await?;
        let (server, target) = start(&world, plan, true).await?;
        let began = Instant::now();
        requests(&target, plan).await?;
        while world.receiver.count().await? < u64::try_from(plan.deliveries())? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        delivered.push(rate(began.elapsed()));
        server.end().await?;
    }
    Ok(json!({
        "scenario": "http",
        "database": plan.database.name(),
        "median": {
            "published_per_s": median(alone).round(),
            "published_and_delivered_per_s": median(delivered).round(),
            "published_in_process_per_s": median(direct).round(),
            "ratio": round(median(ratios)),
        },
    }))
}

/// Without HTTP.
async fn publish(emitter: &Emitter, plan: &Plan) -> anyhow::Result<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let tasks = (0..plan.in_flight).map(|_| {
        let (emitter, next) = (emitter.clone(), next.clone());
        let (events, bytes) = (plan.events, plan.bytes);
        tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= events {
                    return anyhow::Ok(());
                }
                emitter.publish(&payload::event(n, bytes)?).await?;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(began.elapsed())
}

/// Whom requests go to, and with what.
struct Target {
    address: String,
    token: Token,
}

async fn start(world: &World, plan: &Plan, delivers: bool) -> anyhow::Result<(Role, Arc<Target>)> {
    let token = Token::generate([9; 32]);
    let draft = TokenDraft {
        name: "bench".to_owned(),
        grant: Grant {
            role: TokenRole::Publisher,
            client: None,
        },
        expires_at: None,
    };
    let by = By::new("bench", system_now());
    world
        .emitter
        .registry()
        .add_token(&token, &draft, by)
        .await?;
    let mut arguments = arguments(&world.outside, plan);
    arguments.extend(delivers.then(|| "--delivers".into()));
    let mut server = Role::start(arguments)?;
    let address = server.hear().await?;
    Ok((server, Arc::new(Target { address, token })))
}

fn arguments(outside: &Outside, plan: &Plan) -> Vec<std::ffi::OsString> {
    let mut arguments = vec!["serve".into()];
    arguments.extend(Work::arguments(outside, plan.in_flight as usize, &[]));
    arguments
}

async fn requests(target: &Arc<Target>, plan: &Plan) -> anyhow::Result<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let tasks = (0..plan.in_flight).map(|_| {
        let (target, next) = (target.clone(), next.clone());
        let (events, bytes) = (plan.events, plan.bytes);
        tokio::spawn(async move { connection(&target, &next, events, bytes).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(began.elapsed())
}

/// One request after the other, on one connection.
#[expect(
    clippy::disallowed_methods,
    reason = "our own server is asked, on this machine"
)]
async fn connection(
    target: &Target,
    next: &AtomicUsize,
    events: usize,
    bytes: usize,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(&target.address).await?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= events {
            return Ok(());
        }
        let body = payload::text(payload::CLIENT, n, bytes);
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            target.address,
            target.token.expose(),
            body.len(),
        );
        stream.write_all(request.as_bytes()).await?;
        answer.clear();
        while !is_whole(&answer)? {
            anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "it hung up");
        }
        let created = answer.starts_with(b"HTTP/1.1 201 ");
        anyhow::ensure!(created, "{}", String::from_utf8_lossy(&answer));
    }
}

fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = std::str::from_utf8(&answer[..end])?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("it says no length")?.parse()?;
    Ok(answer.len() >= end + 4 + length)
}
