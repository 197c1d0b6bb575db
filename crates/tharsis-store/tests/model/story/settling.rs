//! What came of deliveries that were read, written down once or more often.

use std::{collections::BTreeSet, time::Duration};

use tharsis_core::delivery::{End, codes};
use tharsis_store::{
    Attempt, Due,
    Fate::{Again, Aside, Ended},
    Outbox, Position, Settlement,
};

use super::{Both, Read, Story, give_up};
use crate::{
    answer::{Told, plain, same},
    command::{Fate, How},
    database::Database,
    harness::seconds,
};

impl<D: Database> Story<'_, D> {
    pub(super) async fn settle(&mut self, how: How, n: usize, some: &[(usize, Fate)]) -> Told {
        let mut settled: Vec<Both<Settlement>> = Vec::new();
        let mut named = BTreeSet::new();
        for (nth, fate) in some {
            // The newest is the first.
            let Some(of) = nth.checked_rem(self.reads.len()) else {
                return Ok(());
            };
            let read = self.reads[self.reads.len() - 1 - of].clone();
            // A batch names each delivery once.
            if named.insert(read.due.store.id) {
                settled.push(self.settlement(&read, *fate));
            }
        }
        self.write(how, n, &settled).await?;
        self.settled = settled;
        Ok(())
    }

    fn settlement(&mut self, read: &Read, fate: Fate) -> Both<Settlement> {
        self.durations += 1;
        let due = &read.due.store;
        let after = |s: u16| self.now + seconds(s.into()) + Duration::from_millis(self.durations);
        let (code, status, fate, tries) = match fate {
            Fate::Delivered => ("http_200", Some(200), Ended(End::Delivered), true),
            Fate::Dead => ("http_500", Some(500), Ended(End::Dead), true),
            Fate::Gone => ("http_410", Some(410), Ended(End::Dead), true),
            Fate::Expired => (codes::EXPIRED, None, Ended(End::Expired), true),
            Fate::Again(s) => {
                let again = Again {
                    due_at: after(s),
                    spent: due.spent.and(seconds(s.into())),
                };
                ("http_503", Some(503), again, true)
            }
            Fate::AtOnce => {
                let again = Again {
                    due_at: due.position.due_at,
                    spent: due.spent.and(Duration::ZERO),
                };
                ("http_503", Some(503), again, true)
            }
            Fate::Postponed(s) => {
                let again = Again {
                    due_at: after(s),
                    spent: due.spent,
                };
                ("local_resource", None, again, false)
            }
            Fate::Aside => ("", None, Aside, false),
        };
        let attempt = Attempt {
            number: if code == codes::EXPIRED {
                0
            } else {
                due.attempts + 1
            },
            at: read.at,
            duration: Duration::from_micros(self.durations),
            code: code.to_owned(),
            status,
            excerpt: vec![b'x'; usize::try_from(self.durations % 3).expect("small")],
            detail: self
                .durations
                .is_multiple_of(2)
                .then(|| "a detail".to_owned()),
        };
        let settlement = |due: &Due| Settlement {
            position: due.position,
            event: due.id.event,
            attempts: due.attempts,
            attempt: Some(attempt.clone()).filter(|_| tries),
            fate,
            key: None,
            suspend: (code == "http_410").then_some("http_410"),
            certificate_ends: None,
        };
        Both {
            store: settlement(&read.due.store),
            model: settlement(&read.due.model),
        }
    }

    pub(super) async fn write(&mut self, how: How, n: usize, settled: &[Both<Settlement>]) -> Told {
        let worker = &self.workers[n];
        let Some(lease) = worker.lease.as_ref().filter(|_| !settled.is_empty()) else {
            return Ok(());
        };
        let store: Vec<Settlement> = settled.iter().map(|one| one.store.clone()).collect();
        let model: Vec<Settlement> = settled.iter().map(|one| one.model.clone()).collect();
        for once in how.times() {
            if let Some(micros) = once {
                give_up(micros, worker.store.settle(&lease.store, &store)).await;
            }
            let answer = worker.store.settle(&lease.store, &store).await;
            let expected = self.model.settle(&lease.model, &model);
            if once.is_some() && answer.is_ok() && expected.is_ok() {
                // What was done before is left alone now.
                continue;
            }
            let answer = answer.map(|left| places(&store, &left));
            let expected = expected.map(|left| places(&model, &left));
            same("left alone", &plain(answer), &plain(expected))?;
        }
        Ok(())
    }
}

/// The places of those that were left alone.
fn places(settled: &[Settlement], left: &[Position]) -> Vec<usize> {
    let place = |at: &Position| settled.iter().position(|one| one.position == *at);
    let mut places: Vec<usize> = left.iter().filter_map(place).collect();
    places.sort_unstable();
    places
}
