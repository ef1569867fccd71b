//! What the node says of itself, as metrics.

use jeton_raft::Status;

use super::list;
use super::page::Page;

/// All of it.
pub(super) fn show(page: &mut Page, status: &Status) {
    consensus(page, status);
    members(page, status);
    commands(page, status);
    storage(page, status);
}

fn consensus(page: &mut Page, status: &Status) {
    page.one(&list::NODE, status.node);
    page.one(&list::LEADER, status.leader.unwrap_or(0));
    page.one(&list::IS_LEADER, u8::from(status.leader == Some(status.node)));
    page.one(&list::TERM, status.term);
    page.one(&list::LAST_LOG, status.last_log);
    page.one(&list::COMMITTED, status.committed);
    page.one(&list::APPLIED, status.applied);
}

fn members(page: &mut Page, status: &Status) {
    let voters = status.members.iter().filter(|member| member.voter).count();
    page.one(&list::VOTERS, voters);
    page.one(&list::LEARNERS, status.members.len() - voters);
    let leads = status.leader == Some(status.node);
    page.begin(&list::LAG);
    for member in status.members.iter().filter(|_| leads) {
        if let Some(lag) = member.lag {
            page.sample(&list::LAG, &[&member.id.to_string()], lag);
        }
    }
    page.begin(&list::REACHABLE);
    for member in status.members.iter().filter(|_| leads) {
        if let Some(reachable) = member.reachable {
            page.sample(&list::REACHABLE, &[&member.id.to_string()], u8::from(reachable));
        }
    }
    page.begin(&list::CLOCK_SKEW);
    if let Some(ms) = status.clock_skew_ms {
        page.sample(&list::CLOCK_SKEW, &[], ms as f64 / 1_000.0);
    }
}

fn commands(page: &mut Page, status: &Status) {
    page.one(&list::BATCHES, status.batches);
    page.one(&list::COMMANDS, status.commands);
    page.one(&list::COMMANDS_APPLIED, status.commands_applied);
    page.one(&list::WAITING, status.waiting);
    page.one(&list::COLLAPSED, status.collapsed);
    page.one(&list::READ_ROUNDS, status.read_rounds);
}

fn storage(page: &mut Page, status: &Status) {
    page.one(&list::LOG_SYNCS, status.log.syncs);
    page.one(&list::LOG_ENTRIES, status.log.entries);
    page.one(&list::LOG_BYTES, status.log.bytes);
    page.one(&list::LOG_SEGMENTS, status.log.segments);
    page.one(&list::LOG_CACHE, status.log.cache_bytes);
    page.one(&list::LOG_FULL, u8::from(status.log.full));
    page.one(&list::OVERLAY, status.overlay_bytes);
    page.one(&list::CHECKPOINT, status.checkpoint);
    let (index, bytes) = status.base.unwrap_or_default();
    page.one(&list::BASE_INDEX, index);
    page.one(&list::BASE_BYTES, bytes);
    page.one(&list::BASES, status.bases);
    page.one(&list::BASE_TIME, status.base_time.as_secs_f64());
}
