//! Which column of a table is what.

use std::collections::BTreeSet;

use csv::StringRecord;

use super::{Row, picked::Picked, problem::Problem};

/// Most columns that are listed in an error; a table may have thousands.
const LISTED_MAX: usize = 12;

/// What tables say where a number is missing.
const MISSING: [&str; 6] = ["", "na", "n/a", "null", "none", "?"];

/// What is wanted of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    /// Which columns are features.
    pub(crate) features: FeatureColumns,
    /// The column of the labels.
    pub(crate) label: Option<String>,
    /// The column that says which rows belong together.
    pub(crate) group: Option<String>,
    /// Only rows for which all of these hold.
    pub(crate) picked: Vec<Picked>,
    /// Further columns whose cells are wanted as text.
    pub(crate) extra: Vec<String>,
    /// Whether rows with a cell that is missing or no finite number are left out, and counted,
    /// rather than refused.
    pub(crate) skip_incomplete: bool,
}

/// Which columns are features.
#[derive(Clone, Debug, Default)]
pub(crate) enum FeatureColumns {
    /// Those left of the label, or right of it when it is first; never the group, what rows are
    /// picked by, or the further columns. All that is left when there is no label.
    #[default]
    ByLayout,
    /// These, in this order, wherever they stand; none at all, where only the text is wanted.
    Named(Vec<String>),
}

/// Where everything stands in the file at hand.
#[derive(Debug)]
pub(super) struct Layout {
    /// The features by name.
    pub(super) names: Vec<String>,
    /// The columns that are none of what was asked for.
    pub(super) ignored: Vec<String>,
    /// Columns of a whole row.
    pub(super) width: usize,
    features: Vec<usize>,
    label: Option<usize>,
    group: Option<usize>,
    extra: Vec<usize>,
    picked: Vec<(usize, Picked)>,
    heading: Vec<String>,
}

impl Layout {
    /// Finds `columns` in the heading.
    pub(super) fn of(heading: &StringRecord, columns: &Columns) -> Result<Self, Problem> {
        let heading: Vec<String> = heading.iter().map(|name| name.trim().to_owned()).collect();
        if heading.is_empty() || heading == [""] {
            return Err(Problem::Empty);
        }
        let mut seen = BTreeSet::new();
        for (index, name) in heading.iter().enumerate() {
            if name.is_empty() {
                return Err(Problem::Unnamed { column: index + 1 });
            }
            if !seen.insert(name.as_str()) {
                return Err(Problem::Repeated { column: name.clone() });
            }
        }
        let find = |name: &String| {
            heading
                .iter()
                .position(|column| column == name)
                .ok_or_else(|| Problem::Missing { column: name.clone(), known: listed(&heading) })
        };
        let label = columns.label.as_ref().map(find).transpose()?;
        let group = columns.group.as_ref().map(find).transpose()?;
        let extra = columns.extra.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let picked = columns
            .picked
            .iter()
            .map(|picked| Ok((find(&picked.column)?, picked.clone())))
            .collect::<Result<Vec<_>, Problem>>()?;

        let spoken_for: BTreeSet<usize> = [label, group]
            .into_iter()
            .flatten()
            .chain(extra.iter().copied())
            .chain(picked.iter().map(|(column, _)| *column))
            .collect();
        let features: Vec<usize> = match &columns.features {
            FeatureColumns::Named(names) => names.iter().map(find).collect::<Result<_, _>>()?,
            FeatureColumns::ByLayout => {
                let side = match label {
                    None | Some(0) => 0..heading.len(),
                    Some(label) => 0..label,
                };
                side.filter(|column| !spoken_for.contains(column)).collect()
            }
        };
        let by_layout = matches!(columns.features, FeatureColumns::ByLayout);
        if by_layout && features.is_empty() {
            return Err(Problem::NoFeatures { known: listed(&heading) });
        }
        let names: Vec<String> = features.iter().map(|&column| heading[column].clone()).collect();
        let used: BTreeSet<usize> = features.iter().copied().chain(spoken_for).collect();
        let unused = heading.iter().enumerate().filter(|(column, _)| !used.contains(column));
        Ok(Self {
            names,
            ignored: unused.map(|(_, name)| name.clone()).collect(),
            width: heading.len(),
            features,
            label,
            group,
            extra,
            picked,
            heading,
        })
    }

    /// Whether the record is wanted.
    pub(super) fn picks(&self, record: &StringRecord) -> bool {
        self.picked.iter().all(|(column, picked)| picked.holds(record[*column].trim()))
    }

    /// Turns a record of the right width into a row.
    pub(super) fn fill(
        &self,
        record: &StringRecord,
        line: u64,
        row: &mut Row,
    ) -> Result<(), Problem> {
        row.line = line;
        row.values.clear();
        for &column in &self.features {
            row.values.push(number(record[column].trim()).map_err(|wrong| {
                let column = self.heading[column].clone();
                match wrong {
                    Wrong::Empty => Problem::EmptyCell { line, column },
                    Wrong::NotANumber(cell) => Problem::NotANumber { line, column, cell },
                    Wrong::NotFinite(cell) => Problem::NotFinite { line, column, cell },
                }
            })?);
        }
        let text = |column: usize| match record[column].trim() {
            "" => Err(Problem::EmptyCell { line, column: self.heading[column].clone() }),
            cell => Ok(cell),
        };
        for (to, from) in [(&mut row.label, self.label), (&mut row.group, self.group)] {
            to.clear();
            if let Some(column) = from {
                to.push_str(text(column)?);
            }
        }
        row.extra.clear();
        row.extra.extend(self.extra.iter().map(|&column| record[column].trim().to_owned()));
        Ok(())
    }
}

/// Why a cell is not a feature.
enum Wrong {
    Empty,
    NotANumber(String),
    NotFinite(String),
}

fn number(cell: &str) -> Result<f32, Wrong> {
    // An error is shown with its cell, and a cell can be a whole file that lacks a quote.
    let shown = || cell.chars().take(40).collect();
    match cell.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(Wrong::NotFinite(shown())),
        Err(_) if MISSING.iter().any(|word| cell.eq_ignore_ascii_case(word)) => Err(Wrong::Empty),
        Err(_) => Err(Wrong::NotANumber(shown())),
    }
}

/// The first of `names`, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(LISTED_MAX)].join(", ");
    match names.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
