//! Which rows are wanted: `COLUMN=VALUE,VALUE`.

use std::str::FromStr;

/// Rows whose cell in a column is one of some values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picked {
    /// The column.
    pub(crate) column: String,
    /// What its cell may be.
    pub(crate) values: Vec<String>,
}

impl Picked {
    /// Whether a row with this cell is wanted.
    pub(crate) fn holds(&self, cell: &str) -> bool {
        self.values.iter().any(|value| value == cell)
    }
}

/// Why a text does not pick rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("say COLUMN=VALUE or COLUMN=VALUE,VALUE, such as split=train")]
pub(crate) struct PickedError;

impl FromStr for Picked {
    type Err = PickedError;

    fn from_str(text: &str) -> Result<Self, PickedError> {
        let (column, values) = text.split_once('=').ok_or(PickedError)?;
        let values: Vec<String> = values.split(',').map(|it| it.trim().to_owned()).collect();
        let column = column.trim().to_owned();
        if column.is_empty() || values.iter().any(String::is_empty) {
            return Err(PickedError);
        }
        Ok(Self { column, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_and_its_values_are_told_apart() {
        let picked: Picked = "day=2017-12-22,2017-12-24".parse().unwrap();
        assert_eq!(picked.column, "day");
        assert!(picked.holds("2017-12-24") && !picked.holds("2017-12-23"));
        for text in ["", "day", "=1", "day=", "day=1,"] {
            assert_eq!(text.parse::<Picked>(), Err(PickedError), "{text:?}");
        }
    }
}
