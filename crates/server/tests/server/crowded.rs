//! More revocations by what is known than may be swept at once: the node makes the next one wait,
//! and nobody has to come again.

use bytes::Bytes;
use futures::future::join_all;
use jeton_wire::Failure;
use jeton_wire::pb::v1;
use tonic::{Code, Status};

use crate::rig::{Rig, TENANT, config, creation, soon, within};

/// Enough for a walk of many entries, one row each.
const FAMILIES: u32 = 1_500;
/// Predicates that may be active in a tenant.
const ROOM: u32 = 64;

/// Sixteen bytes for more numbers than a byte has.
fn id(space: u8, number: u32) -> Bytes {
    let mut bytes = [space; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

fn request(space: u8, number: u32) -> Option<v1::RequestName> {
    Some(v1::RequestName { id: id(space, number), ..Default::default() })
}

/// The revocation of an office of its own.
fn office(number: u32) -> v1::RevokeWhereRequest {
    v1::RevokeWhereRequest {
        tenant: TENANT.to_owned(),
        request: request(2, number),
        ip: format!("10.{number}.0.0/16"),
        ..v1::RevokeWhereRequest::default()
    }
}

async fn families(rig: &Rig) {
    let made = (0..FAMILIES).map(|number| {
        let mut tokens = rig.tokens();
        let create = v1::CreateFamilyRequest {
            request: request(1, number),
            family_id: id(1, number),
            ..creation(1)
        };
        async move { tokens.create_family(soon(create)).await }
    });
    for made in join_all(made).await {
        made.expect("a family");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_room_waits_as_long_as_its_deadline_allows() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(dir.path());
    config.revocation_step_rows = 1;
    let rig = Rig::start_with(dir, config).await;
    rig.create_tenant().await;
    families(&rig).await;
    let revoke = async |asked| rig.revocations().revoke_where(asked).await;
    let first = join_all((0..ROOM).map(|number| revoke(soon(office(number))))).await;
    first.into_iter().collect::<Result<Vec<_>, Status>>().expect("there is room for these");

    // Less time than it takes until the node would ask again. On a machine that is too busy to tell
    // it in time, its time is over; it never gets in.
    let hurried = revoke(within(office(ROOM), "340m")).await.expect_err("no room yet");
    let failure = Failure::from(&hurried);
    match hurried.code() {
        Code::DeadlineExceeded | Code::Cancelled => {}
        code => {
            assert_eq!((code, &*failure.reason), (Code::ResourceExhausted, "SWEEPS_PENDING"));
            assert!(failure.retry_after.is_some() && failure.not_executed, "{failure:?}");
        }
    }

    // The same request with time enough, and another one beside it.
    let waited = join_all([office(ROOM), office(ROOM + 1)].map(|asked| revoke(soon(asked)))).await;
    for told in waited {
        let told = told.expect("room, when a walk is through").into_inner();
        assert!(told.position > 0, "{told:?}");
    }
    rig.stop().await;
}
