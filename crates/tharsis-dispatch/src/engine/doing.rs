#[cfg(test)]
mod tests;

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tharsis_core::{
    Invalid, WorkerId,
    delivery::{Fault, Outcome, codes},
    signer::Request,
    subscription::Subscription,
};
use tharsis_store::{
    Outbox, StoreError, WorkedOff,
    failpoint::{Failpoint, reached},
};
use tokio::task::JoinSet;

use crate::{
    alerts::{Alerts, tell},
    metrics::{Asked, Metrics},
};

use super::{
    Summary, Wake, routing,
    state::{POINTERS, State},
    step::{Effect, Flight, Input},
};

/// Results taken in before it is decided what to do next.
const AT_ONCE: usize = 512;

/// How long an answer of the store is waited for. A lease is asked for again well before it ends; what goes through a whole
/// backlog takes what it takes, and nothing waits for it.
const HOLD: Duration = Duration::from_secs(5);
const USUAL: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::MAX;

/// How long is waited for what is done every hour: after that it hangs, and is begun again.
const HOURLY: Duration = Duration::from_secs(60 * 60);

/// How long a look is waited for, who waits for whom: it may go through much, and lanes wait for it.
const LOOK: Duration = Duration::from_secs(5 * 60);

/// How long the answer to this operation is waited for.
pub(super) fn patience(effect: &Effect) -> Duration {
    match effect {
        Effect::Hold(_) | Effect::Release(..) => HOLD,
        Effect::Forget(..) | Effect::Maintain(_) => HOURLY,
        Effect::Count(_) | Effect::Tell(..) => LONG,
        Effect::Look(..) | Effect::Weigh(..) | Effect::NoteDepth(_) => LOOK,
        _ => USUAL,
    }
}

/// What the store is asked for by this effect. Telling people is mostly not the store's doing.
fn asked(effect: &Effect) -> Option<Asked> {
    Some(match effect {
        Effect::Hold(_) => Asked::Hold,
        Effect::Poll(_) => Asked::Poll,
        Effect::Load => Asked::Load,
        Effect::Point(_) => Asked::Point,
        Effect::Route(..) => Asked::Route,
        Effect::Discover(_) => Asked::Discover,
        Effect::Read(..) => Asked::Read,
        Effect::Settle(..) => Asked::Settle,
        Effect::Look(..) => Asked::Look,
        Effect::LetGo(..) => Asked::LetGo,
        Effect::Transition(..) => Asked::Transition,
        Effect::WorkOff(..) => Asked::WorkOff,
        Effect::Weigh(..) => Asked::Weigh,
        Effect::AddFigures(_) => Asked::AddFigures,
        Effect::NoteDepth(_) => Asked::NoteDepth,
        Effect::Forget(..) => Asked::Forget,
        Effect::Maintain(_) => Asked::Maintain,
        Effect::Count(_) => Asked::Count,
        Effect::Release(..) => Asked::Release,
        Effect::Send(_) | Effect::Tell(..) | Effect::Abandon | Effect::Finish => return None,
    })
}

/// How the store is asked.
#[derive(Debug, Clone, Copy)]
struct Asking {
    asked: Option<Asked>,
    patience: Duration,
}

/// The monotonic clock. The only place of the engine that asks it; a runtime whose time is paused for a test is obeyed.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Does what the state decides, and tells it what came of that, until it has finished.
pub(super) async fn drive<O, S, F>(
    mut state: State,
    mut doing: Doing<O, S>,
    wake: &Wake,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Summary, StoreError>
where
    O: Outbox,
    S: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Outcome> + Send,
{
    let mut shutdown = pin!(shutdown);
    let mut asked_to_stop = false;
    let mut effects = Vec::new();
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut set_to = None;
    loop {
        let wait = state.act(now(), &mut effects);
        for effect in effects.drain(..) {
            if matches!(effect, Effect::Finish) {
                return state.result();
            }
            doing.perform(effect);
        }
        if let Some(at) = wait
            && wait != set_to
        {
            set_to = wait;
            timer.as_mut().reset(at.into());
        }
        tokio::select! {
            Some(input) = doing.answers.join_next() => take(&mut state, input),
            Some(input) = doing.flights.join_next() => {
                take(&mut state, input);
                for _ in 1..AT_ONCE {
                    let Some(input) = doing.flights.try_join_next() else { break };
                    take(&mut state, input);
                }
            }
            () = &mut timer, if wait.is_some() => set_to = None,
            () = wake.0.notified() => state.take(Input::Woken, now()),
            () = &mut shutdown, if !asked_to_stop => {
                asked_to_stop = true;
                state.take(Input::Shutdown, now());
            }
        }
    }
}

fn take(state: &mut State, input: Result<Input, tokio::task::JoinError>) {
    // A task neither panics, for that is caught in it, nor is it aborted but by us.
    if let Ok(input) = input {
        state.take(input, now());
    }
}

/// What has a door to the outside: the store, and the sending.
#[derive(Debug)]
pub(super) struct Doing<O, S> {
    outbox: Arc<O>,
    worker: WorkerId,
    send: S,
    alerts: Alerts,
    metrics: Arc<Metrics>,
    /// Operations on the store that are under way.
    answers: JoinSet<Input>,
    /// Requests that are under way. Both are dropped with the run.
    flights: JoinSet<Input>,
}

impl<O, S, F> Doing<O, S>
where
    O: Outbox,
    S: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Outcome> + Send,
{
    pub(super) fn new(outbox: Arc<O>, worker: WorkerId, send: S) -> Self {
        Self {
            outbox,
            worker,
            send,
            alerts: Alerts::default(),
            metrics: Arc::default(),
            answers: JoinSet::new(),
            flights: JoinSet::new(),
        }
    }

    /// Who is told, and by what; nobody else.
    pub(super) fn telling(self, alerts: Alerts) -> Self {
        Self { alerts, ..self }
    }

    /// What counts the operations on the store.
    pub(super) fn counting(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    fn perform(&mut self, effect: Effect) {
        let outbox = Arc::clone(&self.outbox);
        let worker = self.worker;
        let asking = Asking {
            asked: asked(&effect),
            patience: patience(&effect),
        };
        match effect {
            Effect::Send(flight) => {
                let send = self.send.clone();
                self.flights.spawn(async move {
                    let result = match unwinding(attempt(&flight, send)).await {
                        Ok(result) => result,
                        Err(panic) => Ok(internal_error(panic)),
                    };
                    Input::Send(Box::new(flight), result)
                });
            }
            Effect::Hold(give) => {
                let asked = now();
                self.ask(
                    asking,
                    move |result| Input::Hold(asked, result),
                    async move { outbox.hold(worker, give).await },
                );
            }
            Effect::Poll(lease) => {
                self.ask(
                    asking,
                    Input::Poll,
                    async move { outbox.changed(&lease).await },
                );
            }
            Effect::Load => self.ask(asking, Input::Load, async move { outbox.snapshot().await }),
            Effect::Point(lease) => self.ask(asking, Input::Point, async move {
                outbox.pointers(&lease, POINTERS).await
            }),
            Effect::Route(lease, routes, pointers, now) => {
                self.ask(asking, Input::Route, async move {
                    reached(Failpoint::RouteRead);
                    let filtered = routing::filtered(&routes, &pointers);
                    let payloads = match &*filtered {
                        [] => Vec::new(),
                        events => outbox.payloads(events).await?,
                    };
                    let payloads = filtered.into_iter().zip(payloads).collect();
                    let routed = routing::route(&routes, &pointers, &payloads, now);
                    reached(Failpoint::RouteDecided);
                    outbox.route(&lease, &routed).await?;
                    Ok(routing::done(&routed))
                })
            }
            Effect::Discover(lease) => {
                self.ask(asking, Input::Discover, async move {
                    outbox.lanes(&lease).await
                });
            }
            Effect::Read(lease, lanes, now) => self.ask(asking, Input::Read, async move {
                let rows = outbox.due(&lease, &lanes, now).await;
                reached(Failpoint::ReadAnswered);
                rows
            }),
            Effect::Settle(lease, settlements) => self.ask(asking, Input::Settle, async move {
                outbox.settle(&lease, &settlements).await
            }),
            Effect::Look(lease, lanes, is_all) => {
                let asked = Arc::clone(&lanes);
                self.ask(
                    asking,
                    move |result| Input::Look(asked, result),
                    async move {
                        let named: &[i64] = if is_all { &[] } else { &lanes };
                        outbox.blocked(&lease, named).await
                    },
                );
            }
            Effect::LetGo(lease, keys) => {
                let asked = Arc::clone(&keys);
                self.ask(
                    asking,
                    move |result| Input::LetGo(asked, result),
                    async move { outbox.let_go(&lease, &keys).await },
                );
            }
            Effect::Transition(lease, transitions) => {
                self.ask(asking, Input::Transition, async move {
                    outbox.transition(&lease, &transitions).await
                });
            }
            Effect::WorkOff(lease, now) => self.ask(asking, Input::WorkOff, async move {
                outbox.work_off(&lease, now).await
            }),
            Effect::Tell(lease, routes, now) => {
                let alerts = self.alerts.clone();
                self.ask(asking, Input::Tell, async move {
                    let find = |number| routes.find(number);
                    let is_heard = |about: &Subscription, cause| routes.is_heard(about, cause);
                    tell(&*outbox, &lease, &alerts, find, is_heard, now).await
                });
            }
            Effect::Weigh(lease, limit, now) => self.ask(asking, Input::Weigh, async move {
                outbox.weigh(&lease, limit, now).await
            }),
            Effect::AddFigures(figures) => self.ask(asking, Input::AddFigures, async move {
                outbox.add_figures(&figures).await
            }),
            Effect::NoteDepth(at) => self.ask(asking, Input::NoteDepth, async move {
                outbox.note_depth(at).await
            }),
            Effect::Forget(lease, retention, now) => {
                self.ask(asking, Input::Forget, async move {
                    let expired = outbox.expire(&lease, &retention, now).await;
                    // Neither waits for the other to be well.
                    let forgotten = outbox.forget(&retention, now).await;
                    let expired = expired?;
                    match forgotten {
                        Ok(forgotten) => Ok(WorkedOff {
                            more: expired.more || forgotten.more,
                            ..expired
                        }),
                        Err(error) if expired.lanes.is_empty() => Err(error),
                        // Its lanes are to be read anew in any case; the rest is told the next time.
                        Err(_) => Ok(expired),
                    }
                });
            }
            Effect::Maintain(now) => {
                self.ask(asking, Input::Maintain, async move {
                    outbox.maintain(now).await
                });
            }
            Effect::Count(now) => {
                self.ask(
                    asking,
                    Input::Count,
                    async move { outbox.remaining(now).await },
                );
            }
            Effect::Release(lease, keep) => {
                let asked = now();
                self.ask(
                    asking,
                    move |result| Input::Release(asked, result),
                    async move { outbox.release(&lease, keep).await },
                );
            }
            Effect::Abandon => self.flights = JoinSet::new(),
            Effect::Finish => {}
        }
    }

    /// Asks the store, and waits so long for the answer: a server that has gone without a word would be waited for until
    /// its connection is given up, minutes later or never. That is a failure of the store, and so is a panic in it.
    fn ask<T: Send + 'static>(
        &mut self,
        asking: Asking,
        input: impl FnOnce(Result<T, StoreError>) -> Input + Send + 'static,
        answer: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) {
        let Asking { asked, patience } = asking;
        let metrics = Arc::clone(&self.metrics);
        self.answers.spawn(async move {
            let began = now();
            let answer = tokio::time::timeout(patience, unwinding(answer));
            let result = match answer.await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(StoreError::Database(message(panic).into())),
                Err(_) => Err(StoreError::Database(
                    format!("no answer within {patience:?}").into(),
                )),
            };
            if let Some(asked) = asked {
                metrics.asked(asked, now().duration_since(began), result.is_err());
            }
            input(result)
        });
    }
}

/// Makes the request of deliveries and sends it.
async fn attempt<F: Future<Output = Outcome>>(
    flight: &Flight,
    send: impl Fn(Request) -> F,
) -> Result<Outcome, Invalid> {
    let request = flight.request()?;
    reached(Failpoint::SendBegun);
    let outcome = send(request).await;
    reached(Failpoint::SendAnswered);
    Ok(outcome)
}

/// One panic must not end the worker, nor be held against the receiver.
fn internal_error(panic: Box<dyn Any + Send>) -> Outcome {
    Outcome {
        code: codes::INTERNAL_ERROR.into(),
        fault: Fault::Ours,
        status: None,
        retry_after: None,
        excerpt: Vec::new(),
        detail: Some(message(panic)),
        duration: Duration::ZERO,
        certificate: None,
    }
}

/// The output of a future, or what it panicked with.
async fn unwinding<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(move |context| {
        // After a panic the future is not polled again, only dropped.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

fn message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => format!("panicked: {message}"),
        Err(panic) => panic.downcast_ref::<&str>().map_or_else(
            || "panicked".to_owned(),
            |message| format!("panicked: {message}"),
        ),
    }
}
