//! Two hundred subscriptions, of which a fifth are in trouble, for minutes: what the others notice, and whether the worker
//! stays as small as it was.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tharsis::{Emitter, Registry, subscription::Credentials, system_now};
use tharsis_receiver::{
    Authority, Fault, FaultServer, Options as ReceiverOptions, Receiver, Sink, Then, closed_port,
};

use crate::{
    payload,
    report::{median, quantiles, round},
    role::Role,
    work,
    world::{Outside, Plan},
};

const SUBSCRIPTIONS: usize = 200;
const IN_TROUBLE: usize = 40;
const WELL: usize = SUBSCRIPTIONS - IN_TROUBLE;

/// Of five events one is for somebody in trouble.
const ONE_OF: usize = SUBSCRIPTIONS / IN_TROUBLE;

/// Events of one burst that are for those who are well, which throughput is taken of.
const BURST: usize = 8_000;
const BATCH: usize = 500;

/// Then so many at this pace, which the time from publish to receipt is taken of.
const PACED: usize = 600;
const EVERY: Duration = Duration::from_millis(5);

/// When it gives up waiting for who is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two outboxes with a worker each. In each pair the same events are published into both, in turn which comes first, and the
/// same subscriptions get them; in one of them a fifth are in trouble.
pub(crate) async fn measure(plan: &Plan, minutes: u64) -> anyhow::Result<Value> {
    let authority = Authority::generate()?;
    let trouble = Trouble::start(&authority).await?;
    let nobody = Receiver::bind(ReceiverOptions::new(&authority)).await?;
    let with = World::start(plan, &authority, &trouble.ports).await?;
    let without = World::start(plan, &authority, &[nobody.addr().port()]).await?;
    let until = Instant::now() + Duration::from_secs(60 * minutes);

    let (mut pairs, mut sizes) = (Vec::new(), Vec::new());
    let (mut ratios, mut slower) = (Vec::new(), Vec::new());
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    let mut next = 0;
    while Instant::now() < until || ratios.len() < 3 {
        let numbers = next..next + BURST + PACED;
        next = numbers.end;
        let (troubled, calm) = if ratios.len() % 2 == 0 {
            let troubled = with.turn(plan, numbers.clone()).await?;
            (troubled, without.turn(plan, numbers).await?)
        } else {
            let calm = without.turn(plan, numbers.clone()).await?;
            (with.turn(plan, numbers).await?, calm)
        };
        let ratio = troubled.per_second / calm.per_second;
        let p99 = [&troubled, &calm].map(|turn| p99(&turn.spans));
        let size = Size::of(&with.worker)?;
        pairs.push(json!({
            "with_per_s": troubled.per_second.round(),
            "without_per_s": calm.per_second.round(),
            "ratio": round(ratio),
            "with_p99_ms": round(p99[0]),
            "without_p99_ms": round(p99[1]),
            "resident_mb": round(size.resident_mb),
            "descriptors": size.descriptors,
        }));
        ratios.push(ratio);
        slower.push(p99[0] / p99[1]);
        sizes.push(size);
        beside.extend(troubled.spans);
        alone.extend(calm.spans);
    }
    let remaining = with.emitter.remaining().await?;
    let third = (sizes.len() / 3).max(1);
    let (early, late) = (&sizes[..third], &sizes[sizes.len() - third..]);
    let summary = json!({
        "ratio": round(median(ratios)),
        "p99_ratio": round(median(slower)),
        "resident_mb": { "first_third": largest(early).0, "last_third": largest(late).0 },
        "descriptors": { "first_third": largest(early).1, "last_third": largest(late).1 },
    });
    with.worker.end().await?;
    without.worker.end().await?;
    Ok(json!({
        "scenario": "soak",
        "database": plan.database.name(),
        "minutes": minutes,
        "subscriptions": SUBSCRIPTIONS,
        "in_trouble": IN_TROUBLE,
        "held_at_the_end": remaining.held,
        "pairs": pairs,
        "publish_to_receipt_ms": { "with": quantiles(beside)?, "without": quantiles(alone)? },
        "median": summary,
    }))
}

/// Receivers that hang, refuse, reset, and answer 429 and 500.
struct Trouble {
    ports: Vec<u16>,
    _servers: Vec<FaultServer>,
}

impl Trouble {
    async fn start(authority: &Authority) -> anyhow::Result<Self> {
        let busy = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
        let broken = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
        let faults = [
            Fault::SilentHandshake,
            Fault::ResetWhileReading,
            Fault::Answer(busy.to_vec(), Then::Again),
            Fault::Answer(broken.to_vec(), Then::Again),
        ];
        let mut servers = Vec::new();
        for fault in faults {
            servers.push(FaultServer::bind(authority, fault).await?);
        }
        let mut ports: Vec<u16> = servers.iter().map(|server| server.addr().port()).collect();
        ports.push(closed_port()?.port());
        Ok(Self {
            ports,
            _servers: servers,
        })
    }
}

/// An outbox, its worker in a process of its own, and the receiver of those who are well in this one, so that one clock
/// tells both ends.
struct World {
    emitter: Emitter,
    worker: Role,
    receiver: Receiver,
    arrived: Arc<Mutex<HashMap<Bytes, Instant>>>,
    _outside: Outside,
}

/// What came of one turn.
struct Turn {
    per_second: f64,
    spans: Vec<Duration>,
}

impl World {
    async fn start(plan: &Plan, authority: &Authority, others: &[u16]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, authority.pem())?;
        let arrived = Arc::new(Mutex::new(HashMap::new()));
        let arrivals = arrived.clone();
        let receiver = Receiver::bind(ReceiverOptions {
            sink: Sink::Call(Arc::new(move |received| {
                let now = Instant::now();
                let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
                arrivals.insert(received.body, now);
            })),
            ..ReceiverOptions::new(authority)
        })
        .await?;
        let port = receiver.addr().port();
        let outside = Outside::new(&plan.database, folder, ca_file, port).await?;
        let emitter = outside.emitter(others).await?;
        let others_in_turn = others.iter().cycle().take(IN_TROUBLE);
        let all = std::iter::repeat_n(&port, WELL).chain(others_in_turn);
        for (n, port) in all.enumerate() {
            let settings = outside.settings(&payload::client(n), "soak", *port, 8)?;
            emitter
                .registry()
                .add(&settings, &Credentials::default(), system_now())
                .await?;
        }
        Ok(Self {
            worker: work::start_reaching(&outside, 256, others).await?,
            emitter,
            receiver,
            arrived,
            _outside: outside,
        })
    }

    /// A burst, and then events at a pace.
    async fn turn(&self, plan: &Plan, numbers: std::ops::Range<usize>) -> anyhow::Result<Turn> {
        let (burst, paced) = (
            numbers.start..numbers.start + BURST,
            numbers.start + BURST..numbers.end,
        );
        let (before, began) = (self.receiver.count(), Instant::now());
        for first in burst.step_by(BATCH) {
            self.publish(plan, first..first + BATCH).await?;
        }
        self.wait_for(before + BURST as u64).await?;
        let per_second = Plan::per_second(BURST, began.elapsed());

        let mut published = Vec::with_capacity(PACED);
        let mut beat = tokio::time::interval(EVERY);
        for n in paced {
            beat.tick().await;
            let at = Instant::now();
            published.push((self.publish(plan, n..n + 1).await?, at));
        }
        self.wait_for(before + (BURST + PACED) as u64).await?;
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = published.iter().map(|(body, at)| {
            let then = arrived.get(body).context("an event did not arrive")?;
            Ok(then.duration_since(*at))
        });
        let spans = spans.collect::<anyhow::Result<_>>()?;
        arrived.clear();
        Ok(Turn { per_second, spans })
    }

    /// Those for who is well, and beside each fourth one for somebody in trouble. Returns the body of the first.
    async fn publish(&self, plan: &Plan, numbers: std::ops::Range<usize>) -> anyhow::Result<Bytes> {
        let mut events = Vec::new();
        for n in numbers {
            events.push(payload::event_of(
                &payload::client(n % WELL),
                n,
                plan.bytes,
            )?);
            if n % (ONE_OF - 1) == 0 {
                let client = payload::client(WELL + n / (ONE_OF - 1) % IN_TROUBLE);
                events.push(payload::event_of(&client, n, plan.bytes)?);
            }
        }
        let first = events.first().context("there is one")?.payload().clone();
        for published in self.emitter.publish_all(&events).await? {
            published?;
        }
        Ok(first)
    }

    async fn wait_for(&self, count: u64) -> anyhow::Result<()> {
        ensure!(
            self.receiver.wait_until(count, PATIENCE).await,
            "{} of {count} arrived at who is well",
            self.receiver.count()
        );
        Ok(())
    }
}

/// How much a process has of what may not grow.
struct Size {
    resident_mb: f64,
    descriptors: usize,
}

impl Size {
    /// Of this worker (proc(5)).
    fn of(worker: &Role) -> anyhow::Result<Self> {
        const PAGE: f64 = 4_096.0;
        let process = worker.process()?;
        let statm = std::fs::read_to_string(format!("/proc/{process}/statm"))
            .context("only Linux says what is resident")?;
        let pages: f64 = statm
            .split(' ')
            .nth(1)
            .context("it does not say")?
            .parse()?;
        Ok(Self {
            resident_mb: pages * PAGE / 1_000_000.0,
            descriptors: std::fs::read_dir(format!("/proc/{process}/fd"))?.count(),
        })
    }
}

fn largest(sizes: &[Size]) -> (f64, usize) {
    let resident = sizes.iter().map(|size| size.resident_mb);
    let descriptors = sizes.iter().map(|size| size.descriptors);
    (
        round(resident.fold(0.0, f64::max)),
        descriptors.max().unwrap_or(0),
    )
}

/// In milliseconds.
fn p99(spans: &[Duration]) -> f64 {
    let mut spans = spans.to_vec();
    spans.sort();
    let at = spans.len().saturating_sub(1) * 99 / 100;
    spans
        .get(at)
        .map_or(f64::NAN, |span| span.as_secs_f64() * 1_000.0)
}
