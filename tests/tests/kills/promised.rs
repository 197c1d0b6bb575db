//! What publishers' journals say must, may and must not be received.

use std::collections::HashSet;

use serde_json::Value;
use tharsis_tests::{Inbox, Journal, World, mark_of};

#[derive(Default)]
pub(crate) struct Promised {
    pub(crate) committed: HashSet<String>,
    pub(crate) intended: HashSet<String>,
    pub(crate) doomed: HashSet<String>,
}

impl Promised {
    /// No publisher failed by itself.
    #[track_caller]
    pub(crate) fn read(journals: &[Journal]) -> Self {
        let mut promised = Self::default();
        for journal in journals {
            assert_eq!(journal.steps("failed"), Vec::<String>::new());
            promised.committed.extend(journal.steps("committed"));
            promised.intended.extend(journal.steps("intends"));
            promised.doomed.extend(journal.steps("dooms"));
        }
        promised
    }

    /// Published ⊆ received; nothing that was rolled back, and nothing that nobody meant to publish, is received. All of it
    /// has ended well, and the outbox is whole.
    #[track_caller]
    pub(crate) fn assert_kept(&self, world: &World, [everything, nudges]: &[Inbox; 2]) {
        everything.assert_all_verified();
        nudges.assert_all_verified();
        let received = marks(everything, |_| true);
        let lost: Vec<_> = self.committed.difference(&received).collect();
        assert!(
            lost.is_empty(),
            "{} of {} are lost, such as {}",
            lost.len(),
            self.committed.len(),
            lost[0]
        );
        let invented: Vec<_> = received.difference(&self.intended).collect();
        assert!(
            invented.is_empty(),
            "{} were rolled back or made up, such as {}",
            invented.len(),
            invented[0]
        );
        assert!(self.intended.is_disjoint(&self.doomed));
        // What one subscription got was published, so the other must have got its part of it.
        let is_nudge = |body: &[u8]| body.starts_with(b"{\"nudgeUserId\"");
        assert_eq!(marks(nudges, |_| true), marks(everything, is_nudge));

        let deliveries = world.deliveries(&["--limit=1000000"]);
        assert_eq!(
            deliveries.len(),
            received.len() + marks(nudges, |_| true).len()
        );
        for delivery in deliveries {
            assert_eq!(delivery["status"], "delivered", "{delivery}");
        }
        assert_eq!(world.integrity(), "ok");
    }
}

/// Every answer was a success, so one that was settled ended its delivery: what came twice was settled once.
#[track_caller]
pub(crate) fn assert_settled_once(world: &World) {
    for delivery in world.deliveries(&["--limit=1000000"]) {
        assert_eq!(delivery["attempts"], Value::from(1), "{delivery}");
    }
}

/// Nothing came twice.
#[track_caller]
pub(crate) fn assert_no_duplicates(inboxes: &[Inbox; 2]) {
    for inbox in inboxes {
        let received = marks(inbox, |_| true);
        assert_eq!(
            inbox.count(),
            received.len(),
            "{} got some twice",
            inbox.name
        );
    }
}

/// The marks of the bodies that are of this kind.
fn marks(inbox: &Inbox, of_kind: impl Fn(&[u8]) -> bool) -> HashSet<String> {
    (inbox.posts().iter())
        .filter(|post| of_kind(&post.body))
        .map(|post| mark_of(&post.body))
        .collect()
}
