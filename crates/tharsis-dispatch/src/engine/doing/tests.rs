use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tharsis_core::{
    EventId, Invalid, Timestamp, WorkerId,
    alert::{Case, Facts},
    delivery::{Fault, Outcome},
    event::Event,
    order::OrderKey,
    signer::Request,
};
use tharsis_store::{
    Blocked, Changed, Claim, Claimed, Figures, Forgotten, LaneRead, Lease, LetGo, Outbox, Pending,
    Pointers, Position, Published, Remaining, Retention, Routed, Rows, Settlement, Shards,
    Snapshot, StoreError, Telling, Transition, WorkedOff,
};
use tokio::{sync::oneshot, time::Instant};

use super::{Doing, drive, now};
use crate::engine::{
    Options, Summary, Until, Wake,
    samples::{client, target},
    simulation::model::Model,
    state::State,
    step::{Effect, Input},
};

/// The model of the simulation behind the real trait.
struct Shared {
    model: Mutex<Model>,
    owned_by_another: bool,
    counts_for_ever: bool,
}

impl Shared {
    fn new() -> Arc<Self> {
        let targets = BTreeMap::from([(1, target(1, 1)), (2, target(2, 2))]);
        Arc::new(Self {
            model: Mutex::new(Model::new(now(), targets)),
            owned_by_another: false,
            counts_for_ever: false,
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Model) -> T) -> T {
        f(&mut self.model.lock().expect("no test panics with it"))
    }

    fn publish(&self, owner: u8) {
        self.with(|model| model.publish(client(owner), None, None, now()));
    }

    fn perform(&self, effect: &Effect, worker: WorkerId) -> Input {
        self.with(|model| model.perform(effect, worker, now(), now()))
    }
}

/// Asks the model with an effect, and takes the answer out of its input.
macro_rules! ask {
    ($shared:expr, $worker:expr, $effect:expr, $input:pat => $answer:expr) => {
        match $shared.perform(&$effect, $worker) {
            $input => $answer,
            other => unreachable!("{other:?}"),
        }
    };
}

fn nobody() -> WorkerId {
    WorkerId::new(Timestamp::from_millis(1), [9; 10])
}

impl Outbox for Shared {
    async fn publish(&self, _: &[Event]) -> Result<Vec<Result<Published, Invalid>>, StoreError> {
        unreachable!("the engine does not publish")
    }

    async fn hold(&self, worker: WorkerId, give: Shards) -> Result<Lease, StoreError> {
        if self.owned_by_another {
            return Err(StoreError::Unusable {
                code: "already_owned",
                message: "another process delivers from this file".to_owned(),
                hint: "end it first".to_owned(),
            });
        }
        ask!(self, worker, Effect::Hold(give), Input::Hold(_, answer) => answer)
    }

    async fn release(
        &self,
        lease: &Lease,
        keep: Option<Shards>,
    ) -> Result<Option<Lease>, StoreError> {
        ask!(self, lease.worker, Effect::Release(*lease, keep), Input::Release(_, answer) => answer)
    }

    async fn changed(&self, lease: &Lease) -> Result<Changed, StoreError> {
        ask!(self, lease.worker, Effect::Poll(*lease), Input::Poll(answer) => answer)
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        ask!(self, nobody(), Effect::Load, Input::Load(answer) => answer)
    }

    async fn pointers(&self, lease: &Lease, _: u32) -> Result<Pointers, StoreError> {
        ask!(self, lease.worker, Effect::Point(*lease), Input::Point(answer) => answer)
    }

    async fn payloads(&self, _: &[EventId]) -> Result<Vec<Bytes>, StoreError> {
        unreachable!("nobody filters")
    }

    async fn route(&self, lease: &Lease, routed: &[Routed]) -> Result<(), StoreError> {
        self.with(|model| model.route(lease, routed))
    }

    async fn lanes(&self, lease: &Lease) -> Result<Vec<Pending>, StoreError> {
        ask!(self, lease.worker, Effect::Discover(*lease), Input::Discover(answer) => answer)
    }

    async fn due(
        &self,
        lease: &Lease,
        lanes: &[LaneRead],
        now: Timestamp,
    ) -> Result<Rows, StoreError> {
        let effect = Effect::Read(*lease, lanes.to_vec(), now);
        ask!(self, lease.worker, effect, Input::Read(answer) => answer)
    }

    async fn settle(
        &self,
        lease: &Lease,
        settlements: &[Settlement],
    ) -> Result<Vec<Position>, StoreError> {
        let effect = Effect::Settle(*lease, Arc::new(settlements.to_vec()));
        ask!(self, lease.worker, effect, Input::Settle(answer) => answer)
    }

    async fn blocked(
        &self,
        lease: &Lease,
        subscriptions: &[i64],
    ) -> Result<Vec<Blocked>, StoreError> {
        let effect = Effect::Look(*lease, subscriptions.into(), false);
        ask!(self, lease.worker, effect, Input::Look(_, answer) => answer)
    }

    async fn let_go(
        &self,
        lease: &Lease,
        keys: &[(i64, OrderKey)],
    ) -> Result<Vec<LetGo>, StoreError> {
        let effect = Effect::LetGo(*lease, keys.into());
        ask!(self, lease.worker, effect, Input::LetGo(_, answer) => answer)
    }

    async fn transition(
        &self,
        lease: &Lease,
        transitions: &[Transition],
    ) -> Result<Vec<i64>, StoreError> {
        let effect = Effect::Transition(*lease, Arc::new(transitions.to_vec()));
        ask!(self, lease.worker, effect, Input::Transition(answer) => answer)
    }

    /// Nothing is raised in the model.
    async fn cases(&self, _: &Lease, _: Timestamp) -> Result<Vec<Case>, StoreError> {
        Ok(Vec::new())
    }

    async fn claim(
        &self,
        _: &Lease,
        _: &[Claim],
        _: Timestamp,
        _: Timestamp,
    ) -> Result<Vec<Claimed>, StoreError> {
        unreachable!("nothing is to be told")
    }

    async fn facts(&self, _: i64) -> Result<Facts, StoreError> {
        unreachable!("nothing is to be told")
    }

    async fn told(&self, _: &[Telling], _: Timestamp) -> Result<(), StoreError> {
        unreachable!("nothing is to be told")
    }

    async fn work_off(&self, lease: &Lease, now: Timestamp) -> Result<WorkedOff, StoreError> {
        ask!(self, lease.worker, Effect::WorkOff(*lease, now), Input::WorkOff(answer) => answer)
    }

    async fn weigh(&self, _: &Lease, _: Option<u64>, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn add_figures(&self, _: &Figures) -> Result<(), StoreError> {
        Ok(())
    }

    async fn note_depth(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        ask!(self, nobody(), Effect::Maintain(now), Input::Maintain(answer) => answer)
    }

    async fn expire(
        &self,
        lease: &Lease,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<WorkedOff, StoreError> {
        let effect = Effect::Forget(*lease, *retention, now);
        ask!(self, lease.worker, effect, Input::Forget(answer) => answer)
    }

    async fn forget(&self, _: &Retention, _: Timestamp) -> Result<Forgotten, StoreError> {
        Ok(Forgotten::default())
    }

    async fn remaining(&self, now: Timestamp) -> Result<Remaining, StoreError> {
        if self.counts_for_ever {
            return std::future::pending().await;
        }
        ask!(self, nobody(), Effect::Count(now), Input::Count(answer) => answer)
    }
}

fn ok() -> Outcome {
    Outcome {
        code: "http_200".into(),
        fault: Fault::None,
        status: Some(200),
        retry_after: None,
        excerpt: Vec::new(),
        detail: None,
        duration: Duration::from_millis(1),
        certificate: None,
    }
}

fn failed() -> Outcome {
    Outcome {
        code: "http_500".into(),
        fault: Fault::Theirs,
        status: Some(500),
        ..ok()
    }
}

async fn run<F: Future<Output = Outcome> + Send>(
    shared: &Arc<Shared>,
    options: &Options,
    wake: &Wake,
    send: impl Fn(Request) -> F + Clone + Send + 'static,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Summary, StoreError> {
    let worker = WorkerId::new(Timestamp::from_millis(1), [1; 10]);
    let state = State::new(options.clone(), 1, now());
    let doing = Doing::new(Arc::clone(shared), worker, send).counting(Arc::clone(&options.metrics));
    drive(state, doing, wake, shutdown).await
}

fn until_idle() -> Options {
    Options {
        until: Until::Idle,
        ..Options::default()
    }
}

#[tokio::test(start_paused = true)]
async fn one_panic_costs_one_delivery_a_pause_and_nobody_else_anything() {
    let shared = Shared::new();
    shared.publish(1);
    shared.publish(2);
    let sent = Arc::new(AtomicUsize::new(0));
    let options = until_idle();
    let (sends, progress) = (Arc::clone(&sent), Arc::clone(&options.progress));
    let send = move |request: Request| {
        let (sends, progress) = (Arc::clone(&sends), Arc::clone(&progress));
        async move {
            let n = sends.fetch_add(1, Relaxed);
            if request.url.given().ends_with("/1") {
                assert!(n > 1, "a bug in a sender");
                assert_eq!(progress.delivered(), 1, "the other one did not wait");
            }
            ok()
        }
    };
    let start = Instant::now();
    let summary = run(
        &shared,
        &options,
        &Wake::default(),
        send,
        std::future::pending(),
    )
    .await
    .expect("it ends by itself");
    assert_eq!(
        (summary.delivered, summary.retried),
        (2, 0),
        "no attempt is counted"
    );
    assert_eq!(sent.load(Relaxed), 3);
    assert!(
        start.elapsed() >= Duration::from_secs(4),
        "it is not tried in a hurry"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wake_is_answered_at_once() {
    let shared = Shared::new();
    let wake = Wake::default();
    let (done, published) = (Arc::clone(&shared), wake.clone());
    let (received, at) = oneshot::channel();
    let received = Arc::new(Mutex::new(Some(received)));
    let send = move |_| {
        let received = Arc::clone(&received);
        async move {
            if let Some(received) = received.lock().expect("no panic").take() {
                received.send(Instant::now()).expect("somebody waits");
            }
            ok()
        }
    };
    let story = async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        done.publish(1);
        // So that no poll finds it.
        done.with(|model| model.hide_change());
        let start = Instant::now();
        published.wake();
        let latency = at.await.expect("it is sent") - start;
        assert!(latency <= Duration::from_millis(1), "{latency:?}");
    };
    let summary = run(&shared, &Options::default(), &wake, send, story).await;
    assert_eq!(
        summary.map(|s| s.delivered).ok(),
        Some(1),
        "also what was in flight"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_outlives_the_grace_is_dropped_and_its_delivery_kept() {
    let shared = Shared::new();
    shared.publish(1);
    let options = Options {
        grace: Duration::from_secs(2),
        ..Options::default()
    };
    let start = Instant::now();
    let summary = run(
        &shared,
        &options,
        &Wake::default(),
        |_| std::future::pending(),
        tokio::time::sleep(Duration::from_secs(1)),
    )
    .await
    .expect("it ends when asked");
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!((summary.delivered, summary.remaining.pending), (0, 1));
    assert_eq!(
        shared.with(|model| model.leases.any_owner()),
        None,
        "the lease was given back"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_another_process_owns_ends_the_run() {
    let mut shared = Shared::new();
    Arc::get_mut(&mut shared)
        .expect("not shared yet")
        .owned_by_another = true;
    let (options, wake) = (Options::default(), Wake::default());
    let result = run(
        &shared,
        &options,
        &wake,
        |_| async { ok() },
        std::future::pending(),
    )
    .await;
    assert!(matches!(
        result,
        Err(StoreError::Unusable {
            code: "already_owned",
            ..
        })
    ));
    let failures = r#"tharsis_store_failures_total{operation="hold"}"#;
    assert_eq!(options.metrics.figure(failures), "1");
}

#[tokio::test(start_paused = true)]
async fn what_a_run_does_is_counted_as_its_summary_says() {
    let shared = Shared::new();
    for owner in [1, 1, 2] {
        shared.publish(owner);
    }
    let options = until_idle();
    let sent = Arc::new(AtomicUsize::new(0));
    let send = move |_| {
        let is_first = sent.fetch_add(1, Relaxed) == 0;
        async move { if is_first { failed() } else { ok() } }
    };
    let summary = run(
        &shared,
        &options,
        &Wake::default(),
        send,
        std::future::pending(),
    )
    .await
    .expect("it ends by itself");
    assert_eq!(
        (summary.delivered, summary.retried, summary.ended),
        (3, 1, 0)
    );
    for (series, figure) in [
        (
            r#"tharsis_attempts_total{profile="mars",outcome="http_2xx"}"#,
            "3",
        ),
        (
            r#"tharsis_attempts_total{profile="mars",outcome="http_5xx"}"#,
            "1",
        ),
        ("tharsis_attempt_seconds_count", "4"),
        (r#"tharsis_deliveries_ended_total{end="delivered"}"#, "3"),
        (r#"tharsis_deliveries_ended_total{end="dead"}"#, "0"),
        ("tharsis_retries_total", "1"),
        ("tharsis_publish_to_receipt_seconds_count", "3"),
        ("tharsis_settle_batch_size_sum", "4.0"),
        (r#"tharsis_store_seconds_count{operation="release"}"#, "1"),
        (r#"tharsis_store_failures_total{operation="settle"}"#, "0"),
        ("tharsis_shards_taken_over_total", "64"),
        ("tharsis_shards_lost_total", "0"),
        ("tharsis_shards_owned", "0"),
        ("tharsis_requests_in_flight", "0"),
    ] {
        assert_eq!(options.metrics.figure(series), figure, "{series}");
    }
    for (operation, counted) in [
        ("settle", "tharsis_settle_batch_size_count"),
        ("hold", "tharsis_lease_renewals_total"),
    ] {
        let asked = format!(r#"tharsis_store_seconds_count{{operation="{operation}"}}"#);
        let (asked, counted) = (
            options.metrics.figure(&asked),
            options.metrics.figure(counted),
        );
        assert_eq!(asked, counted, "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_that_takes_long_does_not_hold_up_the_end() {
    for until in [Until::Shutdown, Until::Idle] {
        let mut shared = Shared::new();
        Arc::get_mut(&mut shared)
            .expect("not shared yet")
            .counts_for_ever = true;
        let options = Options {
            until,
            ..Options::default()
        };
        let start = Instant::now();
        run(
            &shared,
            &options,
            &Wake::default(),
            |_| async { ok() },
            tokio::time::sleep(Duration::from_secs(1)),
        )
        .await
        .expect("it ends when asked");
        let took = start.elapsed() - Duration::from_secs(1);
        assert!(took < Duration::from_millis(500), "{took:?}");
        assert_eq!(shared.with(|model| model.leases.any_owner()), None);
    }
}
