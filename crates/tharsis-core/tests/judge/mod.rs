//! Rows of the corpus one by one, so that one that fails hides no other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::corpus::{Row, ran};

/// Runs these rows, and tells how many ran and how many passed.
pub(crate) fn each<'r>(
    what: &str,
    rows: impl IntoIterator<Item = &'r Row>,
    mut test: impl FnMut(&'r Row),
) {
    // What is wrong with a row is told by its own panic.
    let passed: Vec<bool> = rows
        .into_iter()
        .map(|row| catch_unwind(AssertUnwindSafe(|| test(row))).is_ok())
        .collect();
    let count = passed.iter().filter(|passed| **passed).count();
    assert_eq!(
        count,
        passed.len(),
        "{what}: {} rows ran, {count} passed",
        passed.len()
    );
    ran(what, count);
}
