use std::{borrow::Cow, fmt};

/// Bad input, told so that whoever gave it can mend it.
///
/// `code` is stable and is what programs match on; `field` names the place (`predictions[0].discount`), `message` says
/// what is wrong with the value, `hint` what to do. The value itself is never repeated where it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalid {
    /// Stable, snake case: `discount_out_of_range`.
    pub code: &'static str,
    /// Path of the field, where there is one.
    pub field: Option<String>,
    /// One sentence, lower case, without a full stop.
    pub message: Cow<'static, str>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
}

impl Invalid {
    /// An error that is about no field in particular.
    pub fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            field: None,
            message: message.into(),
            hint: None,
        }
    }

    /// Names the field. An error that already names one keeps it, as a path below `field`.
    #[must_use]
    pub fn at(mut self, field: impl fmt::Display) -> Self {
        self.field = Some(match self.field.take() {
            None => field.to_string(),
            Some(inner) if inner.starts_with('[') => format!("{field}{inner}"),
            Some(inner) => format!("{field}.{inner}"),
        });
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}
