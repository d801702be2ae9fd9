//! The short part of a bundle: names, families, scalars. What is long stands in the arrays, named
//! after where it belongs: `m0.rows`, `gate.weights`, `p1.s0.mean`.
//!
//! Postcard writes fields in their order and enums by position: nothing here may be reordered or
//! removed while bundles of version 1 are to be read; version 2 is the same and more behind it, and
//! version 3 knows compact forms, which stand after all others. Version 4 has golden rows behind it, and
//! version 5 knows RBF SVMs of another verdict, version 6 numbers of half precision, and version 7 logarithmic
//! pools.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    BundleError,
    arrays::{Reader, Values, Writer},
    golden,
};
use crate::{
    ensemble::{Ensemble, Parts, Weighted},
    gate::Gate,
    member::{
        Boosted, Dense, Family, Forest, Knn, Linear, Member, Mlp, Model, RbfSvm, Trees, Verdict,
    },
    near::Near,
    precision::Precision,
    preparation::{Preparation, Step},
    rows::{Compact, Rows},
    schema::{ClassId, Schema},
    voting::Voting,
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    features: Vec<String>,
    classes: Vec<String>,
    background: Option<u16>,
    /// The kind of each step of each preparation.
    preparations: Vec<Vec<StepForm>>,
    gate: Option<GateHead>,
    members: Vec<WeightedHead>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum StepForm {
    Select,
    Standardise,
    Project,
}

#[derive(Debug, Serialize, Deserialize)]
struct GateHead {
    threshold: f32,
    member: MemberHead,
}

#[derive(Debug, Serialize, Deserialize)]
struct WeightedHead {
    weight: f32,
    member: MemberHead,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberHead {
    family: Family,
    preparation: u32,
    form: Form,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Form {
    Knn { k: u32, width: u32 },
    Linear { width: u32 },
    Forest { classes: u32 },
    RbfSvm { gamma: f32, width: u32 },
    Mlp { width: u32, layers: u32 },
    Boosted,
    CompactKnn { k: u32, width: u32, low: f32, step: f32 },
    CompactRbfSvm { gamma: f32, width: u32, low: f32, step: f32 },
    ShortfallRbfSvm { gamma: f32, width: u32 },
    CompactShortfallRbfSvm { gamma: f32, width: u32, low: f32, step: f32 },
    HalfMlp { width: u32, layers: u32 },
}

impl Manifest {
    /// What is written of `ensemble`: the short part and the arrays.
    pub(super) fn of(ensemble: &Ensemble) -> (Self, Writer<'_>) {
        let mut arrays = Writer::default();
        let schema = ensemble.schema();
        let preparations = ensemble.preparations().iter().enumerate().map(|(p, preparation)| {
            let steps = preparation.steps.iter().enumerate();
            steps.map(|(s, step)| put_step(step, &format!("p{p}.s{s}"), &mut arrays)).collect()
        });
        let preparations = preparations.collect();
        let gate = ensemble.gate().map(|Gate { member, threshold }| GateHead {
            threshold: *threshold,
            member: put_member(member, "gate", &mut arrays),
        });
        let members = ensemble.members().iter().enumerate();
        let members = members.map(|(m, Weighted { weight, member })| WeightedHead {
            weight: *weight,
            member: put_member(member, &format!("m{m}"), &mut arrays),
        });
        let manifest = Self {
            features: schema.features().to_vec(),
            classes: schema.classes().to_vec(),
            background: schema.background().map(|ClassId(id)| id),
            preparations,
            gate,
            members: members.collect(),
        };
        (manifest, arrays)
    }

    /// The parts that were written; whether they hold together is asked by [`Ensemble::new`].
    pub(super) fn parts(
        self,
        voting: Voting,
        golden: golden::Form,
        mut arrays: Reader<'_>,
    ) -> Result<Parts, BundleError> {
        let Self { features, classes, background, preparations, gate, members } = self;
        let schema =
            Schema::new(features, classes, background.map(ClassId)).map_err(BundleError::Schema)?;
        let preparations = preparations.iter().enumerate().map(|(p, steps)| {
            let steps = steps.iter().enumerate();
            let steps = steps.map(|(s, &form)| take_step(form, &format!("p{p}.s{s}"), &mut arrays));
            Ok(Preparation { steps: steps.collect::<Result<_, BundleError>>()? })
        });
        let preparations = preparations.collect::<Result<_, BundleError>>()?;
        let gate = match gate {
            None => None,
            Some(GateHead { threshold, member }) => {
                Some(Gate { member: take_member(&member, "gate", &mut arrays)?, threshold })
            }
        };
        let members = members.iter().enumerate().map(|(m, WeightedHead { weight, member })| {
            let member = take_member(member, &format!("m{m}"), &mut arrays)?;
            Ok(Weighted { weight: *weight, member })
        });
        let members = members.collect::<Result<_, BundleError>>()?;
        let golden = golden::take(golden, &mut arrays)?;
        arrays.finish()?;
        Ok(Parts { schema, preparations, gate, members, voting, golden })
    }
}

fn put_step<'a>(step: &'a Step, at: &str, arrays: &mut Writer<'a>) -> StepForm {
    match step {
        Step::Select { columns } => {
            arrays.put(format!("{at}.columns"), Values::U32(columns));
            StepForm::Select
        }
        Step::Standardise { mean, factor } => {
            arrays.put(format!("{at}.mean"), Values::F32(mean));
            arrays.put(format!("{at}.factor"), Values::F32(factor));
            StepForm::Standardise
        }
        Step::Project { mean, components } => {
            arrays.put(format!("{at}.mean"), Values::F32(mean));
            arrays.put(format!("{at}.components"), Values::F32(components));
            StepForm::Project
        }
    }
}

fn take_step(form: StepForm, at: &str, arrays: &mut Reader<'_>) -> Result<Step, BundleError> {
    Ok(match form {
        StepForm::Select => Step::Select { columns: arrays.u32(&format!("{at}.columns"))? },
        StepForm::Standardise => Step::Standardise {
            mean: arrays.f32(&format!("{at}.mean"))?,
            factor: arrays.f32(&format!("{at}.factor"))?,
        },
        StepForm::Project => Step::Project {
            mean: arrays.f32(&format!("{at}.mean"))?,
            components: arrays.f32(&format!("{at}.components"))?,
        },
    })
}

fn put_member<'a>(member: &'a Member, at: &str, arrays: &mut Writer<'a>) -> MemberHead {
    let form = match &*member.model {
        Model::Knn(Knn { k, rows, labels }) => {
            arrays.put(format!("{at}.labels"), Values::U16(labels));
            let (k, width) = (*k, short(rows.width()));
            match put_rows(rows.rows(), format!("{at}.rows"), arrays) {
                None => Form::Knn { k, width },
                Some((low, step)) => Form::CompactKnn { k, width, low, step },
            }
        }
        Model::Linear(Linear { width, weights, bias }) => {
            arrays.put(format!("{at}.weights"), Values::F32(weights));
            arrays.put(format!("{at}.bias"), Values::F32(bias));
            Form::Linear { width: short(*width) }
        }
        Model::Forest(Forest { trees, classes, leaves }) => {
            put_trees(trees, at, arrays);
            arrays.put(format!("{at}.leaves"), Values::F32(leaves));
            Form::Forest { classes: short(*classes) }
        }
        Model::RbfSvm(RbfSvm { gamma, width, counts, vectors, coefficients, bias, verdict }) => {
            arrays.put(format!("{at}.counts"), Values::U32(counts));
            arrays.put(format!("{at}.coefficients"), Values::F32(coefficients));
            arrays.put(format!("{at}.bias"), Values::F32(bias));
            let (gamma, width) = (*gamma, short(*width));
            match (put_rows(vectors, format!("{at}.vectors"), arrays), verdict) {
                (None, Verdict::Votes) => Form::RbfSvm { gamma, width },
                (None, Verdict::Shortfall) => Form::ShortfallRbfSvm { gamma, width },
                (Some((low, step)), Verdict::Votes) => {
                    Form::CompactRbfSvm { gamma, width, low, step }
                }
                (Some((low, step)), Verdict::Shortfall) => {
                    Form::CompactShortfallRbfSvm { gamma, width, low, step }
                }
            }
        }
        Model::Mlp(Mlp { width, layers, precision }) => {
            for (layer, Dense { weights, bias }) in layers.iter().enumerate() {
                let weights = Values::floats(weights, *precision);
                arrays.put(format!("{at}.l{layer}.weights"), weights);
                arrays.put(format!("{at}.l{layer}.bias"), Values::F32(bias));
            }
            let (width, layers) = (short(*width), short(layers.len()));
            match precision {
                Precision::Single => Form::Mlp { width, layers },
                Precision::Half => Form::HalfMlp { width, layers },
            }
        }
        Model::Boosted(Boosted { trees, base, leaves }) => {
            put_trees(trees, at, arrays);
            arrays.put(format!("{at}.base"), Values::F32(base));
            arrays.put(format!("{at}.leaves"), Values::F32(leaves));
            Form::Boosted
        }
    };
    MemberHead { family: member.family, preparation: short(member.preparation), form }
}

fn take_member(
    head: &MemberHead,
    at: &str,
    arrays: &mut Reader<'_>,
) -> Result<Member, BundleError> {
    let model = match head.form {
        Form::Knn { k, width } => {
            let rows = Rows::Exact(arrays.f32(&format!("{at}.rows"))?);
            take_knn(k, width, rows, at, arrays)?
        }
        Form::CompactKnn { k, width, low, step } => {
            let bytes = arrays.u8(&format!("{at}.rows"))?;
            take_knn(k, width, Rows::Compact(Compact { low, step, bytes }), at, arrays)?
        }
        Form::Linear { width } => Model::Linear(Linear {
            width: long(width),
            weights: arrays.f32(&format!("{at}.weights"))?,
            bias: arrays.f32(&format!("{at}.bias"))?,
        }),
        Form::Forest { classes } => Model::Forest(Forest {
            trees: take_trees(at, arrays)?,
            classes: long(classes),
            leaves: arrays.f32(&format!("{at}.leaves"))?,
        }),
        Form::RbfSvm { gamma, width } => {
            let vectors = exact_vectors(at, arrays)?;
            take_rbf_svm(gamma, width, (vectors, Verdict::Votes), at, arrays)?
        }
        Form::CompactRbfSvm { gamma, width, low, step } => {
            let vectors = compact_vectors(low, step, at, arrays)?;
            take_rbf_svm(gamma, width, (vectors, Verdict::Votes), at, arrays)?
        }
        Form::ShortfallRbfSvm { gamma, width } => {
            let vectors = exact_vectors(at, arrays)?;
            take_rbf_svm(gamma, width, (vectors, Verdict::Shortfall), at, arrays)?
        }
        Form::CompactShortfallRbfSvm { gamma, width, low, step } => {
            let vectors = compact_vectors(low, step, at, arrays)?;
            take_rbf_svm(gamma, width, (vectors, Verdict::Shortfall), at, arrays)?
        }
        Form::Mlp { width, layers } => take_mlp(width, layers, Precision::Single, at, arrays)?,
        Form::HalfMlp { width, layers } => take_mlp(width, layers, Precision::Half, at, arrays)?,
        Form::Boosted => Model::Boosted(Boosted {
            trees: take_trees(at, arrays)?,
            base: arrays.f32(&format!("{at}.base"))?,
            leaves: arrays.f32(&format!("{at}.leaves"))?,
        }),
    };
    Ok(Member { family: head.family, preparation: long(head.preparation), model: Arc::new(model) })
}

/// Writes rows; what a compact form needs beside its bytes.
fn put_rows<'a>(rows: &'a Rows, name: String, arrays: &mut Writer<'a>) -> Option<(f32, f32)> {
    match rows {
        Rows::Exact(values) => {
            arrays.put(name, Values::F32(values));
            None
        }
        Rows::Compact(Compact { low, step, bytes }) => {
            arrays.put(name, Values::U8(bytes));
            Some((*low, *step))
        }
    }
}

fn take_knn(
    k: u32,
    width: u32,
    rows: Rows,
    at: &str,
    arrays: &mut Reader<'_>,
) -> Result<Model, BundleError> {
    let labels = arrays.u16(&format!("{at}.labels"))?;
    Ok(Model::Knn(Knn { k, rows: Near::new(rows, long(width)), labels }))
}

fn exact_vectors(at: &str, arrays: &mut Reader<'_>) -> Result<Rows, BundleError> {
    Ok(Rows::Exact(arrays.f32(&format!("{at}.vectors"))?))
}

fn compact_vectors(
    low: f32,
    step: f32,
    at: &str,
    arrays: &mut Reader<'_>,
) -> Result<Rows, BundleError> {
    let bytes = arrays.u8(&format!("{at}.vectors"))?;
    Ok(Rows::Compact(Compact { low, step, bytes }))
}

fn take_rbf_svm(
    gamma: f32,
    width: u32,
    (vectors, verdict): (Rows, Verdict),
    at: &str,
    arrays: &mut Reader<'_>,
) -> Result<Model, BundleError> {
    Ok(Model::RbfSvm(RbfSvm {
        gamma,
        width: long(width),
        counts: arrays.u32(&format!("{at}.counts"))?,
        vectors,
        coefficients: arrays.f32(&format!("{at}.coefficients"))?,
        bias: arrays.f32(&format!("{at}.bias"))?,
        verdict,
    }))
}

fn take_mlp(
    width: u32,
    layers: u32,
    precision: Precision,
    at: &str,
    arrays: &mut Reader<'_>,
) -> Result<Model, BundleError> {
    // Each layer has arrays of its own, so a false count ends at the first missing one.
    let layers = (0..layers).map(|layer| {
        Ok(Dense {
            weights: arrays.floats(&format!("{at}.l{layer}.weights"), precision)?,
            bias: arrays.f32(&format!("{at}.l{layer}.bias"))?,
        })
    });
    let layers = layers.collect::<Result<_, BundleError>>()?;
    Ok(Model::Mlp(Mlp { width: long(width), layers, precision }))
}

fn put_trees<'a>(trees: &'a Trees, at: &str, arrays: &mut Writer<'a>) {
    arrays.put(format!("{at}.roots"), Values::U32(&trees.roots));
    arrays.put(format!("{at}.feature"), Values::U32(&trees.feature));
    arrays.put(format!("{at}.threshold"), Values::F32(&trees.threshold));
    arrays.put(format!("{at}.child"), Values::U32(&trees.child));
}

fn take_trees(at: &str, arrays: &mut Reader<'_>) -> Result<Trees, BundleError> {
    Ok(Trees {
        roots: arrays.u32(&format!("{at}.roots"))?,
        feature: arrays.u32(&format!("{at}.feature"))?,
        threshold: arrays.f32(&format!("{at}.threshold"))?,
        child: arrays.u32(&format!("{at}.child"))?,
    })
}

fn short(value: usize) -> u32 {
    u32::try_from(value).expect("an ensemble that holds is bounded far below 2³²")
}

fn long(value: u32) -> usize {
    usize::try_from(value).expect("a usize has at least 32 bits on every target")
}
