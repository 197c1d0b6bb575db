use comfy_table::{CellAlignment, ContentArrangement};
use console::style;

use super::text::inert;

/// Rows under headings, without borders. Every cell is made inert.
///
/// A table that is wider than the terminal is told row by row instead: the first cell on a line of its own, the others
/// below it, each beside its heading.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A heading that begins with `>` stands over a column of numbers, which is aligned to the right.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.iter().map(|h| h.trim_start_matches('>')).collect(),
            right: headings.iter().map(|h| h.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: one cell for each heading.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headings.len());
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| inert(&cell).into_owned())
                .collect(),
        );
    }

    /// The table as text, for a terminal of this many columns.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let table = self.aligned();
        match width {
            Some(width)
                if table
                    .lines()
                    .any(|line| console::measure_text_width(line) > width) =>
            {
                self.stacked(width)
            }
            _ => table,
        }
    }

    fn aligned(&self) -> String {
        let mut table = borderless();
        table.set_header(self.headings.iter().map(|heading| heading.to_uppercase()));
        for (index, right) in self.right.iter().enumerate() {
            if let (true, Some(column)) = (*right, table.column_mut(index)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in &self.rows {
            table.add_row(row);
        }
        let mut lines = trimmed(&table);
        if let Some(end) = lines.find('\n') {
            let heading = style(&lines[..end]).bold().to_string();
            lines.replace_range(..end, &heading);
        }
        lines
    }

    fn stacked(&self, width: usize) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let mut cells = row.iter().zip(&self.headings);
            if let Some((first, _)) = cells.next() {
                text.push_str(&format!("{}\n", style(first).bold()));
            }
            let mut column = 0;
            for (cell, heading) in cells.filter(|(cell, _)| !matches!(cell.as_str(), "" | "-")) {
                let pair = format!("{} {cell}", style(heading).dim());
                let wide = console::measure_text_width(&pair);
                let gap = if column == 0 {
                    "  "
                } else if column + GAP.len() + wide > width {
                    text.push('\n');
                    column = 0;
                    "  "
                } else {
                    GAP
                };
                text.push_str(gap);
                text.push_str(&pair);
                column += gap.len() + wide;
            }
            text.push('\n');
        }
        text
    }
}

/// Between two cells of a row that is told in lines.
const GAP: &str = "   ";

/// Names and values below each other, the values aligned.
pub(crate) fn fields(pairs: impl IntoIterator<Item = [String; 2]>) -> String {
    let mut table = borderless();
    for [name, value] in pairs {
        table.add_row([name, inert(&value).into_owned()]);
    }
    trimmed(&table)
}

fn borderless() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// comfy-table pads each cell on both sides; lines begin at the margin and end with their text.
fn trimmed(table: &comfy_table::Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_wide_is_told_in_lines() {
        let mut table = Table::new(&["delivery", "status", ">attempts", "reason"]);
        table.row(["A/1", "delivered", "1", "http_200"].map(str::to_owned));
        table.row(["A/2", "dead", "12", "\u{1b}[2Jhttp_503"].map(str::to_owned));
        table.row(["A/3", "pending", "0", "-"].map(str::to_owned));
        insta::assert_snapshot!(table.render(None), @r"
    DELIVERY  STATUS     ATTEMPTS  REASON
    A/1       delivered         1  http_200
    A/2       dead             12  \u{1b}[2Jhttp_503
    A/3       pending           0  -
    ");
        assert_eq!(table.render(Some(200)), table.render(None));
        insta::assert_snapshot!(table.render(Some(38)), @r"
    A/1
      status delivered   attempts 1
      reason http_200
    A/2
      status dead   attempts 12
      reason \u{1b}[2Jhttp_503
    A/3
      status pending   attempts 0
    ");
    }
}
