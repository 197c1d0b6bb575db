use std::{
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use console::style;
use serde::Serialize;
use tharsis::{Invalid, store::StoreError};
use tharsis_admin::documents::Fault;
use tharsis_receiver::ReceiverError;

use super::{json as json_line, put, text::inert};

/// What the process ends with: 0 done, 1 refused or failed, 2 wrong usage, 3 where `doctor` found an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was done.
    Done = 0,
    /// It was refused or failed, and that has been told already.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Something does not work, and that has been told.
    Broken = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early, as it is told.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    fault: Fault,
    /// Whoever read standard output has gone; there is nobody left to tell.
    closed_pipe: bool,
}

impl Failure {
    /// Something was refused or failed.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            fault: Fault {
                code: code.to_owned(),
                field: None,
                message: message.into(),
                hint: None,
            },
            closed_pipe: false,
        }
    }

    /// The command line or the configuration is wrong.
    pub(crate) fn usage(code: &str, message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new(code, message)
        }
    }

    /// Something below failed: the message tells the whole chain.
    pub(crate) fn because(code: &str, error: &dyn Error) -> Self {
        Self::new(code, chain(error))
    }

    /// The command line or the configuration is at fault.
    pub(crate) fn into_usage(self) -> Self {
        Self {
            exit: Exit::Usage,
            ..self
        }
    }

    /// Names the place.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.fault.field = Some(field.into());
        self
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.fault.hint = Some(hint.into());
        self
    }

    /// Adds what to do, after what the cause itself says.
    pub(crate) fn hint_also(mut self, hint: &str) -> Self {
        self.fault.hint = Some(match self.fault.hint {
            Some(own) => format!("{own}; {hint}"),
            None => hint.to_owned(),
        });
        self
    }

    /// What would be told, as part of another document.
    pub(crate) fn into_fault(self) -> Fault {
        self.fault
    }

    /// What is told.
    pub(crate) fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Tells it, and says what to end with. With `json` on standard output, or on standard error if that is closed.
    pub(crate) fn tell(self, json: bool) -> Exit {
        if self.closed_pipe {
            return Exit::Done;
        }
        if json {
            #[derive(Serialize)]
            struct Document<'a> {
                error: &'a Fault,
            }
            let told = json_line(&Document { error: &self.fault })
                .map_err(Self::from)
                .and_then(|line| put(format!("{line}\n").as_bytes()));
            if told.is_ok() {
                return self.exit;
            }
        }
        // A failure to tell a failure has no one left to go to; the exit code stands.
        let _ = writeln!(io::stderr().lock(), "{}", for_people(&self.fault));
        self.exit
    }
}

/// Without colours and on one line: `code: field: message (hint)`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault.code, self.fault.sentence())?;
        match &self.fault.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// `error[code]: field: message`, and the hint on a line of its own.
fn for_people(fault: &Fault) -> String {
    let mut told = format!(
        "{}{} ",
        style("error").red().bold().for_stderr(),
        style(format!("[{}]:", fault.code)).bold().for_stderr()
    );
    told.push_str(&fault.sentence());
    if let Some(hint) = &fault.hint {
        told.push_str(&format!(
            "\n  {} {}",
            style("hint:").cyan().for_stderr(),
            inert(hint)
        ));
    }
    told
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self {
            exit: Exit::Failed,
            fault: invalid.into(),
            closed_pipe: false,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            closed_pipe: error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::because("io", &error)
        }
    }
}

/// An error's own sentence and those of its causes, without saying the same twice.
fn chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let sentence = error.to_string();
        if !told.ends_with(&sentence) {
            told.push_str(": ");
            told.push_str(&sentence);
        }
        cause = error.source();
    }
    told
}

impl From<tharsis::Error> for Failure {
    fn from(error: tharsis::Error) -> Self {
        match error {
            tharsis::Error::Invalid(invalid) => invalid.into(),
            error => {
                let failure = Self::because(error.code(), &error);
                match error.hint().filter(|hint| !hint.is_empty()) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tharsis::Error::from(error).into()
    }
}

impl From<ReceiverError> for Failure {
    fn from(error: ReceiverError) -> Self {
        Self::because("receiver_failed", &error)
    }
}
