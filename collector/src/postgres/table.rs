//! The answer to a query: texts end to end, because a thousand rows of it are kept for a minute.

/// Rows kept of one answer; the rest is left out and said.
pub(super) const ROWS_MAX: usize = 10_000;

/// Rows and named columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    columns: Vec<Box<str>>,
    text: String,
    /// Where each cell ends, row by row.
    cells: Vec<Cell>,
    /// Whether there were more rows than were kept.
    pub(super) cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    end: u32,
    null: bool,
}

/// One row of a table.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    table: &'a Table,
    first: usize,
}

impl Table {
    pub(super) fn new<'a>(columns: impl Iterator<Item = &'a str>) -> Table {
        Table {
            columns: columns.map(Into::into).collect(),
            ..Table::default()
        }
    }

    /// Adds the next cell; rows are complete when every column has one.
    pub(super) fn push(&mut self, cell: Option<&str>) {
        self.text.push_str(cell.unwrap_or(""));
        self.cells.push(Cell {
            end: u32::try_from(self.text.len()).unwrap_or(u32::MAX),
            null: cell.is_none(),
        });
    }

    /// Gives back the room that grew in advance.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.cells.shrink_to_fit();
    }

    pub(super) fn len(&self) -> usize {
        self.cells
            .len()
            .checked_div(self.columns.len())
            .unwrap_or(0)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.len()).map(|row| Row {
            table: self,
            first: row * self.columns.len(),
        })
    }

    /// The number of a column.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| **c == *name)
    }
}

impl<'a> Row<'a> {
    /// The text of a column; `None` for NULL.
    pub(super) fn get(self, column: usize) -> Option<&'a str> {
        let at = self.first + column;
        let cell = self.table.cells.get(at).filter(|c| !c.null)?;
        let start = at
            .checked_sub(1)
            .and_then(|before| self.table.cells.get(before))
            .map_or(0, |c| c.end as usize);
        self.table.text.get(start..cell.end as usize)
    }

    /// By name.
    pub(super) fn text(self, column: &str) -> Option<&'a str> {
        self.get(self.table.column(column)?)
    }
}

#[cfg(test)]
impl Table {
    /// From lines `a|b`, the first with the names; `~` is NULL.
    pub(super) fn of(text: &str) -> Table {
        let mut lines = text.lines();
        let mut table = Table::new(lines.next().unwrap_or("").split('|'));
        for cell in lines.flat_map(|line| line.split('|')) {
            table.push((cell != "~").then_some(cell));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_row_and_column() {
        let table = Table::of("a|b\n1|x\n~|\n3|z");
        let rows: Vec<_> = table.rows().map(|r| (r.get(0), r.text("b"))).collect();
        let expect = [
            (Some("1"), Some("x")),
            (None, Some("")),
            (Some("3"), Some("z")),
        ];
        assert_eq!(rows, expect);
        assert_eq!(table.len(), 3);
        assert_eq!(table.column("c"), None);
        assert_eq!(Table::default().len(), 0);
    }
}
