//! Names for the cells of a label column: a table `id,name,background`.
//!
//! ```text
//! id,name,background
//! 0,empty,1
//! 1,one_person,0
//! ```

use std::{cmp::Ordering, collections::BTreeSet, path::Path};

use crate::table_file::{Columns, FeatureColumns, Problem, TableError, TableReader};

/// The classes of a file, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassesFile {
    /// Id and name of each class.
    pub(crate) classes: Vec<(String, String)>,
    /// The id of the class that stands for "nothing of interest".
    pub(crate) background: Option<String>,
}

/// Why a file does not name classes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClassesError {
    /// It is no table.
    #[error("the classes could not be read")]
    Table(#[from] TableError),
    /// An id or a name that stands there twice.
    #[error("{file}: line {line}: {what:?} stands there twice")]
    Repeated {
        /// The file.
        file: String,
        /// Of the file.
        line: u64,
        /// The id or name.
        what: String,
    },
    /// Two classes that both stand for "nothing of interest".
    #[error("{file}: line {line}: two classes cannot both be the background")]
    Backgrounds {
        /// The file.
        file: String,
        /// Of the file.
        line: u64,
    },
}

impl ClassesFile {
    /// Reads the file; the column `background` may be missing.
    ///
    /// # Errors
    ///
    /// One variant of [`ClassesError`] for each way of being wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, ClassesError> {
        let columns = |background: &[&str]| Columns {
            features: FeatureColumns::Named(background.iter().map(ToString::to_string).collect()),
            label: Some("id".to_owned()),
            group: Some("name".to_owned()),
            ..Columns::default()
        };
        let mut reader = match TableReader::open(path, &columns(&["background"])) {
            Err(TableError { problem: Problem::Missing { column, .. }, .. })
                if column == "background" =>
            {
                TableReader::open(path, &columns(&[]))?
            }
            reader => reader?,
        };
        let file = path.display().to_string();
        let mut read = Self::default();
        let mut seen = (BTreeSet::new(), BTreeSet::new());
        while let Some(row) = reader.next_row()? {
            let (id, name, line) = (row.label.clone(), row.group.clone(), row.line);
            if row.values.first().is_some_and(|&background| background != 0.0) {
                if read.background.is_some() {
                    return Err(ClassesError::Backgrounds { file, line });
                }
                read.background = Some(id.clone());
            }
            for (new, what) in
                [(seen.0.insert(id.clone()), &id), (seen.1.insert(name.clone()), &name)]
            {
                if !new {
                    return Err(ClassesError::Repeated { file, line, what: what.clone() });
                }
            }
            read.classes.push((id, name));
        }
        if read.classes.is_empty() {
            return Err(reader.error(Problem::NoRows { picked: false }).into());
        }
        read.classes.sort_by(|one, two| by_number(&one.0, &two.0));
        Ok(read)
    }

    /// The name of the class with this id.
    pub(crate) fn name(&self, id: &str) -> Option<&str> {
        self.classes.iter().find(|class| class.0 == id).map(|class| class.1.as_str())
    }
}

/// Whole numbers by their value, before everything else by its letters.
pub(crate) fn by_number(one: &str, two: &str) -> Ordering {
    match (one.parse::<i64>(), two.parse::<i64>()) {
        (Ok(first), Ok(second)) => first.cmp(&second).then_with(|| one.cmp(two)),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => one.cmp(two),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(text: &str) -> Result<ClassesFile, ClassesError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("classes.csv");
        std::fs::write(&path, text).unwrap();
        ClassesFile::read(&path)
    }

    #[test]
    fn classes_are_ordered_by_their_numbers() {
        let read = classes("id,name,background\n10,tap,0\n9,mixer,0\n0,idle,1\n").unwrap();
        let names: Vec<&str> = read.classes.iter().map(|class| class.1.as_str()).collect();
        assert_eq!(names, ["idle", "mixer", "tap"]);
        assert_eq!(read.background.as_deref(), Some("0"));
        assert_eq!(read.name("10"), Some("tap"));
    }

    #[test]
    fn the_background_column_may_be_missing() {
        assert_eq!(classes("id,name\n0,a\n1,b\n").unwrap().background, None);
    }

    #[test]
    fn what_stands_there_twice_is_refused() {
        for text in ["id,name\n0,a\n0,b\n", "id,name\n0,a\n1,a\n"] {
            assert!(matches!(classes(text), Err(ClassesError::Repeated { line: 3, .. })));
        }
        let twice = "id,name,background\n0,a,1\n1,b,1\n";
        assert!(matches!(classes(twice), Err(ClassesError::Backgrounds { line: 3, .. })));
        assert!(matches!(classes("id,name\n"), Err(ClassesError::Table(_))));
    }
}
