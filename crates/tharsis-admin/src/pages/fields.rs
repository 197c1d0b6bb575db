//! What forms ask for, as templates show it.

use super::{form::Form, markup::Kept};
use crate::Problem;

/// Several as one text; nothing where there are none.
pub(crate) fn joined(several: &[String]) -> Option<String> {
    (!several.is_empty()).then(|| several.join(", "))
}

/// A field that is typed into, with what was typed and what is wrong with it.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) label: String,
    /// `text`, `url`, `password`.
    pub(crate) kind: &'static str,
    pub(crate) value: Kept,
    pub(crate) hint: String,
    pub(crate) problem: Option<String>,
    pub(crate) is_required: bool,
    /// It has several lines.
    pub(crate) is_long: bool,
    /// The browser can fill it with a secret that it generates.
    pub(crate) may_be_generated: bool,
}

impl Input {
    pub(crate) fn new(name: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            label: label.into(),
            kind: "text",
            value: Kept::default(),
            hint: String::new(),
            problem: None,
            is_required: false,
            is_long: false,
            may_be_generated: false,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: hint.into(),
            ..self
        }
    }

    pub(crate) fn url(self) -> Self {
        Self {
            kind: "url",
            ..self
        }
    }

    /// What is typed is not shown, and not shown again.
    pub(crate) fn secret(self) -> Self {
        Self {
            kind: "password",
            ..self
        }
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.kind == "password"
    }

    pub(crate) fn required(self) -> Self {
        Self {
            is_required: true,
            ..self
        }
    }

    pub(crate) fn long(self) -> Self {
        Self {
            is_long: true,
            ..self
        }
    }

    pub(crate) fn or_generated(self) -> Self {
        Self {
            may_be_generated: true,
            ..self
        }
    }

    /// With what was typed before, and what of it is refused.
    pub(crate) fn after(self, typed: &Form, problem: Option<&Problem>) -> Self {
        let value = match self.is_secret() {
            true => Kept::default(),
            false => Kept::from(typed.exact(&self.name).unwrap_or_default()),
        };
        let problem = problem.filter(|problem| is_of(problem, &self.name));
        Self {
            value,
            problem: problem.map(told),
            ..self
        }
    }
}

/// One of several that may be chosen.
pub(crate) struct Choice {
    pub(crate) value: String,
    pub(crate) label: String,
    pub(crate) is_chosen: bool,
}

/// A fact about something, and where there is more of it.
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) href: Option<String>,
}

impl Fact {
    pub(crate) fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            href: None,
        }
    }

    pub(crate) fn at(self, href: String) -> Self {
        Self {
            href: Some(href),
            ..self
        }
    }
}

/// Whether a problem is about this field, or about a part of it.
pub(crate) fn is_of(problem: &Problem, name: &str) -> bool {
    let rest = problem.field().and_then(|field| field.strip_prefix(name));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
}

/// What is wrong and what to do, beside the field that it is about.
pub(crate) fn told(problem: &Problem) -> String {
    match problem.advice() {
        Some(hint) => format!("{}: {hint}", problem.message()),
        None => problem.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tharsis::Invalid;

    use super::*;

    #[test]
    fn a_problem_stands_beside_its_field() {
        let problem = |field: &str| Problem::from(Invalid::new("odd", "is odd").at(field));
        for field in ["alert_mail", "alert_mail[1]"] {
            assert!(is_of(&problem(field), "alert_mail"), "{field}");
        }
        for field in ["alert", "alert_mails", "alert_mail.x", "url"] {
            assert!(!is_of(&problem(field), "alert_mail"), "{field}");
        }
        assert_eq!(told(&problem("url")), "is odd");
    }

    #[test]
    fn what_was_typed_is_shown_again_but_for_a_secret() {
        let typed = Form::parse(b"name=Shop&secret=open+sesame");
        let name = Input::new("name", "Name").after(&typed, None);
        assert_eq!(name.value.to_string(), "Shop");
        let secret = Input::new("secret", "Secret").secret();
        assert_eq!(secret.after(&typed, None).value.to_string(), "");
    }
}
