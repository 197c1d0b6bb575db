//! How values are written for people.

pub(crate) use tharsis::text::{excerpt, inert, inert_json};
pub(crate) use tharsis_admin::text::{
    age, count, counted, in_shell, measured, moment, moment_or_dash,
};
