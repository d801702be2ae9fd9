//! The floor: a tonic server that reads a request of the protocol and answers with nothing.

use std::net::SocketAddr;

use benches::folder::Fault;
use proto::inference::{
    ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse,
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
    ModelStatisticsRequest, ModelStatisticsResponse, ModelStreamInferResponse,
    RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
    grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
};
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream, transport::Server};

/// Answers until the process is killed.
pub(crate) fn serve(address: SocketAddr) -> Result<(), Fault> {
    // As many threads as a serving worker has; they share the core that the process is given.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let service =
        GrpcInferenceServiceServer::new(Empty).max_decoding_message_size(proto::MESSAGE_BYTES_MAX);
    let server = Server::builder().tcp_nodelay(true).add_service(service).serve(address);
    Ok(runtime.block_on(server)?)
}

struct Empty;

/// What nobody asks of it.
fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("only ModelInfer is answered"))
}

#[tonic::async_trait]
impl GrpcInferenceService for Empty {
    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        drop(request);
        Ok(Response::new(ModelInferResponse::default()))
    }

    type ModelStreamInferStream = BoxStream<ModelStreamInferResponse>;

    async fn model_stream_infer(
        &self,
        _: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        absent()
    }

    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        absent()
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        absent()
    }

    async fn model_ready(
        &self,
        _: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        absent()
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        absent()
    }

    async fn model_metadata(
        &self,
        _: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        absent()
    }

    async fn model_config(
        &self,
        _: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        absent()
    }

    async fn model_statistics(
        &self,
        _: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        absent()
    }

    async fn repository_index(
        &self,
        _: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        absent()
    }

    async fn repository_model_load(
        &self,
        _: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        absent()
    }

    async fn repository_model_unload(
        &self,
        _: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        absent()
    }
}
