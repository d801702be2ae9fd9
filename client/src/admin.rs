//! What people and their tools say to the scheduler.

use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use proto::v1::{self, admin_client::AdminClient, bundles_client::BundlesClient};
use tonic::transport::Channel;

use crate::{
    address::Address,
    again::again,
    error::ClientError,
    upload::{ImportError, upload},
};

/// A connection to the scheduler.
#[derive(Clone, Debug)]
pub struct Admin {
    client: AdminClient<Channel>,
    bundles: BundlesClient<Channel>,
}

impl Admin {
    /// Connects to the scheduler at `address` (`host:port` or `http://host:port`).
    ///
    /// # Errors
    ///
    /// [`ClientError::Address`] and [`ClientError::Unreachable`].
    pub async fn connect(address: &str) -> Result<Self, ClientError> {
        let channel = address.parse::<Address>()?.connect().await?;
        Ok(Self::new(channel))
    }

    /// Speaks over a connection that stands already.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        let client = AdminClient::new(channel.clone())
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
        let bundles =
            BundlesClient::new(channel).max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
        Self { client, bundles }
    }

    /// Admits the task of a task file, or replaces its policy. Applying the same file twice changes nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with the line that is wrong, or with the numbers that say why the
    /// policy cannot be met on any device.
    pub async fn apply_task(&self, toml: &str) -> Result<v1::ApplyTaskReply, ClientError> {
        again(|| {
            let mut client = self.client.clone();
            let request = v1::ApplyTaskRequest { toml: toml.to_owned() };
            async move { client.apply_task(request).await }
        })
        .await
    }

    /// All tasks.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] when the scheduler could not say.
    pub async fn tasks(&self) -> Result<Vec<v1::TaskView>, ClientError> {
        self.tasks_named("").await
    }

    /// One task.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `NOT_FOUND` when there is no such task.
    pub async fn task(&self, name: &str) -> Result<v1::TaskView, ClientError> {
        let tasks = if name.is_empty() { Vec::new() } else { self.tasks_named(name).await? };
        tasks
            .into_iter()
            .find(|task| task.name == name)
            .ok_or_else(|| tonic::Status::not_found(format!("there is no task {name:?}")).into())
    }

    async fn tasks_named(&self, task: &str) -> Result<Vec<v1::TaskView>, ClientError> {
        let reply = again(|| {
            let mut client = self.client.clone();
            let request = v1::ListTasksRequest { task: task.to_owned() };
            async move { client.list_tasks(request).await }
        })
        .await?;
        Ok(reply.tasks)
    }

    /// Removes a task: it is served no longer.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `NOT_FOUND` when there is no such task.
    pub async fn remove_task(&self, task: &str) -> Result<(), ClientError> {
        let request = v1::RemoveTaskRequest { task: task.to_owned() };
        self.client.clone().remove_task(request).await?;
        Ok(())
    }

    /// Imports samples, all or nothing: when `chunks` yields an error the upload is broken off and
    /// nothing was imported. [`crate::Chunker`] makes chunks of the right size.
    ///
    /// # Errors
    ///
    /// [`ImportError::Source`] with the error that `chunks` gave, [`ImportError::Client`] when the
    /// scheduler refused.
    pub async fn import<E>(
        &self,
        chunks: impl Stream<Item = Result<v1::ImportChunk, E>> + Send + 'static,
    ) -> Result<v1::ImportReply, ImportError<E>>
    where
        E: Send + 'static,
    {
        let mut client = self.client.clone();
        upload(chunks, |stream| async move { client.import_samples(stream).await }).await
    }

    /// What samples a task has.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `NOT_FOUND` when there is no such task.
    pub async fn samples(&self, task: &str) -> Result<v1::StatSamplesReply, ClientError> {
        again(|| {
            let mut client = self.client.clone();
            let request = v1::StatSamplesRequest { task: task.to_owned() };
            async move { client.stat_samples(request).await }
        })
        .await
    }

    /// Starts a training; the name of its job.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] when there is nothing to train on or nobody to train.
    pub async fn train(&self, task: &str) -> Result<String, ClientError> {
        let request = v1::StartTrainingRequest { task: task.to_owned() };
        Ok(self.client.clone().start_training(request).await?.into_inner().job)
    }

    /// What has happened in a job so far, then what happens, until it ends.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `NOT_FOUND` when there is no such job.
    pub async fn watch(
        &self,
        job: &str,
    ) -> Result<BoxStream<'static, Result<v1::TrainingEvent, ClientError>>, ClientError> {
        let stream = again(|| {
            let mut client = self.client.clone();
            let request = v1::WatchTrainingRequest { job: job.to_owned() };
            async move { client.watch_training(request).await }
        })
        .await?;
        Ok(stream.map(|event| event.map_err(ClientError::from)).boxed())
    }

    /// The devices of the fleet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] when the scheduler could not say.
    pub async fn devices(&self) -> Result<Vec<v1::DeviceView>, ClientError> {
        let reply = again(|| {
            let mut client = self.client.clone();
            async move { client.list_devices(v1::ListDevicesRequest {}).await }
        })
        .await?;
        Ok(reply.devices)
    }

    /// Where a task is served; every task when `task` is empty.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] when the scheduler could not say.
    pub async fn placements(&self, task: &str) -> Result<Vec<v1::PlacementView>, ClientError> {
        let reply = again(|| {
            let mut client = self.client.clone();
            let request = v1::ListPlacementsRequest { task: task.to_owned() };
            async move { client.list_placements(request).await }
        })
        .await?;
        Ok(reply.placements)
    }

    /// Why a task is served where it is.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `NOT_FOUND` when there is no such task.
    pub async fn explain(&self, task: &str) -> Result<v1::ExplainPlacementReply, ClientError> {
        again(|| {
            let mut client = self.client.clone();
            let request = v1::ExplainPlacementRequest { task: task.to_owned() };
            async move { client.explain_placement(request).await }
        })
        .await
    }

    /// The revisions of a task, as the scheduler orders them.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `NOT_FOUND` when there is no such task.
    pub async fn revisions(&self, task: &str) -> Result<Vec<v1::RevisionView>, ClientError> {
        let reply = again(|| {
            let mut client = self.client.clone();
            let request = v1::ListRevisionsRequest { task: task.to_owned() };
            async move { client.list_revisions(request).await }
        })
        .await?;
        Ok(reply.revisions)
    }

    /// Brings an older revision back as a new one; the one before the current when `revision` is
    /// `None`. Gives the number of the new revision.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] when there is no such revision.
    pub async fn roll_back(&self, task: &str, revision: Option<u64>) -> Result<u64, ClientError> {
        let revision = revision.unwrap_or(0);
        let request = v1::RollbackRequest { task: task.to_owned(), revision };
        Ok(self.client.clone().rollback(request).await?.into_inner().revision)
    }

    /// The journal, in order; endless when `request.follow` is set.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] when the scheduler could not say; the stream ends with one when the
    /// connection is lost.
    pub async fn events(
        &self,
        request: v1::EventsRequest,
    ) -> Result<BoxStream<'static, Result<v1::Event, ClientError>>, ClientError> {
        let stream = again(|| {
            let mut client = self.client.clone();
            let request = request.clone();
            async move { client.events(request).await }
        })
        .await?;
        Ok(stream.map(|event| event.map_err(ClientError::from)).boxed())
    }

    /// The corrections that have arrived for a task.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `NOT_FOUND` when there is no such task.
    pub async fn corrections(&self, task: &str) -> Result<Vec<v1::CorrectionView>, ClientError> {
        let reply = again(|| {
            let mut client = self.client.clone();
            let request = v1::ListCorrectionsRequest { task: task.to_owned() };
            async move { client.list_corrections(request).await }
        })
        .await?;
        Ok(reply.corrections)
    }

    /// Gives a task a member that was fitted elsewhere, in the bundle `bytes`, whose SHA-256 is
    /// `request.digest`. It is durable when this returns; giving the same one twice is harmless.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with the reason when the bundle is no member of this task.
    pub async fn add_member(
        &self,
        bytes: Vec<u8>,
        request: v1::AddMemberRequest,
    ) -> Result<v1::MemberView, ClientError> {
        let bytes = std::sync::Arc::new(bytes);
        again(|| {
            let mut client = self.bundles.clone();
            let (bytes, digest) = (bytes.clone(), request.digest.clone());
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let starts = (0..bytes.len()).step_by(proto::CHUNK_BYTES);
            let chunks = starts.map(move |from| {
                let to = bytes.len().min(from + proto::CHUNK_BYTES);
                let data = bytes[from..to].to_vec().into();
                v1::BundleChunk { digest: digest.clone(), length, data }
            });
            async move { client.put_bundle(futures_util::stream::iter(chunks)).await }
        })
        .await?;
        let reply = again(|| {
            let (mut client, request) = (self.client.clone(), request.clone());
            async move { client.add_member(request).await }
        })
        .await?;
        Ok(reply.member.unwrap_or_default())
    }

    /// The members of a task that were fitted elsewhere, by name.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `NOT_FOUND` when there is no such task.
    pub async fn members(&self, task: &str) -> Result<Vec<v1::MemberView>, ClientError> {
        let reply = again(|| {
            let mut client = self.client.clone();
            let request = v1::ListMembersRequest { task: task.to_owned() };
            async move { client.list_members(request).await }
        })
        .await?;
        Ok(reply.members)
    }

    /// Gives up a member that was fitted elsewhere: the next training goes without it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `NOT_FOUND` when there is no such task or member.
    pub async fn remove_member(&self, task: &str, name: &str) -> Result<(), ClientError> {
        let request = v1::RemoveMemberRequest { task: task.to_owned(), name: name.to_owned() };
        self.client.clone().remove_member(request).await?;
        Ok(())
    }
}
