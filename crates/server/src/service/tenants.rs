//! `TenantService`: tenants, their settings and keys, for operators.

use std::sync::Arc;

use jeton_core::command::{Command, KeyMaterial};
use jeton_core::ids::TenantId;
use jeton_core::read;
use jeton_core::reply::{Done, Refusal, Reply, TenantView};
use jeton_raft::Consistency;
use jeton_wire::check::{self, Violation};
use jeton_wire::pb::admin_v1 as pb;
use jeton_wire::pb::admin_v1::tenant_service_server::TenantService;
use jeton_wire::{Failure, admin, refusal, reply};
use tokio::time::Instant;
use tonic::{Request, Response, Status, async_trait};

use crate::deadline;
use crate::desk::{Desk, unreadable};
use crate::failures;

/// Rows of a page when no size is asked for.
const PAGE_DEFAULT: u32 = 100;

/// See the module.
pub(crate) struct Tenants(pub(crate) Arc<Desk>);

impl Tenants {
    /// Proposes a command; refusals become failures, since these responses have no room for them.
    async fn propose(&self, command: Command, deadline: Instant) -> Result<(Reply, Done), Failure> {
        let replied = self.0.node.propose(command, deadline).await;
        let reply = replied.map_err(|error| failures::of_proposal(&error, self.0.leader()))?;
        match reply.outcome.clone() {
            Ok(done) => Ok((reply, done)),
            Err(refused) => Err(refusal::failure(refused)),
        }
    }

    async fn barrier(&self, consistency: Consistency, deadline: Instant) -> Result<(), Failure> {
        let point = self.0.node.read_point(consistency, deadline).await;
        point.map(|_| ()).map_err(|error| failures::of_read(&error, self.0.leader()))
    }

    /// The tenant as it is, at `consistency` or later.
    async fn see(
        &self,
        name: &str,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<TenantView, Failure> {
        let tenant = check::tenant(name)?;
        self.barrier(consistency, deadline).await?;
        let view = self.0.node.view(|tables, _| read::tenant(tables, &tenant));
        view.map_err(|error| unreadable(&error))?
            .ok_or_else(|| refusal::failure(Refusal::TenantUnknown))
    }

    /// The tenant as a change that took effect has left it, or as it is by now.
    async fn see_changed(
        &self,
        name: &str,
        reply: &Reply,
        deadline: Instant,
    ) -> Result<TenantView, Failure> {
        let seen = self.see(name, Consistency::AtLeast(reply.position), deadline).await;
        seen.map_err(|why| failures::unshown(&why))
    }

    async fn create(
        &self,
        r: &pb::CreateTenantRequest,
        deadline: Instant,
    ) -> Result<pb::CreateTenantResponse, Failure> {
        let (reply, _) = self.propose(admin::create_tenant(r, key()?)?, deadline).await?;
        let view = self.see_changed(&r.tenant, &reply, deadline).await?;
        Ok(pb::CreateTenantResponse { tenant: Some(admin::tenant(&view)) })
    }

    async fn set(
        &self,
        r: &pb::SetTenantRequest,
        deadline: Instant,
    ) -> Result<pb::SetTenantResponse, Failure> {
        let (reply, _) = self.propose(admin::set_tenant(r)?, deadline).await?;
        let view = self.see_changed(&r.tenant, &reply, deadline).await?;
        Ok(pb::SetTenantResponse { tenant: Some(admin::tenant(&view)) })
    }

    async fn list(
        &self,
        r: &pb::ListTenantsRequest,
        deadline: Instant,
    ) -> Result<pb::ListTenantsResponse, Failure> {
        let size = page_size(r.page_size)?;
        let after = match r.page_token.as_str() {
            "" => None,
            token => Some(TenantId::new(token).map_err(|_| {
                Violation::new("page_token", "is none: send the last page's next_page_token")
            })?),
        };
        self.barrier(Consistency::Linearizable, deadline).await?;
        let seen = self.0.node.view(|tables, _| read::tenants(tables, after.as_ref(), size + 1));
        let mut views = seen.map_err(|error| unreadable(&error))?;
        let more = views.len() > size;
        views.truncate(size);
        let next_page_token = match views.last() {
            Some(last) if more => last.tenant.as_str().to_owned(),
            _ => String::new(),
        };
        let tenants = views.iter().map(admin::tenant).collect();
        Ok(pb::ListTenantsResponse { tenants, next_page_token })
    }

    async fn rotate_key(
        &self,
        r: &pb::RotateTenantKeyRequest,
        deadline: Instant,
    ) -> Result<pb::RotateTenantKeyResponse, Failure> {
        match self.propose(admin::rotate_tenant_key(r, key()?)?, deadline).await? {
            (_, Done::TenantKeyRotated { kid }) => {
                Ok(pb::RotateTenantKeyResponse { kid: u32::from(kid.0) })
            }
            _ => Err(reply::bug("the reply does not fit the request")),
        }
    }
}

fn page_size(asked: u32) -> Result<usize, Violation> {
    let max = jeton_core::limits::PAGE_ROWS_MAX;
    match asked {
        0 => Ok(PAGE_DEFAULT as usize),
        size if size > max => {
            Err(Violation::new("page_size", format!("is {size}: the limit is {max}")))
        }
        size => Ok(size as usize),
    }
}

/// Randomness for a new key.
fn key() -> Result<KeyMaterial, Failure> {
    let mut bytes = [0; 32];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(KeyMaterial(bytes)),
        Err(_) => Err(reply::bug("the system gives no randomness").not_executed()),
    }
}

#[async_trait]
impl TenantService for Tenants {
    async fn create_tenant(
        &self,
        request: Request<pb::CreateTenantRequest>,
    ) -> Result<Response<pb::CreateTenantResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        Ok(Response::new(self.create(request.get_ref(), deadline).await?))
    }

    async fn set_tenant(
        &self,
        request: Request<pb::SetTenantRequest>,
    ) -> Result<Response<pb::SetTenantResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        Ok(Response::new(self.set(request.get_ref(), deadline).await?))
    }

    async fn get_tenant(
        &self,
        request: Request<pb::GetTenantRequest>,
    ) -> Result<Response<pb::GetTenantResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        let name = &request.get_ref().tenant;
        let view = self.see(name, Consistency::Linearizable, deadline).await?;
        Ok(Response::new(pb::GetTenantResponse { tenant: Some(admin::tenant(&view)) }))
    }

    async fn list_tenants(
        &self,
        request: Request<pb::ListTenantsRequest>,
    ) -> Result<Response<pb::ListTenantsResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        Ok(Response::new(self.list(request.get_ref(), deadline).await?))
    }

    async fn rotate_tenant_key(
        &self,
        request: Request<pb::RotateTenantKeyRequest>,
    ) -> Result<Response<pb::RotateTenantKeyResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        Ok(Response::new(self.rotate_key(request.get_ref(), deadline).await?))
    }

    async fn mark_key_compromised(
        &self,
        request: Request<pb::MarkKeyCompromisedRequest>,
    ) -> Result<Response<pb::MarkKeyCompromisedResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        let command = admin::mark_key_compromised(request.get_ref()).map_err(Failure::from)?;
        self.propose(command, deadline).await?;
        Ok(Response::new(pb::MarkKeyCompromisedResponse {}))
    }

    async fn set_record_kind(
        &self,
        request: Request<pb::SetRecordKindRequest>,
    ) -> Result<Response<pb::SetRecordKindResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        let command = admin::set_record_kind(request.get_ref()).map_err(Failure::from)?;
        self.propose(command, deadline).await?;
        Ok(Response::new(pb::SetRecordKindResponse {}))
    }

    async fn list_record_kinds(
        &self,
        request: Request<pb::ListRecordKindsRequest>,
    ) -> Result<Response<pb::ListRecordKindsResponse>, Status> {
        let deadline = deadline::of_unary(request.metadata(), Instant::now())?;
        let tenant = self.see(&request.get_ref().tenant, Consistency::Linearizable, deadline);
        let tenant = tenant.await?.tenant;
        let kinds = self.0.node.view(|tables, _| read::record_kinds(tables, &tenant));
        let kinds = kinds.map_err(|error| unreadable(&error))?;
        let kinds = kinds.iter().map(|(kind, settings)| admin::record_kind(kind, settings));
        Ok(Response::new(pb::ListRecordKindsResponse { kinds: kinds.collect() }))
    }
}
