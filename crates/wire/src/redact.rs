//! How messages with secrets print: without them. Digests, macs, seals and payloads never reach a
//! log, whoever writes `{:?}`.

use std::fmt;

use crate::pb::v1;

macro_rules! prints_only {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl fmt::Debug for v1::$name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    )*};
}

prints_only! {
    PresentedToken { kid, family_id, generation }
    Successor {}
    IssuedToken { family_id, generation, kid, expires_at_unix_ms, idle_expires_at_unix_ms }
    ReplayedToken { token }
    CreateFamilyRequest { tenant, request, family_id, client, lifetime_ms, idle_ms, grace_ms }
    UpdateFamilyRequest { tenant, request, family_id, version, grace_ms }
    CreateSessionRequest { tenant, request, lifetime_ms, idle_ms }
    TouchSessionRequest { tenant, request, version }
    Session { version, clients, created_position, dead }
    Family { family_id, client, version, generation, created_position, dead }
    PublishRequest { tenant, request, lease, ttl_ms, release }
    FlightResult { fence }
    Precondition { name }
    Consumption { kind, revoke_on_replay }
    PutRecordRequest { tenant, request, kind, lifetime_ms, family_id }
    Record { kind, version, created_position, expired, family_id }
    GetRecordRequest { tenant, kind, consistency }
    FindRecordsRequest { tenant, kind, page_size, consistency }
    RecordPage {}
    LookUpRecordRequest { tenant, request, kind }
    DeleteRecordRequest { tenant, request, kind, version }
    DeleteRecordsRequest { tenant, request, kind }
    ConsumedRecord { created_at_unix_ms, origin_position }
    RecordKey { kind }
    RecordAtVersion { kind, version }
    SeenOnceRequest { tenant, request, kind, expires_at_unix_ms }
}
