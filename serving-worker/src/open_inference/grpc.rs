//! The protocol's gRPC service.

use std::sync::Arc;

use proto::inference::{self as wire, grpc_inference_service_server::GrpcInferenceService};
use runtime::Drain;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{
    about,
    infer::{infer, refused},
    outputs,
    request::parse,
};
use crate::{
    answer::Desk,
    deadline,
    relay::Escort,
    traced::{Call, INFERENCE},
};

/// Turns messages into questions and answers into messages; nothing else.
#[derive(Clone, Debug)]
pub(crate) struct OpenGrpc {
    desk: Arc<Desk>,
    drain: Drain,
}

impl OpenGrpc {
    pub(crate) fn new(desk: Arc<Desk>, drain: Drain) -> Self {
        Self { desk, drain }
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for OpenGrpc {
    async fn server_live(
        &self,
        _: Request<wire::ServerLiveRequest>,
    ) -> Result<Response<wire::ServerLiveResponse>, Status> {
        Ok(Response::new(wire::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<wire::ServerReadyRequest>,
    ) -> Result<Response<wire::ServerReadyResponse>, Status> {
        let ready = self.desk.served().ready() && !self.drain.asked();
        Ok(Response::new(wire::ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<wire::ModelReadyRequest>,
    ) -> Result<Response<wire::ModelReadyResponse>, Status> {
        let wire::ModelReadyRequest { name, version } = request.into_inner();
        let ready = self.desk.find(&name, &version).is_ok();
        Ok(Response::new(wire::ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<wire::ServerMetadataRequest>,
    ) -> Result<Response<wire::ServerMetadataResponse>, Status> {
        Ok(Response::new(about::server()))
    }

    async fn model_metadata(
        &self,
        request: Request<wire::ModelMetadataRequest>,
    ) -> Result<Response<wire::ModelMetadataResponse>, Status> {
        let wire::ModelMetadataRequest { name, version } = request.into_inner();
        Ok(Response::new(about::metadata(&*self.desk.find(&name, &version)?)))
    }

    async fn model_infer(
        &self,
        request: Request<wire::ModelInferRequest>,
    ) -> Result<Response<wire::ModelInferResponse>, Status> {
        let since = Instant::now();
        let deadline = deadline::of_call(request.metadata(), since);
        let escort = Escort::of(request.metadata());
        let (escort, opened) = self.desk.open(escort, Call::Grpc(INFERENCE, "ModelInfer"), since);
        let message = request.into_inner();
        let model_name = message.model_name.clone();
        let parsed = parse(message).map_err(|error| refused(&self.desk, &model_name, error));
        let (asked, raw, answered) = match parsed {
            Ok((mut asked, raw)) => {
                let answered = infer(&self.desk, &mut asked, since, deadline, &escort).await;
                (asked, raw, opened.grpc(answered.map_err(Status::from))?)
            }
            Err(error) => return opened.grpc(Err(error.into())),
        };
        let mut response = wire::ModelInferResponse {
            model_name,
            model_version: answered.revision.to_string(),
            id: asked.id,
            ..wire::ModelInferResponse::default()
        };
        outputs::put(&mut response, &asked.outputs, &answered.answers, answered.classes, raw);
        Ok(Response::new(response))
    }

    async fn model_config(
        &self,
        request: Request<wire::ModelConfigRequest>,
    ) -> Result<Response<wire::ModelConfigResponse>, Status> {
        let wire::ModelConfigRequest { name, version } = request.into_inner();
        let config = Some(about::config(&*self.desk.find(&name, &version)?));
        Ok(Response::new(wire::ModelConfigResponse { config }))
    }

    async fn model_statistics(
        &self,
        request: Request<wire::ModelStatisticsRequest>,
    ) -> Result<Response<wire::ModelStatisticsResponse>, Status> {
        let wire::ModelStatisticsRequest { name, version } = request.into_inner();
        let model_stats = if name.is_empty() {
            self.desk.served().tasks.values().map(|it| about::statistics(it)).collect()
        } else {
            vec![about::statistics(&*self.desk.find(&name, &version)?)]
        };
        Ok(Response::new(wire::ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<wire::RepositoryIndexRequest>,
    ) -> Result<Response<wire::RepositoryIndexResponse>, Status> {
        let models = about::index(&self.desk.served(), request.into_inner().ready);
        Ok(Response::new(wire::RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        _: Request<wire::RepositoryModelLoadRequest>,
    ) -> Result<Response<wire::RepositoryModelLoadResponse>, Status> {
        Err(Status::unimplemented(about::NOT_HERE))
    }

    async fn repository_model_unload(
        &self,
        _: Request<wire::RepositoryModelUnloadRequest>,
    ) -> Result<Response<wire::RepositoryModelUnloadResponse>, Status> {
        Err(Status::unimplemented(about::NOT_HERE))
    }
}
