//! What is to be sent again, read from the form into what the API takes.

use tharsis::{Invalid, Timestamp};

use crate::{Problem, api::replays::Wanted, pages::form::Form};

/// How that is said which was never delivered, and not what has ended.
pub(super) const MISSING: &str = "missing";

/// What says which deliveries, beside their status and time.
const WHICH: [&str; 4] = ["subscription", "type", "campaign", "event"];

/// What says when their events were published.
const WHEN: [&str; 2] = ["since", UNTIL];

const UNTIL: &str = "until";

/// What says whose they are, and how they go out.
const HOW: [&str; 5] = ["client", "what", "to", "rate", "key"];

/// What the form says, name by name.
#[derive(Debug)]
pub(super) struct Said {
    /// Which deliveries, as their list is asked.
    which: Vec<(String, String)>,
    how: Vec<(String, String)>,
}

impl Said {
    /// How long ago something was becomes when it was: what is confirmed is what was looked at.
    pub(super) fn of(typed: &Form, now: Timestamp) -> Result<Self, Invalid> {
        let said = |name: &&str| {
            let text = typed.text(name)?;
            Some(((*name).to_owned(), text.to_owned()))
        };
        let status = typed.all("status");
        let mut which: Vec<(String, String)> = status
            .map(|status| ("status".to_owned(), status.to_owned()))
            .collect();
        which.extend(WHICH.iter().filter_map(said));
        for name in WHEN {
            let at = typed.instant(name, now)?;
            // What is published meanwhile was not looked at.
            let at = at.or((name == UNTIL && !which.is_empty()).then_some(now));
            which.extend(at.map(|at| (name.to_owned(), at.to_string())));
        }
        let what = typed.text("what");
        if what.is_some_and(|what| what != MISSING) {
            let message = "is neither empty nor missing";
            return Err(Invalid::new("bad_choice", message).at("what"));
        }
        Ok(Self {
            which,
            how: HOW.iter().filter_map(said).collect(),
        })
    }

    /// All of it, as a form sends it.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &(String, String)> {
        self.which.iter().chain(&self.how)
    }

    /// The same as the API takes it.
    pub(super) fn wanted(&self) -> Wanted {
        let how = |name: &str| {
            let found = self.how.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let which = Some(self.which.clone().into());
        let (filter, missing) = match how("what") {
            None => (which, None),
            Some(_) => (None, which),
        };
        Wanted {
            client: how("client"),
            deliveries: None,
            filter,
            missing,
            to: how("to"),
            rate: how("rate"),
            key: how("key"),
            dry_run: false,
        }
    }
}

/// A problem by the field of the form: what is part of a filter elsewhere stands by itself here.
pub(super) fn placed(problem: Problem) -> Problem {
    if problem.code() == "nothing_chosen" {
        let message = "nothing says which deliveries";
        return Problem::new(problem.status(), problem.code(), message)
            .hint("choose a status, or say since when");
    }
    let part = problem.field().and_then(|field| {
        (field.strip_prefix("filter.")).or_else(|| field.strip_prefix("missing."))
    });
    match part.map(str::to_owned) {
        Some(part) => problem.at(&part),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(query: &str) -> Result<Said, Invalid> {
        let now = Timestamp::from_millis(1_700_000_000_000);
        Said::of(&Form::parse(query.as_bytes()), now)
    }

    #[test]
    fn what_is_confirmed_is_what_was_looked_at() {
        let said = said("status=dead&status=cancelled&type=&since=1h&rate=10%2Fs&look=1&csrf=x");
        let said = said.expect("it is read");
        let pairs: Vec<_> = said
            .pairs()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(
            pairs,
            [
                ("status", "dead"),
                ("status", "cancelled"),
                ("since", "2023-11-14T21:13:20.000Z"),
                ("until", "2023-11-14T22:13:20.000Z"),
                ("rate", "10/s"),
            ]
        );
    }

    #[test]
    fn what_has_ended_is_meant_or_what_was_never_delivered() {
        let wanted = said("status=dead&key=fresh").expect("it is read").wanted();
        assert!(wanted.filter.is_some() && wanted.missing.is_none());
        assert_eq!(wanted.key.as_deref(), Some("fresh"));
        let wanted = said("what=missing").expect("it is read").wanted();
        assert!(wanted.filter.is_none() && wanted.missing.is_some());
        let refused = said("what=all").expect_err("there is no such choice");
        assert_eq!(refused.field.as_deref(), Some("what"));
    }

    #[test]
    fn a_problem_stands_beside_its_field() {
        let placed = |field: &str| {
            let problem = placed(Invalid::new("odd", "is odd").at(field).into());
            problem.field().map(str::to_owned)
        };
        assert_eq!(placed("filter.campaign").as_deref(), Some("campaign"));
        let missing = placed("missing.subscription");
        assert_eq!(missing.as_deref(), Some("subscription"));
        assert_eq!(placed("rate").as_deref(), Some("rate"));
        let nothing = Invalid::new("nothing_chosen", "says nothing").at("filter");
        assert_eq!(super::placed(nothing.into()).field(), None);
    }
}
