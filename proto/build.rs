//! Generates the gRPC code from the `.proto` files, without `protoc`.

use std::{env, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "sensemble/v1/serving.proto",
        "sensemble/v1/control.proto",
        "sensemble/v1/fleet.proto",
        "sensemble/v1/training.proto",
        "sensemble/v1/admin.proto",
        "inference/inference.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("sensemble.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".sensemble.v1")
        .bytes(".inference")
        .btree_map(".inference")
        .extern_path(".sensemble.v1.PredictRequest", "crate::packed::PredictRequest")
        .extern_path(".sensemble.v1.PredictBatchRequest", "crate::packed::PredictBatchRequest")
        .compile_fds(descriptors)?;
    // Apart from the others: it is no service of ours, and reflection does not show it.
    let collector = protox::compile(["otlp/trace.proto"], ["proto"])?;
    tonic_prost_build::configure().bytes(".opentelemetry").compile_fds(collector)?;
    Ok(())
}
