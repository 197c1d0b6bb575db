use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{ledger::Receipt, trouble::Troubles};
use crate::{Journal, World};

/// All that is known of a world when nobody works in it any more.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What receivers got, oldest first.
    pub receipts: Vec<Receipt>,
    /// What happened.
    pub troubles: Troubles,
    /// The paths of receivers that refuse something, or do not answer, so that a delivery may end `dead`; each refuses so many
    /// requests before it does.
    pub refusing: HashMap<String, usize>,
    /// The paths of each client's subscriptions.
    pub subscriptions: HashMap<String, Vec<String>>,
    /// The client of each event of which the outbox knows.
    pub events: HashMap<String, String>,
    /// How each delivery stands, by its event's mark and its path.
    pub deliveries: HashMap<(String, String), String>,
    /// Marks of events whose commit returned.
    pub committed: HashSet<String>,
    /// Marks of events that were, or may have been, committed.
    pub intended: HashSet<String>,
    /// Marks of events that were written and never committed.
    pub doomed: HashSet<String>,
    /// Workers at once, at most.
    pub workers: usize,
    /// Requests of a subscription that may be under way at once, where receivers can tell.
    pub max_in_flight: Option<usize>,
    /// Whether another worker may have a subscription before those requests of the first have ended.
    pub is_shared: bool,
}

impl Evidence {
    /// Adds what the outbox and the publishers say. Nobody may be at work.
    #[track_caller]
    pub fn ask(mut self, world: &World, journals: &[Journal]) -> Self {
        let marks = world.marks();
        for delivery in world.all_deliveries(&[]) {
            let mark = &marks[&text(&delivery["event"])];
            let pair = (mark.clone(), text(&delivery["subscription_name"]));
            self.events.insert(mark.clone(), text(&delivery["client"]));
            self.deliveries.insert(pair, text(&delivery["status"]));
        }
        assert_eq!(
            self.events.len(),
            marks.len(),
            "each event goes to somebody"
        );
        let steps = |step: &str| -> HashSet<String> {
            journals
                .iter()
                .flat_map(|journal| journal.steps(step))
                .collect()
        };
        self.committed = steps("committed");
        self.intended = steps("intends");
        self.doomed = steps("dooms");
        self
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("it is a text").to_owned()
}
