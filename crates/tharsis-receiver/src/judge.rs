use std::{fmt, sync::Arc};

use crate::{Answer, Received};

/// Decides how each request is answered, where one [`Answer`] for all of them, or for all on a path, is not enough.
#[derive(Clone)]
pub struct Judge(Arc<dyn Fn(&Received) -> Reply + Send + Sync>);

/// How one request is answered.
pub struct Reply {
    /// With this, but for what it says of HEAD and of failures to come first; without one the connection is closed without
    /// a word.
    pub answer: Option<Answer>,
    /// Called when the answer has been made, and dropped uncalled where none is, or where the other side has gone before.
    pub done: Box<dyn FnOnce() + Send>,
}

impl Judge {
    /// Asks this about each request, on its connection's task: it must not block.
    pub fn new(decide: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    pub(crate) fn decide(&self, received: &Received) -> Reply {
        (self.0)(received)
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self {
            answer: Some(answer),
            done: Box::new(|| {}),
        }
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}
