//! The mail door of Tharsis: messages to people, by SMTP, to the one server that the operator names.

mod smtp;

pub use smtp::{Security, Smtp, SmtpOptions};
