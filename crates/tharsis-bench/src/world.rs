//! What every scenario stands on: a receiver process, a folder, an outbox, its subscriptions.

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;
use tharsis::{
    Emitter, Event, Options, Secret,
    egress::Policy,
    profile::{Declaration, Profiles},
    subscription::{Draft, Settings},
};

use crate::{
    database::{Database, Outbox},
    payload,
    receive::Process,
};

/// The profile that sends batches.
const BATCHES: &str = "batches";

/// What to measure with.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) database: Database,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) in_flight: u32,
    pub(crate) fan_out: usize,
    pub(crate) batch: u32,
    pub(crate) filter: Option<String>,
    pub(crate) order: Option<String>,
    pub(crate) runs: usize,
}

impl Plan {
    /// How many requests the events make.
    pub(crate) fn deliveries(&self) -> usize {
        self.events * self.fan_out
    }

    /// Those of the program, and one that sends batches.
    fn profiles(&self) -> anyhow::Result<Profiles> {
        let batches = Declaration {
            encoding: Some("form".into()),
            signature_header: Some("X-Bench-Signature".into()),
            algorithm: Some("hmac-sha1".into()),
            prefix: Some("sha1=".into()),
            batch_items: Some(self.batch),
            linger: Some("5ms".into()),
            payload_limit: Some(262_144),
            ..Declaration::default()
        };
        Ok(Profiles::default().with(vec![batches.profile(BATCHES)?])?)
    }

    /// What the plan says of a subscription.
    fn over(&self, mut draft: Draft) -> Draft {
        draft.filter.clone_from(&self.filter);
        draft.order.clone_from(&self.order);
        if self.batch > 1 {
            draft.profile = Some(BATCHES.into());
            draft.profile_settings = [("panel".into(), "bench".into())].into();
        }
        draft
    }

    /// So many of something, as a rate.
    pub(crate) fn per_second(count: usize, took: Duration) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of events are far below 2^52"
        )]
        let count = count as f64;
        count / took.as_secs_f64()
    }
}

/// What lies outside of the engine: where its outbox is, and who receives.
pub(crate) struct Outside {
    pub(crate) outbox: Outbox,
    pub(crate) ca_file: PathBuf,
    /// The receiver's, on this machine.
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Outside {
    pub(crate) async fn new(
        database: &Database,
        folder: TempDir,
        ca_file: PathBuf,
        port: u16,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            outbox: database.outbox(folder.path()).await?,
            ca_file,
            port,
            _folder: folder,
        })
    }

    /// Its emitter, which may reach these ports beside the receiver's.
    pub(crate) async fn emitter(&self, more: &[u16]) -> anyhow::Result<Emitter> {
        self.emitter_of(Profiles::default(), more).await
    }

    async fn emitter_of(&self, profiles: Profiles, more: &[u16]) -> anyhow::Result<Emitter> {
        let options = Options {
            egress: loopback(&[&[self.port], more].concat())?,
            ca_file: Some(self.ca_file.clone()),
            profiles,
            ..self.outbox.options()
        };
        Ok(Emitter::open(&self.outbox.url, options).await?)
    }

    /// Settings of a subscription at this port.
    pub(crate) fn settings(
        &self,
        client: &str,
        name: &str,
        port: u16,
        in_flight: u32,
    ) -> anyhow::Result<Settings> {
        let draft = draft(client, name, port, in_flight);
        Ok(draft.settings(&loopback(&[port])?, &Profiles::default())?)
    }

    /// Its emitter with as many subscriptions as the plan fans out to, which share the plan's requests under way.
    pub(crate) async fn subscribed(
        &self,
        plan: &Plan,
        more: &[u16],
    ) -> anyhow::Result<(Emitter, Settings, Secret)> {
        let profiles = plan.profiles()?;
        let emitter = self.emitter_of(profiles.clone(), more).await?;
        let share = u32::try_from(plan.fan_out)?;
        let in_flight = plan.in_flight.div_ceil(share);
        let secret = Secret::generate([7; 20]);
        let credentials = secret.clone().into();
        let settings = |n: u32| {
            let draft = draft(payload::CLIENT, &format!("bench {n}"), self.port, in_flight);
            plan.over(draft)
                .settings(&loopback(&[self.port])?, &profiles)
                .map_err(anyhow::Error::from)
        };
        let first = settings(0)?;
        emitter.subscribe(&first, &credentials, None).await?;
        for n in 1..share {
            emitter.subscribe(&settings(n)?, &credentials, None).await?;
        }
        Ok((emitter, first, secret))
    }
}

fn draft(client: &str, name: &str, port: u16, in_flight: u32) -> Draft {
    Draft {
        client: client.to_owned(),
        name: name.to_owned(),
        url: format!("https://localhost:{port}/hook"),
        max_in_flight: Some(in_flight),
        ..Draft::default()
    }
}

/// A fresh outbox with its subscriptions at a receiver process.
pub(crate) struct World {
    pub(crate) emitter: Emitter,
    pub(crate) settings: Settings,
    pub(crate) secret: Secret,
    pub(crate) egress: Policy,
    pub(crate) outside: Outside,
    /// Ends with the world.
    pub(crate) receiver: Process,
}

impl World {
    pub(crate) async fn new(plan: &Plan) -> anyhow::Result<Self> {
        Self::reaching(plan, &[]).await
    }

    /// One whose emitter may reach these ports too.
    pub(crate) async fn reaching(plan: &Plan, more: &[u16]) -> anyhow::Result<Self> {
        let (outside, receiver) = received(plan, Duration::ZERO).await?;
        let (emitter, settings, secret) = outside.subscribed(plan, more).await?;
        Ok(Self {
            emitter,
            settings,
            secret,
            egress: loopback(&[outside.port])?,
            outside,
            receiver,
        })
    }
}

/// A fresh outbox without subscriptions, and a receiver process that takes `delay` to answer.
pub(crate) async fn received(plan: &Plan, delay: Duration) -> anyhow::Result<(Outside, Process)> {
    let folder = tempfile::tempdir()?;
    let ca_file = folder.path().join("ca.pem");
    let receiver = Process::start(&ca_file, delay).await?;
    let outside = Outside::new(&plan.database, folder, ca_file, receiver.port).await?;
    Ok((outside, receiver))
}

/// These ports of this machine may be reached, and nothing else.
pub(crate) fn loopback(ports: &[u16]) -> anyhow::Result<Policy> {
    Ok(Policy {
        allow_addresses: vec!["127.0.0.0/8".parse()?, "::1/128".parse()?],
        allow_hosts: vec!["localhost".into()],
        allow_ports: ports.to_vec(),
    })
}

/// Publishes the events of these numbers in batches and returns how long the publishing alone took.
pub(crate) async fn publish(
    emitter: &Emitter,
    numbers: std::ops::Range<usize>,
    bytes: usize,
    batch: usize,
) -> anyhow::Result<Duration> {
    publish_all(emitter, numbers, batch, |n| payload::event(n, bytes)).await
}

/// The same with events of any kind.
pub(crate) async fn publish_all(
    emitter: &Emitter,
    numbers: std::ops::Range<usize>,
    batch: usize,
    event: impl Fn(usize) -> anyhow::Result<Event>,
) -> anyhow::Result<Duration> {
    let mut took = Duration::ZERO;
    let mut next = numbers.start;
    while next < numbers.end {
        let until = (next + batch).min(numbers.end);
        let events = (next..until)
            .map(&event)
            .collect::<anyhow::Result<Vec<Event>>>()?;
        let began = std::time::Instant::now();
        for published in emitter.publish_all(&events).await? {
            published?;
        }
        took += began.elapsed();
        next = until;
    }
    Ok(took)
}

/// Runs the emitter until `done`, then lets it end.
pub(crate) async fn run_while<T>(
    emitter: &Emitter,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let work = async {
        let done = work.await;
        drop(end);
        done
    };
    let (run, done) = tokio::join!(emitter.run(async { drop(ended.await) }), work);
    run?;
    done
}

/// Waits until the emitter's runs have delivered so many in all.
pub(crate) async fn delivered(emitter: &Emitter, count: u64) {
    while emitter.progress().delivered() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
