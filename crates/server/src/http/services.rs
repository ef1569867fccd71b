//! All unary methods of the API, as their descriptors tell: each has a path, without a line of code
//! of its own here.
//!
//! ```text
//!  jeton.v1.TokenService.Rotate             /v1/TokenService/Rotate
//!  jeton.admin.v1.ClusterService.GetStatus  /admin/v1/ClusterService/GetStatus
//! ```

use std::collections::BTreeMap;

use jeton_wire::DESCRIPTORS;
use prost_reflect::{DescriptorPool, MethodDescriptor};

/// What all packages of the API begin with.
const OWN: &str = "jeton.";

/// Paths and the methods behind them, sorted.
pub(super) fn methods() -> BTreeMap<String, MethodDescriptor> {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the build wrote these descriptors");
    let mut methods = BTreeMap::new();
    for service in pool.services() {
        let Some(package) = service.package_name().strip_prefix(OWN) else { continue };
        for method in service.methods() {
            // Streams need gRPC.
            if method.is_client_streaming() || method.is_server_streaming() {
                continue;
            }
            let folder = package.replace('.', "/");
            let path = format!("/{folder}/{}/{}", service.name(), method.name());
            methods.insert(path, method);
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unary_methods_have_paths_and_streams_have_none() {
        let methods = methods();
        let input = |path: &str| methods[path].input().full_name().to_owned();
        assert_eq!(input("/v1/TokenService/Rotate"), "jeton.v1.RotateRequest");
        let status = "/admin/v1/ClusterService/GetStatus";
        assert_eq!(input(status), "jeton.admin.v1.GetStatusRequest");
        assert!(!methods.keys().any(|path| path.contains("Pipeline")), "{:?}", methods.keys());
    }
}
