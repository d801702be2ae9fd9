//! Multi-layer perceptron: mini-batches, two matrix products per layer, Adam.
//!
//! Source: Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019); He
//! initialisation; the rate falls to nothing along a cosine.

use models::{
    Precision,
    member::{Dense, Mlp},
};

use super::{
    FitError, Lesson, abreast,
    matrix::{NullaryFnOnce, multiply, narrow, vectorised, view, view_mut},
};
use crate::draw::{Draw, hash};

/// How the network learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Networks that learn from other beginnings and answer with the mean of their scores: less of the
    /// answer is chance. Only networks with one hidden layer can be joined; of others there is one.
    pub nets: usize,
    /// Outputs of each layer but the last, of each network.
    pub hidden: Vec<usize>,
    /// Passes over the rows.
    pub passes: usize,
    /// Most rows shown in all passes together: many rows need fewer passes.
    pub seen_max: usize,
    /// Fewest steps, so that a few rows are seen often enough.
    pub steps_min: usize,
    /// Rows of a mini-batch.
    pub batch: usize,
    /// The rate of the first step.
    pub rate: f64,
    /// How strongly weights are pulled towards 0.
    pub decay: f64,
    /// Share of the target that is spread over all classes.
    pub smoothing: f32,
    /// Share of the hidden values that a step leaves out.
    pub dropout: f64,
    /// Ends early when the mean loss of a pass falls below this.
    pub loss_min: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nets: 1,
            hidden: vec![192],
            passes: 24,
            seen_max: 460_000,
            steps_min: 600,
            batch: 128,
            rate: 1e-3,
            decay: 1e-2,
            smoothing: 0.05,
            dropout: 0.3,
            loss_min: 1e-3,
        }
    }
}

/// The layers as they were trained.
#[derive(Debug)]
pub(super) struct Fitted {
    width: usize,
    layers: Vec<Layer>,
}

/// One layer with what Adam remembers of it.
#[derive(Debug)]
struct Layer {
    inputs: usize,
    outputs: usize,
    weights: Parameters,
    bias: Parameters,
    /// `[batch, outputs]` of the step at hand.
    values: Vec<f32>,
    /// `[batch, outputs]`: how the loss changes with the values.
    slopes: Vec<f32>,
}

/// Numbers that are learned, with the means of their slopes and squared slopes.
#[derive(Debug)]
struct Parameters {
    values: Vec<f32>,
    slopes: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Parameters {
    fn new(values: Vec<f32>) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { values, slopes: zeros.clone(), mean: zeros.clone(), square: zeros }
    }

    fn step(&mut self, rate: f32, decay: f32, time: f64) {
        let scales = Scales {
            rate,
            decay,
            mean: narrow((1.0 - MEAN_KEPT.powf(time)).recip()),
            square: narrow((1.0 - SQUARE_KEPT.powf(time)).recip()),
        };
        vectorised(Step { parameters: self, scales });
    }
}

/// What does not change within a step of Adam.
#[derive(Clone, Copy)]
struct Scales {
    rate: f32,
    decay: f32,
    mean: f32,
    square: f32,
}

/// One step of all numbers of a layer.
struct Step<'a> {
    parameters: &'a mut Parameters,
    scales: Scales,
}

impl NullaryFnOnce for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { parameters, scales } = self;
        let (mean_kept, square_kept) = (narrow(MEAN_KEPT), narrow(SQUARE_KEPT));
        let Parameters { values, slopes, mean, square } = parameters;
        for (((value, slope), mean), square) in
            values.iter_mut().zip(&*slopes).zip(mean).zip(square)
        {
            *mean = mean_kept * *mean + (1.0 - mean_kept) * slope;
            *square = square_kept * *square + (1.0 - square_kept) * slope * slope;
            let step = *mean * scales.mean / ((*square * scales.square).sqrt() + 1e-8);
            *value -= scales.rate * (step + scales.decay * *value);
        }
    }
}

const MEAN_KEPT: f64 = 0.9;
const SQUARE_KEPT: f64 = 0.999;

impl Fitted {
    pub(super) fn lower(self) -> Mlp {
        let layers = self.layers.into_iter();
        Mlp {
            width: self.width,
            layers: layers
                .map(|layer| Dense { weights: layer.weights.values, bias: layer.bias.values })
                .collect(),
            precision: Precision::Single,
        }
    }

    /// The scores of `[n, width]` rows as training computes them: by matrix products.
    #[cfg(test)]
    pub(super) fn scores(&mut self, rows: &[f32]) -> Vec<f32> {
        forward(&mut self.layers, rows, rows.len() / self.width, None);
        self.layers.last().unwrap().values.clone()
    }
}

/// Fits the networks and joins them.
pub(super) fn fit(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let nets = if settings.hidden.len() == 1 { settings.nets.max(1) } else { 1 };
    let nets = abreast(lesson.threads, nets, |net| {
        fit_one(settings, &Lesson { seed: seed(lesson.seed, net), ..*lesson })
    })?;
    Ok(join(nets))
}

/// Where network `net` begins; a single one begins where all did before there were several.
pub(super) fn seed(seed: u64, net: usize) -> u64 {
    if net == 0 { seed } else { hash(&[seed, net as u64]) }
}

/// One network that gives the mean of what the networks give, which have one hidden layer each: their
/// hidden values side by side, of which each output takes its share of each.
fn join(mut nets: Vec<Fitted>) -> Fitted {
    if nets.len() < 2 {
        return nets.remove(0);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few networks")]
    let share = (nets.len() as f32).recip();
    let width = nets[0].width;
    let classes = nets[0].layers.last().map_or(0, |last| last.outputs);
    let inputs: usize = nets.iter().map(|net| net.layers[0].outputs).sum();
    let (mut hidden, mut hidden_bias) = (Vec::new(), Vec::new());
    let (mut last, mut last_bias) = (vec![0.0; classes * inputs], vec![0.0; classes]);
    let mut first = 0;
    for net in nets {
        let [below, above] = net.layers.try_into().expect("one hidden layer and the last");
        hidden.extend(below.weights.values);
        hidden_bias.extend(below.bias.values);
        let rows = above.weights.values.chunks_exact(below.outputs);
        for (to, from) in last.chunks_exact_mut(inputs).zip(rows) {
            let to = &mut to[first..first + below.outputs];
            to.iter_mut().zip(from).for_each(|(to, from)| *to = share * from);
        }
        last_bias.iter_mut().zip(above.bias.values).for_each(|(sum, bias)| *sum += share * bias);
        first += below.outputs;
    }
    let layers = vec![
        Layer::of(width, inputs, hidden, hidden_bias),
        Layer::of(inputs, classes, last, last_bias),
    ];
    Fitted { width, layers }
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows and steps in memory")]
pub(super) fn fit_one(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let (n, width) = (lesson.samples.len(), lesson.samples.width());
    let mut draw = Draw::new(lesson.seed);
    let mut layers = Vec::new();
    let mut inputs = width;
    for &outputs in settings.hidden.iter().chain([&lesson.classes]) {
        layers.push(layer(&mut draw, inputs, outputs));
        inputs = outputs;
    }
    let batch = settings.batch.clamp(1, n);
    let per_pass = n.div_ceil(batch);
    let passes = settings.passes.min(settings.seen_max / n).max(1);
    let passes = passes.max(settings.steps_min.div_ceil(per_pass));
    let steps = (passes * per_pass) as f64;
    let mut order: Vec<usize> = (0..n).collect();
    let mut rows = Vec::with_capacity(batch * width);
    let mut time = 0.0;
    for _ in 0..passes {
        draw.shuffle(&mut order);
        let mut loss = 0.0;
        for chosen in order.chunks(batch) {
            lesson.stop.check()?;
            rows.clear();
            chosen.iter().for_each(|&row| rows.extend_from_slice(lesson.samples.row(row)));
            let mask = (0.0 < settings.dropout).then_some((&mut draw, settings.dropout));
            forward(&mut layers, &rows, chosen.len(), mask);
            loss += aim(&mut layers, lesson, chosen, settings.smoothing);
            backward(&mut layers, &rows, chosen.len(), narrow((1.0 - settings.dropout).recip()));
            let rate = settings.rate * 0.5 * (1.0 + (std::f64::consts::PI * time / steps).cos());
            time += 1.0;
            for layer in &mut layers {
                layer.weights.step(narrow(rate), narrow(settings.decay), time);
                layer.bias.step(narrow(rate), 0.0, time);
            }
        }
        if !loss.is_finite() {
            return Err(FitError::Diverged { what: "mlp" });
        }
        if loss < settings.loss_min * n as f32 {
            break;
        }
    }
    if layers.iter().any(|it| it.weights.values.iter().any(|value| !value.is_finite())) {
        return Err(FitError::Diverged { what: "mlp" });
    }
    // A class without rows was only pushed down; make sure that it is never the largest.
    if let Some(last) = layers.last_mut() {
        for (class, count) in lesson.counts().into_iter().enumerate() {
            if count == 0 {
                last.weights.values[class * last.inputs..][..last.inputs].fill(0.0);
                last.bias.values[class] = ABSENT;
            }
        }
    }
    Ok(Fitted { width, layers })
}

/// The score of a class without rows.
const ABSENT: f32 = -1e6;

#[expect(clippy::cast_precision_loss, reason = "a width in memory")]
fn layer(draw: &mut Draw, inputs: usize, outputs: usize) -> Layer {
    let deviation = (2.0 / inputs as f64).sqrt();
    let weights = (0..inputs * outputs).map(|_| narrow(draw.normal() * deviation)).collect();
    Layer::of(inputs, outputs, weights, vec![0.0; outputs])
}

impl Layer {
    fn of(inputs: usize, outputs: usize, weights: Vec<f32>, bias: Vec<f32>) -> Self {
        let (weights, bias) = (Parameters::new(weights), Parameters::new(bias));
        Self { inputs, outputs, weights, bias, values: Vec::new(), slopes: Vec::new() }
    }
}

/// Fills the values of every layer for `count` rows; with a mask, hidden values are left out at
/// random and the others are larger for it.
fn forward(layers: &mut [Layer], rows: &[f32], count: usize, mut mask: Option<(&mut Draw, f64)>) {
    let last = layers.len() - 1;
    for at in 0..layers.len() {
        let (before, here) = layers.split_at_mut(at);
        let layer = &mut here[0];
        let inputs = before.last().map_or(rows, |it| &it.values);
        layer.values.resize(count * layer.outputs, 0.0);
        multiply(
            view_mut(&mut layer.values, count, layer.outputs),
            view(inputs, count, layer.inputs),
            view(&layer.weights.values, layer.outputs, layer.inputs).transpose(),
        );
        for values in layer.values.chunks_exact_mut(layer.outputs) {
            for (value, bias) in values.iter_mut().zip(&layer.bias.values) {
                *value += bias;
                if at < last {
                    *value = value.max(0.0);
                }
            }
        }
        if at < last
            && let Some((draw, share)) = &mut mask
        {
            let kept = narrow((1.0 - *share).recip());
            for value in &mut layer.values {
                *value = if draw.unit() < *share { 0.0 } else { *value * kept };
            }
        }
    }
}

/// The loss of the rows, and its slopes at the last layer.
#[expect(clippy::cast_precision_loss, reason = "counts of rows and classes in memory")]
fn aim(layers: &mut [Layer], lesson: &Lesson<'_>, chosen: &[usize], smoothing: f32) -> f32 {
    let last = layers.last_mut().expect("a network has layers");
    let classes = last.outputs;
    let (share, count) = (smoothing / classes as f32, chosen.len() as f32);
    last.slopes.resize(last.values.len(), 0.0);
    let mut loss = 0.0;
    let rows = last.values.chunks_exact(classes).zip(last.slopes.chunks_exact_mut(classes));
    for ((scores, slopes), &row) in rows.zip(chosen) {
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (slope, score) in slopes.iter_mut().zip(scores) {
            *slope = (score - most).exp();
            sum += *slope;
        }
        let label = usize::from(lesson.labels[row]);
        let weight = lesson.weight(row);
        loss -= weight * (slopes[label] / sum).max(f32::MIN_POSITIVE).ln();
        for (class, slope) in slopes.iter_mut().enumerate() {
            let target = share + if class == label { 1.0 - smoothing } else { 0.0 };
            *slope = weight * (*slope / sum - target) / count;
        }
    }
    loss
}

/// Carries the slopes back through the layers, whose hidden values were made `kept` times larger.
fn backward(layers: &mut [Layer], rows: &[f32], count: usize, kept: f32) {
    for at in (0..layers.len()).rev() {
        let (before, here) = layers.split_at_mut(at);
        let layer = &mut here[0];
        let inputs = before.last().map_or(rows, |it| &it.values);
        multiply(
            view_mut(&mut layer.weights.slopes, layer.outputs, layer.inputs),
            view(&layer.slopes, count, layer.outputs).transpose(),
            view(inputs, count, layer.inputs),
        );
        layer.bias.slopes.fill(0.0);
        for slopes in layer.slopes.chunks_exact(layer.outputs) {
            for (sum, slope) in layer.bias.slopes.iter_mut().zip(slopes) {
                *sum += slope;
            }
        }
        let Some(below) = before.last_mut() else { continue };
        below.slopes.resize(below.values.len(), 0.0);
        multiply(
            view_mut(&mut below.slopes, count, layer.inputs),
            view(&layer.slopes, count, layer.outputs),
            view(&layer.weights.values, layer.outputs, layer.inputs),
        );
        // Nothing flows where a value was cut off or left out.
        for (slope, &value) in below.slopes.iter_mut().zip(&below.values) {
            *slope = if 0.0 < value { *slope * kept } else { 0.0 };
        }
    }
}
