//! The bundle: an encoded ensemble, content-addressed and checked before a single weight is read.
//!
//! ```text
//! offset size  field
//!      0    4  magic     "SNSB"
//!      4    4  version   u32, little-endian; 1 to 7
//!      8   32  digest    SHA-256 of all that follows
//!     40   32  schema    Schema::hash of the features and classes it was trained for
//!     72    8  manifest  u64, little-endian; bytes of manifest and voting, at most MANIFEST_BYTES_MAX
//!     80    8  arrays    u64, little-endian; bytes of arrays, at most ARRAYS_BYTES_MAX
//!     88       manifest  postcard: names, shapes, scalars (bundle/manifest.rs)
//!              voting    postcard, from version 2 on: rule and confidence (bundle/voting.rs)
//!              golden    postcard, from version 4 on: what the gate says of golden rows (bundle/golden.rs)
//!              sets      postcard, from version 4 on: how much of a vote is enough (bundle/sets.rs)
//!              arrays    safetensors: everything long (bundle/arrays.rs)
//! ```
//!
//! A bundle MUST end with its arrays: trailing bytes are refused, so that two readers can never
//! disagree about what a file says. For the same reason every array must be used.
//!
//! One ensemble has one encoding, in the oldest version that can say it, so the [`digest`] of the whole names what
//! is inside; it is not the digest in the head, which cannot cover itself. Version 1 is a plain hard vote
//! without a measured confidence, version 2 has both, version 3 has compact forms of members as well,
//! version 4 has golden rows or sets, whatever else it has, version 5 RBF SVMs that say how short of winning
//! each class is, version 6 networks in half precision, and version 7 votes that are logarithmic pools. A family
//! that came later is a new value in a list of the manifest and no new version: a program that is older than it
//! says that it cannot read the manifest.
//!
//! What was once released must decode for ever: `models/golden` holds a bundle of every form, and
//! a change that breaks one is a new version beside this one.

use sha2::{Digest as _, Sha256};

use crate::{
    ensemble::{Ensemble, Weighted},
    gate::Gate,
    golden::Golden,
    member::{Model, ModelError, Verdict},
    precision::Precision,
    schema::SchemaError,
    sets::Sets,
    vote::Pool,
    voting::Voting,
};

mod arrays;
mod golden;
mod manifest;
mod sets;
mod voting;

pub use arrays::ArrayFault;

/// The first four bytes.
pub const MAGIC: [u8; 4] = *b"SNSB";
/// The newest version that is read and written.
pub const VERSION: u32 = 7;
/// The version of a hard vote without a measured confidence.
const PLAIN: u32 = 1;
/// The version of other votes.
const VOTED: u32 = 2;
/// The version of compact members.
const COMPACT: u32 = 3;
/// The version of golden rows and of sets.
const PROVEN: u32 = 4;
/// The version of RBF SVMs of another verdict than votes.
const SHORT: u32 = 5;
/// The version of half precision.
const HALF: u32 = 6;
/// The version of logarithmic pools.
const POOLED: u32 = 7;
/// Bytes before the manifest.
pub const HEAD_BYTES: usize = 88;
/// Most bytes of manifest: half a million names of 100 bytes and then some.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Most bytes of arrays: those of the largest ensemble, and their names.
pub const ARRAYS_BYTES_MAX: u64 = crate::ensemble::BYTES_MAX + (1 << 20);
/// Most bytes of a bundle: what a receiver needs to be ready for.
pub const BUNDLE_BYTES_MAX: u64 = 88 + MANIFEST_BYTES_MAX + ARRAYS_BYTES_MAX;

/// Why bytes are not a bundle: one variant for each way of being wrong.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The bytes end too early.
    #[error("a bundle of {expected} bytes ends after {len}")]
    Truncated {
        /// How many there are.
        len: u64,
        /// How many there should be, as far as is known.
        expected: u64,
    },
    /// Something else altogether.
    #[error("a bundle begins with \"SNSB\", not {found:02x?}")]
    Format {
        /// The first bytes.
        found: [u8; 4],
    },
    /// From a newer program, or damaged.
    #[error("this program reads bundles up to version {VERSION}, not {found}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A length beyond its limit.
    #[error("{length} bytes of {what} are more than {limit}")]
    TooLarge {
        /// `manifest` or `arrays`.
        what: &'static str,
        /// What the head says.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// More bytes than the head says.
    #[error("{extra} bytes follow after the end of the bundle")]
    Trailing {
        /// How many more.
        extra: u64,
    },
    /// The bytes are not those that were written.
    #[error("the digest does not match: the bundle was damaged or changed")]
    Digest,
    /// The manifest does not say what it should.
    #[error("the manifest cannot be read")]
    Manifest(#[source] postcard::Error),
    /// The manifest says it all before it ends.
    #[error("{extra} bytes follow after the end of the manifest")]
    ManifestTrailing {
        /// How many more.
        extra: usize,
    },
    /// Another version than what it says needs: two encodings of one ensemble.
    #[error("what this bundle of version {found} holds must be written as version {needed}")]
    Needed {
        /// The version found.
        found: u32,
        /// The oldest that can say it.
        needed: u32,
    },
    /// The names are no schema.
    #[error("the manifest holds no schema")]
    Schema(#[source] SchemaError),
    /// The head names another schema than the manifest.
    #[error("the head names another schema than the manifest holds")]
    SchemaHash,
    /// The arrays are not in the form of safetensors.
    #[error("the arrays cannot be read")]
    Arrays(#[source] safetensors::SafeTensorError),
    /// One array is not as it should be.
    #[error("the array {name}")]
    Array {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        fault: ArrayFault,
    },
    /// Arrays that nothing names.
    #[error("{count} arrays belong to nothing")]
    Unused {
        /// How many.
        count: usize,
    },
    /// The parts are no ensemble.
    #[error("the bundle holds no ensemble")]
    Model(#[source] ModelError),
}

/// The head of a bundle: what can be known before the rest has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How the rest is written.
    pub version: u32,
    /// SHA-256 of all that follows it.
    pub digest: [u8; 32],
    /// [`crate::Schema::hash`] of what it was trained for.
    pub schema: [u8; 32],
    /// Bytes of manifest.
    pub manifest_bytes: u64,
    /// Bytes of arrays.
    pub arrays_bytes: u64,
}

impl Head {
    /// Reads the head of `bytes`, which may be longer. Copies nothing and allocates nothing.
    ///
    /// # Errors
    ///
    /// [`BundleError::Truncated`], [`BundleError::Format`], [`BundleError::Version`] and
    /// [`BundleError::TooLarge`].
    pub fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let truncated = || BundleError::Truncated {
            len: length_of(bytes),
            expected: u64::try_from(HEAD_BYTES).expect("a small constant"),
        };
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or_else(truncated)?;
        if *magic != MAGIC {
            return Err(BundleError::Format { found: *magic });
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        let version = u32::from_le_bytes(*version);
        if !(PLAIN..=VERSION).contains(&version) {
            return Err(BundleError::Version { found: version });
        }
        let (digest, rest) = rest.split_first_chunk::<32>().ok_or_else(truncated)?;
        let (schema, rest) = rest.split_first_chunk::<32>().ok_or_else(truncated)?;
        let (manifest, rest) = rest.split_first_chunk::<8>().ok_or_else(truncated)?;
        let (arrays, _) = rest.split_first_chunk::<8>().ok_or_else(truncated)?;
        let bounded = |what, length: &[u8; 8], limit| {
            let length = u64::from_le_bytes(*length);
            if length <= limit {
                Ok(length)
            } else {
                Err(BundleError::TooLarge { what, length, limit })
            }
        };
        Ok(Self {
            version,
            digest: *digest,
            schema: *schema,
            manifest_bytes: bounded("manifest", manifest, MANIFEST_BYTES_MAX)?,
            arrays_bytes: bounded("arrays", arrays, ARRAYS_BYTES_MAX)?,
        })
    }

    /// Bytes of the whole bundle.
    #[must_use]
    pub fn bundle_bytes(&self) -> u64 {
        u64::try_from(HEAD_BYTES).expect("a small constant")
            + self.manifest_bytes
            + self.arrays_bytes
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.digest);
        bytes.extend_from_slice(&self.schema);
        bytes.extend_from_slice(&self.manifest_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.arrays_bytes.to_le_bytes());
    }
}

/// Writes an ensemble as a bundle. The same ensemble always gives the same bytes.
#[must_use]
pub fn encode(ensemble: &Ensemble) -> Vec<u8> {
    let (manifest, mut arrays) = manifest::Manifest::of(ensemble);
    let (columns, stopped) = golden::Columns::of(ensemble.golden());
    columns.put(&mut arrays);
    let written = "strings, numbers and lists can always be written";
    let mut manifest = postcard::to_stdvec(&manifest).expect(written);
    let version = needed(ensemble.voting(), ensemble.gate(), ensemble.members(), ensemble.golden());
    if version != PLAIN {
        manifest.append(&mut voting::write(ensemble.voting()));
    }
    if PROVEN <= version {
        manifest.append(&mut postcard::to_stdvec(&stopped).expect(written));
        manifest.append(&mut sets::write(&ensemble.voting().sets));
    }
    let arrays = arrays.write();
    let mut head = Head {
        version,
        digest: [0; 32],
        schema: ensemble.schema().hash(),
        manifest_bytes: length_of(&manifest),
        arrays_bytes: length_of(&arrays),
    };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + manifest.len() + arrays.len());
    head.write(&mut bytes);
    bytes.extend_from_slice(&manifest);
    bytes.extend_from_slice(&arrays);
    head.digest = digest(&bytes[DIGESTED_FROM..]);
    bytes[DIGEST_AT..DIGESTED_FROM].copy_from_slice(&head.digest);
    bytes
}

/// Reads a bundle. What comes out has been checked and is never asked again (A-7).
///
/// Allocates no more than a small multiple of `bytes`: every length is compared with what is there
/// before it is believed.
///
/// # Errors
///
/// Every variant of [`BundleError`], each for exactly one way of being wrong.
pub fn decode(bytes: &[u8]) -> Result<Ensemble, BundleError> {
    let head = Head::of(bytes)?;
    if digest(&bytes[DIGESTED_FROM..]) != head.digest {
        return Err(BundleError::Digest);
    }
    decode_behind(head, bytes, &|| ())
}

/// Reads a bundle whose [`digest`] was compared with its name. The digest in its head covers a part of the
/// same bytes and is not computed again, which is a fifth of what a load takes; all else is asked as by
/// [`decode`]. `pause` is called between one array and the next, and between one member and the next: whoever
/// decodes beside others may let them come between.
///
/// # Errors
///
/// Every variant of [`BundleError`] but `Digest`.
pub fn decode_named(bytes: &[u8], pause: &dyn Fn()) -> Result<Ensemble, BundleError> {
    decode_behind(Head::of(bytes)?, bytes, pause)
}

impl Head {
    /// The head of a bundle that is as long as it says.
    fn of(bytes: &[u8]) -> Result<Self, BundleError> {
        let head = Self::read(bytes)?;
        let (len, expected) = (length_of(bytes), head.bundle_bytes());
        if len < expected {
            return Err(BundleError::Truncated { len, expected });
        }
        if expected < len {
            return Err(BundleError::Trailing { extra: len - expected });
        }
        Ok(head)
    }
}

fn decode_behind(head: Head, bytes: &[u8], pause: &dyn Fn()) -> Result<Ensemble, BundleError> {
    let manifest_bytes =
        usize::try_from(head.manifest_bytes).expect("not longer than the bytes in memory");
    let (manifest, arrays) = bytes[HEAD_BYTES..].split_at(manifest_bytes);
    let (manifest, extra) =
        postcard::take_from_bytes::<manifest::Manifest>(manifest).map_err(BundleError::Manifest)?;
    let (voting, extra) =
        if head.version == PLAIN { (Voting::default(), extra) } else { voting::read(extra)? };
    let (golden, sets, extra) = if head.version < PROVEN {
        (golden::Form::new(), Sets::default(), extra)
    } else {
        let (golden, extra) = postcard::take_from_bytes(extra).map_err(BundleError::Manifest)?;
        let (sets, extra) = sets::read(extra)?;
        (golden, sets, extra)
    };
    let voting = Voting { sets, ..voting };
    if !extra.is_empty() {
        return Err(BundleError::ManifestTrailing { extra: extra.len() });
    }
    let parts = manifest.parts(voting, golden, arrays::Reader::new(arrays, pause)?)?;
    let needed = needed(&parts.voting, parts.gate.as_ref(), &parts.members, &parts.golden);
    if head.version != needed {
        return Err(BundleError::Needed { found: head.version, needed });
    }
    if parts.schema.hash() != head.schema {
        return Err(BundleError::SchemaHash);
    }
    Ensemble::held_together(parts, pause).map_err(BundleError::Model)
}

/// The oldest version that can say it.
fn needed(voting: &Voting, gate: Option<&Gate>, members: &[Weighted], golden: &[Golden]) -> u32 {
    let members = members.iter().map(|weighted| &weighted.member);
    let mut members = members.chain(gate.map(|gate| &gate.member));
    let short =
        |model: &Model| matches!(model, Model::RbfSvm(svm) if svm.verdict == Verdict::Shortfall);
    let half = |model: &Model| matches!(model, Model::Mlp(mlp) if mlp.precision == Precision::Half);
    if voting.rule.pool() == Pool::Logarithmic {
        POOLED
    } else if members.clone().any(|member| half(&member.model)) {
        HALF
    } else if members.clone().any(|member| short(&member.model)) {
        SHORT
    } else if !golden.is_empty() || !voting.sets.ladders.is_empty() {
        PROVEN
    } else if members.any(|member| member.model.is_compact()) {
        COMPACT
    } else if *voting == Voting::default() {
        PLAIN
    } else {
        VOTED
    }
}

/// SHA-256: the name of a bundle.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Where the digest lies in the head.
const DIGEST_AT: usize = 8;
/// Where the bytes begin that it covers.
const DIGESTED_FROM: usize = 40;

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a length fits in 64 bits")
}
