//! Members that were fitted elsewhere: checked before they are believed, kept, handed on, given up.

use std::time::Duration;

use proto::v1;
use tonic::Code;

use crate::stage::{Node, Stage, bundle, chunk, import, put, task};

const LEASE: Duration = Duration::from_secs(10);

fn request(name: &str, digest: &[u8], taught_by_these: bool) -> v1::AddMemberRequest {
    v1::AddMemberRequest {
        task: "kitchen".to_owned(),
        name: name.to_owned(),
        digest: digest.to_vec().into(),
        taught_by_these,
        source: "mine.onnx".to_owned(),
    }
}

async fn kitchen(stage: &Stage) {
    let apply = v1::ApplyTaskRequest { toml: task("") };
    stage.admin().apply_task(apply).await.unwrap();
    let values: Vec<f32> = (0..40_u8).map(f32::from).collect();
    let labels: Vec<u32> = (0..20).map(|row| row % 2).collect();
    import(stage, vec![chunk(&values, &labels)]).await.unwrap();
}

async fn listed(stage: &Stage) -> Vec<v1::MemberView> {
    let list = v1::ListMembersRequest { task: "kitchen".to_owned() };
    stage.admin().list_members(list).await.unwrap().into_inner().members
}

#[tokio::test]
async fn a_member_is_kept_handed_to_trainers_and_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), LEASE).await;
    kitchen(&stage).await;
    let digest = put(&stage, &bundle(1, 2.0)).await;
    for _ in 0..2 {
        // Twice, since a reply may be lost.
        let added = stage.admin().add_member(request("mine", &digest, true)).await.unwrap();
        let member = added.into_inner().member.unwrap();
        assert_eq!((&*member.family, member.samples_seen), ("ridge", 20));
    }
    stage.stop().await;

    let stage = Stage::start(folder.path(), LEASE).await;
    assert_eq!(listed(&stage).await.len(), 1);
    let mut node = Node::join(&stage, "pi", 0.1).await;
    let start = v1::StartTrainingRequest { task: "kitchen".to_owned() };
    stage.admin().start_training(start).await.unwrap();
    let order = node.job(1).await;
    let begin = v1::BeginRequest {
        job: order.job.clone(),
        attempt: order.attempt,
        device: "pi".to_owned(),
    };
    let job = stage.training().begin(begin).await.unwrap().into_inner();
    let [member] = &job.imported[..] else { panic!("{:?}", job.imported) };
    assert_eq!((&*member.name, member.samples_seen), ("mine", 20));
    assert_eq!(member.digest, digest);

    let remove = v1::RemoveMemberRequest { task: "kitchen".to_owned(), name: "mine".to_owned() };
    stage.admin().remove_member(remove.clone()).await.unwrap();
    let again = stage.admin().remove_member(remove).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    assert!(listed(&stage).await.is_empty());
    let get = v1::GetBundleRequest { digest: digest.into() };
    let gone = stage.bundles().get_bundle(get).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "nobody refers to its bundle any more");
    stage.stop().await;
}

#[tokio::test]
async fn what_is_no_member_of_the_task_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), LEASE).await;
    kitchen(&stage).await;
    let (one, two) = (put(&stage, &bundle(1, 2.0)).await, put(&stage, &bundle(2, 2.0)).await);
    let refused = [
        (request("mine", &two, false), Code::InvalidArgument, "a bundle of its own"),
        (request("mine", &[7; 32], false), Code::NotFound, "no blob"),
        (request("a name", &one, false), Code::InvalidArgument, "is no name"),
        (request("", &one, false), Code::InvalidArgument, "is no name"),
        (
            v1::AddMemberRequest { task: "cellar".to_owned(), ..request("mine", &one, false) },
            Code::NotFound,
            "cellar",
        ),
    ];
    for (request, code, word) in refused {
        let status = stage.admin().add_member(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(word), "{status}");
    }
    stage.admin().add_member(request("mine", &one, false)).await.unwrap();
    let other = put(&stage, &bundle(1, 3.0)).await;
    let taken = stage.admin().add_member(request("mine", &other, false)).await.unwrap_err();
    assert_eq!(taken.code(), Code::FailedPrecondition);
    assert_eq!(listed(&stage).await.len(), 1);
    stage.stop().await;
}
