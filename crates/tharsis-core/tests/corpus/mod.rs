//! The corpus in `tests/corpus/` at the top of the repository.

use std::{collections::HashMap, path::Path};

/// One row, by the names of its columns.
pub(crate) struct Row(HashMap<String, String>);

impl Row {
    pub(crate) fn get(&self, column: &str) -> &str {
        self.0.get(column).expect("the corpus has this column")
    }
}

/// All rows of a file; a file without any is an error.
pub(crate) fn rows(file: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/corpus")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut lines = text.lines().map(|line| line.split('\t'));
    let header: Vec<&str> = lines.next().expect("a header line").collect();
    let rows: Vec<Row> = lines
        .map(|fields| {
            let row: HashMap<_, _> = header
                .iter()
                .map(ToString::to_string)
                .zip(fields.map(str::to_owned))
                .collect();
            assert_eq!(row.len(), header.len(), "a row of {file} is short");
            Row(row)
        })
        .collect();
    assert!(!rows.is_empty(), "{file} has no rows");
    rows
}

/// Tells how many rows a test ran, all of which passed; a test that ran none has proved nothing.
#[expect(
    clippy::print_stdout,
    reason = "it is what a person wants to see of such a test"
)]
pub(crate) fn ran(what: &str, rows: usize) {
    assert!(rows > 0, "no rows of {what} ran");
    println!("{what}: {rows} rows ran, {rows} passed");
}
