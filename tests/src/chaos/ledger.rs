use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tharsis::{Timestamp, system_now};
use tharsis_receiver::{Answer, Judge, Received, Reply, StatusCode};

use super::plan::Temper;
use crate::mark_of;

/// Longer than any request may take.
const FOR_EVER: Duration = Duration::from_secs(60);

/// From which port of the sender to which of the receiver.
pub type Connection = (u16, u16);

/// One request as its receiver knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Which event.
    pub mark: String,
    /// For which subscription: each has a path of its own.
    pub path: String,
    /// On which connection.
    pub connection: Connection,
    /// When it had been read.
    pub at: Timestamp,
    /// When it was answered, or the other side had gone; none while it is open.
    pub until: Option<Timestamp>,
    /// How it was answered.
    pub answer: Answered,
}

/// What the sender was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// 200: it must not be sent again.
    Taken,
    /// Something else: it may be.
    Refused,
    /// Nothing, so it will be.
    Nothing,
}

/// What the receivers of a world have received, and how they answer. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tempers: HashMap<String, Temper>,
    /// Where each path's receiver listens.
    ports: Mutex<HashMap<String, u16>>,
    random: Mutex<fastrand::Rng>,
    calm: AtomicBool,
    receipts: Mutex<Vec<Receipt>>,
    taken: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Ledger {
    /// The receivers on these paths are like this.
    pub(super) fn new(tempers: HashMap<String, Temper>, random: fastrand::Rng) -> Self {
        Self(Arc::new(Inner {
            tempers,
            random: Mutex::new(random),
            ..Inner::default()
        }))
    }

    /// Writes down and answers.
    pub(super) fn judge(&self) -> Judge {
        let ledger = self.clone();
        Judge::new(move |received| ledger.receive(received))
    }

    /// The receiver on this path listens on this port.
    pub(super) fn listens(&self, path: &str, port: u16) {
        lock(&self.0.ports).insert(path.to_owned(), port);
    }

    /// From now on all are healthy.
    pub(super) fn calm_down(&self) {
        self.0.calm.store(true, Ordering::Relaxed);
    }

    /// How many were taken so far.
    pub(super) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// All so far, oldest first.
    pub(super) fn receipts(&self) -> Vec<Receipt> {
        lock(&self.0.receipts).clone()
    }

    /// What came that no sender of ours may send.
    pub(super) fn wrong(&self) -> Vec<String> {
        lock(&self.0.wrong).clone()
    }

    fn receive(&self, received: &Received) -> Reply {
        if received.verified != Some(true) {
            let wrong = format!("{} does not verify: {:?}", received.path, received.reason);
            lock(&self.0.wrong).push(wrong);
        }
        let answer = self.answer(&received.path);
        let port = lock(&self.0.ports).get(&received.path).copied();
        let port = port.unwrap_or_default();
        let place = {
            let mut receipts = lock(&self.0.receipts);
            receipts.push(Receipt {
                mark: mark_of(&received.body),
                path: received.path.clone(),
                connection: (received.peer.port(), port),
                at: received.at,
                until: None,
                answer: Answered::Nothing,
            });
            receipts.len() - 1
        };
        let open = Open {
            ledger: self.clone(),
            place,
        };
        let status = answer.as_ref().map(|answer| answer.status);
        let done = move || open.answered(status == Some(StatusCode::OK));
        Reply {
            answer,
            done: Box::new(done),
        }
    }

    fn answer(&self, path: &str) -> Option<Answer> {
        let temper = self.0.tempers.get(path).copied();
        let temper = temper.filter(|_| !self.0.calm.load(Ordering::Relaxed));
        let mut random = lock(&self.0.random);
        let refused = || Answer::status(StatusCode::SERVICE_UNAVAILABLE);
        let mut answer = Answer::default();
        match temper.unwrap_or(Temper::Healthy) {
            Temper::Slow => answer.delay = Duration::from_millis(random.u64(20..300)),
            Temper::Failing if random.u8(0..3) > 0 => return Some(refused()),
            Temper::Hanging if random.u8(0..6) == 0 => answer.delay = FOR_EVER,
            Temper::Flapping if system_now().as_millis() / 400 % 2 == 0 => return Some(refused()),
            Temper::Cutting if random.u8(0..3) == 0 => return None,
            Temper::Healthy
            | Temper::Failing
            | Temper::Hanging
            | Temper::Flapping
            | Temper::Cutting => {}
        }
        Some(answer)
    }
}

/// A request that is open until this is dropped.
struct Open {
    ledger: Ledger,
    place: usize,
}

impl Open {
    fn answered(self, taken: bool) {
        let answer = if taken {
            self.ledger.0.taken.fetch_add(1, Ordering::Relaxed);
            Answered::Taken
        } else {
            Answered::Refused
        };
        lock(&self.ledger.0.receipts)[self.place].answer = answer;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.ledger.0.receipts)[self.place].until = Some(system_now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
