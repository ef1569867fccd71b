//! Settings of a tenant, as far as they are named.

use std::time::Duration;

use jeton_wire::pb::admin_v1::TenantSettings;

/// Settings to be: on a new tenant, what isn't named has its default; on an existing one it stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SettingsChange(TenantSettings);

impl SettingsChange {
    /// Nothing is named yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Grace of families that name none. Default 30 s, at most one hour.
    #[must_use]
    pub fn grace_default(mut self, grace: Duration) -> Self {
        self.0.grace_default_ms = Some(millis(grace));
        self
    }

    /// Longest absolute lifetime that a family may ask for. Default and most 400 days.
    #[must_use]
    pub fn family_lifetime_max(mut self, lifetime: Duration) -> Self {
        self.0.family_lifetime_max_ms = Some(millis(lifetime));
        self
    }

    /// Idle lifetime of families that name none. Default 30 days.
    #[must_use]
    pub fn idle_default(mut self, idle: Duration) -> Self {
        self.0.idle_default_ms = Some(millis(idle));
        self
    }

    /// Longest access token that the tenant issues. Default 24 h, at most 30 days.
    #[must_use]
    pub fn access_ttl_max(mut self, ttl: Duration) -> Self {
        self.0.access_ttl_max_ms = Some(millis(ttl));
        self
    }

    /// How many rotations of one family may come at once. Default 16, at least 1.
    #[must_use]
    pub fn rotation_burst(mut self, burst: u32) -> Self {
        self.0.rotation_burst = Some(burst);
        self
    }

    /// How many rotations of one family a second are sustained. Default 1; 0: no limit.
    #[must_use]
    pub fn rotations_per_s(mut self, rotations: u32) -> Self {
        self.0.rotations_per_s = Some(rotations);
        self
    }

    /// Shadow mode: reuse raises its event, and revokes nothing. Default off.
    #[must_use]
    pub fn shadow(mut self, shadow: bool) -> Self {
        self.0.shadow = Some(shadow);
        self
    }

    /// Soft quota: beyond so many rows of families creations are flagged, none is refused. Default
    /// 0: none.
    #[must_use]
    pub fn families_max_soft(mut self, families: u64) -> Self {
        self.0.families_max_soft = Some(families);
        self
    }

    /// How many generations behind its head a new family of opaque tokens remembers. Default 4,096;
    /// 16 to 65,536.
    #[must_use]
    pub fn ancestors_max(mut self, generations: u32) -> Self {
        self.0.ancestors_max = Some(generations);
        self
    }

    pub(super) fn encode(&self) -> TenantSettings {
        self.0
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
