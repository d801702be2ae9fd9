//! Whose class is which: the classes of a file, found among those of the task by their names.

use crate::command::data::Labels;

/// Why the classes of a file are not those of the task.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClassesError {
    /// Other classes.
    #[error(
        "its classes are not those of the task: it has {found}; the task has {known}{missing}{unknown}"
    )]
    Other {
        /// Those of the file.
        found: String,
        /// Those of the task.
        known: String,
        /// What the file lacks, in words.
        missing: String,
        /// What the task lacks, in words.
        unknown: String,
    },
    /// Two classes of the file that are one of the task.
    #[error("{first:?} and {second:?} are both the class {class:?} of the task")]
    Twice {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// The class.
        class: String,
    },
    /// More or fewer outputs.
    #[error(
        "it has {found} outputs without names; the task has the {expected} classes {known}: say with \
         --outputs which is which"
    )]
    Count {
        /// How many outputs there are.
        found: usize,
        /// How many classes the task has.
        expected: usize,
        /// Those of the task.
        known: String,
    },
}

/// For each class of the task, which one it is of the file.
pub(super) fn order(names: &[String], labels: &Labels) -> Result<Vec<usize>, ClassesError> {
    let shown = labels.shown();
    let mut order: Vec<Option<usize>> = vec![None; shown.len()];
    let mut unknown = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let id = labels.id(name).and_then(|id| usize::try_from(id).ok());
        match id.and_then(|id| Some((id, order.get_mut(id)?))) {
            None => unknown.push(name.clone()),
            Some((_, place @ None)) => *place = Some(at),
            Some((id, Some(first))) => {
                return Err(ClassesError::Twice {
                    first: names[*first].clone(),
                    second: name.clone(),
                    class: shown[id].clone(),
                });
            }
        }
    }
    let missing: Vec<String> = shown
        .iter()
        .zip(&order)
        .filter(|(_, place)| place.is_none())
        .map(|(class, _)| class.clone())
        .collect();
    if missing.is_empty() && unknown.is_empty() {
        return Ok(order.into_iter().flatten().collect());
    }
    let said = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("; {what} {}", list(names)),
    };
    Err(ClassesError::Other {
        found: list(names),
        known: list(shown),
        missing: said("it lacks", &missing),
        unknown: said("the task lacks", &unknown),
    })
}

/// The order of a file whose classes have no names: that of the task.
pub(super) fn unnamed(classes: usize, labels: &Labels) -> Result<Vec<usize>, ClassesError> {
    let expected = labels.shown().len();
    if classes == expected {
        return Ok((0..classes).collect());
    }
    Err(ClassesError::Count { found: classes, expected, known: list(labels.shown()) })
}

/// Names in words, the first of many.
fn list(names: &[String]) -> String {
    let shown = names.iter().take(40).map(|it| format!("{it:?}")).collect::<Vec<_>>().join(", ");
    if 40 < names.len() { shown + ", …" } else { shown }
}

#[cfg(test)]
mod tests {
    use proto::v1;

    use super::*;

    fn labels() -> Labels {
        let task = v1::TaskView {
            classes: ["idle", "tap", "blender"].map(str::to_owned).to_vec(),
            label_ids: [("7".to_owned(), "tap".to_owned())].into(),
            ..Default::default()
        };
        Labels::of(&task, None)
    }

    fn order_of(names: &[&str]) -> Result<Vec<usize>, ClassesError> {
        order(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), &labels())
    }

    #[test]
    fn classes_are_found_by_their_names_and_by_the_ids_of_the_task() {
        assert_eq!(order_of(&["blender", "idle", "tap"]), Ok(vec![1, 2, 0]));
        assert_eq!(order_of(&["7", "idle", "blender"]), Ok(vec![1, 0, 2]));
    }

    #[test]
    fn other_classes_are_refused_with_both_lists() {
        let said = order_of(&["idle", "tap", "mixer"]).unwrap_err().to_string();
        for word in
            ["it has \"idle\", \"tap\", \"mixer\"", "it lacks \"blender\"", "lacks \"mixer\""]
        {
            assert!(said.contains(word), "{said}");
        }
        assert!(matches!(order_of(&["tap", "7", "idle"]), Err(ClassesError::Twice { .. })));
        assert!(matches!(unnamed(2, &labels()), Err(ClassesError::Count { .. })));
    }
}
