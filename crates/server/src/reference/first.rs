//! Replies that come before an operation's own, since all operations of a sort share them: the same
//! order as in `jeton_wire::decode`, `desk.rs` and the core's `machine.rs`.

/// Reply, when, what changes, and what transcripts show of it: see `shown.rs`.
type Row = (&'static str, &'static str, &'static str, &'static str);

const FIELD: Row = (
    "failure `INVALID_REQUEST`",
    "a field is missing, malformed or beyond its limit; the failure names it",
    "nothing, no log entry",
    "?INVALID_REQUEST ?LIMIT_REACHED",
);
const STALE: Row = (
    "`STALE_REQUEST`",
    "`request.age_ms`, with the time in queues, is above 600,000; or the request began before the \
     tenant was restored from a backup",
    "nothing",
    "",
);
const TENANT: Row = ("`TENANT_UNKNOWN`", "there is no such tenant", "nothing", "");
const NAME: Row = (
    "`NAME_REUSED`",
    "another request came under this `request.id` within the last 20 minutes",
    "nothing",
    "",
);
const AGAIN: Row = (
    "the first answer again",
    "the same request came under this `request.id` within the last 20 minutes",
    "nothing",
    "again",
);
const AGAIN_IF_ALIVE: Row = (
    "`REVOKED`, else the first answer again",
    "the same request succeeded under this `request.id` within the last 20 minutes: `REVOKED` if \
     what it made or changed, or a root of it, has died or been suspended since. A refusal is \
     answered again as it was",
    "nothing",
    "REVOKED again",
);
const FORGED_TENANT: Row = (
    "`TENANT_UNKNOWN`",
    "a native token, and there is no such tenant (this node has caught up before it says so)",
    "nothing, no log entry",
    "node",
);
const FORGED: Row = (
    "`NOT_FOUND`",
    "a native token whose mac is wrong, or of no key of the tenant",
    "nothing, no log entry",
    "node",
);
const FORGED_PART: Row = (
    "refusal `NOT_FOUND`",
    "a native token in either branch is forged",
    "nothing, no log entry",
    "node",
);
const FORGED_UNKNOWN: Row = (
    "`UNKNOWN`",
    "a native token whose mac is wrong, or of no key of the tenant: success (RFC 7009 section 2.2)",
    "nothing, no log entry",
    "node",
);
const FRESH: Row = (
    "failure `NOT_FRESH_ENOUGH`",
    "this node can't read as fresh as `consistency` asks by the deadline",
    "nothing",
    "node",
);
const OPERATOR_STALE: Row = (
    "failure `STALE_REQUEST`",
    "`age_ms`, with the time in queues, is above 600,000",
    "nothing",
    "",
);
const OPERATOR_TENANT: Row =
    ("failure `NOT_FOUND`", "there is no such tenant", "nothing", "TENANT_UNKNOWN");
const OPERATOR_NAME: Row = (
    "failure `NAME_REUSED`",
    "another request came under this `request_id` within the last 20 minutes",
    "nothing",
    "",
);
const OPERATOR_AGAIN: Row = (
    "the first answer again",
    "the same request came under this `request_id` within the last 20 minutes; what it shows is \
     as it is now",
    "nothing",
    "again",
);

/// The rows of a sort; `None` if there is none of that name.
pub(super) fn rows(sort: &str) -> Option<&'static [Row]> {
    Some(match sort {
        // What answers in an order of its own.
        "nothing" => &[],
        "field" => &[FIELD],
        // A mutation that is remembered by its name.
        "named" => &[FIELD, STALE, TENANT, NAME, AGAIN],
        // One that makes or changes something that can die.
        "named_alive" => &[FIELD, STALE, TENANT, NAME, AGAIN_IF_ALIVE],
        // One that is judged anew each time.
        "anew" => &[FIELD, STALE, TENANT],
        // One that presents a token, and is remembered by its family's row.
        "token" => &[FIELD, FORGED_TENANT, FORGED, STALE, TENANT],
        // Its tokens are judged one by one, and a success told all of them to be alive.
        "transact" => &[FIELD, FORGED_PART, STALE, TENANT, NAME, AGAIN_IF_ALIVE],
        // RFC 7009: a forged token is success.
        "revoke_token" => &[FIELD, FORGED_TENANT, FORGED_UNKNOWN, STALE, TENANT, NAME, AGAIN],
        "read" => &[FIELD, FRESH, TENANT],
        "read_token" => &[FIELD, FRESH, TENANT, FORGED],
        // A change by an operator: refusals are failures there.
        "operator" => &[FIELD, OPERATOR_STALE, OPERATOR_TENANT, OPERATOR_NAME, OPERATOR_AGAIN],
        "operator_first" => &[FIELD, OPERATOR_STALE, OPERATOR_NAME, OPERATOR_AGAIN],
        // Without a tenant.
        "operator_page" => &[FIELD, FRESH],
        // The deadline stands in for a consistency there.
        "operator_read" => &[FIELD, FRESH, OPERATOR_TENANT],
        _ => return None,
    })
}
