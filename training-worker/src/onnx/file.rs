//! What an ONNX file says: its graph, borrowed from its bytes, with a bound on everything.
//!
//! # Source
//!
//! Field numbers and kinds are those of `onnx.proto3` (ONNX 1.19, Apache-2.0).

use std::collections::BTreeMap;

use super::protobuf::{Broken, Field, Fields, varint};

/// Most bytes of a file.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// Most nodes of a graph.
const NODES_MAX: usize = 4_096;
/// Most inputs, outputs and attributes of a node, together.
const PARTS_MAX: usize = 256;
/// Most initialisers of a graph.
const INITIALISERS_MAX: usize = 8_192;
/// Most numbers of one tensor or attribute.
const NUMBERS_MAX: usize = 16 << 20;
/// Most texts of one tensor or attribute: a class has a number of 16 bits.
const TEXTS_MAX: usize = 1 << 16;
/// Most dimensions of a tensor.
const DIMENSIONS_MAX: usize = 8;

/// Why bytes are no graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// More bytes than are read.
    #[error("a file of {bytes} bytes is more than {FILE_BYTES_MAX}")]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// Not the wire format.
    #[error("it is no ONNX file")]
    Broken(#[from] Broken),
    /// No graph in it.
    #[error("it holds no graph")]
    NoGraph,
    /// More of something than is read.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Text that is none.
    #[error("a name is not UTF-8")]
    Name,
    /// Functions of its own, which a node may call.
    #[error("it has functions of its own; export it with inlined functions")]
    Functions,
    /// A tensor that is not as it says.
    #[error("the tensor {name:?} {why}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A graph and what it is made of.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    /// Who wrote it, in its own words.
    pub(super) producer: &'a str,
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) inputs: Vec<Input<'a>>,
    pub(super) outputs: Vec<&'a str>,
    initialisers: BTreeMap<&'a str, &'a [u8]>,
}

/// What goes in.
#[derive(Clone, Debug)]
pub(super) struct Input<'a> {
    pub(super) name: &'a str,
    /// Kind of number, as ONNX counts them; 0 when it is no tensor.
    pub(super) kind: u64,
    /// Dimensions; `None` for one that may be anything.
    pub(super) dims: Vec<Option<usize>>,
}

/// A step of the graph.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) operator: &'a str,
    pub(super) domain: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    attributes: Vec<(&'a str, &'a [u8])>,
}

/// Numbers or text with a shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) dims: Vec<usize>,
    pub(super) values: Values,
}

/// What a tensor holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    /// Single precision; other precisions are not weights of a classifier.
    Reals(Vec<f64>),
    /// Whole numbers and truth values.
    Integers(Vec<i64>),
    /// Text.
    Texts(Vec<String>),
}

impl Values {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Reals(values) => values.len(),
            Self::Integers(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }
}

impl<'a> Graph<'a> {
    /// Reads a file.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, FileError> {
        if FILE_BYTES_MAX < bytes.len() {
            return Err(FileError::TooLarge { bytes: bytes.len() });
        }
        let (mut graph, mut producer) = (None, "");
        for field in Fields::of(bytes) {
            match field? {
                (2, Field::Bytes(name)) => producer = text(name)?,
                (7, Field::Bytes(body)) => graph = Some(body),
                (25, Field::Bytes(_)) => return Err(FileError::Functions),
                _ => {}
            }
        }
        let mut read = Self {
            producer,
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            initialisers: BTreeMap::new(),
        };
        for field in Fields::of(graph.ok_or(FileError::NoGraph)?) {
            match field? {
                (1, Field::Bytes(body)) => {
                    read.nodes.push(Node::read(body)?);
                    at_most("nodes", read.nodes.len(), NODES_MAX)?;
                }
                (5, Field::Bytes(body)) => {
                    read.initialisers.insert(name_of(body, 8)?, body);
                    at_most("initialisers", read.initialisers.len(), INITIALISERS_MAX)?;
                }
                (11, Field::Bytes(body)) => {
                    read.inputs.push(Input::read(body)?);
                    at_most("inputs", read.inputs.len(), INITIALISERS_MAX)?;
                }
                (12, Field::Bytes(body)) => {
                    read.outputs.push(name_of(body, 1)?);
                    at_most("outputs", read.outputs.len(), PARTS_MAX)?;
                }
                _ => {}
            }
        }
        // Before IR version 4 every initialiser was an input with a default.
        let initialisers = &read.initialisers;
        read.inputs.retain(|input| !initialisers.contains_key(input.name));
        Ok(read)
    }

    /// The initialiser of that name.
    pub(super) fn initialiser(&self, name: &str) -> Option<Result<Tensor, FileError>> {
        self.initialisers.get(name).map(|body| Tensor::read(body))
    }
}

impl<'a> Input<'a> {
    fn read(body: &'a [u8]) -> Result<Self, FileError> {
        let (mut kind, mut dims) = (0, Vec::new());
        if let Some(tensor) = message(body, 2)?.map(|it| message(it, 1)).transpose()?.flatten() {
            for field in Fields::of(tensor) {
                match field? {
                    (1, Field::Number(number)) => kind = number,
                    (2, Field::Bytes(shape)) => dims = shape_of(shape)?,
                    _ => {}
                }
            }
        }
        Ok(Self { name: name_of(body, 1)?, kind, dims })
    }
}

fn shape_of(shape: &[u8]) -> Result<Vec<Option<usize>>, FileError> {
    let mut dims = Vec::new();
    for field in Fields::of(shape) {
        if let (1, Field::Bytes(dim)) = field? {
            let mut side = None;
            for field in Fields::of(dim) {
                if let (1, Field::Number(number)) = field? {
                    side = usize::try_from(number).ok().filter(|&it| it != 0);
                }
            }
            dims.push(side);
            at_most("dimensions of an input", dims.len(), DIMENSIONS_MAX)?;
        }
    }
    Ok(dims)
}

impl<'a> Node<'a> {
    fn read(body: &'a [u8]) -> Result<Self, FileError> {
        let mut node = Self {
            name: "",
            operator: "",
            domain: "",
            inputs: Vec::new(),
            outputs: Vec::new(),
            attributes: Vec::new(),
        };
        for field in Fields::of(body) {
            match field? {
                (1, Field::Bytes(name)) => node.inputs.push(text(name)?),
                (2, Field::Bytes(name)) => node.outputs.push(text(name)?),
                (3, Field::Bytes(name)) => node.name = text(name)?,
                (4, Field::Bytes(name)) => node.operator = text(name)?,
                (5, Field::Bytes(body)) => node.attributes.push((name_of(body, 1)?, body)),
                (7, Field::Bytes(name)) => node.domain = text(name)?,
                _ => {}
            }
            let parts = node.inputs.len() + node.outputs.len() + node.attributes.len();
            at_most("inputs, outputs and attributes of a node", parts, PARTS_MAX)?;
        }
        Ok(node)
    }

    fn attribute(&self, name: &str) -> Option<&'a [u8]> {
        self.attributes.iter().find(|(known, _)| *known == name).map(|&(_, body)| body)
    }

    /// Whether the attribute is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// A whole number; `default` when it is not there.
    pub(super) fn integer(&self, name: &str, default: i64) -> Result<i64, FileError> {
        let Some(body) = self.attribute(name) else { return Ok(default) };
        let mut found = default;
        for field in Fields::of(body) {
            if let (3, Field::Number(number)) = field? {
                found = number.cast_signed();
            }
        }
        Ok(found)
    }

    /// A number; `default` when it is not there.
    pub(super) fn real(&self, name: &str, default: f32) -> Result<f32, FileError> {
        let Some(body) = self.attribute(name) else { return Ok(default) };
        let mut found = default;
        for field in Fields::of(body) {
            if let (2, Field::Four(bytes)) = field? {
                found = f32::from_le_bytes(bytes);
            }
        }
        Ok(found)
    }

    /// A text; `default` when it is not there.
    pub(super) fn text(&self, name: &str, default: &'static str) -> Result<&'a str, FileError> {
        let Some(body) = self.attribute(name) else { return Ok(default) };
        let mut found = default;
        for field in Fields::of(body) {
            if let (4, Field::Bytes(bytes)) = field? {
                found = text(bytes)?;
            }
        }
        Ok(found)
    }

    /// Whole numbers; none when the attribute is not there.
    pub(super) fn integers(&self, name: &str) -> Result<Vec<i64>, FileError> {
        let mut found = Vec::new();
        for field in self.fields(name) {
            match field? {
                (8, Field::Number(number)) => found.push(number.cast_signed()),
                (8, Field::Bytes(packed)) => integers(packed, &mut found)?,
                _ => {}
            }
            at_most("numbers of an attribute", found.len(), NUMBERS_MAX)?;
        }
        Ok(found)
    }

    /// Numbers; none when the attribute is not there.
    pub(super) fn reals(&self, name: &str) -> Result<Vec<f32>, FileError> {
        let mut found = Vec::new();
        for field in self.fields(name) {
            match field? {
                (7, Field::Four(bytes)) => found.push(f32::from_le_bytes(bytes)),
                (7, Field::Bytes(packed)) => {
                    let (numbers, rest) = packed.as_chunks();
                    if !rest.is_empty() {
                        return Err(Broken.into());
                    }
                    found.extend(numbers.iter().copied().map(f32::from_le_bytes));
                }
                _ => {}
            }
            at_most("numbers of an attribute", found.len(), NUMBERS_MAX)?;
        }
        Ok(found)
    }

    /// Texts; none when the attribute is not there.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, FileError> {
        let mut found = Vec::new();
        for field in self.fields(name) {
            if let (9, Field::Bytes(bytes)) = field? {
                found.push(text(bytes)?);
                at_most("texts of an attribute", found.len(), TEXTS_MAX)?;
            }
        }
        Ok(found)
    }

    /// Texts of which there are as many as numbers: one for each node of a tree.
    pub(super) fn texts_of_many(&self, name: &str) -> Result<Vec<&'a str>, FileError> {
        let mut found = Vec::new();
        for field in self.fields(name) {
            if let (9, Field::Bytes(bytes)) = field? {
                found.push(text(bytes)?);
                at_most("texts of an attribute", found.len(), NUMBERS_MAX)?;
            }
        }
        Ok(found)
    }

    /// A tensor.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, FileError> {
        let Some(body) = self.attribute(name) else { return Ok(None) };
        message(body, 5)?.map(Tensor::read).transpose()
    }

    fn fields(&self, name: &str) -> Fields<'a> {
        Fields::of(self.attribute(name).unwrap_or_default())
    }
}

impl Tensor {
    fn read(body: &[u8]) -> Result<Self, FileError> {
        let name = name_of(body, 8)?;
        let wrong = |why| FileError::Tensor { name: name.to_owned(), why };
        let (mut kind, mut dims, mut raw) = (0, Vec::new(), None);
        let (mut reals, mut whole, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for field in Fields::of(body) {
            match field? {
                (1, Field::Number(side)) => dims.push(side.cast_signed()),
                (1, Field::Bytes(packed)) => integers(packed, &mut dims)?,
                (2, Field::Number(number)) => kind = number,
                (3, _) => return Err(wrong("is in segments, which nobody writes any more")),
                (4, Field::Four(bytes)) => reals.push(f64::from(f32::from_le_bytes(bytes))),
                (4, Field::Bytes(packed)) => four(packed, &mut reals)?,
                (5 | 7, Field::Number(number)) => whole.push(number.cast_signed()),
                (5 | 7, Field::Bytes(packed)) => integers(packed, &mut whole)?,
                (6, Field::Bytes(bytes)) => {
                    texts.push(text(bytes)?.to_owned());
                    at_most("texts of a tensor", texts.len(), TEXTS_MAX)?;
                }
                (9, Field::Bytes(bytes)) => raw = Some(bytes),
                (10, Field::Eight(bytes)) => reals.push(f64::from_le_bytes(bytes)),
                (10, Field::Bytes(packed)) => eight(packed, &mut reals)?,
                (13, _) => {
                    return Err(wrong("lies in a file beside this one; save it as one file"));
                }
                _ => {}
            }
            at_most("numbers of a tensor", reals.len().max(whole.len()), NUMBERS_MAX)?;
            at_most("dimensions of a tensor", dims.len(), DIMENSIONS_MAX)?;
        }
        let values = match (kind, raw) {
            (1, Some(raw)) => {
                four(raw, &mut reals)?;
                Values::Reals(reals)
            }
            (11, Some(raw)) => {
                eight(raw, &mut reals)?;
                Values::Reals(reals)
            }
            (6, Some(raw)) => {
                let (numbers, _) = raw.as_chunks();
                whole.extend(numbers.iter().map(|it| i64::from(i32::from_le_bytes(*it))));
                Values::Integers(whole)
            }
            (7, Some(raw)) => {
                let (numbers, _) = raw.as_chunks();
                whole.extend(numbers.iter().map(|it| i64::from_le_bytes(*it)));
                Values::Integers(whole)
            }
            (9, Some(raw)) => {
                at_most("numbers of a tensor", raw.len(), TEXTS_MAX)?;
                whole.extend(raw.iter().map(|&it| i64::from(it)));
                Values::Integers(whole)
            }
            (1 | 11, None) => Values::Reals(reals),
            (6 | 7 | 9, None) => Values::Integers(whole),
            (8, None) => Values::Texts(texts),
            _ => {
                return Err(wrong(
                    "holds numbers of another kind than float, double, int32, int64, bool or string",
                ));
            }
        };
        let dims: Option<Vec<usize>> = dims.iter().map(|&it| usize::try_from(it).ok()).collect();
        let dims = dims.ok_or_else(|| wrong("has a negative dimension"))?;
        let area = dims.iter().try_fold(1_usize, |area, side| area.checked_mul(*side));
        if area != Some(values.len()) {
            return Err(wrong("has not as many values as its dimensions say"));
        }
        Ok(Self { dims, values })
    }
}

fn four(packed: &[u8], into: &mut Vec<f64>) -> Result<(), FileError> {
    let (numbers, rest) = packed.as_chunks();
    at_most("numbers of a tensor", numbers.len(), NUMBERS_MAX)?;
    into.extend(numbers.iter().map(|it| f64::from(f32::from_le_bytes(*it))));
    if rest.is_empty() { Ok(()) } else { Err(Broken.into()) }
}

fn eight(packed: &[u8], into: &mut Vec<f64>) -> Result<(), FileError> {
    let (numbers, rest) = packed.as_chunks();
    into.extend(numbers.iter().map(|it| f64::from_le_bytes(*it)));
    if rest.is_empty() { Ok(()) } else { Err(Broken.into()) }
}

fn integers(mut packed: &[u8], into: &mut Vec<i64>) -> Result<(), FileError> {
    while !packed.is_empty() {
        into.push(varint(&mut packed)?.cast_signed());
        at_most("numbers in one place", into.len(), NUMBERS_MAX)?;
    }
    Ok(())
}

/// The last message in field `number`.
fn message(body: &[u8], number: u64) -> Result<Option<&[u8]>, FileError> {
    let mut found = None;
    for field in Fields::of(body) {
        if let (known, Field::Bytes(bytes)) = field?
            && known == number
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

fn name_of(body: &[u8], number: u64) -> Result<&str, FileError> {
    text(message(body, number)?.unwrap_or_default())
}

fn text(bytes: &[u8]) -> Result<&str, FileError> {
    std::str::from_utf8(bytes).map_err(|_| FileError::Name)
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), FileError> {
    if count <= limit { Ok(()) } else { Err(FileError::TooMany { what, limit }) }
}
