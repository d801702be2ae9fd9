//! Members that were fitted elsewhere: their bundles are read before they are believed.

use std::sync::Arc;

use models::{Ensemble, Rule};
use proto::v1;
use tonic::Status;

use super::Services;
use crate::{
    books::{ImportedMember, TaskBook},
    error::{asked, bundle_error, malformed},
    registry::{AddMember, RemoveMember},
};

/// Longest name of a member, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest word on what a member was made of, in bytes.
const SOURCE_BYTES_MAX: usize = 1_000;
/// Most bytes of the bundle of one member: an eighth of what an ensemble may have.
const BUNDLE_BYTES_MAX: u64 = 64 << 20;

impl Services {
    /// Takes a member.
    pub(super) async fn take_member(
        &self,
        request: v1::AddMemberRequest,
    ) -> Result<v1::AddMemberReply, Status> {
        let v1::AddMemberRequest { task, name, digest, taught_by_these, source } = request;
        let book = self.book(&task)?;
        let plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        if name.is_empty() || NAME_BYTES_MAX < name.len() || !name.chars().all(plain) {
            return Err(Status::invalid_argument(format!(
                "{name:?} is no name: 1 to {NAME_BYTES_MAX} letters, digits, dashes, dots"
            )));
        }
        if SOURCE_BYTES_MAX < source.len() || source.chars().any(char::is_control) {
            return Err(Status::invalid_argument("what it was made of is a line of 1000 bytes"));
        }
        let digest = proto::parse::digest(&digest).map_err(|error| malformed(&error))?;
        let bundles = Arc::clone(&self.vault.bundles);
        let read = tokio::task::spawn_blocking(move || {
            let length = bundles.length(&digest).unwrap_or(0);
            if BUNDLE_BYTES_MAX < length {
                return Err(Status::invalid_argument(format!(
                    "a member of {length} bytes; at most {BUNDLE_BYTES_MAX} are taken"
                )));
            }
            let bytes = bundles.get(&digest).map_err(|error| bundle_error(&error))?;
            let ensemble = models::bundle::decode(&bytes).map_err(|error| malformed(&error))?;
            Ok((ensemble, length))
        });
        let (ensemble, bundle_bytes) =
            read.await.map_err(|_| Status::internal("the bundle could not be read"))??;
        let family = family(&ensemble, &book).map_err(Status::invalid_argument)?;
        let add = AddMember {
            task: task.clone(),
            task_id: book.id,
            name,
            digest,
            bundle_bytes,
            family,
            source,
            taught_by_these,
        };
        let member = asked(self.registry.ask(add).await)?;
        Ok(v1::AddMemberReply { member: Some(view(&*self.book(&task)?, &member)) })
    }

    /// The members of a task.
    pub(super) fn members_of(&self, task: &str) -> Result<v1::ListMembersReply, Status> {
        let book = self.book(task)?;
        let members = book.members.iter().map(|member| view(&book, member)).collect();
        Ok(v1::ListMembersReply { members })
    }

    /// Gives a member up.
    pub(super) async fn give_up_member(&self, task: String, name: String) -> Result<(), Status> {
        asked(self.registry.ask(RemoveMember { task, name }).await)
    }
}

/// The family of the one member in a bundle, if it is one of this task.
fn family(ensemble: &Ensemble, book: &TaskBook) -> Result<&'static str, String> {
    let schema = &book.task.schema;
    if ensemble.schema().hash() != schema.hash() {
        return Err(format!(
            "the member was made for other features or classes than those of {:?}",
            book.task.name
        ));
    }
    match ensemble.members() {
        [alone] if ensemble.gate().is_none() && ensemble.voting().rule == Rule::Hard => {
            Ok(alone.member.family.name())
        }
        members => Err(format!(
            "a member comes in a bundle of its own, without a gate; this one has {}",
            members.len()
        )),
    }
}

fn view(book: &TaskBook, member: &ImportedMember) -> v1::MemberView {
    let report = book.current.as_ref().map(|current| &current.report);
    let is = |it: &&v1::MemberReport| it.imported == member.name;
    let served = report.and_then(|report| report.members.iter().find(is));
    let left_out = report.and_then(|report| report.left_out.iter().find(is));
    let weighed = served.or(left_out);
    v1::MemberView {
        task: book.task.name.clone(),
        name: member.name.clone(),
        family: member.family.clone(),
        digest: member.digest.to_vec().into(),
        bundle_bytes: member.bundle_bytes,
        source: member.source.clone(),
        samples_seen: member.samples_seen,
        corrections_seen: member.corrections_seen,
        at_ms: member.at_ms,
        weight: served.map_or(0.0, |it| it.weight),
        accuracy: weighed.map_or(0.0, |it| it.validation_accuracy),
        weighed: weighed.is_some(),
    }
}
