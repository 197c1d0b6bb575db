//! What receivers do with requests.

use std::time::Duration;

use tharsis_core::{
    Timestamp,
    delivery::{Fault, Outcome},
};

use super::{Cause, Happening, Life, Received, World};
use crate::engine::step::{Flight, Input};

/// What a receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::simulation) enum Receiver {
    /// Takes it.
    Healthy,
    /// Takes it, but not at once.
    Slow,
    /// Takes it, but one of three answers does not come back.
    Mute,
    /// Takes it for some seconds, answers 500 for some, and so on.
    Moody,
    /// Takes one of three, and asks the others to come again later.
    Busy,
    /// Answers 500, always.
    Broken,
    /// Takes one of three, answers 503 to the others.
    Flaky,
    /// Never answers before the timeout, and takes nothing.
    Hangs,
    /// Is gone for good.
    Gone,
    /// We run out of descriptors for every second request.
    Ours,
    /// We never have a descriptor for it.
    Never,
}

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long a moody receiver stays as it is.
const MOOD: u64 = 4;

/// What comes back, and when.
struct Answer {
    status: Option<u16>,
    code: &'static str,
    after: Duration,
    /// The receiver took it, whatever comes back.
    taken: bool,
    retry_after: Option<&'static [u8]>,
}

impl Answer {
    fn status(status: u16, code: &'static str, after: Duration) -> Self {
        Self {
            status: Some(status),
            code,
            after,
            taken: status == 200,
            retry_after: None,
        }
    }

    fn none(code: &'static str, after: Duration) -> Self {
        Self {
            status: None,
            code,
            after,
            taken: false,
            retry_after: None,
        }
    }

    fn fault(&self) -> Fault {
        match (self.status, self.code) {
            (Some(200), _) => Fault::None,
            (_, "local_resource") => Fault::Ours,
            _ => Fault::Theirs,
        }
    }
}

impl World {
    fn answer(&mut self, receiver: Receiver) -> Answer {
        let quick = self.millis(1, 30);
        let chance = self.below(6);
        let takes = Answer::status(200, "http_200", quick);
        match receiver {
            Receiver::Healthy => takes,
            Receiver::Slow => Answer {
                after: self.millis(400, 2_500),
                ..takes
            },
            Receiver::Mute if chance < 2 => Answer {
                taken: true,
                ..Answer::none("connection_closed", quick)
            },
            Receiver::Mute => takes,
            Receiver::Moody => {
                let seconds = self
                    .model
                    .clock(self.now)
                    .since(Timestamp::default())
                    .as_secs();
                if (seconds / MOOD).is_multiple_of(2) {
                    takes
                } else {
                    Answer::status(500, "http_500", quick)
                }
            }
            Receiver::Busy if chance < 2 => Answer {
                retry_after: Some(b"3"),
                ..Answer::status(429, "http_429", quick)
            },
            Receiver::Busy if chance < 4 => Answer {
                retry_after: Some(b"1"),
                ..Answer::status(503, "http_503", quick)
            },
            Receiver::Busy => takes,
            Receiver::Flaky if chance < 4 => Answer::status(503, "http_503", quick),
            Receiver::Flaky => takes,
            Receiver::Broken => Answer::status(500, "http_500", quick),
            Receiver::Hangs => Answer::none("timeout_response_headers", TIMEOUT),
            Receiver::Gone => Answer::status(410, "http_410", quick),
            Receiver::Never => Answer::none("local_resource", Duration::ZERO),
            Receiver::Ours if chance < 3 => Answer::none("local_resource", Duration::ZERO),
            Receiver::Ours => takes,
        }
    }

    pub(super) fn receive(&mut self, life: Life, flight: Flight) {
        let lane = flight.due.position.subscription;
        let answer = self.answer(self.receivers[&lane]);
        let fault = answer.fault();
        for due in flight.dues() {
            if fault != Fault::Ours {
                self.received.push(Received {
                    id: due.id,
                    lane,
                    at: self.now,
                    published_at: due.published_at,
                    taken: answer.taken,
                });
            }
            if answer.taken {
                self.take(due.id);
                if fault != Fault::None {
                    self.excuse(due.id, Cause::AnswerLost);
                }
            }
        }
        let outcome = Outcome {
            code: answer.code.into(),
            fault,
            status: answer.status,
            retry_after: answer.retry_after.map(Into::into),
            excerpt: Vec::new(),
            detail: None,
            duration: answer.after,
            certificate: None,
        };
        let input = Input::Send(Box::new(flight), Ok(outcome));
        self.schedule(answer.after, Happening::Input { life, input });
    }
}
