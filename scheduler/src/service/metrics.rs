//! `/metrics` of the scheduler: what its fleet, its tasks and its trainings are like, and what it has done.
//! Labels have values from short lists: the number of series is bounded.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use runtime::exposition::{CONTENT_TYPE, Page};

use super::Services;
use crate::{controller::Census, jobs};

/// What all names begin with.
const PREFIX: &str = "sensemble_scheduler_";
/// How long the page waits for a controller that is busy; then it says nothing of devices.
const CENSUS_MAX: Duration = Duration::from_secs(1);

/// `/metrics`, on the port of everything else.
pub(super) fn route(services: Services) -> Router {
    Router::new().route("/metrics", get(page)).with_state(services)
}

async fn page(State(services): State<Services>) -> impl IntoResponse {
    let mut page = Page::new(PREFIX);
    services.write_fleet(&mut page).await;
    services.write_tasks(&mut page);
    services.write_deeds(&mut page);
    services.calls.write(&mut page);
    if let Some(tracer) = &services.tracer {
        for (name, help, value) in tracer.counts().all() {
            page.single(name, "counter", help, value);
        }
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.text())
}

impl Services {
    async fn write_fleet(&self, page: &mut Page) {
        let census = tokio::time::timeout(CENSUS_MAX, self.controller.ask(Census)).await;
        let Ok(Ok(counted)) = census else { return };
        page.metric("devices", "gauge", "Devices that were ever heard of, by state.");
        for (state, count) in
            [("present", counted.present), ("awaited", counted.awaited), ("lost", counted.lost)]
        {
            page.sample("devices", &format!("{{state=\"{state}\"}}"), count);
        }
        page.single(
            "tasks_unmet",
            "gauge",
            "Tasks whose policy is not met as it should be.",
            counted.unmet,
        );
    }

    fn write_tasks(&self, page: &mut Page) {
        let books = self.vault.books();
        let placed =
            |at_least: usize| books.placements.values().filter(|it| at_least <= it.len()).count();
        page.single("tasks", "gauge", "Tasks.", books.tasks.len());
        page.single("tasks_placed", "gauge", "Tasks that are placed somewhere.", placed(1));
        page.single(
            "placements",
            "gauge",
            "Places where tasks are.",
            books.placements.values().map(Vec::len).sum::<usize>(),
        );
        page.metric("jobs", "gauge", "Trainings that are to be done, by state.");
        for (name, state) in [("queued", jobs::State::Queued), ("running", jobs::State::Running)] {
            let count = books.jobs.values().filter(|job| job.state == state).count();
            page.sample("jobs", &format!("{{state=\"{name}\"}}"), count);
        }
    }

    fn write_deeds(&self, page: &mut Page) {
        let meter = &self.vault.meter;
        page.metric("placements_decided_total", "counter", "Tasks placed anew, by cause.");
        for (cause, count) in meter.causes() {
            let labels = format!("{{cause=\"{cause}\"}}");
            page.sample("placements_decided_total", &labels, count);
        }
        page.metric(
            "training_seconds",
            "histogram",
            "From the first start of a training to its end, by how it ended.",
        );
        for (ended, times) in meter.trainings() {
            page.histogram("training_seconds", &format!("ended=\"{ended}\""), times);
        }
        page.metric(
            "corrections_total",
            "counter",
            "Corrections received, by what became of them.",
        );
        for (fate, count) in meter.corrections() {
            page.sample("corrections_total", &format!("{{fate=\"{fate}\"}}"), count);
        }
        page.metric("events_total", "counter", "Events written into the journal, by kind.");
        for (kind, count) in meter.events() {
            page.sample("events_total", &format!("{{kind=\"{kind}\"}}"), count);
        }
        page.metric(
            "write_seconds",
            "histogram",
            "From when a change of the state and the journal was begun until it was durable.",
        );
        page.histogram("write_seconds", "", &meter.writes);
        page.single(
            "write_failures_total",
            "counter",
            "Changes that could not be made durable.",
            meter.write_failures.load(Relaxed),
        );
    }
}
