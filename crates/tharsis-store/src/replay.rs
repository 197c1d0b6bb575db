//! How far a replay is, as both databases tell it.

use tharsis_core::{ReplayId, Timestamp};
use uuid::Uuid;

use crate::{Replay, ReplayKey, ReplayState};

impl Replay {
    pub(crate) fn of(
        id: Uuid,
        is_fresh: bool,
        (examined, replayed): (u64, u64),
        created_at: Timestamp,
        started_at: Option<Timestamp>,
        finished_at: Option<Timestamp>,
    ) -> Self {
        Self {
            id: ReplayId::from_uuid(id),
            key: if is_fresh {
                ReplayKey::Fresh
            } else {
                ReplayKey::Same
            },
            state: match (started_at, finished_at) {
                (_, Some(_)) => ReplayState::Done,
                (Some(_), None) => ReplayState::Running,
                (None, None) => ReplayState::Waiting,
            },
            examined,
            replayed,
            skipped: examined.saturating_sub(replayed),
            created_at,
            finished_at,
        }
    }
}
