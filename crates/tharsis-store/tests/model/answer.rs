//! Answers of a database and of the model, compared.

use std::fmt::Debug;

use tharsis_core::Timestamp;
use tharsis_store::{Due, Pending, Position, StoreError};

use crate::{harness::code, story::Both};

/// What went differently.
pub(crate) type Told = Result<(), String>;

/// The same rows, in an order that both have.
pub(crate) fn pair(found: &[Due], expected: &[Due]) -> Result<Vec<Both<Due>>, String> {
    if !found.is_sorted_by_key(|due| due.position) {
        return Err(format!("what is due is not in order: {found:#?}"));
    }
    let line = |due: &Due| {
        let due = Due {
            position: Position {
                seq: 0,
                replay: due.position.replay.min(1),
                ..due.position
            },
            ..due.clone()
        };
        format!("{due:?}")
    };
    let sorted = |rows: &[Due]| {
        let mut rows = rows.to_vec();
        rows.sort_by_key(|due| (due.position.subscription, due.position.due_at, due.id));
        rows
    };
    let (store, model) = (sorted(found), sorted(expected));
    let lines = |rows: &[Due]| rows.iter().map(line).collect::<Vec<_>>();
    same("what is due", &lines(&store), &lines(&model))?;
    let both = store.into_iter().zip(model);
    Ok(both.map(|(store, model)| Both { store, model }).collect())
}

pub(crate) fn in_order(lanes: &[Pending]) -> Vec<(i64, Timestamp)> {
    let mut lanes: Vec<_> = lanes.iter().map(|l| (l.subscription, l.due_at)).collect();
    lanes.sort_unstable();
    lanes
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is handed over as it comes"
)]
pub(crate) fn failed(error: StoreError) -> String {
    format!("the store failed: {error:?}")
}

/// An answer, of which a refusal says its code.
pub(crate) fn plain<T, E: Coded>(answer: Result<T, E>) -> Result<T, String> {
    answer.map_err(Coded::code)
}

pub(crate) trait Coded {
    fn code(self) -> String;
}

impl Coded for StoreError {
    fn code(self) -> String {
        code::<()>(Err(self))
    }
}

impl Coded for &StoreError {
    fn code(self) -> String {
        match self {
            StoreError::LeaseLost => "lease_lost".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

pub(crate) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Told {
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "{what} differs:\n   found {found:?}\nexpected {expected:?}"
    ))
}
