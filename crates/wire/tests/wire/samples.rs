//! One good value of everything.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jeton_core::access::AccessClaims;
use jeton_core::command::{
    Binding, CapPolicy, CapScope, Command, Consume, CreateFamily, CreateSession, Criteria,
    EndSession, Except, FamilyCap, Losers, Operation, Origin, Presented, PresentedToken,
    RequestName, RequireReauthentication, Resume, RevokeAccessToken, RevokeFamily, RevokeToken,
    RevokeWhere, Rotate, Suspend, Suspendable, Touch, TouchSession, UpdateFamily,
};
use jeton_core::ids::{
    ClientId, DeviceId, DurationMs, FamilyId, Generation, Jti, KeyDigest, Kid, Mac, Position,
    RecordKind, RequestId, SecretDigest, SessionId, SubjectId, TenantId, UnixMs,
};
use jeton_core::read::{FamilyCursor, FamilyQuery};
use jeton_wire::decode::{Asked, Consistency, Query, Read, Write};
use jeton_wire::listing::PageAsked;
use jeton_wire::session::Query as SessionQuery;

pub fn tenant() -> TenantId {
    TenantId::new("acme").expect("a good id")
}

pub fn client() -> ClientId {
    ClientId::new("web-app").expect("a good id")
}

pub fn device() -> DeviceId {
    DeviceId::new("téléphone").expect("a good id")
}

pub fn subject() -> SubjectId {
    SubjectId::new("alice").expect("a good id")
}

pub fn session() -> SessionId {
    SessionId::new("08a5019c-17e1-4977-8f42-65a12843ea02").expect("a good id")
}

pub fn token() -> PresentedToken {
    PresentedToken {
        kid: Kid(3),
        family: FamilyId([7; 16]),
        generation: Generation(41),
        digest: SecretDigest([9; 16]),
    }
}

pub fn binding() -> Binding {
    Binding { jkt: Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into()), x5t_s256: None }
}

fn write(operation: Operation, mac: Option<Mac>) -> Asked {
    let request = RequestName { id: RequestId([1; 16]), age: DurationMs(250) };
    let command = Command { tenant: Some(tenant()), request: Some(request), operation };
    Asked::Write(Write { command, mac, part_macs: Vec::new() })
}

pub fn rotate() -> Asked {
    let rotate = Rotate {
        token: token().into(),
        successor: SecretDigest([11; 16]),
        seal: Bytes::from_static(b"sealed"),
        losers: Losers::Replay,
        client: client(),
        binding: binding(),
        origin: Origin { device: Some(device()), ip: Some("2001:db8::1".into()) },
    };
    write(Operation::Rotate(Box::new(rotate)), Some(Mac([13; 16])))
}

pub fn create_family() -> Asked {
    let create = CreateFamily {
        family: FamilyId([7; 16]),
        digest: SecretDigest([9; 16]),
        opaque: true,
        subject: subject(),
        client: client(),
        device: Some(device()),
        binding: binding(),
        ip: Some("192.0.2.1".into()),
        attributes: vec![("region".into(), "eu".into()), ("ua".into(), "".into())],
        payload: Bytes::from_static(b"\0payload"),
        lifetime: Some(DurationMs(1_000)),
        idle: None,
        grace: Some(DurationMs(0)),
        authenticated_at: Some(Position(77)),
        cap: Some(FamilyCap {
            max: 3,
            scope: CapScope::SubjectClient,
            policy: CapPolicy::EvictOldest,
        }),
        session: Some(session()),
        code: Some(Box::new(Consume {
            kind: RecordKind::new("code").expect("a good name"),
            key: KeyDigest([5; 16]),
            preconditions: Vec::new(),
            guesser: None,
            family: None,
            revoke_on_replay: true,
        })),
    };
    write(Operation::CreateFamily(Box::new(create)), None)
}

pub fn update_family() -> Asked {
    let update = UpdateFamily {
        family: FamilyId([7; 16]),
        version: 5,
        attributes: Some(Vec::new()),
        payload: None,
        grace: Some(DurationMs(10)),
    };
    write(Operation::UpdateFamily(Box::new(update)), None)
}

pub fn validate() -> Asked {
    let query = Query::Validate {
        token: token().into(),
        mac: Some(Mac([13; 16])),
        client: Some(client()),
        binding: binding(),
    };
    Asked::Read(Read { tenant: tenant(), query, consistency: Consistency::AtLeast(Position(8)) })
}

pub fn get_family() -> Asked {
    let query = Query::Family(FamilyId([7; 16]));
    let consistency = Consistency::Bounded(Duration::from_millis(500));
    Asked::Read(Read { tenant: tenant(), query, consistency })
}

pub fn revoke_where(whole_tenant: bool) -> Asked {
    let matching = Criteria {
        subject: (!whole_tenant).then(subject),
        device: (!whole_tenant).then(device),
        session: (!whole_tenant).then(session),
        ..Criteria::default()
    };
    let reason = Some("stolen".into());
    let revoke = RevokeWhere { matching, except: Except::default(), reason };
    write(Operation::RevokeWhere(Box::new(revoke)), None)
}

fn criteria() -> Criteria {
    Criteria {
        region: Some("eu".into()),
        ip: Some("10.0.0.0/8".parse().expect("a range")),
        attributes: vec![("os".into(), "linux".into()), ("ua".into(), "curl".into())],
        created_before: Some(UnixMs(1_800_000_000_000)),
        ..Criteria::default()
    }
}

fn except() -> Except {
    Except { families: vec![FamilyId([7; 16]), FamilyId([8; 16])], sessions: vec![session()] }
}

pub fn revoke_by_predicate() -> Asked {
    let revoke = RevokeWhere { matching: criteria(), except: except(), reason: None };
    write(Operation::RevokeWhere(Box::new(revoke)), None)
}

pub fn dry_run() -> Asked {
    let query = Query::Matching(Box::new((criteria(), except())));
    Asked::Read(Read { tenant: tenant(), query, consistency: Consistency::Linearizable })
}

pub fn get_revocation() -> Asked {
    let query = Query::Revocation(Position(77));
    Asked::Read(Read { tenant: tenant(), query, consistency: Consistency::Linearizable })
}

pub fn opaque() -> Presented {
    Presented::Opaque(SecretDigest([21; 16]))
}

/// Rotates an opaque token, without a seal.
pub fn adopt() -> Asked {
    let rotate = Rotate {
        token: opaque(),
        successor: SecretDigest([22; 16]),
        seal: Bytes::new(),
        losers: Losers::Adopt,
        client: client(),
        binding: Binding::default(),
        origin: Origin::default(),
    };
    write(Operation::Rotate(Box::new(rotate)), None)
}

fn family_of(token: Presented, mac: Option<Mac>) -> Asked {
    let query = Query::FamilyOf { token, mac };
    Asked::Read(Read { tenant: tenant(), query, consistency: Consistency::Linearizable })
}

pub fn families() -> FamilyQuery {
    FamilyQuery {
        subject: Some(subject()),
        client: Some(client()),
        device: None,
        session: Some(SessionId::new("sid-1").expect("a good id")),
        attributes: vec![("region".into(), "eu".into())],
        include_dead: true,
    }
}

pub fn list_families() -> Asked {
    let after = FamilyCursor { created: Position(u64::MAX - 1), family: FamilyId([7; 16]) };
    let asked = PageAsked { query: families(), after: Some(after), families_max: 1_000 };
    let query = Query::Families(asked);
    Asked::Read(Read { tenant: tenant(), query, consistency: Consistency::AtLeast(Position(8)) })
}

pub fn count_families() -> Asked {
    let query = Query::FamilyCount(families());
    Asked::Read(Read { tenant: tenant(), query, consistency: Consistency::Linearizable })
}

pub fn revoke_access_token() -> Asked {
    let revoke = RevokeAccessToken {
        jti: Jti::new("jti-1").expect("a good id"),
        client: client(),
        expires_at: Some(UnixMs(60_000)),
    };
    write(Operation::RevokeAccessToken(revoke), None)
}

pub fn check_access() -> Asked {
    let all = AccessClaims {
        jti: Some(Jti::new("jti-1").expect("a good id")),
        subject: Some(subject()),
        client: Some(client()),
        device: Some(device()),
        session: Some(SessionId::new("sid-1").expect("a good id")),
        family: Some(FamilyId([7; 16])),
        position: Some(Position(0)),
        issued_at: Some(UnixMs(5)),
    };
    let query = Query::Access(vec![all, AccessClaims::default()]);
    Asked::Read(Read { tenant: tenant(), query, consistency: Consistency::Linearizable })
}

pub fn create_session() -> Asked {
    let create = CreateSession {
        session: session(),
        subject: subject(),
        device: Some(device()),
        attributes: vec![("acr".into(), "2".into())],
        payload: Bytes::from_static(b"payload"),
        lifetime: Some(DurationMs(1_000)),
        idle: None,
        authenticated_at: Some(Position(77)),
    };
    write(Operation::CreateSession(Box::new(create)), None)
}

pub fn touch_session() -> Asked {
    let touch = TouchSession {
        session: session(),
        version: Some(3),
        attributes: Some(Vec::new()),
        payload: None,
    };
    write(Operation::TouchSession(Box::new(touch)), None)
}

pub fn end_session() -> Asked {
    let reason = Some("by the user".into());
    write(Operation::EndSession(EndSession { session: session(), reason }), None)
}

pub fn suspend(what: Suspendable) -> Asked {
    write(Operation::Suspend(Suspend { what, reason: Some("fraud".into()) }), None)
}

pub fn reauthenticate() -> Asked {
    let require = RequireReauthentication { subject: subject(), reason: None };
    write(Operation::RequireReauthentication(require), None)
}

fn about_sessions(query: SessionQuery) -> Asked {
    let (query, consistency) = (Query::Session(query), Consistency::Linearizable);
    Asked::Read(Read { tenant: tenant(), query, consistency })
}

pub fn get_session() -> Asked {
    about_sessions(SessionQuery::One(session()))
}

pub fn list_sessions() -> Asked {
    let (subject, ended, after) = (subject(), true, Some(session()));
    about_sessions(SessionQuery::Of { subject, ended, after, rows_max: 7 })
}

pub fn list_session_clients() -> Asked {
    let (session, after) = (session(), Some(client()));
    about_sessions(SessionQuery::Clients { session, after, rows_max: 1_000 })
}

/// One of each operation.
pub fn all() -> Vec<Asked> {
    let reason: Option<Arc<str>> = Some("by the user".into());
    let mac = Some(Mac([13; 16]));
    vec![
        rotate(),
        create_family(),
        update_family(),
        validate(),
        get_family(),
        list_families(),
        adopt(),
        family_of(opaque(), None),
        family_of(token().into(), mac),
        write(Operation::Touch(Touch { token: opaque() }), None),
        write(Operation::RevokeToken(RevokeToken { token: opaque(), client: client() }), None),
        count_families(),
        revoke_where(false),
        revoke_where(true),
        revoke_by_predicate(),
        dry_run(),
        get_revocation(),
        revoke_access_token(),
        check_access(),
        create_session(),
        touch_session(),
        end_session(),
        get_session(),
        list_sessions(),
        list_session_clients(),
        suspend(Suspendable::Subject(subject())),
        suspend(Suspendable::Client(client())),
        suspend(Suspendable::Family(FamilyId([7; 16]))),
        write(Operation::Resume(Resume { what: Suspendable::Tenant }), None),
        reauthenticate(),
        write(Operation::Touch(Touch { token: token().into() }), mac),
        write(Operation::RevokeToken(RevokeToken { token: token().into(), client: client() }), mac),
        write(Operation::RevokeFamily(RevokeFamily { family: FamilyId([7; 16]), reason }), None),
    ]
    .into_iter()
    .chain(crate::locks::all())
    .collect()
}

/// Changes a request. A function, so that what changes it knows its type.
pub fn spoil<R>(request: &mut R, how: impl FnOnce(&mut R)) {
    how(request);
}
