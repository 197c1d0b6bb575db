use std::time::{Duration, Instant};

/// While there was work within [`BUSY`].
const SHORTEST: Duration = Duration::from_millis(20);

/// The longest time for which a commit of another process goes unnoticed.
const LONGEST: Duration = Duration::from_millis(250);

const BUSY: Duration = Duration::from_secs(2);

/// When to ask the store whether something was committed by someone else.
#[derive(Debug)]
pub(super) struct Polling {
    worked: Instant,
    pause: Duration,
    next: Instant,
}

impl Polling {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            worked: now,
            pause: SHORTEST,
            next: now,
        }
    }

    /// There was something to do, so more may follow.
    pub(super) fn worked(&mut self, now: Instant) {
        self.worked = now;
        self.pause = SHORTEST;
        self.next = self.next.min(now + SHORTEST);
    }

    /// It was asked.
    pub(super) fn polled(&mut self, now: Instant) {
        if now.saturating_duration_since(self.worked) >= BUSY {
            self.pause = (self.pause * 2).min(LONGEST);
        }
        self.next = now + self.pause;
    }

    /// When to ask next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_frequent_while_there_is_work_and_back_off_after_two_seconds_without() {
        let start = Instant::now();
        let mut polling = Polling::new(start);
        let mut polls = Vec::new();
        while polling.next() < start + Duration::from_secs(10) {
            polls.push(polling.next() - start);
            polling.polled(polling.next());
        }
        let within = |from, to| {
            polls
                .iter()
                .filter(|&&at| Duration::from_secs(from) <= at && at < Duration::from_secs(to))
                .count()
        };
        assert_eq!(within(0, 2), 100);
        assert!(within(3, 10) <= 28, "four a second");

        let late = start + Duration::from_secs(10);
        polling.worked(late);
        assert!(polling.next() <= late + SHORTEST);
    }
}
