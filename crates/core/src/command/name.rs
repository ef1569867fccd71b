//! What operations are called where people look at a log.

use super::Operation;

impl Operation {
    /// Its name, as in the API or, for maintenance, alike.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateTenant(_) => "create_tenant",
            Self::SetTenant(_) => "set_tenant",
            Self::RotateTenantKey(_) => "rotate_tenant_key",
            Self::MarkKeyCompromised(_) => "mark_key_compromised",
            Self::CreateFamily(_) => "create_family",
            Self::Rotate(_) => "rotate",
            Self::Touch(_) => "touch",
            Self::UpdateFamily(_) => "update_family",
            Self::RevokeFamily(_) => "revoke_family",
            Self::RevokeToken(_) => "revoke_token",
            Self::RevokeWhere(_) => "revoke_where",
            Self::Sweep(_) => "sweep",
            Self::DigestAt => "digest_at",
            Self::RequireReauthentication(_) => "require_reauthentication",
            Self::Acquire(_) => "acquire",
            Self::Renew(_) => "renew",
            Self::Release(_) => "release",
            Self::Publish(_) => "publish",
            Self::Withdraw(_) => "withdraw",
            Self::ExpireLeases(_) => "expire_leases",
            Self::CreateSession(_) => "create_session",
            Self::TouchSession(_) => "touch_session",
            Self::EndSession(_) => "end_session",
            Self::Suspend(_) => "suspend",
            Self::Resume(_) => "resume",
            Self::SetRecordKind(_) => "set_record_kind",
            Self::PutRecord(_) => "put_record",
            Self::LookUpRecord(_) => "look_up_record",
            Self::DeleteRecord(_) => "delete_record",
            Self::DeleteRecords(_) => "delete_records",
            Self::CollectExpired(_) => "collect_expired",
            Self::Consume(_) => "consume",
            Self::SeenOnce(_) => "seen_once",
            Self::RevokeAccessToken(_) => "revoke_access_token",
            Self::Transact(_) => "transact",
            Self::SweepRevocation(_) => "sweep_revocation",
        }
    }
}
