//! An app: asks a serving worker and waits for the answer.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

use client::{Admin, ClientError, Predictor};
use proto::{trace::Context, v1};
use tokio::runtime::{Builder, Runtime};

/// One client with one connection, to be used from one thread.
pub struct App {
    runtime: Runtime,
    predictor: Predictor,
}

impl App {
    /// Connects to the serving worker at `address`.
    ///
    /// # Errors
    ///
    /// When nobody answers there.
    pub fn connect(address: &str) -> Result<Self, ClientError> {
        let runtime = runtime();
        let predictor = runtime.block_on(Predictor::connect(address))?;
        Ok(Self { runtime, predictor })
    }

    /// The same app, whose questions belong to a trace.
    #[must_use]
    pub fn in_trace(self, context: Context) -> Self {
        Self { predictor: self.predictor.in_trace(context), ..self }
    }

    /// One sample, one answer.
    ///
    /// # Errors
    ///
    /// As [`Predictor::predict`].
    pub fn predict(&self, task: &str, row: &[f32]) -> Result<v1::PredictReply, ClientError> {
        self.runtime.block_on(self.predictor.predict(task, row.to_vec()))
    }

    /// Several samples in one call.
    ///
    /// # Errors
    ///
    /// As [`Predictor::predict_batch`].
    pub fn predict_batch(
        &self,
        task: &str,
        rows: &[Vec<f32>],
    ) -> Result<Vec<v1::PredictReply>, ClientError> {
        let width = rows.first().map_or(0, Vec::len);
        let width = u32::try_from(width).expect("a story's samples are narrow");
        self.runtime.block_on(self.predictor.predict_batch(task, width, rows.concat()))
    }

    /// What the answer should have been.
    ///
    /// # Errors
    ///
    /// As [`Predictor::correct`].
    pub fn correct(
        &self,
        answer: &v1::PredictReply,
        label: &str,
    ) -> Result<v1::CorrectReply, ClientError> {
        self.runtime.block_on(self.predictor.correct(answer.prediction_id.clone(), label))
    }

    /// What is served there.
    ///
    /// # Errors
    ///
    /// As [`Predictor::describe`].
    pub fn describe(&self) -> Result<Vec<v1::ServedTask>, ClientError> {
        self.runtime.block_on(self.predictor.describe())
    }
}

/// Tells the threads of a story to stop, however the story ends: without it, a failure would wait for
/// them for ever.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks the scheduler at `address`: `admin(address, |it| async move { it.tasks().await })`.
///
/// # Errors
///
/// When the scheduler is not there, and what `question` gives.
pub fn admin<T, F>(address: &str, question: impl FnOnce(Admin) -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    runtime().block_on(async { question(Admin::connect(address).await?).await })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime for one thread")
}
