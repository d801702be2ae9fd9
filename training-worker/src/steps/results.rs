//! Results of steps as bytes, and back: what does not read as the result that is expected is none.

use std::sync::Arc;

use models::{
    ClassId, Ensemble, Family, Member, Model, Parts, Preparation, Schema, Voting, Weighted, bundle,
};

use crate::panel::Opinion;

/// What is said of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// So many numbers.
    Scores(usize),
    /// One of so many classes.
    Votes(usize),
}

/// Which rows' worth of opinions a step gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Rows that are asked.
    pub(crate) rows: usize,
    /// What is said of each.
    pub(crate) form: Form,
    /// Whether a compact form is asked too, where there is one.
    pub(crate) compact: bool,
}

/// What a member said of rows, and what it says in a compact form, if it has one and was asked.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) exact: Opinion,
    pub(crate) compact: Option<Opinion>,
}

impl Said {
    /// One opinion after the other, each number in little-endian order.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for opinion in [Some(&self.exact), self.compact.as_ref()].into_iter().flatten() {
            match opinion {
                Opinion::Scores(scores) => {
                    bytes.extend(scores.iter().flat_map(|score| score.to_le_bytes()));
                }
                Opinion::Votes(votes) => {
                    bytes.extend(votes.iter().flat_map(|vote| vote.0.to_le_bytes()));
                }
            }
        }
        bytes
    }

    /// Opinions of as many rows as were `asked`, or nothing.
    pub(crate) fn decode(bytes: &[u8], asked: Asked) -> Option<Self> {
        let each = match asked.form {
            Form::Scores(numbers) => numbers.checked_mul(size_of::<f32>())?,
            Form::Votes(_) => size_of::<u16>(),
        };
        let length = asked.rows.checked_mul(each).filter(|&length| 0 < length)?;
        let mut opinions = bytes.chunks(length).map(|bytes| opinion(bytes, length, asked.form));
        let exact = opinions.next()??;
        let compact = match opinions.next() {
            Some(compact) if asked.compact => Some(compact?),
            Some(_) => return None,
            None => None,
        };
        opinions.next().is_none().then_some(Self { exact, compact })
    }
}

fn opinion(bytes: &[u8], length: usize, form: Form) -> Option<Opinion> {
    if bytes.len() != length {
        return None;
    }
    match form {
        Form::Scores(_) => {
            let (scores, _) = bytes.as_chunks();
            let scores: Vec<f32> = scores.iter().map(|it| f32::from_le_bytes(*it)).collect();
            scores.iter().all(|score| score.is_finite()).then_some(Opinion::Scores(scores))
        }
        Form::Votes(classes) => {
            let (votes, _) = bytes.as_chunks();
            let votes: Vec<ClassId> =
                votes.iter().map(|it| ClassId(u16::from_le_bytes(*it))).collect();
            votes.iter().all(|vote| vote.index() < classes).then_some(Opinion::Votes(votes))
        }
    }
}

/// What a step fitted: what is done to a sample, and the model that then sees it.
pub(crate) type Fitted = (Preparation, Model);

/// A fitted member, as the bundle of an ensemble of it alone: names of features and classes are numbers, so
/// that a task whose classes are renamed has the same steps.
pub(crate) fn encode(fitted: &Fitted, family: Family, shape: Shape) -> Option<Vec<u8>> {
    let (preparation, model) = fitted.clone();
    let member = Member { family, preparation: 0, model: Arc::new(model) };
    let parts = Parts {
        schema: shape.schema()?,
        preparations: vec![preparation],
        gate: None,
        members: vec![Weighted { weight: 1.0, member }],
        voting: Voting::default(),
        golden: Vec::new(),
    };
    Some(bundle::encode(&Ensemble::new(parts).ok()?))
}

/// A member of this family and shape, or nothing.
pub(crate) fn decode(bytes: &[u8], family: Family, shape: Shape) -> Option<Fitted> {
    let Parts { schema, mut preparations, gate: None, mut members, .. } =
        bundle::decode(bytes).ok()?.into_parts()
    else {
        return None;
    };
    let (Some(preparation), Some(Weighted { member, .. })) = (preparations.pop(), members.pop())
    else {
        return None;
    };
    let alone = preparations.is_empty() && members.is_empty();
    let expected = member.family == family && schema == shape.schema()?;
    (alone && expected).then(|| (preparation, Arc::unwrap_or_clone(member.model)))
}

/// What goes into a member, and how many classes it tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) width: usize,
    pub(crate) classes: usize,
}

impl Shape {
    fn schema(self) -> Option<Schema> {
        let names = |count: usize| (0..count).map(|number| number.to_string()).collect();
        Schema::new(names(self.width), names(self.classes), None).ok()
    }
}

#[cfg(test)]
mod tests {
    use models::member::Linear;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn opinions_read_back_and_no_other_length_does(
            scores in prop::collection::vec(-9.0_f32..9.0, 6..7), compact: bool, cut in 1_usize..48,
        ) {
            let exact = Opinion::Scores(scores.clone());
            let said = Said { exact, compact: compact.then(|| Opinion::Scores(scores.clone())) };
            let asked = Asked { rows: 3, form: Form::Scores(2), compact: true };
            let bytes = said.encode();
            let read = Said::decode(&bytes, asked).unwrap();
            prop_assert_eq!(read.encode(), bytes.clone());
            prop_assert_eq!(read.compact.is_some(), compact);
            if cut % 24 != 0 {
                prop_assert!(Said::decode(&bytes[..bytes.len() - cut.min(bytes.len())], asked).is_none());
            }
            let more = [&bytes[..], &[0]].concat();
            prop_assert!(Said::decode(&more, asked).is_none());
            let alone = Asked { compact: false, ..asked };
            prop_assert_eq!(Said::decode(&bytes, alone).is_none(), compact);
        }

        #[test]
        fn bytes_of_others_never_panic(bytes: Vec<u8>, rows in 0_usize..9, classes in 0_usize..4) {
            for form in [Form::Scores(classes), Form::Votes(classes)] {
                let _any = Said::decode(&bytes, Asked { rows, form, compact: true });
            }
            let _any = decode(&bytes, Family::Ridge, Shape { width: rows, classes });
        }
    }

    #[test]
    fn what_cannot_have_been_said_is_nothing() {
        let asked = |form| Asked { rows: 1, form, compact: false };
        assert!(Said::decode(&f32::NAN.to_le_bytes(), asked(Form::Scores(1))).is_none());
        assert!(Said::decode(&2_u16.to_le_bytes(), asked(Form::Votes(2))).is_none());
        assert!(Said::decode(&1_u16.to_le_bytes(), asked(Form::Votes(2))).is_some());
    }

    #[test]
    fn a_member_reads_back_to_the_last_bit_and_never_for_another() {
        let weights = vec![0.1, -0.0, f32::MIN_POSITIVE / 2.0, 1.5e-30];
        let model = Model::Linear(Linear { width: 2, weights, bias: vec![0.25, -3.0] });
        let fitted = (Preparation::default(), model);
        let shape = Shape { width: 2, classes: 2 };
        let bytes = encode(&fitted, Family::Ridge, shape).unwrap();
        let read = decode(&bytes, Family::Ridge, shape).unwrap();
        assert_eq!(encode(&read, Family::Ridge, shape).unwrap(), bytes);
        let Model::Linear(Linear { weights, .. }) = read.1 else { panic!("it was linear") };
        assert!(weights[1].is_sign_negative() && weights[2] == f32::MIN_POSITIVE / 2.0);
        assert!(decode(&bytes, Family::LinearSvm, shape).is_none());
        assert!(decode(&bytes, Family::Ridge, Shape { width: 3, ..shape }).is_none());
        assert!(decode(&bytes, Family::Ridge, Shape { classes: 3, ..shape }).is_none());
    }
}
