//! The protocol's gRPC service.

use std::sync::Arc;

use proto::inference::{self as wire, grpc_inference_service_server::GrpcInferenceService};
use runtime::Drain;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::{
    about,
    infer::{infer, refused},
    outputs::{self, Classes},
    request::parse,
};
use crate::{
    answer::{Desk, Terms},
    deadline,
    relay::Escort,
    streams::{Answers, Streams, TRACED_MAX},
    traced::{Call, INFERENCE, Opened},
};

/// Turns messages into questions and answers into messages; nothing else.
#[derive(Clone, Debug)]
pub(crate) struct OpenGrpc {
    desk: Arc<Desk>,
    streams: Streams,
    drain: Drain,
}

impl OpenGrpc {
    pub(crate) fn new(desk: Arc<Desk>, streams: Streams, drain: Drain) -> Self {
        Self { desk, streams, drain }
    }
}

/// The answer to one message.
async fn answer(
    desk: &Arc<Desk>,
    message: wire::ModelInferRequest,
    terms: Terms,
    escort: &Escort,
) -> Result<wire::ModelInferResponse, Status> {
    let model_name = message.model_name.clone();
    let (mut asked, raw) = parse(message).map_err(|error| refused(desk, &model_name, error))?;
    let answered = infer(desk, &mut asked, terms, escort).await?;
    let mut response = wire::ModelInferResponse {
        model_version: answered.revision.to_string(),
        model_name,
        id: asked.id,
        ..wire::ModelInferResponse::default()
    };
    let classes = Classes::from(&answered);
    outputs::put(&mut response, &asked.outputs, &answered.answers, classes, raw);
    Ok(response)
}

/// What Triton calls the last answer to one message of a stream: here each message has one.
const FINAL: &str = "triton_final_response";

/// What a stream says to the message `id`: an error ends no stream.
fn streamed(
    id: String,
    answered: Result<wire::ModelInferResponse, Status>,
) -> wire::ModelStreamInferResponse {
    let (mut response, error_message) = match answered {
        Ok(response) => (response, String::new()),
        Err(status) => {
            let response = wire::ModelInferResponse { id, ..wire::ModelInferResponse::default() };
            (response, status.message().to_owned())
        }
    };
    let parameter_choice = Some(wire::infer_parameter::ParameterChoice::BoolParam(true));
    response.parameters.insert(FINAL.to_owned(), wire::InferParameter { parameter_choice });
    wire::ModelStreamInferResponse { error_message, infer_response: Some(response) }
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
        let (desk, terms) = (&self.desk, Terms::new(since, deadline));
        let answered = answer(desk, request.into_inner(), terms, &escort).await;
        Ok(Response::new(opened.grpc(answered)?))
    }

    type ModelStreamInferStream = Answers<wire::ModelStreamInferResponse>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<wire::ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let escort = Escort::of(request.metadata());
        let desk = Arc::clone(&self.desk);
        let answers = self.streams.serve(request.into_inner(), move |message, before| {
            let since = Instant::now();
            let (desk, escort) = (Arc::clone(&desk), escort.clone());
            async move {
                let (escort, opened) = if before < TRACED_MAX {
                    desk.open(escort, Call::Grpc(INFERENCE, "ModelStreamInfer"), since)
                } else {
                    (escort, Opened::nothing())
                };
                let id = message.id.clone();
                let answered = answer(&desk, message, Terms::of_stream(since), &escort).await;
                Ok(streamed(id, opened.grpc(answered)))
            }
        })?;
        Ok(Response::new(answers))
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
