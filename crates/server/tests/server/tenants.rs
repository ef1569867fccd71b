//! Operators who change one tenant at the same time, and repeat themselves.

use jeton_wire::Failure;
use jeton_wire::pb::admin_v1 as admin;
use tonic::{Code, Status};

use crate::rig::{Rig, TENANT, id, soon};

/// A change of the tenant under request `number`.
async fn set(
    rig: &Rig,
    number: u8,
    version: Option<u64>,
    settings: admin::TenantSettings,
) -> Result<admin::Tenant, Status> {
    let request = admin::SetTenantRequest {
        tenant: TENANT.into(),
        request_id: id(number),
        version,
        settings: Some(settings),
        age_ms: 0,
    };
    let set = rig.tenants().set_tenant(soon(request)).await?.into_inner();
    Ok(set.tenant.expect("a tenant"))
}

fn grace(ms: u64) -> admin::TenantSettings {
    admin::TenantSettings { grace_default_ms: Some(ms), ..admin::TenantSettings::default() }
}

fn burst(rotations: u32) -> admin::TenantSettings {
    admin::TenantSettings { rotation_burst: Some(rotations), ..admin::TenantSettings::default() }
}

fn seen(tenant: &admin::Tenant) -> (u64, Option<u64>, Option<u32>) {
    let settings = tenant.settings.as_ref().expect("settings");
    (tenant.version, settings.grace_default_ms, settings.rotation_burst)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_change_is_made_once_though_others_came_in_between() {
    let rig = Rig::start().await;
    let first = set(&rig, 1, None, grace(1_000)).await.expect("set");
    assert_eq!(seen(&first), (2, Some(1_000), Some(16)));
    set(&rig, 2, None, burst(3)).await.expect("set by another");
    set(&rig, 3, None, grace(7_000)).await.expect("set by another");
    // Applied a second time, it would undo the last change.
    let again = set(&rig, 1, None, grace(1_000)).await.expect("the same request");
    assert_eq!(seen(&again), (4, Some(7_000), Some(3)), "the tenant as it is now");
    let other = set(&rig, 1, None, grace(2_000)).await.expect_err("another request");
    assert_eq!(Failure::from(&other).reason, "NAME_REUSED");

    let mismatch = set(&rig, 4, Some(3), burst(5)).await.expect_err("it is at 4");
    assert_eq!(mismatch.code(), Code::Aborted);
    let named = set(&rig, 5, Some(4), burst(5)).await.expect("set");
    assert_eq!(seen(&named), (5, Some(7_000), Some(5)));
    let repeated = set(&rig, 5, Some(4), burst(5)).await.expect("the same request");
    assert_eq!(seen(&repeated), (5, Some(7_000), Some(5)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_does_not_exist_can_not_be_changed() {
    let rig = Rig::start().await;
    let request = admin::SetTenantRequest {
        tenant: "nobody".into(),
        request_id: id(1),
        settings: Some(grace(1_000)),
        ..admin::SetTenantRequest::default()
    };
    let status = rig.tenants().set_tenant(soon(request)).await.expect_err("no such tenant");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    assert!(Failure::from(&status).not_executed);
    rig.stop().await;
}
