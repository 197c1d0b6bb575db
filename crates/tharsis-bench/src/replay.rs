//! A replay at a rate, whose worker is killed five times, beside live traffic: whether it sends each once more and nothing
//! else, keeps its rate, and what the live ones notice.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tharsis::{
    Emitter, Registry,
    rate::Rate,
    store::{DeliveryFilter, ReplayChoice, ReplayDraft, ReplayState},
    subscription::Credentials,
    system_now,
};
use tharsis_receiver::{Authority, Options as ReceiverOptions, Receiver, Sink};

use crate::{
    payload,
    report::{quantiles, round},
    work,
    world::{Outside, Plan, publish_all},
};

const KILLS: usize = 5;

/// One of so many is of the client whose deliveries are left alone.
const OTHERS: usize = 10;

/// Live events come at this pace.
const EVERY: Duration = Duration::from_millis(20);

/// How long live events are looked at before the replay.
const BEFORE: Duration = Duration::from_secs(10);

/// After a worker has begun to send again, so long passes before it is measured.
const SETTLING: Duration = Duration::from_secs(2);

/// When it gives up.
const PATIENCE: Duration = Duration::from_secs(300);

const REPLAYED: usize = 0;
const LEFT: usize = 1;
const LIVE: usize = 2;

pub(crate) async fn measure(plan: &Plan, rate: Option<Rate>) -> anyhow::Result<Value> {
    let ledger = Arc::new(Ledger::default());
    let authority = Authority::generate()?;
    let folder = tempfile::tempdir()?;
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem())?;
    let writes = ledger.clone();
    let receiver = Receiver::bind(ReceiverOptions {
        sink: Sink::Call(Arc::new(move |received| writes.arrived(&received.body))),
        ..ReceiverOptions::new(&authority)
    })
    .await?;
    let port = receiver.addr().port();
    let outside = Outside::new(&plan.database, folder, ca_file, port).await?;
    let emitter = outside.emitter(&[]).await?;
    for n in [REPLAYED, LEFT, LIVE] {
        let settings = outside.settings(&payload::client(n), "replay", port, plan.in_flight)?;
        emitter
            .registry()
            .add(&settings, &Credentials::default(), system_now())
            .await?;
    }
    let in_flight = usize::try_from(plan.in_flight)?;
    let mut worker = work::start(&outside, in_flight).await?;
    for (client, count) in [(REPLAYED, plan.events), (LEFT, plan.events / OTHERS)] {
        let client_id = payload::client(client);
        publish_all(&emitter, 0..count, 500, |n| {
            let event = payload::event_of(&client_id, n, plan.bytes)?;
            ledger.expect(event.payload(), client);
            Ok(event)
        })
        .await?;
    }
    let first = (plan.events + plan.events / OTHERS) as u64;
    ensure!(
        receiver.wait_until(first, PATIENCE).await,
        "{} of {first} arrived",
        receiver.count()
    );
    tokio::time::sleep(Duration::from_secs(1)).await;

    let live = Live::start(emitter.clone(), ledger.clone(), plan.bytes);
    tokio::time::sleep(BEFORE).await;
    let began = Instant::now();
    let mut filter = DeliveryFilter::default();
    filter.client = Some(payload::client(REPLAYED).parse()?);
    let mut draft = ReplayDraft::new(ReplayChoice::Filter(filter));
    draft.rate = rate;
    draft.expected = Some(plan.events as u64);
    let replay = emitter.registry().replay(&draft, system_now()).await?.id;
    let mut calm = Vec::new();
    for kill in 1..=KILLS {
        let until = plan.events as u64 * kill as u64 / (KILLS as u64 + 1);
        calm.push(ledger.calm_until(until).await?);
        drop(worker);
        worker = work::start(&outside, in_flight).await?;
    }
    calm.push(ledger.calm_until(plan.events as u64 * 99 / 100).await?);
    loop {
        let state = emitter.registry().replay_state(replay).await?;
        if state.state == ReplayState::Done && state.unfinished == 0 {
            break;
        }
        ensure!(began.elapsed() < 12 * PATIENCE, "{state:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = began.elapsed();
    let live = live.end().await?;
    let spans = |within: &dyn Fn(Instant) -> bool| -> anyhow::Result<Vec<Duration>> {
        let arrived = ledger.live();
        (live.iter())
            .filter(|(_, at)| within(*at))
            .map(|(key, at)| {
                let then = arrived.get(key).context("a live event did not arrive")?;
                Ok(then.duration_since(*at))
            })
            .collect()
    };
    let before = spans(&|at| at < began - Duration::from_secs(1))?;
    let during = spans(&|at| calm.iter().any(|calm| (calm.from..calm.to).contains(&at)))?;
    worker.end().await?;
    let verdict = ledger.verdict();
    let asked = rate.map(|rate| 1.0 / rate.interval().as_secs_f64());
    let rates: Vec<f64> = calm.iter().map(Calm::per_second).collect();
    Ok(json!({
        "scenario": "replay",
        "database": plan.database.name(),
        "deliveries": plan.events,
        "kills": KILLS,
        "seconds": round(took.as_secs_f64()),
        "not_once_more": verdict.not_once_more,
        "of_others": verdict.of_others,
        "more_than_once_more": verdict.more,
        "per_second": rates.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
        "of_the_rate": asked.map(|asked| rates.iter().map(|rate| round(rate / asked)).collect::<Vec<_>>()),
        "live_ms": { "before": quantiles(before)?, "during": quantiles(during)? },
    }))
}

/// A time in which nobody was killed.
struct Calm {
    from: Instant,
    to: Instant,
    replayed: u64,
}

impl Calm {
    fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let replayed = self.replayed as f64;
        replayed / self.to.duration_since(self.from).as_secs_f64()
    }
}

/// What was published and what arrived, by the hash of the bytes.
#[derive(Default)]
struct Ledger {
    hasher: RandomState,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    /// The client of each, and how often it came.
    times: HashMap<u64, (usize, u32)>,
    /// Those of the replayed client so far.
    replayed: u64,
    live: HashMap<u64, Instant>,
}

struct Verdict {
    not_once_more: usize,
    of_others: usize,
    more: u32,
}

impl Ledger {
    fn all(&self) -> std::sync::MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, body: &[u8], client: usize) -> u64 {
        let key = self.hasher.hash_one(body);
        self.all().times.insert(key, (client, 0));
        key
    }

    fn arrived(&self, body: &[u8]) {
        let (key, now) = (self.hasher.hash_one(body), Instant::now());
        let mut all = self.all();
        let Some((client, times)) = all.times.get_mut(&key) else {
            return;
        };
        *times += 1;
        match *client {
            // The first time it is no replay.
            REPLAYED if *times > 1 => all.replayed += 1,
            LIVE => drop(all.live.entry(key).or_insert(now)),
            _ => {}
        }
    }

    fn live(&self) -> HashMap<u64, Instant> {
        self.all().live.clone()
    }

    /// From when it goes on, a little later, until so many came.
    async fn calm_until(&self, count: u64) -> anyhow::Result<Calm> {
        let before = self.all().replayed;
        self.wait_for(before + 1).await?;
        tokio::time::sleep(SETTLING).await;
        let (from, first) = (Instant::now(), self.all().replayed);
        self.wait_for(count.max(first + 1)).await?;
        Ok(Calm {
            from,
            to: Instant::now(),
            replayed: self.all().replayed - first,
        })
    }

    async fn wait_for(&self, count: u64) -> anyhow::Result<()> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let replayed = self.all().replayed;
            if replayed >= count {
                return Ok(());
            }
            if replayed != last {
                (last, since) = (replayed, Instant::now());
            }
            ensure!(since.elapsed() < PATIENCE, "{replayed} of {count} came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn verdict(&self) -> Verdict {
        let all = self.all();
        let of = |client: usize| {
            (all.times.values())
                .filter(move |(of, _)| *of == client)
                .map(|(_, times)| *times)
        };
        Verdict {
            not_once_more: of(REPLAYED).filter(|times| *times < 2).count(),
            of_others: of(LEFT).filter(|times| *times != 1).count(),
            more: of(REPLAYED).map(|times| times.saturating_sub(2)).sum(),
        }
    }
}

/// Events that are published one by one all the while.
struct Live {
    end: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<anyhow::Result<Vec<(u64, Instant)>>>,
}

impl Live {
    fn start(emitter: Emitter, ledger: Arc<Ledger>, bytes: usize) -> Self {
        let (end, mut ended) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let client = payload::client(LIVE);
            let mut published = Vec::new();
            let mut beat = tokio::time::interval(EVERY);
            for n in 0.. {
                beat.tick().await;
                if ended.try_recv() != Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
                    break;
                }
                let event = payload::event_of(&client, n, bytes)?;
                let key = ledger.expect(event.payload(), LIVE);
                published.push((key, Instant::now()));
                emitter.publish(&event).await?;
            }
            // The last ones arrive too.
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(published)
        });
        Self { end, task }
    }

    async fn end(self) -> anyhow::Result<Vec<(u64, Instant)>> {
        drop(self.end);
        self.task.await?
    }
}
