use std::{
    collections::HashMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tharsis::Event;
use tharsis_receiver::Received;

/// What was published and when, byte for byte, for the receivers to compare with.
#[derive(Debug)]
pub(super) struct Journal {
    events: Vec<Event>,
    by_payload: HashMap<Vec<u8>, usize>,
    /// When the publish of each event began.
    begun: Vec<OnceLock<Instant>>,
    published: AtomicUsize,
}

/// What one receiver saw.
#[derive(Debug, Default)]
pub(super) struct Sightings(Mutex<Seen>);

#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// From the begin of the publish to the last receipt, for each event that came.
    pub(super) delays: HashMap<usize, Duration>,
    pub(super) requests: u64,
    /// Requests whose signature is wrong, or whose body is none that was published.
    pub(super) strangers: u64,
}

impl Journal {
    pub(super) fn new(events: Vec<Event>) -> Self {
        Self {
            by_payload: events
                .iter()
                .enumerate()
                .map(|(n, event)| (event.payload().to_vec(), n))
                .collect(),
            begun: events.iter().map(|_| OnceLock::new()).collect(),
            published: AtomicUsize::new(0),
            events,
        }
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// So many more are being published from now on.
    pub(super) fn publishing(&self, more: usize) {
        let now = Instant::now();
        let from = self.published.fetch_add(more, Relaxed);
        for begun in self.begun.iter().skip(from).take(more) {
            begun.get_or_init(|| now);
        }
    }

    pub(super) fn published(&self) -> u64 {
        self.published.load(Relaxed) as u64
    }
}

impl Sightings {
    /// Writes a request down; called for each one, before it is answered.
    pub(super) fn saw(&self, journal: &Journal, request: &Received) {
        if request.verified.is_none() {
            return; // The HEAD of the check.
        }
        let now = Instant::now();
        let event = journal
            .by_payload
            .get(&*request.body)
            .filter(|_| request.verified == Some(true));
        let begun = event.and_then(|n| Some((*n, journal.begun.get(*n)?.get()?)));
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.requests += 1;
        match begun {
            Some((event, begun)) => {
                seen.delays.insert(event, now - *begun);
            }
            None => seen.strangers += 1,
        }
    }

    pub(super) fn seen(&self) -> Seen {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
