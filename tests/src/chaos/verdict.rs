#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use tharsis::Timestamp;

use super::{
    evidence::Evidence,
    ledger::{Answered, Receipt},
    trouble::Trouble,
};

/// What a kill, a stop or a crash may repeat at most for each worker that it hits: requests under way, and what is not settled
/// (docs/ARCHITECTURE.md, "What can come twice").
const MOST_REPEATED: usize = 256 + 2048;

/// So few duplicates say nothing about how many of them are whose.
const FEW: usize = 50;

/// How late a receiver may notice that the other side has gone.
const NOTICED: i64 = 250;

/// What a world amounts to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events that were committed.
    pub events: usize,
    /// Deliveries that ended, and how.
    pub ends: BTreeMap<String, usize>,
    /// Requests.
    pub requests: usize,
    /// Deliveries that came again after they had been taken.
    pub duplicates: usize,
    /// The most of them that one trouble explains.
    pub most_of_one: usize,
    /// Those whose first sender is not known, so that any that was hit at that time may have been it.
    pub of_anybody: usize,
}

/// What of the promises was not kept; nothing, if all were.
pub fn judge(evidence: &Evidence) -> (Figures, Vec<String>) {
    let mut findings = Vec::new();
    every_committed_event_has_ended(evidence, &mut findings);
    nothing_is_invented(evidence, &mut findings);
    ends_are_true(evidence, &mut findings);
    limits_are_kept(evidence, &mut findings);
    let Duplicates {
        count: duplicates,
        most_of_one,
        of_anybody,
    } = duplicates_are_explained(evidence, &mut findings);
    let mut ends = BTreeMap::new();
    for status in evidence.deliveries.values() {
        *ends.entry(status.clone()).or_default() += 1;
    }
    let figures = Figures {
        events: evidence.events.len(),
        ends,
        requests: evidence.receipts.len(),
        duplicates,
        most_of_one,
        of_anybody,
    };
    (figures, findings)
}

fn every_committed_event_has_ended(evidence: &Evidence, findings: &mut Vec<String>) {
    for mark in &evidence.committed {
        if !evidence.events.contains_key(mark) {
            findings.push(format!("the event {mark} was committed and is lost"));
        }
    }
    for (mark, client) in &evidence.events {
        for path in &evidence.subscriptions[client] {
            let status = evidence.deliveries.get(&(mark.clone(), path.clone()));
            match status.map(String::as_str) {
                Some("delivered" | "dead") => {}
                status => findings.push(format!("{mark} for {path} has not ended: {status:?}")),
            }
        }
    }
}

fn nothing_is_invented(evidence: &Evidence, findings: &mut Vec<String>) {
    let received = evidence.receipts.iter().map(|receipt| &receipt.mark);
    let known: HashSet<&String> = received.chain(evidence.events.keys()).collect();
    for mark in known {
        if evidence.doomed.contains(mark) {
            findings.push(format!("{mark} was never committed, and is there"));
        } else if !evidence.intended.contains(mark) {
            findings.push(format!("{mark} was published by nobody"));
        }
    }
    for receipt in &evidence.receipts {
        let client = evidence.events.get(&receipt.mark);
        let is_its =
            client.is_some_and(|client| evidence.subscriptions[client].contains(&receipt.path));
        if !is_its {
            findings.push(format!("{} came to {}", receipt.mark, receipt.path));
        }
    }
}

/// A delivery ended `delivered` if it was taken, and only then; and `dead` only if it was refused often enough.
fn ends_are_true(evidence: &Evidence, findings: &mut Vec<String>) {
    let mut came: HashMap<(&str, &str), Vec<&Receipt>> = HashMap::new();
    for receipt in &evidence.receipts {
        let delivery = (receipt.mark.as_str(), receipt.path.as_str());
        came.entry(delivery).or_default().push(receipt);
    }
    for ((mark, path), status) in &evidence.deliveries {
        let receipts = came.get(&(mark.as_str(), path.as_str()));
        let (taken, refused): (Vec<&Receipt>, Vec<&Receipt>) =
            (receipts.into_iter().flatten()).partition(|receipt| receipt.answer == Answered::Taken);
        if status == "delivered" {
            if taken.is_empty() {
                findings.push(format!("{mark} is delivered, and {path} never took it"));
            }
            continue;
        }
        let known = taken.iter().find(|taken| !evidence.troubles.hide(taken));
        if let Some(taken) = known {
            findings.push(format!("{mark} is {status}, and {path} took it: {taken:?}"));
        }
        // A connection that breaks may take one with it before it is read.
        let enough = evidence.refusing.get(path);
        if enough.is_none_or(|enough| refused.len() + taken.len() + 1 < *enough) {
            let times = refused.len();
            findings.push(format!(
                "{mark} is {status}, and {path} refused it {times} times"
            ));
        }
    }
}

struct Duplicates {
    count: usize,
    most_of_one: usize,
    of_anybody: usize,
}

fn duplicates_are_explained(evidence: &Evidence, findings: &mut Vec<String>) -> Duplicates {
    let mut last_taken: HashMap<(&str, &str), &Receipt> = HashMap::new();
    // A receiver that does not take it the second time gets it a third: that is one delivery still.
    let mut explained: BTreeMap<usize, HashSet<(&str, &str)>> = BTreeMap::new();
    let (mut count, mut of_anybody) = (0, 0);
    for receipt in &evidence.receipts {
        let delivery = (receipt.mark.as_str(), receipt.path.as_str());
        if let Some(first) = last_taken.get(&delivery) {
            count += 1;
            let is_known = evidence.troubles.makers_of(first).next().is_some();
            of_anybody += usize::from(!is_known);
            match evidence.troubles.explain(first, receipt) {
                Some(trouble) => drop(explained.entry(trouble).or_default().insert(delivery)),
                None => findings.push(format!(
                    "nothing explains why it came twice: {first:?} and {receipt:?}; there were {:?}",
                    evidence.troubles.around(first.at)
                )),
            }
        }
        if receipt.answer == Answered::Taken {
            last_taken.insert(delivery, receipt);
        }
    }
    if 2 * of_anybody > count && count > FEW {
        findings.push(format!(
            "of {of_anybody} of {count} that came twice nobody knows who sent them"
        ));
    }
    for (trouble, repeated) in &explained {
        let trouble = &evidence.troubles.all[*trouble];
        let hit = match trouble {
            Trouble::Down { .. } => evidence.workers,
            Trouble::Killed { .. } | Trouble::Frozen { .. } | Trouble::Lost { .. } => 1,
        };
        let repeated = repeated.len();
        if repeated > hit * MOST_REPEATED {
            findings.push(format!("{repeated} came twice after one {trouble:?}"));
        }
    }
    Duplicates {
        count,
        most_of_one: explained.values().map(HashSet::len).max().unwrap_or(0),
        of_anybody,
    }
}

/// At no time were more requests of a subscription under way than it allows.
fn limits_are_kept(evidence: &Evidence, findings: &mut Vec<String>) {
    let Some(limit) = evidence.max_in_flight else {
        return;
    };
    let mut spans: HashMap<&str, Vec<(Timestamp, i32)>> = HashMap::new();
    for receipt in &evidence.receipts {
        let (from, until) = (receipt.at, end_of(receipt));
        if from < until {
            let changes = spans.entry(&receipt.path).or_default();
            changes.extend([(from, 1), (until, -1)]);
        }
    }
    let limit = i32::try_from(limit).unwrap_or(i32::MAX);
    for (path, mut changes) in spans {
        // Of the same millisecond, ends come first.
        changes.sort_unstable();
        let mut open = 0;
        for (at, change) in changes {
            open += change;
            let others = if evidence.is_shared {
                evidence.troubles.out_of_step(at)
            } else {
                0
            };
            let owners = i32::try_from(1 + others).unwrap_or(i32::MAX);
            if open > limit.saturating_mul(owners) {
                findings.push(format!("{open} requests to {path} were under way at {at}"));
                break;
            }
        }
    }
}

/// Until when it was surely under way: one that was not answered may have been given up before its receiver noticed.
fn end_of(receipt: &Receipt) -> Timestamp {
    let until = receipt.until.unwrap_or(receipt.at);
    match receipt.answer {
        Answered::Nothing => Timestamp::from_millis(until.as_millis() - NOTICED),
        Answered::Taken | Answered::Refused => until,
    }
}
