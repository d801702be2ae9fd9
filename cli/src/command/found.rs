//! Finding the serving worker that answers for a task.

use client::{Admin, Predictor};
use proto::v1;

use crate::failure::Failure;

/// A serving worker, and where it is.
pub(super) struct Found {
    pub(super) predictor: Predictor,
    pub(super) address: String,
}

/// A serving worker that serves `task` now; the first that answers.
pub(super) async fn serving(admin: &Admin, task: &str) -> Result<Found, Failure> {
    let placements = admin.placements(task).await?;
    let mut last = None;
    for address in addresses(&placements) {
        match Predictor::connect(&address).await {
            Ok(predictor) => return Ok(Found { predictor, address }),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => Failure::from(error)
            .hint("its device is placed there but does not answer: see `sensemble device list`"),
        None => Failure::new(format!("the task {task:?} is not served yet")).hint(format!(
            "train it with `sensemble train run {task} --wait`, or see why not with \
             `sensemble placement explain {task}`"
        )),
    })
}

/// Where placements are served: first those whose devices say that they serve, then the rest.
pub(super) fn addresses(placements: &[v1::PlacementView]) -> Vec<String> {
    let serves = |placement: &&v1::PlacementView| {
        placement.observed.as_ref().is_some_and(|served| served.fault.is_empty())
    };
    let (now, later): (Vec<_>, Vec<_>) = placements.iter().partition(serves);
    let mut addresses = Vec::new();
    for placement in now.into_iter().chain(later) {
        let address = &placement.serving_address;
        if !address.is_empty() && !addresses.contains(address) {
            addresses.push(address.clone());
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_serve_are_asked_first() {
        let placement = |address: &str, fault: Option<&str>| v1::PlacementView {
            serving_address: address.to_owned(),
            observed: fault
                .map(|fault| v1::ServedTask { fault: fault.to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let placements = [
            placement("a:1", None),
            placement("b:1", Some("no such bundle")),
            placement("c:1", Some("")),
            placement("c:1", Some("")),
            placement("", Some("")),
        ];
        assert_eq!(addresses(&placements), ["c:1", "a:1", "b:1"]);
    }
}
