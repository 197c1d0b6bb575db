//! Whether a process does what it is there for, decided from what was read: pure.

use std::{fmt, time::Duration};

use serde::Serialize;
use tharsis::format_duration;

use crate::text::{age, counted};

/// So long the database may be silent.
pub(super) const SILENT: Duration = Duration::from_secs(2);

/// All that is judged.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) database: Database,
    /// Whether the worker of this process has a lease; `None` where none runs.
    pub(super) is_leased: Option<bool>,
    /// How long the first delivery that nothing holds has been due, as far as is known.
    pub(super) overdue: Option<Duration>,
    /// Subscriptions whose secret does not open.
    pub(super) unsigned: u64,
    /// Whether the key that seals is here.
    pub(super) has_key: bool,
}

/// Whether the database answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Database {
    Answers,
    Silent,
    /// With this code.
    Failed(String),
}

/// The answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    reasons: Vec<Reason>,
}

/// Why it is not ready.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reason {
    /// Stable.
    code: &'static str,
    message: String,
}

impl Readiness {
    /// Where something may be due for as long as `bound`.
    pub(super) fn of(facts: &Facts, bound: Duration) -> Self {
        let mut reasons = Vec::new();
        let mut because = |code, message| reasons.push(Reason { code, message });
        match &facts.database {
            Database::Answers => {}
            Database::Silent => because(
                "database_silent",
                format!(
                    "the database did not answer within {}",
                    format_duration(SILENT)
                ),
            ),
            Database::Failed(code) => because(
                "database_failed",
                format!("the database failed ({code}); the log of this process says why"),
            ),
        }
        if facts.is_leased == Some(false) {
            because(
                "lease_over",
                "the lease of this worker is over, and it sends nothing until it has another"
                    .to_owned(),
            );
        }
        if let Some(overdue) = facts.overdue.filter(|overdue| *overdue > bound) {
            because(
                "overdue",
                format!(
                    "a delivery that nothing holds has been due for {}, longer than {}",
                    age(overdue),
                    format_duration(bound)
                ),
            );
        }
        if !facts.has_key {
            because(
                "key_missing",
                "the key that secrets are sealed with is not here".to_owned(),
            );
        }
        if facts.unsigned > 0 {
            let many = counted(facts.unsigned, "subscription has", "subscriptions have");
            because(
                "secret_unreadable",
                format!("{many} a secret that no key here opens"),
            );
        }
        Self {
            ready: reasons.is_empty(),
            reasons,
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ready {
            return f.write_str("ready\n");
        }
        for Reason { code, message } in &self.reasons {
            writeln!(f, "{code}: {message}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(300);

    fn told(change: impl FnOnce(&mut Facts)) -> String {
        let mut facts = Facts {
            database: Database::Answers,
            is_leased: Some(true),
            overdue: Some(BOUND),
            unsigned: 0,
            has_key: true,
        };
        change(&mut facts);
        Readiness::of(&facts, BOUND).to_string()
    }

    #[test]
    fn each_reason_has_a_line() {
        assert_eq!(told(|_| {}), "ready\n");
        assert_eq!(told(|facts| facts.is_leased = None), "ready\n");
        insta::assert_snapshot!(told(|facts| facts.database = Database::Silent), @"database_silent: the database did not answer within 2s");
        insta::assert_snapshot!(told(|facts| facts.database = Database::Failed("key_missing".to_owned())), @"database_failed: the database failed (key_missing); the log of this process says why");
        insta::assert_snapshot!(told(|facts| facts.is_leased = Some(false)), @"lease_over: the lease of this worker is over, and it sends nothing until it has another");
        insta::assert_snapshot!(told(|facts| facts.overdue = Some(BOUND * 3)), @"overdue: a delivery that nothing holds has been due for 15m, longer than 5m");
        let both = |facts: &mut Facts| {
            facts.has_key = false;
            facts.unsigned = 2;
        };
        insta::assert_snapshot!(told(both), @r"
        key_missing: the key that secrets are sealed with is not here
        secret_unreadable: 2 subscriptions have a secret that no key here opens
        ");
    }

    #[test]
    fn programs_are_told_by_code() {
        let facts = Facts {
            database: Database::Silent,
            is_leased: None,
            overdue: None,
            unsigned: 0,
            has_key: true,
        };
        let told = serde_json::to_string(&Readiness::of(&facts, BOUND)).expect("it is JSON");
        insta::assert_snapshot!(told, @r#"{"ready":false,"reasons":[{"code":"database_silent","message":"the database did not answer within 2s"}]}"#);
    }
}
