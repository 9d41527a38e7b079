//! Which service answers which path.

use remex::{
    FILE_DESCRIPTOR_SET,
    v1::{echo_service_server::EchoServiceServer, exec_service_server::ExecServiceServer},
};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tonic_reflection::{
    pb::{v1, v1alpha},
    server::Builder,
};

use crate::{
    audit::AuditLog,
    observed::Observed,
    service::{echo::EchoHandler, exec::ExecHandler, run::ExecServer},
    traces::Traces,
};

/// Largest request in bytes: a command of the kernel's 2 MiB, and as much of stdin.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// A service that takes requests of up to [`MAX_REQUEST_BYTES`], compressed or not. That is the
/// bound on what they unpack to, too.
macro_rules! compressed {
    ($service:expr) => {
        $service
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
            .accept_compressed(tonic::codec::CompressionEncoding::Zstd)
    };
}

/// The calls whose requests are streams: between two of their messages may lie any time.
const STREAMING: [&str; 4] = [
    "/remex.v1.ExecService/Interact",
    "/remex.v1.EchoService/EchoStream",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Whether the request of a call of `path` is a stream.
pub(super) fn is_streaming(path: &str) -> bool {
    STREAMING.contains(&path)
}

/// Whether a call of `path` is one of remex's own API, which asks the policy itself.
pub(super) fn is_own(path: &str) -> bool {
    path.starts_with("/remex.v1.")
}

/// remex's own services, as the gateway gets them in this process. Their calls are told in `audit` and `traces`.
pub fn own(exec: ExecHandler, audit: &AuditLog, traces: &Traces) -> Routes {
    let echo = EchoHandler::new(exec.gate().clone());
    let exec = ExecServer::new(compressed!(ExecServiceServer::new(exec)));
    let echo = compressed!(EchoServiceServer::new(echo));
    let exec = Observed::new(exec, audit.clone());
    let echo = Observed::new(echo, audit.clone());
    Routes::new(Observed::new(exec, traces.clone()))
        .add_service(Observed::new(echo, traces.clone()))
        .prepare()
}

/// All services: remex's own, health, and reflection in both versions. The reporter says whether they serve.
pub async fn all(
    exec: ExecHandler,
    audit: &AuditLog,
    traces: &Traces,
) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let health = Observed::new(compressed!(health), audit.clone());
    serve(&reporter, true).await;
    // Each version knows itself; it is to list the other too.
    let reflection = |other| {
        Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // With it grpcurl shows the details of an error, else their bytes in base64.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(other)
    };
    let v1 = compressed!(reflection(v1alpha::FILE_DESCRIPTOR_SET).build_v1()?);
    let v1alpha = compressed!(reflection(v1::FILE_DESCRIPTOR_SET).build_v1alpha()?);
    let routes = own(exec, audit, traces)
        .add_service(health)
        .add_service(Observed::new(v1, audit.clone()))
        .add_service(Observed::new(v1alpha, audit.clone()))
        .prepare();
    Ok((routes, reporter))
}

/// Tells health checks whether the services serve.
pub async fn serve(reporter: &HealthReporter, serving: bool) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    let status = if serving { Serving } else { NotServing };
    for service in ["", "remex.v1.ExecService", "remex.v1.EchoService"] {
        reporter.set_service_status(service, status).await;
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn the_calls_that_stream_are_those_of_the_descriptors() {
        let mut found = Vec::new();
        for set in [
            FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            v1::FILE_DESCRIPTOR_SET,
            v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                for service in &file.service {
                    let streaming = service.method.iter().filter(|call| call.client_streaming());
                    let (package, service) = (file.package(), service.name());
                    found.extend(
                        streaming.map(|call| format!("/{package}.{service}/{}", call.name())),
                    );
                }
            }
        }
        assert_eq!(found.len(), STREAMING.len(), "{found:?}");
        assert!(found.iter().all(|path| is_streaming(path)), "{found:?}");
    }
}
