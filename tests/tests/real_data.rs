//! The whole path on real data, tested on other days and other people: accuracy has a floor, and the
//! share of missed events stands beside it.

use stories::real::{HAPT, HAPT_SIX, ROOM, Real};

#[test]
fn room_occupancy_is_answered_on_other_days() {
    reaches(ROOM, "room_occupancy_is_answered_on_other_days", 0.93);
}

#[test]
fn hapt_thirteen_classes_are_answered_for_other_people() {
    reaches(HAPT, "hapt_thirteen_classes_are_answered_for_other_people", 0.84);
}

#[test]
fn hapt_six_activities_are_answered_for_other_people() {
    reaches(HAPT_SIX, "hapt_six_activities_are_answered_for_other_people", 0.945);
}

fn reaches(real: Real<'_>, story: &str, floor: f64) {
    let Some(figures) = real.walk(story) else { return };
    let accuracy = figures.share("accuracy");
    eprintln!(
        "{}: accuracy {accuracy:.4} {}, balanced {:.4}, missed events {}, {} revisions",
        real.name,
        figures.report["interval"],
        figures.share("balanced_accuracy"),
        figures.report["missed_events"],
        figures.revisions,
    );
    assert!(floor <= accuracy, "{accuracy} is below {floor}: {}", figures.report);
    assert!(figures.revisions > 1, "it was trained lazily: {figures:?}");
}
