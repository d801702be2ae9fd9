//! What the steps of a demo share: the fleet, the task, the app, what was told and what is reported.

use client::Admin;

use super::{
    app::App,
    rows::Rows,
    story::Story,
    tally::Tally,
    task_text::{TaskText, Wish},
};
use crate::{
    failure::{Doing as _, Failure},
    report::Report,
};

/// What the steps of a demo share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) admin: Admin,
    pub(crate) task: TaskText,
    pub(crate) app: App,
    pub(crate) story: Story,
    pub(crate) report: Report,
}

/// Rows that nobody trains on, and what they are called.
pub(crate) type Part = (String, Rows);

impl Stage {
    /// A stage for `task`, which is not applied yet.
    pub(crate) fn new(admin: Admin, task: TaskText, story: Story, report: Report) -> Self {
        let app = App::new(admin.clone(), &task.name);
        let report = Report { classes: task.classes.clone(), ..report };
        Self { admin, task, app, story, report }
    }

    /// Applies the task under the policy `wish`.
    pub(crate) async fn apply(&self, wish: Wish) -> Result<(), Failure> {
        let applied = self.admin.apply_task(&self.task.toml(wish)).await;
        applied.map(drop).doing(|| format!("the task {:?} was not admitted", self.task.name))
    }

    /// Imports rows; all of them or none.
    pub(crate) async fn import(&self, rows: &Rows) -> Result<u64, Failure> {
        let chunks = rows.chunks(&self.task.name).into_iter().map(Ok::<_, std::io::Error>);
        let imported = self.admin.import(futures_util::stream::iter(chunks)).await;
        Ok(imported.doing(|| "the rows were not imported".to_owned())?.rows)
    }

    /// No answers of this task.
    pub(crate) fn tally(&self) -> Tally {
        Tally::new(self.task.classes.len(), self.task.background)
    }

    /// Answers every part by what is served now: the whole, and each part.
    pub(crate) async fn examine(
        &mut self,
        parts: &[Part],
    ) -> Result<(Tally, Vec<(String, Tally)>), Failure> {
        let mut whole = self.tally();
        let mut each = Vec::new();
        for (name, rows) in parts {
            let answers = self.app.ask_all(rows).await?;
            let mut part = self.tally();
            part.add_all(rows, &answers)?;
            whole.add_all(rows, &answers)?;
            each.push((name.clone(), part));
        }
        Ok((whole, each))
    }
}
