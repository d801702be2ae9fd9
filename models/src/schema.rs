//! What goes in and what comes out: the names of the features and of the classes.

/// A class of a task: its position in [`Schema::classes`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct ClassId(pub u16);

impl ClassId {
    /// The position as an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Most classes of a task.
pub const CLASSES_MAX: usize = 10_000;
/// Most features of a task.
pub const FEATURES_MAX: usize = 1_000_000;
/// Longest name of a feature, a class or a task, in bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// The features and classes of a task. Two bundles with the same schema can replace each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    features: Vec<String>,
    classes: Vec<String>,
    background: Option<ClassId>,
}

/// Why a schema was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Nothing to look at, or too much.
    #[error("{found} features; a task has 1 to {FEATURES_MAX}")]
    Features {
        /// How many there are.
        found: usize,
    },
    /// Nothing to tell apart, or too much.
    #[error("{found} classes; a task has 2 to {CLASSES_MAX}")]
    Classes {
        /// How many there are.
        found: usize,
    },
    /// The same name twice.
    #[error("the name {name:?} stands twice among the {what}")]
    Repeated {
        /// The name.
        name: String,
        /// `features` or `classes`.
        what: &'static str,
    },
    /// An empty or endless name, or one with a control character.
    #[error(
        "{name:?} cannot be the name of one of the {what}: 1 to {NAME_BYTES_MAX} bytes, no control characters"
    )]
    Name {
        /// The name.
        name: String,
        /// `features` or `classes`.
        what: &'static str,
    },
    /// A background class that is no class.
    #[error("the background class {id} is not one of the {classes} classes")]
    Background {
        /// The id asked for.
        id: u16,
        /// How many classes there are.
        classes: usize,
    },
}

impl Schema {
    /// A schema whose names are distinct and bounded.
    ///
    /// # Errors
    ///
    /// One variant of [`SchemaError`] for each way of being wrong.
    pub fn new(
        features: Vec<String>,
        classes: Vec<String>,
        background: Option<ClassId>,
    ) -> Result<Self, SchemaError> {
        if features.is_empty() || FEATURES_MAX < features.len() {
            return Err(SchemaError::Features { found: features.len() });
        }
        if classes.len() < 2 || CLASSES_MAX < classes.len() {
            return Err(SchemaError::Classes { found: classes.len() });
        }
        check_names(&features, "features")?;
        check_names(&classes, "classes")?;
        if let Some(ClassId(id)) = background
            && classes.len() <= usize::from(id)
        {
            return Err(SchemaError::Background { id, classes: classes.len() });
        }
        Ok(Self { features, classes, background })
    }

    /// The names of the features, in the order of a sample's values.
    #[must_use]
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// The names of the classes, in the order of their ids.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How many values a sample has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.features.len()
    }

    /// The class that stands for "nothing of interest".
    #[must_use]
    pub fn background(&self) -> Option<ClassId> {
        self.background
    }

    /// The id of a class by its name.
    #[must_use]
    pub fn class(&self, name: &str) -> Option<ClassId> {
        let index = self.classes.iter().position(|class| class == name)?;
        u16::try_from(index).ok().map(ClassId)
    }

    /// SHA-256 over all names and the background class, each with its length: what a bundle was
    /// trained for.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for names in [&self.features, &self.classes] {
            hash.update(
                u64::try_from(names.len()).expect("a length fits in 64 bits").to_le_bytes(),
            );
            for name in names {
                hash.update(
                    u64::try_from(name.len()).expect("a length fits in 64 bits").to_le_bytes(),
                );
                hash.update(name.as_bytes());
            }
        }
        hash.update(self.background.map_or([0xff; 4], |ClassId(id)| u32::from(id).to_le_bytes()));
        hash.finalize().into()
    }
}

fn check_names(names: &[String], what: &'static str) -> Result<(), SchemaError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if name.is_empty() || NAME_BYTES_MAX < name.len() || name.chars().any(char::is_control) {
            return Err(SchemaError::Name { name: name.clone(), what });
        }
        if !seen.insert(name) {
            return Err(SchemaError::Repeated { name: name.clone(), what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_hash_tells_names_apart_that_concatenate_alike() {
        let one = Schema::new(names(&["ab", "c"]), names(&["x", "y"]), None).unwrap();
        let two = Schema::new(names(&["a", "bc"]), names(&["x", "y"]), None).unwrap();
        let gated = Schema::new(names(&["ab", "c"]), names(&["x", "y"]), Some(ClassId(0))).unwrap();
        assert_ne!(one.hash(), two.hash());
        assert_ne!(one.hash(), gated.hash());
        assert_eq!(one.hash(), one.clone().hash());
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let two = || names(&["x", "y"]);
        assert_eq!(Schema::new(vec![], two(), None), Err(SchemaError::Features { found: 0 }));
        assert_eq!(Schema::new(two(), names(&["x"]), None), Err(SchemaError::Classes { found: 1 }));
        assert!(matches!(
            Schema::new(names(&["a", "a"]), two(), None),
            Err(SchemaError::Repeated { what: "features", .. })
        ));
        assert!(matches!(
            Schema::new(two(), names(&["x", "\n"]), None),
            Err(SchemaError::Name { what: "classes", .. })
        ));
        assert_eq!(
            Schema::new(two(), two(), Some(ClassId(2))),
            Err(SchemaError::Background { id: 2, classes: 2 })
        );
    }
}
